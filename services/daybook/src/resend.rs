//! Decides which rejected originals are sent again, as what, and why others are not. Pure.
//!
//! Nothing may count twice. A reject was never counted. What is sent again needs an id by which a second time is known: its own, or for
//! a fact of Daybook's own form one that says which reject it was. It needs a version, too, or it would replace what came since.

use connect::sources::SourceSpec;
use daybook_contracts::event::{Encoding, Problem, ValidEvent, read};
use daybook_contracts::reject::{Code, MAX_ORIGINAL_BYTES, Reject};
use daybook_contracts::subjects::UNMAPPED_TENANT;
use daybook_domain::catalogue::{Kind, Mode};
use daybook_domain::ids::{InboxSeq, TenantId};
use daybook_mapping::{MappedEvent, Outcome, RecordMapper, Unmapped};

/// Places that an INBOX message has room for in the numbers of originals; a message has at most 10,000 events.
const PLACES: u64 = 1 << 14;

/// How originals are read.
#[derive(Clone, Copy)]
pub enum Reading<'m> {
    /// As events of Daybook's own form.
    Canonical { kinds: &'m [Kind] },
    /// As foreign records, through a mapping; as `source` would, where that is known.
    Mapped { mapper: &'m RecordMapper, source: Option<Meant<'m>> },
}

/// The source that originals are sent through.
#[derive(Clone, Copy)]
pub struct Meant<'m> {
    pub source: &'m SourceSpec,
    /// All sources of its file. A reject does not say which of them refused a record.
    pub all: &'m [SourceSpec],
}

impl<'m> Meant<'m> {
    /// The source that stands against an event for that tenant. What some source `refused` as none of its tenants goes only where
    /// each of them may publish.
    fn against(self, tenant: &TenantId, refused: bool) -> Option<&'m SourceSpec> {
        let kind = &self.source.mapping.kind;
        // A mapping may be named without its kind.
        let is_alike = |other: &&SourceSpec| {
            [kind, &other.mapping.kind].iter().any(|it| it.is_none()) || other.mapping.kind == *kind
        };
        let others = self.all.iter().filter(|other| refused && is_alike(other));
        std::iter::once(self.source).chain(others).find(|source| !source.may_publish_for(tenant))
    }
}

/// Tells one original from all others: by its message and its place there.
pub fn number(reject: &Reject) -> u64 {
    reject.inbox.0.saturating_mul(PLACES).saturating_add(u64::from(reject.index) % PLACES)
}

/// The message whose original has that number.
pub fn message(number: u64) -> InboxSeq {
    InboxSeq(number / PLACES)
}

/// The events that are sent again for a reject, in Daybook's own form. With `replacing` also entities without a version.
///
/// # Errors
/// Why nothing is sent, for people.
pub fn events(reject: &Reject, tenant: &str, reading: Reading<'_>, replacing: bool) -> Result<Vec<Vec<u8>>, String> {
    match reject.code {
        Code::StaleVersion | Code::VersionConflict => {
            return Err(
                "its id is known with other content; the reason of the reject says what to publish instead".to_owned()
            );
        }
        _ if reject.span.is_some() => {
            return Err(format!("the reject stands for {} events and has no original", reject.events()));
        }
        _ => {}
    }
    let original = reject.original.bytes();
    if reject.original.is_cut() {
        let (total, kept) = (reject.original.total(), original.len());
        return Err(format!("the original is cut short: {kept} of at least {total} bytes are kept"));
    }
    // Earlier versions cut at the bound without saying so.
    if original.len() == MAX_ORIGINAL_BYTES || original.is_empty() {
        return Err(format!("the original may be cut short: {} bytes are kept", original.len()));
    }
    match reading {
        Reading::Canonical { kinds } => canonical(reject, tenant, kinds, replacing).map(|event| vec![event]),
        Reading::Mapped { mapper, source } => mapped(reject, mapper, source, replacing),
    }
}

fn canonical(reject: &Reject, tenant: &str, kinds: &[Kind], replacing: bool) -> Result<Vec<u8>, String> {
    let kind = kinds.iter().find(|kind| kind.name.as_str() == reject.kind);
    let kind = kind.ok_or_else(|| format!("there is still no kind {}", reject.kind))?;
    let original = reject.original.bytes();
    let mut read = read(original, Encoding::Json, tenant, kind);
    // One event: an array was rejected as a whole.
    let event = match (read.pop().map(|read| read.outcome), read.is_empty()) {
        (Some(Ok(event)), true) => event,
        (Some(Err(Problem { reason, .. })), true) => return Err(format!("{reason}; a foreign record needs --mapping")),
        _ => return Err("the original is a list of events; publish them again".to_owned()),
    };
    check_version(kind, &event, replacing)?;
    Ok(original.to_vec())
}

