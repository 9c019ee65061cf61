//! A view's own ranking over one window of time, kept up to date.

use crate::cursor::Cursor;
use crate::key;
use crate::order::{Group, SortKey};
use crate::page::{self, Page};
use crate::question::Question;
use crate::ranked::RankedSet;
use crate::ranking::{Places, RankPlace};
use crate::rollup::unknown_member;
use compact_str::CompactString;
use daybook_contracts::ask::{AskError, AskErrorCode, Asked};
use daybook_domain::accumulator::Accumulator;
use daybook_domain::catalogue::Ties;
use daybook_domain::plan::Plan;
use std::sync::OnceLock;

/// The members of a view's ranking in order. What a [`Rollup`](crate::Rollup) finds by looking at all of a million
/// groups is found here in a few comparisons.
///
/// A member is kept as its sort key, from which its dimensions are read back: a few dozen bytes, and those of its
/// dimensions once. Whoever changes a group takes it out with the cells it had, and puts it in with those it has.
#[derive(Clone, Debug)]
pub struct RankIndex {
    key: SortKey,
    dimensions: usize,
    members: RankedSet<Box<[u8]>>,
    /// The scores that members have, each once. Made when dense ranks are first asked for, and kept up from then on.
    scores: OnceLock<RankedSet<Box<[u8]>>>,
}

/// Where in a ranking a page begins.
#[derive(Clone, Copy, Debug)]
pub enum Start<'a> {
    /// At this position, from 1.
    Position(u64),
    /// Behind where the page before ended.
    Behind(&'a Cursor),
    /// So many places before the member with these dimensions and cells; it need not be in the ranking.
    Around { dims: &'a [Option<CompactString>], cells: &'a [Accumulator], before: u64 },
}

/// A member and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ranked {
    pub position: u64,
    pub rank: u64,
    /// In the order of the view's `group_by`.
    pub dims: Box<[Option<CompactString>]>,
}

impl RankIndex {
    /// An index without members; `None` for a view that has no ranking or no dimensions.
    pub fn new(plan: &Plan) -> Option<Self> {
        let dimensions = plan.view.group_by.len();
        let ranking = plan.ranking.as_ref().filter(|_| dimensions > 0)?;
        let positions: Vec<usize> = (0..dimensions).collect();
        let key = SortKey::ranking(&ranking.by, ranking.earlier.is_some(), &positions);
        Some(Self { key, dimensions, members: RankedSet::default(), scores: OnceLock::new() })
    }

