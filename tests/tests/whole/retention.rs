//! The log is trimmed below snapshots and nothing is lost; reports and figures go by age; whoever is asked for what is gone
//! says so.

use aggregator_shard::checkpoints::{OpenError, Place, open};
use aggregator_shard::{retention, snapshots};
use async_nats::HeaderMap;
use async_nats::jetstream::object_store::ObjectMetadata;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use daybook::commands::replay::progress;
use daybook::embedded::EmbeddedOptions;
use daybook::verification::audit::{Subject, audit};
use daybook::verification::verify::{Scope, Verification, verify};
use daybook_contracts::ask::AskErrorCode;
use daybook_contracts::log::{Batch, FORMAT, Through};
use daybook_contracts::report::Coverage;
use daybook_domain::ids::{InboxSeq, LogSeq, Partition, TenantId};
use daybook_machine::PartitionState;
use daybook_runtime::append::last_message;
use daybook_runtime::log::{Logged, beginning};
use daybook_runtime::store::{Backend, Store};
use daybook_runtime::usage;
use daybook_tests::asking::{ask, refused, shown};
use daybook_tests::backfilling::in_force;
use daybook_tests::orders::{self, FIRST_DAY, order, orders_counted};
use daybook_tests::{Daybook, eventually, processes};
use futures::FutureExt;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// Events that are published one after the other, between two looks at the log.
const SOME: u64 = 20;

/// Everything is short; the log goes after a second.
fn short(options: &mut EmbeddedOptions) {
    options.shard.checkpoint_interval_ms = 100;
    options.shard.snapshot_interval_ms = 300;
    options.shard.log_retention = "1s".parse().unwrap();
}

fn partition(daybook: &Daybook) -> Partition {
    Partition::of("acme", daybook.client.connection.partitions)
}

/// Publishes until the log has been trimmed behind `position`; returns how many there are then, and where it begins.
async fn publish_until_trimmed(daybook: &Daybook, mut count: u64, position: LogSeq) -> (u64, LogSeq) {
    let began = std::time::Instant::now();
    loop {
        for _ in 0..SOME {
            daybook.publish("acme", "order", order(&format!("order-{count}")).to_string()).await;
            count += 1;
        }
        let first = beginning(&daybook.client.connection, partition(daybook)).await.unwrap();
        if first.is_trimmed() && first.follows > position {
            return (count, first.position);
        }
        assert!(began.elapsed() < daybook_tests::PATIENCE, "the log is not trimmed");
    }
}

