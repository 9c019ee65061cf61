//! Texts with how often each occurs, for an exact count of different ones.

use compact_str::CompactString;
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

/// Texts with how often each occurs; zero counts are not kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Distinct {
    values: HashMap<CompactString, i64, foldhash::fast::FixedState>,
}

impl Distinct {
    pub(super) fn add(&mut self, value: &str, n: i64) {
        match self.values.get_mut(value) {
            Some(count) if *count + n == 0 => {
                self.values.remove(value);
            }
            Some(count) => *count += n,
            None => {
                self.values.insert(CompactString::new(value), n);
            }
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for (value, n) in &other.values {
            self.add(value, *n);
        }
    }

    pub(super) fn negate(&mut self) {
        self.values.values_mut().for_each(|n| *n = -*n);
    }

    pub(super) fn is_sane(&self) -> bool {
        self.values.values().all(|n| *n != 0 && super::is_sane(*n))
    }

    /// The texts, in no particular order, each with how often it occurs.
    pub fn iter(&self) -> impl Iterator<Item = (&str, i64)> {
        self.values.iter().map(|(text, n)| (text.as_str(), *n))
    }

    /// How many different texts there are.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
}
