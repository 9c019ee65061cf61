//! The file that defines sources, and what is wrong with it.
//!
//! ```yaml
//! sources:
//!   - name: shop
//!     stream: ORDERS                     # without it, the subjects are core subjects
//!     subjects: [orders.*.created]
//!     mapping: sale_line/shop_order
//!     from: new                          # or all, or an instant such as 2024-03-01T00:00:00Z
//!     tenant: acme                       # where the mapping does not say for whom events are
//!     tenants: [acme, zeta]              # or: for whom they may be, as the mapping says
//!     events_per_second: 5000            # no more, for the quotas of its tenants
//!     connection: { nats: nats://orders.example:4222, credentials: orders.creds }
//! ```

use daybook_access::permissions::overlap;
use daybook_contracts::members::MAX_SOURCES;
use daybook_contracts::subjects::Subjects;
use daybook_domain::ids::{Name, NameError, TenantId};
use daybook_domain::time::Instant;
use daybook_mapping::MappingName;
use daybook_runtime::connection::NatsOptions;
use daybook_runtime::followed_file::read_at_most;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Longest file of sources, in bytes.
pub const MAX_FILE_BYTES: u64 = 1 << 20;
/// Most subjects of one source.
pub const MAX_SUBJECTS: usize = 16;
/// Most tenants that a source is limited to.
pub const MAX_TENANTS: usize = 1_000;
/// Highest rate of a source.
const MAX_EVENTS_PER_SECOND: u32 = 10_000_000;
/// Longest subject, in bytes.
const MAX_SUBJECT_BYTES: usize = 256;
/// Longest name of a stream, in bytes: it is a part of the ids of facts, which have at most 256.
pub const MAX_STREAM_BYTES: usize = 128;

/// A foreign stream, or foreign subjects, read through a mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceSpec {
    pub name: Name,
    pub origin: Upstream,
    /// What is read: filters of the stream, all of it when there are none; or the core subjects.
    pub subjects: Vec<String>,
    pub mapping: MappingName,
    /// For whom all events are, whatever the mapping says.
    pub tenant: Option<TenantId>,
    /// For whom events may be; for any tenant when absent.
    pub tenants: Option<BTreeSet<TenantId>>,
    /// Events that are published of it in a second, at most; as fast as INBOX takes them when absent.
    pub events_per_second: Option<u32>,
    /// The broker and user to read with; Daybook's own connection when absent.
    pub connection: Option<NatsOptions>,
}

impl SourceSpec {
    /// Whether events of it may be for that tenant.
    pub fn may_publish_for(&self, tenant: &TenantId) -> bool {
        self.tenants.as_ref().is_none_or(|tenants| tenants.contains(tenant))
    }
}

/// Where a source's messages come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Upstream {
    /// A JetStream stream. The broker keeps the position, so nothing is lost.
    Stream { name: String, from: StartFrom },
    /// Core subjects. A message that nobody hears is lost.
    Core,
}

/// Where a source begins that has no position yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartFrom {
    /// With the next message.
    New,
    All,
    /// With the first message that was stored at that time or later.
    Time(Instant),
}

/// A file of sources that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SourcesError {
    #[error("cannot read the file of sources {path:?} (--sources)")]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the file of sources {path:?} is longer than {MAX_FILE_BYTES} bytes")]
    TooLong { path: PathBuf },
    #[error("the file of sources {path:?}: {reason}")]
    Yaml { path: PathBuf, reason: String },
    #[error("the file of sources {path:?}: source {name}: {reason}")]
    Mistake { path: PathBuf, name: String, reason: String },
}

impl SourcesError {
    /// What is wrong, without the file's path.
    pub fn reason(&self) -> String {
        match self {
            Self::Read { source, .. } => format!("it cannot be read: {source}"),
            Self::TooLong { .. } => format!("it is longer than {MAX_FILE_BYTES} bytes"),
            Self::Yaml { reason, .. } => reason.clone(),
            Self::Mistake { name, reason, .. } => format!("source {name}: {reason}"),
        }
    }
}

/// Reads the file of sources. They come in the order of their names. Paths of files within it begin at the file's folder.
///
/// # Errors
/// When the file cannot be read or says something that cannot be; the text says where, and what to write.
pub fn load(path: &Path, subjects: &Subjects) -> Result<Vec<SourceSpec>, SourcesError> {
    parse(&read(path)?, path, subjects)
}

