//! What the broker does not confirm, or does not let through: whoever asked day-manager for it is told so in time, and the same
//! request, asked again, does what is left to do and nothing twice.

use async_nats::service::{NATS_SERVICE_ERROR, NATS_SERVICE_ERROR_CODE};
use daybook_contracts::admin::{Apply, ApplyReply, CatalogueReply, ClockAdvance, ClockReply, CloseDay, TenantSpec};
use daybook_contracts::day::DayMarker;
use daybook_domain::catalogue::{Kind, Mode};
use daybook_domain::ids::{Name, TenantId};
use daybook_runtime::connection::{BrokerOptions, Connection, NatsOptions};
use daybook_runtime::http::Health;
use daybook_runtime::joining::connect_service;
use daybook_runtime::process::Context;
use daybook_runtime::reader::read_all;
use daybook_tests::route::{Frame, Route, Way};
use daybook_tests::{PrivateBroker, eventually};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// How long a reply may take that tells of a failure: the acknowledgement of a publish is waited for for 5 s.
const IN_TIME: Duration = Duration::from_secs(20);

/// What is lost on day-manager's way to the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lost {
    Nothing,
    /// What it publishes on CATALOG and DAYS.
    Messages,
    /// The broker's word that it has stored that.
    Acknowledgements,
}

/// day-manager alone, on a way to the broker on which something can be lost.
struct Managed {
    connection: Connection,
    health: Health,
    /// Whether it has said that it is not well since it began.
    was_unwell: Arc<AtomicBool>,
    lost: Arc<AtomicU8>,
    stop: CancellationToken,
    _route: Route,
    _broker: PrivateBroker,
}

impl Managed {
    async fn start(change: impl FnOnce(&mut BrokerOptions)) -> Self {
        let broker = PrivateBroker::start().await;
        let mut options = broker.options();
        change(&mut options);
        let connection = connect_service(&options, "test").await.unwrap();
        let lost = Arc::new(AtomicU8::new(Lost::Nothing as u8));
        let of_route = lost.clone();
        let route = Route::new(broker.broker.client_url(), move |way, frame| {
            let lost = of_route.load(Ordering::SeqCst);
            !(lost == Lost::Messages as u8 && is_message(way, frame)
                || lost == Lost::Acknowledgements as u8 && is_acknowledgement(way, frame))
        })
        .await;
        let (stop, health) = (CancellationToken::new(), Health::default());
        let through = BrokerOptions { nats: NatsOptions::at(&route.url()), ..options };
        let context =
            Context::new(connect_service(&through, "day-manager").await.unwrap(), health.clone(), stop.clone());
        tokio::spawn(async move { day_manager::run(day_manager::Options::default(), context).await.unwrap() });
        eventually("a day-manager", async || health.is_ready().then_some(())).await;
        let was_unwell = Arc::new(AtomicBool::new(false));
        tokio::spawn(watch(health.clone(), was_unwell.clone(), stop.clone()));
        Self { connection, health, was_unwell, lost, stop, _route: route, _broker: broker }
    }

    fn lose(&self, lost: Lost) {
        self.lost.store(lost as u8, Ordering::SeqCst);
    }

    /// Asks one time only: the answer, or the number and the text of an error.
    async fn ask<T: DeserializeOwned>(&self, command: &str, request: &impl Serialize) -> Result<T, (String, String)> {
        let (client, body) = (&self.connection.client, serde_json::to_vec(request).unwrap());
        let request = async_nats::Request::new().payload(body.into()).timeout(Some(IN_TIME));
        let reply = client.send_request(self.connection.subjects.admin(command), request).await;
        let reply = reply.unwrap_or_else(|error| panic!("{command} has no reply: {error}"));
        let header = |name| reply.headers.as_ref().and_then(|headers| headers.get(name)).map(ToString::to_string);
        match header(NATS_SERVICE_ERROR_CODE) {
            None => Ok(serde_json::from_slice(&reply.payload).unwrap()),
            Some(code) => Err((code, header(NATS_SERVICE_ERROR).unwrap())),
        }
    }

