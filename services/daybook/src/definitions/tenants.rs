//! Tenants and their calendars. Whether a time zone exists is for day-manager to say.

use super::alerts;
use super::reader::{Fields, Reader};
use daybook_contracts::admin::TenantSpec;
use daybook_domain::catalogue::{
    CalendarRule, LARGEST_MAX_AHEAD_MS, MAX_GRACE_MS, MAX_RESTATE_AFTER_MS, MAX_SEASON, MAX_SEASONS, NamedBy, Season,
};
use daybook_domain::ids::Name;
use daybook_domain::quotas::Quotas;
use daybook_domain::time::{Date, Instant};
use daybook_yaml::{Node, Value};

const TENANT_KEYS: [&str; 14] = [
    "id",
    "name",
    "zone",
    "cutoff",
    "grace",
    "first_day",
    "clock",
    "changes",
    "seasons",
    "quotas",
    "restate_after",
    "max_ahead",
    "day_named_by",
    "alerts",
];
const MINUTES_PER_DAY: u16 = 1440;

/// The node that names the tenant, and the tenant where nothing is wrong with it.
pub(super) fn read<'a>(node: &'a Node, reader: &mut Reader<'a, '_>) -> (Option<&'a Node>, Option<TenantSpec>) {
    let before = reader.mistakes();
    let Some(fields) = reader.fields(node, "tenant", &TENANT_KEYS) else { return (None, None) };
    let id_node = reader.required(&fields, "id", "ABQ");
    let id = id_node.and_then(|node| reader.name(node, "id"));
    let name = fields.get("name").and_then(|node| reader.text(node, "name")).map(str::to_owned);
    let zone = reader.required(&fields, "zone", "America/New_York").and_then(|node| read_zone(node, reader));
    let cutoff = reader.required(&fields, "cutoff", "\"05:00\"").and_then(|node| read_cutoff(node, reader));
    let grace_ms = fields.get("grace").and_then(|node| read_span(node, GRACE, reader)).unwrap_or(0);
    let restate_after_ms = fields.get("restate_after").and_then(|node| read_span(node, RESTATE_AFTER, reader));
    let max_ahead_ms = fields.get("max_ahead").and_then(|node| read_span(node, MAX_AHEAD, reader));
    let namings = NamedBy::ALL.map(|naming| (naming.as_str(), naming));
    let day_named_by = fields.get("day_named_by").and_then(|node| reader.word(node, "day_named_by", &namings));
    let first_day = fields.get("first_day").and_then(|node| reader.parsed(node, "first_day"));
    let clock = fields.get("clock").and_then(|node| reader.name(node, "clock"));
    let changes = reader.optional_list(&fields, "changes");
    let seasons = read_seasons(reader.optional_list(&fields, "seasons"), reader);
    let quotas = fields.get("quotas").map(|node| read_quotas(node, reader)).unwrap_or_default();
    let alerts = alerts::read_of_reports(reader.optional_list(&fields, "alerts"), reader);
    let mut spec = match (id, zone, cutoff) {
        (Some(id), Some(zone), Some(cutoff_minutes)) => TenantSpec {
            id,
            name,
            zone,
            cutoff_minutes,
            changes: Vec::new(),
            grace_ms,
            first_day,
            clock,
            seasons,
            quotas,
            restate_after_ms,
            max_ahead_ms,
            day_named_by: day_named_by.unwrap_or_default(),
            alerts,
        },
        _ => return (id_node, None),
    };
    for node in changes {
        let rule = read_change(node, &spec, reader);
        spec.changes.extend(rule);
    }
    (id_node, (reader.mistakes() == before).then_some(spec))
}

