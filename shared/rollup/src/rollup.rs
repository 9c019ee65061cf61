//! Groups merged, filtered, sorted and cut into a page.

use crate::order::{Group, SortKey};
use crate::page::{self, Page};
use crate::question::Question;
use crate::ranking::{Places, RankPlace, first_rank};
use compact_str::CompactString;
use daybook_contracts::ask::{AskError, AskErrorCode, Asked};
use daybook_domain::accumulator::Accumulator;
use daybook_domain::calendar::BusinessDay;
use daybook_domain::plan::Plan;
use foldhash::fast::FixedState;
use hashbrown::HashTable;
use std::borrow::Cow;
use std::hash::{BuildHasher, Hash, Hasher};
use std::ops::Range;

/// Most groups that the rows of one question can be made of: a shard's largest view twice over, and a few hundred
/// megabytes for as long as the answer takes.
pub const MAX_GROUPS: usize = 2_000_000;

/// Adds up the groups of a view to the rows of an answer.
///
/// Groups are borrowed. Accumulators are made only where several groups make a row, of all of these at once, so a question that
/// rolls nothing up makes none; metrics are worked out for the rows of the page, and for the others only where the
/// order depends on them.
pub struct Rollup<'a> {
    question: &'a Question,
    plan: &'a Plan,
    groups: Vec<Merged<'a>>,
    /// What is yet to be merged into which of `groups`.
    further: Vec<(u32, &'a [Accumulator])>,
    /// Where in `groups` a key's group is, found by the hash that stands beside it.
    places: HashTable<(u64, u32)>,
    /// How many cells of a group are read, from the first on. The others only tell when a score was reached. They hold whole
    /// histories, so they are merged only where the order depends on them.
    cells_read: usize,
    /// Most groups; [`MAX_GROUPS`] but in tests.
    max_groups: usize,
}

/// A group of the answer, of one or more of the view's.
struct Merged<'a> {
    time: i64,
    /// Of the first that came; only the dimensions asked for mean anything.
    dims: &'a [Option<CompactString>],
    cells: Cow<'a, [Accumulator]>,
}

impl<'a> Rollup<'a> {
    /// Nothing added yet. `plan` is the one that the question was compiled with.
    pub fn new(question: &'a Question, plan: &'a Plan) -> Self {
        let cells_read = if question.orders_by_time_reached() { plan.cells.len() } else { plan.figure_cells() };
        Self {
            question,
            plan,
            groups: Vec::new(),
            further: Vec::new(),
            places: HashTable::new(),
            cells_read,
            max_groups: MAX_GROUPS,
        }
    }

    #[cfg(test)]
    pub(crate) fn with_max_groups(question: &'a Question, plan: &'a Plan, max_groups: usize) -> Self {
        Self { max_groups, ..Self::new(question, plan) }
    }

    /// How many accumulators each group has.
    #[cfg(test)]
    pub(crate) fn cells_held(&self) -> Vec<usize> {
        self.groups.iter().map(|group| group.cells.len()).collect()
    }

    /// Adds one of the view's groups: `piece` from 0 at the view's grain, `dims` in the order of its `group_by`, `cells`
    /// in that of the plan's. Any group may come in any order, and more than once.
    ///
    /// # Errors
    /// [`AskErrorCode::TooLarge`] when the answer's rows are more than [`MAX_GROUPS`].
    pub fn add(
        &mut self,
        day: &BusinessDay,
        piece: u16,
        dims: &'a [Option<CompactString>],
        cells: &'a [Accumulator],
    ) -> Asked<()> {
        if !self.question.takes(dims) {
            return Ok(());
        }
        let cells = &cells[..self.cells_read];
        let time = self.question.time(day, piece);
        let asked = self.question.dimensions();
        let hash = hash(time, dims, asked);
        let found = self.places.find(hash, |&(other, index)| {
            let group = &self.groups[index as usize];
            other == hash && group.time == time && asked.iter().all(|&at| group.dims[at] == dims[at])
        });
        if let Some(&(_, index)) = found {
            self.further.push((index, cells));
            return Ok(());
        }
        if self.groups.len() == self.max_groups {
            let message = format!("the answer has more than {} rows on all pages", self.max_groups);
            return Err(AskError::new(AskErrorCode::TooLarge, message)
                .hint("ask for fewer days or dimensions, for a coarser grain, or for less by a condition"));
        }
        // No more than MAX_GROUPS.
        self.places.insert_unique(hash, (hash, self.groups.len() as u32), |&(hash, _)| hash);
        self.groups.push(Merged { time, dims, cells: Cow::Borrowed(cells) });
        Ok(())
    }

    /// The rows of the page asked for. Groups that hold nothing are left out; a question for one row always gets it.
    ///
    /// # Errors
    /// [`AskErrorCode::UnknownMember`] when neighbours of a member are asked for that is not among the groups.
    pub fn finish(mut self) -> Asked<Page> {
        self.places = HashTable::new();
        self.merge();
        if self.question.is_one_row() {
            let zero = || Merged { time: 0, dims: &[], cells: Cow::Owned(self.plan.zero().into_vec()) };
            if self.groups.is_empty() {
                self.groups.push(zero());
            }
        } else {
            self.groups.retain(|group| !self.plan.is_nothing(&group.cells));
        }
        let keys = Keys::of(self.question.order(), &self);
        match self.question.member() {
            Some(member) => self.around(member, &keys),
            None => Ok(self.behind_cursor(&keys)),
        }
    }

