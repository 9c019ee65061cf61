//! The bound: a bare loop that decodes the same batches and adds, with nothing else that an engine owes its users.

use crate::work::Work;
use compact_str::CompactString;
use daybook_contracts::log::{Batch, Event, Record};
use daybook_domain::catalogue::Status;
use daybook_domain::time::Date;
use hashbrown::{HashMap, HashSet};
use std::collections::BTreeMap;

/// Figures of a group; which of them are used depends on the work.
#[derive(Debug, Default)]
pub struct Figures {
    pub n: i64,
    pub sum: i64,
    ranges: [i64; 3],
    min: i64,
    max: i64,
    values: BTreeMap<i64, i64>,
    texts: HashMap<CompactString, i64>,
    sets: [HashSet<u64>; 8],
    /// The largest values, at most [`BEST`], largest first.
    pub best: Vec<i64>,
}

/// How many of the best bids are kept.
pub const BEST: usize = 10;

/// What the loop adds up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fold {
    /// Nexmark q15: one group a day, with distinct bidders and auctions by three ranges of prices.
    Statistics,
    /// Nexmark q16: the same for each channel and day.
    Channels,
    /// Nexmark q17: a group for each auction and day.
    Auctions,
    /// Nexmark q19: the ten best of each auction and day.
    Best,
    /// A group for each tenant, day and store, with every order's newest version kept, to be taken out again.
    Orders,
}

/// By tenant, day, and what the work groups by beside them, which may be nothing.
pub type Groups = HashMap<(CompactString, Date, CompactString), Figures>;

/// Does the work, and returns the groups.
pub fn fold(what: Fold, log: &[Vec<u8>]) -> Groups {
    let mut groups = Groups::default();
    let mut newest: HashMap<(CompactString, CompactString), Event> = HashMap::new();
    for bytes in log {
        let batch = Batch::decode(bytes).expect("made by this program");
        for record in batch.records {
            let Record::Events(events) = record else { continue };
            let tenant = CompactString::new(events.tenant.as_str());
            for event in events.events {
                match what {
                    Fold::Statistics => {
                        statistics(groups.entry((tenant.clone(), event.date, "".into())).or_default(), &event)
                    }
                    Fold::Channels => {
                        let channel = event.dims[2].clone().expect("every bid has one");
                        statistics(groups.entry((tenant.clone(), event.date, channel)).or_default(), &event);
                    }
                    Fold::Auctions => {
                        let auction = event.dims[0].clone().expect("every bid has one");
                        auction_bid(groups.entry((tenant.clone(), event.date, auction)).or_default(), &event);
                    }
                    Fold::Best => {
                        let auction = event.dims[0].clone().expect("every bid has one");
                        best(groups.entry((tenant.clone(), event.date, auction)).or_default(), &event);
                    }
                    Fold::Orders => {
                        let id = event.id.clone().expect("every order has one");
                        match newest.entry((tenant.clone(), id)) {
                            hashbrown::hash_map::Entry::Occupied(mut known) => {
                                if known.get().version < event.version {
                                    let old = known.insert(event.clone());
                                    order(&mut groups, &tenant, &old, -1);
                                    order(&mut groups, &tenant, &event, 1);
                                }
                            }
                            hashbrown::hash_map::Entry::Vacant(place) => {
                                order(&mut groups, &tenant, &event, 1);
                                place.insert(event);
                            }
                        }
                    }
                }
            }
        }
    }
    groups
}

fn price(event: &Event) -> i64 {
    event.measures[0].expect("every one has it")
}

fn range(price: i64) -> usize {
    usize::from(price >= 10_000) + usize::from(price >= 1_000_000)
}

fn statistics(figures: &mut Figures, event: &Event) {
    let price = price(event);
    let number = |text: &Option<CompactString>| text.as_ref().and_then(|text| text.parse().ok()).expect("a number");
    let (auction, bidder): (u64, u64) = (number(&event.dims[0]), number(&event.dims[1]));
    figures.n += 1;
    figures.ranges[range(price)] += 1;
    figures.sets[0].insert(bidder);
    figures.sets[1 + range(price)].insert(bidder);
    figures.sets[4].insert(auction);
    figures.sets[5 + range(price)].insert(auction);
}

fn auction_bid(figures: &mut Figures, event: &Event) {
    let price = price(event);
    figures.min = if figures.n == 0 { price } else { figures.min.min(price) };
    figures.max = figures.max.max(price);
    figures.n += 1;
    figures.sum += price;
    figures.ranges[range(price)] += 1;
}

fn best(figures: &mut Figures, event: &Event) {
    let price = price(event);
    figures.n += 1;
    let place = figures.best.partition_point(|other| *other >= price);
    if place < BEST {
        figures.best.truncate(BEST - 1);
        figures.best.insert(place, price);
    }
}

