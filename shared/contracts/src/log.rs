//! EVENTS, the log of record. One message is one batch of one partition, in MessagePack.
//!
//! A batch covers every INBOX message of its partition after its predecessor's [`Batch::through`] and up to its own.
//! Nothing else decides state: an aggregator-shard is a function of these records in this order.

mod decode;
mod encode;

use crate::day::DayMarker;
use crate::reject::Reject;
use compact_str::CompactString;
use daybook_domain::catalogue::{Definition, Status};
use daybook_domain::ids::{InboxSeq, Name, TenantId};
use daybook_domain::time::{Date, Instant};
use serde::{Deserialize, Deserializer, Serialize};
use smallvec::{Array, SmallVec};

/// Version of the encoding; a batch of another one is refused.
pub const FORMAT: u8 = 1;

/// One message of EVENTS.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Batch {
    pub format: u8,
    pub through: Through,
    pub records: Vec<Record>,
}

/// How far into INBOX the log reaches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Through {
    /// The last INBOX sequence of this partition that is covered.
    pub inbox: InboxSeq,
    /// 0 when that message is covered as a whole; otherwise how many of its events are: a message that makes more
    /// than one batch is read again for the rest.
    pub events: u32,
}

impl Through {
    /// Where reading goes on in INBOX.
    pub fn next(self) -> u64 {
        if self.events == 0 { self.inbox.0 + 1 } else { self.inbox.0 }
    }

    /// The last message that is covered as a whole.
    pub fn whole(self) -> InboxSeq {
        InboxSeq(self.next() - 1)
    }
}

impl Ord for Through {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        // A whole message reaches further than any part of it.
        let key = |through: &Self| (through.inbox, if through.events == 0 { u32::MAX } else { through.events });
        key(self).cmp(&key(other))
    }
}

impl PartialOrd for Through {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// How far a log reaches into what it is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    pub through: Through,
    /// The last sequence of CATALOG taken in.
    pub catalog: u64,
    /// The last sequence of DAYS taken in.
    pub days: u64,
    /// A [`Restate`] is still to come for events up to here.
    pub restating: bool,
}

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Record {
    #[serde(rename = "e")]
    Events(Events),
    #[serde(rename = "r")]
    Rejected(Reject),
    #[serde(rename = "d")]
    Day(DayMarker),
    #[serde(rename = "c")]
    Define(Definition),
    #[serde(rename = "s")]
    Restate(Restate),
}

/// Closed days that late events before it have changed get a new report version here. ingest writes it, by its clock; nothing
/// happens where no day waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restate {
    /// Whose days; those of every tenant of the partition when absent.
    pub tenant: Option<TenantId>,
}

/// The valid events of one INBOX message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Events {
    pub inbox: InboxSeq,
    pub tenant: TenantId,
    pub kind: Name,
    pub events: Vec<Event>,
}

/// A valid event with its business day stamped on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Its place in the message it came in, from 0.
    pub index: u32,
    pub date: Date,
    pub at: Instant,
    /// Always present on entities.
    pub id: Option<CompactString>,
    /// Absent: newer than what came before.
    pub version: Option<u64>,
    pub status: Status,
    /// In the order of the kind's dimensions.
    #[serde(deserialize_with = "columns")]
    pub dims: Dims,
    /// Unscaled, in the order of the kind's measures.
    #[serde(deserialize_with = "columns")]
    pub measures: Measures,
}

/// By way of a list, which does not take the memory that a false length claims.
fn columns<'de, D: Deserializer<'de>, A: Array<Item: Deserialize<'de>>>(from: D) -> Result<SmallVec<A>, D::Error> {
    Vec::deserialize(from).map(SmallVec::from_vec)
}

/// The dimensions of an event: those of most kinds need no memory of their own.
pub type Dims = SmallVec<[Option<CompactString>; 3]>;
/// Likewise its measures.
pub type Measures = SmallVec<[Option<i64>; 2]>;

/// A batch that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    #[error("not a batch of EVENTS: {0}")]
    Malformed(#[from] rmp_serde::decode::Error),
    #[error("batch format {0} is not the one this version reads ({FORMAT}); upgrade this service")]
    Format(u8),
}

impl Batch {
    pub fn encode(&self) -> Vec<u8> {
        encode::batch(self)
    }

