//! day-manager alone, with shards that say what the test has them say: views come into force partition by partition,
//! days close by hand, and two day-managers are as good as one.
use async_nats::HeaderMap;
use async_nats::service::NATS_SERVICE_ERROR;
use daybook::client::Client;
use daybook_contracts::admin::{
    Apply, ApplyReply, CatalogueReply, ClockAdvance, ClockReply, CloseDay, CloseReply, TenantSpec,
};
use daybook_contracts::ask::{Asked, Backfilling, DaySelector, DayState, Query, ViewProgress};
use daybook_contracts::day::DayMarker;
use daybook_contracts::members::{HEARTBEAT, Heartbeat};
use daybook_contracts::report::Coverage;
use daybook_domain::catalogue::{Activation, CalendarRule, Definition, Kind, Mode, NamedBy};
use daybook_domain::ids::{LogSeq, Name, Partition, TenantId};
use daybook_domain::time::{Date, Instant};
use daybook_runtime::append::{Appended, append, last_message};
use daybook_runtime::http::Health;
use daybook_runtime::joining::connect_service;
use daybook_runtime::membership::assignment::owners;
use daybook_runtime::process::Context;
use daybook_runtime::reader::{Reader, read_all};
use daybook_tests::{Daybook, PrivateBroker, define, eventually};
use futures::{FutureExt, StreamExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const MODELS: &str = "
kinds: [{ name: click, mode: fact, measures: [ms] }]
views: [{ name: clicks, kind: click, metrics: [clicks: count] }]
";

/// The last partition's shard never answers.
const PARTITIONS: u16 = 4;
const AWAY: Partition = Partition(PARTITIONS - 1);

/// What a partition's shard says of its views.
type Said = Arc<Mutex<Vec<ViewProgress>>>;

struct Managed {
    client: Client,
    stop: CancellationToken,
    shards: Vec<Said>,
    broker: PrivateBroker,
}

async fn run_day_manager(broker: &PrivateBroker) -> CancellationToken {
    let connection = connect_service(&broker.options(), "day-manager").await.unwrap();
    let stop = CancellationToken::new();
    let health = Health::default();
    let context = Context::new(connection, health.clone(), stop.clone());
    tokio::spawn(async move { day_manager::run(day_manager::Options::default(), context).await.unwrap() });
    eventually("a day-manager", || async { health.is_ready().then_some(()) }).await;
    stop
}

impl Managed {
    async fn start() -> Self {
        let broker = PrivateBroker::start().await;
        let stop = run_day_manager(&broker).await;
        let client = Client::connect(&broker.options()).await.unwrap();
        assert_eq!(client.connection.partitions, PARTITIONS);
        let mut shards = Vec::new();
        for partition in Partition::all(AWAY.0) {
            let said = Said::default();
            shards.push(said.clone());
            let nats = client.connection.client.clone();
            let mut questions = nats.subscribe(client.connection.subjects.shard(partition)).await.unwrap();
            tokio::spawn(async move {
                while let Some(question) = questions.next().await {
                    let answer = Asked::Ok(said.lock().unwrap().clone());
                    let payload = serde_json::to_vec(&answer).unwrap();
                    nats.publish(question.reply.unwrap(), payload.into()).await.unwrap();
                }
            });
        }
        Self { client, stop, shards, broker }
    }

    fn say(&self, partition: usize, active: u64, pending: Option<Backfilling>) {
        let view = Name::new("clicks").unwrap();
        *self.shards[partition].lock().unwrap() =
            vec![ViewProgress { view, active, pending, coverage: Coverage::Complete }];
    }

    async fn activation(&self, partition: Partition) -> Option<Activation> {
        let subjects = &self.client.connection.subjects;
        let subject = subjects.catalog(partition, "activation", "clicks");
        let message = last_message(&self.client.connection, &subjects.catalog_stream(), &subject).await?;
        match serde_json::from_slice(&message.payload).unwrap() {
            Definition::Activation(activation) => Some(activation),
            other => panic!("{other:?}"),
        }
    }
}

fn backfilling(percent: u8) -> Option<Backfilling> {
    Some(Backfilling { revision: 2, percent, ready: percent == 100, since: Some(LogSeq(5)) })
}

#[tokio::test(flavor = "multi_thread")]
async fn backfilled_views_come_into_force_partition_by_partition() {
    let mut managed = Managed::start().await;
    define(&managed.client, MODELS).await;
    (0..3).for_each(|partition| managed.say(partition, 1, None));
    define(&managed.client, &MODELS.replace("clicks: count", "clicks: count, ms: sum(ms)")).await;
    managed.say(0, 1, backfilling(100));
    managed.say(1, 1, backfilling(40));
    managed.say(2, 2, None);
    let wanted = Activation { view: Name::new("clicks").unwrap(), revision: 2, since: Some(LogSeq(5)) };
    let found = eventually("an activation", || managed.activation(Partition(0))).await;
    assert_eq!(found, wanted);

    let reply = managed.client.views().await.unwrap();
    assert_eq!(reply.views[0].revision, 2);
    let pending =
        |partition: usize| reply.partitions[partition].as_ref().unwrap()[0].pending.as_ref().map(|p| p.percent);
    assert_eq!([pending(0), pending(1), pending(2)], [Some(100), Some(40), None]);
    assert_eq!(reply.partitions[3], None);
    for partition in [Partition(1), Partition(2), AWAY] {
        assert_eq!(managed.activation(partition).await, None, "{partition}");
    }

    // Another day-manager finds what is published, and asks everyone anew.
    managed.stop.cancel();
    managed.stop = run_day_manager(&managed.broker).await;
    managed.say(1, 1, backfilling(100));
    let found = eventually("the second activation", || managed.activation(Partition(1))).await;
    assert_eq!(found, wanted);
    let subjects = &managed.client.connection.subjects;
    let activations = subjects.catalog(Partition(0), "activation", "*");
    let stream = managed.client.connection.jetstream.get_stream(subjects.catalog_stream()).await.unwrap();
    let info = stream.info_with_subjects(&activations).await.unwrap();
    let counts: Vec<usize> = info.map(|subject| subject.unwrap().1).collect().await;
    assert_eq!(counts, [1], "the shard of partition 0 still says that it is ready");
    managed.stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_closes_by_hand_once_and_the_next_at_its_cutoff() {
    let mut managed = Managed::start().await;
    let tenant = "tenants: [{ id: SHOP, zone: Etc/UTC, cutoff: '00:00', first_day: 2024-03-01, clock: shop }]";
    define(&managed.client, tenant).await;
    let close =
        |date: &str| CloseDay { tenant: TenantId::new("SHOP").unwrap(), date: date.parse().unwrap(), boundary: false };
    let advance = async |client: &Client, to: &str| {
        let advance = ClockAdvance { clock: Name::new("shop").unwrap(), advance_to: to.parse().unwrap() };
        client.advance(&advance).await.unwrap().markers
    };
    let refused = async |client: &Client, date: &str| client.close(&close(date)).await.unwrap_err().to_string();
    let error = refused(&managed.client, "2024-03-01").await;
    assert!(error.contains("the clock shop of SHOP has not begun"), "{error}");
    assert_eq!(advance(&managed.client, "2024-03-01T12:00:00Z").await, 1);

    let reply = managed.client.close(&close("2024-03-01")).await.unwrap();
    assert_eq!(reply.closed.due_at.to_string(), "2024-03-01T12:00:00Z");
    assert_eq!(reply.opened.unwrap().day.date.to_string(), "2024-03-02");
    let again = "2024-03-01 of SHOP was closed by hand at 2024-03-01T12:00:00Z; days are never reopened";
    assert_eq!(refused(&managed.client, "2024-03-01").await, again);
    assert!(refused(&managed.client, "2024-03-02").await.contains("begins only at 2024-03-02T00:00:00Z"));

    // What was closed by hand stays so for another day-manager.
    managed.stop.cancel();
    managed.stop = run_day_manager(&managed.broker).await;
    assert_eq!(refused(&managed.client, "2024-03-01").await, again);
    assert_eq!(advance(&managed.client, "2024-03-02T23:59:59Z").await, 0);
    assert_eq!(advance(&managed.client, "2024-03-03T00:00:00Z").await, 2);

    let subjects = &managed.client.connection.subjects;
    let mut days = Reader::new(&managed.client.connection, subjects.days_stream(), subjects.every_day(), 1);
    let mut markers = Vec::new();
    for _ in 0..5 {
        let marker: DayMarker = serde_json::from_slice(&days.next().await.payload).unwrap();
        markers.push(format!("{} {} {}", marker.day.date, marker.edge.as_str(), marker.due_at));
    }
    let expected = [
        "2024-03-01 opened 2024-03-01T00:00:00Z",
        "2024-03-02 opened 2024-03-01T12:00:00Z",
        "2024-03-01 closed 2024-03-01T12:00:00Z",
        "2024-03-03 opened 2024-03-03T00:00:00Z",
        "2024-03-02 closed 2024-03-03T00:00:00Z",
    ];
    assert_eq!(markers, expected);
    managed.stop.cancel();
}

/// Asks one time only, and gets the reply.
async fn ask_once<T: DeserializeOwned>(client: &Client, command: &str, request: &impl Serialize) -> T {
    let nats = client.connection.client.clone();
    let body = serde_json::to_vec(request).unwrap();
    let reply = nats.request(client.connection.subjects.admin(command), body.into()).await;
    let reply = reply.unwrap_or_else(|error| panic!("{command}: {error}"));
    let refused = reply.headers.as_ref().and_then(|headers| headers.get(NATS_SERVICE_ERROR));
    assert_eq!(refused.map(ToString::to_string), None, "{command}");
    serde_json::from_slice(&reply.payload).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_of_two_day_managers_knows_the_clocks_that_the_other_moves() {
    let managed = Managed::start().await;
    let second = run_day_manager(&managed.broker).await;
    let tenant = "tenants: [{ id: SHOP, zone: Etc/UTC, cutoff: '00:00', first_day: 2024-03-01, clock: shop }]";
    define(&managed.client, tenant).await;
    let clock = Name::new("shop").unwrap();
    // The broker sends each request to either of them.
    for hour in 0..24 {
        let advance_to = format!("2024-03-01T{hour:02}:00:00Z").parse().unwrap();
        let request = ClockAdvance { clock: clock.clone(), advance_to };
        let reply: ClockReply = ask_once(&managed.client, "clock", &request).await;
        assert_eq!((reply.now, reply.markers), (advance_to, u64::from(hour == 0)));
        let reply: CatalogueReply = ask_once(&managed.client, "catalogue", &()).await;
        assert_eq!(reply.clocks[&clock], advance_to);
    }
    let close =
        CloseDay { tenant: TenantId::new("SHOP").unwrap(), date: "2024-03-01".parse().unwrap(), boundary: false };
    let reply: CloseReply = ask_once(&managed.client, "close", &close).await;
    assert_eq!(reply.closed.due_at.to_string(), "2024-03-01T23:00:00Z");
    managed.stop.cancel();
    second.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_day_managers_at_once_answer_every_request() {
    const DAYS: u64 = 25;
    let managed = Managed::start().await;
    let second = run_day_manager(&managed.broker).await;
    let tenants = |clock: &str| {
        let tenant = |number| {
            format!(
                "  - {{ id: {clock}-{number}, zone: Etc/UTC, cutoff: '00:00', first_day: 2024-03-01, clock: {clock} }}\n"
            )
        };
        (0..8).map(tenant).collect::<String>()
    };
    define(&managed.client, &format!("tenants:\n{}{}", tenants("one"), tenants("two"))).await;
    let drive = async |clock: &str| {
        for day in 1..=DAYS {
            let advance_to = format!("2024-03-{day:02}T00:00:00Z").parse().unwrap();
            let request = ClockAdvance { clock: Name::new(clock).unwrap(), advance_to };
            let reply: ClockReply = ask_once(&managed.client, "clock", &request).await;
            assert_eq!(reply.now, advance_to);
        }
    };
    let redefine = async {
        for number in 0..DAYS {
            let name = Name::new(&format!("kind-{number}")).unwrap();
            let kind = Kind {
                name,
                mode: Mode::Fact,
                dimensions: vec![],
                measures: vec![],
                revision: 0,
                mappings: vec![],
                remember: None,
            };
            let request = Apply { kinds: vec![kind], ..Apply::default() };
            let reply: ApplyReply = ask_once(&managed.client, "apply", &request).await;
            assert!(matches!(reply, ApplyReply::Applied(_)), "{reply:?}");
        }
    };
    tokio::join!(drive("one"), drive("two"), redefine);
    let subjects = &managed.client.connection.subjects;
    let markers = read_all(&managed.client.connection, subjects.days_stream(), subjects.every_day(), 1).await;
    // Each day opens, and all but the last have closed.
    assert_eq!(markers.len() as u64, 16 * (2 * DAYS - 1));
    managed.stop.cancel();
    second.cancel();
}

/// Takes the lead from the one day-manager that there is, and does nothing with it, until the sender is dropped.
async fn lead_instead(client: &Client) -> tokio::sync::oneshot::Sender<()> {
    let (nats, subject) = (client.connection.client.clone(), client.connection.subjects.members("day-manager"));
    let other = next_heartbeat(client).await.instance;
    let name = (0..).map(|number| format!("other-{number}")).find(|name| owners(&[name, &other], 1, 1)[0] == [0]);
    let own = Heartbeat::of("day-manager", &name.unwrap());
    let (sender, mut gone) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        let tell = async |heartbeat: &Heartbeat| {
            nats.publish(subject.clone(), serde_json::to_vec(heartbeat).unwrap().into()).await.unwrap();
        };
        while tokio::time::timeout(HEARTBEAT, &mut gone).await.is_err() {
            tell(&own).await;
        }
        tell(&Heartbeat { gone: true, ..own.clone() }).await;
        nats.flush().await.unwrap();
    });
    sender
}

/// What a day-manager tells of itself next.
async fn next_heartbeat(client: &Client) -> Heartbeat {
    let subject = client.connection.subjects.members("day-manager");
    let mut heard = client.connection.client.subscribe(subject).await.unwrap();
    Heartbeat::decode(&heard.next().await.unwrap().payload).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_does_not_lead_leaves_alone_what_is_being_published() {
    let managed = Managed::start().await;
    define(&managed.client, MODELS).await;
    define(&managed.client, &MODELS.replace("clicks: count", "clicks: count, ms: sum(ms)")).await;
    let leader = lead_instead(&managed.client).await;
    // The leader's, the other's, and so on.
    let beats = async |count| {
        for _ in 0..count {
            next_heartbeat(&managed.client).await;
        }
    };
    beats(4).await;

    // Half of a definition, and a view that is ready.
    let (connection, subjects) = (&managed.client.connection, &managed.client.connection.subjects);
    let kind = |partition| async move {
        let subject = subjects.catalog(Partition(partition), "kind", "click");
        let message = last_message(connection, &subjects.catalog_stream(), &subject).await.unwrap();
        match serde_json::from_slice(&message.payload).unwrap() {
            Definition::Kind(kind) => kind,
            other => panic!("{other:?}"),
        }
    };
    let newer = Definition::Kind(Kind { revision: 2, ..kind(0).await });
    let payload = serde_json::to_vec(&newer).unwrap();
    let subject = subjects.catalog(Partition(0), "kind", "click");
    let known = last_message(connection, &subjects.catalog_stream(), &subject).await.unwrap().sequence;
    let appended = append(connection, &subject, known, HeaderMap::new(), payload.into()).await;
    assert!(matches!(appended, Appended::At(_)), "{appended:?}");
    managed.say(0, 1, backfilling(100));
    // Ten looks at the clock, four at the backfills.
    beats(4).await;
    assert_eq!(kind(1).await.revision, 1);
    assert_eq!(managed.activation(Partition(0)).await, None);

    drop(leader);
    eventually("the other half", || async { (kind(PARTITIONS - 1).await.revision == 2).then_some(()) }).await;
    eventually("an activation", || managed.activation(Partition(0))).await;
    managed.stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_apply_that_comes_late_undoes_nothing() {
    let managed = Managed::start().await;
    let client = &managed.client;
    define(client, MODELS).await;
    // What the client sends for a change, and a change of the same view behind it.
    let mut sent = client.connection.client.subscribe(client.connection.subjects.admin("apply")).await.unwrap();
    let changed = |metrics: &str| MODELS.replace("clicks: count", metrics);
    define(client, &changed("clicks: count, ms: sum(ms)")).await;
    let requests = [sent.next().await.unwrap(), sent.next().await.unwrap()];
    let late = requests.map(|request| serde_json::from_slice::<Apply>(&request.payload).unwrap());
    let late = late.into_iter().find(|apply| !apply.dry_run).unwrap();
    define(client, &changed("clicks: count, ms: max(ms)")).await;

    let reply: ApplyReply = ask_once(client, "apply", &late).await;
    let ApplyReply::Refused(refusals) = reply else { panic!("{reply:?}") };
    assert_eq!(refusals.iter().map(|refusal| refusal.name.as_str()).collect::<Vec<_>>(), ["clicks"]);
    let views = client.catalogue().await.unwrap().views;
    assert_eq!(views[0].revision, 3);
    // What is there already may be asked for again, and who does not say what was known overrides it.
    let again = Apply { views: views.clone(), ..late.clone() };
    assert!(matches!(ask_once(client, "apply", &again).await, ApplyReply::Applied(_)));
    let careless = Apply { catalog_seen: None, ..late.clone() };
    assert!(matches!(ask_once(client, "apply", &careless).await, ApplyReply::Applied(_)));
    assert_eq!(client.catalogue().await.unwrap().views[0].metrics, late.views[0].metrics);
    managed.stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn another_is_asked_where_one_day_manager_stands_still() {
    let managed = Managed::start().await;
    let (client, nats) = (&managed.client, managed.client.connection.client.clone());
    let tenant = "tenants: [{ id: SHOP, zone: Etc/UTC, cutoff: '00:00', first_day: 2024-03-01, clock: shop }]";
    define(client, tenant).await;
    // In the group of the day-managers there is one more, which is sent one request.
    let another = async |command: &str| {
        let mut requests = nats.queue_subscribe(client.connection.subjects.admin(command), "q".into()).await.unwrap();
        requests.unsubscribe_after(1).await.unwrap();
        requests
    };
    let mut standing_still = another("catalogue").await;
    let took = loop {
        let began = std::time::Instant::now();
        client.catalogue().await.unwrap();
        if standing_still.next().now_or_never().is_some() {
            break began.elapsed();
        }
    };
    assert!(took < Duration::from_secs(5), "{took:?}");

    // What one has closed the other refuses to close, and is quicker to say so.
    let clock = Name::new("shop").unwrap();
    client.advance(&ClockAdvance { clock, advance_to: "2024-03-01T12:00:00Z".parse().unwrap() }).await.unwrap();
    let close =
        CloseDay { tenant: TenantId::new("SHOP").unwrap(), date: "2024-03-01".parse().unwrap(), boundary: false };
    let closed = client.close(&close).await.unwrap();
    let mut slow = another("close").await;
    let (sender, body) = (nats.clone(), serde_json::to_vec(&closed).unwrap());
    let slow = tokio::spawn(async move {
        let request = slow.next().await.unwrap();
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        sender.publish(request.reply.unwrap(), body.into()).await.unwrap();
    });
    let reply = loop {
        let reply = client.close(&close).await;
        if slow.is_finished() || reply.is_ok() {
            break reply;
        }
    };
    assert_eq!(reply.unwrap(), closed);
    managed.stop.cancel();
}

/// A tenant on a clock, with a cut-off at that minute.
fn spec(id: &str, zone: &str, cutoff_minutes: u16, first_day: Date, clock: &str) -> TenantSpec {
    let (zone, first_day, clock) = (zone.to_owned(), Some(first_day), Some(Name::new(clock).unwrap()));
    let id = TenantId::new(id).unwrap();
    let (name, changes, grace_ms, seasons, quotas) = (None, Vec::new(), 0, Vec::new(), Default::default());
    let (restate_after_ms, max_ahead_ms) = (None, None);
    TenantSpec {
        id,
        name,
        zone,
        cutoff_minutes,
        changes,
        grace_ms,
        first_day,
        clock,
        seasons,
        quotas,
        restate_after_ms,
        max_ahead_ms,
        day_named_by: Default::default(),
        alerts: Default::default(),
    }
}

/// What is told of the tenant, or why it is refused.
async fn redefine(daybook: &Daybook, tenant: &TenantSpec) -> Result<String, String> {
    let apply = Apply { tenants: vec![tenant.clone()], ..Apply::default() };
    match daybook.client.apply(&apply).await.unwrap() {
        ApplyReply::Applied(mut lines) => Ok(lines.remove(0).detail.unwrap_or_default()),
        ApplyReply::Refused(mut refusals) => Err(refusals.remove(0).reason),
    }
}

async fn drive(daybook: &Daybook, clock: &str, to: Instant) {
    let advance = ClockAdvance { clock: Name::new(clock).unwrap(), advance_to: to };
    daybook.client.advance(&advance).await.unwrap();
}

async fn click(daybook: &Daybook, tenant: &str, at: Instant) {
    let event = serde_json::json!({ "at": at.to_string(), "measures": { "ms": 1 } });
    daybook.publish(tenant, "click", event.to_string()).await;
}

/// The clicks of these days together.
async fn clicks(daybook: &Daybook, tenant: &str, from: Date, to: Date) -> String {
    daybook.settle().await;
    let query = Query::days(DaySelector::Range(from, to));
    let answer = daybook.client.query(&TenantId::new(tenant).unwrap(), "clicks", &query).await.unwrap();
    answer.rows.first().map_or("0".to_owned(), |row| row.0.first().unwrap().1.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_calendar_is_mended_until_an_event_is_counted() {
    let mut daybook = Daybook::start().await;
    daybook.define(MODELS).await;
    let date = |text: &str| text.parse::<Date>().unwrap();
    let at = |text: &str| text.parse::<Instant>().unwrap();
    let wrong = spec("SHOP", "Europe/Berlin", 17 * 60, date("2024-03-10"), "shop");
    assert_eq!(redefine(&daybook, &wrong).await.unwrap(), "");
    // It is of no day, so it is rejected, and that does not stand in the way.
    click(&daybook, "SHOP", at("2024-03-02T04:30:00Z")).await;
    let mended = spec("SHOP", "Europe/Lisbon", 5 * 60, date("2024-03-01"), "shop");
    assert_eq!(redefine(&daybook, &mended).await.unwrap(), "calendar, first_day");
    for hour in ["04:30", "05:00"] {
        click(&daybook, "SHOP", at(&format!("2024-03-02T{hour}:00Z"))).await;
    }
    // As soon as an event is published, the shard is asked until it has counted it.
    let refused = redefine(&daybook, &wrong).await.unwrap_err();
    assert!(refused.contains("may be dated as far ahead as its days are published"), "{refused}");
    let earlier = TenantSpec { first_day: Some(date("2024-02-01")), ..mended.clone() };
    let refused = redefine(&daybook, &earlier).await.unwrap_err();
    assert!(refused.contains("because events of 2024-03-02 were counted"), "{refused}");

    drive(&daybook, "shop", at("2024-03-02T12:00:00Z")).await;
    let refused = redefine(&daybook, &earlier).await.unwrap_err();
    assert!(refused.contains("because business day 2024-03-02 has opened"), "{refused}");
    // The open day ends on 2024-03-03 at 05:00, and max_ahead is a day.
    let rule = |from: &str| CalendarRule {
        from: date(from),
        zone: "Europe/Lisbon".into(),
        cutoff_minutes: 6 * 60,
        named_by: Default::default(),
    };
    let with = |from: &str| TenantSpec { changes: vec![rule(from)], ..mended.clone() };
    let refused = redefine(&daybook, &with("2024-03-04")).await.unwrap_err();
    assert!(refused.contains("days before 2024-03-05 stay as they are"), "{refused}");
    assert_eq!(redefine(&daybook, &with("2024-03-05")).await.unwrap(), "calendar");
    drive(&daybook, "shop", at("2024-03-05T05:59:00Z")).await;
    click(&daybook, "SHOP", at("2024-03-05T05:59:00Z")).await;
    for _ in 0..2 {
        for (day, expected) in [("2024-03-01", "1"), ("2024-03-02", "1"), ("2024-03-04", "1")] {
            assert_eq!(clicks(&daybook, "SHOP", date(day), date(day)).await, expected, "{day}");
        }
        daybook.restart_without_checkpoints().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_that_is_closed_with_a_boundary_ends_there() {
    let mut daybook = Daybook::start().await;
    daybook.define(MODELS).await;
    let date = |text: &str| text.parse::<Date>().unwrap();
    let at = |text: &str| format!("2024-03-{text}Z").parse::<Instant>().unwrap();
    redefine(&daybook, &spec("SHOP", "Etc/UTC", 0, date("2024-03-01"), "shop")).await.unwrap();
    drive(&daybook, "shop", at("01T21:40:00")).await;
    for time in ["01T20:00:00", "01T22:00:00"] {
        click(&daybook, "SHOP", at(time)).await;
    }
    daybook.settle().await;
    let close = CloseDay { tenant: TenantId::new("SHOP").unwrap(), date: date("2024-03-01"), boundary: true };
    let reply = daybook.client.close(&close).await.unwrap();
    assert_eq!((reply.closed.due_at, reply.boundary), (at("01T21:40:00"), Some(at("01T21:40:00"))));
    // What came before the boundary stays; behind it the time decides.
    for time in ["01T21:39:59", "01T21:40:00", "01T23:00:00", "02T12:00:00"] {
        click(&daybook, "SHOP", at(time)).await;
    }
    for _ in 0..2 {
        assert_eq!(clicks(&daybook, "SHOP", date("2024-03-01"), date("2024-03-01")).await, "3");
        assert_eq!(clicks(&daybook, "SHOP", date("2024-03-02"), date("2024-03-02")).await, "3");
        daybook.restart_without_checkpoints().await;
    }
    let refused = daybook.client.close(&close).await.unwrap_err().to_string();
    assert!(refused.contains("was closed by hand at 2024-03-01T21:40:00Z"), "{refused}");
    drive(&daybook, "shop", at("03T12:00:00")).await;
    click(&daybook, "SHOP", at("01T22:30:00")).await;
    assert_eq!(clicks(&daybook, "SHOP", date("2024-03-02"), date("2024-03-02")).await, "4");
    let reports = async |day: &str| daybook.client.asker.report(&close.tenant, date(day), None).await.unwrap().report;
    assert_eq!(reports("2024-03-01").await.ended_at, Some(at("01T21:40:00")));
    assert_eq!(reports("2024-03-02").await.ended_at, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_that_began_at_a_boundary_may_end_when_it_opens_by_the_calendar() {
    let mut daybook = Daybook::start().await;
    daybook.define(MODELS).await;
    let date = |text: &str| text.parse::<Date>().unwrap();
    let at = |text: &str| format!("2024-03-{text}Z").parse::<Instant>().unwrap();
    redefine(&daybook, &spec("SHOP", "Etc/UTC", 0, date("2024-03-01"), "shop")).await.unwrap();
    let close = |day: &str| CloseDay { tenant: TenantId::new("SHOP").unwrap(), date: date(day), boundary: true };
    drive(&daybook, "shop", at("01T21:40:00")).await;
    daybook.client.close(&close("2024-03-01")).await.unwrap();
    drive(&daybook, "shop", at("01T23:00:00")).await;
    let early = daybook.client.close(&close("2024-03-02")).await.unwrap_err().to_string();
    assert!(early.contains("has taken events since 2024-03-01T21:40:00Z"), "{early}");
    drive(&daybook, "shop", at("02T00:00:00")).await;
    let reply = daybook.client.close(&close("2024-03-02")).await.unwrap();
    assert_eq!(reply.boundary, Some(at("02T00:00:00")));
    for time in ["01T21:00:00", "01T22:00:00", "01T23:30:00", "02T00:00:00", "02T12:00:00", "02T13:00:00"] {
        click(&daybook, "SHOP", at(time)).await;
    }
    for _ in 0..2 {
        for (day, expected) in [("2024-03-01", "1"), ("2024-03-02", "2"), ("2024-03-03", "3")] {
            assert_eq!(clicks(&daybook, "SHOP", date(day), date(day)).await, expected, "{day}");
        }
        daybook.restart_without_checkpoints().await;
    }
}

/// A trading day is named by the date on which it closes, everywhere.
#[tokio::test(flavor = "multi_thread")]
async fn days_are_named_by_the_date_on_which_they_close() {
    let mut daybook = Daybook::start().await;
    daybook.define(MODELS).await;
    let date = |text: &str| text.parse::<Date>().unwrap();
    let at = |text: &str| text.parse::<Instant>().unwrap();
    let by_open = spec("DESK", "America/New_York", 17 * 60, date("2024-03-11"), "desk");
    let by_close = TenantSpec { day_named_by: NamedBy::Close, ..by_open.clone() };
    redefine(&daybook, &by_open).await.unwrap();
    assert_eq!(redefine(&daybook, &by_close).await.unwrap(), "day_named_by");
    // Monday's trading day begins on Sunday at 17:00, the day on which clocks went forward.
    drive(&daybook, "desk", at("2024-03-11T12:00:00Z")).await;
    for time in ["2024-03-10T21:00:00Z", "2024-03-11T20:59:59Z", "2024-03-11T21:00:00Z"] {
        click(&daybook, "DESK", at(time)).await;
    }
    drive(&daybook, "desk", at("2024-03-12T12:00:00Z")).await;
    let refused = redefine(&daybook, &by_open).await.unwrap_err();
    assert!(refused.contains("day_named_by cannot be changed from close to open"), "{refused}");
    for _ in 0..2 {
        for (day, expected) in [("2024-03-11", "2"), ("2024-03-12", "1")] {
            assert_eq!(clicks(&daybook, "DESK", date(day), date(day)).await, expected, "{day}");
        }
        daybook.restart_without_checkpoints().await;
    }
    let days = daybook.client.days(&TenantId::new("DESK").unwrap()).await.unwrap().days;
    let shown: Vec<_> = days.iter().map(|day| (day.date, day.opens_at.unwrap())).collect();
    let expected = [("2024-03-11", "2024-03-10T21:00:00Z"), ("2024-03-12", "2024-03-11T21:00:00Z")];
    assert_eq!(shown, expected.map(|(day, opens_at)| (date(day), at(opens_at))));
    let report = daybook.client.asker.report(&TenantId::new("DESK").unwrap(), date("2024-03-11"), None).await;
    assert_eq!(report.unwrap().report.day.closes_at, at("2024-03-11T21:00:00Z"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_with_history_goes_live_and_keeps_its_figures() {
    let daybook = Daybook::start().await;
    daybook.define(MODELS).await;
    let now = daybook_runtime::clock::now();
    let days_ago = |days: i64| Instant::from_millis(now.as_millis() - days * 86_400_000);
    let date = |at: Instant| Date::from_days(at.as_millis().div_euclid(86_400_000) as i32);
    let first_day = date(days_ago(100));
    let hist = spec("HIST", "Etc/UTC", 0, first_day, "past");
    let live = spec("HIST", "Etc/UTC", 0, first_day, "system");
    assert_eq!(redefine(&daybook, &hist).await.unwrap(), "");
    for days in [100, 60] {
        drive(&daybook, "past", days_ago(days)).await;
        click(&daybook, "HIST", days_ago(days)).await;
    }
    let refused = redefine(&daybook, &live).await.unwrap_err();
    assert!(refused.contains("more than 35 days behind the system clock"), "{refused}");
    drive(&daybook, "past", days_ago(2)).await;
    click(&daybook, "HIST", days_ago(2)).await;
    assert_eq!(clicks(&daybook, "HIST", first_day, date(days_ago(2))).await, "3");
    assert_eq!(redefine(&daybook, &live).await.unwrap(), "clock");
    // The days up to today open and close by themselves, and today takes events.
    eventually("today", || async {
        let days = daybook.client.days(&TenantId::new("HIST").unwrap()).await.unwrap().days;
        days.iter().any(|day| day.date >= date(now) && day.day == DayState::Open).then_some(())
    })
    .await;
    click(&daybook, "HIST", now).await;
    assert_eq!(clicks(&daybook, "HIST", first_day, date(now)).await, "4");
    let past = spec("HIST", "Etc/UTC", 0, first_day, "past");
    assert!(redefine(&daybook, &past).await.unwrap_err().contains("may only change to `system`"));
}
