//! Summaries of days whose entities are in pages of their own. A restart reads a summary in the place of the day's pages, and a page when a
//! batch needs it (docs/decisions/0037).
//!
//! For each page a summary has the number of rows, their sum, and the length and hash of its stored row. For each kind it has the number of
//! entities and the sum of their ids. The hashes of the entities, of which [`Whereabouts`] keep a part, are in rows of their own. The
//! summary itself has the hashes of later entities, as long as they are few. Every entity of the day has its hash in one of these; hashes
//! of entities that left may be there too. A summary is written in the same commit as any page that it speaks of.
//!
//! [`Whereabouts`]: crate::whereabouts::Whereabouts

use super::{RestoreError, damaged, day_prefix, decode, encode, entity_key};
use crate::day::{Day, Kinds, OfKind};
use crate::entity::KindId;
use crate::pages::{PageKey, PageSum};
use daybook_contracts::rows::{Changes, Passed, ROW_SUM_BYTES, Row, RowSum};
use daybook_domain::ids::TenantId;
use daybook_domain::time::Date;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

/// Version of the stored form. It changes also when the sums of pages change, and so when the bytes that digests hash change.
const FORMAT: u8 = 1;
/// Bytes of what is stored of a hash: its upper bits, which are all that [`Whereabouts`](crate::whereabouts::Whereabouts) keep.
const PART_OF_A_HASH: usize = 6;
/// The bits of a hash that are not stored.
const LOWER_BITS: u32 = 64 - 8 * PART_OF_A_HASH as u32;
/// Bytes of a page in a summary: its rows, the length and the hash of its stored row, and its sum.
const PAGE_BYTES: usize = 4 + ROW_SUM_BYTES + 16;

/// How hashes are cut into rows. No figure depends on it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HashCut {
    /// So many at most are in the summary.
    within: usize,
    /// So many at most are in a row of their own.
    row: usize,
}

/// For tests, whose days are small.
pub(super) const SMALL_HASH_CUT: HashCut = HashCut { within: 4, row: 7 };
/// In tests, days are small.
pub(crate) const HASH_CUT: HashCut = if cfg!(test) { SMALL_HASH_CUT } else { HashCut { within: 512, row: 1 << 14 } };

/// What is in memory of a day's summary in the store.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// The rows of hashes.
    hashes: Vec<RowSum>,
    /// The hashes that are in none of them.
    more: Vec<u64>,
}

/// The same with what it says, as it is stored.
#[derive(Serialize, Deserialize)]
struct SummaryRow {
    format: u8,
    pages: ByteBuf,
    /// In order of their numbers.
    kinds: Vec<(KindId, u64, u128)>,
    hashes: ByteBuf,
    more: ByteBuf,
}

/// What a summary that was stored says.
pub(super) struct Summarized {
    pub pages: Vec<PageSum>,
    pub kinds: Kinds,
    pub summary: Summary,
}

impl Summary {
    /// Takes note of an entity that has come to the day.
    pub fn add(&mut self, hash: u64) {
        self.more.push(hash);
    }

    /// How many rows of hashes there are.
    pub(super) fn parts(&self) -> u32 {
        self.hashes.len() as u32
    }

    /// The hashes that are in no row of their own.
    pub(super) fn more(&self) -> &[u64] {
        &self.more
    }

    /// The bytes of a row of hashes, with its key.
    pub fn bytes_of(&self, part: u32) -> u64 {
        self.hashes.get(part as usize).map_or(0, |row| row.bytes.into())
    }

    /// The hashes of a row, if it is the one with that number.
    pub(crate) fn read(&self, part: u32, key: &[u8], value: &[u8]) -> Option<Vec<u64>> {
        let row = self.hashes.get(part as usize)?;
        (RowSum::of(key, value) == *row).then(|| unpack(value)).flatten()
    }

