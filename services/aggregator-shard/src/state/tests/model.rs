//! The naive model: the list of everything that happened, from which each answer is worked out anew. It shares no
//! code with the state machine but the wire types: no accumulators, plans or predicates.

use super::fixtures::*;
use crate::state::KEEP_DAYS;
use daybook_contracts::ask::DayState;
use daybook_contracts::day::{DayMarker, Edge};
use daybook_contracts::log::{Event, Record};
use daybook_contracts::report::Account;
use daybook_domain::catalogue::{Definition, Metric, Status, View};
use daybook_domain::ids::TenantId;
use daybook_domain::time::Date;
use std::collections::{BTreeMap, BTreeSet};

/// What a metric means, told in another way than its definition.
#[derive(Clone, Copy)]
pub(super) struct Meaning {
    what: What,
    condition: fn(&Event) -> bool,
    statuses: &'static [Status],
}

#[derive(Clone, Copy)]
pub(super) enum What {
    Count,
    CountOf(usize),
    Sum(usize),
    Average(usize),
    Least(usize),
    Greatest(usize),
    /// The measure at this percentile, by nearest rank.
    Percentile(usize, usize),
    Distinct(usize),
    /// One metric by another, by their places.
    Ratio(usize, usize),
}

/// A view with its meaning.
#[derive(Clone)]
pub(super) struct Spec {
    pub(super) view: View,
    group_by: &'static [usize],
    /// Digits after the point of each measure.
    scales: &'static [u8],
    meanings: Vec<Meaning>,
}

fn spec(
    text: &str,
    kind: &str,
    group_by: &'static [(&'static str, usize)],
    scales: &'static [u8],
    metrics: Vec<(Metric, Meaning)>,
) -> Spec {
    let places: Vec<usize> = group_by.iter().map(|(_, place)| *place).collect();
    let names: Vec<&str> = group_by.iter().map(|(name, _)| *name).collect();
    let (metrics, meanings) = metrics.into_iter().unzip();
    Spec { view: view(text, kind, &names, metrics), group_by: places.leak(), scales, meanings }
}

fn means(
    text: &str,
    value: &str,
    what: What,
    statuses: &'static [Status],
    filter: Option<&str>,
    condition: fn(&Event) -> bool,
) -> (Metric, Meaning) {
    (metric(text, value, filter, statuses), Meaning { what, condition, statuses })
}

fn always(_: &Event) -> bool {
    true
}

fn measure(event: &Event, place: usize) -> Option<i64> {
    event.measures.get(place).copied().flatten()
}

fn dimension(event: &Event, place: usize) -> Option<&str> {
    event.dims.get(place)?.as_deref()
}

const QTY: usize = 0;
const PRICE: usize = 1;
const FEE: usize = 2;
const MS: usize = 0;
const FINAL_OR_VOID: &[Status] = &[Status::Final, Status::Void];
const ORDER_SCALES: &[u8] = &[0, 2, 2];

fn city_metrics() -> Vec<(Metric, Meaning)> {
    vec![
        means("n", "count", What::Count, FINAL, ANY, always),
        means("qty", "sum(qty)", What::Sum(QTY), FINAL_OR_VOID, ANY, always),
        means("a_only", "count", What::Count, FINAL, Some("sku = 'a'"), |e| dimension(e, 1) == Some("a")),
    ]
}

