//! Single tenants and tables, marker by marker.

mod properties;

use super::*;
use daybook_contracts::day::Edge::{self, Closed, Opened};
use daybook_domain::calendar::BusinessDay;

const HOUR: i64 = 3_600_000;

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn hour(hour: i64) -> Instant {
    Instant::from_millis(hour * HOUR)
}

/// A table with a day from each hour to the next; equal hours are dates that do not exist.
fn table(revision: u64, hours: &[i64]) -> Arc<CalendarTable> {
    Arc::new(CalendarTable {
        name: name("table"),
        revision,
        tzdb: "test".into(),
        first: Date::from_days(0),
        cutoffs: hours.iter().copied().map(hour).collect(),
        offsets: vec![daybook_domain::calendar::Offset { from: hour(0), seconds: 0 }],
    })
}

fn tenant(id: &str, grace_hours: u64) -> Tenant {
    Tenant {
        generation: 0,
        boundaries: Vec::new(),
        alerts: Default::default(),
        id: TenantId::new(id).unwrap(),
        name: None,
        calendar: vec![CalendarRule {
            from: Date::from_days(0),
            zone: "Etc/UTC".into(),
            cutoff_minutes: 0,
            named_by: Default::default(),
        }],
        grace_ms: grace_hours * HOUR as u64,
        first_day: Date::from_days(0),
        clock: name("system"),
        revision: 1,
        table: None,
        seasons: Vec::new(),
        quotas: Default::default(),
        restate_after_ms: None,
        max_ahead_ms: None,
    }
}

fn due(schedule: &Schedule, now: i64) -> Vec<DayMarker> {
    schedule.due(&name("system"), hour(now), 100)
}

/// Publishes all that is due, and says what it was: edge, date and the hour it was due.
fn run(schedule: &mut Schedule, now: i64) -> Vec<(Edge, i32, i64)> {
    let mut published = Vec::new();
    loop {
        let markers = due(schedule, now);
        if markers.is_empty() {
            return published;
        }
        for marker in markers {
            assert_eq!(schedule.observe(&marker), Observed::Applied);
            assert_eq!(schedule.observe(&marker), Observed::Stale);
            let hour = marker.due_at.as_millis() / HOUR;
            published.push((marker.edge, marker.day.date.as_days(), hour));
        }
    }
}

#[test]
fn the_next_day_opens_at_the_cutoff_and_the_last_closes_after_its_grace() {
    let mut schedule = Schedule::new();
    schedule.define(tenant("a", 2), table(1, &[10, 34, 34, 58, 82])).unwrap();
    assert_eq!(schedule.next_deadline(&name("system")), Some(hour(10)));
    assert_eq!(run(&mut schedule, 9), []);
    assert_eq!(run(&mut schedule, 33), [(Opened, 0, 10)]);
    assert_eq!(run(&mut schedule, 35), [(Opened, 2, 34)]);
    assert_eq!(schedule.next_deadline(&name("system")), Some(hour(36)));
    assert_eq!(run(&mut schedule, 36), [(Closed, 0, 36)]);
    assert_eq!(run(&mut schedule, 60), [(Opened, 3, 58), (Closed, 2, 60)]);
    let progress = schedule.get(&TenantId::new("a").unwrap()).unwrap();
    assert_eq!((progress.opened(), progress.closed()), (Some(Date::from_days(3)), Some(Date::from_days(2))));
}

#[test]
fn at_one_instant_opening_comes_first_even_with_a_grace_longer_than_days() {
    let mut schedule = Schedule::new();
    schedule.define(tenant("a", 0), table(1, &[0, 24, 48, 72])).unwrap();
    let all = [(Opened, 0, 0), (Opened, 1, 24), (Closed, 0, 24), (Opened, 2, 48), (Closed, 1, 48)];
    assert_eq!(run(&mut schedule, 999), all);

    let mut schedule = Schedule::new();
    schedule.define(tenant("a", 24), table(1, &[0, 24, 25, 48, 72, 96])).unwrap();
    let all = [
        (Opened, 0, 0),
        (Opened, 1, 24),
        (Opened, 2, 25),
        (Opened, 3, 48),
        (Closed, 0, 48),
        (Closed, 1, 49),
        (Opened, 4, 72),
        (Closed, 2, 72),
    ];
    assert_eq!(run(&mut schedule, 999), all);
}

#[test]
fn a_marker_says_where_its_day_comes_from() {
    let mut schedule = Schedule::new();
    schedule.define(tenant("a", 1), table(7, &[0, 24, 48, 72])).unwrap();
    run(&mut schedule, 24);
    let markers = due(&schedule, 25);
    let day = BusinessDay { date: Date::from_days(0), opens_at: hour(0), closes_at: hour(24) };
    let marker = DayMarker {
        generation: 0,
        tenant: TenantId::new("a").unwrap(),
        edge: Closed,
        day,
        due_at: hour(25),
        tzdb: "test".into(),
        calendar: name("table"),
        calendar_revision: 7,
    };
    assert_eq!(markers, [marker]);
}

