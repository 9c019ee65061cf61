//! The rules of a calendar: whether they are one, what they mean, and the name of the table that follows from them.

use super::CalendarError;
use super::nominal::Nominal;
use daybook_domain::catalogue::{CalendarRule, NamedBy};
use daybook_domain::ids::Name;
use daybook_domain::time::Date;

/// The name of the table of these rules under that clock, such as `New_York-0500-1a2b3c4d`: the city and cut-off of
/// the last rule, then a hash of all rules and the clock.
///
/// Calendars that mean the same have the same name: the `from` of the first rule, and rules that repeat the one before
/// them, do not count. So tenants share a table however they wrote their rules.
pub fn table_name(rules: &[CalendarRule], clock: &Name) -> Name {
    let mut hasher = blake3::Hasher::new();
    for step in steps(rules) {
        hasher.update(&step.from.as_days().to_le_bytes());
        hasher.update(&step.cutoff_minutes.to_le_bytes());
        hasher.update(&(step.zone.len() as u64).to_le_bytes());
        hasher.update(step.zone.as_bytes());
        // Names of before there was this choice stay.
        if !step.named_by.is_default() {
            hasher.update(step.named_by.as_str().as_bytes());
        }
    }
    hasher.update(clock.as_str().as_bytes());
    let hash = hasher.finalize().to_hex();

    let (zone, cutoff) = rules.last().map_or(("", 0), |rule| (rule.zone.as_str(), rule.cutoff_minutes));
    let place: String = zone
        .rsplit('/')
        .next()
        .unwrap_or_default()
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
        .take(40)
        .collect();
    let text = format!("{place}-{:02}{:02}-{}", cutoff / 60, cutoff % 60, &hash[..8]);
    Name::new(&text).expect("at most 40 + 1 + 6 + 1 + 8 characters, all of them allowed")
}

/// Checks that rules are a calendar. Any calendar that passes yields contiguous days, whatever its changes.
///
/// # Errors
/// When there is no rule or more than [`MAX_RULES`], a zone is unknown (names are taken exactly as the database spells
/// them), a cut-off is not 0 to 1439, or a `from` is not after the one before.
pub fn check_rules(rules: &[CalendarRule]) -> Result<(), CalendarError> {
    Nominal::new(rules).map(drop)
}

/// Whether both calendars have the same rule in effect on every date through `last`. Both must have passed
/// [`check_rules`].
pub fn agree_through(one: &[CalendarRule], other: &[CalendarRule], last: Date) -> bool {
    let before = |step: &Step<'_>| step.from <= last;
    steps(one).take_while(before).eq(steps(other).take_while(before))
}

/// Rules that are `before` through `last`, and `after` from the next date on.
pub fn joined(before: &[CalendarRule], after: &[CalendarRule], last: Date) -> Vec<CalendarRule> {
    let next = last.next();
    let (past, future) = (before.iter().filter(|rule| rule.from <= last), after.iter().filter(|rule| rule.from > next));
    // The first rule of each holds from ever, whatever its date.
    let oldest = before.first().filter(|rule| rule.from > last);
    let present = after.iter().rfind(|rule| rule.from <= next).or(after.first());
    let present = present.map(|rule| CalendarRule { from: next, ..rule.clone() });
    let mut rules: Vec<CalendarRule> = oldest.into_iter().chain(past).cloned().collect();
    if let (Some(only), true) = (rules.first_mut(), oldest.is_some()) {
        only.from = Date::MIN;
    }
    rules.extend(present);
    rules.extend(future.skip_while(|rule| after.first() == Some(*rule)).cloned());
    rules
}

/// A rule that makes a difference, from the date on which it does.
#[derive(PartialEq, Eq)]
struct Step<'a> {
    from: Date,
    zone: &'a str,
    cutoff_minutes: u16,
    named_by: NamedBy,
}

/// What rules mean: the first holds from ever, and one that repeats its predecessor says nothing.
fn steps(rules: &[CalendarRule]) -> impl Iterator<Item = Step<'_>> {
    rules.iter().enumerate().filter_map(|(index, rule)| {
        let before = index.checked_sub(1).map(|before| &rules[before]);
        let meaning = |rule: &CalendarRule| (rule.zone.clone(), rule.cutoff_minutes, rule.named_by);
        let repeats = before.is_some_and(|before| meaning(before) == meaning(rule));
        (!repeats).then_some(Step {
            from: before.map_or(Date::MIN, |_| rule.from),
            zone: &rule.zone,
            cutoff_minutes: rule.cutoff_minutes,
            named_by: rule.named_by,
        })
    })
}