    /// The keys of all of its rows.
    pub(super) fn keys(&self, prefix: &[u8]) -> impl Iterator<Item = Vec<u8>> {
        std::iter::once(summary_key(prefix)).chain((0..self.parts()).map(|part| hashes_key(prefix, part)))
    }

    /// How many hashes there are.
    fn len(&self, prefix: &[u8]) -> usize {
        let key = hashes_key(prefix, 0).len();
        let in_rows = self.hashes.iter().map(|row| (row.bytes as usize).saturating_sub(key) / PART_OF_A_HASH);
        in_rows.sum::<usize>() + self.more.len()
    }

    fn row(&self, pages: &[PageSum], kinds: &Kinds) -> SummaryRow {
        let mut of_kinds: Vec<_> = kinds.iter().map(|of| (of.kind, of.count, of.sum)).collect();
        of_kinds.sort_unstable();
        let mut packed = Vec::with_capacity(pages.len() * PAGE_BYTES);
        for PageSum { rows, stored, sum } in pages {
            packed.extend(rows.to_be_bytes());
            packed.extend(stored.to_bytes());
            packed.extend(sum.to_be_bytes());
        }
        let mut hashes = Vec::with_capacity(self.hashes.len() * ROW_SUM_BYTES);
        self.hashes.iter().for_each(|row| hashes.extend(row.to_bytes()));
        SummaryRow {
            format: FORMAT,
            pages: packed.into(),
            kinds: of_kinds,
            hashes: hashes.into(),
            more: pack(&self.more).into(),
        }
    }
}

impl SummaryRow {
    /// What it says; `None` if that can be said of no day.
    fn read(self) -> Option<Summarized> {
        let (pages, rest) = self.pages.as_chunks::<PAGE_BYTES>();
        let (hashes, behind) = self.hashes.as_chunks::<ROW_SUM_BYTES>();
        if self.format != FORMAT || pages.is_empty() || !rest.is_empty() || !behind.is_empty() {
            return None;
        }
        let page = |page: &[u8; PAGE_BYTES]| {
            let (rows, rest) = page.split_first_chunk()?;
            let (stored, sum) = rest.split_first_chunk()?;
            let sum = u128::from_be_bytes(sum.try_into().ok()?);
            Some(PageSum { rows: u32::from_be_bytes(*rows), stored: RowSum::from_bytes(stored), sum })
        };
        let mut kinds = Kinds::default();
        for (kind, count, sum) in self.kinds {
            if !kinds.put(OfKind { kind, count, sum }) {
                return None;
            }
        }
        Some(Summarized {
            pages: pages.iter().map(page).collect::<Option<_>>()?,
            kinds,
            summary: Summary { hashes: hashes.iter().map(RowSum::from_bytes).collect(), more: unpack(&self.more)? },
        })
    }
}

impl Summarized {
    /// Reads a summary.
    ///
    /// # Errors
    /// When it is none.
    pub(super) fn decode(key: &[u8], value: &[u8]) -> Result<Self, RestoreError> {
        decode::<SummaryRow>(key, value)?.read().ok_or_else(|| damaged(key, "a summary"))
    }

    /// Whether the summary agrees with the day. All pages of the day must be in memory, as they were stored; `hashes` are those of its
    /// rows of hashes.
    pub(super) fn is_of(&self, day: &mut Day, mut hashes: Vec<u64>) -> bool {
        hashes.extend(self.summary.more());
        hashes.sort_unstable();
        let is_there = |hash: u64| hashes.binary_search(&(hash >> LOWER_BITS << LOWER_BITS)).is_ok();
        day.entities.iter().all(|(key, _)| is_there(key.page_hash()))
            && day.kinds.is_same(&self.kinds)
            && day.entities.sums().is_some_and(|pages| pages == self.pages)
    }
}

