//! What the broker sources: taken in once, passed over when day-manager did not publish it, and a stop when it cannot be read.

use super::*;

#[test]
fn definitions_enter_the_log_and_move_the_marks() {
    let mut sequencer = sequencer();
    let calendar = Definition::Calendar(calendar("cal", &CUTOFF_HOURS));
    Message::definition(1, 8, &calendar).give(&mut sequencer);
    let cut = sequencer.cut().unwrap();
    assert_eq!(cut.batch.records, [Record::Define(calendar)]);
    assert_eq!(cut.marks, Marks { through: through(1, 0), catalog: 8, days: 0, restating: false });
    let activation = Activation { view: name("totals"), revision: 1, since: None };
    let others = [
        Definition::Kind(kind()),
        Definition::View(view()),
        Definition::Tenant(tenant("JFK", 1)),
        Definition::Activation(activation),
    ];
    for (index, definition) in others.iter().enumerate() {
        Message::definition(index as u64 + 2, index as u64 + 9, definition).give(&mut sequencer);
    }
    let recorded: Vec<_> = others.into_iter().map(Record::Define).collect();
    assert_eq!(records(&mut sequencer), recorded);
}

#[test]
fn a_definition_that_is_sourced_again_is_passed_over() {
    let mut sequencer = sequencer();
    let two_columns = Kind { dimensions: vec![dimension("city"), dimension("sku")], revision: 2, ..kind() };
    Message::definition(1, 5, &Definition::Kind(two_columns)).give(&mut sequencer);
    assert_eq!(records(&mut sequencer).len(), 1);
    for (sequence, source) in [(2, 5), (3, 4), (4, 0)] {
        Message::definition(sequence, source, &Definition::Kind(kind())).give(&mut sequencer);
    }
    let unsourced = Message { source: None, ..Message::definition(5, 0, &Definition::Kind(kind())) };
    unsourced.give(&mut sequencer);
    let cut = sequencer.cut().unwrap();
    assert_eq!(cut.batch.records, []);
    assert_eq!(cut.marks, Marks { through: through(5, 0), catalog: 5, days: 0, restating: false });
    Message::events(6, "ABQ", "order", order("1", 30 * HOUR_MS).to_string()).give(&mut sequencer);
    assert_eq!(events_of(&records(&mut sequencer))[0].dims.len(), 2, "the newer kind stands");
}

#[test]
fn a_marker_that_is_sourced_again_is_passed_over() {
    let mut sequencer = sequencer();
    let (opened, closed) = (marker("ABQ", Edge::Opened, 1), marker("ABQ", Edge::Closed, 1));
    Message::marker(1, 3, &opened).give(&mut sequencer);
    Message::marker(2, 7, &closed).give(&mut sequencer);
    for (sequence, source) in [(3, 3), (4, 7), (5, 0)] {
        Message::marker(sequence, source, &opened).give(&mut sequencer);
    }
    let unsourced = Message { source: None, ..Message::marker(6, 0, &opened) };
    unsourced.give(&mut sequencer);
    let cut = sequencer.cut().unwrap();
    assert_eq!(cut.batch.records, [Record::Day(opened), Record::Day(closed)]);
    assert_eq!(cut.marks, Marks { through: through(6, 0), catalog: 0, days: 7, restating: false });
}

#[test]
fn days_and_catalogue_have_marks_of_their_own() {
    let mut sequencer = sequencer();
    Message::marker(1, 50, &marker("ABQ", Edge::Opened, 1)).give(&mut sequencer);
    Message::definition(2, 1, &Definition::View(view())).give(&mut sequencer);
    let cut = sequencer.cut().unwrap();
    assert_eq!(cut.batch.records.len(), 2);
    assert_eq!((cut.marks.days, cut.marks.catalog), (50, 1));
}