/// Views that are there from the start.
pub(super) fn early_specs() -> Vec<Spec> {
    const CITY: &[(&str, usize)] = &[("city", 0)];
    const BOTH: &[(&str, usize)] = &[("sku", 1), ("city", 0)];
    const PAGE: &[(&str, usize)] = &[("page", 0)];
    let totals = vec![
        means("n", "count", What::Count, FINAL, ANY, always),
        // So some drafts are in no figure at all.
        means("drafts", "count", What::Count, &[Status::Draft], Some("qty > 0"), |e| {
            measure(e, QTY).is_some_and(|qty| qty > 0)
        }),
        means("voids", "count", What::Count, &[Status::Void], ANY, always),
        means("known", "count(price)", What::CountOf(PRICE), FINAL, ANY, always),
        means("qty", "sum(qty)", What::Sum(QTY), FINAL, ANY, always),
        means("price_sum", "sum(price)", What::Sum(PRICE), FINAL, ANY, always),
        means("price_avg", "avg(price)", What::Average(PRICE), FINAL, ANY, always),
        means("price_min", "min(price)", What::Least(PRICE), FINAL, ANY, always),
        means("price_max", "max(price)", What::Greatest(PRICE), FINAL_OR_VOID, ANY, always),
        means("price_p50", "median(price)", What::Percentile(PRICE, 50), FINAL, ANY, always),
        means("price_p95", "quantile(price, 0.95)", What::Percentile(PRICE, 95), FINAL_OR_VOID, ANY, always),
        means("cheap", "count", What::Count, FINAL, Some("price <= 1.5"), |e| {
            measure(e, PRICE).is_some_and(|p| p <= 150)
        }),
        means("skus", "distinct(sku)", What::Distinct(1), FINAL, ANY, always),
        means("share", "ratio(cheap, n)", What::Ratio(11, 0), FINAL, ANY, always),
    ];
    let some = vec![means("n", "count", What::Count, FINAL, Some("qty > 1 and city is not null"), |e| {
        measure(e, QTY).is_some_and(|qty| qty > 1) && dimension(e, 0).is_some()
    })];
    let clicks = vec![
        means("n", "count", What::Count, FINAL, ANY, always),
        means("ms", "sum(ms)", What::Sum(MS), FINAL, ANY, always),
        means("slowest", "max(ms)", What::Greatest(MS), FINAL, ANY, always),
    ];
    vec![
        spec("order-totals", "order", &[], ORDER_SCALES, totals),
        spec("order-cities", "order", CITY, ORDER_SCALES, city_metrics()),
        spec("order-some", "order", BOTH, ORDER_SCALES, some),
        spec("click-totals", "click", &[], &[0], clicks),
        spec("click-pages", "click", PAGE, &[0], vec![means("n", "count", What::Count, FINAL, ANY, always)]),
    ]
}

/// Views that are defined in the middle of a history.
pub(super) fn late_specs() -> Vec<Spec> {
    const CITY: &[(&str, usize)] = &[("city", 0)];
    let clicks = vec![means("n", "count", What::Count, FINAL, ANY, always)];
    vec![
        spec("late-cities", "order", CITY, ORDER_SCALES, city_metrics()),
        spec("late-clicks", "click", &[], &[0], clicks),
    ]
}

/// A view of the columns that [`wider_orders`] adds.
pub(super) fn channel_spec() -> Spec {
    const CHANNEL: &[(&str, usize)] = &[("channel", 2)];
    let metrics = vec![
        means("n", "count", What::Count, FINAL, ANY, always),
        means("fee", "sum(fee)", What::Sum(FEE), FINAL, ANY, always),
    ];
    spec("order-channels", "order", CHANNEL, ORDER_SCALES, metrics)
}

/// Cells as texts, by name; nothing is an empty text.
pub(super) type Cells = Vec<(String, String)>;

impl Spec {
    fn takes(&self, event: &Event) -> bool {
        self.meanings.iter().any(|meaning| meaning.takes(event))
    }

    fn rows(&self, events: &[&Event]) -> Vec<Cells> {
        let key =
            |event: &Event| self.group_by.iter().map(|place| dimension(event, *place).map(str::to_owned)).collect();
        let taken: Vec<&Event> = events.iter().copied().filter(|event| self.takes(event)).collect();
        let mut keys: BTreeSet<Vec<Option<String>>> = taken.iter().map(|event| key(event)).collect();
        if self.group_by.is_empty() {
            keys.insert(Vec::new());
        }
        let row = |group: Vec<Option<String>>| {
            let members: Vec<&Event> = taken.iter().copied().filter(|event| key(event) == group).collect();
            let mut metrics: Vec<Option<(i128, u32)>> = Vec::new();
            for meaning in &self.meanings {
                metrics.push(meaning.value(&members, &metrics, self.scales));
            }
            let names = self.view.group_by.iter().chain(self.view.metrics.iter().map(|metric| &metric.name));
            let texts = group.into_iter().map(Option::unwrap_or_default);
            let numbers = metrics.into_iter().map(|number| number.map(decimal).unwrap_or_default());
            names.map(ToString::to_string).zip(texts.chain(numbers)).collect()
        };
        keys.into_iter().map(row).collect()
    }
}

