//! Orders of many tenants with corrections: all figures but the percentile.

use crate::measure::{Load, collect, milliseconds, row};
use crate::{BATCH, WORKERS, records};
use anyhow::{Context as _, ensure};
use dbsp::Runtime;
use dbsp::operator::{Max, Min, Update};
use dbsp::utils::{Tup2, Tup3, Tup4, Tup5};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::Path;
use std::time::Instant;

/// Tenant, day and store.
type Group = Tup3<u32, u32, u32>;
/// Tenant, day, store, customer and amount of an order that counts.
type Order = Tup5<u32, u32, u32, u32, i64>;

/// A number for each text.
#[derive(Default)]
struct Numbers(HashMap<String, u32>);

impl Numbers {
    fn of(&mut self, text: &str) -> u32 {
        match self.0.get(text) {
            Some(number) => *number,
            None => {
                let number = self.0.len() as u32;
                self.0.insert(text.to_owned(), number);
                number
            }
        }
    }
}

#[derive(Default)]
struct Names {
    tenants: Numbers,
    orders: Numbers,
    days: Numbers,
    stores: Numbers,
    customers: Numbers,
}

impl Names {
    /// The change of an order: versions come in their order, so that the last one wins.
    fn change(&mut self, fields: &[&str]) -> Option<Tup2<Tup2<u32, u32>, Update<Order, Order>>> {
        let [tenant, id, _, status, day, _, store, customer, amount, ..] = fields else { return None };
        let (tenant, id) = (self.tenants.of(tenant), self.orders.of(id));
        let (day, store, customer) = (self.days.of(day), self.stores.of(store), self.customers.of(customer));
        let update = match *status {
            "final" => Update::Insert(Tup5(tenant, day, store, customer, amount.parse().ok()?)),
            _ => Update::Delete,
        };
        Some(Tup2(Tup2(tenant, id), update))
    }
}

/// Loads everything, then corrects single orders.
pub fn orders(folder: &Path, expected: &Value) -> anyhow::Result<()> {
    let mut names = Names::default();
    let changes = records(folder, "orders.csv", |fields| names.change(fields))?;
    let (mut circuit, (mut input, sums, least, most, customers)) = Runtime::init_circuit(WORKERS, |circuit| {
        let (orders, input) = circuit.add_input_map::<Tup2<u32, u32>, Order, Order, _>(|order, new| *order = *new);
        let amounts =
            orders.map_index(|(_, Tup5(tenant, day, store, _, amount))| (Tup3(*tenant, *day, *store), *amount));
        let sums = amounts.aggregate_linear(|amount| Tup2(1_i64, *amount));
        let (least, most) = (amounts.aggregate(Min), amounts.aggregate(Max));
        let customers = orders.map(|(_, Tup5(tenant, day, store, customer, _))| Tup4(*tenant, *day, *store, *customer));
        let customers = customers.distinct().map_index(|Tup4(tenant, day, store, _)| (Tup3(*tenant, *day, *store), ()));
        let customers = customers.weighted_count();
        Ok((
            input,
            sums.accumulate_output(),
            least.accumulate_output(),
            most.accumulate_output(),
            customers.accumulate_output(),
        ))
    })?;
    let mut all_sums: HashMap<Group, Tup2<i64, i64>> = HashMap::new();
    let (mut all_least, mut all_most, mut all_customers) = (HashMap::new(), HashMap::new(), HashMap::new());
    let mut load = Load::begin();
    for batch in changes.chunks(BATCH) {
        let began = Instant::now();
        input.append(&mut batch.to_vec());
        circuit.transaction()?;
        collect(&sums, &mut all_sums);
        collect(&least, &mut all_least);
        collect(&most, &mut all_most);
        collect(&customers, &mut all_customers);
        load.step(began.elapsed());
    }
    let mut figures = load.figures(changes.len());
    let mut wanted = expected.clone();
    wanted.as_object_mut().context("totals of the orders")?.remove("p95");
    let found = json!({
        "groups": all_sums.len(),
        "orders": all_sums.values().map(|sums| sums.0).sum::<i64>(),
        "amount": all_sums.values().map(|sums| sums.1).sum::<i64>(),
        "least": all_least.values().sum::<i64>(),
        "most": all_most.values().sum::<i64>(),
        "customers": all_customers.values().sum::<i64>(),
    });
    ensure!(found == wanted, "orders: {found}, not {wanted}");

    let corrections = records(folder, "corrections.csv", |fields| {
        Some((names.change(fields)?, fields.last()?.parse::<i64>().ok()?))
    })?;
    let mut times = Vec::new();
    for (change, amount_after) in corrections {
        let Update::Insert(Tup5(tenant, day, ..)) = change.1 else { continue };
        let began = Instant::now();
        input.append(&mut vec![change]);
        circuit.transaction()?;
        collect(&sums, &mut all_sums);
        times.push(began.elapsed());
        let of_day = all_sums.iter().filter(|(group, _)| (group.0, group.1) == (tenant, day));
        let amount = of_day.map(|(_, sums)| sums.1).sum::<i64>();
        ensure!(amount == amount_after, "{amount} after a correction, not {amount_after}");
    }
    figures.extend(milliseconds("correction", &mut times));
    row("orders", "DBSP, without p95", figures);
    circuit.kill().map_err(|_| anyhow::anyhow!("a worker of the orders failed"))
}
