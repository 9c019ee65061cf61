//! Mapping a record is at least half as fast as reading Daybook's own envelope, for events that say the same.
#![allow(clippy::unwrap_used)]

use daybook_contracts::event::{self, Encoding};
use daybook_domain::catalogue::{Dimension, Kind, Measure, Mode};
use daybook_domain::ids::Name;
use daybook_domain::mapping::Mapping;
use daybook_mapping::{Mapper, Outcome, Record, Zones, envelope};
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Events of a round; it takes milliseconds.
const EVENTS: usize = 2_000;
/// The fastest of so many rounds counts: others were interrupted by whatever else the machine does.
const ROUNDS: usize = 40;

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn kind() -> Kind {
    let dimension = |text: &str| Dimension { name: name(text), field: None };
    Kind {
        name: name("sale"),
        mode: Mode::Entity,
        dimensions: ["store", "product", "channel"].map(dimension).to_vec(),
        measures: vec![Measure { name: name("total"), scale: 2 }, Measure { name: name("quantity"), scale: 0 }],
        revision: 0,
        mappings: Vec::new(),
        remember: None,
    }
}

fn mapper(long: &str) -> Mapper {
    let mapping: Mapping = serde_json::from_str(long).unwrap();
    Mapper::compile(&mapping, &kind()).unwrap_or_else(|mistakes| panic!("{mistakes:?}"))
}

/// The shortest time of a round of each, taken in turn.
fn fastest(mut one: impl FnMut(), mut other: impl FnMut()) -> (Duration, Duration) {
    let mut shortest = (Duration::MAX, Duration::MAX);
    let timed = |work: &mut dyn FnMut()| {
        let began = Instant::now();
        work();
        began.elapsed()
    };
    for _ in 0..ROUNDS {
        shortest.0 = shortest.0.min(timed(&mut one));
        shortest.1 = shortest.1.min(timed(&mut other));
    }
    shortest
}

/// Compares mapping `records` with reading the envelopes of what comes out, and prints both rates.
fn ratio(what: &str, mapper: &Mapper, records: &[String]) -> f64 {
    let (kind, zones) = (kind(), Zones::default());
    let mut envelopes = Vec::new();
    for record in records {
        for outcome in mapper.map(&Record::of(record.as_bytes()), &zones) {
            let Outcome::Event(made) = outcome else { panic!("{outcome:?}") };
            envelopes.push(envelope(&made, &kind));
        }
    }
    let read = || {
        for envelope in &envelopes {
            black_box(event::read(envelope, Encoding::Json, "acme", &kind));
        }
    };
    let map = || {
        for record in records {
            black_box(mapper.map(&Record::of(record.as_bytes()), &zones));
        }
    };
    let (canonical, mapped) = fastest(read, map);
    let rate = |took: Duration| envelopes.len() as f64 / took.as_secs_f64();
    let ratio = canonical.as_secs_f64() / mapped.as_secs_f64();
    println!("{what}: {:.0} events/s mapped, {:.0} read canonically, {ratio:.2}", rate(mapped), rate(canonical));
    ratio
}

#[test]
fn a_record_is_mapped_at_half_the_rate_of_an_envelope_or_faster() {
    let mapper = mapper(
        r#"{"name": "m", "when": "state != 'cart'", "tenant": {"path": "/shop/host", "map": {"east.example": "acme"}},
            "id": [{"path": "/number"}], "version": {"path": "/revision"}, "at": {"path": "/placed", "as": ["rfc3339"]},
            "status": {"path": "/state", "map": {"paid": "final"}, "else": "draft"},
            "dims": {"store": {"path": "/shop/city"}, "product": {"path": "/item/sku"}, "channel": {"path": "/via"}},
            "measures": {"total": {"path": "/total"}, "quantity": {"path": "/item/count"}}}"#,
    );
    let record = |n: usize| {
        format!(
            r#"{{"number": "o-{n}", "revision": {n}, "state": "paid", "placed": "2024-03-01T10:{:02}:00Z", "via": "web", "test": false,
                "shop": {{"host": "east.example", "city": "Oslo"}}, "item": {{"sku": "TEA-{}", "count": 2}}, "total": "{}.90"}}"#,
            n % 60,
            n % 100,
            n % 1_000
        )
    };
    let records: Vec<String> = (0..EVENTS).map(record).collect();
    let ratio = ratio("a record each", &mapper, &records);
    assert!(ratio >= 0.5, "mapping is {ratio:.2} times as fast as reading the envelope");
}

#[test]
fn items_of_a_record_are_mapped_at_half_the_rate_of_envelopes_or_faster() {
    let mapper = mapper(
        r#"{"name": "m", "tenant": {"const": "acme"}, "explode": {"path": "/lines"}, "id": [{"path": "/number"}, {"path": "./line"}],
            "version": {"path": "/revision"}, "at": {"path": "/placed", "as": ["epoch_s"]},
            "dims": {"store": {"path": "/shop"}, "product": {"path": "./sku"}, "channel": {"const": "web"}},
            "measures": {"total": {"path": "./cents", "shift": -2}, "quantity": {"path": "./count"}}}"#,
    );
    let record = |n: usize| {
        let line = |line: usize| {
            format!(r#"{{"line": {line}, "sku": "TEA-{line}", "cents": {n}, "count": 2, "note": "as ordered"}}"#)
        };
        let lines: Vec<String> = (0..5).map(line).collect();
        format!(
            r#"{{"number": {n}, "revision": 3, "placed": 1709287386, "shop": "Oslo", "lines": [{}]}}"#,
            lines.join(", ")
        )
    };
    let records: Vec<String> = (0..EVENTS / 5).map(record).collect();
    let ratio = ratio("items of five", &mapper, &records);
    assert!(ratio >= 0.5, "mapping is {ratio:.2} times as fast as reading the envelopes");
}
