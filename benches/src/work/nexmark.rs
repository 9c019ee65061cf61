//! Bids of the Nexmark benchmark, made by the crate of that name, 29 a second of their own time.

use super::{Work, day_of};
use ::nexmark::EventGenerator;
use ::nexmark::config::NexmarkConfig;
use ::nexmark::event::Event as Made;
use compact_str::format_compact;
use daybook_contracts::log::Event;
use daybook_domain::catalogue::Status;
use daybook_domain::ids::{Name, TenantId};
use daybook_domain::time::Instant;

/// 2026-01-01T00:00:00Z, in milliseconds.
const BASE_TIME: u64 = 1_767_225_600_000;

/// The columns of a bid.
pub const DIMENSIONS: [&str; 3] = ["auction", "bidder", "channel"];

/// A view whose head is given, with the bidding statistics: bids, bidders and auctions, in all and by ranges of the price.
macro_rules! statistics {
    ($head:literal) => {
        concat!(
            $head,
            "
    metrics:
      - total_bids: count
      - rank1_bids: { value: count, where: price < 10000 }
      - rank2_bids: { value: count, where: price >= 10000 and price < 1000000 }
      - rank3_bids: { value: count, where: price >= 1000000 }
      - total_bidders: distinct(bidder)
      - rank1_bidders: { value: distinct(bidder), where: price < 10000 }
      - rank2_bidders: { value: distinct(bidder), where: price >= 10000 and price < 1000000 }
      - rank3_bidders: { value: distinct(bidder), where: price >= 1000000 }
      - total_auctions: distinct(auction)
      - rank1_auctions: { value: distinct(auction), where: price < 10000 }
      - rank2_auctions: { value: distinct(auction), where: price >= 10000 and price < 1000000 }
      - rank3_auctions: { value: distinct(auction), where: price >= 1000000 }
"
        )
    };
}

/// Daily bidding statistics.
pub const Q15: &str = statistics!(
    "
  - name: q15
    kind: bid"
);

/// The same of each channel.
pub const Q16: &str = statistics!(
    "
  - name: q16
    kind: bid
    group_by: [channel]"
);

/// Statistics of each auction and day.
pub const Q17: &str = "
  - name: q17
    kind: bid
    group_by: [auction]
    metrics:
      - total_bids: count
      - rank1_bids: { value: count, where: price < 10000 }
      - rank2_bids: { value: count, where: price >= 10000 and price < 1000000 }
      - rank3_bids: { value: count, where: price >= 1000000 }
      - min_price: min(price)
      - max_price: max(price)
      - avg_price: avg(price)
      - sum_price: sum(price)
";

/// What q19 asks of, the ten best bids of each auction. A ranking is of all groups of a view, so that this view has a group
/// for each bid, by a number that [`numbered_bids`] gives it; the ten of one auction are asked for by a condition.
pub const Q19: &str = "
  - name: q19
    kind: bid
    group_by: [auction, bid]
    metrics:
      - price: sum(price)
    ranking: { by: [price desc], ties: ordinal }
";

/// Bids of that many events, one twelfth of which are other things than bids, with `views`, of [`Q15`] to [`Q17`].
pub fn bids(name: &'static str, views: &[&str], events: usize) -> Work {
    let config = NexmarkConfig { base_time: BASE_TIME, first_rate: 29, next_rate: 29, ..NexmarkConfig::default() };
    let bids = EventGenerator::new(config).take(events).filter_map(|made| match made {
        Made::Bid(bid) => {
            let at = bid.date_time as i64;
            let event = Event {
                index: 0,
                date: day_of(at),
                at: Instant::from_millis(at),
                id: None,
                version: None,
                status: Status::Final,
                dims: vec![
                    Some(format_compact!("{}", bid.auction)),
                    Some(format_compact!("{}", bid.bidder)),
                    Some(bid.channel.into()),
                ]
                .into(),
                measures: vec![Some(bid.price as i64)].into(),
            };
            Some((0, event))
        }
        Made::Person(_) | Made::Auction(_) => None,
    });
    Work {
        name,
        definitions: definitions(&DIMENSIONS, views),
        kind: Name::new("bid").expect("a plain name"),
        tenants: vec![TenantId::new("nexmark").expect("a plain id")],
        events: bids.collect(),
        first_day: day_of(BASE_TIME as i64),
    }
}

/// The same bids, each with a number of its own, and the view [`Q19`].
pub fn numbered_bids(name: &'static str, events: usize) -> Work {
    let mut work = bids(name, &[], events);
    for ((_, bid), number) in work.events.iter_mut().zip(0..) {
        bid.dims.push(Some(format_compact!("{number}")));
    }
    let [auction, bidder, channel] = DIMENSIONS;
    work.definitions = definitions(&[auction, bidder, channel, "bid"], &[Q19]);
    work
}

fn definitions(dimensions: &[&str], views: &[&str]) -> String {
    let (dimensions, views) = (dimensions.join(", "), views.join(""));
    format!(
        "
kinds:
  - name: bid
    mode: fact
    dimensions: [{dimensions}]
    measures: [price]
views:
{views}"
    )
}
