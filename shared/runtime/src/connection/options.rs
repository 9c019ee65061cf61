//! How the broker is reached and what belongs to this Daybook on it, as flags, environment and file say.

use super::secret::Secret;
use super::servers::{ServerUrls, UrlError};
use clap::ArgAction;
use clap::builder::BoolishValueParser;
use daybook_contracts::subjects::DEFAULT_PREFIX;
use serde::Serialize;
use std::path::PathBuf;

/// Where a broker on this machine listens.
const DEFAULT_URL: &str = "nats://127.0.0.1:4222";
const DEFAULT_PARTITIONS: u16 = 8;
const DEFAULT_STREAM_REPLICAS: u8 = 1;
const DEFAULT_INBOX_MAX_BYTES: i64 = 1 << 30;
/// A quarter of the default INBOX with messages of 1 KiB. A tenant that publishes 50,000 messages a second meets it when ingest
/// is away for five seconds.
const DEFAULT_INBOX_MAX_MESSAGES_PER_KIND: i64 = 262_144;

/// How to reach the broker, and as whom. The same for services, `daybook up` and every command.
///
/// No variable's value is shown in the help, and no value that may be secret fails to be read: either would print it.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args, Serialize)]
pub struct NatsOptions {
    /// URL of the NATS server; several, separated by commas, for a cluster; may hold user and password, or a token
    #[arg(long, env = "DAYBOOK_NATS", hide_env_values = true, default_value = DEFAULT_URL, value_name = "URL", help_heading = "Broker")]
    pub nats: ServerUrls,
    /// File with NATS user credentials (JWT and seed)
    #[arg(long, env = "DAYBOOK_NATS_CREDENTIALS", value_name = "FILE", help_heading = "Broker")]
    pub nats_credentials: Option<PathBuf>,
    /// User to connect as, with a password
    #[arg(
        long,
        env = "DAYBOOK_NATS_USER",
        hide_env_values = true,
        value_name = "NAME",
        help_heading = "Broker",
        allow_hyphen_values = true
    )]
    pub nats_user: Option<String>,
    /// Password of the user; better in a file or in the environment, since others on this machine see flags
    #[arg(
        long,
        env = "DAYBOOK_NATS_PASSWORD",
        hide_env_values = true,
        value_name = "TEXT",
        help_heading = "Broker",
        allow_hyphen_values = true,
        hide_short_help = true
    )]
    pub nats_password: Option<Secret>,
    /// File with the password of the user
    #[arg(long, env = "DAYBOOK_NATS_PASSWORD_FILE", value_name = "FILE", help_heading = "Broker")]
    pub nats_password_file: Option<PathBuf>,
    /// Token to connect with; better in a file or in the environment, since others on this machine see flags
    #[arg(
        long,
        env = "DAYBOOK_NATS_TOKEN",
        hide_env_values = true,
        value_name = "TEXT",
        help_heading = "Broker",
        allow_hyphen_values = true,
        hide_short_help = true
    )]
    pub nats_token: Option<Secret>,
    /// File with the token to connect with
    #[arg(long, env = "DAYBOOK_NATS_TOKEN_FILE", value_name = "FILE", help_heading = "Broker", hide_short_help = true)]
    pub nats_token_file: Option<PathBuf>,
    /// File with the seed of a user's nkey
    #[arg(long, env = "DAYBOOK_NATS_NKEY", value_name = "FILE", help_heading = "Broker", hide_short_help = true)]
    pub nats_nkey: Option<PathBuf>,
    /// Require TLS; so do tls:// URLs, --nats-tls-first, --nats-ca and --nats-cert
    #[arg(long, env = "DAYBOOK_NATS_TLS", value_name = "BOOL", help_heading = "Broker", default_value_t = false, hide_default_value = true,
        default_missing_value = "true", num_args = 0..=1, require_equals = true, action = ArgAction::Set, value_parser = BoolishValueParser::new())]
    pub nats_tls: bool,
    /// Begin with the TLS handshake, for servers with `handshake_first`
    #[arg(long, env = "DAYBOOK_NATS_TLS_FIRST", value_name = "BOOL", help_heading = "Broker", default_value_t = false, hide_default_value = true,
        default_missing_value = "true", num_args = 0..=1, require_equals = true, action = ArgAction::Set, value_parser = BoolishValueParser::new(), hide_short_help = true)]
    pub nats_tls_first: bool,
    /// PEM file with the certificates of the authorities that the server's certificate may come from; those of the system
    /// when absent
    #[arg(long, env = "DAYBOOK_NATS_CA", value_name = "FILE", help_heading = "Broker")]
    pub nats_ca: Option<PathBuf>,
    /// PEM file with the client certificate to show
    #[arg(long, env = "DAYBOOK_NATS_CERT", value_name = "FILE", help_heading = "Broker", hide_short_help = true)]
    pub nats_cert: Option<PathBuf>,
    /// PEM file with the private key of the client certificate
    #[arg(long, env = "DAYBOOK_NATS_KEY", value_name = "FILE", help_heading = "Broker", hide_short_help = true)]
    pub nats_key: Option<PathBuf>,
}

