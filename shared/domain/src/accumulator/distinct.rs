//! Texts, each with how often it occurs or not, for an exact count of different ones.

use super::chunks::insert;
use super::counts::list_of;
use compact_str::CompactString;
use hashbrown::HashMap;
use hashbrown::hash_map::EntryRef;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Most texts of a list.
const FEW: usize = 8;
/// For so many texts there is room at once where several sets become one, even if they prove to be fewer.
const FEW_AT_ONCE: usize = 1_024;

/// Texts with how often each occurs; zero counts are not kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Distinct {
    values: Texts<i64>,
}

/// Texts that are never taken back, so that nothing needs to be known of how often each occurs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    values: Texts<()>,
}

impl Distinct {
    pub(super) fn add(&mut self, value: &str, n: i64) {
        match self.values.get_mut(value) {
            Some(count) if *count + n == 0 => self.values.remove(value),
            Some(count) => *count += n,
            None => self.values.insert(value, n),
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for (value, n) in other.iter() {
            self.add(value, n);
        }
    }

    /// What several make together.
    pub(super) fn merged<'a>(parts: impl Iterator<Item = &'a Self> + Clone) -> Self {
        let mut values = Texts::merged(parts.map(|part| &part.values), |count, n| *count += n);
        values.retain(|n| *n != 0);
        Self { values }
    }

    pub(super) fn is_sane(&self) -> bool {
        self.iter().all(|(_, n)| n != 0 && super::is_sane(n))
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
        self.len() == 0
    }
}

impl Seen {
    pub(super) fn of<'t>(texts: impl Iterator<Item = &'t str>) -> Self {
        let mut seen = Self::default();
        for text in texts {
            seen.add(text);
        }
        seen
    }

    /// Whether it is new.
    pub(super) fn add(&mut self, value: &str) -> bool {
        let is_new = self.values.get(value).is_none();
        if is_new {
            self.values.insert(value, ());
        }
        is_new
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for value in other.iter() {
            self.add(value);
        }
    }

    /// What several have seen together.
    pub(super) fn merged<'a>(parts: impl Iterator<Item = &'a Self> + Clone) -> Self {
        Self { values: Texts::merged(parts.map(|part| &part.values), |(), ()| ()) }
    }

    pub(super) fn is_within(&self, wider: &Self) -> bool {
        self.values.iter().all(|(text, ())| wider.values.get(text).is_some())
    }

    /// The texts, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.values.iter().map(|(text, ())| text.as_str())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A sorted list while there are few, as most groups have; a map from then on.
#[derive(Clone, Debug)]
pub(super) enum Texts<N> {
    Few(Vec<(CompactString, N)>),
    /// In a box, so that both are of the same size.
    Many(Box<HashMap<CompactString, N, foldhash::fast::FixedState>>),
}

/// Where the text is in a list, or belongs.
fn position<N>(list: &[(CompactString, N)], text: &str) -> Result<usize, usize> {
    list.binary_search_by(|(known, _)| known.as_str().cmp(text))
}

impl<N> Texts<N> {
    /// Puts a text in that is not there; a list may become a map by that.
    pub(super) fn insert(&mut self, text: &str, n: N) {
        let new = (CompactString::new(text), n);
        match self {
            Self::Few(list) if list.len() < FEW => {
                let at = position(list, text).unwrap_or_else(|at| at);
                insert(list, at, new);
            }
            Self::Few(list) => {
                let map = std::mem::take(list).into_iter().chain([new]).collect();
                *self = Self::Many(Box::new(map));
            }
            Self::Many(map) => drop(map.insert(new.0, new.1)),
        }
    }

    pub(super) fn remove(&mut self, text: &str) {
        match self {
            Self::Few(list) => drop(position(list, text).map(|at| list.remove(at))),
            Self::Many(map) => drop(map.remove(text)),
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Few(list) => list.len(),
            Self::Many(map) => map.len(),
        }
    }

