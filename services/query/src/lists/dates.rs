//! The pages of lists by date: which dates a request asks for. Pages go from the newest day to the oldest.

use super::cursor::Scope;
use super::row_limit;
use daybook_contracts::ask::{AskError, AskErrorCode, Asked};
use daybook_contracts::lists::{DEFAULT_DATES, DatesQuery};
use daybook_domain::ids::TenantId;
use daybook_domain::time::Date;
use std::ops::RangeInclusive;

/// The dates that one page may hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    from: Date,
    to: Date,
    /// Most rows of the page.
    pub limit: usize,
    scope: Scope,
}

impl Window {
    /// The window of a request for `list`.
    ///
    /// # Errors
    /// [`AskErrorCode::BadRequest`] for a limit that is out of bounds, a range that ends before it begins, and a cursor of
    /// another request.
    pub fn new(tenant: &TenantId, list: &str, query: &DatesQuery) -> Asked<Self> {
        let limit = row_limit(query.limit, DEFAULT_DATES)?;
        let (from, to) = (query.from.unwrap_or(Date::MIN), query.to.unwrap_or(Date::MAX));
        if to < from {
            let message = format!("{to} is before {from}, the first day of the range");
            return Err(AskError::new(AskErrorCode::BadRequest, message).field("to"));
        }
        let scope = Scope::new(tenant, list, &(from, to));
        let to = match &query.cursor {
            None => to,
            Some(cursor) => scope.read::<Date>(cursor)?.min(to),
        };
        Ok(Self { from, to, limit, scope })
    }

    /// The dates, in order; `None` when there are none.
    pub fn dates(&self) -> Option<RangeInclusive<Date>> {
        (self.from <= self.to).then_some(self.from..=self.to)
    }

    /// The dates of the window before a day.
    pub fn before(&self, day: Date) -> Self {
        let to = match day {
            // No date is before it: nothing is left.
            Date::MIN => return Self { from: Date::MAX, to: Date::MIN, ..self.clone() },
            day => day.plus(-1).min(self.to),
        };
        Self { to, ..self.clone() }
    }

    /// The cursor of the page whose newest day is `to`.
    pub fn cursor(&self, to: Date) -> String {
        self.scope.write(to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn date(text: &str) -> Date {
        text.parse().unwrap()
    }

    fn window(query: &DatesQuery) -> Asked<Window> {
        Window::new(&TenantId::new("acme").unwrap(), "~days", query)
    }

    #[test]
    fn bounds_are_checked() {
        let all = window(&DatesQuery::default()).unwrap();
        assert_eq!((all.dates(), all.limit), (Some(Date::MIN..=Date::MAX), 400));
        let refused = |query: &DatesQuery| window(query).unwrap_err().field;
        for limit in [0, 1_001, u32::MAX] {
            let query = DatesQuery { limit: Some(limit), ..DatesQuery::default() };
            assert_eq!(refused(&query).as_deref(), Some("limit"), "{limit}");
        }
        let range = |from, to| DatesQuery { from: Some(date(from)), to: Some(date(to)), ..DatesQuery::default() };
        assert_eq!(refused(&range("2024-03-02", "2024-03-01")).as_deref(), Some("to"));
        let one = window(&range("2024-03-01", "2024-03-01")).unwrap();
        assert_eq!(one.dates(), Some(date("2024-03-01")..=date("2024-03-01")));
    }

    #[test]
    fn a_cursor_ends_the_range_earlier_and_never_later() {
        let query = DatesQuery { to: Some(date("2024-03-10")), ..DatesQuery::default() };
        let first = window(&query).unwrap();
        let next = |to: &str| DatesQuery { cursor: Some(first.cursor(date(to))), ..query.clone() };
        assert_eq!(window(&next("2024-03-04")).unwrap().dates(), Some(Date::MIN..=date("2024-03-04")));
        assert_eq!(window(&next("2024-04-01")).unwrap().dates(), first.dates(), "forged");
        let elsewhere = DatesQuery { to: Some(date("2024-03-11")), ..next("2024-03-04") };
        assert_eq!(window(&elsewhere).unwrap_err().field.as_deref(), Some("cursor"));
    }

    #[test]
    fn what_is_before_a_day_may_be_nothing() {
        let from = DatesQuery { from: Some(date("2024-03-02")), ..DatesQuery::default() };
        let window = window(&from).unwrap();
        assert_eq!(window.before(date("2024-03-05")).dates(), Some(date("2024-03-02")..=date("2024-03-04")));
        assert_eq!(window.before(date("2024-03-02")).dates(), None);
        assert_eq!(window.before(Date::MIN).dates(), None);
    }
}
