//! What is worked on: [`nexmark`]'s bids, the standard work, the [`orders`] of many tenants, with corrections, and the
//! points of a [`game`].
//!
//! A [`Work`] is definitions and events as applications would publish them; [`Work::log`] packs them as ingest would.

pub mod game;
pub mod nexmark;
pub mod orders;

use daybook_contracts::log::{Batch, Event, Events, FORMAT, Record, Through};
use daybook_domain::calendar::CalendarTable;
use daybook_domain::catalogue::{Definition, Tenant};
use daybook_domain::ids::{InboxSeq, Name, TenantId};
use daybook_domain::time::{Date, Instant};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Events in a batch of the log at most: about what ingest's bound in bytes makes of events of this size.
const EVENTS_PER_BATCH: usize = 4_000;
/// Milliseconds of a day in UTC.
pub const DAY_MS: i64 = 86_400_000;
/// How many events are looked through for those that one tenant publishes together.
const PUBLISHED_TOGETHER: usize = 20_000;

/// Events of one kind, and the views over it.
pub struct Work {
    pub name: &'static str,
    /// Kind and views, as YAML.
    pub definitions: String,
    pub kind: Name,
    pub tenants: Vec<TenantId>,
    /// In the order in which they happen, each with the position of its tenant.
    pub events: Vec<(u32, Event)>,
    /// The business day of the first event; tenants' days are those of UTC.
    pub first_day: Date,
}

impl Work {
    /// The definitions, as they stand in the log.
    ///
    /// # Errors
    /// When the YAML is wrong.
    pub fn catalogue(&self) -> anyhow::Result<Vec<Definition>> {
        let files = [(PathBuf::from("work.yaml"), self.definitions.clone())];
        let loaded = daybook::definitions::load(&files, &[]).map_err(|mistakes| anyhow::anyhow!("{mistakes:?}"))?;
        let calendar = Name::new("utc")?;
        let cutoff = |day: i32| Instant::from_millis(i64::from(self.first_day.plus(day).as_days()) * DAY_MS);
        let table = CalendarTable {
            name: calendar.clone(),
            revision: 1,
            tzdb: "none".to_owned(),
            first: self.first_day,
            cutoffs: (0..=8).map(cutoff).collect(),
            offsets: Vec::new(),
        };
        let tenant = |id: &TenantId| Tenant {
            generation: 0,
            boundaries: Vec::new(),
            alerts: Default::default(),
            id: id.clone(),
            name: None,
            calendar: Vec::new(),
            grace_ms: 0,
            first_day: self.first_day,
            clock: Name::new("system").expect("a plain name"),
            revision: 1,
            table: Some(calendar.clone()),
            seasons: Vec::new(),
            quotas: Default::default(),
            restate_after_ms: None,
            max_ahead_ms: None,
        };
        let mut definitions = vec![Definition::Calendar(table)];
        definitions.extend(loaded.apply.kinds.into_iter().map(Definition::Kind));
        definitions.extend(loaded.apply.views.into_iter().map(Definition::View));
        definitions.extend(self.tenants.iter().map(tenant).map(Definition::Tenant));
        Ok(definitions)
    }

    /// The same, for other events.
    pub fn without_events(&self) -> Self {
        Self {
            name: self.name,
            definitions: self.definitions.clone(),
            kind: self.kind.clone(),
            tenants: self.tenants.clone(),
            events: Vec::new(),
            first_day: self.first_day,
        }
    }

    /// The messages that tenants publish: each of one tenant, of up to `together` events.
    pub fn messages(&self, together: usize) -> Vec<(u32, Vec<Event>)> {
        if together == 1 {
            return self.events.iter().map(|(tenant, event)| (*tenant, vec![event.clone()])).collect();
        }
        let mut messages = Vec::new();
        for stretch in self.events.chunks(PUBLISHED_TOGETHER) {
            let mut open: BTreeMap<u32, Vec<Event>> = BTreeMap::new();
            for (tenant, event) in stretch {
                let events = open.entry(*tenant).or_default();
                events.push(event.clone());
                if events.len() == together {
                    messages.push((*tenant, std::mem::take(events)));
                }
            }
            messages.extend(open.into_iter().filter(|(_, events)| !events.is_empty()));
        }
        messages
    }

    /// The log: first the definitions, then every event, in encoded batches.
    ///
    /// # Errors
    /// When the definitions are wrong.
    pub fn log(&self, together: usize) -> anyhow::Result<Vec<Vec<u8>>> {
        let mut inbox = 1;
        let batch = |inbox: u64, records: Vec<Record>| {
            let through = Through { inbox: InboxSeq(inbox), events: 0 };
            Batch { format: FORMAT, through, records }.encode()
        };
        let mut log = vec![batch(inbox, self.catalogue()?.into_iter().map(Record::Define).collect())];
        let (mut records, mut count) = (Vec::new(), 0);
        for (tenant, mut events) in self.messages(together) {
            inbox += 1;
            events.iter_mut().zip(0..).for_each(|(event, index)| event.index = index);
            count += events.len();
            let tenant = self.tenants[tenant as usize].clone();
            records.push(Record::Events(Events { inbox: InboxSeq(inbox), tenant, kind: self.kind.clone(), events }));
            if count >= EVENTS_PER_BATCH {
                log.push(batch(inbox, std::mem::take(&mut records)));
                count = 0;
            }
        }
        if !records.is_empty() {
            log.push(batch(inbox, records));
        }
        Ok(log)
    }
}

/// The business day that an instant is in, in UTC.
fn day_of(millis: i64) -> Date {
    Date::from_days(millis.div_euclid(DAY_MS) as i32)
}
