//! Views: sets of metrics. Their expressions are checked against the kind, once that is known.

use super::alerts;
use super::ranking;
use super::reader::{Fields, Reader};
use daybook_domain::catalogue::{
    Grain, Kind, LateChange, LatePolicy, MAX_GROUP_BY, MAX_METRICS, MAX_VIEW_TENANTS, Metric, Status, View, only_final,
};
use daybook_domain::expression::{Predicate, parse_aggregate};
use daybook_domain::ids::{Name, TenantId};
use daybook_domain::plan::{Plan, PlanError};
use daybook_yaml::{Node, Value};
use std::collections::{BTreeMap, BTreeSet};

const VIEW_KEYS: [&str; 10] =
    ["name", "kind", "group_by", "metrics", "grain", "late", "late_changes", "ranking", "tenants", "alerts"];

/// A view whose form is right, as far as it was read.
pub(super) struct Draft<'a> {
    pub(super) view: View,
    kind: &'a Node,
    group_by: Vec<&'a Node>,
    /// For each metric of `view`.
    metrics: Vec<MetricNodes<'a>>,
    grain: Option<&'a Node>,
    late: Option<&'a Node>,
    ranking: Option<&'a Node>,
    /// Whether `view` is all that the file says.
    whole: bool,
}

/// Where the parts of a metric stand.
struct MetricNodes<'a> {
    name: &'a Node,
    value: &'a Node,
    filter: Option<&'a Node>,
}

/// The node that names the view, and the view where there is enough of it to go on with.
pub(super) fn read<'a>(node: &'a Node, reader: &mut Reader<'a, '_>) -> (Option<&'a Node>, Option<Draft<'a>>) {
    let before = reader.mistakes();
    let Some(fields) = reader.fields(node, "view", &VIEW_KEYS) else {
        return (None, None);
    };
    let name_node = reader.required(&fields, "name", "arrivals");
    let name = name_node.and_then(|node| reader.name(node, "name"));
    let kind_node = reader.required(&fields, "kind", "flight");
    let kind = kind_node.and_then(|node| reader.name(node, "kind"));
    let mut names = BTreeMap::new();
    let all_group_by = reader.optional_list(&fields, "group_by");
    let (group_by_nodes, group_by) = read_group_by(all_group_by, &mut names, reader);
    let metrics_node = reader.required(&fields, "metrics", "[flights: count]");
    let (nodes, metrics) = metrics_node.map_or_else(Default::default, |node| read_metrics(node, &mut names, reader));
    let grain_node = fields.get("grain");
    let grain =
        grain_node.and_then(|node| reader.word(node, "grain", &Grain::ALL.map(|grain| (grain.as_str(), grain))));
    let late_node = fields.get("late");
    let policies = LatePolicy::ALL.map(|policy| (policy.as_str(), policy));
    let late = late_node.and_then(|node| reader.word(node, "late policy", &policies));
    let late_changes = read_late_changes(reader.optional_list(&fields, "late_changes"), reader);
    let tenants = fields.get("tenants").and_then(|node| read_tenants(node, reader));
    let ranking_node = fields.get("ranking");
    // With a metric that could not be read, none can be called unknown.
    let all_metrics =
        metrics_node.is_some_and(|node| matches!(node.value(), Value::List(list) if list.len() == metrics.len()));
    let ranking = ranking_node.and_then(|node| ranking::read(node, all_metrics.then_some(&metrics[..]), reader));
    let names: Vec<Name> = metrics.iter().map(|metric| metric.name.clone()).collect();
    let are_known = all_metrics && group_by.len() == all_group_by.len();
    let columns = are_known.then_some((&group_by[..], &names[..]));
    let alerts = alerts::read(reader.optional_list(&fields, "alerts"), columns, reader);
    let draft = match (name, kind, kind_node) {
        (Some(name), Some(kind), Some(kind_node)) => Some(Draft {
            view: View {
                grain: grain.unwrap_or_default(),
                late: late.unwrap_or_default(),
                late_changes,
                ranking,
                tenants,
                alerts,
                ..View::new(name, kind, group_by, metrics)
            },
            kind: kind_node,
            group_by: group_by_nodes,
            metrics: nodes,
            grain: grain_node,
            late: fields.get("late_changes").or(late_node),
            ranking: ranking_node,
            whole: reader.mistakes() == before,
        }),
        _ => None,
    };
    (name_node, draft)
}

/// `[{ from: 2024-05-01, late: carry_forward }]`.
fn read_late_changes<'a>(nodes: &'a [Node], reader: &mut Reader<'a, '_>) -> Vec<LateChange> {
    let policies = LatePolicy::ALL.map(|policy| (policy.as_str(), policy));
    let read = |node: &'a Node| {
        let fields: Fields<'a> = reader.fields(node, "late change", &["from", "late"])?;
        let from = reader.required(&fields, "from", "2024-05-01").and_then(|node| reader.parsed(node, "from"));
        let late = reader.required(&fields, "late", "carry_forward");
        let late = late.and_then(|node| reader.word(node, "late policy", &policies));
        Some(LateChange { from: from?, late: late? })
    };
    nodes.iter().filter_map(read).collect()
}