/// Where the broker is and what belongs to this Daybook on it. Same for every service.
#[derive(Clone, Debug, clap::Args, Serialize)]
pub struct BrokerOptions {
    #[command(flatten)]
    #[serde(flatten)]
    pub nats: NatsOptions,
    /// Accept a broker older than 2.15.0, on which one client can stop the days of all tenants: only where every client is
    /// trusted
    #[arg(long, env = "DAYBOOK_NATS_ALLOW_OLD", value_name = "BOOL", help_heading = "Broker", default_value_t = false, hide_default_value = true,
        default_missing_value = "true", num_args = 0..=1, require_equals = true, action = ArgAction::Set, value_parser = BoolishValueParser::new(), hide_short_help = true)]
    pub nats_allow_old: bool,
    /// First token of every subject and name of the streams: several Daybooks can share a broker
    #[arg(long, env = "DAYBOOK_PREFIX", default_value = DEFAULT_PREFIX, help_heading = "Broker")]
    pub prefix: String,
    /// Number of partitions; fixed once the streams exist [1..=256]
    #[arg(long, env = "DAYBOOK_PARTITIONS", default_value_t = DEFAULT_PARTITIONS, value_parser = clap::value_parser!(u16).range(1..=256), help_heading = "Broker")]
    pub partitions: u16,
    /// Copies of each stream in a JetStream cluster [1..=5]
    #[arg(long, env = "DAYBOOK_STREAM_REPLICAS", default_value_t = DEFAULT_STREAM_REPLICAS, value_parser = clap::value_parser!(u8).range(1..=5), help_heading = "Broker")]
    pub stream_replicas: u8,
    /// Most bytes that INBOX buffers; publishers are refused beyond that
    #[arg(long, env = "DAYBOOK_INBOX_MAX_BYTES", default_value_t = DEFAULT_INBOX_MAX_BYTES, value_parser = clap::value_parser!(i64).range(1 << 20..), help_heading = "Broker")]
    pub inbox_max_bytes: i64,
    /// Most messages of one tenant and kind that INBOX buffers; the tenant is refused beyond that, and nobody else
    /// [1..=10000000]
    #[arg(long, env = "DAYBOOK_INBOX_MAX_MESSAGES_PER_KIND", default_value_t = DEFAULT_INBOX_MAX_MESSAGES_PER_KIND, value_parser = clap::value_parser!(i64).range(1..=10_000_000), help_heading = "Broker")]
    pub inbox_max_messages_per_kind: i64,
}

/// Settings that contradict each other or say too little.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    #[error(transparent)]
    Url(#[from] UrlError),
    #[error(
        "{first} and {second} are two ways to say who connects; give one, and look for the other among flags, environment \
         (DAYBOOK_NATS_…) and configuration file"
    )]
    TwoIdentities { first: &'static str, second: &'static str },
    #[error("--nats-user needs a password: give --nats-password-file, or DAYBOOK_NATS_PASSWORD in the environment")]
    NoPassword,
    #[error("a password needs --nats-user to say whose it is")]
    NoUser,
    #[error("{value} and {file} both give the same secret; give one of them")]
    TwoSources { value: &'static str, file: &'static str },
    #[error("{setting} is empty; give a value or leave it out")]
    Empty { setting: &'static str },
    #[error("--nats-cert needs --nats-key, the file with the certificate's private key")]
    NoKey,
    #[error("--nats-key needs --nats-cert, the file with the certificate that the key belongs to")]
    NoCertificate,
}

