use super::*;
use daybook_domain::catalogue::{Dimension, Measure, Mode};
use daybook_domain::ids::Name;

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn kind(mode: Mode) -> Kind {
    Kind {
        name: name("flight"),
        mode,
        dimensions: vec![
            Dimension { name: name("carrier"), field: None },
            Dimension { name: name("event"), field: Some(name("event")) },
        ],
        measures: vec![Measure { name: name("delay"), scale: 0 }, Measure { name: name("price"), scale: 2 }],
        revision: 1,
        mappings: Vec::new(),
        remember: None,
    }
}

fn one(json: &str) -> Result<ValidEvent, Problem> {
    let kind = kind(Mode::Entity);
    let mut read = read(json.as_bytes(), Encoding::Json, "ABQ", &kind);
    assert_eq!(read.len(), 1, "{json}");
    read.remove(0).outcome
}

fn code(json: &str) -> (Code, Option<String>) {
    let problem = one(json).expect_err(json);
    assert!(!problem.reason.is_empty());
    (problem.code, problem.field)
}

#[test]
fn a_full_event_is_read_in_the_kinds_order() {
    let event =
        one(r#"{"tenant":"ABQ","kind":"flight","id":"x","version":3,"status":"void","at":"2013-03-08T13:12:00Z",
        "event":"cancelled","seen_at":"whatever","extra":{"a":[1]},
        "measures":{"price":12.5,"delay":-4},"dims":{"carrier":"B6"}}"#)
        .unwrap();
    assert_eq!(event.id.as_deref(), Some("x"));
    assert_eq!((event.version, event.status), (Some(3), Status::Void));
    assert_eq!(event.dims[..], [Some("B6".into()), Some("cancelled".into())]);
    assert_eq!(event.measures[..], [Some(-4), Some(1250)]);
}

