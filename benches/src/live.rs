//! Freshness and answers while events come at a fixed rate.

use crate::hops::{self, Echoes};
use crate::load::Load;
use crate::probe::Probe;
use crate::report::{Report, per_second, percentiles};
use crate::system::{System, outgoing};
use crate::work::orders;
use daybook::client::Client;
use daybook_contracts::ask::{DaySelector, Query};
use daybook_domain::ids::TenantId;
use std::time::{Duration, Instant};

/// Settings of `live`.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Events a second; several, one after the other
    #[arg(long, value_delimiter = ',', default_value = "20000")]
    pub rate: Vec<usize>,
    /// Seconds of each
    #[arg(long, default_value_t = 20)]
    pub seconds: usize,
    /// Events a message; several, one after the other
    #[arg(long, value_delimiter = ',', default_value = "100,1")]
    pub together: Vec<usize>,
}

/// Between an answer and the next question of the same asker.
const ASK_AGAIN: Duration = Duration::from_millis(2);

/// # Errors
/// When something does not start.
pub async fn run(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    for together in &options.together {
        for rate in &options.rate {
            measure(*rate, options.seconds, *together, report).await?;
        }
    }
    Ok(())
}

async fn measure(rate: usize, seconds: usize, together: usize, report: &mut Report) -> anyhow::Result<()> {
    let work = orders::orders("orders", rate * seconds, 1_000);
    let messages = outgoing(&work, together, orders::DIMENSIONS, orders::MEASURES);
    let system = System::start().await?;
    system.define(&work).await?;
    let (producer, prober, reader) = (system.connect().await?, system.connect().await?, system.connect().await?);
    let day = DaySelector::Date(work.first_day);
    let mut probe = Probe::new(prober.connection, work.tenants[7].clone());
    let began = Instant::now();
    let until = began + Duration::from_secs(seconds as u64);
    let load = Load::start(producer.connection, messages, rate);
    // Tasks of their own: none of them waits for another.
    let probing = tokio::spawn(async move { probe.run(|| Instant::now() < until).await });
    let reading = tokio::spawn(read(reader, work.tenants.clone(), day, until));
    let _echoes = Echoes::begin(&system.connect().await?, &system.connect().await?).await?;
    let echo = hops::echo(&system.connect().await?, true, ASK_AGAIN, until).await?;
    load.finish().await?;
    let reached = per_second(work.events.len(), began.elapsed());
    let how = match together {
        1 => "one event a message".to_owned(),
        together => format!("batches of {together}"),
    };
    let rows = [
        ("publish to visible in a query", probing.await??),
        ("query of a tenant's day", reading.await?),
        ("an echo with a relay between, as query is", echo),
    ];
    for (what, mut times) in rows {
        let figures = [vec![("events/s", reached.clone())], percentiles(&mut times)].concat();
        report.row(&format!("{what}, {} events/s, {how}", daybook::table::count(rate as u64)), &figures);
    }
    system.stop().await;
    Ok(())
}

/// Asks for the day of one tenant after the other.
async fn read(reader: Client, tenants: Vec<TenantId>, day: DaySelector, until: Instant) -> Vec<Duration> {
    let mut times = Vec::new();
    let mut tenants = tenants.iter().cycle();
    while Instant::now() < until {
        let tenant = tenants.next().expect("it goes round");
        let query = Query { days: day.clone(), ..Query::default() };
        let began = Instant::now();
        // A tenant to whom nothing has happened yet has no such day, and is told so: that is no answer to be timed.
        if reader.query(tenant, orders::VIEW, &query).await.is_ok() {
            times.push(began.elapsed());
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
    times
}