/// `{ from: 2013-06-01, zone: America/Phoenix, cutoff: "04:00" }`. What it does not say stays as it was before.
fn read_change<'a>(node: &'a Node, spec: &TenantSpec, reader: &mut Reader<'a, '_>) -> Option<CalendarRule> {
    let fields: Fields<'a> = reader.fields(node, "change", &["from", "zone", "cutoff"])?;
    let from_node = reader.required(&fields, "from", "2013-06-01");
    let from: Option<Date> = from_node.and_then(|node| reader.parsed(node, "from"));
    let zone_node = fields.get("zone");
    let zone = zone_node.map(|node| read_zone(node, reader));
    let cutoff_node = fields.get("cutoff");
    let cutoff = cutoff_node.map(|node| read_cutoff(node, reader));
    if zone_node.is_none() && cutoff_node.is_none() {
        reader.mistake(node, "the change changes nothing; give it a zone or a cutoff");
    }
    let before = spec.changes.last();
    if let (Some(from), Some(node), Some(before)) = (from, from_node, before)
        && from <= before.from
    {
        reader.mistake(node, format!("the change from {from} follows one from {}; put them in order", before.from));
    }
    Some(CalendarRule {
        from: from?,
        zone: zone.unwrap_or_else(|| Some(before.map_or(&spec.zone, |rule| &rule.zone).clone()))?,
        cutoff_minutes: cutoff
            .unwrap_or_else(|| Some(before.map_or(spec.cutoff_minutes, |rule| rule.cutoff_minutes)))?,
        named_by: spec.day_named_by,
    })
}

fn read_seasons<'a>(nodes: &'a [Node], reader: &mut Reader<'a, '_>) -> Vec<Season> {
    if let Some(node) = nodes.get(MAX_SEASONS) {
        reader.mistake(node, format!("{} seasons; at most {MAX_SEASONS} are allowed", nodes.len()));
    }
    let mut names = Vec::new();
    nodes.iter().filter_map(|node| read_season(node, &mut names, reader)).collect()
}

/// `{ name: hunt, from: 2026-05-01T18:00:00Z, to: 2026-05-03T18:00:00Z }`; `names` are those of the seasons above.
fn read_season<'a>(node: &'a Node, names: &mut Vec<Name>, reader: &mut Reader<'a, '_>) -> Option<Season> {
    let fields: Fields<'a> = reader.fields(node, "season", &["name", "from", "to"])?;
    let name_node = reader.required(&fields, "name", "hunt");
    let name: Option<Name> = name_node.and_then(|node| reader.name(node, "name"));
    if let (Some(name), Some(node)) = (&name, name_node) {
        if names.contains(name) {
            reader.mistake(node, format!("two seasons are named {name}"));
        }
        names.push(name.clone());
    }
    let from_node = reader.required(&fields, "from", "2026-05-01T18:00:00Z");
    let from: Option<Instant> = from_node.and_then(|node| reader.parsed(node, "from"));
    let to_node = reader.required(&fields, "to", "2026-05-03T18:00:00Z");
    let to: Option<Instant> = to_node.and_then(|node| reader.parsed(node, "to"));
    let (from, to) = (from?, to?);
    if to <= from {
        reader.mistake(to_node?, format!("the season ends at {to}, which is not after it begins at {from}"));
    } else if to.since(from) > MAX_SEASON {
        let days = MAX_SEASON.as_secs() / 86_400;
        reader.mistake(to_node?, format!("the season is longer than {days} days; make several of it"));
    }
    Some(Season { name: name?, from, to })
}

/// `{ events_per_second: 2000, entities: 1000000 }`; what it does not say is not limited.
fn read_quotas<'a>(node: &'a Node, reader: &mut Reader<'a, '_>) -> Quotas {
    let mut quotas = Quotas::default();
    let Some(fields) = reader.fields(node, "quotas", &Quotas::NAMES) else { return quotas };
    for name in Quotas::NAMES {
        let Some(node) = fields.get(name) else { continue };
        let Some(value) = read_whole(node) else {
            reader.wrong_type(node, "a whole number");
            continue;
        };
        let mut alone = Quotas::default();
        alone.put(name, value);
        match alone.check() {
            Ok(()) => quotas.put(name, value),
            Err(error) => reader.mistake(node, error.to_string()),
        }
    }
    quotas
}

fn read_whole(node: &Node) -> Option<u64> {
    match node.value() {
        Value::Integer(value) => u64::try_from(*value).ok(),
        _ => None,
    }
}

fn read_zone<'a>(node: &'a Node, reader: &mut Reader<'a, '_>) -> Option<String> {
    let zone = reader.text(node, "zone")?;
    if zone.trim().is_empty() {
        reader.mistake(node, "the zone is empty; use a name of the IANA database such as \"America/New_York\"");
        return None;
    }
    Some(zone.to_owned())
}

