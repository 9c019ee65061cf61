//! The naive model: figures and accounts worked out from what was acknowledged, in the order of the sequences, with
//! nothing of the product but dates.
//!
//! All measures are kept in hundredths, so that a figure is one integer whatever its scale.

use crate::event::{Event, Status, What};
use crate::tenants::Tenant;
use daybook_domain::time::Date;
use std::collections::{BTreeMap, BTreeSet};

/// A figure in hundredths; nothing for the largest of none.
pub type Cell = Option<i64>;
/// Rows by their group (empty where the view has none), with the metrics in the view's order.
pub type Rows = BTreeMap<String, Vec<Cell>>;

/// The views that are made anew for a late event, with their groups and metrics.
pub const VIEWS: [(&str, Option<&str>, &[&str]); 4] = [
    ("orders", Some("channel"), &["orders", "drafts", "quantity", "amount", "largest"]),
    ("leaders", Some("channel"), &["rank", "best"]),
    ("outcomes", None, &["finals", "voids", "channels"]),
    ("clicks", Some("page"), &["clicks", "ms"]),
];
/// The view that posts late events to the open day, and its metric: its days together have every click.
pub const POSTED: (&str, &str) = ("posted", "clicks");

/// What became of a tenant-day's events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    pub counted: u64,
    pub pending: u64,
    pub duplicate: u64,
    pub stale: u64,
    /// The drafts among the pending and the counted.
    pub drafts: u64,
}

impl Account {
    pub fn published(&self) -> u64 {
        self.counted + self.pending + self.duplicate + self.stale
    }
}

/// What a tenant's events come to.
#[derive(Clone)]
pub struct Model {
    tenant: Tenant,
    newest: BTreeMap<(&'static str, String), Event>,
    pub accounts: BTreeMap<Date, Account>,
}

impl Model {
    pub fn new(tenant: &Tenant) -> Self {
        Self { tenant: tenant.clone(), newest: BTreeMap::new(), accounts: BTreeMap::new() }
    }

    /// Takes the next event in.
    pub fn apply(&mut self, event: &Event) {
        let account = self.accounts.entry(self.tenant.day_of(event.at_ms)).or_default();
        let key = (event.kind(), event.id.clone());
        let known = self.newest.get(&key);
        match (&event.what, known.map(|known| &known.what)) {
            (What::Click { .. }, Some(_)) => account.duplicate += 1,
            (What::Order { version, .. }, Some(What::Order { version: known, .. })) if version == known => {
                account.duplicate += 1;
            }
            (What::Order { version, .. }, Some(What::Order { version: known, .. })) if version < known => {
                account.stale += 1;
            }
            (what, _) => {
                match what {
                    What::Order { status: Status::Draft, .. } => {
                        account.pending += 1;
                        account.drafts += 1;
                    }
                    _ => account.counted += 1,
                }
                if let Some(old) = self.newest.insert(key, event.clone())
                    && let What::Order { status: Status::Draft, .. } = old.what
                {
                    let account = self.accounts.entry(self.tenant.day_of(old.at_ms)).or_default();
                    account.pending -= 1;
                    account.counted += 1;
                }
            }
        }
    }

    /// Every click that counts.
    pub fn clicks(&self) -> i64 {
        self.newest.keys().filter(|(kind, _)| *kind == "click").count() as i64
    }

    /// Ranks of channels by their largest order; among equals, whoever had one as large first ranks higher.
    fn leaders(&self, date: Date) -> Rows {
        let mut leads: BTreeMap<&str, Lead> = BTreeMap::new();
        for event in self.newest.values().filter(|event| self.tenant.day_of(event.at_ms) == date) {
            if let What::Order { status: Status::Final, channel, quantity, .. } = &event.what {
                let lead = leads.entry(*channel).or_insert((*quantity, event.at_ms));
                if is_before((*quantity, event.at_ms), *lead) {
                    *lead = (*quantity, event.at_ms);
                }
            }
        }
        let rank = |lead: Lead| 1 + leads.values().filter(|other| is_before(**other, lead)).count() as i64;
        let row = |(channel, lead): (&&str, &Lead)| {
            ((*channel).to_owned(), vec![Some(rank(*lead) * 100), Some(lead.0 * 100)])
        };
        leads.iter().map(row).collect()
    }

