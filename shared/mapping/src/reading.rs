//! The values of an event by their rules: texts, numbers, times, versions and the status.

use crate::amount::{self, Arithmetic};
use crate::found::FoundValue;
use crate::moment::{Form, Moment};
use crate::rule::{Origin, Rule, Values};
use crate::zones::Zones;
use compact_str::CompactString;
use daybook_contracts::event::{MAX_DIMENSION_BYTES, Problem};
use daybook_contracts::reject::Code;
use daybook_domain::catalogue::Status;
use daybook_domain::ids::TenantId;
use daybook_domain::mapping::Take;
use daybook_domain::value::Number;
use std::borrow::Cow;

#[derive(Clone, Debug)]
pub(crate) struct TextRule {
    pub(crate) rule: Rule<CompactString>,
    /// Whether numbers with a fraction are texts too.
    pub(crate) fractions: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct MeasureRule {
    pub(crate) rule: Rule<i64>,
    pub(crate) arithmetic: Arithmetic,
    /// In place of the arithmetic's own shift.
    pub(crate) shift_by: Option<Rule<i8>>,
    pub(crate) scale: u8,
}

#[derive(Clone, Debug)]
pub(crate) struct TimeRule {
    pub(crate) rule: Rule<AtTime>,
    pub(crate) forms: Vec<Form>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum AtTime {
    Arrival,
    Fixed(Moment),
}

#[derive(Clone, Debug)]
pub(crate) struct VersionRule {
    pub(crate) rule: Rule<Option<u64>>,
    /// None for a whole number.
    pub(crate) forms: Vec<Form>,
}

/// The rules of the kind's columns; those without one are null.
#[derive(Clone, Debug)]
pub(crate) struct Columns {
    pub(crate) dims: Vec<Option<TextRule>>,
    pub(crate) measures: Vec<Option<MeasureRule>>,
}

impl TextRule {
    pub(crate) fn read(&self, values: &Values<'_, '_>) -> Result<Option<CompactString>, Problem> {
        self.rule.value(values, |found| {
            let text = match found {
                FoundValue::Number(number) => number_text(number, self.fractions),
                FoundValue::Text(_) | FoundValue::Bool(_) => found.written().map(Cow::Borrowed),
                _ => None,
            };
            text.map(CompactString::from).ok_or_else(|| {
                let place = &self.rule.place;
                let reason = match found {
                    FoundValue::Number(_) => {
                        format!("{place} is {found}; `text: true` takes numbers with a fraction too")
                    }
                    _ => format!("{place} is {found}; it must be a text"),
                };
                Problem::new(Code::WrongType, None, reason)
            })
        })
    }

    pub(crate) fn dimension(&self, values: &Values<'_, '_>) -> Result<Option<CompactString>, Problem> {
        let text = self.read(values)?;
        match text.as_ref().map_or(0, |text| text.len()) {
            0..=MAX_DIMENSION_BYTES => Ok(text),
            length => {
                let place = &self.rule.place;
                let reason = format!("{place} is {length} bytes long; at most {MAX_DIMENSION_BYTES} are allowed");
                Err(Problem::new(Code::InvalidText, None, reason))
            }
        }
    }
}

impl MeasureRule {
    pub(crate) fn read(&self, values: &Values<'_, '_>) -> Result<Option<i64>, Problem> {
        self.rule.value(values, |found| {
            let shift = self.shift(values)?;
            amount::read(found, Arithmetic { shift, ..self.arithmetic }, self.scale).map_err(|error| {
                let reason = format!("{} is {found}: {}", self.rule.place, error.reason);
                Problem::new(error.code, None, reason)
            })
        })
    }