impl Meaning {
    fn takes(&self, event: &Event) -> bool {
        self.statuses.contains(&event.status) && (self.condition)(event)
    }

    /// The unscaled value and its digits after the point.
    fn value(&self, group: &[&Event], above: &[Option<(i128, u32)>], scales: &[u8]) -> Option<(i128, u32)> {
        let rows: Vec<&Event> = group.iter().copied().filter(|event| self.takes(event)).collect();
        let sorted = |place: usize| {
            let mut values: Vec<i128> = rows.iter().filter_map(|e| measure(e, place)).map(i128::from).collect();
            values.sort_unstable();
            values
        };
        let scale = |place: usize| u32::from(scales[place]);
        match self.what {
            What::Count => Some((rows.len() as i128, 0)),
            What::CountOf(place) => Some((sorted(place).len() as i128, 0)),
            What::Sum(place) => Some((sorted(place).iter().sum(), scale(place))),
            What::Average(place) => {
                let values = sorted(place);
                divide(values.iter().sum(), values.len() as i128).map(|value| (value, scale(place) + 6))
            }
            What::Least(place) => sorted(place).first().map(|value| (*value, scale(place))),
            What::Greatest(place) => sorted(place).last().map(|value| (*value, scale(place))),
            What::Percentile(place, percent) => {
                let values = sorted(place);
                let rank = (values.len() * percent).div_ceil(100);
                rank.checked_sub(1).map(|index| (values[index], scale(place)))
            }
            What::Distinct(place) => {
                let values: BTreeSet<&str> = rows.iter().filter_map(|e| dimension(e, place)).collect();
                Some((values.len() as i128, 0))
            }
            What::Ratio(one, other) => divide(above[one]?.0, above[other]?.0).map(|value| (value, 6)),
        }
    }
}

/// `sum / n` in millionths, rounded half to even.
fn divide(sum: i128, n: i128) -> Option<i128> {
    if n == 0 {
        return None;
    }
    let (down, rest) = ((sum * 1_000_000).div_euclid(n), (sum * 1_000_000).rem_euclid(n));
    let up = rest * 2 > n || (rest * 2 == n && down % 2 != 0);
    Some(down + i128::from(up))
}

/// Written without trailing zeros.
fn decimal((unscaled, digits): (i128, u32)) -> String {
    let sign = if unscaled < 0 { "-" } else { "" };
    let unit = 10_u128.pow(digits);
    let (whole, fraction) = (unscaled.unsigned_abs() / unit, unscaled.unsigned_abs() % unit);
    let text = format!("{sign}{whole}.{fraction:0width$}", width = digits as usize);
    let text = if digits == 0 { format!("{sign}{whole}") } else { text.trim_end_matches('0').to_owned() };
    text.trim_end_matches('.').to_owned()
}

/// One thing that happened, at a place in the log.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) position: u64,
    inbox: u64,
    what: Happening,
}

#[derive(Clone, Debug)]
enum Happening {
    Event { tenant: TenantId, kind: String, event: Event },
    Reject { tenant: String, date: Option<Date> },
    Marker(DayMarker),
    Tenant,
    Kind,
    View(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Disposition {
    Counted,
    Pending,
    Duplicate,
    Stale,
    Rejected,
}

/// What became of an entry.
#[derive(Clone, Copy, Debug)]
struct Fate {
    /// The day on whose account it stands.
    booked: Date,
    disposition: Disposition,
    /// What an accepted event with an id took the place of.
    replaces: Option<usize>,
    version: u64,
}

impl Fate {
    fn is_accepted(&self) -> bool {
        matches!(self.disposition, Disposition::Counted | Disposition::Pending)
    }
}

/// A report version that the rules demand.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Demand {
    pub(super) tenant: TenantId,
    pub(super) date: Date,
    /// How many entries its figures rest on.
    pub(super) entries: usize,
    /// INBOX sequence and index of the events that are the reason for it.
    pub(super) changes: Vec<(u64, u32)>,
}

/// A day as it should be.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ModelDay {
    pub(super) state: DayState,
    pub(super) account: Account,
}