/// Reads the file's text.
///
/// # Errors
/// When it cannot be read, or is longer than [`MAX_FILE_BYTES`].
pub fn read(path: &Path) -> Result<String, SourcesError> {
    let read = read_at_most(path, MAX_FILE_BYTES);
    let text = read.map_err(|source| SourcesError::Read { path: path.to_owned(), source })?;
    text.ok_or_else(|| SourcesError::TooLong { path: path.to_owned() })
}

/// Reads the text of a file of sources; `path` is where it stands.
///
/// # Errors
/// As [`load`].
pub fn parse(text: &str, path: &Path, subjects: &Subjects) -> Result<Vec<SourceSpec>, SourcesError> {
    let wrong = |reason: String| SourcesError::Yaml { path: path.to_owned(), reason };
    let file: WrittenFile = serde_saphyr::from_str_with_options(text, serde_saphyr::options! { with_snippet: false })
        .map_err(|error| wrong(error.to_string().replace('\n', " ")))?;
    if file.sources.len() > MAX_SOURCES {
        let found = file.sources.len();
        return Err(wrong(format!("there are {found} sources; at most {MAX_SOURCES} are allowed in one file")));
    }
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut sources: Vec<SourceSpec> = Vec::with_capacity(file.sources.len());
    for written in file.sources {
        let name = written.name.clone();
        let mistake = |reason| SourcesError::Mistake { path: path.to_owned(), name: name.clone(), reason };
        let source = written.check(folder, subjects).map_err(mistake)?;
        if sources.iter().any(|known| known.name == source.name) {
            return Err(mistake("it is there twice; give each source a name of its own".to_owned()));
        }
        sources.push(source);
    }
    sources.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(sources)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenFile {
    sources: Vec<Written>,
}

/// A source as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    #[serde(default)]
    stream: Option<String>,
    #[serde(default)]
    subjects: Vec<String>,
    mapping: String,
    #[serde(default)]
    from: Option<String>,
    #[serde(default)]
    tenant: Option<String>,
    #[serde(default)]
    tenants: Option<Vec<String>>,
    #[serde(default)]
    events_per_second: Option<u32>,
    #[serde(default)]
    connection: Option<WrittenConnection>,
}

/// A connection as it is written. Secrets are in files, except those of a URL.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenConnection {
    nats: String,
    #[serde(default)]
    credentials: Option<PathBuf>,
    #[serde(default)]
    user: Option<String>,
    #[serde(default)]
    password_file: Option<PathBuf>,
    #[serde(default)]
    token_file: Option<PathBuf>,
    #[serde(default)]
    nkey: Option<PathBuf>,
    #[serde(default)]
    tls: bool,
    #[serde(default)]
    tls_first: bool,
    #[serde(default)]
    ca: Option<PathBuf>,
    #[serde(default)]
    cert: Option<PathBuf>,
    #[serde(default)]
    key: Option<PathBuf>,
}

impl Written {
    fn check(self, folder: &Path, own: &Subjects) -> Result<SourceSpec, String> {
        let named = |what: &str, error: NameError| format!("{what} {error}");
        let name = Name::new(&self.name).map_err(|error| named("its name", error))?;
        let mapping = self.mapping.parse().map_err(|error| format!("`mapping`: {error}; write KIND/NAME"))?;
        let tenant = self.tenant.map(|id| TenantId::new(&id).map_err(|error| named("`tenant`", error))).transpose()?;
        let tenants = self.tenants.map(|ids| check_tenants(&ids)).transpose()?;
        if tenant.is_some() && tenants.is_some() {
            return Err("it has both `tenant` and `tenants`; with `tenant` all events are for that one".to_owned());
        }
        if self.subjects.len() > MAX_SUBJECTS {
            return Err(format!("it has {} subjects; at most {MAX_SUBJECTS} are allowed", self.subjects.len()));
        }
        self.subjects.iter().try_for_each(|subject| check_subject(subject))?;
        let events_per_second = self.events_per_second;
        if events_per_second.is_some_and(|rate| !(1..=MAX_EVENTS_PER_SECOND).contains(&rate)) {
            return Err(format!("`events_per_second` must be 1 to {MAX_EVENTS_PER_SECOND}"));
        }
        let connection = self.connection.map(|connection| connection.options(folder));
        if let Some(connection) = &connection {
            connection.check().map_err(|error| format!("`connection`: {error}"))?;
        }
        let is_own = connection.is_none();
        let origin = match self.stream {
            Some(stream) => stream_origin(stream, self.from.as_deref(), is_own.then_some(own))?,
            None => core_origin(&self.subjects, self.from.is_some(), is_own.then_some(own))?,
        };
        let subjects = self.subjects;
        Ok(SourceSpec { name, origin, subjects, mapping, tenant, tenants, events_per_second, connection })
    }
}

