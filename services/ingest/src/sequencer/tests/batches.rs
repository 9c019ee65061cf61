//! Where batches are cut: in order, with marks that say how far they cover, and small whatever comes.

use super::*;

#[test]
fn there_is_nothing_to_cut_before_something_was_taken() {
    let mut sequencer = sequencer();
    assert!(sequencer.is_empty() && !sequencer.is_full());
    assert!(sequencer.cut().is_none());
    Message::events(1, "ABQ", "order", order("1", 30 * HOUR_MS).to_string()).give(&mut sequencer);
    assert!(!sequencer.is_empty() && !sequencer.is_full());
    assert_eq!(sequencer.marks().through, through(1, 0));
    assert!(sequencer.cut().is_some());
    assert!(sequencer.is_empty() && sequencer.cut().is_none());
}

#[test]
fn messages_share_a_batch_but_not_a_run_of_events() {
    let mut sequencer = sequencer();
    for sequence in 1..=3 {
        Message::events(sequence, "ABQ", "order", order("1", 30 * HOUR_MS).to_string()).give(&mut sequencer);
    }
    let cut = sequencer.cut().unwrap();
    assert_eq!(cut.batch.records.len(), 3);
    assert_eq!((cut.batch.through, cut.marks.through), (through(3, 0), through(3, 0)));
    assert!(sequencer.cut().is_none());
}

/// A message of `count` events of the wide kind, each of some 20 kB.
fn big_message(sequence: u64, count: u32) -> Message {
    let dims: serde_json::Map<_, _> = (0..40).map(|n| (format!("d{n}"), "x".repeat(500).into())).collect();
    let events: Vec<_> =
        (0..count).map(|id| json!({"id": id.to_string(), "at": time(30 * HOUR_MS), "dims": dims})).collect();
    Message::events(sequence, "ABQ", "wide", Value::from(events).to_string())
}

#[test]
fn a_big_message_is_split_and_the_marks_say_how_far_it_is_covered() {
    let mut sequencer = sequencer();
    big_message(1, 50).give(&mut sequencer);
    assert!(sequencer.is_full());
    let cuts = drain(&mut sequencer);
    assert!(cuts.len() > 2, "{} batches", cuts.len());
    let mut covered = 0;
    for cut in &cuts {
        covered += events_of(&cut.batch.records).len() as u32;
        let events = if covered == 50 { 0 } else { covered };
        assert_eq!((cut.batch.through, cut.marks.through), (through(1, events), through(1, events)));
    }
    assert_whole_and_small(&cuts, 50);
}

#[test]
fn a_split_message_is_taken_up_where_the_log_ends() {
    let mut whole = sequencer();
    big_message(1, 50).give(&mut whole);
    let cuts = drain(&mut whole);
    for (index, cut) in cuts.iter().enumerate() {
        let mut again = sequencer_at(cut.marks);
        big_message(1, 50).give(&mut again);
        let rest: Vec<_> = drain(&mut again).into_iter().map(|cut| cut.batch).collect();
        assert_eq!(rest, cuts[index + 1..].iter().map(|cut| cut.batch.clone()).collect::<Vec<_>>());
    }
}

#[test]
fn a_cut_right_behind_the_last_event_leaves_a_mark_to_move_on() {
    let mut first = sequencer();
    big_message(1, 50).give(&mut first);
    let count = events_of(&first.cut().unwrap().batch.records).len() as u32;

    let mut sequencer = sequencer();
    big_message(1, count).give(&mut sequencer);
    let full = sequencer.cut().unwrap();
    assert_eq!(full.marks.through, through(1, count));
    assert!(!sequencer.is_empty(), "the message is not covered as a whole yet");
    let rest = sequencer.cut().unwrap();
    assert_eq!((rest.batch.records.len(), rest.marks.through), (0, through(1, 0)));
    assert!(sequencer.is_empty());

    let mut again = sequencer_at(full.marks);
    big_message(1, count).give(&mut again);
    let rest = again.cut().unwrap();
    assert_eq!((rest.batch.records.len(), rest.marks.through), (0, through(1, 0)));
}

// --- hostile input ---

#[test]
fn ten_thousand_bad_events_of_one_byte_make_small_batches() {
    let mut sequencer = sequencer();
    let payload = format!("[{}]", vec!["1"; 10_000].join(","));
    let bytes = payload.len();
    Message::events(1, "ABQ", "order", payload).give(&mut sequencer);
    let cuts = drain(&mut sequencer);
    assert_whole_and_small(&cuts, 10_000);
    let stored: usize = cuts.iter().map(|cut| cut.batch.encode().len()).sum();
    assert!(stored < bytes + 4_096, "{stored} bytes for {bytes}");
}

#[test]
fn ten_thousand_events_without_any_column_make_small_batches() {
    let mut sequencer = sequencer();
    let event = json!({"id": "1", "at": time(30 * HOUR_MS)}).to_string();
    Message::events(1, "ABQ", "wide", format!("[{}]", vec![event; 10_000].join(","))).give(&mut sequencer);
    assert_whole_and_small(&drain(&mut sequencer), 10_000);
}

