//! Servers without guards: one account for everybody, with a user for each way to leave a guard out.

use crate::attack::{EVIL, FORGED, VICTIM, Without};
use crate::sight::Sight;
use async_nats::HeaderMap;
use async_nats::jetstream::{consumer, object_store, stream};
use daybook_access::tenants::{self, Publishable};
use daybook_broker::ServerSettings;
use daybook_contracts::subjects::Subjects;
use daybook_domain::ids::TenantId;
use daybook_runtime::connection::{BrokerOptions, Connection};
use daybook_runtime::joining::connect_service;
use daybook_tests::PrivateBroker;
use daybook_tests::orders::order;
use daybook_tests::wire::Login;

/// Bytes and messages of a kind that the small INBOX of these servers takes.
const SMALL_INBOX: (i64, i64) = (1 << 20, 64);

/// Gives a stream other options.
type Change = fn(&mut stream::Config);

/// A server with the streams of a Daybook, and a little in each of them, and nobody who reads them.
pub(crate) struct Unguarded {
    pub(crate) broker: PrivateBroker,
    pub(crate) sight: Sight,
}

/// Accounts: whoever gives no name is a service.
pub(crate) fn settings() -> ServerSettings {
    let subjects = Subjects::new("daybook").unwrap();
    let kinds = ["order", "click"].map(|kind| kind.parse().unwrap());
    let permitted = tenants::permissions(&subjects, &TenantId::new(EVIL).unwrap(), &Publishable::Kinds(kinds.into()))
        .publish([format!("$JS.API.DIRECT.GET.DAYBOOK_REPORTS.daybook.reports.{EVIL}.*")]);
    ServerSettings(format!(
        "no_auth_user: services\nsystem_account: SYS\naccounts {{\n  SYS {{ users: [{{ user: system, password: system }}] }}\n  \
         DAYBOOK {{\n    jetstream: enabled\n    users: [\n      {{ user: services, password: services }}\n      \
         {{ user: anyone, password: anyone }}\n      {{ user: tenant, password: tenant, permissions: {{\n        \
         publish: {{ allow: {:?} }}, subscribe: {{ allow: {:?} }} }} }}\n    ]\n  }}\n}}\n",
        permitted.publish, permitted.subscribe
    ))
}

/// A user of such a server.
pub(crate) fn user(name: &str) -> Login {
    Login::Password(name.to_owned(), name.to_owned())
}

/// The user that the attacker is where this guard is left out.
pub(crate) fn attacker(without: Without) -> Login {
    user(match without {
        Without::Accounts | Without::Option(..) => "tenant",
        Without::Permissions | Without::OpenDaybook => "anyone",
        Without::System => "system",
    })
}

pub(crate) async fn start_broker() -> PrivateBroker {
    PrivateBroker::start_with(tempfile::tempdir().unwrap(), |options| options.settings = settings()).await
}

impl Unguarded {
    /// Starts a server whose streams are those that services make, but for `change` to one of them.
    pub(crate) async fn start(change: Option<(&str, Change)>) -> Self {
        let broker = start_broker().await;
        let (inbox_max_bytes, inbox_max_messages_per_kind) = SMALL_INBOX;
        let options = BrokerOptions { inbox_max_bytes, inbox_max_messages_per_kind, ..broker.options() };
        let connection = connect_service(&options, "attacks").await.unwrap();
        let jetstream = &connection.jetstream;
        if let Some((stream, change)) = change {
            let name = Sight::name(stream);
            let mut config = jetstream.get_stream(&name).await.unwrap().cached_info().config.clone();
            change(&mut config);
            // Some options are given once.
            jetstream.delete_stream(&name).await.unwrap();
            jetstream.create_stream(config).await.unwrap_or_else(|error| panic!("{name} with another option: {error}"));
        }
        fill(&connection).await;
        Self { broker, sight: Sight::new(connection.client) }
    }

    pub(crate) fn url(&self) -> &str {
        self.broker.broker.client_url()
    }
}

/// Makes what other services make, and puts a message where attackers look for one.
async fn fill(connection: &Connection) {
    let (jetstream, subjects) = (&connection.jetstream, &connection.subjects);
    let access = stream::Config {
        name: subjects.access_stream(),
        subjects: vec![subjects.every_access()],
        ..Default::default()
    };
    jetstream.create_stream(access).await.unwrap();
    let bucket = object_store::Config { bucket: subjects.checkpoints_bucket(), ..Default::default() };
    jetstream.create_object_store(bucket).await.unwrap();
    for subject in [
        "daybook.reports.acme.2024-03-01",
        "daybook.figures.acme.2024-03-01.orders",
        "daybook.rejects.acme",
        "daybook.alerts.acme",
        "daybook.clocks.shop",
        "daybook.days.acme.opened",
        "daybook.access.revoked.acme",
        "daybook.events.0",
    ] {
        put(connection, subject, HeaderMap::new(), "of a service").await;
    }
    let mut headers = HeaderMap::new();
    headers.insert("Daybook-Hash", FORGED);
    put(connection, &format!("daybook.reports.{EVIL}.2024-03-01"), headers, "the attacker's own").await;
    let inbox = jetstream.get_stream(subjects.inbox_stream()).await.unwrap();
    // A stream of counters takes no events.
    let events = if inbox.cached_info().config.allow_message_counter { 0 } else { 3 };
    for number in 0..events {
        let order = order(&format!("o-{number}")).to_string();
        put(connection, &subjects.input(VICTIM, "order"), HeaderMap::new(), &order).await;
    }
    let reader = consumer::pull::Config { durable_name: Some("reader".to_owned()), ..Default::default() };
    jetstream.create_consumer_on_stream(reader, subjects.reports_stream()).await.unwrap();
}

async fn put(connection: &Connection, subject: &str, headers: HeaderMap, payload: &str) {
    let sent = connection.jetstream.publish_with_headers(subject.to_owned(), headers, payload.to_owned().into()).await;
    sent.unwrap().await.unwrap_or_else(|error| panic!("{subject}: {error}"));
}
