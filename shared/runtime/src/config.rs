//! Configuration of a process: flags, then environment, then a file, then defaults. The typed struct is the one that
//! clap fills; the file (YAML) has the same names with underscores, and a name that does not exist is refused.

use crate::memory::MemoryLimit;
use clap::parser::ValueSource;
use clap::{Args, CommandFactory, FromArgMatches, Parser};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Settings whose value is somebody's own text. YAML would read `007` as a number, and another one than was meant.
const TEXTS: [&str; 3] = ["nats_user", "nats_password", "nats_token"];

/// Options of every service process, around those of the service.
#[derive(Clone, Debug, Parser, Serialize)]
#[command(version)]
pub struct ProcessOptions<S: Args + Serialize> {
    #[command(flatten)]
    #[serde(flatten)]
    pub service: S,
    #[command(flatten)]
    #[serde(flatten)]
    pub broker: crate::connection::BrokerOptions,
    #[command(flatten)]
    #[serde(flatten)]
    pub operations: OperationsOptions,
    /// YAML file with any of these settings, named as here with underscores
    #[arg(long, env = "DAYBOOK_CONFIG", value_name = "FILE", help_heading = "Configuration")]
    #[serde(skip)]
    pub config: Option<PathBuf>,
    /// Print the settings in force as YAML and exit
    #[arg(long, help_heading = "Configuration")]
    #[serde(skip)]
    pub print_config: bool,
}

/// Form of the log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Text,
    Json,
}

/// Logs, metrics, health and traces of a process.
#[derive(Clone, Debug, Args, Serialize)]
#[command(next_help_heading = "Operations")]
pub struct OperationsOptions {
    /// Address for /healthz and /metrics over HTTP, such as 0.0.0.0:9464; none when absent
    #[arg(long, env = "DAYBOOK_HTTP")]
    pub http: Option<String>,
    /// Form of the log lines
    #[arg(long, env = "DAYBOOK_LOG_FORMAT", value_enum, default_value_t = Self::default().log_format)]
    pub log_format: LogFormat,
    /// What is logged, such as info or ingest=debug,info
    #[arg(long, env = "DAYBOOK_LOG", default_value_t = Self::default().log)]
    pub log: String,
    /// OTLP/HTTP endpoint for traces, such as http://127.0.0.1:4318; no traces are sent when absent
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT")]
    pub otlp_endpoint: Option<String>,
    /// Share of traces that are sent, 0 to 1
    #[arg(long, env = "DAYBOOK_TRACE_RATIO", default_value_t = Self::default().trace_ratio)]
    pub trace_ratio: f64,
    /// Milliseconds that a process which was told to end waits for others to take over from it; 0 ends at once
    /// [0..=3600000]
    #[arg(long, env = "DAYBOOK_DRAIN_TIMEOUT_MS", default_value_t = Self::default().drain_timeout_ms, value_parser = clap::value_parser!(u64).range(0..=3_600_000))]
    pub drain_timeout_ms: u64,
    /// Memory that this process may use, such as 512m or 2g; what its control group (container) and the machine have bounds it
    /// too [64m..]
    #[arg(long, env = "DAYBOOK_MEMORY", value_name = "BYTES")]
    pub memory: Option<MemoryLimit>,
}

impl Default for OperationsOptions {
    fn default() -> Self {
        Self {
            http: None,
            log_format: LogFormat::Text,
            log: "info".to_owned(),
            otlp_endpoint: None,
            trace_ratio: 1.0,
            // Containers are killed 30 s after they were told to end, as a rule; ending takes up to ten of them.
            drain_timeout_ms: 15_000,
            memory: None,
        }
    }
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error(transparent)]
    Arguments(#[from] clap::Error),
    #[error("cannot read configuration file {path:?}")]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("configuration file {path:?}: {reason}")]
    File { path: PathBuf, reason: String },
    #[error("the settings cannot be printed: {0}")]
    Print(String),
}

