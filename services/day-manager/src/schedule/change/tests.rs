use super::*;
use crate::calendar::{extend, table_name};
use daybook_domain::calendar::Lookup;
use daybook_domain::ids::TenantId;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

const DAY: u64 = 86_400;

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn at(text: &str) -> Instant {
    text.parse().unwrap()
}

fn date(text: &str) -> Date {
    text.parse().unwrap()
}

fn rule(from: &str, zone: &str, cutoff_minutes: u16) -> CalendarRule {
    CalendarRule { from: date(from), zone: zone.into(), cutoff_minutes, named_by: Default::default() }
}

fn tenant(calendar: Vec<CalendarRule>, clock: &str) -> Tenant {
    Tenant {
        generation: 0,
        boundaries: Vec::new(),
        alerts: Default::default(),
        id: TenantId::new("cafe").unwrap(),
        name: None,
        calendar,
        grace_ms: 0,
        first_day: date("2026-11-01"),
        clock: name(clock),
        revision: 1,
        table: None,
        seasons: Vec::new(),
        quotas: Default::default(),
        restate_after_ms: None,
        max_ahead_ms: Some(DAY * 1000),
    }
}

fn table(tenant: &Tenant, through: Instant) -> CalendarTable {
    let name = table_name(&tenant.calendar, &tenant.clock);
    extend(None, &name, &tenant.calendar, tenant.first_day, through).unwrap().unwrap()
}

const NOW: &str = "2026-11-30T12:00:00Z";

/// A tenant in Berlin with a cut-off at 17:00, whose day 2026-11-29 is open.
fn berlin(clock: &str) -> (Tenant, CalendarTable) {
    let tenant = tenant(vec![rule("1970-01-01", "Europe/Berlin", 17 * 60)], clock);
    let table = table(&tenant, at(NOW).after(Duration::from_secs(16 * DAY)));
    (tenant, table)
}

fn standing<'a>(table: &'a CalendarTable, opened: Option<&str>, counted: Counted) -> TenantStanding<'a> {
    TenantStanding { table, opened: opened.map(date), counted, now: Some(at(NOW)) }
}

fn text<T: fmt::Debug>(outcome: Result<T, ChangeError>) -> String {
    outcome.unwrap_err().to_string()
}

#[test]
fn everything_may_change_before_a_day_opens_and_an_event_is_counted() {
    let (old, table) = berlin("shop");
    let asked = vec![rule("1970-01-01", "Europe/Lisbon", 300)];
    let free = standing(&table, None, Counted::Nothing);
    assert_eq!(accept_calendar(&old, &asked, &free), Ok(Accepted { rules: asked.clone(), since: None }));
    assert_eq!(check_first_day(&old, date("2020-01-01"), &free), Ok(()));
    assert_eq!(check_clock(&old, &name("other"), &free, at(NOW)), Ok(()));

    let counted = standing(&table, None, Counted::Through(date("2026-12-03")));
    let reason = "because events of 2026-12-03 were counted";
    assert!(text(check_first_day(&old, date("2020-01-01"), &counted)).contains(reason));
    assert!(text(check_clock(&old, &name("other"), &counted, at(NOW))).contains(reason));
    // Nothing limits events before the named clock has opened a day.
    let refused = text(accept_calendar(&old, &asked, &counted));
    assert!(refused.contains("as far ahead as its days are published"), "{refused}");
    let unknown = standing(&table, None, Counted::Unknown);
    assert!(text(check_first_day(&old, date("2020-01-01"), &unknown)).contains("try again in a moment"));
}

