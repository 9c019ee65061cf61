//! `daybook report --diff`: what a version of a report says differently from an earlier one.

use crate::table::{Table, figure};
use daybook_contracts::comparison::{Comparison, ViewComparison};
use daybook_contracts::report::{Figure, Row};
use daybook_domain::ids::Name;
use std::str::FromStr;

/// Two versions of a report: `FROM..TO`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Versions {
    pub from: u32,
    pub to: u32,
}

/// The text does not name two versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write two versions as FROM..TO, such as 1..3; or write --diff last and alone, for the version before")]
pub(super) struct NoVersions;

impl FromStr for Versions {
    type Err = NoVersions;

    fn from_str(text: &str) -> Result<Self, NoVersions> {
        let (from, to) = text.split_once("..").ok_or(NoVersions)?;
        let version = |text: &str| text.parse().ok().filter(|version| *version >= 1).ok_or(NoVersions);
        Ok(Self { from: version(from)?, to: version(to)? })
    }
}

/// Prints the difference.
///
/// # Errors
/// When standard output cannot be written to.
pub(super) fn show(comparison: &Comparison) -> anyhow::Result<()> {
    let line = |text: String| super::super::print_line(&text);
    let Comparison { tenant, date, from, to, .. } = comparison;
    line(format!("{tenant}  {date}  version {from} → version {to}"))?;
    super::show_changes(&comparison.changes, comparison.changes_omitted)?;
    match comparison.versions_between {
        0 => {}
        1 => line("    1 version is between: its own --diff names its events".to_owned())?,
        many => line(format!("    {many} versions are between: their own --diff names their events"))?,
    }
    if let Some(coverage) = &comparison.coverage {
        line(format!("  coverage   {:?} → {:?}", coverage.before, coverage.after))?;
    }
    if !comparison.dispositions.is_empty() {
        line("\nevents".to_owned())?;
        let mut table = Table::new(["DISPOSITION", "BEFORE", "AFTER"]);
        for (name, counts) in &comparison.dispositions {
            table.row([(*name).to_owned(), counts.before.to_string(), counts.after.to_string()]);
        }
        table.print()?;
    }
    for (name, view) in &comparison.views {
        show_view(name, view)?;
    }
    if comparison.views.is_empty() {
        line("\nno figure differs".to_owned())?;
    }
    Ok(())
}

fn show_view(name: &Name, view: &ViewComparison) -> anyhow::Result<()> {
    let line = |text: String| super::super::print_line(&text);
    line(format!("\n{name}"))?;
    if let Some(definition) = &view.definition {
        let revision = |revision: Option<u64>| revision.map_or("none".to_owned(), |revision| revision.to_string());
        line(format!("  definition, revision {} → {}", revision(definition.before), revision(definition.after)))?;
    }
    if let Some(total) = view.total {
        line(format!("  rows {} → {}", total.before, total.after))?;
    }
    if !view.rows.is_empty() {
        table(view).print()?;
    }
    if view.rows_unknown > 0 {
        line(format!("  {} rows cannot be compared: a report had no room for all rows", view.rows_unknown))?;
    }
    Ok(())
}

/// A line for each figure that differs.
fn table(view: &ViewComparison) -> Table {
    let mut table = Table::new(["ROW", "CHANGE", "METRIC", "BEFORE", "AFTER"]);
    for row in &view.rows {
        let (key, change) = (key(&row.key), row.row.as_str());
        for differs in &row.figures {
            table.row([&key, change, differs.name.as_str(), &figure(&differs.before), &figure(&differs.after)]);
        }
        if row.figures.is_empty() {
            table.row([&key, change, "-", "-", "-"]);
        }
    }
    table
}

/// The texts that tell a row from others: `east, books`.
fn key(key: &Row) -> String {
    let texts: Vec<String> = key.0.iter().map(|(_, text): &(Name, Figure)| figure(text)).collect();
    if texts.is_empty() { "all".to_owned() } else { texts.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use daybook_contracts::comparison::{FigureComparison, RowChange, RowComparison};

    #[test]
    fn two_versions_are_read_and_nothing_else() {
        assert_eq!("1..3".parse(), Ok(Versions { from: 1, to: 3 }));
        for text in ["", "1", "..", "1..", "..2", "0..1", "1..x", "1...2", "2024-03-01", "1..4294967296"] {
            assert_eq!(text.parse::<Versions>(), Err(NoVersions), "{text}");
        }
    }

    #[test]
    fn each_figure_that_differs_is_a_line() {
        let name = |text| Name::new(text).unwrap();
        let orders = FigureComparison { name: name("orders"), before: Figure::integer(1), after: Figure::integer(2) };
        let east = Row(vec![(name("store"), Figure::Text("east".into())), (name("till"), Figure::Null)]);
        let changed = RowComparison { key: east, row: RowChange::Changed, figures: vec![orders] };
        let gone = RowComparison { key: Row::default(), row: RowChange::Gone, figures: Vec::new() };
        let view = ViewComparison { rows: vec![changed, gone], ..ViewComparison::default() };
        assert_eq!(
            table(&view).render(None),
            "ROW      CHANGE   METRIC  BEFORE  AFTER\n\
             east, -  changed  orders       1      2\n\
             all      gone     -            -      -\n"
        );
    }
}
