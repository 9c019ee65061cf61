//! What is pushed to listeners: the rows of watched views that changed. Nothing is computed for views that nobody
//! watches. The feeds are this replica's own and end with it; a listener then finds another feed and takes a snapshot.

use compact_str::ToCompactString;
use daybook_contracts::ask::{Answer, AskError, AskErrorCode, Asked, Feed, MAX_ANSWER_BYTES};
use daybook_contracts::live::{LEASE, LiveUpdate, MAX_RANKED_ROWS};
use daybook_contracts::log::Record;
use daybook_contracts::report::Row;
use daybook_domain::catalogue::{Definition, Removal};
use daybook_domain::ids::{Name, TenantId};
use daybook_machine::PartitionState;
use daybook_machine::answer::{Changed, Today};
use std::collections::BTreeMap;
use tokio::time::Instant;

/// Most feeds of one partition.
const MAX_FEEDS: usize = 20_000;

/// The feeds of one partition.
pub struct Feeds {
    /// Unlike that of any other run of any replica.
    run: String,
    made: u64,
    feeds: BTreeMap<(TenantId, Name), Watched>,
}

struct Watched {
    feed: Feed,
    expires: Instant,
    today: Today,
    /// The rows of a ranking as they were shown last; empty for other views.
    shown: Vec<Row>,
    /// Somebody took a snapshot since the last update: the next one tells all of a ranking, for he may have seen rows
    /// that come to be as they were shown before.
    tell_all: bool,
}

impl Feeds {
    /// `run` must differ from that of every other replica and run.
    pub fn new(run: String) -> Self {
        Self { run, made: 0, feeds: BTreeMap::new() }
    }

    pub fn len(&self) -> usize {
        self.feeds.len()
    }

    pub fn is_empty(&self) -> bool {
        self.feeds.is_empty()
    }

    /// Starts or renews a feed and answers with the snapshot that it continues.
    ///
    /// # Errors
    /// When the view cannot be asked for, or there are too many feeds, of the tenant or of all.
    pub fn watch(&mut self, state: &mut PartitionState, tenant: &TenantId, view: &Name, now: Instant) -> Asked<Answer> {
        let key = (tenant.clone(), view.clone());
        if !self.feeds.contains_key(&key) && self.feeds.len() >= MAX_FEEDS {
            let error = AskError::new(AskErrorCode::Unavailable, format!("{MAX_FEEDS} views are watched already"));
            return Err(error.hint("ask for the view now and then instead"));
        }
        if !self.feeds.contains_key(&key)
            && let Some(quota) = state.quotas(tenant).feeds
            && self.of(tenant) >= quota
        {
            let error = AskError::new(AskErrorCode::Quota, format!("the tenant's quota is {quota} live feeds"));
            return Err(
                error.hint("end another feed (it ends 30 s after it was asked for last), or have the quota raised")
            );
        }
        let (answer, today) = state.whole_today(tenant, view)?;
        let watched = match self.feeds.entry(key) {
            std::collections::btree_map::Entry::Occupied(entry) => {
                let watched = entry.into_mut();
                watched.tell_all = true;
                watched
            }
            std::collections::btree_map::Entry::Vacant(entry) => {
                self.made += 1;
                let feed = Feed { feed: format!("{}-{}", self.run, self.made).to_compact_string(), sequence: 0 };
                state.watch(tenant, view, today.date);
                let shown = if today.is_ranked { first_rows(answer.rows.clone()) } else { Vec::new() };
                entry.insert(Watched { feed, expires: now, today: today.clone(), shown, tell_all: false })
            }
        };
        watched.expires = now + LEASE;
        Ok(Answer { feed: Some(watched.feed.clone()), ..answer })
    }

    /// Ends the feeds of tenants and views that the records remove: what has the name next begins feeds of its own.
    pub fn end_removed(&mut self, records: &[Record]) {
        for record in records {
            match record {
                Record::Define(Definition::Removal(Removal::Tenant { id, .. })) => {
                    self.feeds.retain(|(tenant, _), _| tenant != id);
                }
                Record::Define(Definition::Removal(Removal::View { name, .. })) => {
                    self.feeds.retain(|(_, view), _| view != name);
                }
                _ => {}
            }
        }
    }

