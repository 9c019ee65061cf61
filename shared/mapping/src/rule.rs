//! A compiled pick: where a value is found, and what stands for words and for nothing.

use crate::found::FoundValue;
use crate::record::Record;
use daybook_contracts::event::Problem;
use daybook_contracts::reject::Code;
use daybook_domain::expression::Seen;
use daybook_domain::mapping::Take;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Where a value is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A slot of the record.
    Record(usize),
    /// A slot of the item or row.
    Item(usize),
    Header(Box<str>),
    /// A token of the subject, from 0.
    Token(usize),
    /// The first that is there and not null.
    FirstOf(Box<[Self]>),
    /// Nowhere: it is always the default.
    Constant,
    Take(Take),
}

impl Origin {
    /// Whether it differs between the items of a record.
    pub(crate) fn is_of_item(&self) -> bool {
        matches!(self, Self::Take(Take::Index)) || self.is_in_item()
    }

    /// Whether an item, or a row, is needed to find it.
    pub(crate) fn is_in_item(&self) -> bool {
        match self {
            Self::Item(_) => true,
            Self::FirstOf(origins) => origins.iter().any(Self::is_in_item),
            _ => false,
        }
    }
}

/// What the values of one event are found in.
#[derive(Clone, Copy)]
pub(crate) struct Values<'v, 'r> {
    pub(crate) record: &'v Record<'r>,
    pub(crate) slots: &'v [Option<&'r str>],
    pub(crate) item: &'v [Option<&'r str>],
    /// The place of the item in its array.
    pub(crate) index: Option<u32>,
}

impl<'r> Values<'_, 'r> {
    pub(crate) fn find(&self, origin: &Origin) -> FoundValue<'r> {
        let text =
            |found: Option<&'r str>| found.map_or(FoundValue::Missing, |text| FoundValue::Text(Cow::Borrowed(text)));
        let number =
            |found: Option<u64>| found.map_or(FoundValue::Missing, |n| FoundValue::Text(Cow::Owned(n.to_string())));
        match origin {
            Origin::Record(slot) => FoundValue::of(self.slots[*slot]),
            Origin::Item(slot) => FoundValue::of(self.item.get(*slot).copied().flatten()),
            Origin::Header(name) => text(self.record.header(name)),
            Origin::Token(at) => text(self.record.subject.split('.').nth(*at).filter(|token| !token.is_empty())),
            Origin::FirstOf(origins) => {
                let mut found = origins.iter().map(|origin| self.find(origin));
                found
                    .find(|found| !matches!(found, FoundValue::Missing | FoundValue::Null))
                    .unwrap_or(FoundValue::Missing)
            }
            Origin::Constant => FoundValue::Missing,
            Origin::Take(Take::Sequence) => number(self.record.sequence),
            Origin::Take(Take::Index) => number(self.index.map(u64::from)),
            // Read by who takes it; it is no text.
            Origin::Take(Take::Arrival) => FoundValue::Missing,
        }
    }

    /// The same for a condition.
    pub(crate) fn seen(&self, origin: &Origin) -> Seen<'r> {
        match self.find(origin) {
            FoundValue::Missing | FoundValue::Null => Seen::Null,
            FoundValue::Bool(true) => Seen::Text(Cow::Borrowed("true")),
            FoundValue::Bool(false) => Seen::Text(Cow::Borrowed("false")),
            FoundValue::Number(text) => Seen::Number(text),
            FoundValue::Text(text) => Seen::Text(text),
            FoundValue::Array | FoundValue::Object | FoundValue::Broken => Seen::Compound,
        }
    }
}

/// A value of an event: where it is found, and what is made of what is found there.
#[derive(Clone, Debug)]
pub(crate) struct Rule<T> {
    pub(crate) origin: Origin,
    /// As rejects name it, such as `./price`, `/a or /b` or `header ce-id`.
    pub(crate) place: Box<str>,
    pub(crate) map: BTreeMap<Box<str>, T>,
    /// For what the map lacks, and for nothing where there is no default.
    pub(crate) otherwise: Option<T>,
    /// For nothing.
    pub(crate) default: Option<T>,
}

impl<T: Clone> Rule<T> {
    /// The value, or `None` where there is none and nothing stands for that.
    ///
    /// # Errors
    /// When the map lacks what was found, or `read` does not take it. The problem has no field yet.
    pub(crate) fn value<'r>(
        &self,
        values: &Values<'_, 'r>,
        read: impl FnOnce(&FoundValue<'r>) -> Result<T, Problem>,
    ) -> Result<Option<T>, Problem> {
        let found = values.find(&self.origin);
        if matches!(found, FoundValue::Missing | FoundValue::Null) {
            return Ok(self.default.as_ref().or(self.otherwise.as_ref()).cloned());
        }
        if self.map.is_empty() && self.otherwise.is_none() {
            return read(&found).map(Some);
        }
        let known = found.written().and_then(|text| self.map.get(text)).or(self.otherwise.as_ref());
        known.cloned().map(Some).ok_or_else(|| {
            let reason = format!("{} is {found}, which the mapping's map lacks; add it there, or an else", self.place);
            Problem::new(Code::WrongType, None, reason)
        })
    }
}