/// Writes the summary of a day that has just been written, if it has one or is to have one. `are_known` says that all of its rows of hashes
/// were read or made here.
pub(super) fn write(
    prefix: &[u8],
    day: &mut Day,
    is_wanted: bool,
    are_known: bool,
    cut: HashCut,
    changes: &mut Changes,
) {
    let before = day.summary.take();
    if before.is_none() && !is_wanted {
        return;
    }
    let Some(pages) = day.entities.sums() else {
        // Pages that changed are no longer what it says.
        changes.remove.extend(before.iter().flat_map(|before| before.keys(prefix)));
        return;
    };
    let can_renew = day.entities.is_here() && are_known;
    let parts_before = before.as_ref().map_or(0, |before| before.parts());
    let is_worn = |before: &Summary| before.len(prefix) > 2 * day.entities.len() + cut.within;
    let mut summary = match before.filter(|before| !(can_renew && is_worn(before))) {
        Some(before) => before,
        None if can_renew => Box::new(Summary {
            hashes: Vec::new(),
            more: day.entities.iter().map(|(key, _)| key.page_hash()).collect(),
        }),
        // The day was stored by an earlier build, and is not all in memory.
        None => return,
    };
    if summary.more.len() > cut.within {
        for hashes in std::mem::take(&mut summary.more).chunks(cut.row) {
            let (key, value) = (hashes_key(prefix, summary.parts()), pack(hashes));
            summary.hashes.push(RowSum::of(&key, &value));
            changes.put.push((key, value));
        }
    }
    changes.remove.extend((summary.parts()..parts_before).map(|part| hashes_key(prefix, part)));
    changes.put.push((summary_key(prefix), encode(&summary.row(&pages, &day.kinds))));
    day.summary = Some(summary);
}

/// Returns the rows that a restart need not read because `row` is their summary, and `None` when it is no summary. The
/// state is then [restored](crate::PartitionState::restore_passing) without them.
pub fn pass(row: &Row) -> Option<Passed> {
    pass_pages(row).or_else(|| super::ids::pass(row))
}

/// The pages and hashes of a day.
fn pass_pages((key, value): &Row) -> Option<Passed> {
    let prefix = key.strip_suffix(b"c")?;
    // Behind the date is the tenant, which has no zero byte.
    let of_day = prefix.strip_prefix(b"d")?.get(size_of::<u32>()..)?;
    if of_day.iter().position(|byte| *byte == 0)? + 1 != of_day.len() {
        return None;
    }
    let Summarized { pages, summary, .. } = Summarized::decode(key, value).ok()?;
    let hashes = (0..).zip(&summary.hashes).map(|(part, row)| (hashes_key(prefix, part), *row));
    let entities = (0..).zip(&pages).map(|(page, sum)| (entity_key(prefix, page), sum.stored));
    let rows = hashes.chain(entities).collect();
    Some(Passed { rows, next: entity_key(prefix, pages.len() as u32) })
}

/// `c`, so that it comes before hashes, and these before the pages.
fn summary_key(prefix: &[u8]) -> Vec<u8> {
    [prefix, b"c"].concat()
}

fn hashes_key(prefix: &[u8], part: u32) -> Vec<u8> {
    [prefix, b"d", &part.to_be_bytes()].concat()
}

/// The key of a row of hashes of a day's entities.
pub(crate) fn hash_row_key(tenant: &TenantId, date: Date, part: u32) -> Vec<u8> {
    hashes_key(&day_prefix(tenant, date), part)
}

fn pack(hashes: &[u64]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(hashes.len() * PART_OF_A_HASH);
    hashes.iter().for_each(|hash| bytes.extend(&hash.to_be_bytes()[..PART_OF_A_HASH]));
    bytes
}

/// The hashes, without the bits that are not stored.
fn unpack(bytes: &[u8]) -> Option<Vec<u64>> {
    let (hashes, []) = bytes.as_chunks::<PART_OF_A_HASH>() else { return None };
    let hash = |[a, b, c, d, e, f]: [u8; PART_OF_A_HASH]| u64::from_be_bytes([a, b, c, d, e, f, 0, 0]);
    Some(hashes.iter().copied().map(hash).collect())
}
