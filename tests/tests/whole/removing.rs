//! Tenants, views and kinds are removed, by the command line as an operator uses it, and their names are used again.

use daybook::commands::replay::progress;
use daybook::verification::verify::{Scope, verify};
use daybook_contracts::admin::{Remove, Target};
use daybook_contracts::ask::AskErrorCode;
use daybook_contracts::reject::Code;
use daybook_domain::ids::Name;
use daybook_runtime::reader::read_all;
use daybook_tests::asking::{ask, query, refused, tenant};
use daybook_tests::backfilling::advance;
use daybook_tests::installation::{daybook as command, done};
use daybook_tests::orders::{self, FIRST_DAY, figures, order, orders_counted, rejects_of};
use daybook_tests::processes::{Processes, Service};
use daybook_tests::reading::{ORDERS, define_shops, publish, sum};
use daybook_tests::{Daybook, eventually, reading};
use serde_json::json;

const SECOND_DAY: &str = "2024-03-02";
const SECOND_NOON: &str = "2024-03-02T12:00:00Z";
const THIRD_NOON: &str = "2024-03-03T12:00:00Z";

/// What the command line prints, for an operator.
fn run(daybook: &Daybook, arguments: &[&str]) -> String {
    let url = daybook.broker.broker.client_url();
    done(command(&[arguments, &["--nats", url]].concat()))
}