/// Gives a view a part of another.
type AddPart = fn(&mut View, &View);

/// Every name of a row, with what has it: no two columns of a view may be called the same.
type Names<'a> = BTreeMap<&'a str, &'static str>;

fn take_name<'a>(node: &'a Node, what: &'static str, names: &mut Names<'a>, reader: &mut Reader<'a, '_>) -> bool {
    let Some(text) = node.as_text() else { return false };
    match names.insert(text, what) {
        Some(other) => {
            let message = format!("the {what} {text} has the name of a {other} above");
            reader.mistake_with_hint(node, message, "names of a view differ");
            false
        }
        None => true,
    }
}

fn read_group_by<'a>(
    nodes: &'a [Node],
    names: &mut Names<'a>,
    reader: &mut Reader<'a, '_>,
) -> (Vec<&'a Node>, Vec<Name>) {
    if let Some(node) = nodes.get(MAX_GROUP_BY) {
        reader.mistake(node, format!("groups by {} dimensions; at most {MAX_GROUP_BY} are allowed", nodes.len()));
    }
    nodes
        .iter()
        .filter_map(|node| {
            let name = reader.name(node, "dimension")?;
            take_name(node, "dimension", names, reader).then_some((node, name))
        })
        .unzip()
}

/// For whom the view is. Whether they exist is for day-manager to say.
fn read_tenants<'a>(node: &'a Node, reader: &mut Reader<'a, '_>) -> Option<BTreeSet<TenantId>> {
    let nodes = reader.list(node, "tenants")?;
    if nodes.is_empty() {
        let hint = "name some, or leave tenants out for everyone";
        reader.mistake_with_hint(node, "the view is for no tenant", hint);
    }
    if let Some(node) = nodes.get(MAX_VIEW_TENANTS) {
        let message = format!("the view is for {} tenants; at most {MAX_VIEW_TENANTS} are allowed", nodes.len());
        reader.mistake_with_hint(node, message, "leave tenants out for everyone");
    }
    let mut tenants = BTreeSet::new();
    for (node, tenant) in reader.names::<TenantId>(nodes, "tenant") {
        if let Some(twice) = tenants.replace(tenant) {
            reader.mistake(node, format!("the tenant {twice} stands here twice"));
        }
    }
    Some(tenants)
}

fn read_metrics<'a>(
    node: &'a Node,
    names: &mut Names<'a>,
    reader: &mut Reader<'a, '_>,
) -> (Vec<MetricNodes<'a>>, Vec<Metric>) {
    let items = reader.list(node, "metrics").unwrap_or_default();
    match items.get(MAX_METRICS) {
        Some(node) => reader.mistake(node, format!("{} metrics; a view has 1 to {MAX_METRICS}", items.len())),
        None if items.is_empty() && matches!(node.value(), Value::List(_)) => {
            reader.mistake_with_hint(node, "the view has no metrics", "give it one, such as metrics: [flights: count]");
        }
        None => {}
    }
    items.iter().filter_map(|item| read_metric(item, names, reader)).unzip()
}

const METRIC_KEYS: [&str; 4] = ["name", "value", "where", "status"];
const METRIC_FORMS: &str = "write it as `- flights: count` or `- { name: flights, value: count, where: … }`";

/// `flights: count`, `flights: { value: count, … }` or `{ name: flights, value: count, … }`.
fn read_metric<'a>(
    node: &'a Node,
    names: &mut Names<'a>,
    reader: &mut Reader<'a, '_>,
) -> Option<(MetricNodes<'a>, Metric)> {
    let entries = match node.value() {
        Value::Mapping(entries) => entries.as_slice(),
        _ => {
            let message = format!("expected a metric, found {}", reader.source.describe(node));
            reader.mistake_with_hint(node, message, METRIC_FORMS);
            return None;
        }
    };
    let is_known = |key: &Node| key.as_text().is_some_and(|key| METRIC_KEYS.contains(&key));
    match entries {
        [(name, value)] if !is_known(name) => match value.value() {
            Value::Mapping(_) => {
                let fields = reader.fields(value, "metric", &METRIC_KEYS[1..])?;
                let parts = read_parts(&fields, reader);
                name_metric(name, parts?, names, reader)
            }
            _ => {
                let text = reader.text(value, "what the metric computes");
                let parts = Parts { value, text: text?.to_owned(), filter: None, status: only_final() };
                name_metric(name, parts, names, reader)
            }
        },
        // `{ flights: count, where: … }`: half the one form and half the other.
        [(name, _), rest @ ..]
            if !is_known(name)
                && !rest.is_empty()
                && rest.iter().all(|(key, _)| is_known(key) && key.as_text() != Some("name")) =>
        {
            reader.mistake_with_hint(name, "a metric of several fields has a name and a value", METRIC_FORMS);
            None
        }
        _ => {
            let fields = reader.fields(node, "metric", &METRIC_KEYS)?;
            let name = reader.required(&fields, "name", "flights");
            let parts = read_parts(&fields, reader);
            name_metric(name?, parts?, names, reader)
        }
    }
}

