//! Reads figures off the state.

use super::seal::{day_figures, figures, whole_view};
use super::tenant::TenantState;
use super::window::{GroupKey, MAX_CHANGED, Window};
use super::{Model, PartitionState};
use compact_str::CompactString;
use daybook_contracts::ask::{
    Answer, AsOf, AskError, AskErrorCode, Asked, DayAccount, DaySelector, DayState, Days, Pieces, Query,
};
use daybook_contracts::figures::Figures;
use daybook_contracts::lists::{ViewEntry, ViewList};
use daybook_contracts::report::{Coverage, Figure, Row};
use daybook_domain::calendar::{BusinessDay, CalendarTable};
use daybook_domain::catalogue::Kind;
use daybook_domain::ids::{Name, TenantId};
use daybook_domain::plan::Plan;
use daybook_domain::time::{Date, Instant};
use daybook_rollup::{Page, Question, Rollup};
use std::collections::BTreeSet;

/// Fewest members of which an order is kept: fewer are sorted as fast.
const MIN_INDEXED: usize = if cfg!(test) { 2 } else { 512 };
/// Most views that an error lists by their names: more make no readable line.
const MAX_NAMED_VIEWS: usize = 8;

/// The newest open day of a watched view, and what tells that rows shown before are void.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Today {
    pub date: Date,
    pub day: DayState,
    pub definition: u64,
    pub is_ranked: bool,
}

/// Rows of a window that changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    pub rows: Vec<Row>,
    /// There are more rows than fit.
    pub is_cut: bool,
    /// Only their dimensions.
    pub removed: Vec<Row>,
}

impl Changed {
    /// About how many bytes of JSON they take.
    pub fn bytes(&self) -> usize {
        self.rows
            .iter()
            .chain(&self.removed)
            .map(|row| serde_json::to_vec(row).map_or(usize::MAX, |row| row.len()))
            .sum()
    }
}

/// A view of a tenant, found.
pub(super) struct Found<'s> {
    pub(super) tenant: &'s TenantState,
    pub(super) plan: &'s Plan,
    pub(super) kind: &'s Kind,
}

/// What an answer rests on.
pub(super) struct Basis<'s> {
    pub(super) from: Date,
    pub(super) to: Date,
    pub(super) state: DayState,
    report: Option<u32>,
    /// With the day, or the season taken for one.
    pub(super) windows: Vec<(BusinessDay, &'s Window)>,
}

impl PartitionState {
    /// The answer to a question on a view. `freshness_ms` is the caller's to fill in.
    ///
    /// # Errors
    /// When tenant, view or days are not known here, the question does not fit the view, or the figures do not reach
    /// `at_least`.
    pub fn view(&mut self, tenant_id: &TenantId, view: &Name, query: &Query) -> Asked<Answer> {
        if query.at_least.is_some_and(|wanted| wanted > self.through.whole()) {
            let message = format!("the figures reach INBOX sequence {}", self.through.whole());
            return Err(AskError::new(AskErrorCode::NotYet, message).hint("ask again in a moment"));
        }
        let found = self.find_view(tenant_id, view)?;
        let question = Question::compile(query, found.plan, found.kind)?;
        if question.ranked_by_view() {
            self.rank(tenant_id, view, &query.days);
        }
        let found = self.find_view(tenant_id, view)?;
        let basis = match &query.days {
            DaySelector::Season(season) => self.season_basis(&found, season, query.grain)?,
            days => {
                let (from, to) = days.range(found.tenant.current_day()).expect("only a season has no range");
                self.days_basis(&found, from, to)?
            }
        };
        self.answer(&found, basis, &question)
    }

    /// Whether the question fits the view.
    ///
    /// # Errors
    /// When it does not, or tenant or view are not known here.
    pub fn check(&self, tenant_id: &TenantId, view: &Name, query: &Query) -> Asked<()> {
        let found = self.find_view(tenant_id, view)?;
        Question::compile(query, found.plan, found.kind).map(|_| ())
    }

    /// The rows of a view on the newest open day, as finely as it has them, and which day that is.
    ///
    /// # Errors
    /// When tenant or view are not known here.
    pub fn whole_today(&mut self, tenant_id: &TenantId, view: &Name) -> Asked<(Answer, Today)> {
        self.rank(tenant_id, view, &DaySelector::Today);
        let found = self.find_view(tenant_id, view)?;
        let today = found.today();
        let basis = self.days_basis(&found, today.date, today.date)?;
        let question = whole_view(found.plan, found.kind);
        Ok((self.answer(&found, basis, &question)?, today))
    }