fn mapped(
    reject: &Reject,
    mapper: &RecordMapper,
    source: Option<Meant<'_>>,
    replacing: bool,
) -> Result<Vec<Vec<u8>>, String> {
    // connect refuses so what a source must not publish. Without the source nobody knows what it may.
    let refused = reject.tenant == UNMAPPED_TENANT && reject.code == Code::UnknownTenant;
    if refused && source.is_none() {
        let reason = &reject.reason;
        return Err(format!("{reason}; --source NAME sends what the source may publish"));
    }
    if reject.kind != mapper.kind.name.as_str() {
        return Err(format!("it is of the kind {}, and the mapping is for {}", reject.kind, mapper.kind.name));
    }
    let record = daybook_mapping::Record::of(reject.original.bytes());
    let mut events = Vec::new();
    for outcome in mapper.map_record(&record) {
        match outcome {
            Outcome::PassedOver(_) => {}
            Outcome::Unmapped(Unmapped { problem, .. }) => return Err(problem.reason),
            Outcome::Event(made) => {
                if let Some(source) = source.and_then(|meant| meant.against(&made.tenant, refused)) {
                    let (tenant, name) = (&made.tenant, &source.name);
                    return Err(format!(
                        "the event is for {tenant}, which is none of the `tenants` of the source {name}"
                    ));
                }
                check_identity(&made, mapper)?;
                check_version(&mapper.kind, &made.event, replacing)?;
                events.push(mapper.envelope(&made));
            }
        }
    }
    if events.is_empty() {
        return Err("the mapping's `when` does not hold: it is no event".to_owned());
    }
    Ok(events)
}

/// A door may have rejected the same record twice. Without an id nobody could tell.
fn check_identity(made: &MappedEvent, mapper: &RecordMapper) -> Result<(), String> {
    match made.event.id {
        Some(_) => Ok(()),
        None => {
            Err(format!("the mapping {} gives facts no id, so it could count twice; add an id", mapper.mapper.name()))
        }
    }
}

