//! A filter of hashes: it never says that a hash is not there which is, and of a thousand others it lets about one pass.
//!
//! It is a binary fuse filter of four segments (Graf and Lemire, "Binary Fuse Filters", 2022) with fingerprints of ten bits. A set of
//! 200,000 takes some 11 bits a hash; smaller sets take more. It is made once, of all hashes, and never changes.

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

/// Bits of a fingerprint; even, so that one lies in two bytes.
const BITS: usize = 10;
const MASK: u16 = (1 << BITS) - 1;
/// The places in which the fingerprint of a hash is spread.
const PLACES: usize = 4;
/// Seeds that are tried. One in a few fails; if all do, the filter lets everything pass.
const MAX_SEEDS: u64 = 100;
/// Bits of the longest segment.
const MAX_SEGMENT_BITS: u32 = 18;

/// A filter as it is stored.
#[derive(Serialize, Deserialize)]
pub struct FilterRow {
    seed: u64,
    segment_bits: u32,
    firsts: u32,
    fingerprints: ByteBuf,
}

impl FilterRow {
    /// The filter; `None` if it is none.
    pub fn read(self) -> Option<Filter> {
        let Self { seed, segment_bits, firsts, fingerprints } = self;
        let filter = Filter { seed, segment_bits, firsts, fingerprints: fingerprints.into_vec().into() };
        // So that every place is one of its own.
        let is_sound = segment_bits <= MAX_SEGMENT_BITS
            && firsts > 0
            && firsts.is_multiple_of(1 << segment_bits)
            && (filter.fingerprints.is_empty() || filter.fingerprints.len() == filter.packed_bytes());
        is_sound.then_some(filter)
    }
}

/// The filter.
#[derive(Clone, Debug)]
pub struct Filter {
    seed: u64,
    segment_bits: u32,
    /// How many places may be the first one of a hash.
    firsts: u32,
    /// Packed. Empty if none could be made.
    fingerprints: Box<[u8]>,
}

impl Filter {
    /// The filter of these hashes, each of which must be there once only.
    pub fn of(hashes: &[u64]) -> Self {
        let mut filter = Self::sized(hashes.len());
        let mut making = Making::new(filter.places());
        for seed in 0..MAX_SEEDS {
            filter.seed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x2545_f491_4f6c_dd1d;
            if making.peel(&filter, hashes) {
                filter.fill(&making.peeled);
                // A filter that omits one would let an id count twice.
                if hashes.iter().all(|hash| filter.may_hold(*hash)) {
                    return filter;
                }
            }
        }
        Self { fingerprints: Box::default(), ..filter }
    }

    /// Whether the hash may be there.
    pub fn may_hold(&self, hash: u64) -> bool {
        if self.fingerprints.is_empty() {
            return true;
        }
        let mixed = self.mixed(hash);
        let [a, b, c, d] = self.places_of(mixed);
        self.get(a) ^ self.get(b) ^ self.get(c) ^ self.get(d) == fingerprint(mixed)
    }

    /// As it is stored.
    pub fn row(&self) -> FilterRow {
        let Self { seed, segment_bits, firsts, fingerprints } = self.clone();
        FilterRow { seed, segment_bits, firsts, fingerprints: fingerprints.into_vec().into() }
    }

    /// Bytes of memory beside itself.
    pub fn bytes(&self) -> usize {
        self.fingerprints.len()
    }

    fn sized(count: usize) -> Self {
        let count = count.max(2) as f64;
        let segment_bits = ((count.ln() / 2.91_f64.ln() - 0.5).floor().max(0.0) as u32).min(MAX_SEGMENT_BITS);
        let factor = (0.77 + 0.305 * 600_000_f64.ln() / count.ln()).max(1.075);
        let segment = 1_u64 << segment_bits;
        let capacity = (count * factor).round() as u64;
        let segments = capacity.div_ceil(segment).saturating_sub(PLACES as u64 - 1).max(1);
        let firsts = u32::try_from(segments * segment).expect("fewer hashes than a filter has places for");
        Self { seed: 0, segment_bits, firsts, fingerprints: Box::default() }
    }

    /// How many places there are.
    fn places(&self) -> usize {
        self.firsts as usize + ((PLACES - 1) << self.segment_bits)
    }

    /// Bytes of all fingerprints.
    fn packed_bytes(&self) -> usize {
        (self.places() * BITS).div_ceil(8) + 1
    }

