//! How much of what tenants share one of them may take.

use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

/// What `events_per_second` may be: from one to more than a partition can take.
pub const EVENTS_PER_SECOND: RangeInclusive<u64> = 1..=10_000_000;
/// What `bytes_per_second` may be: from a small message to more than a broker can take.
pub const BYTES_PER_SECOND: RangeInclusive<u64> = 1_000..=10_000_000_000;
/// What `entities` may be: from one to more than a machine can keep.
pub const ENTITIES: RangeInclusive<u64> = 1..=1_000_000_000;
/// What `groups` may be: from one to more than a question can be made of.
pub const GROUPS: RangeInclusive<u64> = 1..=10_000_000;
/// What `feeds` may be: none, to as many as there can be views.
pub const FEEDS: RangeInclusive<u64> = 0..=256;

/// The quotas of a tenant. What is absent is not limited for it, or by the settings of the cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Quotas {
    /// Events that are taken in, on average; see [`EVENTS_PER_SECOND`].
    pub events_per_second: Option<u64>,
    /// Bytes of messages that are taken in, on average; see [`BYTES_PER_SECOND`].
    pub bytes_per_second: Option<u64>,
    /// Entities, and facts with an id, that are kept of each kind; see [`ENTITIES`].
    pub entities: Option<u64>,
    /// Groups that a view makes on one business day; see [`GROUPS`].
    pub groups: Option<u64>,
    /// Live feeds in each replica of its shard; see [`FEEDS`].
    pub feeds: Option<u64>,
}

/// A quota that is out of its range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the quota {name} is {value}; it may be {} to {}", range.start(), range.end())]
pub struct QuotaError {
    pub name: &'static str,
    value: u64,
    range: RangeInclusive<u64>,
}

impl Quotas {
    /// The names of all quotas, in the order of the fields.
    pub const NAMES: [&'static str; 5] = ["events_per_second", "bytes_per_second", "entities", "groups", "feeds"];

    /// Whether nothing is limited.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Each quota that is set, by name.
    pub fn set(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let values = [self.events_per_second, self.bytes_per_second, self.entities, self.groups, self.feeds];
        Self::NAMES.into_iter().zip(values).filter_map(|(name, value)| Some((name, value?)))
    }

    /// Sets the quota of that name, one of [`Quotas::NAMES`]; others are passed over.
    pub fn put(&mut self, name: &str, value: u64) {
        let quota = match name {
            "events_per_second" => &mut self.events_per_second,
            "bytes_per_second" => &mut self.bytes_per_second,
            "entities" => &mut self.entities,
            "groups" => &mut self.groups,
            "feeds" => &mut self.feeds,
            _ => return,
        };
        *quota = Some(value);
    }

    /// # Errors
    /// The first quota that is out of its range.
    pub fn check(&self) -> Result<(), QuotaError> {
        let ranges = [EVENTS_PER_SECOND, BYTES_PER_SECOND, ENTITIES, GROUPS, FEEDS];
        for (name, value) in self.set() {
            let place = Self::NAMES.iter().position(|known| *known == name).expect("the names are those of the table");
            if !ranges[place].contains(&value) {
                return Err(QuotaError { name, value, range: ranges[place].clone() });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_quota_has_a_range_that_is_told() {
        let mut all = Quotas::default();
        for (number, name) in (1_000..).zip(Quotas::NAMES) {
            assert!(all.set().all(|(known, _)| known != name));
            all.put(name, number);
            assert!(all.set().any(|known| known == (name, number)));
        }
        let error = all.check().unwrap_err();
        assert_eq!(error.to_string(), "the quota feeds is 1004; it may be 0 to 256");
        for name in &Quotas::NAMES[..4] {
            let mut none = Quotas::default();
            none.put(name, 0);
            assert_eq!(none.check().unwrap_err().name, *name);
            none.put(name, u64::MAX);
            assert_eq!(none.check().unwrap_err().name, *name);
        }
        all.put("feeds", 0);
        assert_eq!(all.check(), Ok(()));
        assert!(Quotas::default().is_none() && !all.is_none());
    }

    #[test]
    fn what_is_absent_is_not_limited_and_what_is_unknown_is_refused() {
        let read = |text: &str| serde_json::from_str::<Quotas>(text);
        assert_eq!(read("{}").unwrap(), Quotas::default());
        assert_eq!(read(r#"{"groups":7}"#).unwrap(), Quotas { groups: Some(7), ..Quotas::default() });
        assert!(read(r#"{"events":7}"#).unwrap_err().to_string().contains("unknown field"));
    }
}
