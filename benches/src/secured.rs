//! What accounts and TLS cost: the same events and questions on an open broker, and on one that `daybook nats config` has
//! configured with an account for each tenant and TLS, in turn.

use crate::load::Load;
use crate::probe::Probe;
use crate::report::{Report, per_second, percentile};
use crate::services::{self, Services};
use crate::system::{INBOX_MAX_BYTES, Outgoing, define, outgoing, publish};
use crate::timing::median;
use crate::work::{Work, orders};
use anyhow::Context as _;
use daybook::client::Client;
use daybook_domain::ids::TenantId;
use daybook_runtime::connection::{BrokerOptions, Connection, NatsOptions, connect};
use daybook_tests::installation::{AccessDirectory, ConfiguredServer, free_port};
use futures::future::try_join_all;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Settings of `secured`.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Events in batches of a hundred
    #[arg(long, default_value_t = 1_000_000)]
    pub events: usize,
    /// Events of one a message
    #[arg(long, default_value_t = 100_000)]
    pub single: usize,
    /// Tenants, each with a connection of its own
    #[arg(long, default_value_t = 20)]
    pub tenants: usize,
    /// Events a second while freshness is measured
    #[arg(long, default_value_t = 20_000)]
    pub rate: usize,
    /// Seconds of that
    #[arg(long, default_value_t = 10)]
    pub seconds: usize,
    /// How often each is measured in turn; the median counts
    #[arg(long, default_value_t = 3)]
    pub rounds: usize,
}

/// How clients and services get to the broker.
#[derive(Clone, Copy)]
enum Door {
    Open,
    Secured,
}

/// # Errors
/// When something does not start.
pub async fn run(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    for (name, events, together) in
        [("batches of 100", options.events, 100), ("one event a message", options.single, 1)]
    {
        let work = orders::orders("orders", events, options.tenants);
        let whole = in_turn(options.rounds, async |door| durable(door, &work, together).await).await?;
        let alone = in_turn(options.rounds, async |door| acknowledged(door, &work, together).await).await?;
        for (what, times) in [("durable", whole), ("the broker alone", alone)] {
            let [open, secured] = times.map(|mut times| median(&mut times));
            report.row(
                &format!("{what}, {name}"),
                &[
                    ("open", per_second(events, open)),
                    ("accounts and TLS", per_second(events, secured)),
                    ("ratio", format!("{:.2}", open.as_secs_f64() / secured.as_secs_f64())),
                ],
            );
        }
    }
    let work = orders::orders("orders", options.rate * options.seconds, options.tenants);
    let rounds = in_turn(options.rounds, async |door| freshness(door, &work, options.rate).await).await?;
    for share in [0.5, 0.99] {
        let at = |times: &Vec<Duration>| percentile(times, share).unwrap_or_default();
        let [open, secured] = rounds.each_ref().map(|rounds| median(&mut rounds.iter().map(at).collect::<Vec<_>>()));
        let shown = |time: Duration| format!("{:.2} ms", time.as_secs_f64() * 1_000.0);
        report.row(
            &format!("publish to visible in a query, p{:.0}, {} events/s", share * 100.0, options.rate),
            &[
                ("open", shown(open)),
                ("accounts and TLS", shown(secured)),
                ("ratio", format!("{:.2}", secured.as_secs_f64() / open.as_secs_f64())),
            ],
        );
    }
    Ok(())
}

/// What each door makes of a measurement, round after round in turn.
async fn in_turn<T>(rounds: usize, measure: impl AsyncFn(Door) -> anyhow::Result<T>) -> anyhow::Result<[Vec<T>; 2]> {
    let (mut open, mut secured) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        open.push(measure(Door::Open).await?);
        secured.push(measure(Door::Secured).await?);
    }
    Ok([open, secured])
}

/// From the first publish of all tenants at once until every figure rests on the last.
async fn durable(door: Door, work: &Work, together: usize) -> anyhow::Result<Duration> {
    let place = Place::start(door, &work.tenants).await?;
    define(&place.operator, work).await?;
    let messages = outgoing(work, together, orders::DIMENSIONS, orders::MEASURES);
    let tenants = place.server.clients(work).await?;
    let began = Instant::now();
    publish_all(&tenants, &messages).await?;
    place.operator.settle().await?;
    let took = began.elapsed();
    place.stop().await;
    Ok(took)
}

/// From the first publish of all tenants at once until the broker has acknowledged the last, with no service running.
async fn acknowledged(door: Door, work: &Work, together: usize) -> anyhow::Result<Duration> {
    let Place { services, operator, server } = Place::start(door, &work.tenants).await?;
    services.stop().await;
    let messages = outgoing(work, together, orders::DIMENSIONS, orders::MEASURES);
    let tenants = server.clients(work).await?;
    let began = Instant::now();
    publish_all(&tenants, &messages).await?;
    let took = began.elapsed();
    drop((operator, server));
    Ok(took)
}

async fn publish_all(tenants: &[TenantClient], messages: &[Outgoing]) -> anyhow::Result<()> {
    let shares: Vec<Vec<Outgoing>> = tenants.iter().map(|tenant| of_tenant(messages, &tenant.id)).collect();
    try_join_all(tenants.iter().zip(&shares).map(|(tenant, share)| publish(&tenant.connection.jetstream, share)))
        .await?;
    Ok(())
}

