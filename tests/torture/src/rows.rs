//! The rows of a checkpoint, from its number alone.

use daybook_random::Random;
use daybook_runtime::store::{Changes, Row};
use std::collections::BTreeMap;

/// Keys there are.
pub const KEYS: u64 = 4_000;
/// The key whose value is the checkpoint's number.
pub const NUMBER: &[u8] = b"number";
/// Of how many checkpoints one removes some rows.
const REMOVING: u64 = 5;

fn key(number: u64) -> Vec<u8> {
    [b"d", &number.to_be_bytes()[..]].concat()
}

/// The number of the checkpoint that a row is of, and bytes that do not compress, a few of them or many.
fn value(checkpoint: u64, key: u64) -> Vec<u8> {
    let mut random = Random::new(checkpoint ^ (key << 32));
    let length = if random.below(64) == 0 { 20_000 } else { 40 + random.below(400) as usize };
    let mut value = vec![0; length];
    blake3::Hasher::new().update(&checkpoint.to_be_bytes()).update(&key.to_be_bytes()).finalize_xof().fill(&mut value);
    value[..8].copy_from_slice(&checkpoint.to_be_bytes());
    value
}

/// What checkpoint `number`, counted from 1, changes.
pub fn changes(seed: u64, number: u64) -> Changes {
    let mut random = Random::new(seed ^ number.wrapping_mul(0x0001_0000_0001));
    let count = KEYS / 8 + random.below(KEYS / 2);
    let from = random.below(KEYS);
    let mut changes = Changes::default();
    let is_removing = number.is_multiple_of(REMOVING);
    for at in 0..count {
        let at = (from + at) % KEYS;
        match is_removing && at.is_multiple_of(3) {
            true => changes.remove.push(key(at)),
            false => changes.put.push((key(at), value(number, at))),
        }
    }
    changes.put.push((NUMBER.to_vec(), number.to_be_bytes().to_vec()));
    changes
}

/// Everything that is in a store after checkpoint `number`, in order of keys; made step by step from the one before.
#[derive(Default)]
pub struct Model {
    seed: u64,
    number: u64,
    /// By key, the checkpoint that its value is of.
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Model {
    pub fn new(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    /// Goes on to checkpoint `number`.
    pub fn go_to(&mut self, number: u64) {
        assert!(number >= self.number, "checkpoint {number} is older than {}", self.number);
        while self.number < number {
            self.number += 1;
            let changes = changes(self.seed, self.number);
            changes.remove.iter().for_each(|key| drop(self.rows.remove(key)));
            self.rows.extend(changes.put);
        }
    }

    /// Whether these are the rows of its checkpoint.
    pub fn is(&self, rows: &[Row]) -> bool {
        rows.len() == self.rows.len()
            && rows.iter().zip(&self.rows).all(|((k, v), (key, value))| k == key && v == value)
    }
}

/// The checkpoint that the rows say they are of; 0 when there are none.
pub fn number(rows: &[Row]) -> u64 {
    let value = rows.iter().find(|(key, _)| key == NUMBER).map(|(_, value)| value.as_slice());
    value.map_or(0, |value| u64::from_be_bytes(value.try_into().unwrap()))
}
