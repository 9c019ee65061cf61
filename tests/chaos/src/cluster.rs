//! Three brokers, each of which reaches the other two through links that can be cut.

use crate::link::Link;
use crate::tenants::HOSTILE;
use anyhow::Context as _;
use async_nats::jetstream::Context as JetStream;
use daybook_broker::{Broker, ClusterOptions, Options, ServerSettings};
use daybook_contracts::subjects::Subjects;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How many there are, and how many copies of each stream.
pub const NODES: usize = 3;
/// How long three brokers may take to be level again.
const LEVEL_LIMIT: Duration = Duration::from_secs(60);
/// How long a broker may take to find its streams, on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(30);
/// Below those that Linux gives to connections.
const PORTS: Range<u16> = 20_000..32_000;

/// The brokers and what lies between them.
pub struct Cluster {
    pub brokers: Vec<Broker>,
    /// Who dials, who is dialled, and through what.
    links: Vec<(usize, usize, Link)>,
    /// Where brokers are told to find each other, in vain: they know each other from their settings, and hearsay would
    /// lead them around the links.
    _nowhere: Link,
}

impl Cluster {
    /// Starts the brokers in `folder`.
    ///
    /// # Errors
    /// When one of them does not start.
    pub async fn start(folder: &Path) -> anyhow::Result<Self> {
        let find = tokio::task::spawn_blocking(|| daybook_broker::locate(None, &|progress| eprintln!("{progress}")));
        let binary = find.await.context("looking for nats-server")??;
        let ports = free_ports()?;
        let nowhere = Link::new(local(ports[0])).await?;
        nowhere.cut();
        let mut links = Vec::new();
        for from in 0..NODES {
            for to in (0..NODES).filter(|to| *to != from) {
                links.push((from, to, Link::new(local(ports[to])).await?));
            }
        }
        let mut brokers = Vec::new();
        for (node, port) in ports.into_iter().enumerate() {
            let dialled = links.iter().filter(|(from, ..)| *from == node);
            let cluster = ClusterOptions {
                name: "chaos".to_owned(),
                server_name: format!("broker-{}", node + 1),
                port,
                routes: dialled.map(|(.., link)| format!("nats://{}", link.address)).collect(),
                advertise: Some(nowhere.address.to_string()),
            };
            let options = Options {
                cluster: Some(cluster),
                start_timeout: START_LIMIT,
                // Whoever gives no name is of the services' account.
                settings: ServerSettings(daybook_tests::accounts::accounts(&[HOSTILE])),
                ..Options::new(&binary, folder.join(format!("broker-{}", node + 1)))
            };
            brokers.push(Broker::start(options).await?);
        }
        Ok(Self { brokers, links, _nowhere: nowhere })
    }

    /// All of them, as services are told.
    pub fn urls(&self) -> String {
        self.brokers.iter().map(Broker::client_url).collect::<Vec<_>>().join(",")
    }

    /// Cuts a broker off from the other two.
    pub fn cut_off(&self, node: usize) {
        self.links.iter().filter(|(from, to, _)| *from == node || *to == node).for_each(|(.., link)| link.cut());
    }

    /// Mends every link.
    pub fn mend(&self) {
        self.links.iter().for_each(|(.., link)| link.mend());
    }
}

/// Waits until every copy of every stream is level with its leader: then any broker may go.
///
/// # Errors
/// When that takes longer than a minute.
pub async fn level(jetstream: &JetStream, subjects: &Subjects) -> anyhow::Result<()> {
    let streams = [
        subjects.inbox_stream(),
        subjects.events_stream(),
        subjects.days_stream(),
        subjects.catalog_stream(),
        subjects.clocks_stream(),
        subjects.reports_stream(),
        subjects.figures_stream(),
        subjects.rejects_stream(),
        subjects.alerts_stream(),
    ];
    let began = Instant::now();
    for name in streams {
        while !is_level(jetstream, &name).await {
            anyhow::ensure!(began.elapsed() < LEVEL_LIMIT, "the copies of {name} are not level after {LEVEL_LIMIT:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    Ok(())
}

async fn is_level(jetstream: &JetStream, stream: &str) -> bool {
    let Ok(stream) = jetstream.get_stream(stream).await else { return false };
    let Some(cluster) = &stream.cached_info().cluster else { return false };
    let copies = cluster.replicas.iter().filter(|replica| replica.current && !replica.offline).count();
    cluster.leader.is_some() && copies == NODES - 1
}

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// Ports that nobody has, of those that are given to nobody who does not ask for them: a connection that is made while a broker
/// is down must not get its port. All are held until all are known, so that they differ.
fn free_ports() -> anyhow::Result<[u16; NODES]> {
    let bind = |port| std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok();
    // Where to begin differs between runs that go on at the same time, and between clusters of one run.
    static CLUSTERS: AtomicUsize = AtomicUsize::new(0);
    let cluster = CLUSTERS.fetch_add(1, Ordering::Relaxed) * PORTS.len() / 8;
    let begin = ((std::process::id() as usize).wrapping_mul(NODES) + cluster) % PORTS.len();
    let held: Vec<_> = PORTS.cycle().skip(begin).take(PORTS.len()).filter_map(bind).take(NODES).collect();
    anyhow::ensure!(held.len() == NODES, "no ports for brokers in {PORTS:?}");
    let mut ports = [0; NODES];
    for (port, listener) in ports.iter_mut().zip(&held) {
        *port = listener.local_addr()?.port();
    }
    Ok(ports)
}