#[test]
fn a_rule_may_begin_behind_the_events_that_may_come() {
    let (old, table) = berlin("system");
    let standing = standing(&table, Some("2026-11-29"), Counted::Through(date("2026-11-29")));
    let from = |from: &str| vec![old.calendar[0].clone(), rule(from, "Europe/Berlin", 300)];
    let accepted = |rules: Vec<CalendarRule>| accept_calendar(&old, &rules, &standing);
    // Events may be dated up to 2026-12-01T12:15, which is behind 04:00 of that date.
    let refused = text(accepted(from("2026-12-01")));
    assert_eq!(
        refused,
        "days before 2026-12-02 stay as they are, because its max_ahead lets events be dated up to 2026-12-01T12:15:00Z; keep \
         the rules of those days, and let the new one begin with `from: 2026-12-02` or later in `changes`"
    );
    assert_eq!(accepted(from("2026-12-02")).unwrap().since, None);
    assert!(text(accepted(vec![rule("1970-01-01", "Europe/Berlin", 300)])).contains("from: 2026-12-02"));
    // A calendar that means the same in all days to come is the one that there is.
    let other_past = vec![rule("1970-01-01", "Asia/Tokyo", 9), rule("2026-11-20", "Europe/Berlin", 17 * 60)];
    assert_eq!(accepted(other_past).unwrap().rules, old.calendar);
    assert!(text(accepted(Vec::new())).contains("at least one rule"));

    // An event that was counted further ahead, by an older max_ahead.
    let ahead = TenantStanding { counted: Counted::Through(date("2026-12-05")), ..standing };
    let refused = text(accept_calendar(&old, &from("2026-12-06"), &ahead));
    assert!(
        refused.contains("before 2026-12-07") && refused.contains("events of 2026-12-05 were counted"),
        "{refused}"
    );
    assert!(accept_calendar(&old, &from("2026-12-07"), &ahead).is_ok());
    // Without a limit, or an answer of the shard, all that is published stays.
    let published = last_published(&table);
    let unlimited = Tenant { max_ahead_ms: None, ..old.clone() };
    let unknown = TenantStanding { counted: Counted::Unknown, ..standing };
    for (old, standing) in [(&unlimited, &standing), (&old, &unknown)] {
        assert_eq!(standing.fixed(old).unwrap().last, published);
        let next = published.next().to_string();
        assert!(text(accept_calendar(old, &from(&published.to_string()), standing)).contains(&next));
        assert!(accept_calendar(old, &from(&next), standing).is_ok());
    }
}

#[test]
fn a_rule_announced_two_days_ahead_can_be_followed_by_a_named_clock() {
    let (old, table) = berlin("shop");
    let standing = standing(&table, Some("2026-11-29"), Counted::Through(date("2026-11-29")));
    // The open day ends 2026-11-30T16:00; events are dated a day later at most.
    let from = |from: &str| vec![old.calendar[0].clone(), rule(from, "Europe/Berlin", 16 * 60)];
    assert!(text(accept_calendar(&old, &from("2026-12-01"), &standing)).contains("before 2026-12-02"));
    assert!(accept_calendar(&old, &from("2026-12-02"), &standing).is_ok());
}

#[test]
fn a_day_that_opened_without_events_keeps_its_hours_and_the_next_follows_the_new_rule() {
    let (old, table) = berlin("system");
    let empty = standing(&table, Some("2026-11-29"), Counted::Nothing);
    let asked = vec![rule("1970-01-01", "Europe/Berlin", 300)];
    let accepted = accept_calendar(&old, &asked, &empty).unwrap();
    assert_eq!(accepted.rules, [old.calendar[0].clone(), rule("2026-12-01", "Europe/Berlin", 300)]);
    assert_eq!(accepted.since, Some((date("2026-12-01"), Reason::Opened(date("2026-11-29")))));
    // The same file once more changes nothing, also when events were counted.
    let new = Tenant { calendar: accepted.rules.clone(), ..old };
    let grown = table_of(&new, &table, date("2026-11-30"));
    for counted in [Counted::Nothing, Counted::Through(date("2026-11-29")), Counted::Unknown] {
        let standing = TenantStanding { table: &grown, counted, ..empty };
        assert_eq!(accept_calendar(&new, &asked, &standing).unwrap().rules, accepted.rules);
    }
}

/// The table of a tenant whose calendar changed, when it has kept so much of the one before.
fn table_of(new: &Tenant, before: &CalendarTable, last: Date) -> CalendarTable {
    let kept = calendar::kept(before, last);
    let name = table_name(&new.calendar, &new.clock);
    extend(kept.as_ref(), &name, &new.calendar, new.first_day, before.horizon()).unwrap().unwrap()
}

