//! What comes after a day was closed: a new version of its report that supersedes the old one and says why.

use daybook::sealed::Sealed;
use daybook_contracts::ask::DayState;
use daybook_contracts::reject::Code;
use daybook_contracts::report::{Change, Report, Supersedes};
use daybook_domain::ids::{InboxSeq, TenantId};
use daybook_runtime::reader::read_all;
use daybook_tests::orders::{self, FIRST_DAY, account, order, rejects_of};
use daybook_tests::{Daybook, eventually};
use serde_json::{Value, json};

const SECOND_DAY: &str = "2024-03-02";
const SECOND_NOON: &str = "2024-03-02T12:00:00Z";

fn acme() -> TenantId {
    TenantId::new("acme").unwrap()
}

/// The newest version of a day's report.
async fn sealed(daybook: &Daybook, date: &str) -> Option<Sealed> {
    daybook.client.report(&acme(), date.parse().unwrap()).await.unwrap()
}

/// Every version of the tenant's reports, in the order in which they were written.
async fn every_version(daybook: &Daybook) -> Vec<Report> {
    let connection = &daybook.client.connection;
    let subject = connection.subjects.reports_of("acme");
    let messages = read_all(connection, connection.subjects.reports_stream(), subject, 1).await;
    messages.iter().map(|message| serde_json::from_slice(&message.payload).unwrap()).collect()
}

async fn publish(daybook: &Daybook, event: &Value) -> InboxSeq {
    let sequence = daybook.publish("acme", "order", event.to_string()).await;
    daybook.settle().await;
    sequence
}

fn figure(report: &Report, name: &str) -> String {
    report.views.iter().find(|(view, _)| view.as_str() == "orders").unwrap().1.rows[0].get(name).unwrap().to_string()
}

fn only_change(report: &Report) -> &Change {
    assert_eq!((report.changes.len(), report.changes_omitted), (1, 0), "{report:?}");
    &report.changes[0]
}