fn check_tenants(ids: &[String]) -> Result<BTreeSet<TenantId>, String> {
    if ids.is_empty() || ids.len() > MAX_TENANTS {
        return Err(format!("`tenants` has {} tenants; name 1 to {MAX_TENANTS}, or leave it out", ids.len()));
    }
    let read = |id: &String| TenantId::new(id).map_err(|error| format!("`tenants`: {id:?} {error}"));
    ids.iter().map(read).collect()
}

/// `own` are the subjects of the Daybook that the source would be read beside.
fn stream_origin(stream: String, from: Option<&str>, own: Option<&Subjects>) -> Result<Upstream, String> {
    let bad = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '.' | '*' | '>' | '/' | '\\');
    if stream.is_empty() || stream.len() > MAX_STREAM_BYTES || stream.contains(bad) {
        return Err(format!(
            "`stream` is no name that can be read: 1 to {MAX_STREAM_BYTES} bytes without spaces and . * > / \\ are allowed"
        ));
    }
    if own.is_some_and(|own| own.has_stream(&stream)) {
        return Err(format!("the stream {stream} is Daybook's own; it cannot be read as a source"));
    }
    let from = match from {
        None | Some("new") => StartFrom::New,
        Some("all") => StartFrom::All,
        Some(time) => StartFrom::Time(time.parse().map_err(|_| {
            "`from` is none of new, all and a time in RFC 3339 such as 2024-03-01T00:00:00Z".to_owned()
        })?),
    };
    Ok(Upstream::Stream { name: stream, from })
}

fn core_origin(subjects: &[String], has_from: bool, own: Option<&Subjects>) -> Result<Upstream, String> {
    if subjects.is_empty() {
        return Err("it has neither `stream` nor `subjects`; name a stream, or core subjects".to_owned());
    }
    if has_from {
        return Err("`from` needs `stream`: core subjects have no past".to_owned());
    }
    for reserved in
        own.map(|own| format!("{}.>", own.prefix())).into_iter().chain(["$JS.>", "$SYS.>"].map(str::to_owned))
    {
        if let Some(subject) = subjects.iter().find(|subject| overlap(subject, &reserved)) {
            return Err(format!("the subject {subject} also means subjects of {reserved}, which are no source"));
        }
    }
    let pairs = subjects.iter().enumerate().flat_map(|(at, one)| subjects[..at].iter().map(move |other| (one, other)));
    if let Some((one, other)) = pairs.into_iter().find(|(one, other)| overlap(one, other)) {
        return Err(format!("a message may match both {other} and {one}, and would be taken twice"));
    }
    Ok(Upstream::Core)
}

fn check_subject(subject: &str) -> Result<(), String> {
    let bad = |c: char| c.is_whitespace() || c.is_control();
    let mut tokens = subject.split('.').peekable();
    let mut is_sound = !subject.is_empty() && subject.len() <= MAX_SUBJECT_BYTES && !subject.contains(bad);
    while let Some(token) = tokens.next() {
        is_sound &= !token.is_empty() && (token != ">" || tokens.peek().is_none());
    }
    match is_sound {
        true => Ok(()),
        false => Err(format!(
            "{:?} is no subject: 1 to {MAX_SUBJECT_BYTES} bytes, tokens between dots, * for any token, > for all at the end",
            subject.chars().take(64).collect::<String>()
        )),
    }
}