    /// Merges what makes one group.
    fn merge(&mut self) {
        let mut further = std::mem::take(&mut self.further);
        further.sort_by_key(|&(index, _)| index);
        for parts in further.chunk_by(|(one, _), (other, _)| one == other) {
            let group = &mut self.groups[parts[0].0 as usize];
            let first = group.cells.iter().enumerate();
            let merged = first.map(|(cell, first)| first.merged(parts.iter().map(|(_, cells)| &cells[cell]))).collect();
            group.cells = Cow::Owned(merged);
        }
    }

    fn behind_cursor(&self, keys: &Keys) -> Page {
        let count = self.groups.len();
        let start = match self.question.cursor() {
            None => 0,
            Some(cursor) => (0..count).filter(|&index| *keys.get(index) <= *cursor.0).count(),
        };
        let end = start.saturating_add(self.question.limit()).min(count);
        let sorted = sorted_within(keys, start..end);
        page::from_start(self.question, self.plan, self.placed(keys, &sorted, start..end), count as u64, end < count)
    }

    fn around(&self, member: &[Option<CompactString>], keys: &Keys) -> Asked<Page> {
        let asked = self.question.dimensions();
        let is_member = |group: &Merged<'_>| asked.iter().zip(member).all(|(&at, value)| group.dims[at] == *value);
        let member = self.groups.iter().position(is_member).ok_or_else(|| unknown_member(member))?;
        let count = self.groups.len();
        let position = (0..count).filter(|&index| keys.get(index) < keys.get(member)).count();
        let start = position.saturating_sub(self.question.around());
        let end = (position + self.question.around() + 1).min(count);
        let sorted = sorted_within(keys, start..end);
        let groups = self.placed(keys, &sorted, start..end);
        Ok(page::around(self.question, self.plan, groups, position - start, count as u64))
    }

    /// The groups that are shown, which stand in `sorted` within `shown`, each with its place if they are ranked.
    fn placed<'s>(
        &'s self,
        keys: &'s Keys,
        sorted: &'s [u32],
        shown: Range<usize>,
    ) -> impl Iterator<Item = (Group<'s>, Option<RankPlace>)> {
        let indexes = sorted[shown.clone()].iter().map(|&index| index as usize);
        let places: Vec<Option<RankPlace>> = match (self.question.ranking_key(), self.question.ties()) {
            (Some(key), Some(ties)) if self.question.in_ranking_order() => {
                let score = |index: usize| key.score(keys.get(index));
                let before = sorted[..shown.start].iter().map(|&index| score(index as usize));
                let first = indexes.clone().next().map_or(1, |index| first_rank(ties, before, score(index)));
                let mut places = Places::behind(ties, shown.start, first);
                indexes.clone().map(|index| Some(places.next(score(index)))).collect()
            }
            (Some(key), Some(ties)) => {
                let ranked = Keys::of(key, self);
                let mut places = Places::behind(ties, 0, 1);
                let mut by_group = vec![None; self.groups.len()];
                for index in sorted_within(&ranked, 0..self.groups.len()) {
                    by_group[index as usize] = Some(places.next(key.score(ranked.get(index as usize))));
                }
                indexes.clone().map(|index| by_group[index]).collect()
            }
            _ => vec![None; shown.len()],
        };
        indexes.map(|index| self.groups[index].as_group()).zip(places)
    }
}

impl Merged<'_> {
    fn as_group(&self) -> Group<'_> {
        Group { time: self.time, dims: self.dims, cells: &self.cells }
    }
}

/// The sort keys of all groups, one behind the other.
struct Keys {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Keys {
    fn of(order: &SortKey, rollup: &Rollup<'_>) -> Self {
        let mut keys = Self { bytes: Vec::new(), ends: Vec::with_capacity(rollup.groups.len()) };
        for group in &rollup.groups {
            order.write(rollup.plan, &group.as_group(), &mut keys.bytes);
            keys.ends.push(keys.bytes.len());
        }
        keys
    }

    fn get(&self, index: usize) -> &[u8] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.bytes[start..self.ends[index]]
    }
}

/// All indexes of keys, such that those in `shown` are sorted, and those before it come before them in any order.
fn sorted_within(keys: &Keys, shown: Range<usize>) -> Vec<u32> {
    let mut indexes: Vec<u32> = (0..keys.ends.len() as u32).collect();
    let compare = |left: &u32, right: &u32| keys.get(*left as usize).cmp(keys.get(*right as usize));
    if shown.is_empty() {
        return indexes;
    }
    if shown.end < indexes.len() {
        indexes.select_nth_unstable_by(shown.end, compare);
    }
    let within = &mut indexes[..shown.end];
    if shown.start > 0 {
        within.select_nth_unstable_by(shown.start, compare);
    }
    within[shown.start..].sort_unstable_by(compare);
    indexes
}

/// Of what makes a group one of its own. Nobody iterates over hashes, so that no order depends on them.
fn hash(time: i64, dims: &[Option<CompactString>], asked: &[usize]) -> u64 {
    let mut hasher = FixedState::default().build_hasher();
    hasher.write_i64(time);
    asked.iter().for_each(|&at| dims[at].hash(&mut hasher));
    hasher.finish()
}

pub(crate) fn unknown_member(member: &[Option<CompactString>]) -> AskError {
    let values: Vec<&str> = member.iter().map(|value| value.as_deref().unwrap_or("null")).collect();
    AskError::new(AskErrorCode::UnknownMember, format!("the ranking has no member {}", values.join(", ")))
        .field("rank.member")
        .hint("a member is in a ranking once something counts for it")
}