#[test]
fn columns_filled_to_the_brim_make_small_batches() {
    let mut sequencer = sequencer();
    let dims: serde_json::Map<_, _> = (0..64).map(|n| (format!("d{n}"), "x".repeat(512).into())).collect();
    let measures: serde_json::Map<_, _> = (0..64).map(|n| (format!("m{n}"), i64::MIN.into())).collect();
    let event = json!({"id": "i".repeat(256), "version": u64::MAX - 1, "at": time(30 * HOUR_MS),
                       "dims": dims, "measures": measures});
    Message::events(1, "ABQ", "wide", Value::from(vec![event; 28]).to_string()).give(&mut sequencer);
    assert_whole_and_small(&drain(&mut sequencer), 28);
}

#[test]
fn long_originals_make_small_batches() {
    let mut sequencer = sequencer();
    let long = "x".repeat(64 * 1024 - 20);
    let payload = json!(vec![json!({"id": long}); 15]).to_string();
    Message::events(1, "ABQ", "order", payload).give(&mut sequencer);
    assert_whole_and_small(&drain(&mut sequencer), 15);
}

#[test]
fn reasons_that_quote_their_originals_are_cut() {
    // A text in place of an event is told in the reason, where DEL takes six bytes.
    let mut sequencer = sequencer();
    let text = format!("\"{}\"", "\u{7f}".repeat(64 * 1024 - 2));
    Message::events(1, "ABQ", "order", format!("[{}]", vec![text; 15].join(","))).give(&mut sequencer);
    let cuts = drain(&mut sequencer);
    assert_eq!(rejects_of(&cuts[0].batch.records)[0].reason.chars().count(), MAX_REASON_CHARS);
    assert_whole_and_small(&cuts, 15);
}

#[test]
fn a_message_beyond_all_limits_is_one_reject_of_which_the_beginning_is_kept() {
    let mut sequencer = sequencer();
    let payload = format!("[{}]", vec!["{}"; 100_000].join(","));
    Message::events(1, "ABQ", "order", payload.clone()).give(&mut sequencer);
    let cuts = drain(&mut sequencer);
    assert_whole_and_small(&cuts, 1);
    let reject = rejects_of(&cuts[0].batch.records)[0];
    assert_eq!((reject.code, reject.original.total()), (Code::BatchSize, payload.len() as u64));
    assert!(reject.original.is_cut());
}

#[test]
fn a_batch_is_cut_at_its_size_and_not_before() {
    let mut sequencer = sequencer();
    let mut sequence = 0;
    while !sequencer.is_full() {
        sequence += 1;
        big_message(sequence, 1).give(&mut sequencer);
    }
    let bytes = sequencer.cut().unwrap().batch.encode().len();
    assert!(bytes > BATCH_BYTES / 2 && bytes < MAX_BATCH_BYTES, "{bytes}");
}

#[test]
fn a_message_covered_as_a_whole_reaches_further_than_its_parts() {
    let mut sequencer = sequencer();
    big_message(1, 50).give(&mut sequencer);
    let reached: Vec<_> = drain(&mut sequencer).iter().map(|cut| cut.batch.through).collect();
    assert!(reached.len() > 1 && reached.is_sorted(), "{reached:?}");
}

fn assert_small_when_taken(messages: impl Iterator<Item = Message>) {
    let (mut sequencer, mut cuts) = (sequencer(), Vec::new());
    for message in messages {
        message.give(&mut sequencer);
        while sequencer.is_full() {
            cuts.extend(sequencer.cut());
        }
    }
    cuts.extend(drain(&mut sequencer));
    for cut in cuts {
        let bytes = cut.batch.encode().len();
        assert!(bytes < MAX_BATCH_BYTES, "a batch of {bytes} bytes");
    }
}

#[test]
fn messages_refused_as_a_whole_make_small_batches() {
    assert_small_when_taken((1..=20).map(|n| Message::events(n, "JFK", "order", vec![b'x'; 64 * 1024])));
}

#[test]
fn many_markers_make_small_batches() {
    assert_small_when_taken((1..=20_000).map(|n| Message::marker(n, n, &marker("ABQ", Edge::Opened, n as i32))));
}

#[test]
fn many_definitions_make_small_batches() {
    let tenant = |n| Tenant { name: Some("n".repeat(200)), ..tenant(&format!("T{n}"), 1) };
    assert_small_when_taken((1..=5_000).map(|n| Message::definition(n, n, &Definition::Tenant(tenant(n)))));
}

#[test]
fn one_message_cannot_make_a_batch_that_the_broker_refuses() {
    let mut sequencer = sequencer();
    let unknown = json!({"dims": {"x".repeat(65_150): 1}}).to_string();
    let text = format!("\"{}\"", "\u{7f}".repeat(64 * 1024 - 2));
    let payload = format!("[{}]", [vec![unknown; 5], vec![text]].concat().join(","));
    Message::events(1, "ABQ", "order", payload).give(&mut sequencer);
    for cut in drain(&mut sequencer) {
        let bytes = cut.batch.encode().len();
        assert!(bytes < MAX_BATCH_BYTES, "a batch of {bytes} bytes");
    }
}

#[test]
fn long_names_of_unknown_columns_make_small_batches() {
    let mut sequencer = sequencer();
    let unknown = json!({"dims": {"x".repeat(65_150): 1}}).to_string();
    Message::events(1, "ABQ", "order", format!("[{}]", vec![unknown; 14].join(","))).give(&mut sequencer);
    assert_whole_and_small(&drain(&mut sequencer), 14);
}
