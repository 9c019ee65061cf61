//! Records in the manner of other systems, and what comes of them.

use super::*;
use daybook_contracts::event::{self, Encoding};
use daybook_contracts::reject::Code;
use daybook_domain::catalogue::{CalendarRule, Dimension, Kind, Measure, Mode, Status};
use daybook_domain::ids::{Name, TenantId};
use daybook_domain::mapping::{Explode, Mapping, Pick};
use daybook_domain::time::Date;
use proptest::prelude::*;
use serde_json::{Value, json};

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn kind(mode: Mode) -> Kind {
    let dimension = |text: &str, field: Option<&str>| Dimension { name: name(text), field: field.map(name) };
    Kind {
        name: name("sale"),
        mode,
        dimensions: vec![dimension("store", None), dimension("product", None), dimension("channel", Some("channel"))],
        measures: vec![Measure { name: name("total"), scale: 2 }, Measure { name: name("quantity"), scale: 0 }],
        revision: 1,
        mappings: Vec::new(),
        remember: None,
    }
}

/// A mapping in its long form.
fn mapping(long: Value) -> Mapping {
    let mut object = json!({"name": "m"});
    object.as_object_mut().unwrap().extend(long.as_object().unwrap().clone());
    serde_json::from_value(object).unwrap()
}

fn compile(long: Value) -> Mapper {
    let of_kind = kind(Mode::Entity);
    Mapper::compile(&mapping(long), &of_kind).unwrap_or_else(|mistakes| panic!("{mistakes:?}"))
}

fn zones() -> Zones {
    let mut zones = Zones::default();
    let rule = CalendarRule {
        from: Date::MIN,
        zone: "Europe/Berlin".into(),
        cutoff_minutes: 210,
        named_by: Default::default(),
    };
    zones.define(&TenantId::new("acme").unwrap(), &[rule]);
    zones
}

/// Outcomes as short texts: an event as `tenant: envelope`, a reject as `code path`, and `-` for what is passed over.
fn shown(mapper: &Mapper, record: &Record<'_>) -> Vec<String> {
    let kind = kind(Mode::Entity);
    let show = |outcome: Outcome| match outcome {
        Outcome::Event(made) => {
            let json = envelope(&made, &kind);
            let read = event::read(&json, Encoding::Json, made.tenant.as_str(), &kind);
            assert_eq!(read[0].outcome, Ok(made.event.clone()), "the envelope says what the event is");
            let json = String::from_utf8(json).unwrap();
            let tenant = format!("{{\"tenant\":\"{}\",", made.tenant);
            format!("{}: {{{}", made.tenant, json.strip_prefix(&tenant).unwrap())
        }
        Outcome::Unmapped(unmapped) => {
            assert!(!unmapped.problem.reason.is_empty());
            format!("{} {}", unmapped.problem.code, unmapped.problem.field.unwrap_or_default())
        }
        Outcome::PassedOver(_) => "-".to_owned(),
    };
    mapper.map(record, &zones()).into_iter().map(show).collect()
}

fn map(mapper: &Mapper, body: &str) -> Vec<String> {
    shown(mapper, &Record::of(body.as_bytes()))
}

fn shop() -> Mapper {
    compile(json!({
        "when": "state != 'cart'",
        "tenant": {"path": "/shop/host", "map": {"east.example": "acme", "west.example": "zeta"}},
        "explode": {"path": "/lines"},
        "id": [{"path": "/number"}, {"path": "./line"}],
        "version": {"path": "/changed", "as": ["rfc3339"]},
        "at": {"path": "/placed", "as": ["epoch_s"]},
        "status": {"path": "/state", "map": {"settled": "final", "returned": "void"}, "else": "draft"},
        "dims": {
            "store": {"path": "/place", "text": true},
            "product": {"path": "./article/sku"},
            "channel": {"const": "web"}
        },
        "measures": {"total": {"path": "./cents", "shift": -2}, "quantity": {"path": "./count", "default": "1"}}
    }))
}