    fn answer(&self, found: &Found<'_>, basis: Basis<'_>, question: &Question) -> Asked<Answer> {
        let Basis { from, to, state, report, windows } = basis;
        let page = page(found.plan, &windows, question)?;
        let partial =
            windows.iter().map(|(_, window)| &window.coverage).find(|coverage| **coverage != Coverage::Complete);
        Ok(Answer {
            tenant: found.tenant.definition.id.clone(),
            generation: found.tenant.definition.generation,
            view: found.plan.view.name.clone(),
            from,
            to,
            day: state,
            rows: page.rows,
            total: page.total,
            next: page.next,
            as_of: self.as_of(),
            freshness_ms: 0,
            stale: false,
            coverage: partial.cloned().unwrap_or_default(),
            definition: found.plan.view.revision,
            report,
            feed: None,
        })
    }

    /// Has the members of a ranking in order, where many are asked for in one window.
    fn rank(&mut self, tenant_id: &TenantId, view: &Name, days: &DaySelector) {
        let Some(plan) = self.models.iter().find_map(|model| model.plan(view)) else { return };
        let Some(tenant) = self.tenants.get_mut(tenant_id) else { return };
        let today = tenant.current_day();
        let window = match days {
            DaySelector::Season(season) => tenant.windows.seasons.get_mut(season).and_then(|views| views.get_mut(view)),
            days => match days.range(today) {
                Some((from, to)) if from == to => {
                    tenant.windows.days.get_mut(&from).and_then(|views| views.get_mut(view))
                }
                _ => None,
            },
        };
        if let Some(window) = window.filter(|window| window.groups.len() >= MIN_INDEXED) {
            window.ranks(plan);
        }
    }

    /// Lets go of the orders that nobody has asked for lately.
    pub fn forget_indexes(&mut self) {
        for tenant in self.tenants.values_mut() {
            let windows = &mut tenant.windows;
            let views = windows.days.values_mut().chain(windows.seasons.values_mut());
            views.flat_map(|views| views.values_mut()).for_each(|window| window.forget_index());
        }
    }