    /// Ends the feeds that nobody has asked for in time.
    pub fn expire(&mut self, state: &mut PartitionState, now: Instant) {
        self.feeds.retain(|(tenant, view), watched| {
            let goes_on = watched.expires > now;
            if !goes_on {
                state.unwatch(tenant, view);
            }
            goes_on
        });
    }

    /// The updates that are due: one at the most for each feed in which something changed. What changed since the last
    /// call is in it, however long ago that was.
    pub fn updates(&mut self, state: &mut PartitionState) -> Vec<LiveUpdate> {
        let update = |((tenant, view), watched): (&(TenantId, Name), &mut Watched)| watched.update(state, tenant, view);
        self.feeds.iter_mut().filter_map(update).collect()
    }

    /// How many feeds the tenant has.
    fn of(&self, tenant: &TenantId) -> u64 {
        self.feeds.keys().filter(|(of, _)| of == tenant).count() as u64
    }
}

impl Watched {
    fn update(&mut self, state: &mut PartitionState, tenant: &TenantId, view: &Name) -> Option<LiveUpdate> {
        let today = state.today(tenant, view)?;
        let moved_on = today.date != self.today.date;
        if moved_on {
            state.unwatch(tenant, view);
            state.watch(tenant, view, today.date);
        }
        let mut reset = false;
        let changed = match (moved_on || today.definition != self.today.definition, today.is_ranked) {
            (true, _) => {
                self.shown.clear();
                let (answer, _) = state.whole_today(tenant, view).ok()?;
                state.take_changed(tenant, view, today.date);
                // Rows that do not fit are on further pages of the snapshot; and what another definition has no more
                // cannot be told.
                reset = !moved_on || (answer.next.is_some() && !today.is_ranked);
                let rows = if today.is_ranked { first_rows(answer.rows) } else { answer.rows };
                self.shown = if today.is_ranked { rows.clone() } else { Vec::new() };
                Changed { rows, ..Changed::default() }
            }
            (false, true) => {
                if !state.take_changed(tenant, view, today.date) && today.day == self.today.day {
                    return None;
                }
                let (answer, _) = state.whole_today(tenant, view).ok()?;
                self.changed_ranks(first_rows(answer.rows))
            }
            (false, false) => match state.changed_rows(tenant, view, today.date) {
                None if today.day == self.today.day => return None,
                changed => changed.unwrap_or_default(),
            },
        };
        reset |= changed.is_cut || changed.bytes() > MAX_ANSWER_BYTES;
        let Changed { rows, removed, .. } = if reset { Changed::default() } else { changed };
        self.feed.sequence += 1;
        self.today = today;
        metrics::counter!("daybook_live_updates_total").increment(1);
        Some(LiveUpdate {
            tenant: tenant.clone(),
            view: view.clone(),
            feed: self.feed.feed.clone(),
            sequence: self.feed.sequence,
            date: self.today.date,
            day: self.today.day,
            rows,
            removed,
            reset,
            as_of: state.as_of(),
        })
    }

    /// What differs from the first rows as they were shown, by position.
    fn changed_ranks(&mut self, rows: Vec<Row>) -> Changed {
        let before = std::mem::replace(&mut self.shown, rows);
        let tell_all = std::mem::take(&mut self.tell_all);
        let differs = |(index, row): &(usize, &Row)| tell_all || before.get(*index) != Some(*row);
        let changed = self.shown.iter().enumerate().filter(differs).map(|(_, row)| row.clone()).collect();
        let position = |row: &Row| Row(row.0.iter().filter(|(name, _)| name.as_str() == "position").cloned().collect());
        let removed = before.iter().skip(self.shown.len()).map(position).collect();
        Changed { rows: changed, removed, is_cut: false }
    }
}

fn first_rows(mut rows: Vec<Row>) -> Vec<Row> {
    rows.truncate(MAX_RANKED_ROWS);
    rows
}