/// Everything that happened. All tenants begin with day 0.
pub(super) struct Model {
    specs: Vec<Spec>,
    entries: Vec<Entry>,
    fates: Vec<Option<Fate>>,
}

impl Model {
    pub(super) fn new() -> Self {
        let specs = [early_specs(), late_specs(), vec![channel_spec()]].concat();
        Self { specs, entries: Vec::new(), fates: Vec::new() }
    }

    /// The names of all views that a history may have.
    pub(super) fn every_view() -> Vec<String> {
        Self::new().specs.iter().map(|spec| spec.view.name.to_string()).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The views that are defined among the first `upto` entries.
    pub(super) fn views(&self, upto: usize) -> impl Iterator<Item = &Spec> {
        self.specs.iter().filter(move |spec| self.defined_at(spec, upto).is_some())
    }

    pub(super) fn push(&mut self, position: u64, record: &Record) {
        let happenings: Vec<(u64, Happening)> = match record {
            Record::Events(run) => {
                let happening = |event: &Event| Happening::Event {
                    tenant: run.tenant.clone(),
                    kind: run.kind.to_string(),
                    event: event.clone(),
                };
                run.events.iter().map(|event| (run.inbox.0, happening(event))).collect()
            }
            Record::Rejected(reject) => {
                vec![(reject.inbox.0, Happening::Reject { tenant: reject.tenant.clone(), date: reject.date })]
            }
            Record::Day(marker) => vec![(0, Happening::Marker(marker.clone()))],
            Record::Define(Definition::View(view)) => vec![(0, Happening::View(view.name.to_string()))],
            Record::Define(Definition::Tenant(_)) => vec![(0, Happening::Tenant)],
            Record::Define(_) => vec![(0, Happening::Kind)],
        };
        for (inbox, what) in happenings {
            self.entries.push(Entry { position, inbox, what });
            let fate = self.fate(self.entries.len() - 1);
            self.fates.push(fate);
        }
    }

    fn fate(&self, index: usize) -> Option<Fate> {
        let plain = |booked, disposition| Some(Fate { booked, disposition, replaces: None, version: 0 });
        let (tenant, kind, event) = match &self.entries[index].what {
            Happening::Event { tenant, kind, event } => (tenant, kind, event),
            Happening::Reject { tenant, date } => {
                let tenant = TenantId::new(tenant).ok().filter(|tenant| ["ABQ", "JFK"].contains(&tenant.as_str()))?;
                let booked = date.unwrap_or_else(|| self.current_day(&tenant, index));
                return plain(booked.max(self.expired_before(&tenant, index)), Disposition::Rejected);
            }
            _ => return None,
        };
        let expired_before = self.expired_before(tenant, index);
        if event.date < expired_before {
            return plain(self.current_day(tenant, index).max(expired_before), Disposition::Rejected);
        }
        let taken = match event.status {
            Status::Draft => Disposition::Pending,
            Status::Final | Status::Void => Disposition::Counted,
        };
        let Some(known) = self.known(index, tenant, kind, event) else {
            let version = event.version.unwrap_or(0);
            return Some(Fate { booked: event.date, disposition: taken, replaces: None, version });
        };
        let (_, old) = self.event(known);
        let known_version = self.fates[known].expect("an accepted event").version;
        let same = says_the_same(old, event);
        let is_newer = event.version.is_none_or(|version| version > known_version);
        let is_older = event.version.is_some_and(|version| version < known_version);
        let disposition = match (kind == "click", same) {
            (true, true) => Disposition::Duplicate,
            (true, false) => Disposition::Rejected,
            (false, true) if event.version.is_none() => Disposition::Duplicate,
            (false, _) if is_newer => taken,
            (false, _) if is_older => Disposition::Stale,
            (false, true) => Disposition::Duplicate,
            (false, false) => Disposition::Rejected,
        };
        let version = event.version.unwrap_or(known_version + 1);
        Some(Fate { booked: event.date, disposition, replaces: Some(known), version })
    }

    fn event(&self, index: usize) -> (&TenantId, &Event) {
        match &self.entries[index].what {
            Happening::Event { tenant, event, .. } => (tenant, event),
            other => panic!("{other:?} is no event"),
        }
    }

    /// The accepted version of the event's entity before `index`, if its day is kept.
    fn known(&self, index: usize, tenant: &TenantId, kind: &str, event: &Event) -> Option<usize> {
        event.id.as_ref()?;
        let newest = (0..index).rev().find(|before| match &self.entries[*before].what {
            Happening::Event { tenant: t, kind: k, event: e } => {
                t == tenant && k == kind && e.id == event.id && self.fates[*before].is_some_and(|f| f.is_accepted())
            }
            _ => false,
        })?;
        (self.event(newest).1.date >= self.expired_before(tenant, index)).then_some(newest)
    }

    fn markers<'a>(&'a self, tenant: &'a TenantId, upto: usize) -> impl Iterator<Item = (usize, Edge, Date)> + 'a {
        self.entries[..upto].iter().enumerate().filter_map(move |(index, entry)| match &entry.what {
            Happening::Marker(marker) if marker.tenant == *tenant => Some((index, marker.edge, marker.day.date)),
            _ => None,
        })
    }

    pub(super) fn expired_before(&self, tenant: &TenantId, upto: usize) -> Date {
        let closed = self.markers(tenant, upto).filter(|(_, edge, _)| *edge == Edge::Closed);
        closed.map(|(_, _, date)| date.plus(-KEEP_DAYS)).max().unwrap_or(date(0)).max(date(0))
    }

    /// The first marker of its edge and day, of a day that was kept then.
    fn takes_effect(&self, tenant: &TenantId, index: usize, edge: Edge, date: Date) -> bool {
        let mut before = self.markers(tenant, index).filter(|(_, _, other)| *other == date);
        let stale = match edge {
            Edge::Opened => before.next().is_some(),
            Edge::Closed => before.any(|(_, edge, _)| edge == Edge::Closed),
        };
        !stale && date >= self.expired_before(tenant, index)
    }

    fn current_day(&self, tenant: &TenantId, upto: usize) -> Date {
        let opened = self
            .markers(tenant, upto)
            .filter(|(index, edge, date)| *edge == Edge::Opened && self.takes_effect(tenant, *index, *edge, *date));
        opened.map(|(_, _, date)| date).max().unwrap_or(date(0))
    }

    fn is_closed(&self, tenant: &TenantId, date: Date, upto: usize) -> bool {
        date >= self.expired_before(tenant, upto)
            && self.markers(tenant, upto).any(|(index, edge, marked)| {
                edge == Edge::Closed && marked == date && self.takes_effect(tenant, index, edge, date)
            })
    }

    /// The days that are kept, as of the first `upto` entries.
    pub(super) fn days(&self, tenant: &TenantId, upto: usize) -> BTreeMap<Date, ModelDay> {
        let expired_before = self.expired_before(tenant, upto);
        let mut accounts: BTreeMap<Date, Account> = BTreeMap::new();
        for index in 0..upto {
            let (date, disposition) = match (&self.entries[index].what, self.fates[index]) {
                (Happening::Event { tenant: of, .. }, Some(fate)) if of == tenant => (fate.booked, fate.disposition),
                (Happening::Reject { tenant: of, .. }, Some(fate)) if of == tenant.as_str() => {
                    (fate.booked, fate.disposition)
                }
                _ => continue,
            };
            let account = accounts.entry(date).or_default();
            account.published += 1;
            match disposition {
                Disposition::Counted => account.counted += 1,
                Disposition::Pending => account.pending += 1,
                Disposition::Duplicate => account.duplicate += 1,
                Disposition::Stale => account.stale += 1,
                Disposition::Rejected => account.rejected += 1,
            }
        }
        let mut opened = BTreeSet::new();
        for (index, edge, date) in self.markers(tenant, upto) {
            if self.takes_effect(tenant, index, edge, date) {
                accounts.entry(date).or_default();
                opened.insert(date);
            }
        }
        let day = |(date, account): (Date, Account)| {
            let state = match (self.is_closed(tenant, date, upto), opened.contains(&date)) {
                (true, _) => DayState::Closed,
                (false, true) => DayState::Open,
                (false, false) => DayState::Upcoming,
            };
            (date, ModelDay { state, account })
        };
        accounts.into_iter().filter(|(date, _)| *date >= expired_before).map(day).collect()
    }

    /// Where the view's newest definition stands among the first `upto` entries.
    fn defined_at(&self, spec: &Spec, upto: usize) -> Option<usize> {
        let is_it = |entry: &Entry| matches!(&entry.what, Happening::View(name) if name == spec.view.name.as_str());
        self.entries[..upto].iter().rposition(is_it)
    }

    /// The rows of a view of a day that is kept, as of the first `upto` entries.
    pub(super) fn rows(&self, spec: &Spec, tenant: &TenantId, date: Date, upto: usize) -> Vec<Cells> {
        let defined_at = self.defined_at(spec, upto).expect("a view that is defined");
        let replaced: BTreeSet<usize> = self.fates[..upto]
            .iter()
            .filter_map(|fate| fate.filter(Fate::is_accepted).and_then(|fate| fate.replaces))
            .collect();
        let standing = |index: usize| match (&self.entries[index].what, self.fates[index]) {
            (Happening::Event { tenant: of, kind, event }, Some(fate)) => (of == tenant
                && *kind == spec.view.kind.as_str()
                && event.date == date
                && fate.is_accepted()
                && !replaced.contains(&index)
                // Single facts are not kept: a view has those that came after it.
                && (event.id.is_some() || index > defined_at))
                .then_some(event),
            _ => None,
        };
        let events: Vec<&Event> = (0..upto).filter_map(standing).collect();
        spec.rows(&events)
    }

    /// Since which position in the log the view is whole, if it is not whole from the start.
    pub(super) fn partial_from(&self, spec: &Spec, tenant: &TenantId, date: Date, upto: usize) -> Option<u64> {
        let defined_at = self.defined_at(spec, upto)?;
        let published = self.days(tenant, defined_at).get(&date).map_or(0, |day| day.account.published);
        (spec.view.kind.as_str() == "click" && published > 0).then(|| self.entries[defined_at].position)
    }

    /// The report versions that the batch of the entries from `begin` on demands, in order.
    pub(super) fn demands(&self, begin: usize) -> Vec<Demand> {
        let end = self.entries.len();
        let mut demands = Vec::new();
        let mut late: BTreeMap<(TenantId, Date), Vec<(u64, u32)>> = BTreeMap::new();
        for index in begin..end {
            match &self.entries[index].what {
                Happening::Marker(marker) if marker.edge == Edge::Closed => {
                    let (tenant, date) = (marker.tenant.clone(), marker.day.date);
                    if self.takes_effect(&tenant, index, Edge::Closed, date) {
                        demands.push(Demand { tenant, date, entries: index + 1, changes: Vec::new() });
                    }
                }
                Happening::Event { tenant, event, .. } => {
                    let change = (self.entries[index].inbox, event.index);
                    for date in self.days_changed_late(index) {
                        late.entry((tenant.clone(), date)).or_default().push(change);
                    }
                }
                _ => {}
            }
        }
        let late = late.into_iter();
        demands.extend(late.map(|((tenant, date), changes)| Demand { tenant, date, entries: end, changes }));
        demands
    }

    /// The closed days that the event at `index` changed: its own, and the one whose figures its entity left.
    fn days_changed_late(&self, index: usize) -> Vec<Date> {
        let (tenant, event) = self.event(index);
        let Some(fate) = self.fates[index].filter(Fate::is_accepted) else { return Vec::new() };
        let mut dates = vec![event.date];
        if let Some(old) = fate.replaces {
            let (_, old) = self.event(old);
            let counted =
                self.views(index).any(|spec| spec.view.kind.as_str() == self.kind_of(index) && spec.takes(old));
            if old.date != event.date && counted {
                dates.push(old.date);
            }
        }
        dates.retain(|date| self.is_closed(tenant, *date, index));
        dates
    }

    fn kind_of(&self, index: usize) -> &str {
        match &self.entries[index].what {
            Happening::Event { kind, .. } => kind,
            _ => "",
        }
    }
}

/// Equal but for version and place, and for columns that only one of them knows and that are null there.
fn says_the_same(one: &Event, other: &Event) -> bool {
    let columns = one.dims.len().max(other.dims.len()).max(one.measures.len()).max(other.measures.len());
    one.status == other.status
        && one.at == other.at
        && (0..columns).all(|place| dimension(one, place) == dimension(other, place))
        && (0..columns).all(|place| measure(one, place) == measure(other, place))
}