    pub(super) fn find_view(&self, tenant_id: &TenantId, view: &Name) -> Asked<Found<'_>> {
        let tenant = self.tenants.get(tenant_id).ok_or_else(|| unknown_tenant(tenant_id))?;
        let found = self.models.iter().find_map(|model| Some((model.plan(view)?, &model.kind)));
        if let Some((plan, kind)) = found.filter(|(plan, _)| plan.view.is_for(tenant_id)) {
            return Ok(Found { tenant, plan, kind });
        }
        if self.pending.get(view).is_some_and(|pending| pending.is_for(tenant_id)) {
            let message = format!("the view {view} is being made from the log");
            return Err(
                AskError::new(AskErrorCode::Unavailable, message).hint("`daybook get views` shows how far it is")
            );
        }
        let error = match found {
            Some(_) => AskError::new(AskErrorCode::UnknownView, format!("the view {view} is not for {tenant_id}"))
                .hint("name the tenant in the view's `tenants`"),
            None => {
                let mut names: Vec<&str> = self.views_of(tenant_id).map(|plan| plan.view.name.as_str()).collect();
                names.sort_unstable();
                let hint = match daybook_domain::nearest::nearest(view.as_str(), names.iter().copied()) {
                    Some(name) => format!("did you mean {name:?}?"),
                    None if names.is_empty() => "the tenant has no views yet".to_owned(),
                    None if names.len() > MAX_NAMED_VIEWS => "a request for `~views` lists them".to_owned(),
                    None => format!("there are {}", names.join(", ")),
                };
                AskError::new(AskErrorCode::UnknownView, format!("there is no view {view}")).hint(hint)
            }
        };
        Err(error)
    }

    fn views_of(&self, tenant: &TenantId) -> impl Iterator<Item = &Plan> {
        self.models.iter().flat_map(Model::plans).filter(move |plan| plan.view.is_for(tenant))
    }

    pub(super) fn days_basis<'s>(&'s self, found: &Found<'s>, from: Date, to: Date) -> Asked<Basis<'s>> {
        let tenant = found.tenant;
        let first = tenant.definition.first_day;
        if from == to && !tenant.days.contains_key(&from) && from >= tenant.expired_before {
            return Err(unknown_day(tenant, from));
        }
        // Before the first day there is nothing; between it and what is kept there are sealed days.
        if to < first {
            return Err(unknown_day(tenant, to));
        }
        if from.max(first) < tenant.expired_before {
            let message = format!("days before {} are no longer kept here", tenant.expired_before);
            return Err(AskError::new(AskErrorCode::Expired, message));
        }
        let mut windows = Vec::new();
        let mut states = BTreeSet::new();
        for (date, day) in tenant.days.range(from..=to) {
            states.insert(day.state as u8);
            if let Some(window) = tenant.windows.day(*date, &found.plan.view.name) {
                windows.push((self.interval(tenant, *date), window));
            }
        }
        let has = |state: DayState| states.contains(&(state as u8));
        let state = match (has(DayState::Open), has(DayState::Closed)) {
            (true, _) => DayState::Open,
            (false, true) if !has(DayState::Upcoming) => DayState::Closed,
            (false, true) => DayState::Open,
            (false, false) => DayState::Upcoming,
        };
        let sealed = tenant.days.get(&from).filter(|_| from == to).and_then(|day| day.sealed.as_ref());
        Ok(Basis { from, to, state, report: sealed.map(|sealed| sealed.version), windows })
    }

    fn season_basis<'s>(&'s self, found: &Found<'s>, name: &Name, pieces: Pieces) -> Asked<Basis<'s>> {
        let tenant = found.tenant;
        let seasons = &tenant.definition.seasons;
        let Some(season) = seasons.iter().find(|season| season.name == *name) else {
            let names: Vec<&str> = seasons.iter().map(|season| season.name.as_str()).collect();
            let hint = match names.is_empty() {
                true => "define it in the tenant's `seasons`".to_owned(),
                false => format!("the seasons are {}", names.join(", ")),
            };
            let message = format!("{} has no season {name}", tenant.definition.id);
            return Err(AskError::new(AskErrorCode::UnknownSeason, message).hint(hint).field("days"));
        };
        if pieces != Pieces::Total {
            let message = "a season is one piece of time";
            return Err(AskError::new(AskErrorCode::BadRequest, message).hint("ask for days instead").field("grain"));
        }
        if !tenant.complete_seasons.contains(name) {
            let message = format!("the season {name} is being made from the log");
            return Err(AskError::new(AskErrorCode::Unavailable, message).hint("ask again in a moment"));
        }
        let table = super::backfill::table_of(&self.tables, tenant);
        let date_of = |at| match table.map(|table| tenant.definition.day_at(table, at)) {
            Some(daybook_domain::calendar::Lookup::Day(day)) => day.date,
            _ => tenant.current_day(),
        };
        // It ends before `to`.
        let last = Instant::from_millis(season.to.as_millis() - 1);
        let (from, to) = (date_of(season.from), date_of(last));
        // By its days, since a shard has no clock: it has ended when nothing in time can come any more.
        let state = match tenant.days.get(&to) {
            Some(day) if day.is_closed() => DayState::Closed,
            _ if to < tenant.expired_before => DayState::Closed,
            _ if tenant.open_day.is_none_or(|open| open < from) => DayState::Upcoming,
            _ => DayState::Open,
        };
        let interval = BusinessDay { date: from, opens_at: season.from, closes_at: season.to };
        let window = tenant.windows.season(name, &found.plan.view.name);
        let windows = window.into_iter().map(|window| (interval, window)).collect();
        Ok(Basis { from, to, state, report: None, windows })
    }

    fn interval(&self, tenant: &TenantState, date: Date) -> BusinessDay {
        interval(tenant, super::backfill::table_of(&self.tables, tenant), date)
    }

    /// The groups of a view on the days from `from` to `to` that are kept.
    ///
    /// # Errors
    /// When tenant or view are not known here, or there are too many groups.
    pub fn figures(&self, tenant_id: &TenantId, view: &Name, from: Date, to: Date) -> Asked<Figures> {
        let Found { tenant, plan, kind } = self.find_view(tenant_id, view)?;
        if from > to {
            return Err(AskError::new(AskErrorCode::BadRequest, format!("{from} is after {to}")));
        }
        if to < tenant.expired_before {
            let message = format!("days before {} are no longer kept here", tenant.expired_before);
            return Err(AskError::new(AskErrorCode::Expired, message));
        }
        let too_large = || {
            AskError::new(AskErrorCode::TooLarge, "the days that are kept live have too many groups to be merged")
                .hint("ask for fewer days")
        };
        let mut days = Vec::new();
        let mut bytes = 0;
        for (date, day) in tenant.days.range(from.max(tenant.expired_before)..=to) {
            let window = tenant.windows.day(*date, view);
            let day = day_figures(day, self.interval(tenant, *date), window).ok_or_else(too_large)?;
            bytes += rmp_serde::to_vec(&day).map_or(usize::MAX, |day| day.len());
            if bytes > daybook_contracts::ask::MAX_ANSWER_BYTES {
                return Err(too_large());
            }
            days.push(day);
        }
        Ok(figures(plan, kind, self.position, self.through, days))
    }

    /// Which day a watched view is shown for.
    pub fn today(&self, tenant: &TenantId, view: &Name) -> Option<Today> {
        self.find_view(tenant, view).ok().map(|found| found.today())
    }

    /// Begins to note which groups of a view change on that day.
    pub fn watch(&mut self, tenant: &TenantId, view: &Name, date: Date) {
        if let Some(tenant) = self.tenants.get_mut(tenant)
            && tenant.days.contains_key(&date)
        {
            tenant.windows.day_mut(date, view).changed.get_or_insert_default();
        }
    }

    /// Ends that, on every day.
    pub fn unwatch(&mut self, tenant: &TenantId, view: &Name) {
        let days = self.tenants.get_mut(tenant).into_iter().flat_map(|tenant| tenant.windows.days.values_mut());
        days.filter_map(|views| views.get_mut(view)).for_each(|window| window.changed = None);
    }

    /// Whether any group changed since this was asked last.
    pub fn take_changed(&mut self, tenant: &TenantId, view: &Name, date: Date) -> bool {
        !self.changed_groups(tenant, view, date).is_empty()
    }

    fn changed_groups(&mut self, tenant: &TenantId, view: &Name, date: Date) -> BTreeSet<GroupKey> {
        let Some(tenant) = self.tenants.get_mut(tenant).filter(|tenant| tenant.days.contains_key(&date)) else {
            return BTreeSet::new();
        };
        let changed = tenant.windows.day_mut(date, view).changed.get_or_insert_default();
        std::mem::take(changed)
    }

    /// The rows that changed since this was asked last; `None` when none did.
    pub fn changed_rows(&mut self, tenant_id: &TenantId, view: &Name, date: Date) -> Option<Changed> {
        let keys = self.changed_groups(tenant_id, view, date);
        if keys.is_empty() {
            return None;
        }
        if keys.len() >= MAX_CHANGED {
            return Some(Changed { is_cut: true, ..Changed::default() });
        }
        let Found { tenant, plan, kind } = self.find_view(tenant_id, view).ok()?;
        let window = tenant.windows.day(date, view)?;
        let day = self.interval(tenant, date);
        let question = whole_view(plan, kind);
        let mut rollup = Rollup::new(&question, plan);
        let mut removed = Vec::new();
        for key in &keys {
            match window.groups.get(key) {
                Some(group) if !plan.is_nothing(group) => rollup.add(&day, key.piece, &key.dims, group).ok()?,
                // Without dimensions the one row is always there.
                _ if plan.view.group_by.is_empty() && key.piece == 0 => {}
                _ => removed.push(bare_row(plan, &day, key)),
            }
        }
        let is_all_removed = removed.len() == keys.len();
        if is_all_removed {
            return Some(Changed { removed, ..Changed::default() });
        }
        let page = rollup.finish().ok()?;
        Some(Changed { rows: page.rows, is_cut: page.next.is_some(), removed })
    }

    /// The days that are kept of a tenant, with the account of their events.
    ///
    /// # Errors
    /// When the tenant is not known here.
    pub fn days(&self, tenant_id: &TenantId) -> Asked<Days> {
        let tenant = self.tenants.get(tenant_id).ok_or_else(|| unknown_tenant(tenant_id))?;
        let days = tenant
            .days
            .iter()
            .map(|(date, day)| {
                let interval = day.marker.as_ref().map(|marker| marker.day);
                DayAccount {
                    date: *date,
                    day: day.state,
                    opens_at: interval.map(|day| day.opens_at),
                    closes_at: interval.map(|day| day.closes_at),
                    report: day.sealed.as_ref().map(|sealed| sealed.version),
                    account: day.account,
                    as_reported: false,
                    restating: day.is_restating,
                }
            })
            .collect();
        Ok(Days { tenant: tenant_id.clone(), days, as_of: self.as_of(), next: None })
    }

    /// The views in force that the tenant may ask for, in order of their names.
    ///
    /// # Errors
    /// When the tenant is not known here.
    pub fn views_for(&self, tenant_id: &TenantId) -> Asked<ViewList> {
        let today = self.tenants.get(tenant_id).ok_or_else(|| unknown_tenant(tenant_id))?.current_day();
        let mut views: Vec<ViewEntry> = self
            .views_of(tenant_id)
            .map(|plan| ViewEntry {
                name: plan.view.name.clone(),
                kind: plan.view.kind.clone(),
                grain: plan.view.grain,
                late: plan.view.late_on(today),
                ranked: plan.view.ranking.is_some(),
                dimensions: plan.view.group_by.clone(),
                metrics: plan.view.metrics.iter().map(|metric| metric.name.clone()).collect(),
                digits: plan.digits(),
                definition: plan.view.revision,
            })
            .collect();
        views.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(ViewList { tenant: tenant_id.clone(), views })
    }

    /// How far the state reaches.
    pub fn as_of(&self) -> AsOf {
        AsOf { log: self.position, inbox: self.through.whole() }
    }
}

