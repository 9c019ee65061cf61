use super::*;
use crate::publication::BATCH_BYTES;
use daybook_contracts::event::{Encoding, read};
use daybook_domain::catalogue::{Kind, Measure};
use daybook_domain::mapping::{Explode, Mapping, Pick, Take};
use daybook_mapping::Zones;
use proptest::prelude::*;
use std::sync::LazyLock;

const NOON: &str = "2024-03-01T12:00:00Z";

fn translator(mode: Mode, change: impl FnOnce(&mut Mapping)) -> Translator {
    let name = |text: &str| Name::new(text).unwrap();
    let mut mapping = Mapping {
        tenant: Some(Pick::path("/tenant")),
        at: Some(Pick { take: Some(Take::Arrival), ..Pick::default() }),
        measures: [(name("total"), Pick::path("./total"))].into(),
        explode: Some(Explode { path: "/lines".to_owned(), complete: false, slots: None }),
        ..Mapping::new(name("shop"))
    };
    change(&mut mapping);
    let kind = Kind {
        name: name("sale"),
        mode,
        dimensions: Vec::new(),
        measures: vec![Measure { name: name("total"), scale: 2 }],
        revision: 1,
        mappings: vec![mapping],
        remember: None,
    };
    let found = RecordMapper::find(&[kind], &"sale/shop".parse().unwrap(), Zones::default(), None);
    Translator::new(found.unwrap(), None)
}

static STREAM: LazyLock<SourceMark> =
    LazyLock::new(|| SourceMark { text: "ORDERS@01234567".to_owned(), is_stored: true });

fn stored(payload: &str, sequence: u64) -> ForeignMessage<'_> {
    ForeignMessage {
        subject: "orders.1",
        headers: &[],
        payload: payload.as_bytes(),
        arrived: NOON.parse().unwrap(),
        mark: &STREAM,
        number: sequence,
    }
}

/// The ids and versions of the events of all publications, as ingest reads them.
fn read_back(translator: &Translator, translation: &Translation) -> Vec<(Option<String>, Option<u64>)> {
    let sound = translation.publications.iter().filter(|publication| publication.unmapped.is_none());
    sound
        .flat_map(|publication| {
            let payload = publication.payload();
            let events = read(&payload, Encoding::Json, &publication.tenant, &translator.mapper.kind);
            events.into_iter().map(|read| read.outcome.unwrap()).collect::<Vec<_>>()
        })
        .map(|event| (event.id.map(String::from), event.version))
        .collect()
}

#[test]
fn a_fact_is_known_by_its_place_in_the_stream() {
    let facts = translator(Mode::Fact, |_| {});
    let message = r#"{"tenant": "acme", "lines": [{"total": 1}, {"total": "x"}, {"total": 2.5}]}"#;
    let translation = facts.translate(&stored(message, 17));
    let id = |text: &str| (Some(text.to_owned()), None);
    assert_eq!(read_back(&facts, &translation), [id("ORDERS@01234567:17"), id("ORDERS@01234567:17:2")]);
    assert_eq!((translation.events, translation.unmapped), (2, 1));
    assert_eq!(facts.translate(&stored(message, 17)), translation, "it comes again");
    let tenants: Vec<&str> = translation.publications.iter().map(|publication| publication.tenant.as_str()).collect();
    assert_eq!(tenants, ["acme"; 3], "an event, the item that is none, and an event");
    let array = facts.translate(&stored(&format!("[{message}, {message}]"), 18));
    let ids: std::collections::BTreeSet<_> = read_back(&facts, &array).into_iter().collect();
    assert_eq!(ids.len(), 4, "records of one message have ids of their own");
}