    fn shift(&self, values: &Values<'_, '_>) -> Result<i8, Problem> {
        let Some(rule) = &self.shift_by else { return Ok(self.arithmetic.shift) };
        // What is there is looked up in its map, which is not empty.
        let shift = rule.value(values, |_| Ok(0))?;
        shift.ok_or_else(|| {
            let reason = format!("{} is missing; it says how to shift {}", rule.place, self.rule.place);
            Problem::new(Code::MissingField, None, reason)
        })
    }
}

impl VersionRule {
    pub(crate) fn read(
        &self,
        values: &Values<'_, '_>,
        tenant: Option<&TenantId>,
        zones: &Zones,
    ) -> Result<Option<u64>, Problem> {
        let place = &self.rule.place;
        let of_moment = |moment: Moment| {
            moment.version().filter(|version| *version < u64::MAX).map(Some).ok_or_else(|| {
                let reason = format!("{place}: as a version a time is from 1970 to 2554");
                Problem::new(Code::Overflow, None, reason)
            })
        };
        if self.rule.origin == Origin::Take(Take::Arrival) {
            return match values.record.arrived {
                Some(arrived) => of_moment(Moment::of(arrived)),
                None => {
                    let reason = "the record has no time of arrival here, and the mapping wants it for the version";
                    Err(Problem::new(Code::MissingField, None, reason))
                }
            };
        }
        let found = self.rule.value(values, |found| match self.forms.is_empty() {
            true => whole(found, place).map(Some),
            false => moment(found, place, &self.forms, tenant, zones).and_then(of_moment),
        })?;
        found.ok_or_else(|| {
            let reason = format!("{place} is missing; it is the version. `default: next` takes the last to arrive");
            Problem::new(Code::MissingField, None, reason)
        })
    }
}

/// A version that is a whole number.
fn whole(found: &FoundValue<'_>, place: &str) -> Result<u64, Problem> {
    let text = match found {
        FoundValue::Number(text) => text,
        FoundValue::Text(text) => &**text,
        _ => "",
    };
    let whole = text.parse().ok().or_else(|| {
        let number = Number::parse(text).ok()?;
        u64::try_from(number.unscaled()).ok().filter(|_| number.scale() == 0)
    });
    whole.filter(|version| *version < u64::MAX).ok_or_else(|| {
        let reason = format!("{place} is {found}; a version is a whole number, or a time with `as`");
        Problem::new(Code::WrongType, None, reason)
    })
}

/// A time by the first of the forms that it has.
pub(crate) fn moment(
    found: &FoundValue<'_>,
    place: &str,
    forms: &[Form],
    tenant: Option<&TenantId>,
    zones: &Zones,
) -> Result<Moment, Problem> {
    Moment::read(found, forms, tenant, zones)
        .map_err(|error| Problem::new(error.code, None, format!("{place} is {found}: {}", error.reason)))
}

/// The status that a rule gives.
pub(crate) fn status(rule: &Rule<Status>, values: &Values<'_, '_>) -> Result<Status, Problem> {
    let found = rule.value(values, |found| {
        let word = found.written().and_then(|text| Status::ALL.into_iter().find(|status| status.as_str() == text));
        word.ok_or_else(|| {
            let reason = format!("{} is {found}; it must be draft, final or void, or have a map", rule.place);
            Problem::new(Code::WrongType, None, reason)
        })
    })?;
    found.ok_or_else(|| {
        let reason = format!("{} is missing; it is the status. A default or an else stands for nothing", rule.place);
        Problem::new(Code::MissingField, None, reason)
    })
}

/// A number as a text: whole ones as they are written, others without zeros at their end, if they may be texts.
fn number_text(written: &str, fractions: bool) -> Option<Cow<'_, str>> {
    let digits = written.strip_prefix('-').unwrap_or(written);
    if digits.bytes().all(|byte| byte.is_ascii_digit()) && written != "-0" {
        return Some(Cow::Borrowed(written));
    }
    match Number::parse(written) {
        Ok(number) => {
            let text = number.to_string();
            (fractions || !text.contains('.')).then_some(Cow::Owned(text))
        }
        Err(_) => fractions.then_some(Cow::Borrowed(written)),
    }
}
