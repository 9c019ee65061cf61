//! One business day of one tenant: its entities, its figures and the account of its events.

use super::entity::{Entity, EntityKey, KindId};
use super::pages::{FNV_BASIS, PageKey, Pages, fnv1a64};
use compact_str::CompactString;
use daybook_contracts::ask::DayState;
use daybook_contracts::day::DayMarker;
use daybook_contracts::report::{Account, Change, Coverage, Figure, Row};
use daybook_domain::accumulator::{Accumulator, Sign};
use daybook_domain::expression::Row as ExpressionRow;
use daybook_domain::ids::{LogSeq, Name};
use daybook_domain::plan::Plan;
use daybook_domain::value::Number;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The values of the grouping dimensions.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GroupKey(pub Box<[Option<CompactString>]>);

impl PageKey for GroupKey {
    fn page_hash(&self) -> u64 {
        self.0.iter().fold(FNV_BASIS, |hash, value| match value {
            // Lengths keep ("ab", "c") and ("a", "bc") apart; null is unlike every text.
            Some(text) => fnv1a64(fnv1a64(hash, &(text.len() as u32).to_be_bytes()), text.as_bytes()),
            None => fnv1a64(hash, &[0xff]),
        })
    }
}

/// The accumulators of one group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// How many rows contribute to any of the cells; a group without any is dropped.
    weight: i64,
    cells: Box<[Accumulator]>,
}

/// A view over one day.
#[derive(Clone, Debug, Default)]
pub struct DayView {
    pub groups: Pages<GroupKey, Group>,
    pub coverage: Coverage,
    /// Revision of the definition that the groups were made with.
    pub revision: u64,
}

impl DayView {
    /// Adds or retracts a row. Tells whether any figure took part.
    pub fn contribute(&mut self, plan: &Plan, sign: Sign, row: &impl ExpressionRow) -> bool {
        if !plan.cells.iter().any(|cell| cell.takes(row)) {
            return false;
        }
        let key =
            GroupKey(plan.group_by.iter().map(|dimension| row.dimension(*dimension).map(CompactString::new)).collect());
        let group = self.groups.entry(key.clone(), || Group { weight: 0, cells: plan.zero() });
        group.weight += sign.unit();
        for (cell, accumulator) in plan.cells.iter().zip(&mut group.cells) {
            if cell.takes(row) {
                cell.update(accumulator, sign, row);
            }
        }
        if group.weight == 0 {
            debug_assert!(group.cells[..] == plan.zero()[..], "an empty group holds nothing");
            self.groups.remove(&key);
        }
        true
    }

    /// The rows in order of their dimensions. A view without dimensions always has its one row.
    pub fn rows(&self, plan: &Plan) -> Vec<Row> {
        let mut groups: Vec<(&GroupKey, &Group)> = self.groups.iter().collect();
        groups.sort_unstable_by_key(|(key, _)| *key);
        if groups.is_empty() && plan.group_by.is_empty() {
            return vec![row(plan, &GroupKey(Box::default()), &plan.zero())];
        }
        groups.into_iter().map(|(key, group)| row(plan, key, &group.cells)).collect()
    }
}

fn row(plan: &Plan, key: &GroupKey, cells: &[Accumulator]) -> Row {
    let text = |value: &Option<CompactString>| value.clone().map_or(Figure::Null, Figure::Text);
    let number = |value: Option<Number>| value.map_or(Figure::Null, Figure::Number);
    let dimensions = plan.view.group_by.iter().cloned().zip(key.0.iter().map(text));
    let metrics = plan.view.metrics.iter().map(|metric| metric.name.clone());
    Row(dimensions.chain(metrics.zip(plan.figures(cells).into_iter().map(number))).collect())
}

/// A sealed version of the day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    pub version: u32,
    pub hash: String,
}

/// The day.
#[derive(Clone, Debug)]
pub struct Day {
    pub state: DayState,
    /// From its opening marker; a day that only early events know of has none yet.
    pub marker: Option<DayMarker>,
    pub account: Account,
    pub entities: Pages<EntityKey, Entity>,
    pub views: BTreeMap<Name, DayView>,
    /// The first batch that touched it.
    pub from: LogSeq,
    pub sealed: Option<Sealed>,
    /// What changed it since it was sealed last; empty between batches.
    pub changes: Vec<Change>,
    pub changes_omitted: u64,
}

impl Day {
    pub fn new(from: LogSeq) -> Self {
        Self {
            state: DayState::Upcoming,
            marker: None,
            account: Account::default(),
            entities: Pages::default(),
            views: BTreeMap::new(),
            from,
            sealed: None,
            changes: Vec::new(),
            changes_omitted: 0,
        }
    }

    pub fn is_closed(&self) -> bool {
        self.state == DayState::Closed
    }

    /// Adds a row of `kind` to every view of it, or takes it back. Tells whether any figure took part.
    pub fn contribute(&mut self, plans: &[Plan], sign: Sign, row: &impl ExpressionRow) -> bool {
        let mut touched = false;
        for plan in plans {
            let view = match self.views.get_mut(&plan.view.name) {
                Some(view) => view,
                None => self
                    .views
                    .entry(plan.view.name.clone())
                    .or_insert_with(|| DayView { revision: plan.view.revision, ..DayView::default() }),
            };
            touched |= view.contribute(plan, sign, row);
        }
        touched
    }

    /// Makes a view anew from the entities that are kept.
    pub fn rebuild(&mut self, plan: &Plan, kind: KindId, coverage: Coverage) {
        let mut view = DayView { coverage, revision: plan.view.revision, ..DayView::default() };
        for (_, entity) in self.entities.iter().filter(|(key, _)| key.kind == kind) {
            view.contribute(plan, Sign::Add, entity);
        }
        self.views.insert(plan.view.name.clone(), view);
    }

    /// Notes why a closed day changes.
    pub fn note(&mut self, change: Change) {
        if self.changes.len() < daybook_contracts::report::MAX_CHANGES {
            self.changes.push(change);
        } else {
            self.changes_omitted += 1;
        }
    }
}
