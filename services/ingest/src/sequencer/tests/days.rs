//! The day that is stamped on an event, by calendars as they stand at its place.

use super::*;

#[test]
fn a_boundary_belongs_to_the_day_that_opens() {
    let mut sequencer = sequencer();
    assert_eq!(stamp(&mut sequencer, 24 * HOUR_MS), Ok(1));
    assert_eq!(stamp(&mut sequencer, 47 * HOUR_MS - 1), Ok(1));
    assert_eq!(stamp(&mut sequencer, 47 * HOUR_MS), Ok(2));
    assert_eq!(stamp(&mut sequencer, 72 * HOUR_MS - 1), Ok(2));
    assert_eq!(stamp(&mut sequencer, 72 * HOUR_MS), Ok(3));
}

#[test]
fn days_before_the_first_one_are_refused() {
    let mut sequencer = sequencer();
    assert_eq!(stamp(&mut sequencer, -1), Err(Code::BeforeFirstDay), "before the table");
    assert_eq!(stamp(&mut sequencer, 0), Err(Code::BeforeFirstDay), "in the table, before the tenant's first day");
    assert_eq!(stamp(&mut sequencer, 24 * HOUR_MS - 1), Err(Code::BeforeFirstDay));
    assert_eq!(stamp(&mut sequencer, 24 * HOUR_MS), Ok(1));
}

#[test]
fn events_too_far_ahead_of_their_publishing_are_refused() {
    let outcome = |clock: &str, max_ahead_ms, at_ms| {
        let table = Definition::Calendar(calendar("cal", &CUTOFF_HOURS));
        let tenant = Tenant { clock: name(clock), max_ahead_ms, ..tenant("ABQ", 1) };
        let definitions = [Definition::Kind(kind()), table, Definition::Tenant(tenant)];
        let mut sequencer = Sequencer::new(subjects(), Marks::default(), definitions);
        let mut message = Message::events(1, "ABQ", "order", order("1", at_ms).to_string());
        message.stored_at = Instant::from_millis(30 * HOUR_MS);
        message.give(&mut sequencer);
        match records(&mut sequencer).as_slice() {
            [Record::Events(run)] => Ok(run.events[0].date.as_days()),
            [Record::Rejected(reject)] => Err((reject.code, reject.reason.contains("max_ahead"))),
            other => panic!("one event became {other:?}"),
        }
    };
    let hour = Some(HOUR_MS as u64);
    assert_eq!(outcome("system", hour, 31 * HOUR_MS), Ok(1));
    assert_eq!(outcome("system", hour, 31 * HOUR_MS + 1), Err((Code::TooFarAhead, true)));
    assert_eq!(outcome("system", Some(0), 30 * HOUR_MS + 1), Err((Code::TooFarAhead, true)));
    // Without a limit, and by a clock that requests drive, it is not for ingest to say.
    assert_eq!(outcome("system", None, 80 * HOUR_MS), Ok(3));
    assert_eq!(outcome("shop", hour, 80 * HOUR_MS), Ok(3));
}

#[test]
fn events_behind_a_boundary_are_of_the_next_day() {
    let table = Definition::Calendar(calendar("cal", &[0, 24, 48, 48, 72, 96]));
    let end = |date, hour| Boundary { date: Date::from_days(date), at: Instant::from_millis(hour * HOUR_MS) };
    let bounded = Tenant { boundaries: vec![end(1, 40), end(3, 70)], revision: 2, ..tenant("ABQ", 1) };
    let definitions = [Definition::Kind(kind()), table, Definition::Tenant(tenant("ABQ", 1))];
    let mut sequencer = Sequencer::new(subjects(), Marks::default(), definitions);
    assert_eq!(stamp(&mut sequencer, 41 * HOUR_MS), Ok(1), "before the boundary is known");
    sequencer.define(Definition::Tenant(bounded), Closed::None);
    assert_eq!(stamp(&mut sequencer, 40 * HOUR_MS - 1), Ok(1));
    // Day 2 does not exist.
    assert_eq!(stamp(&mut sequencer, 40 * HOUR_MS), Ok(3));
    assert_eq!(stamp(&mut sequencer, 48 * HOUR_MS), Ok(3));
    assert_eq!(stamp(&mut sequencer, 70 * HOUR_MS), Ok(4));
    assert_eq!(stamp(&mut sequencer, 96 * HOUR_MS), Err(Code::TooFarAhead));
}

#[test]
fn days_beyond_the_published_ones_are_refused() {
    let mut sequencer = sequencer();
    assert_eq!(stamp(&mut sequencer, 96 * HOUR_MS - 1), Ok(3));
    assert_eq!(stamp(&mut sequencer, 96 * HOUR_MS), Err(Code::TooFarAhead));
}