/// Reads the settings of the process `name` from `arguments` (the first is the program), the environment and the file that
/// `--config` names.
///
/// # Errors
/// When an argument or a setting is unknown or has an impossible value.
pub fn load<S: Args + Serialize>(
    name: &'static str,
    arguments: Vec<OsString>,
) -> Result<ProcessOptions<S>, ConfigError> {
    // `--version` prints the command's name, which would be this crate's.
    let command = ProcessOptions::<S>::command().name(name);
    let matches = command.clone().try_get_matches_from(&arguments)?;
    let Some(path) = matches.get_one::<PathBuf>("config") else {
        return Ok(ProcessOptions::from_arg_matches(&matches)?);
    };
    // What neither a flag nor the environment says comes from the file, by way of further flags: so there is one place
    // that knows types and ranges.
    let mut with_file = arguments.clone();
    for (key, value) in read_file::<serde_json::Map<String, serde_json::Value>>(path)? {
        let fail = |reason: String| ConfigError::File { path: path.clone(), reason };
        let known = command.get_arguments().find(|argument| argument.get_id().as_str() == key);
        let long = known.and_then(|argument| argument.get_long()).filter(|_| key != "config" && key != "print_config");
        let Some(long) = long else {
            let names: Vec<_> = command
                .get_arguments()
                .map(|argument| argument.get_id().as_str())
                .filter(|id| !matches!(*id, "config" | "print_config" | "help" | "version"))
                .collect();
            return Err(fail(format!("there is no setting {key:?}; the settings are {}", names.join(", "))));
        };
        if matches!(matches.value_source(&key), Some(ValueSource::CommandLine | ValueSource::EnvVariable)) {
            continue;
        }
        let text = match value {
            serde_json::Value::String(text) => text,
            serde_json::Value::Number(_) | serde_json::Value::Bool(_) if TEXTS.contains(&key.as_str()) => {
                return Err(fail(format!("the value of {key:?} must be in quotes; without them it is no text")));
            }
            serde_json::Value::Number(number) => number.to_string(),
            serde_json::Value::Bool(flag) => flag.to_string(),
            serde_json::Value::Null => continue,
            _ => return Err(fail(format!("setting {key:?} must be a single value"))),
        };
        with_file.push(format!("--{long}={text}").into());
    }
    let matches = command.try_get_matches_from(with_file)?;
    Ok(ProcessOptions::from_arg_matches(&matches)?)
}

/// The form of log lines that `arguments`, the environment or the file ask for, as far as that can be seen in settings that
/// may be wrong.
pub fn log_format(arguments: &[OsString]) -> LogFormat {
    let flag = |name: &str| {
        let arguments = || arguments.iter().map(|argument| argument.to_str().unwrap_or_default());
        let joined = |argument: &str| Some(argument.strip_prefix(name)?.strip_prefix('=')?.to_owned());
        let apart = || arguments().zip(arguments().skip(1)).find(|(flag, _)| *flag == name);
        arguments().find_map(joined).or_else(|| apart().map(|(_, value)| value.to_owned()))
    };
    let said = |name: &str, variable: &str| flag(name).or_else(|| std::env::var(variable).ok());
    let in_file = || {
        let settings: serde_json::Map<String, serde_json::Value> =
            read_file(Path::new(&said("--config", "DAYBOOK_CONFIG")?)).ok()?;
        Some(settings.get("log_format")?.as_str()?.to_owned())
    };
    match said("--log-format", "DAYBOOK_LOG_FORMAT").or_else(in_file) {
        Some(format) if format == "json" => LogFormat::Json,
        _ => LogFormat::Text,
    }
}

fn read_file<T: DeserializeOwned>(path: &Path) -> Result<T, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    serde_saphyr::from_str_with_options(&text, serde_saphyr::options! { with_snippet: false })
        .map_err(|error| ConfigError::File { path: path.to_owned(), reason: explain(&error) })
}

/// Says where a file is wrong. The parser's own words may quote the file, which may hold a password.
fn explain(error: &serde_saphyr::Error) -> String {
    let place = match error.location() {
        Some(at) => format!("line {}, column {}: ", at.line(), at.column()),
        None => String::new(),
    };
    match error {
        serde_saphyr::Error::DuplicateMappingKey { key: Some(key), .. } => {
            format!("{place}{key:?} is there twice; leave one of them")
        }
        _ => format!("{place}this is not a list of settings in YAML, such as `partitions: 8`; put texts into quotes"),
    }
}