fn order(groups: &mut Groups, tenant: &CompactString, event: &Event, sign: i64) {
    if event.status != Status::Final {
        return;
    }
    let store = event.dims[0].clone().expect("every order has one");
    let figures = groups.entry((tenant.clone(), event.date, store)).or_default();
    let amount = price(event);
    figures.n += sign;
    figures.sum += sign * amount;
    let count = figures.values.entry(amount).or_default();
    *count += sign;
    if *count == 0 {
        figures.values.remove(&amount);
    }
    let customer = event.dims[1].clone().expect("every order has one");
    let count = figures.texts.entry(customer).or_default();
    *count += sign;
}

impl Figures {
    /// What the view's metrics must be; none for [`Fold::Best`], which is not asked for by group.
    pub fn metrics(&self, fold: Fold) -> Vec<(&'static str, i64)> {
        let [rank1, rank2, rank3] = self.ranges;
        match fold {
            Fold::Statistics | Fold::Channels => {
                let distinct = |set: usize| self.sets[set].len() as i64;
                vec![
                    ("total_bids", self.n),
                    ("rank1_bids", rank1),
                    ("rank2_bids", rank2),
                    ("rank3_bids", rank3),
                    ("total_bidders", distinct(0)),
                    ("rank1_bidders", distinct(1)),
                    ("rank2_bidders", distinct(2)),
                    ("rank3_bidders", distinct(3)),
                    ("total_auctions", distinct(4)),
                    ("rank1_auctions", distinct(5)),
                    ("rank2_auctions", distinct(6)),
                    ("rank3_auctions", distinct(7)),
                ]
            }
            Fold::Auctions => vec![
                ("total_bids", self.n),
                ("rank1_bids", rank1),
                ("rank2_bids", rank2),
                ("rank3_bids", rank3),
                ("min_price", self.min),
                ("max_price", self.max),
                ("sum_price", self.sum),
            ],
            Fold::Orders => vec![
                ("orders", self.n),
                ("amount", self.sum),
                ("least", self.values.first_key_value().map_or(0, |(amount, _)| *amount)),
                ("most", self.values.last_key_value().map_or(0, |(amount, _)| *amount)),
                ("customers", self.texts.values().filter(|count| **count > 0).count() as i64),
                ("p95", self.p95()),
            ],
            Fold::Best => Vec::new(),
        }
    }

    /// By nearest rank: the smallest value that at least 95 of 100 do not exceed.
    fn p95(&self) -> i64 {
        let mut below = (self.n * 95 + 99) / 100;
        for (value, count) in &self.values {
            below -= count;
            if below <= 0 {
                return *value;
            }
        }
        0
    }
}

/// Rows and sum over all groups: what Daybook's figures must add up to.
pub fn totals(groups: &Groups) -> (i64, i64) {
    groups.values().fold((0, 0), |(n, sum), figures| (n + figures.n, sum + figures.sum))
}

/// Which fold is the bare form of a work, where there is one.
pub fn fold_of(work: &Work) -> Option<Fold> {
    match work.name {
        "q15" => Some(Fold::Statistics),
        "q16" => Some(Fold::Channels),
        "q17" => Some(Fold::Auctions),
        "q19" => Some(Fold::Best),
        "orders" => Some(Fold::Orders),
        _ => None,
    }
}

/// Rows and sum of each tenant's days, recomputed from the orders themselves; tenants by their positions in the work.
#[derive(Debug, Default)]
pub struct Days {
    newest: HashMap<(u32, CompactString), (Date, i64)>,
    totals: HashMap<(u32, Date), (i64, i64)>,
}

impl Days {
    /// Takes in an event, which is newer than those of the same order before it.
    pub fn add(&mut self, tenant: u32, event: &Event) {
        let key = (tenant, event.id.clone().expect("every order has one"));
        if let Some((date, amount)) = self.newest.remove(&key) {
            let (rows, sum) = self.totals.get_mut(&(tenant, date)).expect("it was counted");
            (*rows, *sum) = (*rows - 1, *sum - amount);
        }
        let (rows, sum) = self.totals.entry((tenant, event.date)).or_default();
        if event.status == Status::Final {
            (*rows, *sum) = (*rows + 1, *sum + price(event));
            self.newest.insert(key, (event.date, price(event)));
        }
    }

    /// Rows and sum of a tenant's day; `None` when nothing is of that day.
    pub fn of(&self, tenant: usize, date: Date) -> Option<(i64, i64)> {
        self.totals.get(&(u32::try_from(tenant).ok()?, date)).copied()
    }

    /// Rows and sum over everything.
    pub fn totals(&self) -> (i64, i64) {
        self.totals.values().fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::work::orders::orders;

    #[test]
    fn days_add_up_to_what_the_bare_loop_finds() {
        let work = orders("orders", 5_000, 20);
        let mut days = Days::default();
        work.events.iter().for_each(|(tenant, event)| days.add(*tenant, event));
        let log = work.log(100).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(days.totals(), totals(&fold(Fold::Orders, &log)));
        assert!(days.of(0, work.first_day).is_some_and(|(rows, sum)| rows > 0 && sum > 0));
    }
}
