//! As whom to connect: the one way that the settings name.

use super::options::{NatsOptions, OptionsError};
use super::secret::Secret;
use super::servers::UrlLogin;
use std::fmt;
use std::path::{Path, PathBuf};

/// Who connects. Files are not read yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Identity {
    /// Nobody in particular: the broker decides whether that is enough.
    Anonymous,
    /// A JWT and the seed that proves it.
    Credentials(PathBuf),
    /// A seed whose public key the broker knows.
    Nkey(PathBuf),
    Password {
        user: String,
        password: SecretSource,
    },
    Token(SecretSource),
}

/// Where a secret is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SecretSource {
    Here(Secret),
    InFile(PathBuf),
}

impl Identity {
    /// The file that holds the secret, and the setting that names the file.
    pub(super) fn file(&self) -> Option<(&'static str, &Path)> {
        match self {
            Self::Credentials(path) => Some(("--nats-credentials", path)),
            Self::Nkey(path) => Some(("--nats-nkey", path)),
            Self::Password { password: SecretSource::InFile(path), .. } => Some(("--nats-password-file", path)),
            Self::Token(SecretSource::InFile(path)) => Some(("--nats-token-file", path)),
            Self::Anonymous | Self::Password { .. } | Self::Token(_) => None,
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anonymous => write!(formatter, "a connection without a name"),
            Self::Credentials(path) => write!(formatter, "the user of the credentials in {path:?}"),
            Self::Nkey(path) => write!(formatter, "the user of the nkey in {path:?}"),
            Self::Password { user, .. } => write!(formatter, "user {user:?} with this password"),
            Self::Token(_) => write!(formatter, "this token"),
        }
    }
}

/// Finds the one way to connect that `options` and the URLs (`login`) name.
///
/// # Errors
/// When they name two, or half of one.
pub(super) fn choose(options: &NatsOptions, login: Option<UrlLogin>) -> Result<Identity, OptionsError> {
    let has_password = options.nats_password.is_some() || options.nats_password_file.is_some();
    let ways = [
        ("--nats-credentials", options.nats_credentials.is_some()),
        ("--nats-nkey", options.nats_nkey.is_some()),
        ("--nats-user with a password", options.nats_user.is_some() || has_password),
        ("--nats-token or --nats-token-file", options.nats_token.is_some() || options.nats_token_file.is_some()),
        ("a user or token in the URL of --nats", login.is_some()),
    ];
    let mut named = ways.into_iter().filter_map(|(way, is_named)| is_named.then_some(way));
    if let (Some(first), Some(second)) = (named.next(), named.next()) {
        return Err(OptionsError::TwoIdentities { first, second });
    }
    if let Some(path) = &options.nats_credentials {
        return Ok(Identity::Credentials(path.clone()));
    }
    if let Some(path) = &options.nats_nkey {
        return Ok(Identity::Nkey(path.clone()));
    }
    let password =
        kept(&options.nats_password, "--nats-password", &options.nats_password_file, "--nats-password-file")?;
    match (&options.nats_user, password) {
        (Some(user), _) if user.is_empty() => return Err(OptionsError::Empty { setting: "--nats-user" }),
        (Some(user), Some(password)) => return Ok(Identity::Password { user: user.clone(), password }),
        (Some(_), None) => return Err(OptionsError::NoPassword),
        (None, Some(_)) => return Err(OptionsError::NoUser),
        (None, None) => {}
    }
    if let Some(token) = kept(&options.nats_token, "--nats-token", &options.nats_token_file, "--nats-token-file")? {
        return Ok(Identity::Token(token));
    }
    Ok(match login {
        Some(UrlLogin::Password { user, password }) => {
            Identity::Password { user, password: SecretSource::Here(password) }
        }
        Some(UrlLogin::Token(token)) => Identity::Token(SecretSource::Here(token)),
        None => Identity::Anonymous,
    })
}