async fn verified(daybook: &Daybook) -> Verification {
    verify(&daybook.client.connection, Scope::All, &progress(None, true)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trimmed_log_loses_nothing() {
    let mut daybook = Daybook::start_with(short).await;
    orders::define(&daybook, &["acme"]).await;
    let (mut count, mut begins) = publish_until_trimmed(&daybook, 0, LogSeq(0)).await;
    daybook.settle().await;
    assert_eq!(orders_counted(&daybook, "acme").await, count);

    // Twice over: with the folder lost, and then with what was made out of a snapshot.
    for _ in 0..2 {
        daybook.restart_without_checkpoints().await;
        assert_eq!(orders_counted(&daybook, "acme").await, count);
        // A correction of an event whose batch is gone takes the place of it.
        let correction = json!({"id": "order-0", "version": count, "status": "void", "at": orders::NOON,
            "dims": {"channel": "web"}, "measures": {"quantity": 1, "amount": "2.50"}});
        daybook.publish("acme", "order", correction.to_string()).await;
        daybook.settle().await;
        assert_eq!(orders_counted(&daybook, "acme").await, count - 1);
        let again = json!({"id": "order-0", "version": count + 1, "at": orders::NOON,
            "dims": {"channel": "web"}, "measures": {"quantity": 1, "amount": "2.50"}});
        daybook.publish("acme", "order", again.to_string()).await;
        // Ingest goes on behind the last batch, which is never trimmed.
        (count, begins) = publish_until_trimmed(&daybook, count, begins).await;
        daybook.settle().await;
        assert_eq!(orders_counted(&daybook, "acme").await, count);
        assert!(orders::account(&daybook, "acme").await.published >= count);
    }
    let there = snapshots::list(&daybook.client.connection, partition(&daybook)).await.unwrap();
    assert!(!there.is_empty() && there.len() <= 7, "{there:?}");

    // A report is sealed with what the gone part of the log has brought, and the replay from a snapshot makes it too.
    orders::advance(&daybook, "2024-03-02T12:00:00Z").await;
    daybook.settle().await;
    let sealed = daybook.client.report(&TenantId::new("acme").unwrap(), FIRST_DAY.parse().unwrap()).await.unwrap();
    assert_eq!(
        shown(&sealed.unwrap().report.views[&daybook_domain::ids::Name::new("orders").unwrap()].rows, "orders"),
        [count.to_string()]
    );
    let streams = usage::streams(&daybook.client.connection).await.streams;
    let names: Vec<&str> = streams.iter().map(|usage| usage.stream.as_str()).collect();
    assert!(names.contains(&"DAYBOOK_EVENTS") && names.contains(&"OBJ_DAYBOOK_CHECKPOINTS"), "{names:?}");
    daybook.stop_services().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_trimmed_log_cannot_say_is_said_so() {
    let mut daybook = Daybook::start_with(short).await;
    orders::define(&daybook, &["acme"]).await;
    let (count, begins) = publish_until_trimmed(&daybook, 0, LogSeq(0)).await;
    orders::advance(&daybook, "2024-03-02T12:00:00Z").await;
    daybook.settle().await;
    // At least one report is made again, from the snapshot below.
    let outcome = verified(&daybook).await;
    assert_eq!((outcome.differences_count, outcome.not_verifiable.count), (0, 0), "{:?}", outcome.differences);
    assert_eq!(outcome.verified.count + outcome.no_longer_verifiable.count, 1);

    // A view that comes now has what is left, and says so.
    let clicks = json!({"at": orders::NOON, "dims": {"page": "a"}, "measures": {"ms": 1}}).to_string();
    daybook.publish("acme", "click", clicks).await;
    daybook.settle().await;
    let stated = json!({"at": "2024-03-02T11:00:00Z", "id": "second", "dims": {"channel": "web"},
        "measures": {"quantity": 1, "amount": "1"}});
    daybook.publish("acme", "order", stated.to_string()).await;
    daybook.define("views: [{ name: later, kind: order, late: reject, metrics: [n: count] }]").await;
    in_force(&daybook.client, "later").await;
    let answer = ask(&daybook.client, "acme", "later", json!({"days": FIRST_DAY, "dimensions": []})).await;
    let Coverage::Partial { from, reason } = &answer.coverage else { panic!("{answer:?}") };
    assert!(*from >= begins && reason.contains("no longer reached back"), "{from} {reason}");

    // Another trim, and the report is out of reach; nothing is amiss, and the exit code tells both apart.
    let (_, begins) = publish_until_trimmed(&daybook, count, LogSeq(answer.as_of.log.0)).await;
    daybook.settle().await;
    let binary = processes::binary("daybook");
    let run = async |arguments: &[&str]| {
        let mut command = processes::command(&binary);
        command.args(arguments).args(["--nats", daybook.broker.broker.client_url()]);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    };
    let first =
        daybook.client.report(&TenantId::new("acme").unwrap(), FIRST_DAY.parse().unwrap()).await.unwrap().unwrap();
    assert!(first.report.log.from < begins);
    let outcome = verified(&daybook).await;
    assert_eq!((outcome.differences_count, outcome.not_verifiable.count), (0, 0), "{:?}", outcome.differences);
    assert!(outcome.no_longer_verifiable.count >= 1, "{outcome:?}");
    let reason = outcome.no_longer_verifiable.named[0].reason.as_ref().unwrap();
    assert!(reason.contains("the log") && reason.contains("begins at"), "{reason}");
    let (code, text) = run(&["verify", "--all"]).await;
    assert!(code == 3 && text.contains("cannot be verified any more"), "{code} {text}");
    let (code, text) = run(&["status"]).await;
    assert!(code == 0 && text.contains("DAYBOOK_EVENTS") && text.contains("BOUND"), "{code} {text}");
    let subject = Subject { tenant: TenantId::new("acme").unwrap(), kind: None, id: "order-0".into() };
    let story = audit(&daybook.client.connection, subject, &progress(None, true)).await.unwrap();
    let trimmed = story.trimmed.expect("the log is trimmed");
    assert!(trimmed.begins >= begins && trimmed.snapshot >= LogSeq(begins.0 - 1), "{trimmed:?}");
    let (_, text) = run(&["audit", "acme", "order-0"]).await;
    assert!(text.contains("the log begins at"), "{text}");

    // Neither folder nor snapshot: nothing is made up.
    daybook.stop_services().await;
    let connection = &daybook.client.connection;
    let folder = tempfile::tempdir().unwrap();
    let place = |backend: Backend, name: &str| Place { backend, folder: folder.path().join(name) };
    let (_, state) = open(connection, partition(&daybook), &place(Backend::Sled, "one"), None).await.unwrap();
    assert!(state.position() >= trimmed.snapshot);
    connection.jetstream.delete_stream(connection.subjects.checkpoints_stream()).await.unwrap();
    let refused = open(connection, partition(&daybook), &place(Backend::Sled, "two"), None).await.unwrap_err();
    assert!(matches!(refused, OpenError::Unreachable { local: LogSeq(0), .. }), "{refused}");
    assert!(refused.to_string().contains("put back CHECKPOINTS"), "{refused}");

    // A folder that the other backend cannot use is the last state that there is: it is not wiped.
    let refused = open(connection, partition(&daybook), &place(Backend::Fjall, "one"), None).await.unwrap_err();
    assert!(matches!(refused, OpenError::Unreachable { .. }), "{refused}");
    let again = eventually("the folder to be let go of", || async {
        open(connection, partition(&daybook), &place(Backend::Sled, "one"), None).await.ok()
    })
    .await;
    assert_eq!(again.1.position(), state.position());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_trimmed_to_a_snapshot_of_another_log() {
    let daybook = Daybook::start().await;
    orders::define(&daybook, &["acme"]).await;
    daybook.publish("acme", "order", order("first").to_string()).await;
    daybook.settle().await;
    let (connection, partition) = (&daybook.client.connection, partition(&daybook));
    let first = beginning(connection, partition).await.unwrap();
    let bucket = connection.subjects.checkpoints_bucket();
    let bucket = eventually("the bucket", || connection.jetstream.get_object_store(&bucket).map(Result::ok)).await;
    let foreign = ObjectMetadata {
        name: format!("partition-{partition}-1000000"),
        metadata: [("daybook-whole".to_owned(), String::new())].into(),
        ..ObjectMetadata::default()
    };
    let info = bucket.put(foreign, &mut &b"of a log that was longer"[..]).await.unwrap();
    // Old enough for the shortest retention.
    eventually("a second to pass", || async {
        let age = daybook_runtime::clock::now().as_millis() - info.modified?.unix_timestamp() * 1_000;
        (age > 3_000).then_some(())
    })
    .await;
    retention::apply(connection, partition, "1s".parse().unwrap()).await.unwrap();
    assert_eq!(beginning(connection, partition).await.unwrap().position, first.position);
    assert_eq!(bucket.info(&info.name).await.unwrap().nuid, info.nuid, "the log that it is of may be put back");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_is_as_old_as_the_broker_says_and_of_the_log_that_it_says() {
    let daybook = Daybook::start().await;
    orders::define(&daybook, &["acme"]).await;
    let (connection, partition) = (&daybook.client.connection, partition(&daybook));
    let (end, reached) = end_of_log(&daybook).await;
    let bucket = connection.subjects.checkpoints_bucket();
    let store = eventually("the bucket", || connection.jetstream.get_object_store(&bucket).map(Result::ok)).await;
    let name = format!("partition-{partition}-{end}");
    for (inbox, listed) in [(reached.inbox.0, 1), (reached.inbox.0 + 1, 0)] {
        let through = serde_json::to_string(&Through { inbox: InboxSeq(inbox), ..reached }).unwrap();
        let metadata = [("daybook-through".to_owned(), through)].into();
        let object = ObjectMetadata { name: name.clone(), metadata, ..ObjectMetadata::default() };
        let mut info = store.put(object, &mut &b"rows"[..]).await.unwrap();
        // By a machine whose clock is wrong.
        info.modified = info.modified.map(|now| now - Duration::from_secs(86_400));
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Rollup", "sub");
        let word = connection.subjects.checkpoint_object(&URL_SAFE.encode(&name));
        let told = serde_json::to_vec(&info).unwrap();
        connection.jetstream.publish_with_headers(word, headers, told.into()).await.unwrap().await.unwrap();
        let there = snapshots::list(connection, partition).await.unwrap();
        let ours: Vec<_> = there.iter().filter(|snapshot| snapshot.position == end).collect();
        assert_eq!(ours.len(), listed, "{there:?}");
        assert!(ours.iter().all(|snapshot| snapshot.age < Duration::from_secs(3_600)), "{there:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_who_trim_at_once_do_no_harm() {
    let daybook = Daybook::start_with(short).await;
    orders::define(&daybook, &["acme"]).await;
    let connection = &daybook.client.connection;
    let (mut count, mut begins) = (0, LogSeq(0));
    for _ in 0..3 {
        (count, begins) = publish_until_trimmed(&daybook, count, begins).await;
        let trims = (0..4).map(|_| retention::apply(connection, partition(&daybook), "1s".parse().unwrap()));
        for trim in futures::future::join_all(trims).await {
            trim.unwrap();
        }
        let first = beginning(connection, partition(&daybook)).await.unwrap();
        let there = snapshots::list(connection, partition(&daybook)).await.unwrap();
        assert!(there.iter().any(|snapshot| snapshot.position >= first.follows), "{there:?} {first:?}");
    }
    daybook.settle().await;
    assert_eq!(orders_counted(&daybook, "acme").await, count);
}

#[tokio::test(flavor = "multi_thread")]
async fn days_over_their_retention_are_told_from_days_that_never_were() {
    let mut daybook = Daybook::start_with(|options| {
        options.shard.report_retention = "3s".parse().unwrap();
        options.shard.figures_retention = "3s".parse().unwrap();
        options.shard.snapshot_interval_ms = 86_400_000;
    })
    .await;
    orders::define(&daybook, &["acme"]).await;
    daybook.publish("acme", "order", order("first").to_string()).await;
    daybook.settle().await;
    // Farther than the shard keeps days.
    orders::advance(&daybook, "2024-04-20T12:00:00Z").await;
    daybook.settle().await;
    let client = &daybook.client.clone();
    let code = async |question| refused(client, "acme", "orders", question).await.code;
    let connection = &client.connection;
    eventually("the reports are gone", || async {
        let reports = usage::streams(connection).await.streams;
        let reports = reports.into_iter().find(|usage| usage.stream == connection.subjects.reports_stream()).unwrap();
        assert_eq!(reports.max_age_seconds, Some(3));
        (reports.messages == 0).then_some(())
    })
    .await;
    let error = refused(client, "acme", "orders", json!({"days": FIRST_DAY})).await;
    assert_eq!((error.code, error.code.number()), (AskErrorCode::PastRetention, 410), "{error}");
    assert!(error.message.contains(FIRST_DAY), "{error}");
    assert_eq!(code(json!({"days": "2024-02-20..2024-04-20"})).await, AskErrorCode::PastRetention);
    assert_eq!(code(json!({"days": "last_60_days"})).await, AskErrorCode::PastRetention);
    assert_eq!(code(json!({"days": "2024-02-20"})).await, AskErrorCode::UnknownDay, "it never was");
    // Such a question reads DAYS, and leaves nothing behind there.
    let days = connection.jetstream.get_stream(connection.subjects.days_stream()).await.unwrap();
    let before = days.get_info().await.unwrap().state.consumer_count;
    assert_eq!(code(json!({"days": FIRST_DAY})).await, AskErrorCode::PastRetention);
    assert_eq!(days.get_info().await.unwrap().state.consumer_count, before);
    // Nor is it forgotten with the broker's memory when the last report was stored.
    daybook.broker.broker.restart().await.unwrap();
    eventually("the answer after a restart", || async {
        (code(json!({"days": FIRST_DAY})).await == AskErrorCode::PastRetention).then_some(())
    })
    .await;
    // What the shard keeps is whole.
    assert_eq!(ask(client, "acme", "orders", json!({"days": "last_30_days"})).await.coverage, Coverage::Complete);

    // A replay of all of the log does not bring them back.
    let last = async |daybook: &Daybook| {
        let streams = usage::streams(&daybook.client.connection).await.streams;
        ["DAYBOOK_REPORTS", "DAYBOOK_FIGURES"].map(|name| {
            let usage = streams.iter().find(|usage| usage.stream == name).unwrap();
            (usage.messages, usage.last_sequence)
        })
    };
    let before = last(&daybook).await;
    daybook.restart_without_checkpoints().await;
    daybook.settle().await;
    assert_eq!(last(&daybook).await, before);
}

/// A store whose state has applied one empty batch, which reaches so far into INBOX.
fn stored(place: &Place, partition: Partition, position: LogSeq, through: Through) {
    let (store, _) = Store::open(place.backend, &place.folder).unwrap();
    let mut state = PartitionState::new(partition);
    state.apply(position, Batch { format: FORMAT, through, records: vec![] });
    store.commit(Arc::new(state.checkpoint())).unwrap();
}

/// Where the partition's log ends, and how far it reaches there.
async fn end_of_log(daybook: &Daybook) -> (LogSeq, Through) {
    let (connection, subjects) = (&daybook.client.connection, &daybook.client.connection.subjects);
    let events = subjects.events(partition(daybook));
    let end = last_message(connection, &subjects.events_stream(), &events).await.unwrap();
    (LogSeq(end.sequence), Logged::read((&end).into()).unwrap().marks.through)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_of_another_log_is_not_gone_on_from() {
    let daybook = Daybook::start().await;
    orders::define(&daybook, &["acme"]).await;
    let (connection, partition) = (&daybook.client.connection, partition(&daybook));
    let (end, reached) = end_of_log(&daybook).await;
    let folder = tempfile::tempdir().unwrap();
    let other = Through { inbox: InboxSeq(reached.inbox.0 + 1), ..reached };
    for (name, through, expected) in [("this", reached, end), ("other", other, LogSeq(0))] {
        let place = Place { backend: Backend::Sled, folder: folder.path().join(name) };
        stored(&place, partition, end, through);
        let opened = eventually("the folder to be let go of", || async {
            match open(connection, partition, &place, None).await {
                Err(OpenError::Store(error)) if error.is_locked() => None,
                opened => Some(opened),
            }
        })
        .await;
        assert_eq!(opened.unwrap().1.position(), expected, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_stays_until_a_snapshot_has_proved_usable() {
    let mut daybook = Daybook::start_with(short).await;
    orders::define(&daybook, &["acme"]).await;
    publish_until_trimmed(&daybook, 0, LogSeq(0)).await;
    daybook.stop_services().await;
    let (connection, partition) = (&daybook.client.connection, partition(&daybook));
    let bucket = connection.jetstream.get_object_store(connection.subjects.checkpoints_bucket()).await.unwrap();
    for snapshot in snapshots::list(connection, partition).await.unwrap() {
        let name = format!("manifest-{partition}-{}", snapshot.position);
        let metadata = bucket.info(&name).await.unwrap().metadata;
        let damaged = ObjectMetadata { name, metadata, ..ObjectMetadata::default() };
        bucket.put(damaged, &mut &b"no rows at all"[..]).await.unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let place = Place { backend: Backend::Sled, folder: folder.path().join("one") };
    let (end, reached) = end_of_log(&daybook).await;
    let position = LogSeq(end.0 + 1_000);
    stored(&place, partition, position, reached);
    let refused = eventually("the folder to be let go of", || async {
        match open(connection, partition, &place, None).await {
            Err(OpenError::Store(error)) if error.is_locked() => None,
            opened => Some(opened.unwrap_err()),
        }
    })
    .await;
    assert!(matches!(refused, OpenError::Snapshots { .. }), "{refused}");
    let rows = eventually("the folder to be let go of", || async {
        Store::open(place.backend, &place.folder).ok().map(|(_, rows)| rows)
    })
    .await;
    let kept = PartitionState::restore(partition, rows).unwrap().unwrap();
    assert_eq!(kept.position(), position, "the log that it is of may be put back");
}