#[test]
fn an_entity_without_a_version_has_one_that_grows_with_the_stream() {
    let id = |mapping: &mut Mapping| mapping.id = vec![Pick::path("./id")];
    let message = r#"{"tenant": "acme", "changed": 5, "lines": [{"id": "a", "total": 1}]}"#;
    let by_sequence = translator(Mode::Entity, id);
    let versions = |translator: &Translator, message: &ForeignMessage<'_>| {
        let read = read_back(translator, &translator.translate(message));
        read.into_iter().map(|(_, version)| version).collect::<Vec<_>>()
    };
    assert_eq!(versions(&by_sequence, &stored(message, 17)), [Some(17 << 16)]);
    // A message may tell of one entity twice: the last state wins, and that of the next message wins over both.
    let twice = r#"{"tenant": "acme", "lines": [{"id": "a", "total": 1}, {"total": 9}, {"id": "a", "total": 2}]}"#;
    assert_eq!(versions(&by_sequence, &stored(twice, 17)), [Some(17 << 16), Some((17 << 16) + 2)]);
    assert_eq!(versions(&by_sequence, &stored(&format!("[{twice}]"), 18))[0], Some(18 << 16));
    let listener = SourceMark { text: "web@1".to_owned(), is_stored: false };
    let heard = ForeignMessage { mark: &listener, ..stored(message, 3) };
    assert_eq!(versions(&by_sequence, &heard), [None], "on core subjects the last to arrive wins");
    let by_field = translator(Mode::Entity, |mapping| {
        id(mapping);
        mapping.version = Some(Pick::path("/changed"));
    });
    assert_eq!(versions(&by_field, &stored(message, 17)), [Some(5)]);
}

