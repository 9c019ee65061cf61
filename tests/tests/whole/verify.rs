//! `daybook verify` and `daybook audit`: the log makes what was sealed, and where it does not, the first difference is
//! named.

use async_nats::HeaderMap;
use async_nats::jetstream::stream::{Config, DiscardPolicy};
use daybook::commands::replay::{progress, replay};
use daybook::source::EventSource;
use daybook::standing::standings;
use daybook::verification::audit::{Chapter, Story, Subject, audit};
use daybook::verification::difference::{Difference, What};
use daybook::verification::verify::{Scope, Verification, verify};
use daybook_contracts::headers;
use daybook_contracts::reject::Code;
use daybook_contracts::report::Report;
use daybook_domain::catalogue::Status;
use daybook_domain::ids::{Name, TenantId};
use daybook_runtime::append::{Appended, append, last_message};
use daybook_runtime::reader::{Delivered, read_all};
use daybook_tests::orders::{self, FIRST_DAY, NOON, order};
use daybook_tests::{Daybook, eventually, flights, processes};
use serde_json::{Value, json};

const SECOND_DAY: &str = "2024-03-02";
const SECOND_NOON: &str = "2024-03-02T12:00:00Z";

fn acme() -> TenantId {
    TenantId::new("acme").unwrap()
}

fn first_day() -> Scope {
    Scope::Day(acme(), FIRST_DAY.parse().unwrap())
}

async fn verified(daybook: &Daybook, scope: Scope) -> Verification {
    verify(&daybook.client.connection, scope, &progress(None, true)).await.unwrap()
}

/// Verifies everything, in which nothing may be amiss; returns how many versions there are.
async fn sound(daybook: &Daybook) -> u64 {
    let outcome = verified(daybook, Scope::All).await;
    assert!(outcome.is_sound(), "{:?} {:?}", outcome.differences, outcome.not_verifiable);
    assert_eq!((outcome.not_written.count, outcome.verified.count), (0, stored(daybook).await.len() as u64));
    outcome.verified.count
}

/// Every message of REPORTS.
async fn stored(daybook: &Daybook) -> Vec<Delivered> {
    let connection = &daybook.client.connection;
    read_all(connection, connection.subjects.reports_stream(), connection.subjects.reports_of("*"), 1).await
}

async fn publish(daybook: &Daybook, event: &Value) {
    daybook.publish("acme", "order", event.to_string()).await;
    daybook.settle().await;
}

/// Acme with a first day that is closed and changed once since: two versions of its report.
async fn with_two_versions() -> Daybook {
    let daybook = Daybook::start().await;
    orders::define(&daybook, &["acme"]).await;
    publish(&daybook, &order("first")).await;
    orders::advance(&daybook, SECOND_NOON).await;
    publish(&daybook, &order("late")).await;
    assert_eq!(stored(&daybook).await.len(), 2);
    daybook
}

/// Makes REPORTS anew with what `change` leaves of its messages: nobody is allowed to delete or change single ones.
async fn rewrite_reports(daybook: &Daybook, change: impl FnOnce(&mut Vec<Delivered>)) {
    let mut messages = stored(daybook).await;
    change(&mut messages);
    let jetstream = &daybook.client.connection.jetstream;
    let name = daybook.client.connection.subjects.reports_stream();
    let config: Config = jetstream.get_stream(&name).await.unwrap().cached_info().config.clone();
    jetstream.delete_stream(&name).await.unwrap();
    jetstream.create_stream(config).await.unwrap();
    for message in messages {
        write_report(daybook, &message, message.payload.clone()).await;
    }
}

/// Appends `payload` with the position and hash of `message`, as a shard would that has gone wrong; returns its sequence.
async fn write_report(daybook: &Daybook, message: &Delivered, payload: bytes::Bytes) -> u64 {
    let mut kept = HeaderMap::new();
    for name in [headers::HASH, headers::POSITION] {
        kept.insert(name, message.headers.get(name).unwrap().as_str());
    }
    append_report(daybook, &message.subject, kept, payload).await
}

