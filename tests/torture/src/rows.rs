//! The rows of a checkpoint, from its number alone.

use daybook_random::Random;
use daybook_runtime::store::{Changes, Pass, Passed, Row, RowSum};
use std::collections::{BTreeMap, BTreeSet};

/// Keys there are.
pub const KEYS: u64 = 4_000;
/// The key whose value is the checkpoint's number.
pub const NUMBER: &[u8] = b"number";
/// Of how many checkpoints one removes some rows.
const REMOVING: u64 = 5;
/// Keys of a group, whose rows one summary speaks for.
const GROUP: u64 = 16;

/// Bytes of a row in a summary: the number of its key, its length and its hash.
const SUMMARY_BYTES: usize = 8 + 4 + 16;

fn key(number: u64) -> Vec<u8> {
    [&group_key(number / GROUP, b'e')[..], &number.to_be_bytes()].concat()
}

fn group_key(group: u64, what: u8) -> Vec<u8> {
    [b"d", &group.to_be_bytes()[..], &[what]].concat()
}

/// The group that a key's row is a summary of, or else is in, and which of both.
fn group_of(key: &[u8]) -> Option<(u64, bool)> {
    let (group, rest) = key.strip_prefix(b"d")?.split_first_chunk()?;
    Some((u64::from_be_bytes(*group), rest == b"c"))
}

/// Passes the rows of a group behind its summary.
pub const PASS: Pass = |(key, value)| {
    let (group, true) = group_of(key)? else { return None };
    let rows = summarized(value);
    Some(Passed { rows: rows.into_iter().collect(), next: group_key(group, b'f') })
};

fn summarized(value: &[u8]) -> BTreeMap<Vec<u8>, RowSum> {
    let row = |row: &[u8; SUMMARY_BYTES]| {
        let (number, rest) = row.split_first_chunk().unwrap();
        let (bytes, hash) = rest.split_first_chunk().unwrap();
        let sum = RowSum { bytes: u32::from_be_bytes(*bytes), hash: hash.try_into().unwrap() };
        (key(u64::from_be_bytes(*number)), sum)
    };
    value.as_chunks().0.iter().map(row).collect()
}

/// What is known of the rows of each group.
#[derive(Default)]
pub struct Summaries(BTreeMap<u64, BTreeMap<Vec<u8>, RowSum>>);

impl Summaries {
    /// Of a store in which these rows were read, all of them or those that are not passed.
    pub fn of(rows: &[Row]) -> Self {
        let mut summaries = Self::default();
        for (key, value) in rows {
            match group_of(key) {
                Some((group, true)) => summaries.0.entry(group).or_default().extend(summarized(value)),
                Some((group, false)) => {
                    summaries.0.entry(group).or_default().insert(key.clone(), RowSum::of(key, value));
                }
                None => {}
            }
        }
        summaries
    }

    /// Adds the summaries of the groups that are changed.
    pub fn add_to(&mut self, changes: &mut Changes) {
        let mut changed = BTreeSet::new();
        for key in &changes.remove {
            let (group, _) = group_of(key).unwrap();
            self.0.entry(group).or_default().remove(key);
            changed.insert(group);
        }
        for (key, value) in &changes.put {
            let Some((group, _)) = group_of(key) else { continue };
            self.0.entry(group).or_default().insert(key.clone(), RowSum::of(key, value));
            changed.insert(group);
        }
        for group in changed {
            let row = |(key, row): (&Vec<u8>, &RowSum)| {
                [&key.last_chunk::<8>().unwrap()[..], &row.bytes.to_be_bytes(), &row.hash].concat()
            };
            let summary: Vec<u8> = self.0[&group].iter().flat_map(row).collect();
            changes.put.push((group_key(group, b'c'), summary));
        }
    }
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

    /// Whether these are the rows of its checkpoint, beside summaries.
    pub fn is(&self, rows: &[Row]) -> bool {
        let is_summary = |key: &[u8]| group_of(key).is_some_and(|(_, is_summary)| is_summary);
        rows.iter().filter(|(key, _)| !is_summary(key)).map(|(key, value)| (key, value)).eq(&self.rows)
    }

    /// The keys of the rows of its checkpoint.
    pub fn keys(&self) -> Vec<Vec<u8>> {
        self.rows.keys().cloned().collect()
    }
}

/// The checkpoint that the rows say they are of; 0 when there are none.
pub fn number(rows: &[Row]) -> u64 {
    let value = rows.iter().find(|(key, _)| key == NUMBER).map(|(_, value)| value.as_slice());
    value.map_or(0, |value| u64::from_be_bytes(value.try_into().unwrap()))
}