/// The rows that answer the question: by the order of the members where that is known, else by looking at every group.
fn page(plan: &Plan, windows: &[(BusinessDay, &Window)], question: &Question) -> Asked<Page> {
    if let [(_, window)] = windows
        && question.ranked_by_view()
        && let Some(ranks) = window.known_ranks()
    {
        let cells_of = |dims: &[Option<CompactString>]| {
            let key = GroupKey { piece: 0, dims: dims.into() };
            window.groups.get(&key).map(|cells| &cells[..])
        };
        return ranks.answer(question, plan, cells_of);
    }
    let mut rollup = Rollup::new(question, plan);
    for (day, window) in windows {
        for (key, group) in window.groups.iter() {
            rollup.add(day, key.piece, &key.dims, group)?;
        }
    }
    rollup.finish()
}

impl Found<'_> {
    fn today(&self) -> Today {
        let date = self.tenant.current_day();
        Today {
            date,
            day: self.tenant.days.get(&date).map_or(DayState::Upcoming, |day| day.state),
            definition: self.plan.view.revision,
            is_ranked: self.plan.ranking.is_some(),
        }
    }
}

/// The interval of a day; of one that neither a marker nor the calendar tells of, its date only.
pub(super) fn interval(tenant: &TenantState, table: Option<&CalendarTable>, date: Date) -> BusinessDay {
    let marked = tenant.days.get(&date).and_then(|day| day.marker.as_ref()).map(|marker| marker.day);
    marked.or_else(|| table?.day(date)).unwrap_or(BusinessDay {
        date,
        opens_at: daybook_domain::time::Instant::MIN,
        closes_at: daybook_domain::time::Instant::MIN,
    })
}

