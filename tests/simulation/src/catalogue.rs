//! What is defined in a run: at its beginning, and what is changed in the middle of it.

use crate::fault::Fault;
use crate::manager::Request;
use crate::shell::Shell;
use daybook_contracts::admin::{Apply, ClockAdvance, CloseDay, Remove, Target, TenantSpec};
use daybook_domain::alerts::{ReportAlert, ViewAlert};
use daybook_domain::catalogue::{
    CalendarRule, Dimension, Direction, Earliest, Grain, Kind, LARGEST_MAX_AHEAD_MS, LatePolicy, Measure, Metric, Mode,
    NamedBy, RankedBy, Ranking, Status, Ties, View, only_final,
};
use daybook_domain::ids::{Name, TenantId};
use daybook_domain::quotas::Quotas;
use daybook_domain::time::{Date, Instant};
use std::collections::BTreeMap;
use std::time::Duration;

/// With daylight saving in the north and the south, and without.
const ZONES: &[&str] = &["Europe/Zurich", "America/New_York", "Pacific/Auckland", "Asia/Kathmandu", "Etc/UTC"];
/// The clock that is driven by requests.
const DRIVEN: &str = "replay";
const DAY_MS: i64 = 86_400_000;
const HOUR_MS: u64 = 3_600_000;
/// Views that are added, or changed from one variant to the other.
const VIEWS: &[&str] =
    &["order-late", "click-late", "note-late", "order-hours", "order-carry", "order-firm", "click-carry", "note-firm"];
/// Tenants that may be added.
const NEWCOMERS: &[&str] = &["SEA", "ZRH"];

/// What is defined, as far as its owners know.
pub struct Catalogue {
    tenants: BTreeMap<String, TenantSpec>,
    /// Tenants that were removed: their producers do not know it, and some come again.
    removed: BTreeMap<String, TenantSpec>,
    /// How far the driven clock was asked to go.
    driven: Instant,
    first_day: Date,
    /// Whether the late policy of a view was turned last.
    is_turned: bool,
}

fn name(text: &str) -> Name {
    Name::new(text).expect("a valid name")
}

fn id(text: &str) -> TenantId {
    TenantId::new(text).expect("a valid id")
}

impl Catalogue {
    /// Two tenants, the second by a clock that is driven, three kinds and a view of each policy.
    pub fn new(shell: &mut Shell) -> (Self, Apply) {
        let first_day = Date::from_days(shell.now.as_millis().div_euclid(DAY_MS) as i32 - 2);
        let driven = Instant::from_millis(shell.now.as_millis() - DAY_MS);
        let mut catalogue =
            Self { tenants: BTreeMap::new(), removed: BTreeMap::new(), driven, first_day, is_turned: false };
        catalogue.tenant(shell, "ABQ", None);
        catalogue.tenant(shell, "LHR", Some(DRIVEN));
        let views = ["order-hours", "order-carry", "order-firm", "click-carry", "note-firm"].map(|name| view(name, 0));
        let apply = Apply {
            kinds: vec![
                kind("order", Mode::Entity, &["city", "sku"], "qty", Some(50)),
                kind("click", Mode::Fact, &["page"], "ms", Some(36)),
                // As long as day-manager says.
                kind("note", Mode::Entity, &["city"], "size", None),
            ],
            views: views.into(),
            tenants: catalogue.tenants.values().cloned().collect(),
            ..Apply::default()
        };
        (catalogue, apply)
    }

    /// The tenants with the instants that their clocks have reached.
    pub fn clocks(&self, now: Instant) -> Vec<(String, Instant)> {
        let clock = |spec: &TenantSpec| if spec.clock.is_some() { self.driven } else { now };
        self.tenants.iter().chain(&self.removed).map(|(id, spec)| (id.clone(), clock(spec))).collect()
    }