    /// Why something is to be asked for again.
    async fn fails(&self, command: &str, request: &impl Serialize) -> String {
        let (code, why) = self.ask::<serde_json::Value>(command, request).await.unwrap_err();
        assert_eq!(code, "503", "{why}");
        assert!(why.ends_with("ask again in a moment, which is safe"), "{why}");
        why
    }

    /// Asks until there is an answer.
    async fn succeeds<T: DeserializeOwned>(&self, command: &str, request: &impl Serialize) -> T {
        eventually(command, async || match self.ask(command, request).await {
            Ok(answer) => Some(answer),
            Err((code, why)) => {
                assert_eq!(code, "503", "{why}");
                None
            }
        })
        .await
    }

    /// How many messages a stream holds on each subject.
    async fn counts(&self, stream: String, filter: String) -> Vec<usize> {
        let all = read_all(&self.connection, stream, filter, 1).await;
        let mut subjects: Vec<_> = all.iter().map(|message| message.subject.as_str()).collect();
        subjects.sort_unstable();
        subjects.chunk_by(|one, other| one == other).map(<[_]>::len).collect()
    }

    /// The definitions that there are, each once in every partition that it concerns.
    async fn check_definitions(&self) {
        let subjects = &self.connection.subjects;
        let counts = self.counts(subjects.catalog_stream(), subjects.every_catalog()).await;
        // A kind and a calendar in each partition, and a tenant in one.
        assert_eq!(counts, vec![1; 2 * usize::from(self.connection.partitions) + 1]);
        let sourced = self.counts(subjects.inbox_stream(), "daybook.inbox.*.*.catalog.>".to_owned()).await;
        assert_eq!(sourced.len(), if sourced.is_empty() { 0 } else { counts.len() }, "{sourced:?}");
    }

    async fn markers(&self) -> Vec<String> {
        let subjects = &self.connection.subjects;
        let markers = read_all(&self.connection, subjects.days_stream(), subjects.every_day(), 1).await;
        let shown = markers.iter().map(|message| {
            let marker: DayMarker = serde_json::from_slice(&message.payload).unwrap();
            format!("{} {}", marker.day.date, marker.edge.as_str())
        });
        shown.collect()
    }
}

