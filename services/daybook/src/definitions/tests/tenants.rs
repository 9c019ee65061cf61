//! Tenants and groups of them: times, graces, quotas and seasons.

use super::*;
use daybook_domain::catalogue::MAX_SEASONS;

/// The mistakes of a tenant's seasons, in line 5 from column 14 on.
fn bad_seasons(seasons: &str) -> String {
    bad_tenant(&format!("    cutoff: \"05:00\"\n    seasons: [{seasons}]\n"))
}

#[test]
fn cutoffs_are_times_of_day() {
    let hint = "; write it as hours and minutes in quotes: ";
    for (written, found, meant) in [
        ("0500", "\"0500\"", "05:00"),
        ("5:30", "\"5:30\"", "05:30"),
        ("300", "the number 300", "05:00"),
        ("24:00", "\"24:00\"", "05:00"),
        ("5", "the number 5", "00:05"),
        ("[]", "a list", "05:00"),
    ] {
        assert_eq!(
            bad_tenant(&format!("    cutoff: {written}\n")),
            format!("a.yaml:4:13: expected a time of day, 00:00 to 23:59, found {found}{hint}\"{meant}\"")
        );
    }
}

#[test]
fn quotas_are_checked() {
    let tenant = |quotas: &str| bad_tenant(&format!("    cutoff: \"05:00\"\n    quotas: {{ {quotas} }}\n"));
    assert_eq!(tenant("entities: 0"), "a.yaml:5:25: the quota entities is 0; it may be 1 to 1000000000");
    assert_eq!(tenant("feeds: 257"), "a.yaml:5:22: the quota feeds is 257; it may be 0 to 256");
    assert_eq!(tenant("groups: many"), "a.yaml:5:23: expected a whole number, found \"many\"");
    assert_eq!(tenant("groups: -1"), "a.yaml:5:23: expected a whole number, found the number -1");
    assert!(tenant("events: 5").contains("events"), "{}", tenant("events: 5"));
}

#[test]
fn graces_and_dates_are_checked() {
    let tenant = |lines: &str| bad_tenant(&format!("    cutoff: \"05:00\"\n{lines}"));
    assert_eq!(tenant("    grace: 24h1s\n"), "a.yaml:5:12: the grace is too long; at most 24h are allowed");
    assert_eq!(
        tenant("    grace: 600\n"),
        "a.yaml:5:12: expected a grace such as 90s, 10m or 1h30m, found the number 600"
    );
    assert_eq!(
        tenant("    restate_after: 25h\n"),
        "a.yaml:5:20: the restate_after is too long; at most 24h are allowed"
    );
    assert_eq!(
        tenant("    first_day: 2013-02-30\n"),
        "a.yaml:5:16: first_day \"2013-02-30\" is not a date such as 2013-03-10"
    );
    assert_eq!(
        tenant("    changes:\n      - { from: 2013-06-01 }\n"),
        "a.yaml:6:9: the change changes nothing; give it a zone or a cutoff"
    );
    assert_eq!(
        tenant("    changes: [{ from: 2013-06-01, zone: UTC }, { from: 2013-05-01, zone: UTC }, { cutoff: 1 }]\n"),
        "a.yaml:5:56: the change from 2013-05-01 follows one from 2013-06-01; put them in order\n\
         a.yaml:5:81: the change has no from; give it one, such as from: 2013-06-01\n\
         a.yaml:5:91: expected a time of day, 00:00 to 23:59, found the number 1; write it as hours and minutes in \
         quotes: \"00:01\""
    );
}

#[test]
fn seasons_are_read_and_checked() {
    let apply = good(
        "tenants:
- id: ABQ
  zone: UTC
  cutoff: '05:00'
  seasons:
  - { name: hunt, from: 2026-05-01T18:00:00Z, to: 2026-05-03T20:00:00+02:00 }
",
    );
    let season = &apply.tenants[0].seasons[0];
    assert_eq!(
        (season.name.as_str(), season.from.to_string(), season.to.to_string()),
        ("hunt", "2026-05-01T18:00:00Z".to_owned(), "2026-05-03T18:00:00Z".to_owned())
    );
    assert_eq!(
        bad_seasons("{ name: a, from: 2026-05-01, to: tomorrow }"),
        "a.yaml:5:32: from \"2026-05-01\" is not an RFC 3339 time such as 2013-03-10T09:00:00Z\n\
         a.yaml:5:48: to \"tomorrow\" is not an RFC 3339 time such as 2013-03-10T09:00:00Z"
    );
    assert_eq!(
        bad_seasons("{ name: a, from: 2026-05-01T18:00:00Z, to: 2026-05-01T18:00:00Z }"),
        "a.yaml:5:58: the season ends at 2026-05-01T18:00:00Z, which is not after it begins at 2026-05-01T18:00:00Z"
    );
    assert_eq!(
        bad_seasons("{ name: a, from: 2026-05-01T18:00:00Z, to: 2028-05-03T18:00:01Z }"),
        "a.yaml:5:58: the season is longer than 732 days; make several of it"
    );
    let season = "from: 2026-05-01T18:00:00Z, to: 2026-05-02T18:00:00Z";
    assert_eq!(
        bad_seasons(&format!("{{ name: a, {season} }}, {{ name: a, {season} }}")),
        "a.yaml:5:90: two seasons are named a"
    );
    assert_eq!(
        bad_seasons("{ form: 2026-05-01T18:00:00Z, name: a b }"),
        "a.yaml:5:15: the season has no from; give it one, such as from: 2026-05-01T18:00:00Z\n\
         a.yaml:5:15: the season has no to; give it one, such as to: 2026-05-03T18:00:00Z\n\
         a.yaml:5:17: unknown key \"form\"; the keys are name, from, to\n\
         a.yaml:5:51: name \"a b\" contains ' '; only A-Z a-z 0-9 _ - are allowed"
    );
    let many = (0..=MAX_SEASONS).map(|n| format!("{{ name: s{n}, {season} }}")).collect::<Vec<_>>().join(", ");
    assert!(bad_seasons(&many).ends_with("17 seasons; at most 16 are allowed"));
}

#[test]
fn groups_of_tenants_are_read() {
    let apply = good("groups:\n  - { id: north, name: The north, tenants: [ABQ, ATL] }\n");
    let group = &apply.groups[0];
    assert_eq!((group.id.as_str(), group.name.as_deref(), group.tenants.len()), ("north", Some("The north"), 2));
    for (line, mistake) in [
        ("{ id: north }", "the group has no tenants"),
        ("{ id: north, tenants: [] }", "the group has no tenants"),
        ("{ id: north, tenants: [ABQ, ABQ] }", "the tenant ABQ stands here twice"),
        ("{ id: a b, tenants: [ABQ] }", "id"),
        ("{ id: north, tenant: [ABQ] }", "did you mean \"tenants\"?"),
    ] {
        let told = bad(&format!("groups:\n  - {line}\n"));
        assert!(told.contains(mistake) && told.contains("a.yaml:2"), "{line}: {told}");
    }
    let twice = bad("groups:\n  - { id: north, tenants: [ABQ] }\n  - { id: north, tenants: [ATL] }\n");
    assert!(twice.contains("group north is defined twice"), "{twice}");
}
