//! What is over a tenant's quota, and how it is recorded.

use super::{HOUR_MS, Message, drain, events_of, order, records, rejects_of, sequencer, tenant, through};
use crate::quota::{MIN_BURST_BYTES, Rates};
use crate::sequencer::{Marks, Sequencer};
use daybook_contracts::log::Record;
use daybook_contracts::reject::{Code, MAX_ORIGINAL_BYTES, Reject, Span};
use daybook_domain::catalogue::{Definition, Tenant};
use daybook_domain::ids::InboxSeq;
use daybook_domain::quotas::Quotas;
use daybook_domain::time::Instant;
use serde_json::Value;

/// ABQ with that many events a second, JFK without a quota.
fn limited(events_per_second: u64) -> Sequencer {
    let mut sequencer = sequencer();
    Message::definition(1, 1, &abq(1, events_per_second)).give(&mut sequencer);
    Message::definition(2, 2, &Definition::Tenant(tenant("JFK", 1))).give(&mut sequencer);
    drain(&mut sequencer);
    sequencer
}

fn abq(revision: u64, events_per_second: u64) -> Definition {
    let quotas = Quotas { events_per_second: Some(events_per_second), ..Quotas::default() };
    Definition::Tenant(Tenant { quotas, revision, ..tenant("ABQ", 1) })
}

/// A message of so many events, stored so many milliseconds after the first one.
fn orders(sequence: u64, tenant: &str, count: usize, ms: i64) -> Message {
    let events: Vec<Value> = (0..count).map(|id| order(&format!("{sequence}-{id}"), 30 * HOUR_MS)).collect();
    let message = Message::events(sequence, tenant, "order", Value::from(events).to_string());
    Message { stored_at: Instant::from_millis(ms), ..message }
}

/// First and last message, and the events, of each refusal.
fn spans(rejects: &[&Reject]) -> Vec<(u64, u64, u64)> {
    let span = |reject: &&Reject| {
        let Span { events, last } = reject.span.expect("refused unread");
        (reject.inbox.0, last.0, events)
    };
    rejects.iter().map(span).collect()
}

#[test]
fn what_is_over_the_quota_is_one_record_for_all_that_follow_each_other() {
    let mut sequencer = limited(1_000);
    orders(3, "ABQ", 9_999, 0).give(&mut sequencer);
    drain(&mut sequencer);
    for (sequence, id) in (4..).zip(["ABQ", "JFK", "ABQ", "ABQ", "JFK"]) {
        orders(sequence, id, 100, 0).give(&mut sequencer);
    }
    // One event is left, and more comes with time.
    orders(9, "ABQ", 1, 0).give(&mut sequencer);
    orders(10, "ABQ", 1, 0).give(&mut sequencer);
    orders(11, "ABQ", 2, 1).give(&mut sequencer);
    orders(12, "ABQ", 1, 1).give(&mut sequencer);
    let cut = sequencer.cut().unwrap();
    assert_eq!(cut.batch.through, through(12, 0));
    let records = cut.batch.records;
    assert_eq!(events_of(&records).len(), 202, "200 of JFK, two of ABQ");
    let rejects = rejects_of(&records);
    assert_eq!(spans(&rejects), [(4, 7, 300), (10, 11, 3)]);
    assert!(rejects.iter().all(|reject| reject.code == Code::QuotaEvents && reject.tenant == "ABQ"));
    assert_eq!((rejects[0].events(), rejects[0].original.total(), rejects[0].date), (300, 0, None));
    assert!(rejects[0].reason.starts_with("over the quota of 1000 events a second; publish"), "{}", rejects[0].reason);
}

#[test]
fn a_record_never_reaches_into_another_batch() {
    let mut sequencer = limited(1_000);
    orders(3, "ABQ", 10_000, 0).give(&mut sequencer);
    drain(&mut sequencer);
    orders(4, "ABQ", 1, 0).give(&mut sequencer);
    let first = records(&mut sequencer);
    orders(5, "ABQ", 1, 0).give(&mut sequencer);
    let second = records(&mut sequencer);
    assert_eq!(spans(&rejects_of(&first)), [(4, 4, 1)]);
    assert_eq!(spans(&rejects_of(&second)), [(5, 5, 1)]);
}

#[test]
fn a_flood_is_one_record_whatever_its_kinds_and_the_quotas_that_it_is_over() {
    let rates = Rates { events_per_second: Some(1_000), bytes_per_second: Some(1_000) };
    let mut sequencer = sequencer().with_default_rates(rates);
    // Five events and fifty bytes are left.
    let events = format!("[{}1]", "1,".repeat(9_994));
    let most = format!("{events}{}", " ".repeat(MIN_BURST_BYTES as usize - 50 - events.len()));
    let give = |sequencer: &mut Sequencer, sequence, kind, payload: &str| {
        Message { stored_at: Instant::from_millis(0), ..Message::events(sequence, "ABQ", kind, payload) }
            .give(sequencer);
    };
    give(&mut sequencer, 1, "order", &most);
    drain(&mut sequencer);
    for sequence in (2..200).step_by(3) {
        // Of a kind that there is not, too: a quota is not evaded by what is refused anyway.
        give(&mut sequencer, sequence, "ordr", "[1,2,3,4,5,6]");
        give(&mut sequencer, sequence + 1, "wide", "[1,2,3,4,5,6]");
        give(&mut sequencer, sequence + 2, "wide", &format!("[1,2{:50}]", ""));
    }
    let records = records(&mut sequencer);
    let rejects = rejects_of(&records);
    assert_eq!(spans(&rejects), [(2, 199, 66 * (6 + 6 + 2))]);
    assert_eq!((rejects[0].code, rejects[0].kind.as_str()), (Code::QuotaEvents, "ordr"));
}

