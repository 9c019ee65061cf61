//! Live feeds with very many subscribers over a few connections: what the broker fans out, what the shard pays.

use crate::load::Load;
use crate::process::Process;
use crate::report::{Report, percentiles};
use crate::subscribers::{Seen, Subscribers};
use crate::system::{System, outgoing, publish};
use crate::work::{Work, orders};
use daybook::client::Client;
use daybook::table::count;
use daybook_contracts::ask::Query;
use daybook_contracts::live::RENEW_AFTER;
use daybook_domain::ids::TenantId;
use std::time::{Duration, Instant};

/// Settings of `listeners`.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Subscribers of live feeds
    #[arg(long, default_value_t = 100_000)]
    pub listeners: usize,
    /// Tenants, each with a view that is watched
    #[arg(long, default_value_t = 1_000)]
    pub tenants: usize,
    /// Connections over which they listen
    #[arg(long, default_value_t = 4)]
    pub connections: usize,
    /// Events a second
    #[arg(long, default_value_t = 2_000)]
    pub rate: usize,
    /// Events a message
    #[arg(long, default_value_t = 1)]
    pub together: usize,
    /// Seconds of each number of listeners
    #[arg(long, default_value_t = 10)]
    pub seconds: usize,
}

/// How long an event may take until everybody has seen it.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two events that are waited for.
const PAUSE: Duration = Duration::from_millis(50);
/// How long what is under way may take to arrive after the last event: some intervals of the feeds.
const SETTLE: Duration = Duration::from_secs(1);
/// Tenants to whom only those events happen that are waited for: then the next update of the feed is that event.
const PROBED: usize = 8;

/// # Errors
/// When something does not start, or an update does not reach everybody.
pub async fn run(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let system = System::with_shard_apart().await?;
    anyhow::ensure!(options.tenants > PROBED, "there must be more than {PROBED} tenants");
    let of = |events, tenants| {
        let spread = orders::Spread { tenants, first_day: 0, days: 1, ids: "o", is_even: false };
        orders::spread("orders", events, spread)
    };
    let work = of(options.rate * options.seconds, options.tenants - PROBED);
    let probed = (0..PROBED).map(|n| TenantId::new(&format!("probed-{n}")).expect("a plain id")).collect();
    let probed = Work { tenants: probed, ..of(20_000, PROBED) };
    let everybody = [work.tenants.clone(), probed.tenants.clone()].concat();
    system.define(&Work { tenants: everybody.clone(), ..work.without_events() }).await?;
    system.client.settle().await?;
    let feeds = everybody.len();
    // Nobody listens; each feed has a listener; all of them.
    for (round, listeners) in [0, feeds, options.listeners].into_iter().enumerate() {
        let round = Round { options, round, listeners, everybody: &everybody };
        round.measure(&system, &work, &probed, report).await?;
    }
    system.stop().await;
    Ok(())
}

struct Round<'a> {
    options: &'a Options,
    round: usize,
    listeners: usize,
    everybody: &'a [TenantId],
}