/// The settings as YAML, in the form that a configuration file has. Secrets are left out, and a comment names them.
///
/// # Errors
/// When the broker's URL cannot be read: it may hold a password, and another one in its place would be misleading.
pub fn print<S: Args + Serialize>(options: &ProcessOptions<S>) -> Result<String, ConfigError> {
    options.broker.nats.nats.check().map_err(|error| ConfigError::Print(error.to_string()))?;
    let settings = serde_saphyr::to_string(options).expect("settings are plain values");
    let hidden = options.broker.nats.hidden();
    if hidden.is_empty() {
        return Ok(settings);
    }
    let comment = format!(
        "# Set, but secret and not shown: {}.\n# Give them in the environment again, or in files: nats_password_file, \
         nats_token_file.\n",
        hidden.join("; ")
    );
    Ok(comment + &settings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[derive(Clone, Debug, Args, Serialize)]
    struct Service {
        /// How long
        #[arg(long, default_value_t = 2)]
        linger_ms: u64,
    }

    fn load_with(file: &str, flags: &[&str]) -> Result<ProcessOptions<Service>, ConfigError> {
        let mut temporary = tempfile::NamedTempFile::new().unwrap();
        temporary.write_all(file.as_bytes()).unwrap();
        let mut arguments: Vec<OsString> = vec!["service".into(), "--config".into(), temporary.path().into()];
        arguments.extend(flags.iter().map(OsString::from));
        load("service", arguments)
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_defaults() {
        let options = load_with("linger_ms: 7\npartitions: 3\n", &["--partitions", "5"]).unwrap();
        assert_eq!((options.service.linger_ms, options.broker.partitions), (7, 5));
        assert_eq!(options.broker.prefix, "daybook");
    }

    #[test]
    fn what_is_printed_can_be_read_back() {
        let options = load_with("linger_ms: 9\nhttp: 127.0.0.1:0\n", &[]).unwrap();
        let again = load_with(&print(&options).unwrap(), &[]).unwrap();
        assert_eq!(print(&again).unwrap(), print(&options).unwrap());
    }

    #[test]
    fn secrets_are_read_from_a_file_and_not_printed() {
        let file = "nats: nats://broker:4222\nnats_user: ann\nnats_password: \"007 hunter2\"\nnats_tls: true\n";
        let options = load_with(file, &["--nats-token", "hunter2"]).unwrap();
        let nats = &options.broker.nats;
        assert_eq!(nats.nats_password.as_ref().unwrap().expose(), "007 hunter2");
        assert!(nats.nats_tls);
        let printed = print(&options).unwrap();
        assert!(!printed.contains("hunter2") && !format!("{options:?}").contains("hunter2"), "{printed}");
        assert!(printed.starts_with("# Set, but secret and not shown: nats_password; nats_token.\n"), "{printed}");
        // The rest is read back.
        let again = load_with(&printed, &["--nats-password", "hunter2"]).unwrap();
        assert_eq!(again.broker.nats.nats_user.as_deref(), Some("ann"));
        assert!(again.broker.nats.nats_tls && again.broker.nats.nats_token.is_none());
        let in_url = load_with("nats: nats://ann:hunter2@a:1,nats://ann:hunter2@b\n", &[]).unwrap();
        let printed = print(&in_url).unwrap();
        assert!(printed.contains("nats: nats://a:1,nats://b\n") && !printed.contains("hunter2"), "{printed}");
        assert!(printed.contains("in nats."), "{printed}");
        let bad = load_with("nats: nats://ann:hunter2/@b\n", &[]).unwrap();
        let why = print(&bad).unwrap_err().to_string();
        assert!(why.contains("--nats") && !why.contains("hunter2"), "{why}");
    }

    #[test]
    fn no_error_quotes_a_secret() {
        for file in [
            "nats_password: *hunter2\n",
            "nats_password: \"hunter2\n",
            "nats_password: @hunter2\n",
            "nats_password: hunter2\nnats_password: hunter2\n",
            "nats_password: [hunter2]\n",
            "nats_password: {hunter2: 1}\n",
            "nats_password: hunter2: x\n",
            "nats_password: hunter2\npartitions: 999\n",
            "nats_password: hunter2\nparts: 9\n",
            "- hunter2\n",
        ] {
            let why = load_with(file, &[]).map(|_| ()).unwrap_err().to_string();
            assert!(!why.contains("hunter2"), "{file}: {why}");
        }
        for number in ["007", "1e5", "true"] {
            let why = load_with(&format!("nats_password: {number}\n"), &[]).unwrap_err().to_string();
            assert!(why.contains("quotes") && !why.contains(number), "{why}");
        }
        for flags in [["--nats-password", "hunter2", "--partitions"], ["--nats", "nats://u:hunter2@h", "--no-such"]] {
            let why = load_with("", &flags).unwrap_err().to_string();
            assert!(!why.contains("hunter2"), "{why}");
        }
    }

    #[test]
    fn the_form_of_the_log_is_known_when_settings_are_wrong() {
        let format = |arguments: &[&str]| log_format(&arguments.iter().map(OsString::from).collect::<Vec<_>>());
        assert_eq!(format(&["ingest", "--no-such"]), LogFormat::Text);
        assert_eq!(format(&["ingest", "--no-such", "--log-format", "json"]), LogFormat::Json);
        assert_eq!(format(&["ingest", "--log-format=json", "--partitions", "0"]), LogFormat::Json);
        assert_eq!(format(&["ingest", "--log-format"]), LogFormat::Text);
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"log_format: json\nno_such: 1\n").unwrap();
        let file = file.path().to_str().unwrap();
        assert_eq!(format(&["ingest", "--config", file]), LogFormat::Json);
        assert_eq!(format(&["ingest", "--config", file, "--log-format=text"]), LogFormat::Text);
        assert_eq!(format(&["ingest", "--config", "no such file"]), LogFormat::Text);
    }

    #[test]
    fn unknown_settings_and_bad_values_are_refused() {
        let unknown = load_with("linger: 7\n", &[]).unwrap_err().to_string();
        assert!(unknown.contains("\"linger\"") && unknown.contains("linger_ms"), "{unknown}");
        assert!(load_with("partitions: 999\n", &[]).is_err());
        assert!(load_with("partitions: [1]\n", &[]).is_err());
        assert!(load_with("partitions: 1\npartitions: 2\n", &[]).is_err());
        assert!(load_with(": :\n", &[]).is_err());
    }
}