#[test]
fn a_date_that_does_not_exist_is_never_stamped() {
    let table = Definition::Calendar(calendar("cal", &[0, 24, 24, 48]));
    let definitions = [Definition::Kind(kind()), table, Definition::Tenant(tenant("ABQ", 0))];
    let mut sequencer = Sequencer::new(subjects(), Marks::default(), definitions);
    assert_eq!(stamp(&mut sequencer, 24 * HOUR_MS - 1), Ok(0));
    assert_eq!(stamp(&mut sequencer, 24 * HOUR_MS), Ok(2));
}

#[test]
fn a_tenant_waits_for_its_calendar() {
    let mut sequencer = Sequencer::new(subjects(), Marks::default(), [Definition::Kind(kind())]);
    Message::definition(1, 1, &Definition::Tenant(tenant("ABQ", 1))).give(&mut sequencer);
    Message::definition(2, 2, &Definition::Calendar(calendar("other", &CUTOFF_HOURS))).give(&mut sequencer);
    drain(&mut sequencer);
    assert_eq!(stamp(&mut sequencer, 30 * HOUR_MS), Err(Code::TooFarAhead));
    Message::definition(4, 3, &Definition::Calendar(calendar("cal", &CUTOFF_HOURS))).give(&mut sequencer);
    drain(&mut sequencer);
    assert_eq!(stamp(&mut sequencer, 30 * HOUR_MS), Ok(1));
}

#[test]
fn a_calendar_waits_for_its_tenants() {
    let mut sequencer = Sequencer::new(subjects(), Marks::default(), [Definition::Kind(kind())]);
    Message::definition(1, 1, &Definition::Calendar(calendar("cal", &CUTOFF_HOURS))).give(&mut sequencer);
    Message::definition(2, 2, &Definition::Tenant(tenant("ABQ", 1))).give(&mut sequencer);
    drain(&mut sequencer);
    assert_eq!(stamp(&mut sequencer, 30 * HOUR_MS), Ok(1));
}

#[test]
fn a_table_that_grows_does_so_for_every_tenant_of_it() {
    let mut sequencer = sequencer();
    Message::definition(1, 1, &Definition::Tenant(tenant("JFK", 1))).give(&mut sequencer);
    let grown = [CUTOFF_HOURS.as_slice(), &[120]].concat();
    Message::definition(2, 2, &Definition::Calendar(calendar("cal", &grown))).give(&mut sequencer);
    Message::events(3, "JFK", "order", order("1", 100 * HOUR_MS).to_string()).give(&mut sequencer);
    let records = records(&mut sequencer);
    assert_eq!(events_of(&records)[0].date.as_days(), 4);
    assert_eq!(stamp(&mut sequencer, 100 * HOUR_MS), Ok(4));
    assert_eq!(stamp(&mut sequencer, 120 * HOUR_MS), Err(Code::TooFarAhead));
}

#[test]
fn a_tenant_that_changes_its_calendar_is_stamped_by_the_new_one() {
    let mut sequencer = sequencer();
    Message::definition(1, 1, &Definition::Calendar(calendar("new", &[0, 29, 48]))).give(&mut sequencer);
    drain(&mut sequencer);
    assert_eq!(stamp(&mut sequencer, 29 * HOUR_MS), Ok(1));
    let moved = Tenant { table: Some(name("new")), first_day: Date::from_days(0), ..tenant("ABQ", 1) };
    Message::definition(3, 2, &Definition::Tenant(moved)).give(&mut sequencer);
    drain(&mut sequencer);
    assert_eq!(stamp(&mut sequencer, 29 * HOUR_MS - 1), Ok(0));
    assert_eq!(stamp(&mut sequencer, 29 * HOUR_MS), Ok(1));
}

// --- what is sourced ---

#[test]
fn definitions_take_effect_where_they_stand() {
    let mut sequencer = Sequencer::new(subjects(), Marks::default(), []);
    let payload = order("1", 30 * HOUR_MS).to_string();
    let definitions = [
        Definition::Calendar(calendar("cal", &CUTOFF_HOURS)),
        Definition::Tenant(tenant("ABQ", 1)),
        Definition::Kind(kind()),
    ];
    let mut sequence = 0;
    for (index, definition) in definitions.iter().enumerate() {
        Message::definition(sequence + 1, index as u64 + 1, definition).give(&mut sequencer);
        Message::events(sequence + 2, "ABQ", "order", payload.clone()).give(&mut sequencer);
        sequence += 2;
    }
    let records = records(&mut sequencer);
    let codes: Vec<_> = rejects_of(&records).iter().map(|reject| reject.code).collect();
    assert_eq!(codes, [Code::UnknownTenant, Code::UnknownKind]);
    assert_eq!(events_of(&records).len(), 1);
}