    /// # Errors
    /// When the bytes are no batch, or one of another format.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        match bytes {
            // An array of three whose first element is the format, a small integer.
            [0x93, format, ..] if *format != FORMAT => Err(DecodeError::Format(*format)),
            _ => match decode::batch(bytes) {
                Some(batch) => Ok(batch),
                None => Ok(rmp_serde::from_slice(bytes)?),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reject::{Code, Original, Span};

    #[test]
    fn golden_bytes_of_a_batch() {
        let batch = Batch {
            format: FORMAT,
            through: Through { inbox: InboxSeq(7), events: 0 },
            records: vec![Record::Events(Events {
                inbox: InboxSeq(7),
                tenant: TenantId::new("ABQ").unwrap(),
                kind: Name::new("f").unwrap(),
                events: vec![Event {
                    index: 0,
                    date: Date::from_days(1),
                    at: Instant::from_millis(86_400_000),
                    id: Some("x".into()),
                    version: Some(2),
                    status: Status::Final,
                    dims: vec![Some("B6".into()), None].into(),
                    measures: vec![Some(-5)].into(),
                }],
            })],
        };
        let bytes = batch.encode();
        let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(
            hex,
            "930192070091\
             81a1659407a3414251a16691980001ce05265c00a17802a566696e616c92a24236c091fb"
        );
        assert_eq!(Batch::decode(&bytes).unwrap(), batch);
        let mut other = bytes;
        other[1] = 9;
        assert!(matches!(Batch::decode(&other), Err(DecodeError::Format(9))));
        assert!(Batch::decode(b"garbage").is_err());
    }

    pub(super) fn day_marker() -> DayMarker {
        use crate::day::Edge;
        use daybook_domain::calendar::BusinessDay;
        let at = Instant::from_millis(1_362_904_200_123);
        DayMarker {
            generation: 0,
            tenant: TenantId::new("T").unwrap(),
            edge: Edge::Closed,
            day: BusinessDay { date: Date::from_days(15_774), opens_at: at, closes_at: at },
            due_at: at,
            calendar: Name::new("c").unwrap(),
            calendar_revision: 4,
            tzdb: "2026a".into(),
        }
    }

    #[test]
    fn every_record_comes_back() {
        use daybook_domain::calendar::CalendarTable;
        use daybook_domain::catalogue::{
            Activation, CalendarRule, Dimension, Direction, Earliest, Grain, Kind, LatePolicy, Measure, Metric, Mode,
            RankedBy, Ranking, Removal, Season, Tenant, Ties, View, only_final,
        };
        use daybook_domain::quotas::Quotas;
        let name = |text: &str| Name::new(text).unwrap();
        let date = Date::from_days(15_774);
        let at = Instant::from_millis(1_362_904_200_123);
        let records = vec![
            Record::Rejected(Reject {
                code: Code::WrongType,
                reason: "r".into(),
                tenant: "T".into(),
                kind: "k".into(),
                inbox: InboxSeq(3),
                index: 1,
                field: None,
                date: Some(date),
                original: Original::new(b"\xff{}"),
                span: None,
            }),
            Record::Day(day_marker()),
            Record::Restate(Restate { tenant: None }),
            Record::Restate(Restate { tenant: Some(TenantId::new("T").unwrap()) }),
            Record::Define(Definition::Kind(Kind {
                name: name("k"),
                mode: Mode::Fact,
                dimensions: vec![Dimension { name: name("d"), field: None }],
                measures: vec![Measure { name: name("m"), scale: 2 }],
                revision: 1,
                mappings: Vec::new(),
                remember: None,
            })),
            Record::Define(Definition::View(View {
                grain: Grain::Hour,
                late: LatePolicy::Reject,
                ranking: Some(Ranking {
                    by: vec![RankedBy { metric: name("n"), direction: Direction::Asc }],
                    ties: Ties::Dense,
                    earliest: Earliest::LatestTime,
                }),
                tenants: Some([TenantId::new("T").unwrap()].into()),
                ..View::new(
                    name("v"),
                    name("k"),
                    vec![],
                    vec![Metric { name: name("n"), value: "count".into(), filter: None, status: only_final() }],
                )
            })),
            Record::Define(Definition::Activation(Activation {
                view: name("v"),
                revision: 1,
                since: Some(daybook_domain::ids::LogSeq(3)),
            })),
            Record::Define(Definition::Tenant(Tenant {
                generation: 0,
                boundaries: Vec::new(),
                alerts: Default::default(),
                id: TenantId::new("T").unwrap(),
                name: None,
                calendar: vec![CalendarRule {
                    from: Date::MIN,
                    zone: "Etc/UTC".into(),
                    cutoff_minutes: 300,
                    named_by: Default::default(),
                }],
                grace_ms: 0,
                first_day: date,
                clock: name("system"),
                revision: 1,
                table: None,
                seasons: vec![Season { name: name("s"), from: at, to: at }],
                quotas: Default::default(),
                restate_after_ms: None,
                max_ahead_ms: None,
            })),
            Record::Define(Definition::Calendar(CalendarTable {
                name: name("c"),
                revision: 1,
                tzdb: "2026a".into(),
                first: date,
                cutoffs: vec![at, at],
                offsets: Vec::new(),
            })),
        ];
        let mut records = records;
        let limited = |record: &Record| match record {
            Record::Rejected(reject) => {
                let span = Some(Span { events: 10_000, last: InboxSeq(9) });
                Some(Record::Rejected(Reject { span, code: Code::QuotaEvents, ..reject.clone() }))
            }
            Record::Define(Definition::Tenant(tenant)) => {
                let quotas = Quotas { groups: Some(5), ..Quotas::default() };
                Some(Record::Define(Definition::Tenant(Tenant { quotas, ..tenant.clone() })))
            }
            Record::Define(Definition::View(view)) => {
                let ranking = view.ranking.clone().map(|own| Ranking { earliest: Earliest::Reached, ..own });
                Some(Record::Define(Definition::View(View { ranking, ..view.clone() })))
            }
            _ => None,
        };
        let gathered = |record: &Record| match record {
            Record::Define(Definition::Tenant(tenant)) => {
                Some(Record::Define(Definition::Tenant(Tenant { restate_after_ms: Some(60_000), ..tenant.clone() })))
            }
            _ => None,
        };
        records.extend([
            Record::Define(Definition::Removal(Removal::Tenant {
                id: TenantId::new("T").unwrap(),
                revision: 7,
                generation: 1,
                purge: true,
            })),
            Record::Define(Definition::Removal(Removal::View { name: name("v"), revision: 2 })),
            Record::Define(Definition::Removal(Removal::Kind { name: name("k"), revision: 3 })),
            Record::Day(DayMarker { generation: 2, ..day_marker() }),
        ]);
        let mut more: Vec<Record> = records.iter().filter_map(limited).collect();
        // With and without quotas before it.
        more.extend(records.iter().chain(&more).filter_map(gathered).collect::<Vec<_>>());
        assert_eq!(more.len(), 5);
        records.extend(more);
        for record in records {
            let batch = Batch { format: FORMAT, through: Through::default(), records: vec![record] };
            let bytes = batch.encode();
            assert_eq!(bytes, rmp_serde::to_vec(&batch).unwrap(), "what serde writes");
            assert_eq!(Batch::decode(&bytes).map_err(|error| format!("{error:?}")), Ok(batch));
        }
    }

    /// `false` and `true` are what earlier builds wrote; the present meaning has a word of its own.
    #[test]
    fn golden_forms_of_rankings() {
        use daybook_domain::catalogue::{Direction, Earliest, RankedBy, Ranking, Ties};
        let by = || vec![RankedBy { metric: Name::new("n").unwrap(), direction: Direction::Desc }];
        for (earliest, json, hex) in [
            (Earliest::No, "false", "c2"),
            (Earliest::LatestTime, "true", "c3"),
            (Earliest::Reached, r#""reached""#, "a772656163686564"),
        ] {
            let ranking = Ranking { by: by(), ties: Ties::Dense, earliest };
            let text = format!(r#"{{"by":[{{"metric":"n","direction":"desc"}}],"ties":"dense","earliest":{json}}}"#);
            assert_eq!(serde_json::to_string(&ranking).unwrap(), text);
            assert_eq!(serde_json::from_str::<Ranking>(&text).unwrap(), ranking);
            let bytes = rmp_serde::to_vec(&ranking).unwrap();
            let written: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(written, format!("93919{}{hex}", "2a16ea464657363a564656e7365"));
            assert_eq!(rmp_serde::from_slice::<Ranking>(&bytes).unwrap(), ranking);
        }
        let error = serde_json::from_str::<Earliest>(r#""soon""#).unwrap_err().to_string();
        assert!(error.contains(r#"expected true, false or "reached""#), "{error}");
    }

    #[test]
    fn golden_bytes_of_a_restatement() {
        let batch = |tenant| {
            let record = Record::Restate(Restate { tenant });
            let through = Through { inbox: InboxSeq(7), events: 0 };
            Batch { format: FORMAT, through, records: vec![record] }.encode()
        };
        let hex = |bytes: Vec<u8>| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        assert_eq!(hex(batch(None)), "930192070091".to_owned() + "81a17391c0");
        assert_eq!(hex(batch(Some(TenantId::new("ABQ").unwrap()))), "930192070091".to_owned() + "81a17391a3414251");
    }

    #[test]
    fn a_tenant_without_an_interval_of_restatements_is_written_as_before() {
        use daybook_domain::catalogue::Tenant;
        let json = r#"{"id":"T","name":null,"calendar":[],"grace_ms":0,"first_day":"2013-03-10","clock":"system","revision":1,"table":null,"seasons":[]}"#;
        let tenant: Tenant = serde_json::from_str(json).unwrap();
        assert_eq!(tenant.restate_after(), None);
        assert_eq!(serde_json::to_string(&tenant).unwrap(), json);
        // Nine fields by position, as ever.
        assert_eq!(rmp_serde::to_vec(&tenant).unwrap()[0], 0x99);
        let gathered = Tenant { restate_after_ms: Some(60_000), ..tenant };
        let json = serde_json::to_string(&gathered).unwrap();
        assert!(json.ends_with(r#""seasons":[],"restate_after_ms":60000}"#), "{json}");
        assert_eq!(serde_json::from_str::<Tenant>(&json).unwrap(), gathered);
        let bytes = rmp_serde::to_vec(&gathered).unwrap();
        assert_eq!((bytes[0], rmp_serde::from_slice::<Tenant>(&bytes).unwrap()), (0x9b, gathered));
    }

    #[test]
    fn a_log_without_removals_is_what_it_was_before_there_were_any() {
        let marker = day_marker();
        assert_eq!(rmp_serde::to_vec(&marker).unwrap()[0], 0x97, "seven fields");
        assert!(!serde_json::to_string(&marker).unwrap().contains("generation"));
        let later = DayMarker { generation: 1, ..marker };
        assert_eq!(rmp_serde::to_vec(&later).unwrap()[0], 0x98);
        let removal = Definition::Removal(daybook_domain::catalogue::Removal::Tenant {
            id: TenantId::new("T").unwrap(),
            revision: 7,
            generation: 1,
            purge: false,
        });
        let json = r#"{"removal":{"tenant":{"id":"T","revision":7,"generation":1,"purge":false}}}"#;
        assert_eq!(serde_json::to_string(&removal).unwrap(), json);
        assert_eq!((removal.what(), removal.name()), ("tenant", "T"));
        let json = r#"{"id":"T","name":null,"calendar":[],"grace_ms":0,"first_day":"2013-03-10","clock":"system","revision":1,"table":null,"seasons":[],"generation":3}"#;
        let tenant: daybook_domain::catalogue::Tenant = serde_json::from_str(json).unwrap();
        assert_eq!(serde_json::to_string(&tenant).unwrap(), json);
        let bytes = rmp_serde::to_vec(&tenant).unwrap();
        assert_eq!(
            (bytes[0], rmp_serde::from_slice(&bytes).unwrap()),
            (0x9d, tenant),
            "by position, with all before it"
        );
    }

    #[test]
    fn a_log_without_quotas_is_what_it_was_before_there_were_any() {
        let reject = Reject {
            code: Code::Malformed,
            reason: "r".into(),
            tenant: "T".into(),
            kind: "k".into(),
            inbox: InboxSeq(3),
            index: 1,
            field: None,
            date: None,
            original: Original::new(b"x"),
            span: None,
        };
        let bytes = rmp_serde::to_vec(&reject).unwrap();
        // Nine fields, the last of them the original.
        assert_eq!((bytes[0], &bytes[bytes.len() - 5..]), (0x99, &[0x92, 0xc4, 1, b'x', 1][..]), "{bytes:?}");
        assert_eq!(rmp_serde::from_slice::<Reject>(&bytes).unwrap(), reject);
        let json = serde_json::to_string(&reject).unwrap();
        assert!(!json.contains("span"), "{json}");
    }
}