    /// The rows of one of [`VIEWS`] on a day. Groups in which nothing is left are none.
    pub fn rows(&self, view: &str, date: Date) -> Rows {
        let mut rows = Rows::new();
        if view == "leaders" {
            return self.leaders(date);
        }
        let mut channels = BTreeSet::new();
        let of_day = self.newest.values().filter(|event| self.tenant.day_of(event.at_ms) == date);
        for event in of_day {
            match (&event.what, view) {
                (What::Order { status, channel, quantity, cents, .. }, "orders") => {
                    let row = rows
                        .entry((*channel).to_owned())
                        .or_insert_with(|| vec![Some(0), Some(0), Some(0), Some(0), None]);
                    match status {
                        Status::Final => {
                            add(&mut row[0], 100);
                            add(&mut row[2], quantity * 100);
                            add(&mut row[3], *cents);
                            row[4] = row[4].max(Some(quantity * 100));
                        }
                        Status::Draft => add(&mut row[1], 100),
                        Status::Void => {}
                    }
                }
                (What::Order { status, channel, .. }, "outcomes") => {
                    let row = rows.entry(String::new()).or_insert_with(|| vec![Some(0); 3]);
                    match status {
                        Status::Final => {
                            add(&mut row[0], 100);
                            if channels.insert(*channel) {
                                add(&mut row[2], 100);
                            }
                        }
                        Status::Void => add(&mut row[1], 100),
                        Status::Draft => {}
                    }
                }
                (What::Click { page, ms }, "clicks") => {
                    let row = rows.entry((*page).to_owned()).or_insert_with(|| vec![Some(0); 2]);
                    add(&mut row[0], 100);
                    add(&mut row[1], ms * 100);
                }
                _ => {}
            }
        }
        without_empty(rows)
    }
}

/// The largest quantity, and the earliest time of an order that has it: among equals that is who was first.
type Lead = (i64, i64);

fn is_before(one: Lead, other: Lead) -> bool {
    one.0 > other.0 || (one.0 == other.0 && one.1 < other.1)
}

fn add(cell: &mut Cell, more: i64) {
    *cell = Some(cell.unwrap_or(0) + more);
}

/// Without rows that hold nothing: a view without groups shows one, others do not.
pub fn without_empty(mut rows: Rows) -> Rows {
    rows.retain(|_, cells| cells.iter().any(|cell| cell.unwrap_or(0) != 0));
    rows
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn order(id: &str, at_ms: i64, version: u64, status: Status, quantity: i64) -> Event {
        Event { id: id.into(), at_ms, what: What::Order { version, status, channel: "web", quantity, cents: 250 } }
    }

    fn in_shop() -> What {
        What::Order { version: 1, status: Status::Final, channel: "shop", quantity: 8, cents: 250 }
    }

    #[test]
    fn the_newest_version_counts_on_its_day() {
        let start: daybook_domain::time::Instant = crate::tenants::CLOCK_START.parse().unwrap();
        let (start, tenants) = (start.as_millis(), Tenant::all(start));
        let (first, second) = (tenants[0].day_of(start), tenants[0].day_of(start).next());
        let mut model = Model::new(&tenants[0]);
        let moved = start + crate::tenants::DAY_MS;
        for event in [
            order("a", start, 1, Status::Draft, 1),
            order("a", start, 2, Status::Final, 2),
            order("a", start, 2, Status::Final, 2),
            order("a", start, 1, Status::Draft, 1),
            order("b", start, 1, Status::Final, 7),
            order("b", moved, 2, Status::Final, 8),
            order("c", start, 1, Status::Final, 9),
            order("c", start, 2, Status::Void, 9),
            Event { id: "a".into(), at_ms: start, what: What::Click { page: "home", ms: 5 } },
        ] {
            model.apply(&event);
        }
        let cells = |cells: &[i64]| cells.iter().map(|cell| Some(*cell)).collect::<Vec<_>>();
        assert_eq!(model.rows("orders", first), [("web".into(), cells(&[100, 0, 200, 250, 200]))].into());
        assert_eq!(model.rows("orders", second), [("web".into(), cells(&[100, 0, 800, 250, 800]))].into());
        // As large as the other's, and an hour before it.
        model.apply(&Event { what: in_shop(), ..order("d", start - crate::tenants::HOUR_MS, 1, Status::Final, 8) });
        assert_eq!(model.rows("leaders", first)["shop"], cells(&[100, 800]));
        model.apply(&order("e", start - crate::tenants::HOUR_MS - 1, 1, Status::Final, 8));
        assert_eq!(
            model.rows("leaders", first),
            [("shop".into(), cells(&[200, 800])), ("web".into(), cells(&[100, 800]))].into()
        );
        for gone in ["d", "e"] {
            model.apply(&order(gone, start - crate::tenants::HOUR_MS, 2, Status::Void, 8));
        }
        assert_eq!(model.rows("leaders", first), [("web".into(), cells(&[100, 200]))].into());
        assert_eq!(model.rows("outcomes", first), [(String::new(), cells(&[100, 300, 100]))].into());
        assert_eq!(model.rows("clicks", first), [("home".into(), cells(&[100, 500]))].into());
        assert_eq!(model.accounts[&first], Account { counted: 10, pending: 0, duplicate: 1, stale: 1, drafts: 1 });
        assert_eq!(model.accounts[&second].counted, 1);
        assert_eq!((model.clicks(), model.accounts[&first].published()), (1, 12));
    }
}