    /// One of the two is empty.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&CompactString, &N)> {
        let (list, map) = match self {
            Self::Few(list) => (list.as_slice(), None),
            Self::Many(map) => (&[][..], Some(map.iter())),
        };
        list.iter().map(|(text, n)| (text, n)).chain(map.into_iter().flatten())
    }

    fn get(&self, text: &str) -> Option<&N> {
        match self {
            Self::Few(list) => position(list, text).ok().map(|at| &list[at].1),
            Self::Many(map) => map.get(text),
        }
    }

    pub(super) fn get_mut(&mut self, text: &str) -> Option<&mut N> {
        match self {
            Self::Few(list) => position(list, text).ok().map(|at| &mut list[at].1),
            Self::Many(map) => map.get_mut(text),
        }
    }
}

impl<N: Clone> Texts<N> {
    /// All texts of several; `add` says what becomes of one that is in more than one of them.
    fn merged<'a>(parts: impl Iterator<Item = &'a Self> + Clone, add: impl Fn(&mut N, &N)) -> Self
    where
        N: 'a,
    {
        let (longest, all) =
            parts.clone().map(Self::len).fold((0, 0), |(longest, all), len| (len.max(longest), all + len));
        // The same texts may be in all parts: where there are many, room grows as they come.
        let room = all.min(longest.max(FEW_AT_ONCE));
        let mut map = HashMap::with_capacity_and_hasher(room, foldhash::fast::FixedState::default());
        for (text, n) in parts.flat_map(Self::iter) {
            match map.entry_ref(text) {
                EntryRef::Occupied(mut entry) => add(entry.get_mut(), n),
                EntryRef::Vacant(entry) => drop(entry.insert(n.clone())),
            }
        }
        Self::Many(Box::new(map))
    }

    fn retain(&mut self, keeps: impl Fn(&N) -> bool) {
        match self {
            Self::Few(list) => list.retain(|(_, n)| keeps(n)),
            Self::Many(map) => map.retain(|_, n| keeps(n)),
        }
    }
}

impl<N> Default for Texts<N> {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl<N: PartialEq> PartialEq for Texts<N> {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().all(|(text, n)| other.get(text) == Some(n))
    }
}

impl<N: Eq> Eq for Texts<N> {}

impl<N: Serialize> Serialize for Texts<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let mut map = serializer.serialize_map(Some(self.len()))?;
        for (text, n) in self.iter() {
            map.serialize_entry(text, n)?;
        }
        map.end()
    }
}

impl<'de, N: Deserialize<'de>> Deserialize<'de> for Texts<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let map = HashMap::deserialize(deserializer)?;
        if map.len() > FEW {
            return Ok(Self::Many(Box::new(map)));
        }
        let mut list = list_of(map.into_iter());
        list.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        Ok(Self::Few(list))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever is added in whatever order, it is what a map alone makes of it.
        #[test]
        fn few_and_many_are_what_a_map_is(changes in prop::collection::vec((0_u8..20, prop::bool::ANY), 0..100)) {
            let (mut distinct, mut map) = (Distinct::default(), HashMap::<String, i64>::new());
            for (text, is_added) in changes {
                let (text, n) = (format!("text {text}"), if is_added { 1 } else { -1 });
                distinct.add(&text, n);
                *map.entry(text).or_insert(0) += n;
                map.retain(|_, n| *n != 0);
                let held: HashMap<String, i64> = distinct.iter().map(|(text, n)| (text.to_owned(), n)).collect();
                prop_assert_eq!(&held, &map);
                prop_assert_eq!(distinct.len(), map.len());
            }
            let read: Distinct = rmp_serde::from_slice(&rmp_serde::to_vec(&distinct).unwrap()).unwrap();
            prop_assert_eq!(&read, &distinct, "though one may be a list and the other a map");
            let mut other = distinct.clone();
            other.add("another", 1);
            prop_assert!(other != distinct);
        }

        #[test]
        fn what_was_seen_is_a_set(texts in prop::collection::vec(0_u8..20, 0..100)) {
            let (mut seen, mut set) = (Seen::default(), std::collections::BTreeSet::<String>::new());
            for text in texts {
                let text = format!("text {text}");
                prop_assert_eq!(seen.add(&text), set.insert(text));
                let held: std::collections::BTreeSet<String> = seen.iter().map(str::to_owned).collect();
                prop_assert_eq!(&held, &set);
                prop_assert_eq!(seen.len(), set.len());
            }
            let read: Seen = rmp_serde::from_slice(&rmp_serde::to_vec(&seen).unwrap()).unwrap();
            prop_assert_eq!(&read, &seen);
        }
    }
}
