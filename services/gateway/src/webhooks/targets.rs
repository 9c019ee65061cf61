//! The file that names targets, and what is wrong with it.
//!
//! ```yaml
//! targets:
//!   - name: pager
//!     url: https://hooks.example/daybook
//!     secret: { file: pager.secret }       # or { env: PAGER_SECRET }
//!     tenants: [acme, zeta]                # or all
//!     alerts: [low_revenue, day_sealed]    # all of them without this field
//!     timeout: 15s
//! ```

use super::signature::SigningSecrets;
use crate::outgoing;
use axum::http::Uri;
use daybook_contracts::alert::Alert;
use daybook_domain::ids::{Name, NameError, TenantId};
use daybook_runtime::followed_file::read_at_most;
use daybook_runtime::retention::Retention;
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::collections::BTreeSet;
use std::env::VarError;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Most targets of a file. Each is a consumer on the broker.
pub const MAX_TARGETS: usize = 1_000;
/// Most tenants that a target names: the broker compares each alert with all of them.
pub const MAX_TENANTS: usize = 100;
/// Most alerts that a target names.
pub const MAX_ALERTS: usize = 100;
/// Longest file, in bytes.
pub const MAX_FILE_BYTES: u64 = 1 << 20;
/// Longest file with secrets, in bytes.
pub const MAX_SECRET_FILE_BYTES: u64 = 4 << 10;
/// Longest URL, in bytes.
pub const MAX_URL_BYTES: usize = 2_048;
/// How long a receiver may take to answer, unless its target says otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(15);
/// The longest that a target may say.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(30);

/// Where alerts are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WebhookTarget {
    pub name: Name,
    /// Whose alerts; everybody's when absent.
    pub tenants: Option<BTreeSet<TenantId>>,
    /// Which alerts; all when absent.
    pub alerts: Option<BTreeSet<Name>>,
    pub url: Uri,
    pub secrets: SigningSecrets,
    /// How long the receiver may take to answer.
    pub timeout: Duration,
}

impl WebhookTarget {
    /// Whether alerts of the tenant are sent there.
    pub(super) fn is_of(&self, tenant: &TenantId) -> bool {
        self.tenants.as_ref().is_none_or(|tenants| tenants.contains(tenant))
    }

    /// Whether the alert is sent there.
    pub(super) fn wants(&self, alert: &Alert) -> bool {
        self.is_of(&alert.tenant) && self.alerts.as_ref().is_none_or(|alerts| alerts.contains(&alert.alert))
    }

    /// Scheme, host and port: a path may be as good as a password.
    pub(super) fn place(&self) -> String {
        format!("{}://{}", self.url.scheme_str().unwrap_or_default(), self.url.authority().map_or("", |it| it.as_str()))
    }
}

/// A file of webhooks that cannot be used. No text holds a secret.
#[derive(Debug, thiserror::Error)]
pub enum WebhooksError {
    #[error("cannot read the file of webhooks {path:?} (--webhooks)")]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the file of webhooks {path:?} is longer than {MAX_FILE_BYTES} bytes")]
    TooLong { path: PathBuf },
    #[error("the file of webhooks {path:?}: {reason}")]
    Yaml { path: PathBuf, reason: String },
    #[error("the file of webhooks {path:?}: target {name}: {reason}")]
    Mistake { path: PathBuf, name: String, reason: String },
}

/// Reads the file of webhooks, and the secrets that it names. Targets come in the order of their names.
///
/// # Errors
/// When a file cannot be read or says something that cannot be; the text says where, and what to write.
pub(super) fn load(path: &Path) -> Result<Vec<WebhookTarget>, WebhooksError> {
    let failed = |source| WebhooksError::Read { path: path.to_owned(), source };
    let text = read_at_most(path, MAX_FILE_BYTES).map_err(failed)?;
    let text = text.ok_or(WebhooksError::TooLong { path: path.to_owned() })?;
    parse(&text, path, &|name| std::env::var(name))
}

/// Reads the text of a file of webhooks. `path` is where it stands, `variable` gives environment variables.
fn parse(
    text: &str,
    path: &Path,
    variable: &dyn Fn(&str) -> Result<String, VarError>,
) -> Result<Vec<WebhookTarget>, WebhooksError> {
    let wrong = |reason: String| WebhooksError::Yaml { path: path.to_owned(), reason };
    let file: WrittenFile = serde_saphyr::from_str_with_options(text, serde_saphyr::options! { with_snippet: false })
        .map_err(|error| wrong(error.to_string().replace('\n', " ")))?;
    if file.targets.len() > MAX_TARGETS {
        let found = file.targets.len();
        return Err(wrong(format!("there are {found} targets; at most {MAX_TARGETS} are allowed in one file")));
    }
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut names = BTreeSet::new();
    let mut targets: Vec<WebhookTarget> = Vec::with_capacity(file.targets.len());
    for written in file.targets {
        let name = written.name.clone();
        let mistake = |reason| WebhooksError::Mistake { path: path.to_owned(), name: name.clone(), reason };
        let target = written.check(folder, variable).map_err(mistake)?;
        if !names.insert(target.name.clone()) {
            return Err(mistake("it is there twice; give each target a name of its own".to_owned()));
        }
        targets.push(target);
    }
    targets.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(targets)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenFile {
    targets: Vec<WrittenTarget>,
}

/// A target as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenTarget {
    name: String,
    url: String,
    secret: WrittenSecret,
    tenants: WrittenTenants,
    #[serde(default)]
    alerts: Option<Vec<String>>,
    #[serde(default)]
    timeout: Option<String>,
}

