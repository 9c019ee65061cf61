//! Edits of stored rows that leave them readable for the most part: a value of MessagePack replaced by a number or by
//! another value, a row lost or put under another key. Fuzzers mutate the list of edits instead of the rows.

use crate::world::Rows;
use daybook_random::Random;
use std::ops::Range;

/// Bytes of an edit: which row, what to do, where, and a number.
const EDIT_BYTES: usize = 12;
/// Most edits of one input.
const MAX_EDITS: usize = 32;

/// Applies the edits that `list` holds.
pub fn edit(rows: &mut Rows, list: &[u8]) {
    for edit in list.chunks_exact(EDIT_BYTES).take(MAX_EDITS) {
        let (head, number) = edit.split_at(4);
        let number = i64::from_be_bytes(number.try_into().expect("eight bytes"));
        let Some(key) = rows.keys().nth(usize::from(head[0]) % rows.len().max(1)).cloned() else { return };
        let at = usize::from(u16::from_be_bytes([head[2], head[3]]));
        match head[1] % 8 {
            0..=3 => replace(rows, &key, at, &packed(number)),
            4 => {
                let value = rows[&key].clone();
                let ranges = values(&value);
                let Some(from) = ranges.get(number.unsigned_abs() as usize % ranges.len().max(1)) else { continue };
                replace(rows, &key, at, &value[from.clone()]);
            }
            5 => {
                let value = rows.get_mut(&key).expect("a key of the rows");
                if let Some(byte) = value.get_mut(at) {
                    *byte = number as u8;
                }
            }
            6 => drop(rows.remove(&key)),
            _ => {
                let value = rows.remove(&key).expect("a key of the rows");
                let mut other = key;
                let tail = other.len().saturating_sub(1 + at % 8);
                let width = (other.len() - tail).min(8);
                other[tail..tail + width].copy_from_slice(&number.to_be_bytes()[8 - width..]);
                rows.insert(other, value);
            }
        }
    }
}

/// So many edits, none like the other.
pub fn some(count: usize) -> Vec<u8> {
    let mut random = Random::new(count as u64);
    let edit = |random: &mut Random| {
        let number = match random.below(4) {
            0 => random.next_u64() as i64,
            1 => i64::MAX,
            _ => random.below(300) as i64,
        };
        let head = [random.next_u64() as u8, random.next_u64() as u8, random.below(3) as u8, random.next_u64() as u8];
        [&head[..], &number.to_be_bytes()].concat()
    };
    (0..count).flat_map(|_| edit(&mut random)).collect()
}

fn replace(rows: &mut Rows, key: &[u8], at: usize, with: &[u8]) {
    let value = rows.get_mut(key).expect("a key of the rows");
    let ranges = values(value);
    if let Some(range) = ranges.get(at % ranges.len().max(1)) {
        value.splice(range.clone(), with.iter().copied());
    }
}

fn packed(number: i64) -> Vec<u8> {
    rmp_serde::to_vec(&number).expect("a number can be packed")
}

/// Where the single values of MessagePack stand that are no lists or maps, as far as it can be read.
fn values(bytes: &[u8]) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let mut at = 0;
    let unsigned = |at: usize, width: usize| -> Option<usize> {
        Some(bytes.get(at..at + width)?.iter().fold(0, |n, byte| (n << 8) | usize::from(*byte)))
    };
    while let Some(marker) = bytes.get(at) {
        let (length, is_single) = match marker {
            0x80..=0x9f => (Some(1), false),
            0xdc | 0xde => (Some(3), false),
            0xdd | 0xdf => (Some(5), false),
            0xa0..=0xbf => (Some(1 + usize::from(marker & 0x1f)), true),
            0xc4 | 0xd9 => (unsigned(at + 1, 1).map(|length| 2 + length), true),
            0xc5 | 0xda => (unsigned(at + 1, 2).map(|length| 3 + length), true),
            0xc6 | 0xdb => (unsigned(at + 1, 4).map(|length| 5 + length), true),
            0xcc | 0xd0 => (Some(2), true),
            0xcd | 0xd1 => (Some(3), true),
            0xca | 0xce | 0xd2 => (Some(5), true),
            0xcb | 0xcf | 0xd3 => (Some(9), true),
            _ => (Some(1), true),
        };
        let Some(end) = length.map(|length| at.saturating_add(length)).filter(|end| *end <= bytes.len()) else { break };
        if is_single {
            ranges.push(at..end);
        }
        at = end;
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::world;

    #[test]
    fn values_are_found_to_the_end_and_can_be_replaced() {
        let bytes = rmp_serde::to_vec(&(1_u8, "two", vec![300_u16], Some(-4_i64))).unwrap();
        let found: Vec<&[u8]> = values(&bytes).into_iter().map(|range| &bytes[range]).collect();
        assert_eq!(found, [&[1][..], b"\xa3two", &[0xcd, 1, 44], &[0xfc]]);
        let mut rows = Rows::from([(b"k".to_vec(), bytes)]);
        replace(&mut rows, b"k", 2, &packed(7));
        assert_eq!(rmp_serde::from_slice::<(u8, String, Vec<u16>, i64)>(&rows[&b"k"[..]]).unwrap().2, [7]);
    }

    #[test]
    fn edits_change_something_and_are_the_same_every_time() {
        let edited = |list: &[u8]| {
            let mut rows = world().rows.clone();
            edit(&mut rows, list);
            rows
        };
        assert_eq!(edited(b"too short"), world().rows);
        assert_ne!(edited(&some(8)), world().rows);
        assert_eq!(edited(&some(8)), edited(&some(8)));
    }
}