#[test]
fn events_of_one_tenant_share_batches_that_have_bounds() {
    let facts = translator(Mode::Fact, |mapping| mapping.tenant = Some(Pick::path("./t")));
    let line = |tenant: &str| format!(r#"{{"t": "{tenant}", "total": 1}}"#);
    let lines = |count: usize, tenant: &str| vec![line(tenant); count].join(",");
    let message = format!(r#"{{"lines": [{}, {}, {}]}}"#, lines(2_500, "a"), lines(3, "b"), line("a"));
    let translation = facts.translate(&stored(&message, 1));
    let told: Vec<(&str, usize)> = translation
        .publications
        .iter()
        .map(|publication| {
            (
                publication.tenant.as_str(),
                read(&publication.payload(), Encoding::Json, &publication.tenant, &facts.mapper.kind).len(),
            )
        })
        .collect();
    assert_eq!(told, [("a", 500), ("a", 500), ("a", 500), ("a", 500), ("a", 500), ("b", 3), ("a", 1)]);
    assert!(translation.publications.iter().all(|publication| publication.bytes() <= BATCH_BYTES));
}

#[test]
fn what_is_no_record_is_told_and_has_a_bound() {
    let facts = translator(Mode::Fact, |_| {});
    for payload in ["", "{", "null", "[]", "7", "{\"tenant\": 7, \"lines\": []}"] {
        let translation = facts.translate(&stored(payload, 1));
        assert_eq!(translation.events, 0, "{payload}");
        assert!(translation.unmapped + translation.passed_over > 0, "{payload}");
    }
    // Every slot of every record fails with the same array.
    let slots = translator(Mode::Entity, |mapping| {
        mapping.id = vec![Pick::path("/id"), Pick { take: Some(Take::Index), ..Pick::default() }];
        mapping.explode = Some(Explode { path: "/lines".to_owned(), complete: false, slots: Some(500) });
    });
    let record = format!(r#"{{"tenant": "acme", "lines": ["{}"]}}"#, "x".repeat(1_000));
    let message = format!("[{}]", vec![record; 90].join(","));
    let translation = slots.translate(&stored(&message, 1));
    assert_eq!((translation.unmapped, translation.publications.len()), (45_000, 101));
    let last = translation.publications.back().and_then(|last| last.unmapped.as_deref()).unwrap();
    assert!(last.contains("44900 further items"), "{last}");
    let bytes: usize = translation.publications.iter().map(Publication::bytes).sum();
    assert!(bytes <= message.len() + MAX_ORIGINAL_BYTES, "{bytes}");
    let message = format!("[{}]", vec![r#"{"tenant": "acme", "lines": []}"#; 1_000].join(","));
    let translation = slots.translate(&stored(&message, 1));
    assert_eq!((translation.unmapped, translation.publications.len()), (1, 1), "half a million events are too many");
}

#[test]
fn a_mapping_is_the_same_however_it_is_spelled() {
    let of = |spelled: &str| {
        let kind = translator(Mode::Fact, |_| {}).mapper.kind;
        let found = RecordMapper::find(&[kind], &spelled.parse().unwrap(), Zones::default(), None);
        Translator::new(found.unwrap(), None).mapping()
    };
    assert_eq!(of("shop").to_string(), "sale/shop", "ids of facts depend on it");
    assert_eq!(of("shop"), of("sale/shop"));
}

#[test]
fn a_source_publishes_for_its_tenants_only() {
    let mut facts = translator(Mode::Fact, |mapping| mapping.tenant = Some(Pick::path("./t")));
    facts.tenants = Some(["acme", "beta"].map(|id| TenantId::new(id).unwrap()).into());
    let message = r#"{"lines": [{"t": "acme", "total": 1}, {"t": "zeta", "total": 2}, {"t": "zeta", "total": "x"}, {"t": "beta"}]}"#;
    let translation = facts.translate(&stored(message, 1));
    assert_eq!((translation.events, translation.unmapped), (2, 2));
    let told: Vec<(&str, bool)> =
        translation.publications.iter().map(|it| (it.tenant.as_str(), it.unmapped.is_none())).collect();
    let unmapped = (daybook_contracts::subjects::UNMAPPED_TENANT, false);
    assert_eq!(told, [("acme", true), unmapped, unmapped, ("beta", true)], "zeta gets not even a reject");
    let problem: Problem = serde_json::from_str(translation.publications[1].unmapped.as_ref().unwrap()).unwrap();
    assert_eq!(problem.code, Code::UnknownTenant);
    assert!(problem.reason.contains("zeta") && problem.reason.contains("`tenants`"), "{}", problem.reason);
    assert_eq!(translation.publications[1].payload(), message.as_bytes());
    let problem: Problem = serde_json::from_str(translation.publications[2].unmapped.as_ref().unwrap()).unwrap();
    assert_eq!(problem.code, Code::UnknownTenant, "whatever else is wrong with it");
    assert!(problem.reason.contains("zeta") && problem.reason.contains("total"), "{}", problem.reason);
}

proptest! {
    #[test]
    fn any_bytes_are_translated_and_always_alike(
        payload in prop::collection::vec(any::<u8>(), 0..400),
        subject in "[a-z.*> ]{0,20}",
        sequence in any::<u64>(),
    ) {
        let translator = translator(Mode::Fact, |_| {});
        let message = ForeignMessage { subject: &subject, payload: &payload, ..stored("", sequence) };
        let translation = translator.translate(&message);
        prop_assert!(translation.unmapped + translation.events + translation.passed_over > 0);
        prop_assert_eq!(translator.translate(&message), translation);
    }
}

#[test]
fn a_reject_shows_a_tenant_nothing_of_another() {
    let shared = translator(Mode::Fact, |mapping| mapping.tenant = Some(Pick::path("./t")));
    let record = r#"{"lines": [{"t": "acme", "total": "x"}, {"t": "zeta", "total": 5}]}"#;
    let alone = r#"{"t": "acme", "total": "x"}"#;
    let original = |translator: &Translator, message: &str| {
        let translation = translator.translate(&stored(message, 1));
        let refused = translation.publications.into_iter().find(|publication| publication.unmapped.is_some()).unwrap();
        (refused.tenant.clone(), String::from_utf8(refused.payload().to_vec()).unwrap())
    };
    assert_eq!(original(&shared, record), ("acme".to_owned(), alone.to_owned()));
    let own = translator(Mode::Fact, |_| {});
    let bad = |tenant: &str| format!(r#"{{"tenant": "{tenant}", "lines": [{{"total": "x"}}]}}"#);
    assert_eq!(original(&own, &bad("acme")), ("acme".to_owned(), bad("acme")), "the whole record can be mapped again");
    let array = format!("[{}, {}]", bad("acme"), bad("zeta"));
    assert_eq!(original(&own, &array), ("acme".to_owned(), r#"{"total": "x"}"#.to_owned()));
}
