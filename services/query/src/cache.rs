//! A bounded store of what was worked out before: the entries used longest ago make room.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// At most so many entries of at most so many bytes in all, as their owner counts them.
pub struct Cache<K, V> {
    entries: HashMap<K, Entry<V>>,
    /// Keys in the order of their last use.
    by_use: BTreeMap<u64, K>,
    uses: u64,
    bytes: usize,
    max_entries: usize,
    max_bytes: usize,
}

struct Entry<V> {
    value: V,
    bytes: usize,
    used: u64,
}

impl<K: Clone + Eq + Hash, V: Clone> Cache<K, V> {
    pub fn new(max_entries: usize, max_bytes: usize) -> Self {
        Self { entries: HashMap::new(), by_use: BTreeMap::new(), uses: 0, bytes: 0, max_entries, max_bytes }
    }

    /// The value, which counts as used now.
    pub fn get(&mut self, key: &K) -> Option<V> {
        let entry = self.entries.get_mut(key)?;
        self.uses += 1;
        let key = self.by_use.remove(&entry.used).expect("every entry stands in the order of use");
        entry.used = self.uses;
        self.by_use.insert(self.uses, key);
        Some(entry.value.clone())
    }

    /// Keeps the value instead of what the key had. One that is larger than all room is not kept.
    pub fn put(&mut self, key: K, value: V, bytes: usize) {
        self.remove(&key);
        if bytes > self.max_bytes || self.max_entries == 0 {
            return;
        }
        while self.entries.len() >= self.max_entries || self.bytes + bytes > self.max_bytes {
            let (_, oldest) = self.by_use.pop_first().expect("what is kept takes room");
            self.remove(&oldest);
        }
        self.uses += 1;
        self.bytes += bytes;
        self.by_use.insert(self.uses, key.clone());
        self.entries.insert(key, Entry { value, bytes, used: self.uses });
    }

    pub fn remove(&mut self, key: &K) {
        if let Some(entry) = self.entries.remove(key) {
            self.by_use.remove(&entry.used);
            self.bytes -= entry.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(cache: &Cache<&'static str, i32>) -> Vec<&'static str> {
        cache.by_use.values().copied().collect()
    }

    #[test]
    fn the_entry_used_longest_ago_makes_room() {
        let mut cache = Cache::new(2, 100);
        cache.put("a", 1, 1);
        cache.put("b", 2, 1);
        assert_eq!(cache.get(&"a"), Some(1));
        cache.put("c", 3, 1);
        assert_eq!((cache.get(&"b"), cache.entries.len()), (None, 2));
        assert_eq!(keys(&cache), ["a", "c"]);
    }

    #[test]
    fn bytes_are_bounded_whatever_their_spread() {
        let mut cache = Cache::new(10, 10);
        for (key, bytes) in [("a", 4), ("b", 4), ("c", 2)] {
            cache.put(key, 0, bytes);
        }
        assert_eq!((cache.bytes, keys(&cache).len()), (10, 3));
        cache.put("d", 0, 5);
        assert_eq!((cache.bytes, keys(&cache)), (7, vec!["c", "d"]));
        cache.put("e", 0, 11);
        assert_eq!((cache.bytes, keys(&cache)), (7, vec!["c", "d"]), "what fits nowhere drives nothing out");
        cache.put("c", 0, 11);
        assert_eq!((cache.bytes, keys(&cache)), (5, vec!["d"]), "nor does the old value stay for the new");
        cache.put("d", 9, 10);
        assert_eq!((cache.bytes, cache.get(&"d")), (10, Some(9)));
    }
}