/// Acme with one order on its first day, which is closed.
async fn with_a_closed_day() -> (Daybook, Sealed) {
    let daybook = Daybook::start().await;
    orders::define(&daybook, &["acme"]).await;
    publish(&daybook, &order("first")).await;
    assert!(sealed(&daybook, FIRST_DAY).await.is_none(), "an open day has no report");
    let reply = orders::advance(&daybook, SECOND_NOON).await;
    assert_eq!(reply.markers, 2, "the second day opens, the first one closes");
    daybook.settle().await;
    let first = sealed(&daybook, FIRST_DAY).await.unwrap();
    assert_eq!((first.report.version, &first.report.supersedes), (1, &None));
    assert_eq!((figure(&first.report, "orders"), figure(&first.report, "amount")), ("1".to_owned(), "2.5".to_owned()));
    assert!(first.report.changes.is_empty());
    (daybook, first)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_event_supersedes_the_report_and_is_named() {
    let (mut daybook, first) = with_a_closed_day().await;
    let late = publish(&daybook, &order("late")).await;
    let second = sealed(&daybook, FIRST_DAY).await.unwrap();
    assert_eq!(second.report.version, 2);
    assert_eq!(second.report.supersedes, Some(Supersedes { version: 1, hash: first.hash.clone() }));
    let change = only_change(&second.report);
    assert_eq!(
        (change.kind.as_str(), change.id.as_deref(), change.inbox, change.index),
        ("order", Some("late"), late, 0)
    );
    assert_eq!(change.what, "late final");
    assert_eq!((figure(&second.report, "orders"), figure(&second.report, "amount")), ("2".to_owned(), "5".to_owned()));
    assert_eq!((second.report.dispositions.published, second.report.dispositions.counted), (2, 2));
    assert_eq!(second.report.day, first.report.day);
    let days = daybook.client.days(&acme()).await.unwrap().days;
    assert_eq!((days[0].day, days[0].report), (DayState::Closed, Some(2)));

    // A correction is one too. The version that it takes the place of is named by its hash.
    let mut corrected = order("first");
    (corrected["version"], corrected["measures"]["amount"]) = (json!(1), json!("0.25"));
    publish(&daybook, &corrected).await;
    let third = sealed(&daybook, FIRST_DAY).await.unwrap();
    assert_eq!((third.report.version, figure(&third.report, "amount")), (3, "2.75".to_owned()));
    assert_eq!(third.report.supersedes, Some(Supersedes { version: 2, hash: second.hash.clone() }));
    assert_eq!(only_change(&third.report).id.as_deref(), Some("first"));

    // What changes nothing makes no version: said again, too old, contradicting, unreadable.
    let mut stale = corrected.clone();
    stale["version"] = json!(0);
    let mut conflict = corrected.clone();
    conflict["measures"]["amount"] = json!("9");
    for event in [&corrected, &stale, &conflict, &json!({"id": "first"})] {
        publish(&daybook, event).await;
    }
    assert_eq!(sealed(&daybook, FIRST_DAY).await.unwrap().hash, third.hash);
    let codes: Vec<Code> = rejects_of(&daybook, "acme").await.iter().map(|reject| reject.code).collect();
    assert_eq!(codes, [Code::StaleVersion, Code::VersionConflict, Code::MissingField]);

    // Nothing is written twice, and what was written stays.
    let before = every_version(&daybook).await;
    assert_eq!(before.iter().map(|report| report.version).collect::<Vec<_>>(), [1, 2, 3]);
    daybook.restart_services().await;
    daybook.restart_without_checkpoints().await;
    daybook.settle().await;
    assert_eq!(every_version(&daybook).await, before);
    assert_eq!(rejects_of(&daybook, "acme").await.len(), 3);
    let account = account(&daybook, "acme").await;
    assert_eq!((account.published, account.counted, account.duplicate), (7, 3, 1));
    assert_eq!((account.stale, account.rejected), (1, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn late_events_of_one_message_make_one_version() {
    let (daybook, _) = with_a_closed_day().await;
    let batch = json!([order("a"), order("b"), {"id": "c", "at": SECOND_NOON}]);
    let sequence = publish(&daybook, &batch).await;
    let report = sealed(&daybook, FIRST_DAY).await.unwrap().report;
    assert_eq!((report.version, figure(&report, "orders")), (2, "3".to_owned()));
    let named: Vec<_> =
        report.changes.iter().map(|change| (change.id.as_deref(), change.inbox, change.index)).collect();
    assert_eq!(named, [(Some("a"), sequence, 0), (Some("b"), sequence, 1)]);
    assert_eq!(orders::figures(&daybook, "acme", "orders", SECOND_DAY).await["orders"], "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entity_that_moves_to_another_day_changes_both() {
    let (daybook, _) = with_a_closed_day().await;
    publish(&daybook, &json!({"id": "other", "at": SECOND_NOON})).await;
    orders::advance(&daybook, "2024-03-03T12:00:00Z").await;
    daybook.settle().await;
    let mut moved = order("first");
    (moved["version"], moved["at"]) = (json!(2), json!(SECOND_NOON));
    publish(&daybook, &moved).await;
    let left = sealed(&daybook, FIRST_DAY).await.unwrap().report;
    assert_eq!((left.version, figure(&left, "orders")), (2, "0".to_owned()));
    assert_eq!(
        (only_change(&left).id.as_deref(), only_change(&left).what.as_str()),
        (Some("first"), "moved to 2024-03-02")
    );
    let entered = sealed(&daybook, SECOND_DAY).await.unwrap().report;
    assert_eq!((entered.version, figure(&entered, "orders")), (2, "2".to_owned()));
    assert_eq!(
        (only_change(&entered).id.as_deref(), only_change(&entered).what.as_str()),
        (Some("first"), "late final")
    );
    let account = account(&daybook, "acme").await;
    assert_eq!((account.published, account.counted), (3, 3));
}

/// Acme with a closed first day, whose restatements are gathered.
async fn gathering(restate_after: &str) -> Daybook {
    let daybook = Daybook::start().await;
    let definitions = orders::definitions(&["acme"]);
    daybook.define(&definitions.replace("restate_after: 0s", &format!("restate_after: {restate_after}"))).await;
    orders::advance(&daybook, SECOND_NOON).await;
    daybook.settle().await;
    daybook
}

/// The newest version of the first day's report, once the day waits for no other.
async fn restated(daybook: &Daybook) -> Report {
    eventually("the day waits for no restatement", || async {
        let days = daybook.client.days(&acme()).await.ok()?.days;
        (!days.iter().any(|day| day.restating)).then_some(())
    })
    .await;
    daybook.settle().await;
    sealed(daybook, FIRST_DAY).await.unwrap().report
}

/// Whether the first day's report comes with the word that a further version is to come.
async fn is_restating(daybook: &Daybook) -> bool {
    daybook.client.asker.report(&acme(), FIRST_DAY.parse().unwrap(), None).await.unwrap().is_restating
}

#[tokio::test(flavor = "multi_thread")]
async fn three_hundred_late_orders_one_by_one_make_few_versions() {
    let mut daybook = gathering("1m").await;
    for number in 0..300 {
        daybook.publish("acme", "order", order(&format!("off-{number}")).to_string()).await;
    }
    daybook.settle().await;
    // Answers have them at once.
    assert_eq!(orders::figures(&daybook, "acme", "orders", FIRST_DAY).await["orders"], "300");
    let report = restated(&daybook).await;
    assert_eq!((figure(&report, "orders"), report.dispositions.counted), ("300".to_owned(), 300));
    assert_eq!((report.changes.len(), report.changes_omitted), (100, 200));
    let versions = every_version(&daybook).await;
    assert!(versions.len() <= 3, "{} versions", versions.len());

    // A replay makes the same ones.
    daybook.restart_without_checkpoints().await;
    daybook.settle().await;
    assert_eq!(every_version(&daybook).await, versions);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restatement_that_waits_is_told_and_survives_a_restart() {
    let mut daybook = gathering("10s").await;
    publish(&daybook, &order("first")).await;
    assert_eq!(restated(&daybook).await.version, 2);
    // Less than the interval has passed, so that the next one waits.
    publish(&daybook, &order("second")).await;
    let days = daybook.client.days(&acme()).await.unwrap().days;
    assert_eq!((days[0].restating, days[0].report), (true, Some(2)));
    assert!(is_restating(&daybook).await);
    assert_eq!(orders::figures(&daybook, "acme", "orders", FIRST_DAY).await["orders"], "2");
    daybook.restart_services().await;
    let report = restated(&daybook).await;
    assert_eq!((report.version, figure(&report, "orders")), (3, "2".to_owned()));
    assert_eq!(only_change(&report).id.as_deref(), Some("second"));
    assert!(!is_restating(&daybook).await);
}
