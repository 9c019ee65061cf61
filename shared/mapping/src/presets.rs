//! Mappings to begin with, for shapes that many systems share. They are extended when a definition is read, so that what is
//! stored says everything and a newer version of Daybook does not change what it means.

use daybook_domain::ids::Name;
use daybook_domain::mapping::Mapping;

/// A mapping to begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// CloudEvents in JSON, with the event's own values under `/data`.
    CloudEvents,
    /// CloudEvents whose attributes are `ce-` headers; the body is the data.
    CloudEventsHeaders,
    /// Changes of rows in the manner of Debezium, without schemas; `./` is the row after the change, or the deleted one.
    Debezium,
    /// The same with schemas: the change is under `/payload`.
    DebeziumPayload,
    /// Calls to track in the manner of Segment, with values under `/properties`.
    Track,
    /// Events of a payment provider in the manner of Stripe, with the object under `/data/object`.
    PaymentEvent,
}

impl Preset {
    pub const ALL: [Self; 6] = [
        Self::CloudEvents,
        Self::CloudEventsHeaders,
        Self::Debezium,
        Self::DebeziumPayload,
        Self::Track,
        Self::PaymentEvent,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::CloudEvents => "cloudevents",
            Self::CloudEventsHeaders => "cloudevents_headers",
            Self::Debezium => "debezium",
            Self::DebeziumPayload => "debezium_payload",
            Self::Track => "track",
            Self::PaymentEvent => "payment_event",
        }
    }

    /// The mapping, in its long form but for the name.
    fn json(self) -> &'static str {
        match self {
            Self::CloudEvents => {
                r#"{"name":"preset","when":"specversion is not null","id":[{"path":"/source"},{"path":"/id"}],
                    "at":{"path":"/time","as":["rfc3339"],"default":"arrival"}}"#
            }
            Self::CloudEventsHeaders => {
                r#"{"name":"preset","when":"\"header:ce-specversion\" is not null",
                    "id":[{"header":"ce-source"},{"header":"ce-id"}],
                    "at":{"header":"ce-time","as":["rfc3339"],"default":"arrival"}}"#
            }
            // Truncations and messages (t, m) are no rows; a tombstone is null.
            Self::Debezium => {
                r#"{"name":"preset","when":"op in ('c', 'u', 'd', 'r')","rows":["/after","/before"],
                    "version":{"path":"/source/lsn","default":"next"},"at":{"path":"/source/ts_ms","as":["epoch_ms"]},
                    "status":{"path":"/op","map":{"d":"void"},"else":"final"}}"#
            }
            Self::DebeziumPayload => {
                r#"{"name":"preset","when":"\"/payload/op\" in ('c', 'u', 'd', 'r')","rows":["/payload/after","/payload/before"],
                    "version":{"path":"/payload/source/lsn","default":"next"},
                    "at":{"path":"/payload/source/ts_ms","as":["epoch_ms"]},
                    "status":{"path":"/payload/op","map":{"d":"void"},"else":"final"}}"#
            }
            Self::Track => {
                r#"{"name":"preset","when":"type = 'track'","id":[{"path":"/messageId"}],
                    "at":{"path":"/timestamp","as":["rfc3339"],"default":"arrival"}}"#
            }
            // Without a version: several events of one object have the same second.
            Self::PaymentEvent => {
                r#"{"name":"preset","when":"object = 'event'","id":[{"path":"/data/object/id"}],
                    "at":{"path":"/data/object/created","as":["epoch_s"]},
                    "status":{"path":"/data/object/status","map":{"succeeded":"final","paid":"final","canceled":"void",
                              "failed":"void"},"else":"draft"}}"#
            }
        }
    }

    /// The mapping by itself, under a name.
    pub fn mapping(self, name: Name) -> Mapping {
        let mapping: Mapping = serde_json::from_str(self.json()).expect("presets are sound");
        Mapping { name, ..mapping }
    }

    /// The preset with what `own` says in its place; columns of both are taken. A preset's `status` is left out of a fact.
    pub fn extended(self, own: Mapping, is_fact: bool) -> Mapping {
        let base = self.mapping(own.name.clone());
        let mut mapping = Mapping {
            name: own.name,
            when: own.when.or(base.when),
            tenant: own.tenant.or(base.tenant),
            rows: match (&own.explode, own.rows.is_empty()) {
                (None, true) => base.rows,
                _ => own.rows,
            },
            explode: own.explode,
            id: if own.id.is_empty() { base.id } else { own.id },
            version: own.version.or(base.version),
            at: own.at.or(base.at),
            status: own.status.or(base.status.filter(|_| !is_fact)),
            dims: base.dims,
            measures: base.measures,
        };
        mapping.dims.extend(own.dims);
        mapping.measures.extend(own.measures);
        mapping
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Mapper, Outcome, Record, Zones};
    use daybook_domain::catalogue::{Dimension, Kind, Measure, Mode, Status};
    use daybook_domain::mapping::Pick;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    /// What the preset, extended by some values, makes of a record.
    fn map(preset: Preset, id: &[&str], store: &str, total: &str, record: &Record<'_>) -> Vec<String> {
        let kind = Kind {
            name: name("k"),
            mode: Mode::Entity,
            dimensions: vec![Dimension { name: name("store"), field: None }],
            measures: vec![Measure { name: name("total"), scale: 2 }],
            revision: 0,
            mappings: Vec::new(),
            remember: None,
        };
        let own = Mapping {
            tenant: Some(Pick { constant: Some("acme".into()), ..Pick::default() }),
            id: id.iter().map(|path| Pick::path(*path)).collect(),
            dims: [(name("store"), Pick::path(store))].into(),
            measures: [(name("total"), Pick::path(total))].into(),
            ..Mapping::new(name("m"))
        };
        let mapper = Mapper::compile(&preset.extended(own, false), &kind).unwrap_or_else(|m| panic!("{m:?}"));
        let show = |outcome: Outcome| match outcome {
            Outcome::Event(made) => {
                let event = &made.event;
                let id = event.id.clone().unwrap_or_default();
                let version = event.version.map(|version| version.to_string()).unwrap_or_default();
                let status = if event.status == Status::Final { "" } else { event.status.as_str() };
                let (store, total) = (event.dims[0].clone().unwrap_or_default(), event.measures[0].unwrap_or_default());
                format!("{id} {version} {status} {} {store} {total}", event.at)
            }
            Outcome::Unmapped(unmapped) => unmapped.problem.reason,
            Outcome::PassedOver(_) => "-".to_owned(),
        };
        mapper.map(record, &Zones::default()).into_iter().map(show).collect()
    }

    #[test]
    fn every_preset_reads_what_it_is_for() {
        let cloud = br#"{"specversion": "1.0", "type": "visit", "source": "/gate/1", "id": "77-1", "time": "2024-03-01T10:00:00.5Z",
                         "data": {"room": "east", "fee": "1.5"}}"#;
        assert_eq!(
            map(Preset::CloudEvents, &[], "/data/room", "/data/fee", &Record::of(cloud)),
            ["/gate/1:77-1   2024-03-01T10:00:00.5Z east 150"]
        );
        let headers =
            [("ce-specversion", "1.0"), ("ce-source", "g"), ("ce-id", "1"), ("ce-time", "2024-03-01T10:00:00Z")];
        let record = Record { headers: &headers, ..Record::of(br#"{"room": "east", "fee": 2}"#) };
        let shown = map(Preset::CloudEventsHeaders, &[], "/room", "/fee", &record);
        assert_eq!(shown, ["g:1   2024-03-01T10:00:00Z east 200"]);
        let deleted = r#"{"before": {"nr": 5, "city": "Oslo", "sum": "3.10"}, "after": null, "op": "d",
                          "source": {"lsn": 8, "ts_ms": 1709289000000}}"#;
        let row = ["5 8 void 2024-03-01T10:30:00Z Oslo 310"];
        assert_eq!(map(Preset::Debezium, &["./nr"], "./city", "./sum", &Record::of(deleted.as_bytes())), row);
        let wrapped = format!(r#"{{"schema": {{}}, "payload": {deleted}}}"#);
        assert_eq!(map(Preset::DebeziumPayload, &["./nr"], "./city", "./sum", &Record::of(wrapped.as_bytes())), row);
        for none in ["null", r#"{"op": "t", "source": {"ts_ms": 1}}"#] {
            assert_eq!(map(Preset::Debezium, &["./nr"], "./city", "./sum", &Record::of(none.as_bytes())), ["-"]);
        }
        let track = br#"{"type": "track", "event": "Paid", "messageId": "m-1", "timestamp": "2024-03-01T10:00:00.249Z",
                         "properties": {"shop": "web", "revenue": 49.99}}"#;
        assert_eq!(
            map(Preset::Track, &[], "/properties/shop", "/properties/revenue", &Record::of(track)),
            ["m-1   2024-03-01T10:00:00.249Z web 4999"]
        );
        let paid = br#"{"id": "evt_9", "object": "event", "created": 1709287386, "data": {"object":
                        {"id": "pay_4", "created": 1709280000, "status": "failed", "shop": "east", "amount": 5}}}"#;
        assert_eq!(
            map(Preset::PaymentEvent, &[], "/data/object/shop", "/data/object/amount", &Record::of(paid)),
            ["pay_4  void 2024-03-01T08:00:00Z east 500"]
        );
    }

    #[test]
    fn what_the_mapping_says_itself_goes_before() {
        let own = Mapping { when: Some("a = 'b'".into()), at: Some(Pick::path("/t")), ..Mapping::new(name("own")) };
        let extended = Preset::Debezium.extended(own, true);
        assert_eq!((extended.name.as_str(), extended.when.as_deref()), ("own", Some("a = 'b'")));
        assert_eq!((extended.at, extended.status), (Some(Pick::path("/t")), None));
        assert_eq!(extended.rows, ["/after", "/before"]);
        let explode = serde_json::from_str(r#"{"path": "/lines"}"#).ok();
        let extended = Preset::Debezium.extended(Mapping { explode, ..Mapping::new(name("own")) }, false);
        assert!(extended.rows.is_empty() && extended.status.is_some());
    }
}
