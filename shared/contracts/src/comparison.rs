//! The difference between two versions of a day's report, with figures before and after. Pure: the command line and the
//! gateway both show it.
//!
//! A row is the same row in both versions when its texts are: the dimensions, and the time of a finer grain. Everything else
//! in a row is a figure.

use crate::report::{Account, Change, Coverage, Figure, Report, Row, ViewRows};
use compact_str::CompactString;
use daybook_domain::ids::{Name, TenantId};
use daybook_domain::time::Date;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// What two versions of a report say differently. Its length is bounded by theirs: at most each row of both is in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Comparison {
    pub tenant: TenantId,
    pub date: Date,
    /// The earlier version.
    pub from: u32,
    /// The later version.
    pub to: u32,
    /// The late events that the later version names as its reason, at most [`MAX_CHANGES`](crate::report::MAX_CHANGES).
    pub changes: Vec<Change>,
    pub changes_omitted: u64,
    /// How many versions lie between the two. Each of them names its own changes.
    pub versions_between: u32,
    /// The dispositions whose counts differ, by name.
    pub dispositions: BTreeMap<&'static str, Both<u64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub coverage: Option<Both<Coverage>>,
    /// The views that differ, by name.
    pub views: BTreeMap<Name, ViewComparison>,
}

/// A value in the earlier version and in the later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Both<T> {
    pub before: T,
    pub after: T,
}

/// The differences of one view.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ViewComparison {
    /// The revisions of the view's definition, if they differ. `None` in the version that does not have the view.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub definition: Option<Both<Option<u64>>>,
    /// The numbers of rows, if they differ.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<Both<u64>>,
    /// The rows that differ: those of the later version in its order, then those that it no longer has.
    pub rows: Vec<RowComparison>,
    /// How many rows cannot be compared, because one of the reports had no room for all of its rows.
    #[serde(skip_serializing_if = "crate::report::is_zero")]
    pub rows_unknown: u64,
}

/// The differences of one row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RowComparison {
    /// The texts that tell it from other rows; empty for the only row of a view.
    pub key: Row,
    pub row: RowChange,
    /// The figures that differ, in the order of the columns.
    pub figures: Vec<FigureComparison>,
}

/// Which of the versions has the row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RowChange {
    /// Both versions.
    Changed,
    /// Only the later one.
    New,
    /// Only the earlier one.
    Gone,
}

impl RowChange {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::New => "new",
            Self::Gone => "gone",
        }
    }
}

/// A figure before and after; null where the version does not have the row, or the column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FigureComparison {
    pub name: Name,
    pub before: Figure,
    pub after: Figure,
}

/// The reason that there is no earlier version to compare with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoEarlier {
    #[error("version {0} is the first of its day: there is no earlier version to compare it with")]
    First(u32),
    #[error("version {from} is not earlier than version {to}: name the earlier version first")]
    Order { from: u32, to: u32 },
}

/// The version that `to` is compared with: the one before it unless another is named.
///
/// # Errors
/// [`NoEarlier`].
pub fn earlier_version(to: &Report, named: Option<u32>) -> Result<u32, NoEarlier> {
    match named {
        Some(from) if from >= to.version => Err(NoEarlier::Order { from, to: to.version }),
        Some(from) => Ok(from),
        None => to.supersedes.as_ref().map(|old| old.version).ok_or(NoEarlier::First(to.version)),
    }
}

/// Compares two versions of the report of one day.
///
/// ```
/// # use daybook_contracts::{comparison::compare, report::Report};
/// # fn show(version_1: &Report, version_2: &Report) {
/// for (view, differences) in compare(version_1, version_2).views {
///     println!("{view}: {} rows differ", differences.rows.len());
/// }
/// # }
/// ```
pub fn compare(before: &Report, after: &Report) -> Comparison {
    let names: BTreeSet<&Name> = before.views.keys().chain(after.views.keys()).collect();
    let views = names.into_iter().filter_map(|name| {
        let definition = both(before.definitions.views.get(name).copied(), after.definitions.views.get(name).copied());
        let nothing = ViewRows::default();
        let [before, after] = [before, after].map(|report| report.views.get(name).unwrap_or(&nothing));
        let view = ViewComparison { definition, ..compare_rows(before, after) };
        (view != ViewComparison::default()).then(|| (name.clone(), view))
    });
    Comparison {
        tenant: after.tenant.clone(),
        date: after.date,
        from: before.version,
        to: after.version,
        changes: after.changes.clone(),
        changes_omitted: after.changes_omitted,
        versions_between: after.version.saturating_sub(before.version).saturating_sub(1),
        dispositions: compare_accounts(&before.dispositions, &after.dispositions),
        coverage: both(before.coverage.clone(), after.coverage.clone()),
        views: views.collect(),
    }
}

