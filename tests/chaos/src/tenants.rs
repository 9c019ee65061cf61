//! Who is in a run, and what is defined for them. Zones are those without daylight saving, so that the business day of
//! an instant is a sum.

use daybook_domain::ids::TenantId;
use daybook_domain::time::{Date, Instant};

/// The tenant that attacks the others, its user and its password.
pub const HOSTILE: &str = "mallory";
/// The clock that the run drives.
pub const CLOCK: &str = "chaos";
/// Where that clock begins: by then the first day of every tenant that follows it is open.
pub const CLOCK_START: &str = "2024-03-01T13:00:00Z";
/// The first business day of those who follow that clock.
const FIRST_DAY: &str = "2024-03-01";
/// The tenant on the system's clock closes its day at the first full minute that is so far away at least.
const SYSTEM_AHEAD_MS: i64 = 20_000;

pub const MINUTE_MS: i64 = 60_000;
pub const HOUR_MS: i64 = 60 * MINUTE_MS;
pub const DAY_MS: i64 = 24 * HOUR_MS;

/// Names, zones, hours east of Greenwich in minutes, and cut-offs in minutes after midnight. They fall into all of the
/// partitions.
const DRIVEN: [(&str, &str, i64, i64); 6] = [
    ("acme", "Etc/UTC", 0, 0),
    ("bloom", "Asia/Kathmandu", 345, 300),
    ("cobalt", "America/Phoenix", -420, 330),
    ("delta", "Etc/UTC", 0, 360),
    ("ember", "Asia/Tokyo", 540, 60),
    ("fjord", "Asia/Kolkata", 330, 200),
];

const MODELS: &str = "
kinds:
  - name: order
    mode: entity
    dimensions: [channel]
    measures: [quantity, { name: amount, type: decimal, scale: 2 }]
  - name: click
    mode: fact
    dimensions: [page]
    measures: [ms]
views:
  - name: orders
    kind: order
    group_by: [channel]
    metrics:
      - { name: orders, value: count }
      - { name: drafts, value: count, status: [draft] }
      - { name: quantity, value: sum(quantity) }
      - { name: amount, value: sum(amount) }
      - { name: largest, value: max(quantity) }
  - name: leaders
    kind: order
    group_by: [channel]
    ranking: { by: [best desc], earliest: true }
    metrics:
      - { name: best, value: max(quantity) }
  - name: outcomes
    kind: order
    metrics:
      - { name: finals, value: count }
      - { name: voids, value: count, status: [void] }
      - { name: channels, value: distinct(channel) }
  - name: clicks
    kind: click
    group_by: [page]
    metrics:
      - { name: clicks, value: count }
      - { name: ms, value: sum(ms) }
  - name: posted
    kind: click
    late: carry_forward
    metrics:
      - { name: clicks, value: count }
";

/// A tenant of the run.
#[derive(Clone, Debug)]
pub struct Tenant {
    pub id: TenantId,
    zone: &'static str,
    /// What is to be added to UTC, and taken off for the cut-off.
    shift_ms: i64,
    cutoff_minutes: i64,
    pub first_day: Date,
    /// Whether its days close by the clock that the run drives rather than by the system's.
    pub is_driven: bool,
}

impl Tenant {
    /// Everybody. `now` is the system's time.
    pub fn all(now: Instant) -> Vec<Self> {
        let first_day: Date = FIRST_DAY.parse().expect("a date");
        let new = |id, zone, offset: i64, cutoff_minutes: i64| Self {
            id: TenantId::new(id).expect("a valid id"),
            zone,
            shift_ms: (offset - cutoff_minutes) * MINUTE_MS,
            cutoff_minutes,
            first_day,
            is_driven: true,
        };
        let mut tenants: Vec<Self> =
            DRIVEN.into_iter().map(|(id, zone, offset, cutoff)| new(id, zone, offset, cutoff)).collect();
        let closes = (now.as_millis() + SYSTEM_AHEAD_MS).div_euclid(MINUTE_MS) + 1;
        let mut system = new("today", "Etc/UTC", 0, closes.rem_euclid(24 * 60));
        system.is_driven = false;
        system.first_day = system.day_of(now.as_millis()).plus(-1);
        tenants.push(system);
        tenants
    }

    /// The business day of an instant, in milliseconds since the epoch.
    pub fn day_of(&self, at_ms: i64) -> Date {
        Date::from_days(i32::try_from((at_ms + self.shift_ms).div_euclid(DAY_MS)).expect("years like ours"))
    }

    /// When a business day opens.
    pub fn opens_at_ms(&self, date: Date) -> i64 {
        i64::from(date.as_days()) * DAY_MS - self.shift_ms
    }
}

/// Kinds, views and tenants, as YAML.
pub fn definitions(tenants: &[Tenant]) -> String {
    let mut yaml = format!("{MODELS}tenants:\n");
    for tenant in tenants {
        let Tenant { id, zone, cutoff_minutes, first_day, is_driven, .. } = tenant;
        let cutoff = format!("{:02}:{:02}", cutoff_minutes / 60, cutoff_minutes % 60);
        let clock = if *is_driven { CLOCK } else { "system" };
        yaml.push_str(&format!(
            "  - {{ id: {id}, zone: {zone}, cutoff: '{cutoff}', first_day: {first_day}, clock: {clock}, \
             restate_after: 2s }}\n"
        ));
    }
    // On the same clock, and in no model.
    yaml.push_str(&format!(
        "  - {{ id: {HOSTILE}, zone: Etc/UTC, cutoff: '00:00', first_day: {FIRST_DAY}, clock: {CLOCK} }}\n"
    ));
    yaml
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use daybook_domain::ids::Partition;
    use daybook_tests::processes::PARTITIONS;
    use std::collections::BTreeSet;

    #[test]
    fn tenants_are_in_every_partition_and_open_when_the_clock_begins() {
        let start: Instant = CLOCK_START.parse().unwrap();
        let tenants = Tenant::all(start);
        let partitions: BTreeSet<_> = tenants.iter().map(|t| Partition::of(t.id.as_str(), PARTITIONS)).collect();
        assert_eq!(partitions.len(), usize::from(PARTITIONS));
        for tenant in &tenants {
            assert!(tenant.opens_at_ms(tenant.first_day) <= start.as_millis(), "{tenant:?}");
            let today = tenant.day_of(start.as_millis());
            assert_eq!(tenant.day_of(tenant.opens_at_ms(today)), today);
            assert_eq!(tenant.day_of(tenant.opens_at_ms(today) - 1), today.plus(-1));
        }
        // 05:00 in Kathmandu is 23:15 of the day before.
        let opens: Instant = "2024-03-01T23:15:00Z".parse().unwrap();
        assert_eq!(tenants[1].opens_at_ms("2024-03-02".parse().unwrap()), opens.as_millis());
    }

    #[test]
    fn the_system_s_day_closes_soon() {
        let now: Instant = "2024-03-01T23:59:50Z".parse().unwrap();
        let tenants = Tenant::all(now);
        let system = tenants.last().unwrap();
        let closes = system.opens_at_ms(system.day_of(now.as_millis()).next()) - now.as_millis();
        assert!((SYSTEM_AHEAD_MS..=SYSTEM_AHEAD_MS + MINUTE_MS).contains(&closes), "{closes}");
    }
}
