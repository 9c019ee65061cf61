//! Nexmark q15 and q17.

use crate::measure::{Load, collect, row};
use crate::{BATCH, WORKERS, records};
use anyhow::ensure;
use dbsp::Runtime;
use dbsp::operator::{Max, Min};
use dbsp::utils::{Tup2, Tup3, Tup4, Tup5};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::Instant;

/// The day, auction, bidder and price of a bid.
type Bid = Tup4<u32, u64, u64, i64>;

/// All bids, and the days by their numbers.
fn bids(folder: &Path) -> anyhow::Result<(Vec<Bid>, Vec<String>)> {
    let mut days: Vec<String> = Vec::new();
    let bids = records(folder, "bids.csv", |fields| {
        let [day, _, auction, bidder, _, price] = fields else { return None };
        if days.last().is_none_or(|last| last != day) {
            days.push((*day).to_owned());
        }
        Some(Tup4(days.len() as u32 - 1, auction.parse().ok()?, bidder.parse().ok()?, price.parse().ok()?))
    })?;
    Ok((bids, days))
}

/// 1 to 3, by the price.
fn rank(price: i64) -> u8 {
    1 + u8::from(price >= 10_000) + u8::from(price >= 1_000_000)
}

/// Daily statistics; what is counted is the last part of a key.
pub fn q15(folder: &Path, expected: &Value) -> anyhow::Result<()> {
    const NAMES: [&str; 3] = ["bids", "bidders", "auctions"];
    let (bids, days) = bids(folder)?;
    let (mut circuit, (input, outputs)) = Runtime::init_circuit(WORKERS, |circuit| {
        let (bids, input) = circuit.add_input_zset::<Bid>();
        let count = bids.flat_map_index(|Tup4(day, _, _, price)| [0, rank(*price)].map(|rank| (Tup2(*day, rank), ())));
        let bidders =
            bids.flat_map(|Tup4(day, _, bidder, price)| [0, rank(*price)].map(|rank| Tup3(*day, rank, *bidder)));
        let auctions =
            bids.flat_map(|Tup4(day, auction, _, price)| [0, rank(*price)].map(|rank| Tup3(*day, rank, *auction)));
        let values = [bidders, auctions].map(|values| {
            let distinct = values.distinct().map_index(|Tup3(day, rank, _)| (Tup2(*day, *rank), ()));
            distinct.weighted_count().accumulate_output()
        });
        let [bidders, auctions] = values;
        Ok((input, [count.weighted_count().accumulate_output(), bidders, auctions]))
    })?;
    let mut found = [HashMap::new(), HashMap::new(), HashMap::new()];
    let mut load = Load::begin();
    for batch in bids.chunks(BATCH) {
        let began = Instant::now();
        input.append(&mut batch.iter().map(|bid| Tup2(*bid, 1)).collect());
        circuit.transaction()?;
        outputs.iter().zip(&mut found).for_each(|(output, found)| collect(output, found));
        load.step(began.elapsed());
    }
    let figures = load.figures(bids.len());
    let mut by_day: BTreeMap<&str, BTreeMap<String, i64>> = BTreeMap::new();
    for (name, found) in NAMES.iter().zip(&found) {
        for (Tup2(day, rank), count) in found {
            let metric = if *rank == 0 { format!("total_{name}") } else { format!("rank{rank}_{name}") };
            by_day.entry(&days[*day as usize]).or_default().insert(metric, *count);
        }
    }
    ensure!(json!(by_day) == *expected, "q15: {by_day:?}, not {expected}");
    row("bids", "DBSP, q15", figures);
    circuit.kill().map_err(|_| anyhow::anyhow!("a worker of q15 failed"))
}

/// Statistics of each auction and day.
pub fn q17(folder: &Path, expected: &Value) -> anyhow::Result<()> {
    let (bids, _) = bids(folder)?;
    let (mut circuit, (input, sums, least, most)) = Runtime::init_circuit(WORKERS, |circuit| {
        let (bids, input) = circuit.add_input_indexed_zset::<Tup2<u32, u64>, i64>();
        let sums = bids.aggregate_linear(|price| {
            let is = |wanted: u8| i64::from(rank(*price) == wanted);
            Tup5(1_i64, is(1), is(2), is(3), *price)
        });
        let (least, most) = (bids.aggregate(Min), bids.aggregate(Max));
        Ok((input, sums.accumulate_output(), least.accumulate_output(), most.accumulate_output()))
    })?;
    let (mut all_sums, mut all_least, mut all_most) = (HashMap::new(), HashMap::new(), HashMap::new());
    let mut load = Load::begin();
    for batch in bids.chunks(BATCH) {
        let began = Instant::now();
        input.append(
            &mut batch.iter().map(|Tup4(day, auction, _, price)| Tup2(Tup2(*day, *auction), Tup2(*price, 1))).collect(),
        );
        circuit.transaction()?;
        collect(&sums, &mut all_sums);
        collect(&least, &mut all_least);
        collect(&most, &mut all_most);
        load.step(began.elapsed());
    }
    let figures = load.figures(bids.len());
    let sum = |part: fn(&Tup5<i64, i64, i64, i64, i64>) -> i64| all_sums.values().map(part).sum::<i64>();
    let found = json!({
        "groups": all_sums.len(),
        "total_bids": sum(|sums| sums.0),
        "rank1_bids": sum(|sums| sums.1),
        "rank2_bids": sum(|sums| sums.2),
        "rank3_bids": sum(|sums| sums.3),
        "sum_price": sum(|sums| sums.4),
        "min_price": all_least.values().sum::<i64>(),
        "max_price": all_most.values().sum::<i64>(),
    });
    ensure!(found == *expected, "q17: {found}, not {expected}");
    row("bids", "DBSP, q17", figures);
    circuit.kill().map_err(|_| anyhow::anyhow!("a worker of q17 failed"))
}
