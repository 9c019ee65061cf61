//! Mappings and the records that go through them. A mapping has mistakes or maps anything: the same each time, within bounds. An
//! event that it makes is read by ingest as what it is; what is no event says why, and shows a piece of the record.

use super::{choice, chosen};
use daybook_contracts::event::{Encoding, MAX_REASON_CHARS, read};
use daybook_domain::catalogue::{Dimension, Kind, Measure, Mode, Status};
use daybook_domain::ids::{Name, TenantId};
use daybook_domain::mapping::Mapping;
use daybook_mapping::{MAX_OUTCOMES, Mapper, Outcome, Preset, Record, Zones, envelope};

/// Between a mapping and a record.
const SEPARATOR: u8 = b'\n';

/// A kind with columns of every sort.
fn kind(mode: Mode) -> Kind {
    let name = |text: &str| Name::new(text).expect("a name");
    Kind {
        name: name("sale"),
        mode,
        dimensions: vec![
            Dimension { name: name("store"), field: None },
            Dimension { name: name("event"), field: Some(name("event")) },
        ],
        measures: vec![Measure { name: name("total"), scale: 2 }, Measure { name: name("count"), scale: 0 }],
        revision: 1,
        mappings: Vec::new(),
        remember: None,
    }
}

/// The lowest bit of the first byte chooses the mode of the kind; a line holds the mapping in JSON, and the rest is the record.
pub fn run(data: &[u8]) {
    let Some((choice, rest)) = choice(data) else { return };
    let kind = kind(if choice & 1 == 0 { Mode::Entity } else { Mode::Fact });
    let end = rest.iter().position(|byte| *byte == SEPARATOR).unwrap_or(rest.len());
    let (mapping, body) = (&rest[..end], rest.get(end + 1..).unwrap_or_default());
    let Ok(mapping) = serde_json::from_slice::<Mapping>(mapping) else { return };
    let mapper = match Mapper::compile(&mapping, &kind) {
        Ok(mapper) => mapper,
        Err(mistakes) => {
            assert!(!mistakes.is_empty() && mistakes.iter().all(|mistake| !mistake.to_string().is_empty()));
            return;
        }
    };
    let mut zones = Zones::default();
    let acme = TenantId::new("acme").expect("a tenant's id");
    zones.define(&acme, &[]);
    let record = Record {
        tenant: (choice & 2 == 0).then_some(&acme),
        subject: "orders.acme.created",
        headers: &[("ce-type", "sale"), ("version", "7")],
        sequence: Some(17),
        arrived: Some("2024-03-01T12:00:00Z".parse().expect("an instant")),
        ..Record::of(body)
    };
    let outcomes = mapper.map(&record, &zones);
    assert!((1..=MAX_OUTCOMES + 1).contains(&outcomes.len()), "{}", outcomes.len());
    assert_eq!(mapper.map(&record, &zones), outcomes, "the same each time");
    for outcome in outcomes {
        match outcome {
            Outcome::PassedOver(_) => {}
            Outcome::Unmapped(unmapped) => {
                assert!(body.get(unmapped.piece.clone()).is_some(), "{:?} of {}", unmapped.piece, body.len());
                let chars = unmapped.problem.reason.chars().count();
                assert!((1..=MAX_REASON_CHARS).contains(&chars), "{:?}", unmapped.problem);
            }
            Outcome::Event(made) => {
                assert!(kind.mode == Mode::Entity || made.event.status == Status::Final);
                let payload = envelope(&made, &kind);
                let mut read = read(&payload, Encoding::Json, made.tenant.as_str(), &kind);
                let event = read.pop().map(|read| read.outcome);
                assert!(read.is_empty(), "one event");
                assert_eq!(event, Some(Ok(made.event)), "{}", String::from_utf8_lossy(&payload));
            }
        }
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let order = r#"{"id": 7, "shop": "acme", "v": 3, "at": 1709294400, "state": "paid", "x": "2024-03-01 12:00:00", "lines": [{"n": 1, "p": "2.50", "c": 3}, {"n": 2, "p": 1e2, "c": null}]}"#;
    let mappings = [
        r#"{"name": "a", "tenant": {"path": "/shop"}, "id": [{"path": "/id"}], "version": {"path": "/v"}, "at": {"path": "/at", "as": ["epoch_s"]}, "status": {"path": "/state", "map": {"paid": "final"}, "else": "draft"}, "dims": {"store": {"path": "/shop", "text": true}}, "measures": {"total": {"path": "/v", "shift": -2}}}"#,
        r#"{"name": "b", "when": "state = 'paid' and v > 2", "tenant": {"const": "acme"}, "explode": {"path": "/lines"}, "id": [{"path": "/id"}, {"path": "./n"}], "at": {"path": "/x", "as": ["rfc3339", "local", "%Y"]}, "measures": {"total": {"path": "./p"}, "count": {"path": "./c", "default": "1"}}}"#,
        r#"{"name": "c", "tenant": {"token": 2}, "explode": {"path": "/lines", "slots": 3}, "id": [{"path": "/id"}, {"take": "index"}], "version": {"take": "sequence"}, "at": {"take": "arrival"}, "dims": {"event": {"header": "ce-type"}}, "measures": {"count": {"path": "./c", "divide": 3, "round": "half_even"}}}"#,
        r#"{"name": "d", "rows": ["/lines/0", "/lines/1"], "id": [{"path": "./n"}], "version": {"header": "version"}, "at": {"path": "/at", "as": ["epoch_ms", "epoch_ns"]}}"#,
        r#"{"name": "e", "tenant": {"path": "/none", "or": ["/shop"]}, "explode": {"path": "/lines"}, "id": [{"path": "./none", "or": ["./n"]}, {"path": "/id"}], "at": {"path": "/id", "as": ["epoch_days"], "zone": "Etc/UTC"}, "status": {"path": "./c", "else": "void", "default": "final"}, "measures": {"total": {"path": "./p", "shift_by": {"path": "./n", "map": {"1": "-2"}, "else": "0"}, "round": "half_even"}}}"#,
    ];
    let mut seeds = Vec::new();
    for mapping in mappings {
        for record in [order.to_owned(), format!("[{order}, {order}]"), "null".to_owned()] {
            seeds.push(chosen(0, format!("{mapping}\n{record}").as_bytes()));
        }
    }
    seeds.push(chosen(1, format!("{}\n{order}", mappings[3]).as_bytes()));
    for preset in Preset::ALL {
        let mapping =
            serde_json::to_string(&preset.mapping(Name::new("p").expect("a name"))).expect("mappings are plain values");
        seeds.push(chosen(0, format!("{mapping}\n{order}").as_bytes()));
    }
    seeds
}