async fn append_report(daybook: &Daybook, subject: &str, headers: HeaderMap, payload: bytes::Bytes) -> u64 {
    let connection = &daybook.client.connection;
    let last = last_message(connection, &connection.subjects.reports_stream(), subject).await;
    match append(connection, subject, last.map_or(0, |last| last.sequence), headers, payload).await {
        Appended::At(sequence) => sequence,
        appended => panic!("{appended:?}"),
    }
}

/// The report with one order more than there was.
fn forged(message: &Delivered) -> Vec<u8> {
    let text = std::str::from_utf8(&message.payload).unwrap();
    let forged = text.replacen("\"orders\":2", "\"orders\":3", 1);
    assert_ne!(forged, text);
    forged.into_bytes()
}

fn whats(outcome: &Verification) -> Vec<(u64, &'static str)> {
    outcome.differences.iter().map(|difference| (difference.version, difference.what.word())).collect()
}

fn assert_is_forged(difference: &Difference) {
    assert_eq!((difference.tenant.as_str(), difference.date.as_str(), difference.version), ("acme", FIRST_DAY, 2));
    let What::Bytes { path, stored, reproduced } = &difference.what else { panic!("{difference}") };
    assert_eq!((path.as_str(), stored.as_str(), reproduced.as_str()), ("$.views.orders.rows[0].orders", "3", "2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_report_of_the_march_flights_is_reproduced() {
    let mut daybook = Daybook::start().await;
    flights::define(&daybook.client, "2013-03-07").await;
    let source = EventSource::open(&flights::file("data/march.ndjson.zst")).unwrap();
    let bar = progress(None, true);
    let summary = replay(&daybook.client, None, flights::replay_options(), source, None, true, &bar).await.unwrap();
    let versions = sound(&daybook).await;
    assert!(versions > 500, "{versions}");
    let outcome = verified(&daybook, Scope::All).await;
    assert_eq!(outcome.partitions.iter().map(|partition| partition.events).sum::<u64>(), summary.published);
    // It rests on the log alone.
    daybook.stop_services().await;
    assert_eq!(sound(&daybook).await, versions);
    let atlanta = TenantId::new("ATL").unwrap();
    let some = verified(&daybook, Scope::Tenants([atlanta.clone()].into())).await;
    assert!(some.is_sound() && some.partitions.len() == 1);
    assert!(some.verified.named.iter().all(|named| named.tenant == atlanta), "{:?}", some.verified);
    let one = verified(&daybook, Scope::Day(atlanta, "2013-03-10".parse().unwrap())).await;
    assert!(one.is_sound() && (1..=some.verified.count).contains(&one.verified.count), "{:?}", one.verified);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_that_was_changed_is_named_with_the_place() {
    let daybook = with_two_versions().await;
    assert_eq!(sound(&daybook).await, 2);
    // Behind the sound one, with headers that lie.
    let newest = stored(&daybook).await.pop().unwrap();
    let sequence = write_report(&daybook, &newest, forged(&newest).into()).await;
    for scope in [Scope::All, first_day()] {
        let outcome = verified(&daybook, scope).await;
        assert_eq!(whats(&outcome), [(2, "bytes"), (2, "header"), (2, "repeated")]);
        assert_is_forged(&outcome.differences[0]);
        assert_eq!(outcome.differences[0].sequence, Some(sequence));
        assert_eq!((outcome.is_sound(), outcome.verified.count), (false, 2));
    }

    // In the place of the sound one.
    rewrite_reports(&daybook, |messages| {
        messages.remove(1);
    })
    .await;
    let outcome = verified(&daybook, Scope::All).await;
    assert_eq!(whats(&outcome), [(2, "bytes"), (2, "header")]);
    assert_is_forged(&outcome.differences[0]);
    assert_eq!(outcome.verified.count, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_log_does_not_make_is_named() {
    let daybook = with_two_versions().await;
    let newest = stored(&daybook).await.pop().unwrap();
    let mut report: Report = serde_json::from_slice(&newest.payload).unwrap();
    report.version = 3;
    report.dispositions.counted += 1;
    report.day.opens_at = NOON.parse().unwrap();
    let at = |position: u64| {
        let mut headers = HeaderMap::new();
        headers.insert(headers::POSITION, position.to_string());
        headers
    };
    append_report(&daybook, &newest.subject, at(3), serde_json::to_vec(&report).unwrap().into()).await;
    append_report(&daybook, &newest.subject, at(0), "no report".into()).await;
    let outcome = verified(&daybook, first_day()).await;
    let mut found = whats(&outcome);
    found.sort_unstable();
    let third = ["chain", "header", "interval", "unbalanced", "unfounded"].map(|word| (3, word));
    assert_eq!(found, [[(0, "header"), (0, "unfounded"), (0, "unreadable")].as_slice(), &third].concat());
    assert_eq!(outcome.verified.count, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_is_missing_is_named() {
    let mut daybook = with_two_versions().await;
    // The first of two.
    let all = stored(&daybook).await;
    rewrite_reports(&daybook, |messages| {
        messages.remove(0);
    })
    .await;
    let outcome = verified(&daybook, first_day()).await;
    assert_eq!(whats(&outcome), [(1, "missing")]);
    assert_eq!(outcome.verified.count, 1);

    // The newest, which the shard says it has written.
    rewrite_reports(&daybook, |messages| *messages = all[..1].to_vec()).await;
    let outcome = verified(&daybook, Scope::All).await;
    assert_eq!(whats(&outcome), [(2, "missing")]);
    assert!(outcome.differences[0].position.is_some());

    // Where no shard is there to be asked, it may be on its way.
    daybook.stop_services().await;
    let outcome = verified(&daybook, Scope::All).await;
    assert!(outcome.is_sound(), "{:?}", outcome.differences);
    assert_eq!((outcome.verified.count, outcome.not_written.count), (1, 1));
    let named = &outcome.not_written.named[0];
    assert_eq!(
        (named.version, named.hash.as_deref()),
        (2, all[1].headers.get(headers::HASH).map(|hash| hash.as_str()))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn views_that_came_later_than_events_are_made_again() {
    let daybook = Daybook::start().await;
    orders::define(&daybook, &["acme", "globex"]).await;
    for number in 0..20 {
        publish(&daybook, &order(&format!("before-{number}"))).await;
    }
    for name in ["channels", "amounts"] {
        daybook
            .define(&format!(
                "views: [{{ name: {name}, kind: order, group_by: [channel], metrics: [{{ name: n, value: count }}] }}]"
            ))
            .await;
        publish(&daybook, &order(&format!("during-{name}"))).await;
        eventually("the view is in force", async || {
            let reply = daybook.client.views().await.unwrap();
            let mut views = standings(&reply);
            views.all(|(_, standing)| standing.is_active()).then_some(())
        })
        .await;
        publish(&daybook, &order(&format!("after-{name}"))).await;
    }
    orders::advance(&daybook, SECOND_NOON).await;
    daybook.settle().await;
    let report = daybook.client.report(&acme(), FIRST_DAY.parse().unwrap()).await.unwrap().unwrap().report;
    for view in ["channels", "amounts"] {
        let rows = &report.views[view].rows;
        assert_eq!(rows[0].get("n").unwrap().to_string(), "24", "{rows:?}");
    }
    assert_eq!(sound(&daybook).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_beginning_of_the_log_nothing_is_verified_by_silence() {
    let daybook = with_two_versions().await;
    let connection = &daybook.client.connection;
    let stream = connection.subjects.events_stream();
    let sealed = daybook.client.report(&acme(), FIRST_DAY.parse().unwrap()).await.unwrap().unwrap();
    let first = sealed.report.log.from.0;
    let mut info = connection.jetstream.get_stream(&stream).await.unwrap();
    let last = info.info().await.unwrap().state.last_sequence;
    let config = info.cached_info().config.clone();
    let max_messages = i64::try_from(last - first).unwrap();
    connection.jetstream.update_stream(Config { discard: DiscardPolicy::Old, max_messages, ..config }).await.unwrap();
    for scope in [Scope::All, first_day()] {
        let outcome = verified(&daybook, scope).await;
        assert!(!outcome.is_sound() && outcome.differences.is_empty(), "{:?}", outcome.differences);
        let lists = [&outcome.verified, &outcome.not_verifiable, &outcome.no_longer_verifiable];
        assert_eq!(lists.map(|list| list.count), [0, 0, 2]);
        let reason = outcome.no_longer_verifiable.named[0].reason.as_ref().unwrap();
        assert!(reason.contains("begins at") && reason.contains("no snapshot"), "{reason}");
    }
    let story = told(&daybook, "first", None).await;
    assert!(story.broken.is_some() && story.chapters.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_say_it_with_their_exit_codes() {
    let mut daybook = with_two_versions().await;
    let binary = processes::binary("daybook");
    let run = async |arguments: &[&str]| {
        let mut command = processes::command(&binary);
        command.args(arguments).args(["--nats", daybook.broker.broker.client_url()]);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, text) = run(&["verify", "acme", FIRST_DAY]).await;
    assert!(code == 0 && text.contains("2 report versions verified byte for byte"), "{text}");
    let (code, text) = run(&["verify", "--all", "--json"]).await;
    let json: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &json["verified"]["count"], &json["differences"]), (0, &json!(2), &json!([])));
    assert_eq!(run(&["verify", "acme", "2024-02-01"]).await.0, 1, "no such report");
    let (code, text) = run(&["audit", "acme", "late"]).await;
    assert!(code == 0 && text.contains("2024-03-01 version 2"), "{text}");
    assert_eq!(run(&["audit", "acme", "nobody"]).await.0, 1);
    rewrite_reports(&daybook, |messages| messages[1].payload = forged(&messages[1]).into()).await;
    let (code, text) = run(&["verify", "--all"]).await;
    assert!(code == 1 && text.contains("first difference: acme 2024-03-01 version 2: at $.views.orders"), "{text}");
    daybook.stop_services().await;
}

async fn told(daybook: &Daybook, id: &str, kind: Option<&str>) -> Story {
    let subject = Subject { tenant: acme(), kind: kind.map(|kind| Name::new(kind).unwrap()), id: id.into() };
    audit(&daybook.client.connection, subject, &progress(None, true)).await.unwrap()
}

/// What became of an event, in a line.
fn line(chapter: &Chapter) -> String {
    let version = chapter.version.map_or("-".to_owned(), |version| version.to_string());
    let replaced = chapter.replaced.as_ref().map(|known| format!(" for {} of {}", known.version, known.date));
    let code = chapter.code.map(|code| format!(" {code}"));
    let reports: String =
        chapter.reports.iter().map(|report| format!(", {} version {}", report.date, report.version)).collect();
    let (replaced, code) = (replaced.unwrap_or_default(), code.unwrap_or_default());
    format!("{version} {}{code}{replaced}{reports}", chapter.disposition.as_str())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entity_tells_its_story() {
    let daybook = Daybook::start().await;
    orders::define(&daybook, &["acme", "globex"]).await;
    let version = |number: u64, change: &dyn Fn(&mut Value)| {
        let mut event = order("x");
        event["version"] = json!(number);
        change(&mut event);
        event
    };
    let draft = version(1, &|event| event["status"] = json!("draft"));
    let final_ = version(2, &|_| {});
    let conflict = version(2, &|event| event["measures"]["amount"] = json!("9"));
    let of_the_second_day = |event: &mut Value| event["at"] = json!(SECOND_NOON);
    for event in [&draft, &final_, &final_, &draft, &conflict, &order("other")] {
        publish(&daybook, event).await;
    }
    daybook.publish("globex", "order", order("x").to_string()).await;
    daybook.publish("acme", "click", r#"{"id":"x","at":"2024-03-01T12:00:00Z"}"#).await;
    orders::advance(&daybook, SECOND_NOON).await;
    // Two late changes of one message are one version, and the second takes the place of the first.
    let corrections = json!([
        version(3, &|event| event["measures"]["amount"] = json!("7")),
        version(4, &|event| event["measures"]["amount"] = json!("8")),
    ]);
    publish(&daybook, &corrections).await;
    publish(&daybook, &version(5, &of_the_second_day)).await;
    publish(&daybook, &json!({"id": "x", "version": 6})).await;
    let void = |event: &mut Value| {
        of_the_second_day(event);
        event["status"] = json!("void");
    };
    publish(&daybook, &version(6, &void)).await;
    let mut unnumbered = version(0, &of_the_second_day);
    unnumbered.as_object_mut().unwrap().remove("version");
    publish(&daybook, &unnumbered).await;

    let story = told(&daybook, "x", Some("order")).await;
    let lines: Vec<String> = story.chapters.iter().map(line).collect();
    assert_eq!(
        lines,
        [
            "1 pending, 2024-03-01 version 1",
            "2 counted for 1 of 2024-03-01, 2024-03-01 version 1",
            "2 duplicate",
            "1 stale stale_version",
            "2 rejected version_conflict",
            "3 counted for 2 of 2024-03-01, 2024-03-01 version 2",
            "4 counted for 3 of 2024-03-01, 2024-03-01 version 2",
            "5 counted for 4 of 2024-03-01, 2024-03-01 version 3, 2024-03-02 version 1",
            "- rejected missing_field",
            "6 counted for 5 of 2024-03-02, 2024-03-02 version 1",
            "7 counted for 6 of 2024-03-02, 2024-03-02 version 1",
        ]
    );
    assert_eq!((story.broken.as_deref(), story.omitted), (None, 0));
    let refused = &story.chapters[8];
    assert_eq!(
        (refused.code, refused.original.as_deref()),
        (Some(Code::MissingField), Some(r#"{"id":"x","version":6}"#))
    );
    let [standing] = story.standings.as_slice() else { panic!("{:?}", story.standings) };
    let now = standing.now.as_ref().unwrap();
    assert_eq!((now.version, now.status, now.date.to_string().as_str()), (7, Status::Final, SECOND_DAY));
    assert_eq!(standing.report, None);
    // The versions that are named name the event, and are sealed by the batch that is named.
    let mut times = Vec::new();
    for chapter in &story.chapters {
        times.extend(chapter.recorded_at);
        for report in chapter.reports.iter().filter(|report| report.closed) {
            let sealed = stored(&daybook).await;
            let found = sealed.iter().map(|message| serde_json::from_slice::<Report>(&message.payload).unwrap());
            let mut found = found.filter(|sealed| (sealed.date, sealed.version) == (report.date, report.version));
            let found = found.find(|sealed| sealed.tenant == acme()).unwrap();
            assert!(found.changes.iter().any(|change| (change.inbox, change.index) == (chapter.inbox, chapter.index)));
            assert_eq!(report.sealed_at, Some(found.log.through));
        }
    }
    assert!(times.len() == story.chapters.len() && times.is_sorted(), "{times:?}");
    let open = story.chapters[9].reports[0];
    assert!(!open.closed && open.sealed_at.is_none());

    // Under every kind there is a click too, and other entities have their own stories.
    let both = told(&daybook, "x", None).await;
    assert_eq!((both.chapters.len(), both.standings.len()), (story.chapters.len() + 1, 2));
    assert_eq!(told(&daybook, "other", None).await.chapters.len(), 1);
    assert!(told(&daybook, "nobody", None).await.chapters.is_empty());
    sound(&daybook).await;
}