/// `"05:00"` in minutes after midnight.
fn read_cutoff(node: &Node, reader: &mut Reader<'_, '_>) -> Option<u16> {
    let cutoff = node.as_text().and_then(parse_time_of_day);
    if cutoff.is_none() {
        let message = format!("expected a time of day, 00:00 to 23:59, found {}", reader.source.describe(node));
        let meant = meant_time(node).unwrap_or_else(|| "05:00".to_owned());
        reader.mistake_with_hint(node, message, format!("write it as hours and minutes in quotes: \"{meant}\""));
    }
    cutoff
}

fn parse_time_of_day(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    let two_digits = |part: &str| {
        let is_two = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
        is_two.then(|| part.parse::<u16>().ok()).flatten()
    };
    let (hours, minutes) = (two_digits(hours)?, two_digits(minutes)?);
    (hours < 24 && minutes < 60).then_some(hours * 60 + minutes)
}

/// What was probably meant by `5:00`, `0500`, or the number that a YAML 1.1 tool makes of an unquoted `05:00`.
fn meant_time(node: &Node) -> Option<String> {
    let meant = match node.value() {
        Value::Text(text) if text.len() == 4 && !text.contains(':') => format!("{}:{}", text.get(..2)?, text.get(2..)?),
        Value::Text(text) => format!("0{text}"),
        // Sexagesimal: 05:00 is 300.
        Value::Integer(minutes) => {
            let minutes = u16::try_from(*minutes).ok().filter(|minutes| *minutes < MINUTES_PER_DAY)?;
            format!("{:02}:{:02}", minutes / 60, minutes % 60)
        }
        _ => return None,
    };
    parse_time_of_day(&meant).map(|_| meant)
}

/// A field that is a duration: its name in messages, and the longest in milliseconds, which is whole hours.
type Span = (&'static str, u64);
const GRACE: Span = ("grace", MAX_GRACE_MS);
const RESTATE_AFTER: Span = ("restate_after", MAX_RESTATE_AFTER_MS);
const MAX_AHEAD: Span = ("max_ahead", LARGEST_MAX_AHEAD_MS);

/// `90s`, `10m` or `1h30m` in milliseconds.
fn read_span(node: &Node, (name, longest): Span, reader: &mut Reader<'_, '_>) -> Option<u64> {
    match node.as_text().map(parse_duration) {
        Some(Some(span)) if span <= longest => return Some(span),
        Some(Some(_)) => {
            let hours = longest / 3_600_000;
            reader.mistake(node, format!("the {name} is too long; at most {hours}h are allowed"));
        }
        _ => {
            let found = reader.source.describe(node);
            reader.mistake(node, format!("expected a {name} such as 90s, 10m or 1h30m, found {found}"));
        }
    }
    None
}

/// Hours, minutes and seconds, each at most once and in that order, in milliseconds; what is beyond 64 bits is `MAX`.
fn parse_duration(text: &str) -> Option<u64> {
    let mut units = [('h', 3_600_000), ('m', 60_000), ('s', 1_000)].into_iter();
    let mut rest = text;
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = rest.split_at(digits);
        let unit = tail.chars().next()?;
        let (_, millis) = units.find(|(known, _)| *known == unit)?;
        if number.is_empty() {
            return None;
        }
        let number = number.parse::<u64>().unwrap_or(u64::MAX);
        total = total.saturating_add(number.saturating_mul(millis));
        rest = &tail[unit.len_utf8()..];
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_day_are_four_digits() {
        assert_eq!(parse_time_of_day("00:00"), Some(0));
        assert_eq!(parse_time_of_day("05:30"), Some(330));
        assert_eq!(parse_time_of_day("23:59"), Some(1439));
        for bad in ["", ":", "24:00", "05:60", "5:00", "05:0", "05:00:00", "+5:00", "0500", "०५:००"] {
            assert_eq!(parse_time_of_day(bad), None, "{bad}");
        }
    }

    #[test]
    fn durations_are_hours_minutes_seconds() {
        for (text, millis) in [("0s", 0), ("90s", 90_000), ("10m", 600_000), ("1h30m", 5_400_000), ("24h", 86_400_000)]
        {
            assert_eq!(parse_duration(text), Some(millis), "{text}");
        }
        assert_eq!(parse_duration("99999999999999999999h"), Some(u64::MAX));
        for bad in ["", "10", "m", "10 m", "1m1h", "1m1m", "1.5h", "-1m", "1d", "1hé"] {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
    }
}