/// The secret that is given as a value or in a file, by the settings of these names.
fn kept(
    value: &Option<Secret>,
    value_setting: &'static str,
    file: &Option<PathBuf>,
    file_setting: &'static str,
) -> Result<Option<SecretSource>, OptionsError> {
    match (value, file) {
        (Some(_), Some(_)) => Err(OptionsError::TwoSources { value: value_setting, file: file_setting }),
        (Some(secret), None) if secret.expose().is_empty() => Err(OptionsError::Empty { setting: value_setting }),
        (Some(secret), None) => Ok(Some(SecretSource::Here(secret.clone()))),
        (None, Some(path)) => Ok(Some(SecretSource::InFile(path.clone()))),
        (None, None) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(url: &str, change: impl FnOnce(&mut NatsOptions)) -> Result<Identity, OptionsError> {
        let mut options = NatsOptions::at(url);
        change(&mut options);
        options.plan().map(|plan| plan.identity)
    }

    fn secret(text: &str) -> Secret {
        text.to_owned().into()
    }

    #[test]
    fn each_way_is_found() {
        let here = |text| SecretSource::Here(secret(text));
        let password = |user: &str, password| Ok(Identity::Password { user: user.to_owned(), password });
        assert_eq!(chosen("h", |_| {}), Ok(Identity::Anonymous));
        assert_eq!(
            chosen("h", |options| options.nats_credentials = Some("a.creds".into())),
            Ok(Identity::Credentials("a.creds".into()))
        );
        assert_eq!(chosen("h", |options| options.nats_nkey = Some("a.nk".into())), Ok(Identity::Nkey("a.nk".into())));
        let both = |options: &mut NatsOptions| {
            (options.nats_user, options.nats_password) = (Some("ann".into()), Some(secret("p")));
        };
        assert_eq!(chosen("h", both), password("ann", here("p")));
        let in_file = |options: &mut NatsOptions| {
            (options.nats_user, options.nats_password_file) = (Some("ann".into()), Some("p.txt".into()));
        };
        assert_eq!(chosen("h", in_file), password("ann", SecretSource::InFile("p.txt".into())));
        assert_eq!(chosen("h", |options| options.nats_token = Some(secret("t"))), Ok(Identity::Token(here("t"))));
        assert_eq!(
            chosen("h", |options| options.nats_token_file = Some("t.txt".into())),
            Ok(Identity::Token(SecretSource::InFile("t.txt".into())))
        );
        assert_eq!(chosen("nats://ann:p@h", |_| {}), password("ann", here("p")));
        assert_eq!(chosen("nats://t@h", |_| {}), Ok(Identity::Token(here("t"))));
    }

    #[test]
    fn two_ways_are_refused_by_name() {
        let error = chosen("nats://ann:p@h", |options| options.nats_credentials = Some("a.creds".into())).unwrap_err();
        assert!(error.to_string().contains("--nats-credentials and a user or token in the URL"), "{error}");
        let error = chosen("h", |options| {
            (options.nats_nkey, options.nats_token) = (Some("a.nk".into()), Some(secret("t")));
        });
        assert!(matches!(error, Err(OptionsError::TwoIdentities { .. })), "{error:?}");
        let error = chosen("nats://ann@h", |options| options.nats_password = Some(secret("p")));
        assert!(matches!(error, Err(OptionsError::TwoIdentities { .. })), "{error:?}");
    }

    #[test]
    fn halves_and_empty_values_are_refused() {
        assert_eq!(chosen("h", |options| options.nats_user = Some("ann".into())), Err(OptionsError::NoPassword));
        assert_eq!(chosen("h", |options| options.nats_password = Some(secret("p"))), Err(OptionsError::NoUser));
        let two = chosen("h", |options| {
            (options.nats_token, options.nats_token_file) = (Some(secret("t")), Some("t.txt".into()));
        });
        let two_sources = OptionsError::TwoSources { value: "--nats-token", file: "--nats-token-file" };
        assert_eq!(two, Err(two_sources));
        let empty = chosen("h", |options| {
            (options.nats_user, options.nats_password) = (Some("ann".into()), Some(secret("")));
        });
        assert_eq!(empty, Err(OptionsError::Empty { setting: "--nats-password" }));
        let unnamed = chosen("h", |options| {
            (options.nats_user, options.nats_password) = (Some(String::new()), Some(secret("p")));
        });
        assert_eq!(unnamed, Err(OptionsError::Empty { setting: "--nats-user" }));
    }

    #[test]
    fn nobodys_secret_is_shown() {
        for url in ["nats://ann:hunter2@h", "nats://hunter2@h"] {
            let identity = chosen(url, |_| {}).unwrap();
            let shown = format!("{identity} {identity:?}");
            assert!(!shown.contains("hunter2"), "{shown}");
        }
    }
}