#[test]
fn what_is_absent_is_null_and_final() {
    let event = one(r#"{"id":7,"at":"2013-03-08T13:12:00+01:00","dims":null,"measures":{"delay":null}}"#).unwrap();
    assert_eq!(event.id.as_deref(), Some("7"));
    assert_eq!((event.version, event.status), (None, Status::Final));
    assert_eq!((&event.dims[..], &event.measures[..]), (&[None, None][..], &[None, None][..]));
    assert_eq!(event.at.to_string(), "2013-03-08T12:12:00Z");
}

#[test]
fn every_mistake_has_its_code_and_field() {
    let at = r#""id":"x","at":"2013-03-08T13:12:00Z""#;
    for (json, expected, field) in [
        ("nonsense".to_owned(), Code::Malformed, None),
        ("{\"id\":".to_owned(), Code::Malformed, None),
        ("{} {}".to_owned(), Code::Malformed, None),
        ("12".to_owned(), Code::Malformed, None),
        ("[]".to_owned(), Code::BatchSize, None),
        ("[{]".to_owned(), Code::Malformed, None),
        (r#"{"at":"2013-03-08T13:12:00Z"}"#.to_owned(), Code::MissingField, Some("id")),
        (r#"{"id":"x"}"#.to_owned(), Code::MissingField, Some("at")),
        (r#"{"id":"","at":"2013-03-08T13:12:00Z"}"#.to_owned(), Code::InvalidText, Some("id")),
        (r#"{"id":1.5,"at":"2013-03-08T13:12:00Z"}"#.to_owned(), Code::WrongType, Some("id")),
        (r#"{"id":"x","at":"yesterday"}"#.to_owned(), Code::InvalidTime, Some("at")),
        (r#"{"id":"x","at":1234}"#.to_owned(), Code::WrongType, Some("at")),
        (format!(r#"{{{at},"version":-1}}"#), Code::Overflow, Some("version")),
        (format!(r#"{{{at},"version":18446744073709551615}}"#), Code::Overflow, Some("version")),
        (format!(r#"{{{at},"version":2.5}}"#), Code::WrongType, Some("version")),
        (format!(r#"{{{at},"version":"three"}}"#), Code::WrongType, Some("version")),
        (format!(r#"{{{at},"version":9007199254740993.0}}"#), Code::WrongType, Some("version")),
        (format!(r#"{{{at},"version":"99999999999999999999"}}"#), Code::Overflow, Some("version")),
        (format!(r#"{{{at},"status":"done"}}"#), Code::WrongType, Some("status")),
        (format!(r#"{{{at},"tenant":"XXX"}}"#), Code::SubjectMismatch, Some("tenant")),
        (format!(r#"{{{at},"kind":"order"}}"#), Code::SubjectMismatch, Some("kind")),
        (format!(r#"{{{at},"dims":{{"carier":"B6"}}}}"#), Code::UnknownField, Some("dims.carier")),
        (format!(r#"{{{at},"dims":{{"event":"x"}}}}"#), Code::UnknownField, Some("dims.event")),
        (format!(r#"{{{at},"dims":{{"carrier":["B6"]}}}}"#), Code::WrongType, Some("dims.carrier")),
        (format!(r#"{{{at},"dims":{{"carrier":"{}"}}}}"#, "x".repeat(513)), Code::InvalidText, Some("dims.carrier")),
        (format!(r#"{{{at},"dims":[]}}"#), Code::Malformed, None),
        (format!(r#"{{{at},"measures":{{"dely":1}}}}"#), Code::UnknownField, Some("measures.dely")),
        (format!(r#"{{{at},"measures":{{"delay":"late"}}}}"#), Code::WrongType, Some("measures.delay")),
        (format!(r#"{{{at},"measures":{{"delay":true}}}}"#), Code::WrongType, Some("measures.delay")),
        (format!(r#"{{{at},"measures":{{"delay":1.5}}}}"#), Code::TooManyDigits, Some("measures.delay")),
        (format!(r#"{{{at},"measures":{{"price":1.234}}}}"#), Code::TooManyDigits, Some("measures.price")),
        (format!(r#"{{{at},"measures":{{"delay":9223372036854775808}}}}"#), Code::Overflow, Some("measures.delay")),
        (format!(r#"{{{at},"measures":{{"price":1e17}}}}"#), Code::Overflow, Some("measures.price")),
        (format!(r#"{{{at},"pad":"{}"}}"#, "x".repeat(MAX_EVENT_BYTES)), Code::TooLarge, None),
    ] {
        let shown: String = json.chars().take(100).collect();
        assert_eq!(code(&json), (expected, field.map(str::to_owned)), "{shown}");
    }
}

#[test]
fn nothing_may_be_given_twice() {
    let at = r#""id":"x","at":"2013-03-08T13:12:00Z""#;
    for (rest, field) in [
        (r#","id":"x""#, "id"),
        (r#","\u0069d":null"#, "id"),
        (r#","dims":{},"dims":{}"#, "dims"),
        (r#","dims":{"carrier":"B6","carrier":"B6"}"#, "dims.carrier"),
        (r#","measures":{"delay":1,"price":2,"d\u0065lay":null}"#, "measures.delay"),
        (r#","event":"a","event":"b""#, "event"),
        (r#","extra":1,"extra":2"#, "extra"),
        (r#","extra":{"a":1,"b":{"a":1},"a":2}"#, "extra"),
        (r#","extra":[{"b":[{"c":1,"c":1}]}]"#, "extra"),
    ] {
        assert_eq!(code(&format!("{{{at}{rest}}}")), (Code::Malformed, Some(field.to_owned())), "{rest}");
    }
    let many: String = (0..2_000).map(|n| format!(",\"n{n}\":{n}")).collect();
    assert!(one(&format!("{{{at}{many}}}")).is_ok());
    assert_eq!(code(&format!("{{{at}{many},\"n1999\":0}}")), (Code::Malformed, Some("n1999".to_owned())));
    // {"id": "x", "id": "x"}, and 1 twice as a key in a field that nobody reads.
    let kind = kind(Mode::Entity);
    for packed in [&b"\x82\xa2id\xa1x\xa2id\xa1x"[..], b"\x81\xa1e\x82\x01\xc0\x01\xc0"] {
        let problem = read(packed, Encoding::MessagePack, "ABQ", &kind).remove(0).outcome.unwrap_err();
        assert!(problem.code == Code::Malformed && problem.reason.contains("twice"), "{problem:?}");
    }
}

#[test]
fn a_column_outside_its_object_is_told_where_it_belongs() {
    let at = r#""id":"x","at":"2013-03-08T13:12:00Z""#;
    for (rest, place) in
        [(r#","carrier":"B6""#, "dims"), (r#","price":12.5"#, "measures"), (r#","delay":null"#, "measures")]
    {
        let problem = one(&format!("{{{at}{rest}}}")).unwrap_err();
        assert_eq!(problem.code, Code::UnknownField, "{rest}");
        assert!(problem.reason.contains(&format!("put it inside, as in {{\"{place}\"")), "{}", problem.reason);
    }
}

#[test]
fn numbers_are_one_rule_in_text_and_out_of_it() {
    let read = |version: &str, delay: &str, price: &str| {
        let measures = format!(r#"{{"delay":{delay},"price":{price}}}"#);
        one(&format!(r#"{{"id":"x","at":"2013-03-08T13:12:00Z","version":{version},"measures":{measures}}}"#))
            .map(|event| (event.version.unwrap(), event.measures[0].unwrap(), event.measures[1].unwrap()))
    };
    for (text, number) in [("3", 3_u64), ("2.0", 2), ("2e0", 2), ("20e-1", 2), ("1e3", 1_000), ("-0", 0), ("5.000", 5)]
    {
        let expected = (number, number as i64, number as i64 * 100);
        assert_eq!(read(text, text, text), Ok(expected), "{text}");
        let quoted = format!("\"{text}\"");
        assert_eq!(read(&quoted, &quoted, &quoted), Ok(expected), "{quoted}");
    }
    for text in ["+5", "007", "-01", ".5", "5.", "1e", "0x10", "1_000", "1,5", " 5", "5 ", "NaN", "", "١"] {
        let quoted = format!("\"{text}\"");
        for (version, measure) in [(quoted.as_str(), "1"), ("1", quoted.as_str())] {
            assert_eq!(read(version, measure, measure).unwrap_err().code, Code::WrongType, "{text:?}");
        }
    }
    // Zeros are no digits too many, however many they are.
    let zeros = "0".repeat(60);
    assert_eq!(read("1", &format!("2.{zeros}"), &format!("\"1.5{zeros}\"")), Ok((1, 2, 150)));
    assert_eq!(read("1", "0", &format!("0e{zeros}99999999999")), Ok((1, 0, 0)));
    assert_eq!(read("1", "1", "1e99999999999").unwrap_err().code, Code::Overflow);
    assert_eq!(read("1", "1", "1e-99999999999").unwrap_err().code, Code::Overflow);
}

#[test]
fn decimals_keep_every_digit() {
    let event = one(r#"{"id":"x","at":"2013-03-08T13:12:00Z","measures":{"price":"90071992547409.93"}}"#).unwrap();
    assert_eq!(event.measures[1], Some(9_007_199_254_740_993));
}

#[test]
fn invalid_utf8_is_told_with_its_place() {
    let kind = kind(Mode::Entity);
    let read = read(b"{\"id\":\"\xff\"}", Encoding::Json, "ABQ", &kind);
    let problem = read[0].outcome.as_ref().unwrap_err();
    assert_eq!(problem.code, Code::InvalidUtf8);
    assert!(problem.reason.contains("byte 7"), "{}", problem.reason);
}

#[test]
fn one_bad_event_of_a_batch_is_rejected_alone() {
    let kind = kind(Mode::Entity);
    let batch = br#" [{"id":"a","at":"2013-03-08T13:12:00Z"}, 5, {"id":"b","at":"2013-03-08T13:12:00Z"}]"#;
    let read = read(batch, Encoding::Json, "ABQ", &kind);
    assert_eq!(read.iter().map(|r| r.outcome.is_ok()).collect::<Vec<_>>(), [true, false, true]);
    assert_eq!(read[1].original, b"5");
}

#[test]
fn facts_need_no_id_and_are_final() {
    let kind = kind(Mode::Fact);
    let outcome = |json: &str| read(json.as_bytes(), Encoding::Json, "ABQ", &kind).remove(0).outcome;
    assert_eq!(outcome(r#"{"at":"2013-03-08T13:12:00Z"}"#).unwrap().id, None);
    let problem = outcome(r#"{"at":"2013-03-08T13:12:00Z","status":"draft"}"#).unwrap_err();
    assert_eq!(problem.code, Code::WrongType);
}

#[test]
fn messagepack_is_read_the_same_way() {
    let kind = kind(Mode::Entity);
    let good = serde_json::json!({"id": "x", "at": "2013-03-08T13:12:00Z", "event": "landed",
        "dims": {"carrier": "B6"}, "measures": {"delay": -4, "price": 12.5}});
    let bad = serde_json::json!({"id": "y", "at": "2013-03-08T13:12:00Z", "measures": {"price": 0.125}, "dims": {"carrier": "B6"}});
    let packed = rmp_serde::to_vec(&serde_json::json!([good, bad, good])).unwrap();
    let events = read(&packed, Encoding::MessagePack, "ABQ", &kind);
    assert_eq!(events.len(), 3);
    assert_eq!(events[0].outcome.as_ref().unwrap().measures[..], [Some(-4), Some(1250)]);
    assert_eq!(events[1].outcome.as_ref().unwrap_err().code, Code::TooManyDigits);
    assert_eq!(events[2].outcome, events[0].outcome);
    let single = rmp_serde::to_vec(&good).unwrap();
    assert!(read(&single, Encoding::MessagePack, "ABQ", &kind)[0].outcome.is_ok());
    for cut in 0..packed.len() {
        // Never a panic, and never a whole batch out of a part of one.
        let read = read(&packed[..cut], Encoding::MessagePack, "ABQ", &kind);
        assert!(read.len() == 1 && read[0].outcome.is_err(), "cut at {cut}");
    }
    assert!(read(&[0xdf, 0xff, 0xff, 0xff, 0xff], Encoding::MessagePack, "ABQ", &kind)[0].outcome.is_err());
}