impl WrittenConnection {
    fn options(self, folder: &Path) -> NatsOptions {
        let beside = |file: Option<PathBuf>| file.map(|file| folder.join(file));
        NatsOptions {
            nats_credentials: beside(self.credentials),
            nats_user: self.user,
            nats_password_file: beside(self.password_file),
            nats_token_file: beside(self.token_file),
            nats_nkey: beside(self.nkey),
            nats_tls: self.tls,
            nats_tls_first: self.tls_first,
            nats_ca: beside(self.ca),
            nats_cert: beside(self.cert),
            nats_key: beside(self.key),
            ..NatsOptions::at(&self.nats)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<SourceSpec>, String> {
        let subjects = Subjects::new("daybook").unwrap();
        parse(text, Path::new("/etc/daybook/sources.yaml"), &subjects).map_err(|error| error.to_string())
    }

    fn refused(source: &str) -> String {
        read(&format!("sources:\n  - {source}\n")).unwrap_err()
    }

    #[test]
    fn a_file_of_sources_is_read_whole_and_ordered() {
        let sources = read(
            "sources:
  - { name: web, subjects: [clicks.*], mapping: click/web, tenant: acme }
  - { name: shop, stream: ORDERS, subjects: [orders.*.created], mapping: sale/shop, from: all }
  - name: past
    stream: ORDERS
    mapping: shop
    tenants: [zeta, acme]
    from: 2024-03-01T00:00:00Z
    connection: { nats: \"nats://orders:4222\", credentials: keys/orders.creds, ca: /ca.pem }
",
        )
        .unwrap();
        let names: Vec<&str> = sources.iter().map(|source| source.name.as_str()).collect();
        assert_eq!(names, ["past", "shop", "web"]);
        let connection = sources[0].connection.as_ref().unwrap();
        assert_eq!(connection.nats_credentials.as_deref(), Some(Path::new("/etc/daybook/keys/orders.creds")));
        assert_eq!(connection.nats_ca.as_deref(), Some(Path::new("/ca.pem")));
        let tenants: Vec<_> = sources[0].tenants.iter().flatten().map(TenantId::as_str).collect();
        assert_eq!((tenants, &sources[1].tenants), (vec!["acme", "zeta"], &None));
        let time = StartFrom::Time("2024-03-01T00:00:00Z".parse().unwrap());
        assert_eq!(sources[0].origin, Upstream::Stream { name: "ORDERS".to_owned(), from: time });
        assert_eq!(sources[1].origin, Upstream::Stream { name: "ORDERS".to_owned(), from: StartFrom::All });
        assert_eq!((&sources[2].origin, sources[2].tenant.as_ref().unwrap().as_str()), (&Upstream::Core, "acme"));
        assert!(read("sources: []").unwrap().is_empty());
    }

    #[test]
    fn a_mistake_is_named_with_what_to_write() {
        for (source, told) in [
            ("{ name: a b, stream: S, mapping: k/m }", "its name contains ' '"),
            ("{ name: a, stream: S, mapping: k/m/n }", "write KIND/NAME"),
            ("{ name: a, stream: S.T, mapping: k/m }", "`stream` is no name"),
            ("{ name: a, stream: DAYBOOK_EVENTS, mapping: k/m }", "Daybook's own"),
            ("{ name: a, stream: S, mapping: k/m, from: yesterday }", "`from` is none of new, all"),
            ("{ name: a, mapping: k/m }", "neither `stream` nor `subjects`"),
            ("{ name: a, subjects: [\"x\"], mapping: k/m, from: all }", "core subjects have no past"),
            ("{ name: a, subjects: [\"x..y\"], mapping: k/m }", "is no subject"),
            ("{ name: a, subjects: [\"x.>.y\"], mapping: k/m }", "is no subject"),
            ("{ name: a, subjects: [\"x y\"], mapping: k/m }", "is no subject"),
            ("{ name: a, subjects: [\"*.rejects.>\"], mapping: k/m }", "which are no source"),
            ("{ name: a, subjects: [\">\"], mapping: k/m }", "which are no source"),
            ("{ name: a, subjects: [\"x.*\", \"x.>\"], mapping: k/m }", "taken twice"),
            ("{ name: a, strem: S, mapping: k/m }", "strem"),
            ("{ name: a, stream: S, mapping: k/m, events_per_second: 0 }", "must be 1 to"),
            ("{ name: a, stream: S, mapping: k/m, tenants: [] }", "`tenants` has 0 tenants"),
            ("{ name: a, stream: S, mapping: k/m, tenants: [a.b] }", "`tenants`: \"a.b\""),
            ("{ name: a, stream: S, mapping: k/m, tenant: a, tenants: [a] }", "both `tenant` and `tenants`"),
            ("{ name: a, stream: S }", "mapping"),
            ("{ name: a, stream: S, mapping: k/m, connection: { nats: \"http:// x\" } }", "`connection`"),
        ] {
            let why = refused(source);
            assert!(why.contains(told) && why.contains("sources.yaml"), "{source}: {why}");
        }
        let twice = "sources:\n  - &a { name: a, stream: S, mapping: k/m }\n  - *a\n";
        assert!(read(twice).unwrap_err().contains("there twice"));
        let many: String =
            (0..=MAX_SOURCES).map(|n| format!("  - {{ name: s{n}, stream: S, mapping: m }}\n")).collect();
        assert!(read(&format!("sources:\n{many}")).unwrap_err().contains("at most 64"));
        let secret = refused("{ name: a, stream: S, mapping: k/m, connection: { nats: \"nats://u:hunter2/@h\" } }");
        assert!(!secret.contains("hunter2"), "{secret}");
    }
}
