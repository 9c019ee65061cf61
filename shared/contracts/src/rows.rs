//! Rows of a store, and what a checkpoint does to them: what the machine gives, and a store keeps.

use std::collections::BTreeSet;

/// A key and its value.
pub type Row = (Vec<u8>, Vec<u8>);

/// What a checkpoint changes. A key that is both put and removed is put.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Changes {
    pub put: Vec<Row>,
    pub remove: Vec<Vec<u8>>,
}

impl Changes {
    pub fn rows(&self) -> usize {
        self.put.len() + self.remove.len()
    }

    pub fn bytes(&self) -> usize {
        self.put.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>()
            + self.remove.iter().map(Vec::len).sum::<usize>()
    }

    /// These changes and then `later` ones, as one.
    pub fn then(&mut self, later: Self) {
        let put = later.put.iter().map(|(key, _)| key.as_slice());
        let touched: BTreeSet<&[u8]> = put.chain(later.remove.iter().map(Vec::as_slice)).collect();
        self.put.retain(|(key, _)| !touched.contains(key.as_slice()));
        self.put.extend(later.put);
        self.remove.extend(later.remove);
    }
}
