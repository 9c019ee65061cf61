//! Views, and what they mean, told in another way than their definitions: no accumulators, plans or predicates.

use super::fixtures::*;
use daybook_contracts::log::Event;
use daybook_domain::catalogue::{
    Direction, Earliest, Grain, LateChange, LatePolicy, Metric, RankedBy, Ranking, Status, Ties, View,
};
use daybook_domain::time::{Date, Instant};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

/// What a metric means.
#[derive(Clone, Copy, Debug)]
struct Meaning {
    what: What,
    condition: fn(&Event) -> bool,
    statuses: &'static [Status],
}

#[derive(Clone, Copy, Debug)]
enum What {
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
#[derive(Clone, Debug)]
pub(super) struct Spec {
    pub(super) view: View,
    group_by: Vec<usize>,
    /// Digits after the point of each measure.
    scales: &'static [u8],
    meanings: Vec<Meaning>,
    /// The metrics by which it ranks, each with whether the largest comes first; the earlier is before among equals.
    ranked_by: Vec<(usize, bool)>,
}

/// One event that was put into a window, or taken out of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Contribution<'m> {
    /// Which of the log's entries it is.
    pub(super) entry: usize,
    pub(super) event: &'m Event,
    /// 1, or -1 when it was taken out.
    pub(super) sign: i64,
    pub(super) date: Date,
}

/// What is left of an event's contributions: in whatever is additive it may be negative.
#[derive(Clone, Debug)]
struct Member<'m> {
    event: &'m Event,
    net: i64,
    time: Option<String>,
}

/// A figure: the unscaled value and its digits after the point. One metric always has as many.
type Value = Option<(i128, u32)>;

/// Cells as texts, by name; nothing is an empty text.
pub(super) type Cells = Vec<(String, String)>;

const QTY: usize = 0;
const PRICE: usize = 1;
const FEE: usize = 2;
const MS: usize = 0;
const FINAL_OR_VOID: &[Status] = &[Status::Final, Status::Void];
const DRAFT: &[Status] = &[Status::Draft];
const CITY: &[(&str, usize)] = &[("city", 0)];