#[test]
fn lines_of_an_order_become_events() {
    let order = r#"{"number": 820000000000000017, "state": "settled", "placed": 1709287386,
        "changed": "2024-03-01T10:02:00.000000001-04:00", "place": 4.10, "shop": {"host": "east.example"},
        "lines": [{"line": 1, "article": {"sku": "TEA"}, "cents": "19900", "count": 2},
                  {"line": 2, "article": {"sku": "C\u00dcP"}, "cents": 1000},
                  {"line": null, "cents": 5},
                  {"line": 4, "cents": 1.5}]}"#;
    let head = r#"acme: {"id":"820000000000000017:"#;
    let middle = r#"","version":1709301720000000001,"status":"final","at":"2024-03-01T10:03:06Z","channel":"web","dims":{"store":"4.1","product":"#;
    assert_eq!(
        map(&shop(), order),
        [
            format!(r#"{head}1{middle}"TEA"}},"measures":{{"total":199,"quantity":2}}}}"#),
            format!(r#"{head}2{middle}"CÜP"}},"measures":{{"total":10,"quantity":1}}}}"#),
            "missing_field /lines/2/line".to_owned(),
            "too_many_digits /lines/3/cents".to_owned(),
        ]
    );
}

#[test]
fn a_record_that_is_no_event_says_why() {
    let base = json!({"number": 1, "state": "settled", "placed": 1, "changed": "2024-03-01T10:02:00Z",
                      "shop": {"host": "east.example"}, "lines": [{"line": 1}]});
    let with = |path: &str, value: Value| {
        let mut record = base.clone();
        *record.pointer_mut(path).unwrap() = value;
        map(&shop(), &record.to_string())
    };
    assert!(map(&shop(), &base.to_string())[0].starts_with("acme: "));
    assert_eq!(with("/state", json!("cart")), ["-"]);
    assert_eq!(with("/state", json!(null)), ["-"], "what is unknown does not differ from 'cart'");
    assert_eq!(with("/lines", json!([])), ["-"]);
    assert_eq!(with("/lines", json!(null)), ["missing_field /lines"]);
    assert_eq!(with("/lines", json!({})), ["wrong_type /lines"]);
    assert_eq!(with("/lines/0", json!(7)), ["missing_field /lines/0/line"]);
    assert_eq!(with("/number", json!("")), ["invalid_text /number"]);
    assert_eq!(with("/number", json!({"a": 1})), ["wrong_type /number"]);
    assert_eq!(with("/shop/host", json!("north.example")), ["wrong_type /shop/host"]);
    assert_eq!(with("/shop", json!("east.example")), ["missing_field /shop/host"]);
    assert_eq!(with("/placed", json!("noon")), ["invalid_time /placed"]);
    assert_eq!(with("/placed", json!(null)), ["missing_field /placed"]);
    assert_eq!(with("/changed", json!("1969-12-31T23:59:59Z")), ["overflow /changed"]);
    assert_eq!(with("/number", json!("x".repeat(300))), ["invalid_text /number"]);
    assert_eq!(map(&shop(), "{\"number\": 1"), ["malformed "]);
    assert_eq!(map(&shop(), "{\"number\": 1, \"number\": 2}"), ["malformed "]);
    assert_eq!(shown(&shop(), &Record::of(b"\xff")), ["invalid_utf8 "]);
    assert_eq!(shown(&shop(), &Record::of(&vec![b' '; MAX_RECORD_BYTES + 1])), ["too_large "]);
}

#[test]
fn one_bad_record_of_an_array_does_not_lose_the_others() {
    let mapper =
        compile(json!({"tenant": {"const": "acme"}, "id": [{"path": "/n"}], "at": {"path": "/t", "as": ["local"]}}));
    let body =
        "\u{feff} [{\"n\": 1, \"t\": \"2024-03-01\"}, {\"n\": 2, \"t\": 5}, {\"n\": 3, \"t\": \"2024-07-01 12:00\"}]";
    let event = |id, at| format!(r#"acme: {{"id":"{id}","status":"final","at":"{at}","dims":{{}},"measures":{{}}}}"#);
    assert_eq!(
        map(&mapper, body),
        [event(1, "2024-02-29T23:00:00Z"), "invalid_time /t".into(), event(3, "2024-07-01T10:00:00Z")]
    );
    let outcomes = mapper.map(&Record::of(body.as_bytes()), &zones());
    let Outcome::Unmapped(unmapped) = &outcomes[1] else { panic!("{outcomes:?}") };
    assert_eq!(&body[unmapped.piece.clone()], "{\"n\": 2, \"t\": 5}");
    assert_eq!(map(&mapper, "[{\"n\": 1}, "), ["malformed "]);
    assert_eq!(map(&mapper, "[]"), ["-"]);
}

#[test]
fn a_change_of_a_row_is_read_from_the_row_that_there_is() {
    let mapper = compile(json!({
        "when": "op in ('c', 'u', 'd', 'r')",
        "rows": ["/after", "/before"],
        "tenant": {"path": "./shop"},
        "id": [{"path": "./id"}],
        "version": {"path": "/source/lsn", "default": "next"},
        "at": {"path": "./closed", "as": ["epoch_ms"], "default": "arrival"},
        "status": {"path": "/op", "map": {"d": "void"}, "else": "final"},
        "measures": {"total": {"path": "./total"}}
    }));
    let changed = r#"{"before": {"id": 2, "shop": "acme", "total": "1"}, "after": {"id": 2, "shop": "acme", "total": "21.40",
        "closed": 1709289000000}, "op": "u", "source": {"lsn": 24023128}}"#;
    let gone = r#"{"before": {"id": 2, "shop": "acme", "total": "21.40"}, "after": null, "op": "d"}"#;
    let arrived = Some("2024-03-01T11:00:00Z".parse().unwrap());
    let record = |body: &'static str| Record { arrived, ..Record::of(body.as_bytes()) };
    assert_eq!(
        shown(&mapper, &record(changed)),
        [
            r#"acme: {"id":"2","version":24023128,"status":"final","at":"2024-03-01T10:30:00Z","dims":{},"measures":{"total":21.4}}"#
        ]
    );
    assert_eq!(
        shown(&mapper, &record(gone)),
        [r#"acme: {"id":"2","status":"void","at":"2024-03-01T11:00:00Z","dims":{},"measures":{"total":21.4}}"#]
    );
    assert_eq!(map(&mapper, gone), ["missing_field ./closed"].map(|text| text.replace("./", "/before/")));
    assert_eq!(shown(&mapper, &record(r#"{"op": "d", "after": null}"#)), ["missing_field /after"]);
    assert_eq!(shown(&mapper, &record("null")), ["-"], "a tombstone");
}

#[test]
fn values_come_from_headers_subjects_and_doors() {
    let mapper = compile(json!({
        "when": "\"header:ce-type\" = 'sale'",
        "tenant": {"token": 2, "map": {"east": "acme"}},
        "id": [{"header": "ce-source"}, {"header": "ce-id"}],
        "version": {"take": "sequence"},
        "at": {"header": "ce-time"},
        "dims": {"store": {"path": "/open"}, "product": {"path": "/n"}}
    }));
    let headers = [("Ce-Type", "sale"), ("ce-source", "a:b\\"), ("CE-ID", "7"), ("ce-time", "2024-03-01T10:00:00Z")];
    let record = Record {
        subject: "shop.east.orders",
        headers: &headers,
        sequence: Some(99),
        ..Record::of(br#"{"open": true, "n": -12}"#)
    };
    assert_eq!(
        shown(&mapper, &record),
        [
            r#"acme: {"id":"a\\:b\\\\:7","version":99,"status":"final","at":"2024-03-01T10:00:00Z","dims":{"store":"true","product":"-12"},"measures":{}}"#
        ]
    );
    assert_eq!(shown(&mapper, &Record { headers: &headers[1..], ..record }), ["-"]);
    assert_eq!(shown(&mapper, &Record { subject: "shop", ..record }), ["missing_field token 2 of the subject"]);
    assert_eq!(shown(&mapper, &Record { sequence: None, ..record }), ["missing_field sequence"]);
    let door = TenantId::new("door").unwrap();
    assert!(shown(&mapper, &Record { tenant: Some(&door), ..record })[0].starts_with("door: "));
}

#[test]
fn the_first_path_that_holds_something_counts() {
    let mapper = compile(json!({
        "tenant": {"const": "acme"}, "explode": {"path": "/lines"}, "at": {"path": "/t", "as": ["epoch_s"]},
        "id": [{"path": "./id", "or": ["./sku", "/id"]}, {"take": "index"}],
        "dims": {"store": {"path": "/tags/0", "or": ["/tags"], "map": {"a": "A"}, "else": "other", "default": "none"}}
    }));
    let ids = |lines: &str, tags: &str| {
        let told = map(&mapper, &format!(r#"{{"t": 0, "id": 9, "tags": {tags}, "lines": {lines}}}"#));
        told.into_iter()
            .map(|event| event.replace(r#","status":"final","at":"1970-01-01T00:00:00Z""#, ""))
            .collect::<Vec<_>>()
    };
    let event =
        |id: &str, store: &str| format!(r#"acme: {{"id":"{id}","dims":{{"store":"{store}"}},"measures":{{}}}}"#);
    let lines = r#"[{"id": 1, "sku": "x"}, {"id": null, "sku": "y"}, {}]"#;
    assert_eq!(ids(lines, r#"["a"]"#), [event("1:0", "A"), event("y:1", "A"), event("9:2", "A")]);
    assert_eq!(ids("[{}]", r#""a""#), [event("9:0", "A")], "a text or a list of texts");
    assert_eq!(ids("[{}]", r#""b""#), [event("9:0", "other")]);
    assert_eq!(ids("[{}]", "null"), [event("9:0", "none")]);
    assert_eq!(ids(r#"[{"id": []}]"#, "null"), ["wrong_type /lines/0/id or ./sku or /id"]);
    let refused = |pick: Value| {
        let long = json!({"id": [{"path": "/id"}], "at": {"path": "/t"}, "dims": {"store": pick}});
        let mistake = Mapper::compile(&mapping(long), &kind(Mode::Entity)).unwrap_err().remove(0);
        (mistake.field, mistake.message)
    };
    assert_eq!(refused(json!({"path": "/a", "or": ["b"]})).0, "dims.store.or[0]");
    assert_eq!(refused(json!({"const": "a", "or": ["/b"]})).0, "dims.store.or");
    assert!(refused(json!({"path": "/a", "or": vec!["/b"; 8]})).1.contains("at most 8"));
}

#[test]
fn the_point_moves_by_the_currency() {
    let by = json!({"path": "/currency", "map": {"JPY": "0", "BHD": "-3"}, "else": "-2", "default": "-1"});
    let base = json!({"id": [{"path": "/id"}], "tenant": {"const": "acme"}, "at": {"path": "/t", "as": ["epoch_s"]}});
    let with = |pick: Value| {
        let mut long = base.clone();
        long.as_object_mut().unwrap().insert("measures".to_owned(), json!({"total": pick}));
        mapping(long)
    };
    let mapper = |by: &Value| {
        let mapping = with(json!({"path": "/cents", "shift_by": by, "round": "half_even"}));
        Mapper::compile(&mapping, &kind(Mode::Entity)).unwrap()
    };
    let total = |by: &Value, currency: &str| {
        let told =
            map(&mapper(by), &format!(r#"{{"id": 1, "t": 0, "cents": 12345, "currency": {currency}}}"#)).remove(0);
        told.split("\"total\":").nth(1).map_or(told.clone(), |total| total.trim_end_matches('}').to_owned())
    };
    let told = ["\"JPY\"", "\"BHD\"", "\"EUR\"", "null"].map(|currency| total(&by, currency));
    assert_eq!(told, ["12345", "12.34", "123.45", "1234.5"]);
    let strict = json!({"path": "/currency", "map": {"EUR": "-2"}});
    assert_eq!(total(&strict, "\"XXX\""), "wrong_type /cents");
    assert_eq!(total(&strict, "null"), "missing_field /cents");
    for (pick, field) in [
        (json!({"path": "/c", "shift": 1, "shift_by": by}), "measures.total.shift_by"),
        (json!({"path": "/c", "shift_by": {"path": "/d"}}), "measures.total.shift_by"),
        (json!({"path": "/c", "shift_by": {"path": "/d", "map": {"a": "x"}}}), "measures.total.shift_by.map.a"),
        (json!({"path": "/c", "shift_by": {"path": "/d", "map": {"a": "19"}}}), "measures.total.shift_by.map.a"),
        (
            json!({"path": "/c", "shift_by": {"path": "/d", "map": {"a": "1"}, "shift_by": by}}),
            "measures.total.shift_by.shift_by",
        ),
    ] {
        let mistakes = Mapper::compile(&with(pick), &kind(Mode::Entity)).unwrap_err();
        assert!(mistakes.iter().any(|mistake| mistake.field == field), "{field}: {mistakes:?}");
    }
}

#[test]
fn anything_that_is_there_may_stand_for_one_status() {
    let mapper = compile(json!({
        "tenant": {"const": "acme"}, "id": [{"path": "/id"}], "at": {"path": "/t", "as": ["epoch_s"]},
        "status": {"path": "/cancelled", "else": "void", "default": "final"}
    }));
    for (value, status) in [("null", "final"), ("\"2024\"", "void"), ("7", "void"), ("{}", "void"), ("false", "void")] {
        let told = map(&mapper, &format!(r#"{{"id": 1, "t": 0, "cancelled": {value}}}"#)).remove(0);
        assert!(told.contains(&format!("\"status\":\"{status}\"")), "{value}: {told}");
    }
}

#[test]
fn a_fact_needs_no_id() {
    let facts = kind(Mode::Fact);
    let one = mapping(json!({"at": {"path": "/t"}, "dims": {"store": {"path": "/a/b"}}}));
    let mapper = Mapper::compile(&one, &facts).unwrap();
    assert!(!mapper.names_tenant());
    let door = TenantId::new("acme").unwrap();
    let record = Record { tenant: Some(&door), ..Record::of(br#"{"t": "2024-03-01T10:00:00Z", "a": {"b": "x"}}"#) };
    let outcomes = mapper.map(&record, &Zones::default());
    let Outcome::Event(made) = &outcomes[0] else { panic!("{outcomes:?}") };
    assert_eq!((made.event.id.as_deref(), made.event.status), (None, Status::Final));
    let json = envelope(made, &facts);
    assert_eq!(event::read(&json, Encoding::Json, "acme", &facts)[0].outcome, Ok(made.event.clone()));
    let outcomes = mapper.map(&Record::of(record.body), &Zones::default());
    let Outcome::Unmapped(unmapped) = &outcomes[0] else { panic!("{outcomes:?}") };
    assert_eq!((unmapped.problem.code, unmapped.tenant.as_ref()), (Code::MissingField, None));
}

#[test]
fn every_mistake_is_told_with_its_field() {
    let wrong = mapping(json!({
        "when": "state = and",
        "tenant": {"const": "a b"},
        "explode": {"path": "./lines", "complete": true},
        "id": [{"path": "id"}, {"path": "/a", "header": "b"}],
        "version": {"path": "/v", "as": ["rfc3340"], "map": {"a": "1"}},
        "at": {"token": 0, "zone": "Mars/X"},
        "status": {"path": "/s", "map": {"paid": "done"}},
        "dims": {"stor": {"path": "/x"}, "channel": {"const": "web", "default": "x"}, "product": {"take": "arrival"}},
        "measures": {
            "total": {"path": "/t~", "shift": 40, "default": "x"},
            "quantity": {"path": "/q", "divide": 0, "text": true, "else": "1"}
        }
    }));
    let mistakes = Mapper::compile(&wrong, &kind(Mode::Entity)).unwrap_err();
    let fields: Vec<(&str, Option<usize>)> = mistakes.iter().map(|m| (m.field.as_str(), m.position)).collect();
    for (field, position) in [
        ("when", Some(8)),
        ("tenant.const", None),
        ("explode.path", None),
        ("explode.complete", None),
        ("id[0].path", Some(0)),
        ("id[1]", None),
        ("version.as", None),
        ("version.map", None),
        ("at.token", None),
        ("at.zone", None),
        ("status.map.paid", None),
        ("dims.stor", None),
        ("dims.channel.default", None),
        ("dims.product.take", None),
        ("measures.total.path", Some(2)),
        ("measures.total.shift", None),
        ("measures.total.default", None),
        ("measures.quantity.divide", None),
        ("measures.quantity.text", None),
        ("measures.quantity.else", None),
    ] {
        assert!(fields.contains(&(field, position)), "{field} at {position:?} is not in {fields:?}");
    }
}

#[test]
fn what_cannot_be_is_refused() {
    let base = json!({"id": [{"path": "/id"}], "at": {"path": "/t"}});
    let refused = |change: Value, mode: Mode| {
        let mut long = base.clone();
        long.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        Mapper::compile(&mapping(long), &kind(mode)).unwrap_err().remove(0)
    };
    assert!(refused(json!({"at": null}), Mode::Entity).message.contains("no at"));
    assert!(refused(json!({"id": []}), Mode::Entity).message.contains("no id"));
    assert!(refused(json!({"status": {"path": "/s"}}), Mode::Fact).message.contains("always final"));
    assert!(refused(json!({"explode": {"path": "/lines"}}), Mode::Entity).message.contains("same id"));
    assert!(refused(json!({"id": [{"path": "./id"}]}), Mode::Entity).message.contains("there are none"));
    assert!(refused(json!({"when": "\"./x\" = 'a'"}), Mode::Entity).message.contains("there are none"));
    let both = json!({"explode": {"path": "/l"}, "rows": ["/a"], "id": [{"path": "./id"}]});
    assert!(refused(both, Mode::Entity).message.contains("not both"));
    let when = refused(json!({"when": "a = 'x' and \"/b~\" is null"}), Mode::Entity);
    assert_eq!((when.field.as_str(), when.position), ("when", Some(15)));
    let hint = refused(json!({"dims": {"stor": {"path": "/x"}}}), Mode::Entity).hint.unwrap();
    assert!(hint.contains("\"store\""), "{hint}");
}

#[test]
fn items_may_be_single_values_and_the_record_an_array() {
    let mapper = compile(json!({
        "explode": {"path": ""}, "tenant": {"const": "acme"}, "when": "\".\" != 'skip'",
        "id": [{"take": "index"}], "at": {"take": "arrival"}, "dims": {"store": {"path": "."}}
    }));
    let arrived = Some("2024-03-01T11:00:00Z".parse().unwrap());
    let record = Record { arrived, ..Record::of(br#"["a", "skip", "b"]"#) };
    let event = |id, store| {
        format!(
            r#"acme: {{"id":"{id}","status":"final","at":"2024-03-01T11:00:00Z","dims":{{"store":"{store}"}},"measures":{{}}}}"#
        )
    };
    assert_eq!(shown(&mapper, &record), [event(0, "a"), "-".into(), event(2, "b")]);
}

#[test]
fn slots_beyond_the_items_are_void() {
    let base = json!({
        "tenant": {"const": "acme"}, "explode": {"path": "/lines", "slots": 3}, "id": [{"path": "/id"}, {"take": "index"}],
        "version": {"path": "/v"}, "at": {"path": "/t", "as": ["epoch_s"]}, "status": {"const": "final"},
        "measures": {"total": {"path": "./total"}}
    });
    let mapper = compile(base.clone());
    let body = |lines: Value| json!({"id": "o1", "v": 2, "t": 0, "lines": lines}).to_string();
    let event = |index, status, measures| {
        format!(
            r#"acme: {{"id":"o1:{index}","version":2,"status":"{status}","at":"1970-01-01T00:00:00Z","dims":{{}},"measures":{{{measures}}}}}"#
        )
    };
    assert_eq!(
        map(&mapper, &body(json!([{"total": 3}]))),
        [event(0, "final", r#""total":3"#), event(1, "void", ""), event(2, "void", "")]
    );
    assert_eq!(map(&mapper, &body(json!([]))), [0, 1, 2].map(|index| event(index, "void", "")));
    assert_eq!(
        map(&mapper, &body(json!([{}, {}, {}, {}]))),
        ["batch_size /lines"],
        "none of them, for the fourth is missing"
    );
    assert_eq!(map(&mapper, &body(json!(null))), ["missing_field /lines"]);
    assert_eq!(
        map(&mapper, &body(json!([{"total": "x"}]))),
        ["wrong_type /lines/0/total".to_owned(), event(1, "void", ""), event(2, "void", "")]
    );
    // What is no event of the mapping any more is gone, too.
    let mut with_when = base.clone();
    with_when["when"] = json!("\"./total\" > 1");
    let lines = json!([{"total": 1}, {"total": 2}]);
    assert_eq!(
        map(&compile(with_when), &body(lines)),
        [event(0, "void", ""), event(1, "final", r#""total":2"#), event(2, "void", "")]
    );
    for (change, field) in [
        (json!({"id": [{"path": "/id"}, {"path": "./id"}]}), "id"),
        (json!({"id": [{"path": "/id"}, {"take": "index"}, {"path": "./id"}]}), "id"),
        (json!({"at": {"path": "./t"}}), "at"),
        (json!({"version": {"path": "./v"}}), "version"),
        (json!({"tenant": {"path": "./t"}}), "tenant"),
        (json!({"explode": {"path": "/lines", "slots": 0}}), "explode.slots"),
        (json!({"explode": {"path": "/lines", "slots": 501}}), "explode.slots"),
    ] {
        let mut long = base.clone();
        long.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let mistakes = Mapper::compile(&mapping(long), &kind(Mode::Entity)).unwrap_err();
        assert_eq!(mistakes[0].field, field, "{mistakes:?}");
    }
    let facts = Mapper::compile(&mapping(base), &kind(Mode::Fact)).unwrap_err();
    assert!(facts.iter().any(|mistake| mistake.field == "explode.slots"), "{facts:?}");
}

proptest! {
    #[test]
    fn any_bytes_are_mapped_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let outcomes = shop().map(&Record::of(&bytes), &zones());
        prop_assert!(!outcomes.is_empty());
    }

    #[test]
    fn any_change_of_a_record_is_mapped_or_refused(at in 0_usize..400, byte in any::<u8>(), cut in 0_usize..500) {
        let mut bytes = br#"{"number": 82, "state": "settled", "placed": 1709287386, "changed": "2024-03-01T10:02:00-04:00",
            "place": 4.10, "shop": {"host": "east.example"}, "lines": [{"line": 1, "article": {"sku": "TE\u00e9"}, "cents": "19900"}]}"#.to_vec();
        let length = bytes.len();
        bytes[at % length] = byte;
        bytes.truncate(cut.max(1));
        for outcome in shop().map(&Record::of(&bytes), &zones()) {
            if let Outcome::Event(made) = outcome {
                let json = envelope(&made, &kind(Mode::Entity));
                let read = event::read(&json, Encoding::Json, made.tenant.as_str(), &kind(Mode::Entity));
                prop_assert_eq!(read[0].outcome.as_ref(), Ok(&made.event));
            }
        }
    }

    #[test]
    fn ids_of_different_parts_differ(one in "[a:\\\\]{1,4}", two in "[a:\\\\]{1,4}", three in "[a:\\\\]{1,4}", four in "[a:\\\\]{1,4}") {
        let mapper = compile(json!({"tenant": {"const": "acme"}, "id": [{"path": "/a"}, {"path": "/b"}], "at": {"take": "arrival"}}));
        let id = |a: &str, b: &str| {
            let body = json!({"a": a, "b": b}).to_string();
            let arrived = Some("2024-03-01T11:00:00Z".parse().unwrap());
            match mapper.map(&Record { arrived, ..Record::of(body.as_bytes()) }, &zones()).remove(0) {
                Outcome::Event(made) => made.event.id.unwrap(),
                other => panic!("{other:?}"),
            }
        };
        prop_assert_eq!(id(&one, &two) == id(&three, &four), (&one, &two) == (&three, &four));
    }
}

#[test]
fn a_small_record_makes_no_flood_of_bytes() {
    let mapper = compile(json!({
        "tenant": {"path": "/tenant"}, "explode": {"path": "/lines"}, "id": [{"path": "/id"}, {"take": "index"}],
        "at": {"path": "/t", "as": ["epoch_s"]}, "dims": {"store": {"path": "/text"}, "product": {"path": "/text"}}
    }));
    let record = |items: usize| {
        let lines = vec!["{}"; items].join(",");
        format!(r#"{{"tenant": "acme", "id": 1, "t": 0, "text": "{}", "lines": [{lines}]}}"#, "x".repeat(500))
    };
    let outcomes = mapper.map(&Record::of(record(8_000).as_bytes()), &zones());
    assert!(outcomes.len() == 8_000 && outcomes.iter().all(|outcome| matches!(outcome, Outcome::Event(_))));
    assert_eq!(map(&mapper, &record(10_000)), ["batch_size /lines"]);
    let body = record(10_000);
    let Outcome::Unmapped(refused) = mapper.map(&Record::of(body.as_bytes()), &zones()).remove(0) else { panic!() };
    assert_eq!(refused.tenant.as_ref().map(TenantId::as_str), Some("acme"), "its tenant sees it");
    let bound = body.len() + MAX_SPARE_BYTES;
    assert!(refused.problem.reason.contains(&bound.to_string()), "{}", refused.problem.reason);
    // The records of an array share the bound.
    assert_eq!(map(&mapper, &format!("[{}, {}]", record(4_000), record(4_000))).len(), 8_000);
    assert_eq!(map(&mapper, &format!("[{}, {}]", record(5_000), record(5_000))), ["batch_size "]);
}

#[test]
fn definitions_are_plain_data() {
    let explode = Explode { path: "/lines".into(), complete: true, slots: None };
    assert_eq!(serde_json::to_string(&explode).unwrap(), r#"{"path":"/lines","complete":true}"#);
    assert!(serde_json::from_str::<Pick>(r#"{"pth": "/a"}"#).is_err(), "a misspelt field is a mistake");
}