#[test]
fn a_refusal_that_fills_a_batch_is_not_apart_from_its_mark() {
    // Of all lengths, so that batches are left with any room, also too little for the reject that follows.
    let quotas = Quotas { bytes_per_second: Some(1_000), ..Quotas::default() };
    let limited_bytes = Definition::Tenant(Tenant { quotas, ..tenant("ABQ", 1) });
    let mut full = 0;
    for length in (MAX_ORIGINAL_BYTES - 5_000..MAX_ORIGINAL_BYTES).step_by(100) {
        let mut sequencer = limited(1_000);
        Message::definition(3, 3, &limited_bytes).give(&mut sequencer);
        Message::events(4, "ABQ", "order", vec![b' '; MIN_BURST_BYTES as usize]).give(&mut sequencer);
        drain(&mut sequencer);
        for sequence in 5..10 {
            Message::events(sequence, "JFK", "order", vec![b' '; MAX_ORIGINAL_BYTES]).give(&mut sequencer);
        }
        Message::events(10, "JFK", "order", vec![b' '; length]).give(&mut sequencer);
        if sequencer.is_full() {
            break;
        }
        Message::events(11, "ABQ", "order", "[{}]").give(&mut sequencer);
        full += usize::from(sequencer.is_full());
        let cut = sequencer.cut().unwrap();
        assert_eq!(spans(&rejects_of(&cut.batch.records)[6..]), [(11, 11, 1)]);
        assert_eq!(cut.batch.through, through(11, 0), "{length}");
    }
    assert!(full > 0, "none was filled by it");
}

#[test]
fn what_cannot_be_read_is_charged_as_one_event() {
    let mut sequencer = limited(1_000);
    orders(3, "ABQ", 9_999, 0).give(&mut sequencer);
    drain(&mut sequencer);
    for sequence in [4, 5] {
        let garbage = Message::events(sequence, "ABQ", "order", "[{},");
        Message { stored_at: Instant::from_millis(0), ..garbage }.give(&mut sequencer);
    }
    let records = records(&mut sequencer);
    let codes: Vec<_> = rejects_of(&records).iter().map(|reject| (reject.code, reject.events())).collect();
    assert_eq!(codes, [(Code::Malformed, 1), (Code::QuotaEvents, 1)]);
}

#[test]
fn bytes_have_a_quota_of_their_own_and_the_cluster_one_for_all() {
    let default = Rates { bytes_per_second: Some(1_000), events_per_second: None };
    let mut sequencer = sequencer().with_default_rates(default);
    let large = |sequence, ms| {
        let event = serde_json::json!({"note": "x".repeat(600_000)}).to_string();
        Message { stored_at: Instant::from_millis(ms), ..Message::events(sequence, "ABQ", "order", event) }
    };
    large(1, 0).give(&mut sequencer);
    large(2, 0).give(&mut sequencer);
    // 600 kB less the 448 kB that are left of a mebibyte: 152 s later.
    large(3, 151_000).give(&mut sequencer);
    large(4, 152_000).give(&mut sequencer);
    let records = records(&mut sequencer);
    let codes: Vec<_> = rejects_of(&records).iter().map(|reject| (reject.inbox.0, reject.code)).collect();
    assert_eq!(codes, [(1, Code::TooLarge), (2, Code::QuotaBytes), (4, Code::TooLarge)]);
    assert_eq!(rejects_of(&records)[1].span, Some(Span { events: 2, last: InboxSeq(3) }));
}

#[test]
fn a_new_revision_goes_on_with_what_is_left_unless_the_rate_is_another() {
    let mut sequencer = limited(1_000);
    orders(3, "ABQ", 10_000, 0).give(&mut sequencer);
    Message::definition(4, 3, &abq(2, 1_000)).give(&mut sequencer);
    orders(5, "ABQ", 1, 0).give(&mut sequencer);
    Message::definition(6, 4, &abq(3, 2_000)).give(&mut sequencer);
    orders(7, "ABQ", 1, 0).give(&mut sequencer);
    let records = records(&mut sequencer);
    assert_eq!(spans(&rejects_of(&records)), [(5, 5, 1)]);
    assert_eq!(events_of(&records).len(), 10_001);
}

#[test]
fn a_message_that_was_let_in_is_let_in_as_a_whole() {
    let mut sequencer = limited(1);
    let message = orders(3, "ABQ", 10_000, 0);
    message.give(&mut sequencer);
    let cuts = drain(&mut sequencer);
    assert!(cuts.len() > 1, "it makes several batches");
    let first = &cuts[0];
    assert!(first.marks.through.events > 0);
    // The next owner has read a burst before, and goes on in the middle.
    let definitions =
        [Definition::Kind(super::kind()), Definition::Calendar(super::calendar("cal", &super::CUTOFF_HOURS))];
    let marks = Marks { catalog: 2, ..first.marks };
    let mut next = Sequencer::new(super::subjects(), marks, definitions.into_iter().chain([abq(1, 1)]));
    message.give(&mut next);
    let rest: usize = drain(&mut next).iter().map(|cut| events_of(&cut.batch.records).len()).sum();
    assert_eq!(rest + events_of(&first.batch.records).len(), 10_000);
    // Its bucket is full all the same.
    orders(4, "ABQ", 10_000, 0).give(&mut next);
    assert!(
        drain(&mut next).iter().flat_map(|cut| &cut.batch.records).all(|record| matches!(record, Record::Events(_)))
    );
}
