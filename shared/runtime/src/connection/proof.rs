//! What proves to the broker who connects, read from files again at every connection: a secret can be exchanged while
//! a service runs.

use super::files::{FileError, FileProblem, read_text};
use super::identity::{Identity, SecretSource};
use super::secret::Secret;
use async_nats::{Auth, AuthError};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use daybook_domain::time::Instant;
use nkeys::{KeyPair, KeyPairType};
use serde::Deserialize;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// What a connection is proved with.
enum Proof {
    Nothing,
    Credentials { jwt: String, key: KeyPair, expires: Option<Instant> },
    Nkey(KeyPair),
    Password { user: String, password: Secret },
    Token(Secret),
}

/// Proves who connects, with what its file holds at the time.
pub(super) struct Prover {
    identity: Identity,
    /// What the file held when it could last be read.
    proof: Mutex<Arc<Proof>>,
    /// What was wrong with the file and is logged already.
    trouble: Mutex<Option<FileProblem>>,
}

impl Prover {
    /// Reads the secret of `identity`.
    pub(super) async fn load(identity: Identity) -> Result<Self, FileError> {
        let proof = read_proof(&identity).await?;
        Ok(Self { identity, proof: Mutex::new(Arc::new(proof)), trouble: Mutex::default() })
    }

    pub(super) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// When the proof expires, if it ever does.
    pub(super) fn expires(&self) -> Option<Instant> {
        match *self.newest() {
            Proof::Credentials { expires, .. } => expires,
            _ => None,
        }
    }

    /// The answer to a broker that gives this nonce to sign.
    pub(super) async fn answer(&self, nonce: Vec<u8>) -> Result<Auth, AuthError> {
        self.read_again().await;
        let mut auth = Auth::new();
        let sign = |key: &KeyPair| key.sign(&nonce).map_err(|error| AuthError::new(error.to_string()));
        match &*self.newest() {
            Proof::Nothing => {}
            Proof::Credentials { jwt, key, .. } => {
                auth.signature = Some(sign(key)?);
                auth.jwt = Some(jwt.clone());
            }
            Proof::Nkey(key) => {
                auth.signature = Some(sign(key)?);
                auth.nkey = Some(key.public_key());
            }
            Proof::Password { user, password } => {
                auth.username = Some(user.clone());
                auth.password = Some(password.expose().to_owned());
            }
            Proof::Token(token) => auth.token = Some(token.expose().to_owned()),
        }
        Ok(auth)
    }

    fn newest(&self) -> Arc<Proof> {
        self.proof.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes what the file holds now, or keeps what it held before. Each trouble is logged once.
    async fn read_again(&self) {
        // A pipe, such as a shell makes for `<(…)`, can be read only once.
        if !self.identity.file().is_some_and(|(_, path)| path.is_file()) {
            return;
        }
        let read = read_proof(&self.identity).await;
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        match read {
            Ok(proof) => {
                *self.proof.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(proof);
                *trouble = None;
            }
            Err(error) if trouble.as_ref() != Some(&error.problem) => {
                tracing::warn!(%error, "connecting with what the file held before");
                *trouble = Some(error.problem);
            }
            Err(_) => {}
        }
    }
}

impl fmt::Debug for Prover {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Prover").field("identity", &self.identity).finish_non_exhaustive()
    }
}

async fn read_proof(identity: &Identity) -> Result<Proof, FileError> {
    let text = match identity.file() {
        Some((setting, path)) => read_text(setting, path).await?,
        None => String::new(),
    };
    prove(identity, &text).map_err(|problem| {
        let (setting, path) = identity.file().unwrap_or(("", Path::new("")));
        FileError { setting, path: path.to_owned(), problem }
    })
}

/// The proof of `identity`, whose file holds `text`.
fn prove(identity: &Identity, text: &str) -> Result<Proof, FileProblem> {
    let secret = |kept: &SecretSource| match kept {
        SecretSource::Here(secret) => Ok(secret.clone()),
        SecretSource::InFile(_) => only_line(text),
    };
    Ok(match identity {
        Identity::Anonymous => Proof::Nothing,
        Identity::Credentials(_) => {
            let (jwt, seed) = credentials(text).ok_or(FileProblem::NoCredentials)?;
            let key = user_key(seed).ok_or(FileProblem::NoCredentials)?;
            Proof::Credentials { jwt: jwt.to_owned(), key, expires: expiry(jwt) }
        }
        Identity::Nkey(_) => {
            let seed = text.lines().map(str::trim).find(|line| line.starts_with("SU"));
            Proof::Nkey(seed.and_then(user_key).ok_or(FileProblem::NoSeed)?)
        }
        Identity::Password { user, password } => Proof::Password { user: user.clone(), password: secret(password)? },
        Identity::Token(token) => Proof::Token(secret(token)?),
    })
}