fn spec(text: &str, kind: &str, group_by: &[(&str, usize)], metrics: Vec<(Metric, Meaning)>) -> Spec {
    let (names, places): (Vec<&str>, Vec<usize>) = group_by.iter().copied().unzip();
    let (metrics, meanings) = metrics.into_iter().unzip();
    let scales: &[u8] = if kind == "order" { &[0, 2, 2] } else { &[0] };
    Spec { view: view(text, kind, &names, metrics), group_by: places, scales, meanings, ranked_by: Vec::new() }
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

pub(super) fn measure(event: &Event, place: usize) -> Option<i64> {
    event.measures.get(place).copied().flatten()
}

pub(super) fn dimension(event: &Event, place: usize) -> Option<&str> {
    event.dims.get(place)?.as_deref()
}

fn count(text: &str, statuses: &'static [Status]) -> (Metric, Meaning) {
    means(text, "count", What::Count, statuses, ANY, always)
}

/// Only what adds up.
fn city_metrics() -> Vec<(Metric, Meaning)> {
    vec![
        count("n", FINAL),
        means("qty", "sum(qty)", What::Sum(QTY), FINAL_OR_VOID, ANY, always),
        means("a_only", "count", What::Count, FINAL, Some("sku = 'a'"), |e| dimension(e, 1) == Some("a")),
        means("share", "ratio(a_only, n)", What::Ratio(2, 0), FINAL, ANY, always),
        count("drafts", DRAFT),
    ]
}

fn total_metrics() -> Vec<(Metric, Meaning)> {
    vec![
        count("n", FINAL),
        // So some drafts are in no figure at all.
        means("drafts", "count", What::Count, DRAFT, Some("qty > 0"), |e| measure(e, QTY).is_some_and(|qty| qty > 0)),
        count("voids", &[Status::Void]),
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
    ]
}

fn click_metrics() -> Vec<(Metric, Meaning)> {
    vec![count("n", FINAL), means("ms", "sum(ms)", What::Sum(MS), FINAL, ANY, always)]
}

/// Those of slow clicks are among all.
fn page_metrics() -> Vec<(Metric, Meaning)> {
    vec![
        means("slow_pages", "distinct(page)", What::Distinct(0), FINAL, Some("ms >= 1"), |e| {
            measure(e, MS).is_some_and(|ms| ms >= 1)
        }),
        means("pages", "distinct(page)", What::Distinct(0), FINAL, ANY, always),
    ]
}

/// Every view that a history may have. Those of one name are revisions of each other.
pub(super) fn specs() -> Vec<Spec> {
    const BOTH: &[(&str, usize)] = &[("sku", 1), ("city", 0)];
    const PAGE: &[(&str, usize)] = &[("page", 0)];
    let some = vec![means("n", "count", What::Count, FINAL, Some("qty > 1 and city is not null"), |e| {
        measure(e, QTY).is_some_and(|qty| qty > 1) && dimension(e, 0).is_some()
    })];
    let slowest = || means("slowest", "max(ms)", What::Greatest(MS), FINAL, ANY, always);
    let pace = || means("pace", "ratio(ms, n)", What::Ratio(1, 0), FINAL, ANY, always);
    vec![
        spec("order-totals", "order", &[], total_metrics()),
        spec("order-cities", "order", CITY, city_metrics()),
        spec("order-some", "order", BOTH, some),
        spec("order-hours", "order", CITY, city_metrics()).at(Grain::Hour),
        spec("order-carried", "order", CITY, city_metrics()).late(LatePolicy::CarryForward),
        spec("order-firm", "order", &[], total_metrics()).late(LatePolicy::Reject),
        spec("click-totals", "click", &[], [click_metrics(), page_metrics(), vec![slowest()]].concat()),
        spec("click-pages", "click", PAGE, vec![count("n", FINAL)]).late(LatePolicy::Reject),
        spec("click-quarters", "click", &[], [click_metrics(), page_metrics()].concat()).at(Grain::QuarterHour),
        spec("click-carried", "click", &[], click_metrics()).late(LatePolicy::CarryForward),
        spec("order-cities", "order", CITY, city_metrics()).late(LatePolicy::Reject),
        spec("order-cities", "order", CITY, city_metrics()).late(LatePolicy::CarryForward),
        spec("order-hours", "order", CITY, city_metrics()).at(Grain::QuarterHour).late(LatePolicy::Reject),
        spec("order-firm", "order", BOTH, city_metrics()).late(LatePolicy::Reject),
        spec("click-totals", "click", PAGE, click_metrics()),
        spec("order-ranks", "order", CITY, total_metrics()).ranked(&[(4, true), (0, false)]),
        spec("order-ranks", "order", CITY, total_metrics()).ranked(&[(8, true), (12, true)]),
        spec("order-ranks", "order", CITY, total_metrics()).ranked(&[(13, false)]).late(LatePolicy::Reject),
        spec("order-races", "order", CITY, city_metrics()).ranked(&[(1, true)]).late(LatePolicy::CarryForward),
        spec("order-means", "order", &[("sku", 1)], total_metrics()).ranked(&[(6, false), (7, false), (3, true)]),
        spec("click-ranks", "click", PAGE, [click_metrics(), vec![slowest()]].concat()).ranked(&[(2, true)]),
        spec("click-ranks", "click", PAGE, [click_metrics(), vec![pace()]].concat()).ranked(&[(2, false), (0, true)]),
        spec("click-races", "click", PAGE, [click_metrics(), page_metrics()].concat())
            .ranked(&[(2, false), (1, true)])
            .late(LatePolicy::Reject),
        spec("order-hours", "order", CITY, city_metrics()).at(Grain::ClockHour),
        spec("click-clock", "click", PAGE, click_metrics()).at(Grain::ClockHour),
        spec("order-turned", "order", CITY, city_metrics()).since(2, LatePolicy::CarryForward),
        spec("order-turned", "order", CITY, city_metrics())
            .since(1, LatePolicy::CarryForward)
            .since(3, LatePolicy::Restate),
        spec("order-turned", "order", CITY, city_metrics())
            .late(LatePolicy::CarryForward)
            .since(2, LatePolicy::Restate),
        spec("click-turned", "click", PAGE, click_metrics())
            .late(LatePolicy::CarryForward)
            .since(1, LatePolicy::Restate),
        spec("click-turned", "click", PAGE, click_metrics()).since(1, LatePolicy::CarryForward),
    ]
}

/// A view of the columns that [`wider_orders`] adds.
pub(super) fn channel_spec() -> Spec {
    let metrics = vec![count("n", FINAL), means("fee", "sum(fee)", What::Sum(FEE), FINAL, ANY, always)];
    spec("order-channels", "order", &[("channel", 2)], metrics)
}

impl Spec {
    fn at(mut self, grain: Grain) -> Self {
        self.view.grain = grain;
        self
    }

    fn late(mut self, policy: LatePolicy) -> Self {
        self.view.late = policy;
        self
    }

    /// Another policy from a day on.
    fn since(mut self, day: i32, late: LatePolicy) -> Self {
        self.view.late_changes.push(LateChange { from: date(day), late });
        self
    }

    /// Ranks by these metrics, and among equals by who was there first.
    fn ranked(mut self, by: &[(usize, bool)]) -> Self {
        let ranked = |(place, is_descending): &(usize, bool)| RankedBy {
            metric: self.view.metrics[*place].name.clone(),
            direction: if *is_descending { Direction::Desc } else { Direction::Asc },
        };
        let by_name = by.iter().map(ranked).collect();
        self.view.ranking = Some(Ranking { by: by_name, ties: Ties::Competition, earliest: Earliest::Reached });
        self.ranked_by = by.to_vec();
        self
    }

    /// Whether any metric takes the event.
    pub(super) fn takes(&self, event: &Event) -> bool {
        self.meanings.iter().any(|meaning| meaning.takes(event))
    }

    /// When the piece of the day that holds the event begins; `None` at grain day.
    fn piece_start(&self, contribution: &Contribution<'_>) -> Option<String> {
        let minutes = match self.view.grain {
            Grain::Day => return None,
            Grain::ClockHour => {
                let local = Instant::from_millis(local_ms(contribution.event.at)).to_string();
                return Some(format!("{}:00", &local[..13]));
            }
            Grain::Hour => 60,
            Grain::QuarterHour => 15,
        };
        let opens_at = cutoff(contribution.date.as_days()).as_millis();
        let since = contribution.event.at.as_millis() - opens_at;
        let length = minutes * 60_000;
        Some(Instant::from_millis(opens_at + since.div_euclid(length) * length).to_string())
    }

    /// The rows that contributions add up to; `as_finely` in pieces of the day where the view has them.
    pub(super) fn rows(&self, contributions: &[Contribution<'_>], as_finely: bool) -> Vec<Cells> {
        let has_time = as_finely && self.view.grain != Grain::Day;
        let mut members: BTreeMap<(usize, Option<String>), Member<'_>> = BTreeMap::new();
        for contribution in contributions.iter().filter(|contribution| self.takes(contribution.event)) {
            let time = if as_finely { self.piece_start(contribution) } else { None };
            let member = Member { event: contribution.event, net: 0, time: time.clone() };
            members.entry((contribution.entry, time)).or_insert(member).net += contribution.sign;
        }
        let members: Vec<Member<'_>> = members.into_values().filter(|member| member.net != 0).collect();
        let key = |member: &Member<'_>| {
            let dims = self.group_by.iter().map(|place| dimension(member.event, *place).map(str::to_owned));
            (member.time.clone(), dims.collect::<Vec<_>>())
        };
        let is_one_row = self.group_by.is_empty() && !has_time;
        let mut keys: BTreeSet<(Option<String>, Vec<Option<String>>)> = members.iter().map(key).collect();
        if is_one_row {
            keys.insert((None, Vec::new()));
        }
        let row = |group: (Option<String>, Vec<Option<String>>)| {
            let members: Vec<Member<'_>> = members.iter().filter(|member| key(member) == group).cloned().collect();
            if !is_one_row && self.meanings.iter().all(|meaning| meaning.is_nothing(&members)) {
                return None;
            }
            let metrics = self.values(&members);
            let score = Score { values: self.score(&members), reached: self.reached(&members) };
            let time = has_time.then(|| ("time".to_owned(), group.0.expect("a piece")));
            let names = self.view.group_by.iter().chain(self.view.metrics.iter().map(|metric| &metric.name));
            let texts = group.1.into_iter().map(Option::unwrap_or_default);
            let numbers = metrics.into_iter().map(|number| number.map(decimal).unwrap_or_default());
            let cells = time.into_iter().chain(names.map(ToString::to_string).zip(texts.chain(numbers)));
            Some((score, cells.collect()))
        };
        let rows: Vec<(Score, Cells)> = keys.into_iter().filter_map(row).collect();
        if self.ranked_by.is_empty() { rows.into_iter().map(|(_, cells)| cells).collect() } else { self.placed(rows) }
    }

    fn values(&self, members: &[Member<'_>]) -> Vec<Value> {
        let mut values: Vec<Value> = Vec::new();
        for meaning in &self.meanings {
            values.push(meaning.value(members, &values, self.scales));
        }
        values
    }

    fn score(&self, members: &[Member<'_>]) -> Vec<Value> {
        let values = self.values(members);
        self.ranked_by.iter().map(|(place, _)| values[*place]).collect()
    }

    /// The earliest event time such that what happened until then gives the present score.
    fn reached(&self, members: &[Member<'_>]) -> Option<Instant> {
        let of = |holds: &dyn Fn(Instant) -> bool| -> Vec<Member<'_>> {
            members.iter().filter(|member| holds(member.event.at)).cloned().collect()
        };
        let times: BTreeSet<Instant> = members.iter().map(|member| member.event.at).collect();
        let mut times = times.into_iter().filter(|at| self.adds_anything(&of(&|other| other == *at)));
        times.find(|at| self.score(&of(&|other| other <= *at)) == self.score(members))
    }

    /// Whether members of one instant are anything together: adjustments may cancel out.
    fn adds_anything(&self, members: &[Member<'_>]) -> bool {
        let ranked = self.ranked_by.iter().map(|(place, _)| &self.meanings[*place]);
        members.iter().map(|member| member.net).sum::<i64>() != 0
            || ranked.into_iter().any(|meaning| meaning.adds(members))
    }

    /// In order of their scores, the earlier before among equals, each with its position and its rank.
    fn placed(&self, mut rows: Vec<(Score, Cells)>) -> Vec<Cells> {
        let before = |one: &Score, other: &Score| {
            let by_value = self.ranked_by.iter().zip(one.values.iter().zip(&other.values));
            let by_value = by_value.fold(Ordering::Equal, |so_far, ((_, is_descending), (one, other))| {
                // Nothing comes last either way.
                so_far.then_with(|| match (one, other) {
                    (Some(one), Some(other)) if *is_descending => other.0.cmp(&one.0),
                    (Some(one), Some(other)) => one.0.cmp(&other.0),
                    (one, other) => one.is_none().cmp(&other.is_none()),
                })
            });
            by_value.then_with(|| match (one.reached, other.reached) {
                (Some(one), Some(other)) => one.cmp(&other),
                (one, other) => one.is_none().cmp(&other.is_none()),
            })
        };
        rows.sort_by(|(one, _), (other, _)| before(one, other));
        let rank = |score: &Score| 1 + rows.iter().filter(|(other, _)| before(other, score).is_lt()).count();
        let place = |(index, (score, cells)): (usize, &(Score, Cells))| {
            let places = [("position", index + 1), ("rank", rank(score))];
            places.map(|(name, place)| (name.to_owned(), place.to_string())).into_iter().chain(cells.clone()).collect()
        };
        rows.iter().enumerate().map(place).collect()
    }
}

/// What a group is ranked by.
struct Score {
    values: Vec<Value>,
    reached: Option<Instant>,
}

impl Meaning {
    fn takes(&self, event: &Event) -> bool {
        self.statuses.contains(&event.status) && (self.condition)(event)
    }

    /// The values of a measure, each with how often it is there.
    fn values(&self, group: &[Member<'_>], place: usize) -> Vec<(i128, i128)> {
        let members = group.iter().filter(|member| self.takes(member.event));
        let value = |member: &Member<'_>| Some((i128::from(measure(member.event, place)?), i128::from(member.net)));
        members.filter_map(value).collect()
    }

    fn sum(&self, group: &[Member<'_>], place: usize) -> (i128, i128) {
        let values = self.values(group, place);
        (values.iter().map(|(_, net)| net).sum(), values.iter().map(|(value, net)| value * net).sum())
    }

    fn sorted(&self, group: &[Member<'_>], place: usize) -> Vec<i128> {
        let one = |(value, net): (i128, i128)| {
            assert_eq!(net, 1, "only what adds up may be carried forward");
            value
        };
        let mut values: Vec<i128> = self.values(group, place).into_iter().map(one).collect();
        values.sort_unstable();
        values
    }

    fn count(&self, group: &[Member<'_>]) -> i128 {
        group.iter().filter(|member| self.takes(member.event)).map(|member| i128::from(member.net)).sum()
    }

    fn distinct(&self, group: &[Member<'_>], place: usize) -> usize {
        let members = group.iter().filter(|member| self.takes(member.event));
        members.filter_map(|member| dimension(member.event, place)).collect::<BTreeSet<_>>().len()
    }

    /// Whether members of one instant change what it is made of.
    fn adds(&self, group: &[Member<'_>]) -> bool {
        match self.what {
            What::Sum(place) => {
                let mut nets: BTreeMap<i128, i128> = BTreeMap::new();
                self.values(group, place).into_iter().for_each(|(value, net)| *nets.entry(value).or_default() += net);
                nets.values().any(|net| *net != 0)
            }
            // Such are never carried forward here.
            _ => false,
        }
    }

    /// Whether additions and removals have left nothing.
    fn is_nothing(&self, group: &[Member<'_>]) -> bool {
        match self.what {
            What::Count => self.count(group) == 0,
            What::CountOf(place) | What::Sum(place) | What::Average(place) => self.sum(group, place) == (0, 0),
            What::Least(place) | What::Greatest(place) | What::Percentile(place, _) => {
                self.values(group, place).is_empty()
            }
            What::Distinct(place) => self.distinct(group, place) == 0,
            What::Ratio(..) => true,
        }
    }

    /// The unscaled value and its digits after the point.
    fn value(&self, group: &[Member<'_>], above: &[Value], scales: &[u8]) -> Value {
        let scale = |place: usize| u32::from(scales[place]);
        match self.what {
            What::Count => Some((self.count(group), 0)),
            What::CountOf(place) => Some((self.sum(group, place).0, 0)),
            What::Sum(place) => Some((self.sum(group, place).1, scale(place))),
            What::Average(place) => {
                let (n, sum) = self.sum(group, place);
                divide(sum, n).map(|value| (value, scale(place) + 6))
            }
            What::Least(place) => self.sorted(group, place).first().map(|value| (*value, scale(place))),
            What::Greatest(place) => self.sorted(group, place).last().map(|value| (*value, scale(place))),
            What::Percentile(place, percent) => {
                let values = self.sorted(group, place);
                let rank = (values.len() * percent).div_ceil(100);
                rank.checked_sub(1).map(|index| (values[index], scale(place)))
            }
            What::Distinct(place) => Some((self.distinct(group, place) as i128, 0)),
            What::Ratio(one, other) => divide(above[one]?.0, above[other]?.0).map(|value| (value, 6)),
        }
    }
}

/// `sum / n` in millionths, rounded half to even.
fn divide(sum: i128, n: i128) -> Option<i128> {
    let (sum, n) = if n < 0 { (-sum, -n) } else { (sum, n) };
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
