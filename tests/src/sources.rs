//! What tests of connect look at: how far its consumers are, and what its figures are.

use crate::asking::ask;
use crate::eventually;
use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::stream::Stream;
use daybook::client::Client;
use serde_json::{Value, json};

/// Waits until the consumers of these sources have everything acknowledged.
pub async fn all_taken(stream: &Stream, names: &[&str]) {
    eventually("everything is taken", || async {
        for name in names {
            let name = format!("daybook-connect-{name}");
            let mut consumer = stream.get_consumer::<pull::Config>(&name).await.ok()?;
            let info = consumer.info().await.ok()?;
            (info.num_pending == 0 && info.num_ack_pending == 0).then_some(())?;
        }
        Some(())
    })
    .await;
}

/// The rows of a view on 2024-03-01, with their revenue as numbers of one sort, whether they have cents or not.
pub async fn rows_of(client: &Client, tenant: &str, view: &str) -> Value {
    let answer = ask(client, tenant, view, json!({"days": "2024-03-01"})).await;
    let mut rows = serde_json::to_value(answer.rows).unwrap();
    for revenue in rows.as_array_mut().unwrap().iter_mut().filter_map(|row| row.get_mut("revenue")) {
        *revenue = json!(revenue.as_f64().unwrap());
    }
    rows
}

/// A file of the source `orders`, whose broker is read as the user `reader` with the password in the file `password`.
pub fn source_of_reader(url: &str) -> String {
    format!(
        "sources:\n  - {{ name: orders, stream: SHOP, subjects: [shop.*.orders], mapping: sale/shop, from: all, \
         connection: {{ nats: \"{url}\", user: reader, password_file: password }} }}\n"
    )
}