impl Round<'_> {
    async fn measure(&self, system: &System, work: &Work, probed: &Work, report: &mut Report) -> anyhow::Result<()> {
        let Self { options, listeners, .. } = *self;
        let subjects = &system.client.connection.subjects;
        let feeds: Vec<String> =
            self.everybody.iter().map(|tenant| subjects.live(tenant.as_str(), orders::VIEW)).collect();
        let probed_from = feeds.len() - probed.tenants.len();
        let began = Instant::now();
        let subscribers =
            Subscribers::start(system.broker.client_url(), &feeds, probed_from, listeners, options.connections)?;
        let subscribed = began.elapsed();
        let renewing = (listeners > 0).then(|| tokio::spawn(renew(system.client.clone(), self.everybody.to_vec())));
        if renewing.is_some() {
            watch_all(&system.client, self.everybody).await?;
        }
        let (shard, broker) = (system.shard().expect("it is apart"), Process(system.broker.pid().expect("it runs")));
        let messages = outgoing(&self.new_orders(work), options.together, orders::DIMENSIONS, orders::MEASURES);
        let prober = system.connect().await?;
        let (began, before) = (Instant::now(), [shard.processor_time()?, broker.processor_time()?]);
        let load = Load::start(system.connect().await?.connection, messages, options.rate);
        let mut times = match listeners {
            0 => Vec::new(),
            _ => probe(&prober, &self.new_orders(probed), &subscribers, self.expected_of_a_probe(), &load).await?,
        };
        load.finish().await?;
        let took = began.elapsed();
        let after = [shard.processor_time()?, broker.processor_time()?];
        tokio::time::sleep(SETTLE).await;
        if let Some(renewing) = renewing {
            renewing.abort();
        }
        let Seen { updates, messages, bytes } = subscribers.stop()?;
        if listeners.is_multiple_of(feeds.len().max(1)) && listeners > 0 {
            let each = (listeners / feeds.len()) as u64;
            anyhow::ensure!(
                messages == updates * each,
                "{updates} updates, {messages} messages to {each} listeners each"
            );
        }
        let a_second = |n: u64| count((n as f64 / took.as_secs_f64()) as u64);
        let share = |index: usize| {
            format!("{:.0} %", (after[index] - before[index]).as_secs_f64() / took.as_secs_f64() * 100.0)
        };
        let figures = [
            vec![
                ("events/s", a_second((options.rate * options.seconds) as u64)),
                ("updates/s", a_second(updates)),
                ("fanned out/s", a_second(messages)),
                ("MB/s", format!("{:.0}", bytes as f64 / took.as_secs_f64() / 1e6)),
                ("shard's processor", share(0)),
                ("broker's processor", share(1)),
                ("subscribing ms", subscribed.as_millis().to_string()),
            ],
            percentiles(&mut times),
        ];
        report.row(
            &format!("{} listeners to {} feeds", count(listeners as u64), count(feeds.len() as u64)),
            &figures.concat(),
        );
        Ok(())
    }

    /// Orders under ids that no other round has.
    fn new_orders(&self, work: &Work) -> Work {
        let mut events = work.events.clone();
        for (_, event) in &mut events {
            event.id = event.id.take().map(|id| compact_str::format_compact!("{}-{id}", self.round));
        }
        Work { events, ..work.without_events() }
    }

    /// How many listeners each probed feed has at least.
    fn expected_of_a_probe(&self) -> usize {
        self.listeners / self.everybody.len()
    }
}

/// Asks for every feed, which begins or prolongs it.
async fn watch_all(client: &Client, tenants: &[TenantId]) -> anyhow::Result<()> {
    for tenant in tenants {
        client.query(tenant, orders::VIEW, &Query { watch: true, ..Query::default() }).await?;
    }
    Ok(())
}

/// Prolongs every feed for as long as this runs, once for all of its listeners.
async fn renew(client: Client, tenants: Vec<TenantId>) -> anyhow::Result<()> {
    loop {
        tokio::time::sleep(RENEW_AFTER).await;
        watch_all(&client, &tenants).await?;
    }
}

/// Publishes an order now and then, and waits until all who listen to it have seen it: how long it took each of them.
async fn probe(
    prober: &Client,
    probed: &Work,
    subscribers: &Subscribers,
    listeners: usize,
    load: &Load,
) -> anyhow::Result<Vec<Duration>> {
    let mut times = Vec::new();
    for (tenant, event) in probed.events.iter().filter(|(_, event)| event.version == Some(1)) {
        if load.is_over() {
            break;
        }
        let one = Work { events: vec![(*tenant, event.clone())], ..probed.without_events() };
        let message = outgoing(&one, 1, orders::DIMENSIONS, orders::MEASURES);
        let began = Instant::now();
        publish(&prober.connection.jetstream, &message).await?;
        let mut seen = Vec::new();
        while seen.len() < listeners {
            anyhow::ensure!(began.elapsed() < PATIENCE, "{} of {listeners} listeners saw an event", seen.len());
            tokio::time::sleep(Duration::from_millis(5)).await;
            seen.extend(subscribers.take_probed());
        }
        times.extend(seen.into_iter().map(|at| at.saturating_duration_since(began)));
        tokio::time::sleep(PAUSE).await;
    }
    Ok(times)
}
