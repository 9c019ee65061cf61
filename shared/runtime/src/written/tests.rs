use super::*;
use crate::log::{Logged, headers_of};
use daybook_contracts::day::Edge;
use daybook_contracts::log::{Batch, FORMAT, Marks, Through};
use daybook_domain::calendar::BusinessDay;
use daybook_domain::ids::{InboxSeq, LogSeq};
use proptest::prelude::*;

const PUBACK: &[u8] = br#"{"stream":"DAYBOOK_INBOX","seq":7}"#;

fn subjects() -> Subjects {
    Subjects::new("daybook").unwrap()
}

/// The headers of a message that was appended to `subject`.
fn appended(subject: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, "4");
    headers.insert(headers::SUBJECT, subject);
    headers
}

/// The same as an earlier build appended it.
fn earlier(subject: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, values) in appended(subject).iter().filter(|(name, _)| name.to_string() != headers::SUBJECT) {
        headers.append(name.clone(), values[0].clone());
    }
    headers
}

fn message<'m>(subject: &'m str, headers: &'m HeaderMap, payload: &'m [u8]) -> Message<'m> {
    Message { subject, headers, payload }
}

fn is_foreign<T>(read: Result<T, NotWritten>) -> bool {
    matches!(read, Err(NotWritten::Foreign(_)))
}

fn marker_of(tenant: &str) -> DayMarker {
    let at = Instant::from_millis(1_362_904_200_123);
    DayMarker {
        generation: 0,
        tenant: TenantId::new(tenant).unwrap(),
        edge: Edge::Closed,
        day: BusinessDay { date: Date::from_days(15_774), opens_at: at, closes_at: at },
        due_at: at,
        calendar: Name::new("c").unwrap(),
        calendar_revision: 4,
        tzdb: "2026a".into(),
    }
}

#[test]
fn a_marker_is_believed_where_it_was_appended_and_fits() {
    let (subject, other) = ("daybook.days.acme.closed", "daybook.days.evil.closed");
    let acme = serde_json::to_vec(&marker_of("acme")).unwrap();
    let read =
        |subject: &str, headers: &HeaderMap, payload: &[u8]| marker(&subjects(), message(subject, headers, payload));
    assert!(read(subject, &appended(subject), &acme).is_ok());
    assert!(read(subject, &earlier(subject), &acme).is_ok(), "an earlier build did not name the subject");
    assert!(is_foreign(read(subject, &HeaderMap::new(), &acme)), "nobody set a condition");
    assert!(is_foreign(read(other, &appended(subject), &acme)), "a copy, headers and all");
    assert!(is_foreign(read(other, &earlier(subject), &acme)), "the content is of another tenant");
    assert!(is_foreign(read("daybook.days.acme.opened", &earlier(subject), &acme)));
    assert!(is_foreign(read(subject, &HeaderMap::new(), PUBACK)));
    assert!(is_foreign(read(subject, &earlier(subject), PUBACK)));
    assert!(matches!(read(subject, &appended(subject), PUBACK), Err(NotWritten::Unreadable(_))), "a newer version's");
    let mut elsewhere = appended(subject);
    elsewhere.insert(EXPECTED_LAST_SUBJECT, "daybook.days.evil.closed");
    assert!(is_foreign(read(subject, &elsewhere, &acme)), "the condition is on another subject");
}

#[test]
fn a_position_is_believed_with_what_it_is_the_position_of() {
    let position = |subject: &str, headers: &HeaderMap, payload: &[u8]| {
        super::position(&subjects(), message(subject, headers, payload))
    };
    let subject = "daybook.rejects.acme";
    let rejects = serde_json::to_vec(&Rejects { log: LogSeq(3), rejects: vec![] }).unwrap();
    let with = |mut headers: HeaderMap| {
        headers.insert(headers::POSITION, "9");
        headers
    };
    assert_eq!(position(subject, &with(appended(subject)), b"whatever a newer version writes"), Ok(9));
    assert_eq!(position(subject, &with(earlier(subject)), &rejects), Ok(9));
    assert!(is_foreign(position(subject, &with(earlier(subject)), PUBACK)));
    assert!(is_foreign(position(subject, &appended(subject), &rejects)), "it has none");
    assert!(is_foreign(position("daybook.rejects.evil", &with(appended(subject)), &rejects)));
    // A report of one tenant is none of another's, whatever its headers say.
    let report = br#"{"tenant":"evil","date":"2013-03-10","version":9}"#;
    assert!(is_foreign(position("daybook.reports.acme.2013-03-10", &with(earlier(subject)), report)));
}