#[test]
fn a_tenant_waits_at_the_end_of_its_table_and_goes_on_when_it_grows() {
    let system = name("system");
    let mut schedule = Schedule::new();
    // A close that comes after the next opening waits for it, so that the order is the same whenever tables grow.
    schedule.define(tenant("a", 24), table(1, &[0, 24, 25])).unwrap();
    schedule.define(tenant("b", 0), table(1, &[0, 24, 25])).unwrap();
    let all = [(Opened, 0, 0), (Opened, 0, 0), (Opened, 1, 24), (Opened, 1, 24), (Closed, 0, 24)];
    assert_eq!(run(&mut schedule, 999), all);
    assert_eq!(schedule.next_deadline(&system), None);
    assert_eq!(schedule.clocks().collect::<Vec<_>>(), [&system]);

    let short = |schedule: &Schedule, now, ahead: u64| {
        let short = schedule.horizon_short(&system, hour(now), Duration::from_secs(ahead * 3600));
        short.into_iter().map(|(table, rules)| (table.name.to_string(), rules.len())).collect::<Vec<_>>()
    };
    assert_eq!(short(&schedule, 20, 4), []);
    assert_eq!(short(&schedule, 20, 5), [("table".to_owned(), 1)]);
    schedule.publish(&table(2, &[0, 24, 25, 50]));
    assert_eq!(short(&schedule, 20, 5), []);
    schedule.publish(&table(1, &[0, 24, 25]));
    assert_eq!(schedule.table(&TenantId::new("a").unwrap()).unwrap().revision, 2);
    let all = [(Opened, 2, 25), (Opened, 2, 25), (Closed, 1, 25), (Closed, 0, 48), (Closed, 1, 49)];
    assert_eq!(run(&mut schedule, 999), all);

    // Nor does a definition with an older table take days back.
    let mut alone = Schedule::new();
    alone.define(tenant("a", 0), table(2, &[0, 24, 25, 50])).unwrap();
    alone.define(tenant("a", 1), table(1, &[0, 24])).unwrap();
    assert_eq!(alone.table(&TenantId::new("a").unwrap()).unwrap().revision, 2);

    // Defining one tenant with a longer table wakes the others too.
    schedule.define(tenant("c", 0), table(3, &[0, 24, 25, 50, 75])).unwrap();
    assert_eq!(due(&schedule, 50).len(), 3);
    assert_eq!(schedule.len(), 3);
}

#[test]
fn due_is_limited_and_has_one_marker_for_each_tenant() {
    let mut schedule = Schedule::new();
    assert!(schedule.is_empty());
    for id in ["c", "a", "b"] {
        schedule.define(tenant(id, 0), table(1, &[0, 24, 48])).unwrap();
    }
    let mut other = tenant("d", 0);
    other.clock = name("replay");
    schedule.define(other, table(1, &[0, 24, 48])).unwrap();
    let system = schedule.due(&name("system"), hour(999), 2);
    assert_eq!(system.iter().map(|m| m.tenant.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(schedule.due(&name("system"), hour(999), 9).len(), 3);
    assert_eq!(schedule.due(&name("replay"), hour(999), 9).len(), 1);
    assert_eq!(schedule.due(&name("nobody"), hour(999), 9), []);
    assert_eq!(schedule.next_deadline(&name("nobody")), None);
    assert_eq!(schedule.clocks().map(Name::as_str).collect::<Vec<_>>(), ["replay", "system"]);
    // The only tenant of a clock moves to another.
    schedule.define(tenant("d", 0), table(1, &[0, 24, 48])).unwrap();
    assert_eq!(schedule.clocks().map(Name::as_str).collect::<Vec<_>>(), ["system"]);
    assert_eq!((schedule.len(), due(&schedule, 0).len()), (4, 4));
}

#[test]
fn a_new_grace_applies_to_days_not_closed_yet() {
    let mut schedule = Schedule::new();
    let hours = table(1, &[0, 24, 48, 72, 96]);
    schedule.define(tenant("a", 12), Arc::clone(&hours)).unwrap();
    run(&mut schedule, 30);
    schedule.define(tenant("a", 2), Arc::clone(&hours)).unwrap();
    assert_eq!(run(&mut schedule, 30), [(Closed, 0, 26)]);
    schedule.define(tenant("a", 3), hours).unwrap();
    assert_eq!(run(&mut schedule, 51), [(Opened, 2, 48), (Closed, 1, 51)]);
}

#[test]
fn markers_that_contradict_the_table_are_reported() {
    let mut schedule = Schedule::new();
    schedule.define(tenant("a", 0), table(1, &[0, 24, 24, 48])).unwrap();
    let good = due(&schedule, 0).remove(0);
    let stranger = DayMarker { tenant: TenantId::new("z").unwrap(), ..good.clone() };
    assert_eq!(schedule.observe(&stranger), Observed::Unknown);
    let day = |date, opens, closes| BusinessDay {
        date: Date::from_days(date),
        opens_at: hour(opens),
        closes_at: hour(closes),
    };
    for day in [day(0, 0, 23), day(1, 24, 24), day(-1, -24, 0)] {
        assert_eq!(schedule.observe(&DayMarker { day, ..good.clone() }), Observed::Contradicts);
    }
    assert_eq!(due(&schedule, 0).first(), Some(&good));
    // Another day-manager may be ahead of our table. A closed day was opened.
    let closed = DayMarker { edge: Closed, day: day(3, 48, 72), ..good.clone() };
    assert_eq!(schedule.observe(&closed), Observed::Applied);
    assert_eq!(schedule.observe(&good), Observed::Stale);
    assert_eq!(due(&schedule, 999), []);
    schedule.publish(&table(2, &[0, 24, 24, 48, 72, 96]));
    assert_eq!(run(&mut schedule, 72), [(Opened, 4, 72)]);

    let mut late = tenant("b", 0);
    late.first_day = Date::from_days(-1);
    let error = schedule.define(late, table(2, &[0, 24])).unwrap_err();
    assert!(matches!(error, DefineError::TooLate { .. }), "{error}");
    let error = schedule.define(tenant("a", 0), table(3, &[0, 24, 24, 48, 72, 72, 99])).unwrap_err();
    assert!(matches!(error, DefineError::Contradicts { date, .. } if date == Date::from_days(4)), "{error}");
}
