//! Requests for lists, and what is read for them: bodies, cursors, and messages of rejects. A body that is read comes back
//! from either encoding; a mistake is within the body; a page is within its bounds, whatever the cursor; and the rejects
//! of a message are the same from either end.

use super::{choice, chosen, packed};
use async_nats::HeaderMap;
use async_nats::header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE;
use bytes::Bytes;
use daybook_contracts::ask::AskError;
use daybook_contracts::lists::{DatesQuery, RejectsQuery, ReportQuery};
use daybook_contracts::reject::{Code, Original, Reject, Rejects};
use daybook_contracts::subjects::Subjects;
use daybook_domain::ids::{InboxSeq, LogSeq, TenantId};
use daybook_domain::time::{Date, Instant};
use daybook_runtime::append::Stored;
use query::encoding::Encoding;
use query::lists::cursor::Scope;
use query::lists::dates::Window;
use query::lists::reject_page::{ALL, Page, PageEdge, read as rejects_in};
use query::request::read;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;

fn acme() -> TenantId {
    TenantId::new("acme").expect("a tenant's id")
}

fn scope() -> Scope {
    Scope::new(&acme(), "~rejects", &())
}

/// The lowest bit of the first byte chooses the encoding, the others what the bytes are.
pub fn run(data: &[u8]) {
    let Some((choice, body)) = choice(data) else { return };
    let encoding = if choice & 1 == 0 { Encoding::Json } else { Encoding::MessagePack };
    match choice >> 1 & 7 {
        0 => drop(body_of::<DatesQuery>(body, encoding).map(|query| dates(&query))),
        1 => drop(body_of::<ReportQuery>(body, encoding)),
        2 => drop(body_of::<RejectsQuery>(body, encoding).map(|query| place(query.cursor.as_deref()))),
        3 => forged(body),
        _ => message(body),
    }
}

/// Reads a body, and looks at what comes of it.
fn body_of<T>(body: &[u8], encoding: Encoding) -> Option<T>
where
    T: Serialize + DeserializeOwned + Default + PartialEq + Debug,
{
    match read::<T>(body, encoding) {
        Ok(query) => {
            let json = serde_json::to_vec(&query).expect("queries are plain values");
            assert_eq!(read::<T>(&json, Encoding::Json).as_ref(), Ok(&query));
            let packed = rmp_serde::to_vec_named(&query).expect("queries are plain values");
            assert_eq!(read::<T>(&packed, Encoding::MessagePack).as_ref(), Ok(&query));
            Some(query)
        }
        Err(error) => {
            assert!(error.position.is_none_or(|at| at <= body.len()), "{error:?}");
            told(&error);
            None
        }
    }
}

/// The dates of a page are those that were asked for, and no later than the cursor.
fn dates(query: &DatesQuery) {
    match Window::new(&acme(), "~days", query) {
        Ok(window) => {
            assert!((1..=1_000).contains(&window.limit));
            let Some(dates) = window.dates() else { return };
            assert!(query.from.is_none_or(|from| *dates.start() == from));
            assert!(query.to.is_none_or(|to| *dates.end() <= to));
            let next = DatesQuery { cursor: Some(window.cursor(*dates.start())), ..query.clone() };
            let next = Window::new(&acme(), "~days", &next).expect("its own cursor");
            assert_eq!(next.dates(), Some(*dates.start()..=*dates.start()));
            for day in [Date::MIN, *dates.start(), *dates.end(), Date::MAX] {
                assert!(
                    window
                        .before(day)
                        .dates()
                        .is_none_or(|before| *before.end() < day && before.start() == dates.start())
                );
            }
        }
        Err(error) => told(&error),
    }
}

fn place(cursor: Option<&str>) {
    if let Some(cursor) = cursor {
        match scope().read::<PageEdge>(cursor) {
            Ok(place) => assert_eq!(scope().read::<PageEdge>(&scope().write(place)), Ok(place)),
            Err(error) => assert_eq!(error.field.as_deref(), Some("cursor")),
        }
    }
}

