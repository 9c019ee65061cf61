//! Finds what a request may do, by its token.

use super::fetching;
use super::grant::Grant;
use super::jwks::{self, KeySetError};
use super::jwt::{self, Expected, JwtError, Verifier};
use super::keys::{KeyFileError, Keys};
use crate::options::DoorOptions;
use crate::outgoing::Outgoing;
use crate::problem::{Code, Problem};
use axum::http::{HeaderMap, HeaderValue, header};
use daybook_domain::time::Instant;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// Why the keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    #[error(transparent)]
    ApiKeys(#[from] KeyFileError),
    #[error("cannot read the keys of JWTs in {path:?} (--jwt-keys): {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("the keys of JWTs in {place} (--jwt-keys) cannot be used: {source}")]
    Set { place: String, source: KeySetError },
    #[error("the keys of JWTs at {url} (--jwt-keys) cannot be had: {reason}")]
    Fetch { url: String, reason: String },
}

enum JwtSource {
    None,
    File(PathBuf),
    Url(String),
}

/// Knows the keys.
pub(crate) struct Doorkeeper {
    /// Whoever reaches the port may do everything: `daybook up` on the loopback interface without tokens.
    is_open: bool,
    api_keys_file: Option<PathBuf>,
    api_keys: RwLock<Arc<Keys>>,
    jwt_source: JwtSource,
    verifiers: RwLock<Arc<Vec<Verifier>>>,
    expected: Expected,
    /// Gets the keys that a URL has.
    outgoing: Outgoing,
    /// A token named a key that is not known, or the URL did not answer.
    misses_a_key: AtomicBool,
    /// Rises each time that keys were read, once they are in force.
    generation: AtomicU64,
}

impl Doorkeeper {
    /// Lets everyone in.
    pub(crate) fn open() -> Self {
        Self { is_open: true, ..Self::new(&DoorOptions::default(), Outgoing::default()) }
    }

    /// Knows where keys come from, and none yet.
    pub(super) fn new(options: &DoorOptions, outgoing: Outgoing) -> Self {
        Self {
            is_open: false,
            api_keys_file: options.api_keys.clone(),
            api_keys: RwLock::default(),
            jwt_source: match options.jwt_keys.as_deref() {
                None => JwtSource::None,
                Some(url) if url.starts_with("https://") || url.starts_with("http://") => {
                    JwtSource::Url(url.to_owned())
                }
                Some(file) => JwtSource::File(file.into()),
            },
            verifiers: RwLock::default(),
            expected: Expected { issuer: options.jwt_issuer.clone(), audience: options.jwt_audience.clone() },
            outgoing,
            misses_a_key: AtomicBool::new(false),
            generation: AtomicU64::new(0),
        }
    }

    /// Whether everyone is let in.
    pub(crate) fn is_open(&self) -> bool {
        self.is_open
    }

    /// How often keys were read. A grant of an earlier generation may be void.
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// What the request's token allows.
    ///
    /// # Errors
    /// [`Code::Unauthorized`], with the reason as far as it helps an honest client.
    pub(crate) fn grant(&self, headers: &HeaderMap, now: Instant) -> Result<Grant, Problem> {
        if self.is_open {
            return Ok(Grant::everything());
        }
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return Err(unauthorized("the request has no token, or several"));
        };
        let token = value.to_str().ok().and_then(|value| value.split_once(' '));
        let Some(token) =
            token.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, token)| token.trim())
        else {
            return Err(unauthorized("the header Authorization is not of the form `Bearer TOKEN`"));
        };
        if Keys::is_one(token) {
            let keys = self.api_keys.read().unwrap_or_else(PoisonError::into_inner).clone();
            return keys.grant(token, now).ok_or_else(|| unauthorized("the key is unknown, revoked or has expired"));
        }
        let verifiers = self.verifiers.read().unwrap_or_else(PoisonError::into_inner).clone();
        jwt::grant(token, &verifiers, &self.expected, now).map_err(|error| {
            if error == JwtError::UnknownKey {
                self.misses_a_key.store(true, Ordering::Relaxed);
            }
            unauthorized(&error.to_string())
        })
    }

    pub(super) fn api_keys_file(&self) -> Option<&Path> {
        self.api_keys_file.as_deref()
    }

    pub(super) fn jwt_keys_file(&self) -> Option<&Path> {
        match &self.jwt_source {
            JwtSource::File(file) => Some(file),
            _ => None,
        }
    }

    pub(super) fn has_url(&self) -> bool {
        matches!(self.jwt_source, JwtSource::Url(_))
    }

    pub(super) fn misses_a_key(&self) -> bool {
        self.misses_a_key.load(Ordering::Relaxed)
    }

    /// Reads the file of API keys; returns how many there are.
    pub(super) async fn read_api_keys(&self) -> Result<usize, DoorError> {
        let Some(file) = self.api_keys_file.clone() else { return Ok(0) };
        let keys = tokio::task::spawn_blocking(move || Keys::read(&file)).await.expect("reading does not panic")?;
        let count = keys.len();
        *self.api_keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
        self.generation.fetch_add(1, Ordering::Release);
        Ok(count)
    }

    /// Reads the keys of JWTs; returns how many there are.
    pub(super) async fn read_jwt_keys(&self) -> Result<usize, DoorError> {
        let (text, place) = match &self.jwt_source {
            JwtSource::None => return Ok(0),
            JwtSource::File(file) => {
                let read = tokio::fs::read(file).await;
                (read.map_err(|source| DoorError::Read { path: file.clone(), source })?, file.display().to_string())
            }
            JwtSource::Url(url) => {
                self.misses_a_key.store(true, Ordering::Relaxed);
                let fetched = fetching::get(&self.outgoing, url).await;
                let text = fetched.map_err(|reason| DoorError::Fetch { url: without_secrets(url), reason })?;
                (text, without_secrets(url))
            }
        };
        let verifiers = jwks::read(&text).map_err(|source| DoorError::Set { place, source })?;
        let count = verifiers.len();
        *self.verifiers.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(verifiers);
        self.generation.fetch_add(1, Ordering::Release);
        self.misses_a_key.store(false, Ordering::Relaxed);
        Ok(count)
    }
}

/// A URL as it may be logged: without user, password and query.
fn without_secrets(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
        _ => url.to_owned(),
    }
}

fn unauthorized(detail: &str) -> Problem {
    Problem::new(Code::Unauthorized, detail)
        .hint("send `Authorization: Bearer TOKEN` with an API key of `daybook key create` or a JWT")
        .header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"daybook\""))
}