/// Notes when a day-manager says that it is not well.
async fn watch(health: Health, was_unwell: Arc<AtomicBool>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        if !health.is_ready() {
            was_unwell.store(true, Ordering::SeqCst);
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn is_message(way: Way, frame: &Frame) -> bool {
    let subject = frame.words().nth(1).unwrap_or_default();
    way == Way::ToBroker && ["daybook.catalog.", "daybook.days."].iter().any(|stream| subject.starts_with(stream))
}

fn is_acknowledgement(way: Way, frame: &Frame) -> bool {
    way == Way::ToClient && frame.payload().starts_with(b"{\"stream\":\"DAYBOOK_")
}

fn definitions() -> Apply {
    let kind = Kind {
        name: name("click"),
        mode: Mode::Fact,
        dimensions: vec![],
        measures: vec![],
        revision: 0,
        mappings: vec![],
        remember: None,
    };
    let tenant: TenantSpec = serde_json::from_value(serde_json::json!({
        "id": "SHOP", "zone": "Etc/UTC", "cutoff_minutes": 0, "first_day": "2024-03-01", "clock": "shop",
    }))
    .unwrap();
    Apply { kinds: vec![kind], tenants: vec![tenant], ..Apply::default() }
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn advance(to: &str) -> ClockAdvance {
    ClockAdvance { clock: name("shop"), advance_to: to.parse().unwrap() }
}

async fn what_is_not_confirmed_is_told_and_done_when_asked_again(lost: Lost) {
    let managed = Managed::start(|_| {}).await;
    managed.lose(lost);
    let why = managed.fails("apply", &definitions()).await;
    assert!(why.contains("the broker did not confirm a message on daybook.catalog."), "{why}");
    // Those who ask right now do not wait for the same.
    let began = Instant::now();
    let again = managed.fails("apply", &definitions()).await;
    assert!(began.elapsed() < Duration::from_secs(3) && again.contains(&why), "{again}");
    managed.lose(Lost::Nothing);
    let reply: ApplyReply = managed.succeeds("apply", &definitions()).await;
    assert!(matches!(reply, ApplyReply::Applied(_)), "{reply:?}");
    managed.check_definitions().await;

    // Three days and two cut-offs, of which the first marker is lost.
    let to = advance("2024-03-03T12:00:00Z");
    managed.lose(lost);
    let why = managed.fails("clock", &to).await;
    assert!(why.contains("the broker did not confirm a message on daybook.days.SHOP."), "{why}");
    managed.lose(Lost::Nothing);
    let reply: ClockReply = managed.succeeds("clock", &to).await;
    assert_eq!(reply.now, to.advance_to);
    let days =
        ["2024-03-01 opened", "2024-03-02 opened", "2024-03-01 closed", "2024-03-03 opened", "2024-03-02 closed"];
    assert_eq!(managed.markers().await, days);

    // By hand: the next day opens, and the day closes.
    let close =
        CloseDay { tenant: TenantId::new("SHOP").unwrap(), date: "2024-03-03".parse().unwrap(), boundary: false };
    managed.lose(lost);
    let why = managed.fails("close", &close).await;
    assert!(why.contains("the broker did not confirm a message on daybook.days.SHOP."), "{why}");
    managed.lose(Lost::Nothing);
    let _: serde_json::Value = managed.succeeds("close", &close).await;
    assert_eq!(managed.markers().await[days.len()..], ["2024-03-04 opened", "2024-03-03 closed"]);
    managed.check_definitions().await;
    assert!(!managed.was_unwell.load(Ordering::SeqCst), "each failure was over with the next attempt");
    managed.stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_are_lost_are_told_of_and_published_when_asked_for_again() {
    what_is_not_confirmed_is_told_and_done_when_asked_again(Lost::Messages).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledgements_that_are_lost_are_told_of_and_nothing_is_published_twice() {
    what_is_not_confirmed_is_told_and_done_when_asked_again(Lost::Acknowledgements).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_come_through_to_a_full_inbox_is_told_and_finished_when_there_is_room() {
    let managed = Managed::start(|options| options.inbox_max_bytes = 1 << 20).await;
    let (jetstream, subjects) = (&managed.connection.jetstream, &managed.connection.subjects);
    // Nobody takes anything out. Definitions are larger than the smallest of these.
    for bytes in [100_000, 10_000, 1_000, 100, 1] {
        while let Ok(ack) = jetstream.publish(subjects.input("SHOP", "click"), vec![b'x'; bytes].into()).await
            && ack.await.is_ok()
        {}
    }
    let began = Instant::now();
    let why = managed.fails("apply", &definitions()).await;
    assert!(why.contains("did not come through to daybook.inbox.") && why.contains("INBOX may be full"), "{why}");
    assert!(began.elapsed() < IN_TIME);
    // It is told of for as long as it is so, also to those who only want to look.
    eventually("more than a hiccup", async || (!managed.health.is_ready()).then_some(())).await;
    managed.fails("catalogue", &()).await;

    let inbox = jetstream.get_stream(subjects.inbox_stream()).await.unwrap();
    inbox.purge().await.unwrap();
    let began = Instant::now();
    let reply: ApplyReply = managed.succeeds("apply", &definitions()).await;
    println!("done {:?} after there was room", began.elapsed());
    assert!(matches!(reply, ApplyReply::Applied(_)), "{reply:?}");
    managed.check_definitions().await;
    let reply: CatalogueReply = managed.succeeds("catalogue", &()).await;
    assert_eq!((reply.kinds.len(), reply.kinds[0].revision, reply.tenants), (1, 1, 1));
    let reply: ClockReply = managed.succeeds("clock", &advance("2024-03-01T12:00:00Z")).await;
    assert_eq!((reply.markers, managed.markers().await), (1, vec!["2024-03-01 opened".to_owned()]));
    assert!(managed.health.is_ready());
    managed.stop.cancel();
}