    /// An index of these groups; `None` as for [`RankIndex::new`].
    pub fn of<'g>(
        plan: &Plan,
        groups: impl Iterator<Item = (&'g [Option<CompactString>], &'g [Accumulator])>,
    ) -> Option<Self> {
        let mut index = Self::new(plan)?;
        let members = groups.filter(|(_, cells)| !plan.is_nothing(cells));
        index.members = members.map(|(dims, cells)| index.key_of(plan, dims, cells)).collect();
        Some(index)
    }

    /// How many members there are.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Puts in the group as it is. False when it is there already, or holds nothing and so is no member.
    pub fn insert(&mut self, plan: &Plan, dims: &[Option<CompactString>], cells: &[Accumulator]) -> bool {
        if plan.is_nothing(cells) {
            return false;
        }
        let member = self.key_of(plan, dims, cells);
        if let Some(scores) = self.scores.get_mut() {
            let score = self.key.score(&member);
            if !scores.contains(score) {
                scores.insert(score.into());
            }
        }
        self.members.insert(member)
    }

    /// Takes out the group as it was when it was put in. False when no such member is there.
    pub fn remove(&mut self, plan: &Plan, dims: &[Option<CompactString>], cells: &[Accumulator]) -> bool {
        let member = self.key_of(plan, dims, cells);
        if !self.members.remove(&member) {
            return false;
        }
        if let Some(scores) = self.scores.get_mut() {
            let score = self.key.score(&member);
            let next = self.members.first_not(|other| **other < *score);
            if next.is_none_or(|next| self.key.score(next) != score) {
                scores.remove(score);
            }
        }
        true
    }

    /// At most `limit` members in order, from `start` on.
    pub fn page(&self, plan: &Plan, start: Start<'_>, ties: Ties, limit: usize) -> Vec<Ranked> {
        let before = match start {
            Start::Position(position) => usize::try_from(position.saturating_sub(1)).unwrap_or(usize::MAX),
            Start::Behind(cursor) => self.members.partition_point(|member| *member <= cursor.0),
            Start::Around { dims, cells, before } => {
                let key = self.key_of(plan, dims, cells);
                self.members.rank(&key).saturating_sub(usize::try_from(before).unwrap_or(usize::MAX))
            }
        };
        let mut members = self.members.iter_from(before).take(limit).peekable();
        let Some(first) = members.peek() else {
            return Vec::new();
        };
        let mut places = Places::behind(ties, before, self.rank(ties, before, self.key.score(first)));
        members
            .map(|member| {
                let score = self.key.score(member);
                let RankPlace { position, rank } = places.next(score);
                Ranked { position, rank, dims: self.dims(&member[score.len()..]) }
            })
            .collect()
    }

    /// The page that answers `question`, exactly as a [`Rollup`](crate::Rollup) of the same groups gives it. `cells_of`
    /// finds the cells of a group; it is asked for the member the question names, and for those on the page.
    ///
    /// # Errors
    /// [`AskErrorCode::UnknownMember`] when neighbours of a member are asked for that is not in the ranking;
    /// [`AskErrorCode::Internal`] when `cells_of` does not know a member of this index.
    ///
    /// # Panics
    /// Where the question is not [`Question::ranked_by_view`].
    pub fn answer<'c>(
        &self,
        question: &Question,
        plan: &Plan,
        cells_of: impl Fn(&[Option<CompactString>]) -> Option<&'c [Accumulator]>,
    ) -> Asked<Page> {
        assert!(question.ranked_by_view(), "only the view's own ranking is kept");
        let ties = question.ties().expect("a ranking has a tie rule");
        let total = self.len() as u64;
        let with_cells = |members: &[Ranked]| -> Asked<Vec<&'c [Accumulator]>> {
            let lost = || AskError::new(AskErrorCode::Internal, "the ranking has a member that the view has not");
            members.iter().map(|member| cells_of(&member.dims).ok_or_else(lost)).collect()
        };
        if let Some(dims) = question.member() {
            let cells = cells_of(dims).ok_or_else(|| unknown_member(dims))?;
            let member = self.key_of(plan, dims, cells);
            if !self.members.contains(&member) {
                return Err(unknown_member(dims));
            }
            let position = self.members.rank(&member);
            let start = position.saturating_sub(question.around());
            let limit = position - start + question.around() + 1;
            let shown = self.page(plan, Start::Position(start as u64 + 1), ties, limit);
            let cells = with_cells(&shown)?;
            return Ok(page::around(question, plan, groups(&shown, &cells), position - start, total));
        }
        let start = question.cursor().map_or(Start::Position(1), Start::Behind);
        let shown = self.page(plan, start, ties, question.limit());
        let cells = with_cells(&shown)?;
        let more = shown.last().is_some_and(|last| last.position < total);
        Ok(page::from_start(question, plan, groups(&shown, &cells), total, more))
    }

    /// The rank of the member that `before` others stand before.
    fn rank(&self, ties: Ties, before: usize, score: &[u8]) -> u64 {
        let better = match ties {
            Ties::Ordinal => before,
            Ties::Competition => self.members.partition_point(|member| **member < *score),
            Ties::Dense => self.scores.get_or_init(|| self.distinct_scores()).rank(score),
        };
        better as u64 + 1
    }

    fn distinct_scores(&self) -> RankedSet<Box<[u8]>> {
        let mut last: &[u8] = &[];
        let scores = self.members.iter_from(0).map(|member| self.key.score(member));
        scores.filter(|score| std::mem::replace(&mut last, *score) != *score).map(Box::from).collect()
    }

    fn key_of(&self, plan: &Plan, dims: &[Option<CompactString>], cells: &[Accumulator]) -> Box<[u8]> {
        let mut key = Vec::new();
        self.key.write(plan, &Group { time: 0, dims, cells }, &mut key);
        key.into()
    }

    /// The dimensions that a member's key ends with.
    fn dims(&self, mut key: &[u8]) -> Box<[Option<CompactString>]> {
        let mut next = || {
            let (value, rest) = key::read_text(key);
            key = rest;
            value
        };
        (0..self.dimensions).map(|_| next()).collect()
    }
}

/// The members shown, as groups with their places.
fn groups<'s>(
    shown: &'s [Ranked],
    cells: &'s [&'s [Accumulator]],
) -> impl Iterator<Item = (Group<'s>, Option<RankPlace>)> {
    shown.iter().zip(cells).map(|(member, cells)| {
        let place = RankPlace { position: member.position, rank: member.rank };
        (Group { time: 0, dims: &member.dims, cells }, Some(place))
    })
}