/// The only line of a file. An editor's line end is not part of the secret; anything else is.
fn only_line(text: &str) -> Result<Secret, FileProblem> {
    let line = text.strip_suffix('\n').unwrap_or(text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.is_empty() {
        return Err(FileProblem::Empty);
    }
    if line.contains(['\n', '\r']) {
        return Err(FileProblem::ManyLines);
    }
    Ok(line.to_owned().into())
}

/// The JWT and the seed of a credentials file: the first lines behind its first two opening lines of dashes.
fn credentials(text: &str) -> Option<(&str, &str)> {
    let mut blocks = text.lines().map(str::trim).scan(false, |opened, line| {
        let is_dashes = line.starts_with("---") && line.ends_with("---");
        let value = (*opened && !is_dashes && !line.is_empty()).then_some(line);
        *opened = if is_dashes { line.contains("BEGIN") } else { *opened && value.is_none() };
        Some(value)
    });
    let mut next = || blocks.find_map(|value| value);
    Some((next()?, next()?))
}

fn user_key(seed: &str) -> Option<KeyPair> {
    KeyPair::from_seed(seed).ok().filter(|key| key.key_pair_type() == KeyPairType::User)
}

/// When a JWT expires. One that cannot be read says nothing: the broker judges it.
fn expiry(jwt: &str) -> Option<Instant> {
    #[derive(Deserialize)]
    struct Claims {
        #[serde(default)]
        exp: i64,
    }
    let claims = URL_SAFE_NO_PAD.decode(jwt.split('.').nth(1)?).ok()?;
    let claims: Claims = serde_json::from_slice(&claims).ok()?;
    (claims.exp > 0).then(|| Instant::from_millis(claims.exp.saturating_mul(1000)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const SEED: &str = "SUANQDPB2RUOE4ETUA26CNX7FUKE5ZZKFCQIIW63OX225F2CO7UEXTM7ZY";

    fn jwt(claims: &str) -> String {
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims))
    }

    fn credentials_file(jwt: &str, seed: &str) -> String {
        format!(
            "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n\
             ************************* IMPORTANT *************************\nNKEY Seed printed below\n\n\
             -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        )
    }

    fn problem(identity: &Identity, text: &str) -> FileProblem {
        prove(identity, text).err().unwrap()
    }

    #[tokio::test]
    async fn credentials_sign_and_tell_when_they_expire() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.creds");
        let write =
            |claims: &str| fs::write(&path, credentials_file(&jwt(claims), SEED).replace('\n', "\r\n")).unwrap();
        write(r#"{"exp":1700000000}"#);
        let prover = Prover::load(Identity::Credentials(path.clone())).await.unwrap();
        assert_eq!(prover.expires(), Some("2023-11-14T22:13:20Z".parse().unwrap()));
        // New credentials in the file are taken at the next connection; rubbish is not.
        write(r#"{"sub":"U"}"#);
        let auth = prover.answer(b"nonce".to_vec()).await.unwrap();
        assert_eq!((auth.jwt, prover.expires()), (Some(jwt(r#"{"sub":"U"}"#)), None));
        let key = KeyPair::from_seed(SEED).unwrap();
        assert!(key.verify(b"nonce", &auth.signature.unwrap()).is_ok());
        fs::write(&path, "rubbish").unwrap();
        assert!(prover.answer(b"nonce".to_vec()).await.unwrap().jwt.is_some());
        fs::remove_file(&path).unwrap();
        assert!(prover.answer(b"nonce".to_vec()).await.unwrap().jwt.is_some());
    }

    #[tokio::test]
    async fn every_other_proof_is_given_as_the_broker_takes_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = |text: &str| {
            let path = folder.path().join("secret");
            fs::write(&path, text).unwrap();
            path
        };
        let answer = async |identity| Prover::load(identity).await.unwrap().answer(b"n".to_vec()).await.unwrap();
        let nkey = answer(Identity::Nkey(file(&format!("{SEED}\n")))).await;
        assert_eq!(nkey.nkey, Some(KeyPair::from_seed(SEED).unwrap().public_key()));
        assert!(nkey.signature.is_some());
        let token = answer(Identity::Token(SecretSource::InFile(file(" t \r\n")))).await;
        assert_eq!(token.token.as_deref(), Some(" t "));
        let password = SecretSource::InFile(file("p"));
        let user = answer(Identity::Password { user: "ann".into(), password }).await;
        assert_eq!((user.username.as_deref(), user.password.as_deref()), (Some("ann"), Some("p")));
    }

    #[test]
    fn files_that_hold_something_else_are_refused() {
        let credentials = Identity::Credentials("a.creds".into());
        let account = "SAANJIBNEKGCRUWJCPIWUXFBFJLR36FJTFKGBGKAT7AQXH2LVFNQWZJMQU";
        for text in ["", "rubbish", SEED, &credentials_file("x", "SUNOSEED"), &credentials_file(&jwt("{}"), account)] {
            assert_eq!(problem(&credentials, text), FileProblem::NoCredentials, "{text}");
        }
        let nkey = Identity::Nkey("a.nk".into());
        for text in ["", "SUNOSEED", account, "UABC"] {
            assert_eq!(problem(&nkey, text), FileProblem::NoSeed, "{text}");
        }
        let token = Identity::Token(SecretSource::InFile("t".into()));
        assert_eq!(problem(&token, ""), FileProblem::Empty);
        assert_eq!(problem(&token, "\n"), FileProblem::Empty);
        assert_eq!(problem(&token, "a\nb\n"), FileProblem::ManyLines);
        assert!(prove(&credentials, &credentials_file("not.a-jwt", SEED)).is_ok(), "the broker judges the JWT");
    }
}
