//! The groups of a view over one window: a business day or a season.

use super::alerts::Marks;
use super::entity::Version;
use super::late::{Change, Posting};
use super::pages::{PageKey, Pages, stable_hash};
use compact_str::CompactString;
use daybook_contracts::log::Event;
use daybook_contracts::report::Coverage;
use daybook_domain::accumulator::{Accumulator, Sign};
use daybook_domain::calendar::DayClock;
use daybook_domain::catalogue::{Grain, Season};
use daybook_domain::expression::Row;
use daybook_domain::ids::{LogSeq, Name};
use daybook_domain::plan::Plan;
use daybook_domain::time::Date;
use daybook_rollup::RankIndex;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use std::collections::{BTreeMap, BTreeSet};

/// Which group: a piece of the day and the values of the grouping dimensions.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GroupKey {
    /// From 0, at the view's grain; always 0 at grain day.
    pub piece: u16,
    /// Most views group by one dimension: that is found without going elsewhere for it.
    pub dims: SmallVec<[Option<CompactString>; 1]>,
}

impl GroupKey {
    /// Of its texts, with a few for each.
    pub(super) fn bytes(&self) -> usize {
        self.dims.iter().map(|value| size_of::<u32>() + value.as_ref().map_or(0, |text| text.len())).sum()
    }
}

impl PageKey for GroupKey {
    fn page_hash(&self) -> u64 {
        group_hash(self.piece, self.dims.iter().map(Option::as_deref))
    }
}

/// The hash of a group's key.
fn group_hash<'v>(piece: u16, dims: impl Iterator<Item = Option<&'v str>>) -> u64 {
    dims.fold(u64::from(piece), |hash, value| match value {
        Some(text) => stable_hash(hash, text.as_bytes()),
        // Unlike every text.
        None => stable_hash(!hash, b""),
    })
}

/// The accumulators of one group, in the order of the plan's cells. Of adjustments and in an unfinished backfill, more
/// can have been taken back than put in.
pub type Group = Box<[Accumulator]>;

/// Nothing is in it any more: as if it had never been.
fn is_empty(group: &Group) -> bool {
    group.iter().all(Accumulator::is_zero)
}

/// Most changed groups that are remembered for those who listen: more than an update can tell. At the bound the update
/// says that a snapshot is due, so what is pending while nothing is pushed takes no more than that.
pub const MAX_CHANGED: usize = 20_000;

/// How many groups a window may have, and the position in the log at which that is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Cap {
    pub groups: u64,
    pub position: LogSeq,
}

/// What a row did to a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contribution {
    /// No figure takes it, or its group is left out.
    None,
    Posted,
    /// Its group is left out, and from now on all that are new.
    Filled,
}

/// How often in a row [`Window::forget_index`] finds the index unused before it goes.
const IDLE_ROUNDS: u8 = 12;

/// The order of a ranking's members, kept up while it is asked for.
#[derive(Clone, Debug)]
struct Index {
    ranks: RankIndex,
    /// Groups that were taken out when they changed, and are put in when somebody asks: only where it may take long to tell
    /// when a group reached its score. At most as many as the window has, and those that have gone since.
    waiting: BTreeSet<GroupKey>,
    idle: u8,
}

impl Index {
    /// A group is about to change.
    fn before(&mut self, plan: &Plan, key: &GroupKey, group: &[Accumulator]) {
        if !self.waiting.contains(key) {
            self.ranks.remove(plan, &key.dims, group);
        }
    }

    /// The group has changed.
    fn after(&mut self, plan: &Plan, key: &GroupKey, group: &[Accumulator]) {
        if !plan.walks() {
            self.ranks.insert(plan, &key.dims, group);
        } else if !self.waiting.contains(key) {
            self.waiting.insert(key.clone());
        }
    }
}

/// A view over one window.
#[derive(Clone, Debug, Default)]
pub struct Window {
    pub groups: Pages<GroupKey, Group>,
    pub coverage: Coverage,
    /// How many late changes were posted here from days that had closed.
    pub adjustments: u64,
    /// No group is made any more, so what is left out stays out: a group that is here was here all the time and is whole.
    pub is_full: bool,
    /// Which groups have fired alerts; of windows of days only.
    pub fired: Marks,
    /// Which groups the batch has changed so far, where they may fire an alert. Not part of the state: nothing is left between two batches.
    pub touched: Option<BTreeSet<GroupKey>>,
    /// Which groups changed since somebody looked, while somebody does. Not part of the state.
    pub changed: Option<BTreeSet<GroupKey>>,
    /// Not part of the state either.
    index: Option<Box<Index>>,
}