/// Where the secrets of a target are. Anything else may be the secret itself, so no message repeats it.
#[derive(Deserialize)]
#[serde(untagged)]
enum WrittenSecret {
    Place(WrittenSecretPlace),
    Other(IgnoredAny),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenSecretPlace {
    #[serde(default)]
    file: Option<PathBuf>,
    #[serde(default)]
    env: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum WrittenTenants {
    These(Vec<String>),
    Word(String),
}

impl WrittenTarget {
    fn check(
        self,
        folder: &Path,
        variable: &dyn Fn(&str) -> Result<String, VarError>,
    ) -> Result<WebhookTarget, String> {
        let name = Name::new(&self.name).map_err(|error| format!("its name {error}"))?;
        let url = check_url(&self.url)?;
        let tenants = match self.tenants {
            WrittenTenants::These(ids) => Some(check_names("tenants", &ids, MAX_TENANTS, TenantId::new)?),
            WrittenTenants::Word(word) if word == "all" => None,
            WrittenTenants::Word(_) => return Err("`tenants` is neither a list of tenants nor all".to_owned()),
        };
        let alerts = self.alerts.map(|names| check_names("alerts", &names, MAX_ALERTS, Name::new)).transpose()?;
        let timeout = self.timeout.as_deref().map_or(Ok(DEFAULT_TIMEOUT), check_timeout)?;
        let secrets = self.secret.read(folder, variable)?;
        Ok(WebhookTarget { name, tenants, alerts, url, secrets, timeout })
    }
}

fn check_names<T: Ord>(
    field: &str,
    texts: &[String],
    most: usize,
    read: impl Fn(&str) -> Result<T, NameError>,
) -> Result<BTreeSet<T>, String> {
    if texts.is_empty() || texts.len() > most {
        return Err(format!("`{field}` has {} names; 1 to {most} are allowed", texts.len()));
    }
    texts.iter().map(|text| read(text).map_err(|error| format!("`{field}`: {text:?} {error}"))).collect()
}

/// No message repeats the URL: it may hold what is as good as a password.
fn check_url(text: &str) -> Result<Uri, String> {
    if text.len() > MAX_URL_BYTES {
        return Err(format!("`url` has {} bytes; at most {MAX_URL_BYTES} are allowed", text.len()));
    }
    if text.contains('#') {
        return Err("`url` has a fragment (#), which is never sent; leave it out".to_owned());
    }
    let url: Uri = text.parse().map_err(|error| format!("`url` is no URL: {error}"))?;
    if !matches!(url.scheme_str(), Some("http" | "https")) || url.host().is_none_or(str::is_empty) {
        return Err("`url` must begin with http:// or https:// and a host".to_owned());
    }
    if url.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err("`url` holds a user; receivers know Daybook by the signature, so leave it out".to_owned());
    }
    if outgoing::port(&url).is_none() {
        return Err("`url` has a port that cannot be; ports are 1 to 65535".to_owned());
    }
    Ok(url)
}

fn check_timeout(text: &str) -> Result<Duration, String> {
    let read: Option<Duration> = text.parse::<Retention>().ok().and_then(Retention::age);
    read.filter(|timeout| *timeout <= MAX_TIMEOUT)
        .ok_or_else(|| format!("`timeout` must be 1s to {}s, such as 10s", MAX_TIMEOUT.as_secs()))
}

impl WrittenSecret {
    fn read(
        self,
        folder: &Path,
        variable: &dyn Fn(&str) -> Result<String, VarError>,
    ) -> Result<SigningSecrets, String> {
        let (place, text) = match self {
            Self::Place(WrittenSecretPlace { file: Some(file), env: None })
                if !holds_secret(&file.to_string_lossy()) =>
            {
                let path = folder.join(file);
                let place = format!("`secret`: the file {path:?}");
                let text = read_at_most(&path, MAX_SECRET_FILE_BYTES);
                let text = text.map_err(|error| format!("{place} cannot be read: {error}"))?;
                let most = MAX_SECRET_FILE_BYTES;
                (place.clone(), text.ok_or(format!("{place} is longer than {most} bytes; is it the right one?"))?)
            }
            Self::Place(WrittenSecretPlace { file: None, env: Some(name) }) if !holds_secret(&name) => {
                let place = format!("`secret`: the environment variable {name:?}");
                let told = |error: VarError| match error {
                    VarError::NotPresent => format!("{place} is not set"),
                    VarError::NotUnicode(_) => format!("{place} is not text"),
                };
                let text = variable(&name).map_err(told)?;
                (place, text)
            }
            Self::Place(_) | Self::Other(IgnoredAny) => {
                return Err(
                    "`secret` must be { file: PATH } or { env: NAME }; the secret itself has no place in this file"
                        .to_owned(),
                );
            }
        };
        SigningSecrets::parse(&text).map_err(|reason| format!("{place}: {reason}"))
    }
}

/// Whether the secret itself stands where its place should: no message may repeat that.
fn holds_secret(place: &str) -> bool {
    place.contains("whsec_")
}

#[cfg(test)]
mod tests;