    fn mixed(&self, hash: u64) -> u64 {
        let mut mixed = hash.wrapping_add(self.seed);
        mixed = (mixed ^ mixed >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
        mixed = (mixed ^ mixed >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        mixed ^ mixed >> 33
    }

    /// The places of a mixed hash, one in each of four segments that lie together.
    fn places_of(&self, mixed: u64) -> [usize; PLACES] {
        let first = (u128::from(mixed) * u128::from(self.firsts)) >> 64;
        let (first, segment) = (first as u64, 1_u64 << self.segment_bits);
        let within = |bits: u64| bits & (segment - 1);
        [
            first,
            (first + segment) ^ within(mixed),
            (first + 2 * segment) ^ within(mixed >> 18),
            (first + 3 * segment) ^ within(mixed >> 36),
        ]
        .map(|place| place as usize)
    }

    fn get(&self, place: usize) -> u16 {
        let bit = place * BITS;
        let pair = [self.fingerprints[bit / 8], self.fingerprints[bit / 8 + 1]];
        (u16::from_le_bytes(pair) >> (bit % 8)) & MASK
    }

    /// Sets the bits of a fingerprint where all are zero.
    fn set(&mut self, place: usize, value: u16) {
        let bit = place * BITS;
        let [low, high] = (value << (bit % 8)).to_le_bytes();
        self.fingerprints[bit / 8] |= low;
        self.fingerprints[bit / 8 + 1] |= high;
    }

    /// Gives each hash its fingerprint, the one that was peeled last first: none of those after it uses the place that it has alone.
    fn fill(&mut self, peeled: &[(u64, u8)]) {
        self.fingerprints = vec![0; self.packed_bytes()].into();
        for (mixed, alone) in peeled.iter().rev() {
            let places = self.places_of(*mixed);
            let others = (0..PLACES).filter(|place| place != &usize::from(*alone));
            let value = others.fold(fingerprint(*mixed), |value, place| value ^ self.get(places[place]));
            self.set(places[usize::from(*alone)], value);
        }
    }
}

fn fingerprint(mixed: u64) -> u16 {
    (mixed ^ mixed >> 32) as u16 & MASK
}

/// What a filter is made with.
struct Making {
    /// Of each place, how many hashes use it, and their numbers of it and the hashes themselves, each put together by xor.
    counts: Vec<u32>,
    numbers: Vec<u8>,
    mixed: Vec<u64>,
    alone: Vec<u32>,
    /// Each hash, mixed, with the number of the place that none of those after it uses.
    peeled: Vec<(u64, u8)>,
}

impl Making {
    fn new(places: usize) -> Self {
        Self {
            counts: vec![0; places],
            numbers: vec![0; places],
            mixed: vec![0; places],
            alone: Vec::new(),
            peeled: Vec::new(),
        }
    }

    /// Takes hashes away that have a place of their own until none is left; false if that is not possible with the filter's seed.
    fn peel(&mut self, filter: &Filter, hashes: &[u64]) -> bool {
        self.counts.fill(0);
        self.numbers.fill(0);
        self.mixed.fill(0);
        self.alone.clear();
        self.peeled.clear();
        for hash in hashes {
            self.toggle(filter, filter.mixed(*hash), |count| *count += 1);
        }
        let lonely = self.counts.iter().zip(0..).filter(|(count, _)| **count == 1).map(|(_, place)| place);
        self.alone.extend(lonely);
        while let Some(place) = self.alone.pop() {
            let at = place as usize;
            if self.counts[at] != 1 {
                continue;
            }
            let (mixed, number) = (self.mixed[at], self.numbers[at]);
            self.peeled.push((mixed, number));
            self.toggle(filter, mixed, |count| *count -= 1);
            let lonely = filter.places_of(mixed).into_iter().filter(|place| self.counts[*place] == 1);
            self.alone.extend(lonely.map(|place| place as u32));
        }
        self.peeled.len() == hashes.len()
    }

    /// Puts a hash into its places, or takes it out.
    fn toggle(&mut self, filter: &Filter, mixed: u64, change: impl Fn(&mut u32)) {
        for (number, place) in (0..).zip(filter.places_of(mixed)) {
            change(&mut self.counts[place]);
            self.numbers[place] ^= number;
            self.mixed[place] ^= mixed;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pages::stable_hash;

    fn hashes(from: u64, count: usize) -> Vec<u64> {
        let mut hashes: Vec<u64> =
            (from..).take(count).map(|number| stable_hash(1, format!("o-{number}").as_bytes())).collect();
        hashes.sort_unstable();
        hashes.dedup();
        hashes
    }

    #[test]
    fn nothing_that_is_there_is_missing_and_little_else_passes() {
        let others = hashes(1 << 40, 20_000);
        for count in (0..300).chain([1_000, 5_000, 70_000]) {
            let hashes = hashes(0, count);
            let filter = Filter::of(&hashes);
            assert!(count < 2 || !filter.fingerprints.is_empty(), "{count}");
            assert!(hashes.iter().all(|hash| filter.may_hold(*hash)), "{count}");
            let passed = others.iter().filter(|hash| filter.may_hold(**hash)).count();
            assert!(passed < 60, "{passed} of 20,000 pass a filter of {count}");
        }
    }

    #[test]
    fn a_large_one_takes_few_bits() {
        let hashes = hashes(0, 200_000);
        let bits = Filter::of(&hashes).bytes() as f64 * 8.0 / hashes.len() as f64;
        assert!(bits < 11.4, "{bits}");
    }

    #[test]
    fn of_hashes_that_cannot_be_told_apart_everything_passes() {
        let filter = Filter::of(&[7, 7]);
        assert!(filter.may_hold(7) && filter.may_hold(8) && filter.bytes() == 0);
    }
}