impl Window {
    /// Adds or retracts a row, unless that would make a group beyond the cap.
    pub fn contribute(
        &mut self,
        plan: &Plan,
        sign: Sign,
        row: Version<'_>,
        piece: u16,
        cap: Option<Cap>,
    ) -> Contribution {
        let met = plan.met(&row);
        if met.is_none() {
            return Contribution::None;
        }
        // The key itself is made for a new group only.
        let dims = || plan.group_by.iter().map(|dimension| row.dimension(*dimension));
        let hash = group_hash(piece, dims());
        let is = |key: &GroupKey| {
            key.piece == piece && key.dims.iter().zip(dims()).all(|(known, value)| known.as_deref() == value)
        };
        let has_room = !self.is_full && cap.is_none_or(|cap| (self.groups.len() as u64) < cap.groups);
        if !has_room && self.groups.find(hash, is).is_none() {
            return match cap.filter(|_| !self.is_full) {
                Some(cap) => {
                    self.fill(cap);
                    Contribution::Filled
                }
                None => Contribution::None,
            };
        }
        let key = || GroupKey { piece, dims: dims().map(|value| value.map(CompactString::new)).collect() };
        let (key, group) = self.groups.find_or_make(hash, is, || (key(), plan.zero()));
        if let Some(index) = &mut self.index {
            index.before(plan, key, group);
        }
        plan.update(group, sign, met, &row);
        if let Some(index) = &mut self.index {
            index.after(plan, key, group);
        }
        if let Some(changed) = &mut self.changed
            && changed.len() < MAX_CHANGED
        {
            changed.insert(key.clone());
        }
        if let Some(touched) = &mut self.touched
            && !touched.contains(key)
        {
            touched.insert(key.clone());
        }
        if is_empty(group) {
            self.groups.take(hash, is);
        }
        Contribution::Posted
    }

    /// Has the window note which groups change, if they may fire an alert of the plan.
    fn note_for_alerts(&mut self, plan: &Plan) {
        if !plan.alerts().is_empty() {
            self.touched.get_or_insert_default();
        }
    }

    /// Makes no group from here on.
    fn fill(&mut self, cap: Cap) {
        self.is_full = true;
        // What rests on a part of the log only is so from the beginning; that is told rather.
        if self.coverage == Coverage::Complete {
            let reason = format!("the tenant's quota of {} groups a view and day is used up", cap.groups);
            self.coverage = Coverage::Capped { from: cap.position, reason };
        }
    }

    /// Whether nothing is in it, as before it was made.
    pub fn is_untouched(&self) -> bool {
        self.groups.is_empty() && self.adjustments == 0 && !self.is_full
    }

    /// Adds everything of another window of the same view. Takes as long as the smaller of the two is large.
    pub fn merge(&mut self, mut other: Self) {
        self.adjustments += other.adjustments;
        self.is_full |= other.is_full;
        self.index = None;
        // A sum is the same from either side. Not while it is watched: then what is added has to be told.
        if self.changed.is_none() && self.groups.len() < other.groups.len() {
            self.groups.swap_with_larger(&mut other.groups);
        }
        for (key, theirs) in other.groups.into_rows() {
            if let Some(changed) = &mut self.changed
                && changed.len() < MAX_CHANGED
            {
                changed.insert(key.clone());
            }
            match self.groups.get_mut(&key) {
                None => {
                    self.groups.insert(key, theirs);
                }
                Some(ours) => {
                    ours.iter_mut().zip(&theirs).for_each(|(ours, theirs)| ours.merge(theirs));
                    if is_empty(ours) {
                        self.groups.remove(&key);
                    }
                }
            }
        }
    }

    /// The order of the members, for a view with a ranking: made when it is asked for first, kept up from then on.
    pub fn ranks(&mut self, plan: &Plan) -> Option<&RankIndex> {
        if self.index.is_none() {
            let ranks = RankIndex::of(plan, self.groups.iter().map(|(key, group)| (&key.dims[..], &group[..])))?;
            self.index = Some(Box::new(Index { ranks, waiting: BTreeSet::new(), idle: 0 }));
        }
        let index = self.index.as_mut()?;
        index.idle = 0;
        for key in std::mem::take(&mut index.waiting) {
            if let Some(group) = self.groups.get(&key) {
                index.ranks.insert(plan, &key.dims, group);
            }
        }
        Some(&index.ranks)
    }

    /// The order of the members, if it is kept and has all of them.
    pub fn known_ranks(&self) -> Option<&RankIndex> {
        self.index.as_ref().filter(|index| index.waiting.is_empty()).map(|index| &index.ranks)
    }

    /// Lets go of the order of the members when nobody has asked for it for a number of rounds.
    pub fn forget_index(&mut self) {
        if let Some(index) = &mut self.index {
            index.idle += 1;
            if index.idle > IDLE_ROUNDS {
                self.index = None;
            }
        }
    }

    /// The groups in order of their keys.
    pub fn sorted(&self) -> Vec<(&GroupKey, &Group)> {
        let mut groups: Vec<_> = self.groups.iter().collect();
        groups.sort_unstable_by_key(|(key, _)| *key);
        groups
    }
}

