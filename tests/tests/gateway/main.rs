//! The gateway: Daybook over HTTP, with everything in one process.
#![allow(clippy::unwrap_used)]

mod events;
mod grafana;
mod live;
mod page;
mod questions;
mod strangers;
mod tokens;
mod webhooks;

use daybook_tests::Daybook;
use daybook_tests::orders::{self, order};
use daybook_tests::web::Web;

const JSON: &str = "application/json";
const NDJSON: &str = "application/x-ndjson";
const ORDERS: &str = "/v1/tenants/acme/kinds/order/events";
const VIEW: &str = "/v1/tenants/acme/views/orders";

fn options() -> gateway::Options {
    gateway::Options { listen: "127.0.0.1:0".to_owned(), door: gateway::DoorOptions::default() }
}

/// A whole Daybook with a gateway that is open on the loopback interface, and the shop acme.
async fn shop() -> (Daybook, Web) {
    let daybook = Daybook::start_with(|all| all.gateway = Some(options())).await;
    orders::define(&daybook, &["acme"]).await;
    daybook.settle().await;
    let web = Web::at(daybook.http().unwrap());
    (daybook, web)
}

fn orders_of(count: usize) -> String {
    (0..count).map(|number| order(&format!("o-{number}")).to_string() + "\n").collect()
}