/// The bytes as a cursor, and as the place in a cursor of the right request.
fn forged(body: &[u8]) {
    place(std::str::from_utf8(body).ok());
    if let Ok(value) = serde_json::from_slice::<serde_json::Value>(body) {
        let cursor = scope().write(value);
        place(Some(&cursor));
        dates(&DatesQuery { cursor: Some(cursor), ..DatesQuery::default() });
    }
}

/// Pages of a message's rejects, two at a time, from its end and from its beginning.
fn message(body: &[u8]) {
    let mut headers = HeaderMap::new();
    headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, "4");
    let (subject, payload) = ("daybook.rejects.acme".to_owned(), Bytes::copy_from_slice(body));
    let stored = Stored { subject, sequence: 7, stored_at: Instant::from_millis(0), headers, payload };
    let subjects = Subjects::new("daybook").expect("a valid prefix");
    let rejects = rejects_in(&subjects, &stored).unwrap_or_default();
    assert!(rejects.iter().all(|reject| reject.tenant == "acme"));
    let mut backwards = Vec::new();
    let mut count = ALL;
    while count > 0 {
        let mut page = Page::new(2, 1 << 20);
        let left = page.take_last(&mut rejects.clone(), count);
        assert!(left < count && page.rows.len() <= 2, "{left} of {count}");
        backwards.splice(0..0, page.rows);
        count = left;
    }
    assert_eq!(backwards, rejects);
    let (mut forwards, mut from) = (Vec::new(), 0);
    while from != ALL {
        let mut page = Page::new(2, 1 << 20);
        let next = page.take_first(rejects.clone(), from);
        assert!(next > from && page.rows.len() <= 2, "{from} to {next}");
        forwards.extend(page.rows);
        from = next;
    }
    assert_eq!(forwards, rejects);
}

fn told(error: &AskError) {
    let json = serde_json::to_vec(error).expect("errors are plain values");
    assert_eq!(serde_json::from_slice::<AskError>(&json).ok().as_ref(), Some(error));
    assert!(!error.message.is_empty());
}

pub fn seeds() -> Vec<Vec<u8>> {
    let window = Window::new(&acme(), "~days", &DatesQuery::default()).expect("the whole list");
    let dates = format!(r#"{{"limit":7,"cursor":"{}"}}"#, window.cursor(Date::from_days(15_774)));
    let rejects = format!(r#"{{"limit":7,"cursor":"{}"}}"#, scope().write(PageEdge::Before(77, 3)));
    let bodies = [
        (0, "{}"),
        (0, r#"{"from":"2013-03-08","to":"2013-03-10","limit":5}"#),
        (0, dates.as_str()),
        (1, r#"{"date":"2013-03-08","version":2}"#),
        (2, rejects.as_str()),
    ];
    let mut seeds: Vec<Vec<u8>> = Vec::new();
    for (what, body) in bodies {
        seeds.push(chosen(what << 1, body.as_bytes()));
        seeds.push(chosen(what << 1 | 1, &packed(body)));
    }
    for place in [PageEdge::Before(9, 0), PageEdge::Behind(u64::MAX, ALL)] {
        seeds.push(chosen(3 << 1, &serde_json::to_vec(&place).expect("plain values")));
        seeds.push(chosen(3 << 1, scope().write(place).as_bytes()));
    }
    seeds.push(chosen(3 << 1, b"\"2013-03-08\""));
    let reject = |index| Reject {
        code: Code::Malformed,
        reason: "it is no JSON".to_owned(),
        tenant: "acme".to_owned(),
        kind: "order".to_owned(),
        inbox: InboxSeq(1),
        index,
        field: None,
        date: None,
        original: Original::new(b"{"),
        span: None,
    };
    let message = Rejects { log: LogSeq(1), rejects: (0..5).map(reject).collect() };
    seeds.push(chosen(4 << 1, &serde_json::to_vec(&message).expect("plain values")));
    seeds
}