/// Both values, if they differ.
fn both<T: PartialEq>(before: T, after: T) -> Option<Both<T>> {
    (before != after).then_some(Both { before, after })
}

fn compare_accounts(before: &Account, after: &Account) -> BTreeMap<&'static str, Both<u64>> {
    let counts = before.named().into_iter().zip(after.named());
    counts.filter_map(|((name, before), (_, after))| Some((name, both(before, after)?))).collect()
}

fn compare_rows(before: &ViewRows, after: &ViewRows) -> ViewComparison {
    let keys: BTreeSet<&Name> = before.rows.iter().chain(&after.rows).flat_map(texts).collect();
    // What stands in the columns of `keys`, in their order.
    let key = |row: &Row| -> Vec<Option<CompactString>> {
        let value = |name: &&Name| match row.get(name.as_str()) {
            Some(Figure::Text(text)) => Some(text.clone()),
            _ => None,
        };
        keys.iter().map(value).collect()
    };
    let mut left: BTreeMap<_, &Row> = before.rows.iter().map(|row| (key(row), row)).collect();
    let is_whole = |rows: &ViewRows| rows.total <= rows.rows.len() as u64;
    let mut view = ViewComparison { total: both(before.total, after.total), ..ViewComparison::default() };
    for row in &after.rows {
        match left.remove(&key(row)) {
            Some(old) => view.rows.extend(compare_row(Some(old), Some(row), &keys)),
            None if is_whole(before) => view.rows.extend(compare_row(None, Some(row), &keys)),
            None => view.rows_unknown += 1,
        }
    }
    // In the order of the earlier version.
    for old in before.rows.iter().filter(|row| left.contains_key(&key(row))) {
        match is_whole(after) {
            true => view.rows.extend(compare_row(Some(old), None, &keys)),
            false => view.rows_unknown += 1,
        }
    }
    view
}

/// The columns of a row that hold a text.
fn texts(row: &Row) -> impl Iterator<Item = &Name> {
    row.0.iter().filter(|(_, figure)| matches!(figure, Figure::Text(_))).map(|(name, _)| name)
}

/// The difference between two forms of a row, one of which is there; `None` when there is none.
fn compare_row(before: Option<&Row>, after: Option<&Row>, keys: &BTreeSet<&Name>) -> Option<RowComparison> {
    let row = match (before, after) {
        (Some(_), Some(_)) => RowChange::Changed,
        (None, _) => RowChange::New,
        (_, None) => RowChange::Gone,
    };
    let shown = after.or(before)?;
    let only_before =
        before.into_iter().flat_map(|old| old.0.iter().filter(|(name, _)| shown.get(name.as_str()).is_none()));
    let columns = shown.0.iter().chain(only_before).map(|(name, _)| name);
    let value =
        |row: Option<&Row>, name: &Name| row.and_then(|row| row.get(name.as_str())).cloned().unwrap_or(Figure::Null);
    let figures: Vec<FigureComparison> = columns
        .filter(|name| !keys.contains(name))
        .map(|name| FigureComparison { name: name.clone(), before: value(before, name), after: value(after, name) })
        .filter(|figure| figure.before != figure.after)
        .collect();
    let key = Row(shown.0.iter().filter(|(name, _)| keys.contains(name)).cloned().collect());
    (row != RowChange::Changed || !figures.is_empty()).then_some(RowComparison { key, row, figures })
}

#[cfg(test)]
mod tests;
