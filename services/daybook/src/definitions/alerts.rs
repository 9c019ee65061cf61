//! The alerts of a view, `[{ name: low_revenue, when: revenue < 0 }]`, and those of a tenant, `[day_sealed, report_restated]`.

use super::reader::Reader;
use daybook_domain::alerts::{MAX_ALERTS, ReportAlert, ViewAlert};
use daybook_domain::expression::FigurePredicate;
use daybook_domain::ids::Name;
use daybook_yaml::Node;
use std::collections::BTreeSet;

/// The columns of a view: the dimensions that it groups by, and its metrics.
pub(super) type Columns<'c> = (&'c [Name], &'c [Name]);

/// Reads the alerts of a view with these columns; not given when some of them are not known.
pub(super) fn read<'a>(nodes: &'a [Node], columns: Option<Columns<'_>>, reader: &mut Reader<'a, '_>) -> Vec<ViewAlert> {
    if let Some(node) = nodes.get(MAX_ALERTS) {
        reader.mistake(node, format!("{} alerts; a view has at most {MAX_ALERTS}", nodes.len()));
    }
    let mut names = BTreeSet::new();
    nodes.iter().filter_map(|node| read_alert(node, columns, &mut names, reader)).collect()
}

/// One alert; `names` are those of the alerts above.
fn read_alert<'a>(
    node: &'a Node,
    columns: Option<Columns<'_>>,
    names: &mut BTreeSet<Name>,
    reader: &mut Reader<'a, '_>,
) -> Option<ViewAlert> {
    let fields = reader.fields(node, "alert", &["name", "when"])?;
    let name_node = reader.required(&fields, "name", "low_revenue");
    let name: Option<Name> = name_node.and_then(|node| reader.name(node, "name"));
    if let (Some(name), Some(node)) = (&name, name_node) {
        if ReportAlert::ALL.iter().any(|taken| taken.as_str() == name.as_str()) {
            let hint = format!("list {name} under `alerts` of a tenant, or choose another name");
            reader.mistake_with_hint(node, format!("{name} is an alert for the reports of a tenant"), hint);
        }
        if !names.insert(name.clone()) {
            reader.mistake(node, format!("two alerts are named {name}"));
        }
    }
    let when_node = reader.required(&fields, "when", "revenue < 0")?;
    let when = reader.text(when_node, "when")?;
    if let Some((dimensions, metrics)) = columns
        && let Err(error) = FigurePredicate::parse_and_check(when, dimensions, metrics)
    {
        reader.expression_mistake(when_node, when, error);
    }
    Some(ViewAlert { name: name?, when: when.to_owned() })
}

/// Reads the alerts that a tenant gets for its reports.
pub(super) fn read_of_reports<'a>(nodes: &'a [Node], reader: &mut Reader<'a, '_>) -> BTreeSet<ReportAlert> {
    let words = ReportAlert::ALL.map(|alert| (alert.as_str(), alert));
    let mut alerts = BTreeSet::new();
    for node in nodes {
        if let Some(alert) = reader.word(node, "alert", &words)
            && !alerts.insert(alert)
        {
            reader.mistake(node, format!("the alert {alert} stands here twice"));
        }
    }
    alerts
}