#[test]
fn a_tenant_goes_from_its_own_clock_to_the_system_clock_when_that_is_near() {
    let (old, table) = berlin("past");
    let system = name(SYSTEM_CLOCK);
    let live = standing(&table, Some("2026-11-29"), Counted::Through(date("2026-11-29")));
    let check = |standing: &TenantStanding<'_>, now: &str| check_clock(&old, &system, standing, at(now));
    assert_eq!(check(&live, NOW), Ok(()));
    assert_eq!(check(&TenantStanding { counted: Counted::Unknown, ..live }, NOW), Ok(()));
    assert_eq!(check(&live, "2027-01-04T12:00:00Z"), Ok(()));
    let refused = text(check(&live, "2027-01-04T12:00:01Z"));
    assert!(refused.contains("stands at 2026-11-30T12:00:00Z, more than 35 days behind"), "{refused}");
    assert!(refused.contains("drive the clock to 2026-11-30T12:00:01Z or later"), "{refused}");
    assert_eq!(check(&live, "2026-11-29T16:00:00Z"), Ok(()));
    assert!(text(check(&live, "2026-11-29T15:59:59Z")).contains("change to `system` after that time"));
    assert!(text(check(&TenantStanding { opened: None, ..live }, NOW)).contains("drive it past the first day"));
    assert!(text(check_clock(&old, &name("other"), &live, at(NOW))).contains("may only change to `system`"));
    let (by_system, table) = berlin("system");
    let live = TenantStanding { table: &table, ..live };
    assert!(text(check_clock(&by_system, &name("past"), &live, at(NOW))).contains("from system to past"));
}

fn date_of(found: Lookup) -> Option<Date> {
    match found {
        Lookup::Day(day) => Some(day.date),
        Lookup::Before | Lookup::Beyond => None,
    }
}

fn any_rules() -> impl Strategy<Value = Vec<CalendarRule>> {
    let zones = ["Etc/UTC", "America/New_York", "Pacific/Apia", "Pacific/Pago_Pago", "Pacific/Kiritimati"];
    let step = (1..12i32, prop::sample::select(zones.to_vec()), 0..1440u16);
    prop::collection::vec(step, 1..4).prop_map(|steps| {
        let mut from = date("2026-11-20");
        let rule = |(days, zone, cutoff_minutes): (i32, &str, u16)| {
            from = from.plus(days);
            CalendarRule { from, zone: zone.to_owned(), cutoff_minutes, named_by: Default::default() }
        };
        steps.into_iter().map(rule).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever calendar follows another one: each event that may have been stamped has the same day by both tables, and each
    /// day that has opened the same hours. The date that the error names is accepted.
    #[test]
    fn no_event_and_no_opened_day_is_moved(
        before in any_rules(),
        asked in any_rules(),
        opened_ahead in 0..3i32,
        counted in prop::option::of(-5..9i32),
        max_ahead_hours in 0..100u64,
        event in 0..10_000u64,
    ) {
        let now = at(NOW);
        let old = Tenant { max_ahead_ms: Some(max_ahead_hours * 3_600_000), ..tenant(before, "system") };
        let table = table(&old, now.after(Duration::from_secs(16 * DAY)));
        let Lookup::Day(today) = table.day_at(now) else { panic!("now is published") };
        // By hand, days open early.
        let opened = table.day_from(today.date.plus(opened_ahead)).unwrap();
        let counted = counted.and_then(|days| table.day_from(today.date.plus(days)));
        let standing = TenantStanding {
            table: &table,
            opened: Some(opened.date),
            counted: counted.map_or(Counted::Nothing, |day| Counted::Through(day.date)),
            now: Some(now),
        };
        let accepted = match accept_calendar(&old, &asked, &standing) {
            Ok(accepted) => accepted,
            Err(ChangeError::Published { earliest, .. }) => {
                let later = calendar::joined(&old.calendar, &asked, earliest.plus(-1));
                accept_calendar(&old, &later, &standing).unwrap()
            }
            Err(error) => return Err(TestCaseError::fail(error.to_string())),
        };
        let new = Tenant { calendar: accepted.rules, ..old.clone() };
        let grown = table_of(&new, &table, standing.fixed(&old).unwrap().last);
        prop_assert_eq!(grown.day(opened.date), Some(opened));
        if let Some(day) = counted {
            prop_assert_eq!(grown.day(day.date), Some(day));
            let reach = Duration::from_secs(max_ahead_hours * 3600) + ARRIVAL_MARGIN;
            let event = now.after(reach.mul_f64(event as f64 / 10_000.0));
            prop_assert_eq!(date_of(grown.day_at(event)), date_of(table.day_at(event)));
        }
        prop_assert!(grown.cutoffs.is_sorted());
        // Once it is in force, the same file changes nothing.
        let standing = TenantStanding { table: &grown, ..standing };
        let again = accept_calendar(&new, &new.calendar, &standing).unwrap();
        prop_assert_eq!(again.rules, new.calendar.clone());
    }
}