    fn tenant(&mut self, shell: &mut Shell, text: &str, clock: Option<&str>) -> &TenantSpec {
        let spec = TenantSpec {
            id: id(text),
            name: None,
            zone: (*shell.random.pick(ZONES)).to_owned(),
            cutoff_minutes: *shell.random.pick(&[0, 90, 300]),
            changes: Vec::new(),
            grace_ms: shell.random.below(4) as u64 * HOUR_MS,
            first_day: Some(self.first_day),
            clock: clock.map(name),
            seasons: Vec::new(),
            restate_after_ms: restate_after(shell),
            // The model knows the limit of the calendar only.
            max_ahead_ms: Some(LARGEST_MAX_AHEAD_MS),
            quotas: if shell.strikes(Fault::QuotaChange, 3) { quotas(shell) } else { Quotas::default() },
            // Every second name: it may not change with time.
            day_named_by: NamedBy::ALL[usize::from(text.as_bytes()[0]) % 2],
            alerts: ReportAlert::ALL.into(),
        };
        self.tenants.entry(text.to_owned()).or_insert(spec)
    }

    /// Closes a day of about now, which may be open.
    fn close(&self, shell: &mut Shell, some: &str) -> Request {
        let today = self.clocks(shell.now).into_iter().find(|(known, _)| known == some).expect("a known tenant").1;
        // The open day may have the name of tomorrow.
        let date = Date::from_days(today.as_millis().div_euclid(DAY_MS) as i32 + 1 - shell.random.below(3));
        Request::Close(CloseDay { tenant: id(some), date, boundary: !shell.random.one_in(3) })
    }

    /// Something that somebody wants of day-manager.
    pub fn request(&mut self, shell: &mut Shell) -> Option<Request> {
        let tenants = |tenants: Vec<TenantSpec>| Some(Request::Apply(Apply { tenants, ..Apply::default() }));
        let known: Vec<String> = self.tenants.keys().cloned().collect();
        let some = shell.random.pick(&known).clone();
        let allowed = |shell: &Shell, fault| shell.settings.faults.has(fault);
        if shell.random.one_in(2)
            && let Some((id, spec)) = self.removed.pop_first()
        {
            self.tenants.insert(id, spec.clone());
            return tenants(vec![spec]);
        }
        if allowed(shell, Fault::ViewChange) && shell.random.one_in(4) {
            // Restated days are carried from a day on, and carried ones restated.
            let mut turned = view("order-late", 0);
            self.is_turned = !self.is_turned;
            turned.late = if self.is_turned { LatePolicy::CarryForward } else { LatePolicy::Restate };
            return Some(Request::Apply(Apply { views: vec![turned], ..Apply::default() }));
        }
        if allowed(shell, Fault::CloseByHand) && shell.random.one_in(2) {
            return Some(self.close(shell, &some));
        }
        match shell.random.below(13) {
            9 | 11 | 12 if allowed(shell, Fault::Removal) && known.len() > 1 => {
                let spec = self.tenants.remove(&some).expect("a known tenant");
                self.removed.insert(some.clone(), spec);
                Some(remove(Target::Tenant { id: id(&some), purge: false }))
            }
            10 if allowed(shell, Fault::Removal) && shell.random.one_in(3) => {
                let text: &str = shell.random.pick::<&str>(VIEWS);
                Some(remove(Target::View { name: name(text) }))
            }
            0 if allowed(shell, Fault::NewTenant) => {
                let text = *shell.random.pick(NEWCOMERS);
                tenants(vec![self.tenant(shell, text, None).clone()])
            }
            1 if allowed(shell, Fault::ZoneChange) => {
                let spec = self.tenants.get_mut(&some).expect("a known tenant");
                if shell.random.one_in(4) {
                    spec.restate_after_ms = restate_after(shell);
                } else if shell.random.one_in(3) {
                    spec.grace_ms = shell.random.below(6) as u64 * HOUR_MS;
                } else {
                    let today = shell.now.as_millis().div_euclid(DAY_MS) as i32;
                    let from = Date::from_days(today + shell.random.between(9, 20) as i32);
                    let zone = (*shell.random.pick(ZONES)).to_owned();
                    spec.changes = vec![CalendarRule {
                        from,
                        zone,
                        cutoff_minutes: *shell.random.pick(&[0, 300, 700]),
                        named_by: Default::default(),
                    }];
                }
                tenants(vec![spec.clone()])
            }
            2 | 3 | 8 if allowed(shell, Fault::ViewChange) => {
                let name = *shell.random.pick(VIEWS);
                // The first definitions are of the first variant.
                let variant = usize::from(!shell.random.one_in(3));
                let mut view = view(name, variant);
                if shell.random.one_in(4) {
                    view.tenants = Some([id(&some)].into());
                }
                Some(Request::Apply(Apply { views: vec![view], ..Apply::default() }))
            }
            4 if allowed(shell, Fault::CloseByHand) => Some(self.close(shell, &some)),
            7 if allowed(shell, Fault::QuotaChange) => {
                let spec = self.tenants.get_mut(&some).expect("a known tenant");
                spec.quotas = quotas(shell);
                tenants(vec![spec.clone()])
            }
            5 | 6 => {
                self.driven = self.driven.after(Duration::from_millis(shell.random.below(20) as u64 * HOUR_MS));
                Some(Request::Advance(ClockAdvance { clock: name(DRIVEN), advance_to: self.driven }))
            }
            _ => None,
        }
    }
}

