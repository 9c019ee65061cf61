//! The time zones of tenants, for times that are written without an offset.

use daybook_domain::catalogue::{CalendarRule, NamedBy, Tenant};
use daybook_domain::ids::TenantId;
use daybook_domain::time::Date;
use jiff::civil::DateTime;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use std::collections::BTreeMap;

/// The time zones of the tenants that are known.
#[derive(Clone, Debug, Default)]
pub struct Zones {
    tenants: BTreeMap<TenantId, Vec<ZoneRule>>,
    /// Each zone once: thousands of tenants share a few.
    zones: BTreeMap<String, TimeZone>,
}

#[derive(Clone, Debug)]
struct ZoneRule {
    from: Date,
    cutoff_minutes: u16,
    named_by: NamedBy,
    zone: TimeZone,
}

impl Zones {
    /// The zones of these tenants, by their calendars.
    pub fn of<'t>(tenants: impl IntoIterator<Item = &'t Tenant>) -> Self {
        let mut zones = Self::default();
        tenants.into_iter().for_each(|tenant| zones.define(&tenant.id, &tenant.calendar));
        zones
    }

    /// Takes a tenant's calendar in, in place of an older one. A zone that nobody knows is left out.
    pub fn define(&mut self, tenant: &TenantId, calendar: &[CalendarRule]) {
        let rules = calendar.iter().filter_map(|rule| {
            let zone = match self.zones.get(&rule.zone) {
                Some(zone) => zone.clone(),
                None => self.zones.entry(rule.zone.clone()).or_insert(named(&rule.zone)?).clone(),
            };
            let (from, cutoff_minutes, named_by) = (rule.from, rule.cutoff_minutes, rule.named_by);
            Some(ZoneRule { from, cutoff_minutes, named_by, zone })
        });
        let rules = rules.collect();
        self.tenants.insert(tenant.clone(), rules);
    }

    /// Forgets a tenant's calendar.
    pub fn remove(&mut self, tenant: &TenantId) {
        self.tenants.remove(tenant);
    }

    /// The tenant's zone at a local time: that of the business day which the time is on. `None` for an unknown tenant.
    pub(crate) fn at(&self, tenant: &TenantId, local: DateTime) -> Option<&TimeZone> {
        let rules = self.tenants.get(tenant)?;
        let minutes = u16::from(local.hour().unsigned_abs()) * 60 + u16::from(local.minute().unsigned_abs());
        let date = Date::from(local.date());
        let is_in_force = |rule: &&ZoneRule| {
            let opens_on = if minutes < rule.cutoff_minutes { date.plus(-1) } else { date };
            let business_day = match rule.named_by {
                NamedBy::Open => opens_on,
                NamedBy::Close => opens_on.next(),
            };
            rule.from <= business_day
        };
        // The first rule counts from ever.
        rules.iter().rev().find(is_in_force).or(rules.first()).map(|rule| &rule.zone)
    }
}

/// The zone of that name in the bundled database.
pub(crate) fn named(name: &str) -> Option<TimeZone> {
    TimeZoneDatabase::bundled().get(name).ok().filter(|zone| !zone.is_unknown())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_holds_from_the_cutoff_of_its_first_business_day() {
        let tenant = TenantId::new("acme").unwrap();
        let rule = |from: Date, zone: &str, cutoff_minutes| CalendarRule {
            from,
            zone: zone.into(),
            cutoff_minutes,
            named_by: Default::default(),
        };
        let moved = "2024-03-02".parse().unwrap();
        let mut zones = Zones::default();
        zones.define(&tenant, &[rule(Date::MIN, "Europe/Berlin", 0), rule(moved, "America/New_York", 240)]);
        let zone = |local: &str| zones.at(&tenant, local.parse().unwrap()).unwrap().iana_name().unwrap().to_owned();
        assert_eq!(zone("2024-03-01T23:59:59"), "Europe/Berlin");
        assert_eq!(zone("2024-03-02T03:59:59"), "Europe/Berlin", "still the business day before");
        assert_eq!(zone("2024-03-02T04:00:00"), "America/New_York");
        assert_eq!(zone("0001-01-01T00:00:00"), "Europe/Berlin");
        assert!(zones.at(&TenantId::new("other").unwrap(), "2024-03-02T04:00:00".parse().unwrap()).is_none());
        // Named by its close, the day 2024-03-02 opens a date earlier.
        let by_close =
            |from, zone, cutoff_minutes| CalendarRule { named_by: NamedBy::Close, ..rule(from, zone, cutoff_minutes) };
        zones.define(&tenant, &[by_close(Date::MIN, "Europe/Berlin", 240), by_close(moved, "America/New_York", 240)]);
        let zone = |local: &str| zones.at(&tenant, local.parse().unwrap()).unwrap().iana_name().unwrap().to_owned();
        assert_eq!(zone("2024-03-01T03:59:59"), "Europe/Berlin");
        assert_eq!(zone("2024-03-01T04:00:00"), "America/New_York");
        assert!(named("Mars/Olympus").is_none());
    }
}
