//! CATALOG over the years: calendars that grow do not fill it, and whoever starts late reads whole tables.

use daybook_contracts::admin::ClockAdvance;
use daybook_domain::catalogue::Definition;
use daybook_domain::ids::Name;
use daybook_domain::time::{Date, Instant};
use daybook_runtime::append::{last_message, stream_handle};
use daybook_tests::Daybook;
use std::fmt::Write;

/// Ten zones, most of which change their clocks twice a year.
const ZONES: [&str; 10] = [
    "Europe/Zurich",
    "America/New_York",
    "America/Santiago",
    "Pacific/Auckland",
    "Australia/Lord_Howe",
    "Africa/Cairo",
    "Asia/Beirut",
    "Asia/Kathmandu",
    "Europe/London",
    "America/Los_Angeles",
];
const FIRST_DAY: &str = "2020-01-01";
const WEEKS: i32 = 4 * 52 + 1;
/// What CATALOG may have with the default of eight partitions.
const MAX_BYTES: u64 = 2_000_000;
const DEFAULT_PARTITIONS: u64 = 8;

#[tokio::test(flavor = "multi_thread")]
async fn ten_calendars_over_four_years_take_little_of_catalog() {
    let mut daybook = Daybook::start().await;
    let mut yaml = "tenants:\n".to_owned();
    for (number, zone) in ZONES.into_iter().enumerate() {
        writeln!(
            yaml,
            "  - {{ id: t{number}, zone: {zone}, cutoff: \"05:00\", first_day: {FIRST_DAY}, clock: years }}"
        )
        .unwrap();
    }
    daybook.define(&yaml).await;
    let first: Date = FIRST_DAY.parse().unwrap();
    let clock = Name::new("years").unwrap();
    for week in 1..=WEEKS {
        let advance_to = Instant::from_millis(i64::from(first.plus(7 * week).as_days()) * 86_400_000);
        daybook.client.advance(&ClockAdvance { clock: clock.clone(), advance_to }).await.unwrap();
    }
    let connection = &daybook.client.connection;
    let stream = connection.subjects.catalog_stream();
    let bytes = stream_handle(connection, &stream).await.unwrap().get_info().await.unwrap().state.bytes;
    let partitions = u64::from(connection.partitions);
    println!("CATALOG has {bytes} bytes with {partitions} partitions");
    assert!(bytes * DEFAULT_PARTITIONS / partitions < MAX_BYTES, "{bytes} bytes with {partitions} partitions");

    // The newest message of a calendar holds all of its days.
    let calendar = connection.subjects.catalog(daybook_domain::ids::Partition(0), "calendar", "*");
    let newest = last_message(connection, &stream, &calendar).await.unwrap();
    let Definition::Calendar(table) = serde_json::from_slice(&newest.payload).unwrap() else { panic!("{newest:?}") };
    let last = first.plus(7 * WEEKS);
    assert!(table.first <= first && table.day(last).is_some(), "{} to {}", table.first, table.horizon());
    // Services that start now go on where the others were.
    daybook.restart_services().await;
    let advance_to = Instant::from_millis(i64::from(last.plus(30).as_days()) * 86_400_000);
    let reply = daybook.client.advance(&ClockAdvance { clock, advance_to }).await.unwrap();
    assert_eq!(reply.markers, 2 * 30 * ZONES.len() as u64);
}