/// A row without figures: what its group is known by.
pub(super) fn bare_row(plan: &Plan, day: &BusinessDay, key: &GroupKey) -> Row {
    let time = (Pieces::from(plan.view.grain) != Pieces::Total).then(|| {
        let name = Name::new("time").expect("a valid name");
        (name, Figure::Text(plan.piece_text(day, key.piece).into()))
    });
    let text = |value: &Option<CompactString>| value.clone().map_or(Figure::Null, Figure::Text);
    let dimensions = plan.view.group_by.iter().cloned().zip(key.dims.iter().map(text));
    Row(time.into_iter().chain(dimensions).collect())
}

fn unknown_day(tenant: &TenantState, date: Date) -> AskError {
    let hint = match tenant.open_day {
        None => "no day of this tenant has opened yet".to_owned(),
        Some(open) => {
            format!("days from {} to {open} are kept live; older ones have reports", tenant.expired_before)
        }
    };
    let message = format!("nothing is known of {}'s day {date}", tenant.definition.id);
    AskError::new(AskErrorCode::UnknownDay, message).hint(hint)
}

fn unknown_tenant(tenant: &TenantId) -> AskError {
    AskError::new(AskErrorCode::UnknownTenant, format!("there is no tenant {tenant}"))
        .hint("`daybook get tenants` lists them")
}
