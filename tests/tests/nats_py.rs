//! Everything that docs/CLIENTS.md says is for any NATS client, driven with one that this project did not write.
#![allow(clippy::unwrap_used)]

use daybook_tests::{Daybook, python};

#[tokio::test(flavor = "multi_thread")]
async fn nats_py_publishes_asks_listens_and_reads_reports() {
    let daybook = Daybook::start().await;
    python::run("clients.py", &[daybook.broker.broker.client_url()]).await;
}