fn check_version(kind: &Kind, event: &ValidEvent, replacing: bool) -> Result<(), String> {
    match kind.mode == Mode::Entity && event.version.is_none() && !replacing {
        true => {
            Err("it has no version, so it would replace what came since; --replace sends it all the same".to_owned())
        }
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definitions;
    use daybook_contracts::reject::{Original, Span};
    use daybook_mapping::Zones;
    use std::path::PathBuf;

    const KINDS: &str = "
kinds:
  - name: sale
    mode: entity
    measures: [total]
    mappings:
      - { name: shop, tenant: { const: acme }, id: /id, version: /v, at: { path: /at, as: epoch_s }, measures: { total: /total } }
      - { name: lines, tenant: { const: acme }, explode: /lines, id: [/id, ./n], version: /v, at: { path: /at, as: epoch_s } }
  - name: click
    mode: fact
    mappings: [{ name: web, tenant: { const: acme }, at: { path: /at, as: epoch_s } }]
";

    fn kinds() -> Vec<Kind> {
        definitions::load(&[(PathBuf::from("x.yaml"), KINDS.to_owned())], &[]).unwrap().apply.kinds
    }

    fn reject(kind: &str, original: &str) -> Reject {
        Reject {
            code: Code::WrongType,
            reason: "r".into(),
            tenant: "acme".into(),
            kind: kind.into(),
            inbox: InboxSeq(7),
            index: 2,
            field: None,
            date: None,
            original: Original::new(original.as_bytes()),
            span: None,
        }
    }

    fn told(reject: &Reject, replacing: bool) -> Result<String, String> {
        let events = events(reject, "acme", Reading::Canonical { kinds: &kinds() }, replacing)?;
        Ok(events.into_iter().map(|event| String::from_utf8(event).unwrap()).collect())
    }

    fn told_through(mapping: &str, reject: &Reject) -> Result<String, String> {
        told_of(mapping, None, reject)
    }

    fn told_of(mapping: &str, source: Option<&SourceSpec>, reject: &Reject) -> Result<String, String> {
        let mapper = RecordMapper::find(&kinds(), &mapping.parse().unwrap(), Zones::default(), None).unwrap();
        let source = source.map(|source| Meant { source, all: std::slice::from_ref(source) });
        let events = events(reject, "acme", Reading::Mapped { mapper: &mapper, source }, false)?;
        Ok(events.into_iter().map(|event| String::from_utf8(event).unwrap()).collect())
    }

    #[test]
    fn events_that_are_sound_now_are_sent_as_they_came() {
        let at = r#""at": "2024-03-01T12:00:00Z""#;
        let sound = format!(r#"{{"id": "a", "version": 3, {at}}}"#);
        assert_eq!(told(&reject("sale", &sound), false).unwrap(), sound);
        let fact = format!("{{{at}}}");
        assert_eq!(told(&reject("click", &fact), false).unwrap(), fact);
        let unversioned = reject("sale", &format!(r#"{{"id": "a", {at}}}"#));
        assert!(told(&unversioned, false).unwrap_err().contains("--replace"));
        assert!(told(&unversioned, true).is_ok());
        for (reject, why) in [
            (reject("sale", "{\"id\": \"a\"}"), "--mapping"),
            (reject("tree", &sound), "still no kind tree"),
            (reject("sale", &format!("[{sound}, {sound}]")), "list of events"),
            (reject("sale", ""), "cut short"),
            (reject("sale", &"x".repeat(MAX_ORIGINAL_BYTES)), "cut short"),
            (reject("sale", &"x".repeat(MAX_ORIGINAL_BYTES + 1)), "cut short"),
            (Reject { code: Code::StaleVersion, ..reject("sale", &sound) }, "known with other content"),
            (Reject { span: Some(Span { events: 9, last: InboxSeq(8) }), ..reject("sale", "") }, "9 events"),
        ] {
            let told = told(&reject, true).unwrap_err();
            assert!(told.contains(why), "{told}");
        }
    }

    #[test]
    fn records_are_sent_once_the_mapping_reads_them() {
        let record = r#"{"id": 5, "v": 1, "at": 1709294400, "total": 9}"#;
        let event = told_through("sale/shop", &reject("sale", record)).unwrap();
        assert!(event.contains(r#""id":"5""#) && event.contains(r#""total":9"#), "{event}");
        let still = told_through("sale/shop", &reject("sale", &record.replace("9}", "\"x\"}"))).unwrap_err();
        assert!(still.contains("/total"), "{still}");
        let lines = r#"{"id": 5, "v": 1, "at": 1709294400, "lines": [{"n": 1}, {"n": 2}]}"#;
        assert_eq!(told_through("sale/lines", &reject("sale", lines)).unwrap().matches(r#""id":"5:"#).count(), 2);
        let item = told_through("sale/lines", &reject("sale", r#"{"n": 1}"#)).unwrap_err();
        assert!(item.contains("/lines is missing"), "{item}");
        assert!(told_through("click/web", &reject("click", "{\"at\": 1709294400}")).unwrap_err().contains("add an id"));
        assert!(told_through("sale/shop", &reject("click", record)).unwrap_err().contains("is for sale"));
    }

    #[test]
    fn what_a_source_must_not_publish_is_not_sent_for_it() {
        let sources = "sources:
  - { name: own, stream: S, mapping: sale/shop, tenants: [acme, beta] }
  - { name: other, stream: S, mapping: sale/shop, tenants: [beta] }
  - { name: any, stream: S, mapping: sale/shop }
";
        let subjects = daybook_contracts::subjects::Subjects::new("daybook").unwrap();
        let sources = connect::sources::parse(sources, std::path::Path::new("s.yaml"), &subjects).unwrap();
        let source = |name: &str| sources.iter().find(|source| source.name.as_str() == name);
        let record = reject("sale", r#"{"id": 5, "v": 1, "at": 1709294400, "total": 9}"#);
        let refused = Reject { tenant: UNMAPPED_TENANT.into(), code: Code::UnknownTenant, ..record.clone() };
        for reject in [record, refused.clone()] {
            assert!(told_of("sale/shop", source("own"), &reject).is_ok());
            assert!(told_of("sale/shop", source("any"), &reject).is_ok());
            let why = told_of("sale/shop", source("other"), &reject).unwrap_err();
            assert!(why.contains("is for acme") && why.contains("source other"), "{why}");
        }
        assert!(told_through("sale/shop", &refused).unwrap_err().contains("--source"));

        // Any of the file may have refused it.
        let meant = Meant { source: source("any").unwrap(), all: &sources };
        let [acme, beta] = ["acme", "beta"].map(|id| TenantId::new(id).unwrap());
        assert_eq!(meant.against(&acme, true).map(|source| source.name.as_str()), Some("other"));
        assert_eq!((meant.against(&acme, false), meant.against(&beta, true)), (None, None));
    }

    #[test]
    fn numbers_tell_originals_apart() {
        let at = |inbox, index| number(&Reject { inbox: InboxSeq(inbox), index, ..reject("sale", "") });
        assert_eq!(message(at(7, 9_999)), InboxSeq(7));
        assert!(at(7, 0) < at(7, 1) && at(7, 9_999) < at(8, 0));
    }
}
