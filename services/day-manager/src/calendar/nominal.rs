//! The nominal cut-off of a date: what its cut-off would be if there were no other dates.

use super::zones::zone;
use super::{CalendarError, MAX_RULES};
use daybook_domain::calendar::Offset;
use daybook_domain::catalogue::{CalendarRule, NamedBy};
use daybook_domain::time::{Date, Instant};
use jiff::civil;
use jiff::tz::TimeZone;

/// Checked rules with their zones at hand: what each date's cut-off would be if there were no other dates.
pub(super) struct Nominal {
    rules: Vec<(Date, TimeZone, civil::Time)>,
    named_by: NamedBy,
}

impl Nominal {
    /// Checks the rules.
    pub(super) fn new(rules: &[CalendarRule]) -> Result<Self, CalendarError> {
        if rules.is_empty() {
            return Err(CalendarError::NoRules);
        }
        if rules.len() > MAX_RULES {
            return Err(CalendarError::TooManyRules(rules.len()));
        }
        if let Some(pair) = rules.windows(2).find(|pair| pair[0].from >= pair[1].from) {
            let (before, from) = (pair[0].from, pair[1].from);
            return Err(CalendarError::Order { before, from });
        }
        let resolve = |rule: &CalendarRule| {
            let minutes = rule.cutoff_minutes;
            let time = civil::Time::new((minutes / 60).min(24) as i8, (minutes % 60) as i8, 0, 0);
            let time = time.map_err(|_| CalendarError::Cutoff { from: rule.from, minutes })?;
            Ok((rule.from, zone(&rule.zone)?, time))
        };
        let named_by = rules[0].named_by;
        if let Some(other) = rules.iter().find(|rule| rule.named_by != named_by) {
            return Err(CalendarError::Naming(other.from));
        }
        let rules = rules.iter().map(resolve).collect::<Result<_, _>>()?;
        Ok(Self { rules, named_by })
    }

    /// The nominal cut-off of the date.
    pub(super) fn cutoff(&self, date: Date) -> Result<Instant, CalendarError> {
        let after = self.rules.partition_point(|(from, ..)| *from <= date);
        let (_, zone, time) = &self.rules[after.saturating_sub(1)];
        // Dates stop counting at the last one, so a table must end before it.
        if date == Date::MAX {
            return Err(CalendarError::OutOfRange(date));
        }
        let opens_on = match self.named_by {
            NamedBy::Open => date,
            NamedBy::Close => date.plus(-1),
        };
        let local = civil::Date::from(opens_on).to_datetime(*time);
        let at = zone.to_ambiguous_timestamp(local).compatible();
        at.map(Instant::from).map_err(|_| CalendarError::OutOfRange(date))
    }

    /// How far local clocks are ahead of UTC from the first cut-off to the last, which are those of consecutive dates from `first` on:
    /// on each business day by the zone of the rule that its date has.
    pub(super) fn offsets(&self, first: Date, cutoffs: &[Instant]) -> Vec<Offset> {
        let rule_of =
            |index: usize| self.rules.partition_point(|(from, ..)| *from <= first.plus(index as i32)).max(1) - 1;
        let mut offsets: Vec<Offset> = Vec::new();
        let mut index = 0;
        while index + 1 < cutoffs.len() {
            let rule = rule_of(index);
            let opens_at = cutoffs[index];
            while index + 1 < cutoffs.len() && rule_of(index) == rule {
                index += 1;
            }
            let (_, zone, _) = &self.rules[rule];
            let ends_at = cutoffs[index];
            let Ok(start) = jiff::Timestamp::from_millisecond(opens_at.as_millis()) else { continue };
            offsets.push(Offset { from: opens_at, seconds: zone.to_offset(start).seconds() });
            let changes = zone.following(start).map(|change| (Instant::from(change.timestamp()), change.offset()));
            let changes = changes.take_while(|(at, _)| *at < ends_at);
            offsets.extend(changes.map(|(from, offset)| Offset { from, seconds: offset.seconds() }));
        }
        offsets.dedup_by_key(|offset| offset.seconds);
        offsets
    }
}