#[test]
fn an_alert_is_believed_at_its_place_of_its_own_subject() {
    let read = |subject: &str, headers: &HeaderMap, payload: &[u8]| {
        let mut headers = headers.clone();
        headers.insert(headers::POSITION, ((3 << 16) + 1).to_string());
        alert(&subjects(), message(subject, &headers, payload))
    };
    let subject = "daybook.alerts.acme";
    let payload = |tenant: &str, id: &str| {
        let json = serde_json::json!({"id": id, "alert": "low", "tenant": tenant, "generation": 0, "day": "2013-03-10",
            "at": "2013-03-10T05:00:00Z", "log": 3});
        serde_json::to_vec(&json).unwrap()
    };
    let acme = payload("acme", "acme-3-1");
    assert!(read(subject, &appended(subject), &acme).is_ok());
    assert!(is_foreign(read(subject, &earlier(subject), &acme)), "every build that writes alerts names the subject");
    assert!(is_foreign(read(subject, &HeaderMap::new(), &acme)));
    assert!(is_foreign(read("daybook.alerts.evil", &appended(subject), &acme)), "a copy");
    assert!(is_foreign(read(subject, &appended(subject), &payload("evil", "evil-3-1"))));
    assert!(is_foreign(read(subject, &appended(subject), &payload("acme", "acme-3-2"))), "an id of another position");
    assert!(matches!(read(subject, &appended(subject), PUBACK), Err(NotWritten::Unreadable(_))));
    let mut nameless = earlier(subject);
    nameless.insert(headers::POSITION, "9");
    assert!(is_foreign(position(&subjects(), message(subject, &nameless, &acme))));
}

#[test]
fn a_clock_and_a_definition_are_believed_under_their_names() {
    let subject = "daybook.clocks.year";
    let read = |headers: &HeaderMap, payload: &[u8]| clock(&subjects(), message(subject, headers, payload));
    assert_eq!(read(&appended(subject), b"2013-03-10T05:00:00Z").unwrap().0.as_str(), "year");
    assert!(is_foreign(read(&earlier(subject), PUBACK)));
    assert!(is_foreign(read(&appended("daybook.clocks.other"), b"2013-03-10T05:00:00Z")));
    let activation = daybook_domain::catalogue::Activation { view: Name::new("v").unwrap(), revision: 1, since: None };
    let payload = serde_json::to_vec(&Definition::Activation(activation)).unwrap();
    let read = |subject: &str| definition(&subjects(), message(subject, &earlier(subject), &payload));
    assert_eq!(read("daybook.catalog.3.activation.v").unwrap().0, Partition(3));
    for other in ["daybook.catalog.3.activation.w", "daybook.catalog.3.view.v", "daybook.catalog.x.activation.v"] {
        assert!(is_foreign(read(other)), "{other}");
    }
}

fn batch_of(inbox: u64) -> (HeaderMap, Vec<u8>) {
    let marks = Marks { through: Through { inbox: InboxSeq(inbox), events: 3 }, catalog: 5, days: 9, restating: false };
    let batch = Batch { format: FORMAT, through: marks.through, records: vec![] };
    (headers_of(LogSeq(4), marks), batch.encode())
}

#[test]
fn a_batch_tells_what_it_follows_and_how_far_it_reaches() {
    let subject = "daybook.events.7";
    let (own, payload) = batch_of(7);
    let with = |more: HeaderMap| {
        let mut headers = own.clone();
        more.iter().for_each(|(name, values)| headers.insert(name.clone(), values[0].clone()));
        headers
    };
    for headers in [with(appended(subject)), with(earlier(subject))] {
        let logged = Logged::read(message(subject, &headers, &payload)).unwrap();
        assert_eq!((logged.follows, logged.marks.through), (LogSeq(4), logged.batch.through));
        assert_eq!((logged.marks.catalog, logged.marks.days), (5, 9));
    }
    assert!(is_foreign(Logged::read(message("daybook.events.6", &with(appended(subject)), &payload))));
    assert!(is_foreign(Logged::read(message(subject, &own, &payload))));
    assert!(is_foreign(Logged::read(message(subject, &appended(subject), &payload))), "it does not say how far");
    assert!(is_foreign(Logged::read(message(subject, &with(appended(subject)), &batch_of(8).1))));
    assert!(is_foreign(Logged::read(message(subject, &with(earlier(subject)), PUBACK))));
    let mut newer = payload.clone();
    newer[1] = FORMAT + 1;
    let read = Logged::read(message(subject, &with(earlier(subject)), &newer));
    assert!(matches!(&read, Err(NotWritten::Unreadable(why)) if why.contains("upgrade")), "{read:?}");
}

proptest! {
    /// Nothing is made of bytes that nobody appended, and nothing panics.
    #[test]
    fn any_bytes_without_a_condition_are_foreign(
        payload in prop::collection::vec(any::<u8>(), 0..200),
        values in prop::collection::vec("[ -~]{0,40}", 6),
        place in 0_usize..6,
    ) {
        let names = [
            headers::FOLLOWS, headers::INBOX_SEQ, headers::INBOX_EVENTS, headers::POSITION, headers::HASH, headers::SUBJECT,
        ];
        let mut map = HeaderMap::new();
        for (name, value) in names.iter().zip(&values) {
            map.insert(*name, value.as_str());
        }
        let subject = ["events.3", "days.acme.closed", "catalog.0.kind.k", "reports.acme.2013-03-10", "rejects.acme",
            "clocks.c"][place];
        let subject = format!("daybook.{subject}");
        let message = message(&subject, &map, &payload);
        prop_assert!(is_foreign(Logged::read(message)));
        prop_assert!(is_foreign(marker(&subjects(), message)));
        prop_assert!(is_foreign(definition(&subjects(), message)));
        prop_assert!(is_foreign(clock(&subjects(), message)));
        prop_assert!(is_foreign(report::<Report>(&subjects(), message)));
        prop_assert!(is_foreign(rejects(&subjects(), message)));
        prop_assert!(is_foreign(position(&subjects(), message)));
    }
}
