//! The client packages for Python and JavaScript, and the examples of their READMEs, against a whole Daybook.

use daybook_contracts::admin::ClockAdvance;
use daybook_domain::ids::Name;
use daybook_tests::Daybook;
use daybook_tests::orders::{CLOCK, NOON};
use daybook_tests::packages::{DEFINITIONS, JavaScript, run_python};

/// So few messages of a tenant's kind fit into INBOX that a client which does not wait finds it full.
const SMALL_INBOX: i64 = 16;

#[tokio::test(flavor = "multi_thread")]
async fn the_python_package_does_what_it_says() {
    let daybook = daybook().await;
    run_python(&["-m", "unittest", "discover", "tests"], daybook.broker.broker.client_url()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_of_the_python_readme_run() {
    let daybook = daybook().await;
    run_python(&["tests/run_readme.py"], daybook.broker.broker.client_url()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_javascript_package_does_what_it_says() {
    let Some(package) = JavaScript::install().await else { return };
    let daybook = daybook().await;
    let files = ["--test", "test/pure.test.js", "test/daybook.test.js"];
    package.run(&files, daybook.broker.broker.client_url()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_of_the_javascript_readme_run() {
    let Some(package) = JavaScript::install().await else { return };
    let daybook = daybook().await;
    package.run(&["test/run_readme.js"], daybook.broker.broker.client_url()).await;
}

/// A Daybook with a small INBOX, in the first day of the shop.
async fn daybook() -> Daybook {
    let daybook = Daybook::start_with(|options| options.broker.inbox_max_messages_per_kind = SMALL_INBOX).await;
    daybook.define(DEFINITIONS).await;
    let advance = ClockAdvance { clock: Name::new(CLOCK).unwrap(), advance_to: NOON.parse().unwrap() };
    daybook.client.advance(&advance).await.unwrap();
    daybook
}