#[test]
fn what_day_manager_did_not_publish_is_passed_over_and_named() {
    let opened = marker("ABQ", Edge::Opened, 1);
    let sound = || Message::marker(1, 5, &opened);
    let view = Definition::View(view());
    let view = || Message::definition(1, 5, &view);
    let puback = br#"{"stream":"DAYBOOK_INBOX","seq":7}"#;
    for (message, why) in [
        (Message { named: None, payload: puback.into(), ..sound() }, "read"),
        (Message { named: None, payload: puback.into(), ..view() }, "read"),
        // Another tenant's marker, another edge, another name: copies that say what they are, or do not.
        (Message { subject: "daybook.inbox.0.evil.day.opened".into(), ..sound() }, "copy"),
        (Message { subject: "daybook.inbox.0.evil.day.opened".into(), named: None, ..sound() }, "fit"),
        (Message { subject: "daybook.inbox.0.ABQ.day.closed".into(), named: None, ..sound() }, "fit"),
        (Message { subject: "daybook.inbox.0.other.catalog.view".into(), named: None, ..view() }, "fit"),
        (Message { subject: "daybook.inbox.0.v.catalog.kind".into(), named: None, ..view() }, "fit"),
        (Message { named: Some("daybook.days.evil.opened".into()), ..sound() }, "copy"),
        (Message { subject: "daybook.inbox.0.ABQ.day.other".into(), ..sound() }, "subject"),
        (Message { source: Some(("DAYBOOK_CATALOG", 5)), ..sound() }, "sourced"),
        (Message { source: None, ..sound() }, "sourced"),
        (Message { subject: "daybook.inbox.0.x".into(), ..Message::events(1, "ABQ", "order", "{}") }, "subject"),
    ] {
        let mut sequencer = sequencer();
        message.give(&mut sequencer);
        let told = sequencer.passed_over().unwrap_or_else(|| panic!("{message:?}"));
        assert!(told.contains(why), "{told}: {message:?}");
        assert_eq!(sequencer.passed_over(), None);
        let cut = sequencer.cut().unwrap();
        assert_eq!(cut.batch.records, []);
        assert_eq!(cut.marks.through, through(1, 0), "{message:?}");
        // What day-manager publishes behind it is taken in.
        Message::marker(2, 6, &opened).give(&mut sequencer);
        assert_eq!(records(&mut sequencer), [Record::Day(opened.clone())]);
    }
}

#[test]
fn what_an_earlier_day_manager_published_is_taken_in() {
    let mut sequencer = sequencer();
    let (opened, view) = (marker("ABQ", Edge::Opened, 1), Definition::View(view()));
    Message { named: None, ..Message::marker(1, 1, &opened) }.give(&mut sequencer);
    Message { named: None, ..Message::definition(2, 1, &view) }.give(&mut sequencer);
    assert_eq!(records(&mut sequencer), [Record::Day(opened), Record::Define(view)]);
}

#[test]
fn what_a_newer_day_manager_published_stops_the_partition() {
    let mut sequencer = sequencer();
    let opened = marker("ABQ", Edge::Opened, 1);
    Message::marker(1, 1, &opened).give(&mut sequencer);
    let newer_marker = Message { payload: b"{\"new\":1}".into(), ..Message::marker(2, 2, &opened) };
    let newer_view = Message { payload: b"{\"new\":1}".into(), ..Message::definition(2, 9, &Definition::View(view())) };
    for (message, told) in [(newer_marker, "day marker at 2 of DAYBOOK_DAYS"), (newer_view, "definition at 9")] {
        let before = sequencer.marks();
        let stop = message.try_give(&mut sequencer).unwrap_err().to_string();
        assert!(stop.contains(told) && stop.contains("upgrade"), "{stop}");
        assert_eq!(sequencer.marks(), before);
    }
    assert_eq!(records(&mut sequencer), [Record::Day(opened)], "what stands before it is recorded");
}

#[test]
fn a_message_that_is_covered_is_passed_over() {
    let mut sequencer = sequencer_at(Marks { through: through(7, 0), catalog: 4, days: 4, restating: false });
    for sequence in [1, 6, 7] {
        Message::events(sequence, "ABQ", "order", order("1", 30 * HOUR_MS).to_string()).give(&mut sequencer);
        assert!(sequencer.is_empty());
    }
    Message::events(8, "ABQ", "order", order("1", 30 * HOUR_MS).to_string()).give(&mut sequencer);
    Message::events(8, "ABQ", "order", order("1", 30 * HOUR_MS).to_string()).give(&mut sequencer);
    assert_eq!(events_of(&records(&mut sequencer)).len(), 1);
}

#[test]
fn mappings_do_not_reach_the_log() {
    let mapping = daybook_domain::mapping::Mapping::new(name("shop"));
    let definition = Definition::Kind(Kind { mappings: vec![mapping], revision: 2, ..kind() });
    let mut sequencer = sequencer();
    Message::definition(1, 5, &definition).give(&mut sequencer);
    let [Record::Define(Definition::Kind(kept))] = &records(&mut sequencer)[..] else { panic!() };
    assert_eq!(*kept, Kind { revision: 2, ..kind() });
}