/// At once, by default, or less often than a day changes.
fn restate_after(shell: &mut Shell) -> Option<u64> {
    *shell.random.pick(&[Some(0), None, Some(2 * HOUR_MS), Some(12 * HOUR_MS)])
}

fn quotas(shell: &mut Shell) -> Quotas {
    let random = &mut shell.random;
    Quotas {
        events_per_second: *random.pick(&[None, Some(1), Some(50)]),
        bytes_per_second: *random.pick(&[None, Some(1_000), Some(20_000)]),
        entities: *random.pick(&[None, Some(2), Some(4), Some(6)]),
        groups: *random.pick(&[None, Some(1), Some(2), Some(4)]),
        feeds: None,
    }
}

fn kind(text: &str, mode: Mode, dimensions: &[&str], measure: &str, remember: Option<u16>) -> Kind {
    Kind {
        name: name(text),
        mode,
        dimensions: dimensions.iter().map(|text| Dimension { name: name(text), field: None }).collect(),
        measures: vec![Measure { name: name(measure), scale: 0 }],
        revision: 0,
        mappings: Vec::new(),
        remember,
    }
}

fn metric(text: &str, value: &str, status: &[Status]) -> Metric {
    Metric { name: name(text), value: value.into(), filter: None, status: status.to_vec() }
}

/// A view by its name, `<kind>-<what>`, in one of two variants.
fn view(text: &str, variant: usize) -> View {
    let (kind, what) = text.split_once('-').expect("a name of two words");
    let sum = match kind {
        "order" => "sum(qty)",
        "click" => "sum(ms)",
        _ => "sum(size)",
    };
    let mut metrics = vec![metric("n", "count", &only_final()), metric("sum", sum, &only_final())];
    if variant == 1 {
        metrics.push(metric("voids", "count", &[Status::Void]));
    }
    let by = if kind == "click" { "page" } else { "city" };
    let group_by = if what == "late" && kind == "order" { vec![] } else { vec![name(by)] };
    let late = match text {
        "order-hours" | "order-late" | "click-late" => LatePolicy::Restate,
        "order-firm" | "note-firm" => LatePolicy::Reject,
        _ => LatePolicy::CarryForward,
    };
    let grain = if what == "hours" { Grain::Hour } else { Grain::Day };
    if what == "hours" {
        metrics.push(metric("drafts", "count", &[Status::Draft]));
        metrics.push(metric("skus", "distinct(sku)", &only_final()));
    }
    // Few different scores, so that many are equal.
    let (by, direction) = match text {
        "order-firm" => ("skus", Direction::Desc),
        "order-carry" | "click-late" => ("sum", Direction::Desc),
        _ => ("n", Direction::Asc),
    };
    if text == "order-firm" {
        metrics.push(metric("skus", "distinct(sku)", &only_final()));
    }
    let by = vec![RankedBy { metric: name(by), direction }];
    let is_ranked = grain == Grain::Day && !group_by.is_empty();
    let ranking = is_ranked.then_some(Ranking { by, ties: Ties::Competition, earliest: Earliest::Reached });
    // The variants have one alert in common, and one that differs.
    let alert = |text: &str, when: &str| ViewAlert { name: name(text), when: when.to_owned() };
    let alerts =
        vec![alert("some", "n > 1"), if variant == 0 { alert("much", "sum > 20") } else { alert("void", "voids > 0") }];
    View { grain, late, ranking, alerts, ..View::new(name(text), name(kind), group_by, metrics) }
}

fn remove(target: Target) -> Request {
    Request::Remove(Remove { target, dry_run: false, catalog_seen: None })
}