/// How long one tenant's order takes to be seen in an answer to that tenant, while the others publish. Sorted.
async fn freshness(door: Door, work: &Work, rate: usize) -> anyhow::Result<Vec<Duration>> {
    let place = Place::start(door, &work.tenants).await?;
    define(&place.operator, work).await?;
    let messages = outgoing(work, 100, orders::DIMENSIONS, orders::MEASURES);
    let mut tenants = place.server.clients(work).await?;
    let probed = tenants.pop().context("there are no tenants")?;
    let all: usize = tenants.iter().map(|tenant| events(&of_tenant(&messages, &tenant.id))).sum();
    let loads = tenants.into_iter().map(|tenant| {
        let share = of_tenant(&messages, &tenant.id);
        // Each its share of the rate, so that all end at the same time.
        let rate = (rate * events(&share) / all).max(1);
        Load::start(tenant.connection, share, rate)
    });
    let loads: Vec<Load> = loads.collect();
    let mut probe = Probe::new(probed.connection, probed.id);
    let mut times = probe.run(|| loads.iter().any(|load| !load.is_over())).await?;
    for load in loads {
        load.finish().await?;
    }
    place.stop().await;
    times.sort_unstable();
    Ok(times)
}

fn of_tenant(messages: &[Outgoing], tenant: &TenantId) -> Vec<Outgoing> {
    let token = format!(".{tenant}.");
    messages.iter().filter(|message| message.subject.contains(&token)).cloned().collect()
}

fn events(messages: &[Outgoing]) -> usize {
    messages.iter().map(|message| message.events).sum()
}

/// A tenant's client.
struct TenantClient {
    id: TenantId,
    connection: Connection,
}

/// A whole Daybook behind one of the doors.
struct Place {
    // Dropped in this order.
    services: Services,
    operator: Client,
    server: Server,
}

enum Server {
    Open { broker: daybook_broker::Broker, _folder: TempDir },
    Secured { server: ConfiguredServer, access: AccessDirectory, tokens: Vec<PathBuf> },
}

impl Place {
    async fn start(door: Door, tenants: &[TenantId]) -> anyhow::Result<Self> {
        let server = match door {
            Door::Open => {
                let (broker, folder) = crate::system::broker().await?;
                Server::Open { broker, _folder: folder }
            }
            Door::Secured => Server::secured(tenants).await,
        };
        let data = tempfile::tempdir()?;
        let services = Services::start(|name| server.identity(name), data).await?;
        let operator = Client::connect(&server.identity("operator")).await?;
        Ok(Self { services, operator, server })
    }

    async fn stop(self) {
        self.services.stop().await;
    }
}

impl Server {
    /// With accounts in the servers' file and a certificate of its own making.
    async fn secured(tenants: &[TenantId]) -> Self {
        let access = AccessDirectory { folder: tempfile::tempdir().expect("a temporary folder") };
        let yaml = tenants.iter().map(|id| format!("  - {{ id: {id}, zone: Etc/UTC, cutoff: \"00:00\" }}\n"));
        let definitions = access.definitions("tenants.yaml", &format!("tenants:\n{}", yaml.collect::<String>()));
        let address = format!("nats-1=127.0.0.1:{}", free_port());
        let inbox = INBOX_MAX_BYTES.to_string();
        access.configure(&[
            "--self-signed",
            "127.0.0.1",
            "--listen",
            "127.0.0.1",
            "--server",
            &address,
            "--tenants",
            &definitions,
            "--inbox-max-bytes",
            &inbox,
        ]);
        let tokens = tenants.iter().map(|id| access.create_token(&[id.as_str()])).collect();
        let server =
            ConfiguredServer::start(access.file("servers/nats-1.conf"), &access.folder.path().join("run")).await;
        Self::Secured { server, access, tokens }
    }

    /// A client of each tenant of a work.
    async fn clients(&self, work: &Work) -> anyhow::Result<Vec<TenantClient>> {
        let connect = work.tenants.iter().enumerate().map(async |(number, id)| {
            let connection = connect(&self.tenant(number), "bench").await?;
            anyhow::Ok(TenantClient { id: id.clone(), connection })
        });
        try_join_all(connect).await
    }

    /// As a service or the operator connects.
    fn identity(&self, name: &str) -> BrokerOptions {
        match self {
            Self::Open { broker, .. } => services::at(NatsOptions::at(broker.client_url())),
            Self::Secured { server, access, .. } => services::at(encrypted(access.identity(name, &server.url), access)),
        }
    }

    /// As a tenant connects.
    fn tenant(&self, number: usize) -> BrokerOptions {
        match self {
            Self::Open { broker, .. } => services::at(NatsOptions::at(broker.client_url())),
            Self::Secured { server, access, tokens } => {
                let token = NatsOptions { nats_nkey: Some(tokens[number].clone()), ..NatsOptions::at(&server.url) };
                services::at(encrypted(token, access))
            }
        }
    }
}

fn encrypted(nats: NatsOptions, access: &AccessDirectory) -> NatsOptions {
    NatsOptions { nats_ca: Some(access.file("servers/tls/ca.pem")), ..nats }
}