impl NatsOptions {
    /// The defaults for a broker at `url`.
    pub fn at(url: &str) -> Self {
        Self {
            nats: url.into(),
            nats_credentials: None,
            nats_user: None,
            nats_password: None,
            nats_password_file: None,
            nats_token: None,
            nats_token_file: None,
            nats_nkey: None,
            nats_tls: false,
            nats_tls_first: false,
            nats_ca: None,
            nats_cert: None,
            nats_key: None,
        }
    }

    /// The same servers and certificates, as the user of a credentials file.
    pub fn with_credentials(self, file: PathBuf) -> Self {
        Self {
            nats_credentials: Some(file),
            nats_user: None,
            nats_password: None,
            nats_password_file: None,
            nats_token: None,
            nats_token_file: None,
            nats_nkey: None,
            ..self
        }
    }

    /// Checks that the settings do not contradict each other. Reads no file.
    ///
    /// # Errors
    /// The first contradiction.
    pub fn check(&self) -> Result<(), OptionsError> {
        self.plan().map(|_| ())
    }

    /// Whether anything but the URL is set.
    pub fn says_who_or_how(&self) -> bool {
        *self != Self { nats: self.nats.clone(), ..Self::at(DEFAULT_URL) }
    }

    /// Names the settings that are set but not shown when settings are printed.
    pub fn hidden(&self) -> Vec<&'static str> {
        let has_login = self.nats.parse().is_ok_and(|servers| servers.login.is_some());
        let all = [
            ("user, password or token in nats", has_login),
            ("nats_password", self.nats_password.is_some()),
            ("nats_token", self.nats_token.is_some()),
        ];
        all.into_iter().filter_map(|(name, is_set)| is_set.then_some(name)).collect()
    }
}

impl BrokerOptions {
    /// The defaults for a broker at `url`.
    pub fn at(url: &str) -> Self {
        Self {
            nats: NatsOptions::at(url),
            nats_allow_old: false,
            prefix: DEFAULT_PREFIX.to_owned(),
            partitions: DEFAULT_PARTITIONS,
            stream_replicas: DEFAULT_STREAM_REPLICAS,
            inbox_max_bytes: DEFAULT_INBOX_MAX_BYTES,
            inbox_max_messages_per_kind: DEFAULT_INBOX_MAX_MESSAGES_PER_KIND,
        }
    }
}

impl Default for BrokerOptions {
    fn default() -> Self {
        Self::at(DEFAULT_URL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Args, FromArgMatches};

    fn read(arguments: &[&str]) -> Result<BrokerOptions, clap::Error> {
        let command = BrokerOptions::augment_args(clap::Command::new("service").no_binary_name(true));
        BrokerOptions::from_arg_matches(&command.try_get_matches_from(arguments)?)
    }

    fn refused(change: impl FnOnce(&mut NatsOptions)) -> OptionsError {
        let mut options = NatsOptions::at("nats://host");
        change(&mut options);
        options.check().unwrap_err()
    }

    #[test]
    fn flags_without_a_value_say_yes() {
        let options =
            read(&["--nats-tls", "--nats-tls-first=no", "--nats-allow-old=true", "--partitions", "3"]).unwrap();
        assert!(options.nats.nats_tls && !options.nats.nats_tls_first && options.nats_allow_old);
        assert_eq!(options.partitions, 3);
        let defaults = read(&[]).unwrap();
        assert_eq!(format!("{defaults:?}"), format!("{:?}", BrokerOptions::at(DEFAULT_URL)));
    }

    #[test]
    fn secrets_are_taken_whatever_they_look_like_and_not_shown() {
        let arguments = [
            "--nats",
            "nats://u:hunter2@h",
            "--nats-password",
            "-hunter2",
            "--nats-token=--hunter2",
            "--nats-user",
            "-u",
        ];
        let options = read(&arguments).unwrap();
        assert_eq!(options.nats.nats_password.as_ref().unwrap().expose(), "-hunter2");
        assert_eq!(options.nats.nats_token.as_ref().unwrap().expose(), "--hunter2");
        let shown = format!("{options:?} {}", serde_json::to_string(&options).unwrap());
        assert!(!shown.contains("hunter2"), "{shown}");
        assert_eq!(options.nats.hidden(), ["user, password or token in nats", "nats_password", "nats_token"]);
    }

    #[test]
    fn half_a_certificate_is_refused() {
        assert_eq!(refused(|options| options.nats_cert = Some("c".into())), OptionsError::NoKey);
        assert_eq!(refused(|options| options.nats_key = Some("k".into())), OptionsError::NoCertificate);
    }
}