/// A metric but for its name.
struct Parts<'a> {
    value: &'a Node,
    text: String,
    filter: Option<(&'a Node, String)>,
    status: Vec<Status>,
}

fn read_parts<'a>(fields: &Fields<'a>, reader: &mut Reader<'a, '_>) -> Option<Parts<'a>> {
    let value = reader.required(fields, "value", "count");
    let text = value.and_then(|node| reader.text(node, "value"));
    let filter = fields.get("where").map(|node| (node, reader.text(node, "where")));
    let status = match fields.get("status") {
        None => Some(only_final()),
        Some(node) => read_status(node, reader),
    };
    let filter = match filter {
        None => None,
        Some((node, text)) => Some((node, text?.to_owned())),
    };
    Some(Parts { value: value?, text: text?.to_owned(), filter, status: status? })
}

/// `void`, or `[draft, final]`.
fn read_status<'a>(node: &'a Node, reader: &mut Reader<'a, '_>) -> Option<Vec<Status>> {
    let words = Status::ALL.map(|status| (status.as_str(), status));
    let nodes = match node.value() {
        Value::List(items) => items.as_slice(),
        _ => std::slice::from_ref(node),
    };
    if nodes.is_empty() {
        reader.mistake(node, "counts entities in no status; give draft, final or void");
        return None;
    }
    let statuses: Option<Vec<Status>> = nodes.iter().map(|node| reader.word(node, "status", &words)).collect();
    let mut statuses = statuses?;
    statuses.sort_unstable();
    statuses.dedup();
    Some(statuses)
}

fn name_metric<'a>(
    node: &'a Node,
    parts: Parts<'a>,
    names: &mut Names<'a>,
    reader: &mut Reader<'a, '_>,
) -> Option<(MetricNodes<'a>, Metric)> {
    let name = reader.name(node, "name")?;
    if !take_name(node, "metric", names, reader) {
        return None;
    }
    let (filter_node, filter) = parts.filter.unzip();
    let nodes = MetricNodes { name: node, value: parts.value, filter: filter_node };
    Some((nodes, Metric { name, value: parts.text, filter, status: parts.status }))
}

impl<'a> Draft<'a> {
    /// Says that the kind is none of `known`.
    pub(super) fn unknown_kind<'k>(&self, known: impl Iterator<Item = &'k str> + Clone, reader: &mut Reader<'a, '_>) {
        reader.unknown(self.kind, "kind", self.view.kind.as_str(), known);
    }

    /// Says what is wrong when the view is computed on `kind`.
    pub(super) fn check(&self, kind: &Kind, reader: &mut Reader<'a, '_>) {
        let before = reader.mistakes();
        for (name, node) in self.view.group_by.iter().zip(&self.group_by) {
            if kind.dimension(name.as_str()).is_none() {
                let known = kind.dimensions.iter().map(|dimension| dimension.name.as_str());
                reader.unknown(node, "dimension", name.as_str(), known);
            }
        }
        for (metric, nodes) in self.view.metrics.iter().zip(&self.metrics) {
            if let Err(error) = parse_aggregate(&metric.value, kind) {
                reader.expression_mistake(nodes.value, &metric.value, error);
            }
            if let (Some(node), Some(text)) = (nodes.filter, &metric.filter)
                && let Err(error) = Predicate::parse_and_check(text, kind)
            {
                reader.expression_mistake(node, text, error);
            }
        }
        if self.whole && reader.mistakes() == before {
            self.compile(kind, reader);
        }
    }

    /// What only shows when parts are put together. They are added one by one, and the first with which the view cannot
    /// be computed is the one at fault.
    fn compile(&self, kind: &Kind, reader: &mut Reader<'a, '_>) {
        let Err(error) = Plan::compile(&self.view, kind) else { return };
        let message = |error: PlanError| match error {
            PlanError::Shape { what, .. } => what,
            other => other.to_string(),
        };
        let whole = &self.view;
        let mut view = View::new(whole.name.clone(), whole.kind.clone(), Vec::new(), Vec::new());
        for (metric, nodes) in whole.metrics.iter().zip(&self.metrics) {
            view.metrics.push(metric.clone());
            if let Err(error) = Plan::compile(&view, kind) {
                return reader.mistake(nodes.name, message(error));
            }
        }
        for (name, node) in whole.group_by.iter().zip(&self.group_by) {
            view.group_by.push(name.clone());
            if let Err(error) = Plan::compile(&view, kind) {
                return reader.mistake(node, message(error));
            }
        }
        let parts: [(Option<&Node>, AddPart); 3] = [
            (self.grain, |view, whole| view.grain = whole.grain),
            (self.late, |view, whole| (view.late, view.late_changes) = (whole.late, whole.late_changes.clone())),
            (self.ranking, |view, whole| view.ranking = whole.ranking.clone()),
        ];
        for (node, add) in parts {
            add(&mut view, whole);
            if let (Some(node), Err(error)) = (node, Plan::compile(&view, kind)) {
                return reader.mistake(node, message(error));
            }
        }
        reader.mistake(self.kind, message(error));
    }
}