/// Windows by view. In boxes, for a tree's node has room for eleven, and most tenants have few views.
pub type Views = BTreeMap<Name, Box<Window>>;

/// The windows of a tenant: of every view that has seen anything there.
#[derive(Clone, Debug, Default)]
pub struct Windows {
    pub days: BTreeMap<Date, Views>,
    pub seasons: BTreeMap<Name, Views>,
}

impl Windows {
    pub fn day(&self, date: Date, view: &Name) -> Option<&Window> {
        self.days.get(&date)?.get(view).map(Box::as_ref)
    }

    pub fn season(&self, season: &Name, view: &Name) -> Option<&Window> {
        self.seasons.get(season)?.get(view).map(Box::as_ref)
    }

    pub fn day_mut(&mut self, date: Date, view: &Name) -> &mut Window {
        window_of(self.days.entry(date).or_default(), view)
    }

    pub fn season_mut(&mut self, season: &Name, view: &Name) -> &mut Window {
        if !self.seasons.contains_key(season) {
            self.seasons.insert(season.clone(), BTreeMap::new());
        }
        window_of(self.seasons.get_mut(season).expect("just made"), view)
    }

    /// Adds events that have come to a day in time. Tells whether that filled the window.
    pub fn add_to_day<'t>(
        &mut self,
        plan: &Plan,
        date: Date,
        events: &[Event],
        clock: impl Fn(Date) -> Option<DayClock<'t>>,
        cap: Option<Cap>,
    ) -> bool {
        let clock = (plan.view.grain != Grain::Day).then(|| clock(date)).flatten();
        let mut is_filled = false;
        let window = self.day_mut(date, &plan.view.name);
        window.note_for_alerts(plan);
        for row in events.iter().map(Version::from) {
            let piece = clock.map_or(0, |day| plan.piece(&day, row.at()));
            is_filled |= window.contribute(plan, Sign::Add, row, piece, cap) == Contribution::Filled;
        }
        is_filled
    }

    /// Does to a view's days what a change to an entity does. Tells what each of the two postings did.
    pub fn change_days<'t>(
        &mut self,
        plan: &Plan,
        change: &Change<'_>,
        clock: impl Fn(Date) -> Option<DayClock<'t>>,
        cap: Option<Cap>,
    ) -> [Contribution; 2] {
        change.postings(&plan.view).map(|posting| {
            let Some(Posting { sign, date, row, is_adjustment }) = posting else { return Contribution::None };
            let piece = match plan.view.grain {
                Grain::Day => 0,
                _ => clock(date).map_or(0, |day| plan.piece(&day, row.at())),
            };
            let window = self.day_mut(date, &plan.view.name);
            window.note_for_alerts(plan);
            let contribution = window.contribute(plan, sign, row, piece, cap);
            window.adjustments += u64::from(contribution == Contribution::Posted && is_adjustment);
            contribution
        })
    }

    /// Does to a view's windows over `seasons` what a change to an entity does. Tells which were touched.
    pub fn change_seasons<'s>(
        &mut self,
        plan: &Plan,
        change: &Change<'_>,
        seasons: impl Iterator<Item = &'s Season>,
    ) -> Vec<&'s Name> {
        let rows = change.season_rows(plan.view.late);
        let mut touched = Vec::new();
        for season in seasons {
            for (sign, row) in rows.into_iter().flatten().filter(|(_, row)| season.holds(row.at())) {
                // Without a cap: when a season is complete, and holds what it should, depends on when it was made.
                let window = self.season_mut(&season.name, &plan.view.name);
                if window.contribute(plan, sign, row, 0, None) == Contribution::Posted {
                    touched.push(&season.name);
                }
            }
        }
        touched
    }

    /// Takes every window of a view out.
    pub fn take_view(&mut self, view: &Name) -> Self {
        let take = |views: &mut Views| views.remove(view).map(|window| BTreeMap::from([(view.clone(), window)]));
        let days = self.days.iter_mut().filter_map(|(date, views)| Some((*date, take(views)?))).collect();
        let seasons = self.seasons.iter_mut().filter_map(|(name, views)| Some((name.clone(), take(views)?))).collect();
        Self { days, seasons }
    }

    /// Adds everything of other windows of the tenant, but for days that `keeps` does not want.
    pub fn merge(&mut self, other: Self, keeps: impl Fn(Date) -> bool) {
        for (date, views) in other.days.into_iter().filter(|(date, _)| keeps(*date)) {
            for (view, window) in views {
                self.day_mut(date, &view).merge(*window);
            }
        }
        for (season, views) in other.seasons {
            for (view, window) in views {
                self.season_mut(&season, &view).merge(*window);
            }
        }
    }
}

fn window_of<'a>(views: &'a mut Views, view: &Name) -> &'a mut Window {
    views.entry(view.clone()).or_default()
}