/// What it says when it fails.
fn fail(daybook: &Daybook, arguments: &[&str]) -> String {
    let url = daybook.broker.broker.client_url();
    let output = command(&[arguments, &["--nats", url]].concat());
    assert!(!output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// How many messages of the tenant there are in REPORTS, FIGURES and REJECTS.
async fn stored(daybook: &Daybook, id: &str) -> [usize; 3] {
    let connection = &daybook.client.connection;
    let subjects = &connection.subjects;
    let streams = [
        (subjects.reports_stream(), subjects.reports_of(id)),
        (subjects.figures_stream(), subjects.figures_of(id)),
        (subjects.rejects_stream(), subjects.rejects(id)),
    ];
    let mut counts = [0; 3];
    for ((stream, filter), count) in streams.into_iter().zip(&mut counts) {
        *count = read_all(connection, stream, filter, 1).await.len();
    }
    counts
}

/// The log makes every report that is there, and no other; returns how many.
async fn sound(daybook: &Daybook) -> u64 {
    let outcome = verify(&daybook.client.connection, Scope::All, &progress(None, true)).await.unwrap();
    assert!(outcome.is_sound(), "{:?} {:?}", outcome.differences, outcome.not_verifiable);
    assert_eq!(outcome.not_written.count, 0);
    outcome.verified.count
}

/// Dates, versions and generations of the reports that the query service lists.
async fn listed(daybook: &Daybook, id: &str) -> Vec<(String, u32, u32)> {
    let (from, to) = ("2024-01-01".parse().unwrap(), "2024-12-31".parse().unwrap());
    let reports = daybook.client.asker.reports(&tenant(id), from, to).await.unwrap();
    reports.iter().map(|report| (report.date.to_string(), report.version, report.generation)).collect()
}

/// Two tenants with an order each, one of them corrected late, on a first day that is closed.
async fn shop() -> Daybook {
    let daybook = Daybook::start().await;
    orders::define(&daybook, &["acme", "other"]).await;
    for id in ["acme", "other"] {
        daybook.publish(id, "order", order("one").to_string()).await;
        daybook.publish(id, "order", "no event").await;
    }
    orders::advance(&daybook, SECOND_NOON).await;
    daybook.publish("acme", "order", order("late").to_string()).await;
    daybook.settle().await;
    assert_eq!(stored(&daybook, "acme").await, [2, 3, 1]);
    daybook
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_tenant_is_gone_and_its_id_begins_afresh() {
    let mut daybook = shop().await;
    let dry = run(&daybook, &["remove", "tenant", "acme", "--dry-run"]);
    assert_eq!(
        dry,
        "would remove tenant acme\n  goes: 2 days, 1 of them open and never sealed, with 3 events\n  goes: its calendar and live \
         feeds; events for it are rejects from now on (unknown_tenant)\n  stays until its retention, or goes with --purge: 2 \
         report versions, 3 figures messages, 1 rejects message and 0 alerts\n  stays: API keys and JWTs of the gateway that name it; revoke \
         them (`daybook key revoke`), as a new tenant of this id would be open to them\nnothing was changed (dry run)\n"
    );
    assert_eq!(orders_counted(&daybook, "acme").await, 2);
    assert!(run(&daybook, &["remove", "tenant", "acme"]).starts_with("removed tenant acme\n"));
    assert!(run(&daybook, &["remove", "tenant", "acme"]).starts_with("tenant acme was removed before\n"));
    assert!(fail(&daybook, &["remove", "tenant", "nobody"]).contains("there is no tenant nobody"));

    // It takes nothing, seals nothing, and answers nothing but what was sealed.
    daybook.publish("acme", "order", order("two").to_string()).await;
    orders::advance(&daybook, THIRD_NOON).await;
    daybook.settle().await;
    let last = rejects_of(&daybook, "acme").await.pop().unwrap();
    assert_eq!(last.code, Code::UnknownTenant);
    assert_eq!(stored(&daybook, "acme").await[0], 2);
    assert_eq!(stored(&daybook, "other").await[0], 2, "the other one goes on");
    let error = refused(&daybook.client, "acme", "orders", json!({})).await;
    assert_eq!(error.code, AskErrorCode::UnknownTenant);
    let first = FIRST_DAY.parse().unwrap();
    assert_eq!(daybook.client.asker.report(&tenant("acme"), first, None).await.unwrap().report.version, 2);
    assert_eq!(sound(&daybook).await, 4);

    // Another tenant of that id: with the first day of the old one, and an order that the old one had.
    orders::define_tenants(&daybook, &["acme", "other"]).await;
    let error = daybook.client.asker.report(&tenant("acme"), first, None).await.err().unwrap();
    assert_eq!(error.code, AskErrorCode::UnknownDay, "{error}");
    assert_eq!(listed(&daybook, "acme").await, []);
    daybook.publish("acme", "order", order("one").to_string()).await;
    daybook.settle().await;
    assert_eq!(orders_counted(&daybook, "acme").await, 1);
    orders::advance(&daybook, THIRD_NOON).await;
    daybook.settle().await;
    let report = daybook.client.asker.report(&tenant("acme"), first, None).await.unwrap().report;
    assert_eq!((report.version, report.generation, &report.supersedes), (1, 1, &None));
    let expected = [(FIRST_DAY.to_owned(), 1, 1), (SECOND_DAY.to_owned(), 1, 1)];
    assert_eq!(listed(&daybook, "acme").await, expected);
    assert_eq!(sound(&daybook).await, 6);
    // A late change of the new one supersedes its own report, and an older version is found among those of its own.
    daybook.publish("acme", "order", order("later").to_string()).await;
    daybook.settle().await;
    let version = async |version| {
        let sealed = daybook.client.asker.report(&tenant("acme"), first, version).await.unwrap();
        (sealed.report.version, sealed.report.generation)
    };
    assert_eq!((version(None).await, version(Some(1)).await), ((2, 1), (1, 1)));
    // A view that comes later is made of the new tenant's events.
    let view = "views: [{ name: later, kind: order, metrics: [orders: count] }]";
    daybook.define(view).await;
    let (acme, question) = (tenant("acme"), serde_json::from_value(json!({"days": FIRST_DAY})).unwrap());
    eventually("the view", || async {
        let answer = figures(&daybook, "acme", "orders", FIRST_DAY).await;
        let later = daybook.client.query(&acme, "later", &question).await.ok()?;
        assert_eq!(later.rows[0].get("orders").unwrap().to_string(), answer["orders"]);
        Some(())
    })
    .await;

    // Every replica comes to the same from the beginning of the log.
    daybook.restart_without_checkpoints().await;
    daybook.settle().await;
    assert_eq!(orders_counted(&daybook, "acme").await, 2);
    assert_eq!(sound(&daybook).await, 7);
    assert_eq!(stored(&daybook, "acme").await[0], 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_deletes_what_was_sealed_and_nothing_of_others() {
    let mut daybook = shop().await;
    let told = run(&daybook, &["remove", "tenant", "acme", "--purge"]);
    assert!(told.contains("  goes: 2 report versions, 3 figures messages, 1 rejects message and 0 alerts\n"), "{told}");
    daybook.settle().await;
    assert_eq!(stored(&daybook, "acme").await, [0, 0, 0]);
    assert_eq!(stored(&daybook, "other").await, [1, 1, 1]);
    let first = FIRST_DAY.parse().unwrap();
    assert!(daybook.client.asker.report(&tenant("acme"), first, None).await.is_err());
    assert_eq!(sound(&daybook).await, 1, "what was purged is not missed");

    // The next tenant of the id keeps its own, also when the log is read again from the beginning.
    orders::define_tenants(&daybook, &["acme", "other"]).await;
    daybook.publish("acme", "order", order("new").to_string()).await;
    daybook.publish("acme", "order", "no event").await;
    orders::advance(&daybook, THIRD_NOON).await;
    daybook.settle().await;
    let before = stored(&daybook, "acme").await;
    assert_eq!(before, [2, 1, 1]);
    daybook.restart_without_checkpoints().await;
    daybook.settle().await;
    assert_eq!(stored(&daybook, "acme").await, before);
    assert_eq!(listed(&daybook, "acme").await[0], (FIRST_DAY.to_owned(), 1, 1));
    sound(&daybook).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_left_of_a_removed_tenant_is_purged_later() {
    let daybook = shop().await;
    run(&daybook, &["remove", "tenant", "acme"]);
    assert_eq!(stored(&daybook, "acme").await[0], 2);
    let told = run(&daybook, &["remove", "tenant", "acme", "--purge"]);
    assert!(told.starts_with("tenant acme was removed before\n  goes: 2 report versions"), "{told}");
    daybook.settle().await;
    assert_eq!(stored(&daybook, "acme").await, [0, 0, 0]);
    assert!(run(&daybook, &["remove", "tenant", "acme", "--purge"]).starts_with("tenant acme was removed before\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_known_figures_of_a_removed_tenant_are_not_those_of_the_next() {
    let mut daybook = Processes::start_with(|service, process| {
        if service == Service::Query {
            process.set("--shard-timeout-ms", "500");
        }
    })
    .await;
    let (client, url) = (daybook.client.clone(), daybook.broker.broker.client_url().to_owned());
    define_shops(&client, &["acme"]).await;
    advance(&client, 1).await;
    publish(&client, "acme", "order", reading::orders(1)).await;
    daybook.settle().await;
    assert_eq!(sum(&ask(&client, "acme", "orders", json!({})).await.rows, "n"), ORDERS);
    daybook.process(Service::AggregatorShard).kill();
    eventually("the last known figures", async || {
        Some(ask(&client, "acme", "orders", json!({})).await).filter(|answer| answer.stale)
    })
    .await;

    done(command(&["remove", "tenant", "acme", "--nats", &url]));
    define_shops(&client, &["acme"]).await;
    let error = refused(&client, "acme", "orders", json!({})).await;
    assert_eq!(error.code, AskErrorCode::Unavailable, "{error}");
    daybook.process(Service::AggregatorShard).start();
    advance(&client, 1).await;
    eventually("figures of its own", async || {
        let answer = client.query(&tenant("acme"), "orders", &query(json!({}))).await;
        answer.ok().filter(|answer| answer.generation == 1 && answer.rows.is_empty())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn views_and_kinds_go_and_come_again() {
    let mut daybook = shop().await;
    let refused_text = fail(&daybook, &["remove", "kind", "click"]);
    assert!(refused_text.contains("kind click is used by clicks; remove these views first"), "{refused_text}");
    let dry = run(&daybook, &["remove", "view", "clicks", "--dry-run"]);
    assert!(dry.starts_with("would remove view clicks\n") && dry.ends_with("nothing was changed (dry run)\n"), "{dry}");
    run(&daybook, &["remove", "view", "clicks"]);
    run(&daybook, &["remove", "kind", "click"]);
    daybook.publish("acme", "click", json!({"at": SECOND_NOON, "measures": {"ms": 5}}).to_string()).await;
    daybook.settle().await;
    let error = refused(&daybook.client, "acme", "clicks", json!({})).await;
    assert_eq!(error.code, AskErrorCode::UnknownView);
    assert_eq!(rejects_of(&daybook, "acme").await.pop().unwrap().code, Code::UnknownKind);
    let catalogue = daybook.client.catalogue().await.unwrap();
    assert_eq!((catalogue.kinds.len(), catalogue.views.len()), (1, 1));

    // Another kind of that name, in the other mode, with other columns; the view `orders` once more, from the log.
    run(&daybook, &["remove", "view", "orders"]);
    daybook
        .define(
            "kinds: [{ name: click, mode: entity, dimensions: [who] }]\nviews: [{ name: clicks, kind: click, group_by: [who], \
             metrics: [clicks: count] }, { name: orders, kind: order, metrics: [orders: count] }]",
        )
        .await;
    daybook.publish("acme", "click", json!({"id": "c", "at": SECOND_NOON, "dims": {"who": "me"}}).to_string()).await;
    daybook.settle().await;
    eventually("the view that came again", || async {
        let query = serde_json::from_value(json!({"days": FIRST_DAY})).unwrap();
        let answer = daybook.client.query(&tenant("acme"), "orders", &query).await.ok()?;
        assert_eq!(answer.rows[0].get("orders").unwrap().to_string(), "2");
        Some(())
    })
    .await;
    assert_eq!(figures(&daybook, "acme", "clicks", SECOND_DAY).await["clicks"], "1");
    daybook.restart_without_checkpoints().await;
    daybook.settle().await;
    assert_eq!(figures(&daybook, "acme", "clicks", SECOND_DAY).await["clicks"], "1");
    sound(&daybook).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_comes_late_does_not_remove_what_has_the_name_since() {
    let daybook = shop().await;
    let stale =
        Remove { target: Target::View { name: Name::new("orders").unwrap() }, dry_run: false, catalog_seen: Some(0) };
    let connection = &daybook.client.connection;
    let payload = serde_json::to_vec(&stale).unwrap();
    let reply = connection.client.request(connection.subjects.admin("remove"), payload.into()).await.unwrap();
    let error = reply.headers.unwrap().get("Nats-Service-Error").unwrap().to_string();
    assert!(error.contains("was changed while this request was under way"), "{error}");
    assert_eq!(daybook.client.catalogue().await.unwrap().views.len(), 2);
}
