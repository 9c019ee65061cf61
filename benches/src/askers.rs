//! Many clients that ask as fast as they can, by NATS and by HTTP, while events come at a fixed rate. Beside them, in turn, the same
//! clients ask somebody who has nothing to think about: what the broker, the clients and the hops take in any case.

use crate::hops::{AT_ONCE, Prompters, RELAYED};
use crate::load::Load;
use crate::reading::{Asked, Scene, SceneOptions, What};
use crate::report::{Report, percentiles};
use crate::system::System;
use anyhow::Context as _;
use bytes::Bytes;
use daybook::client::Client;
use daybook::table::count;
use daybook_contracts::ask::{Answer, AskError, AskErrorCode};
use daybook_random::Random;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// Settings of `askers`.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Events a second meanwhile: one half orders, the other points of the games; 0 for none
    #[arg(long, default_value_t = 20_000)]
    pub rate: usize,
    /// Seconds of each
    #[arg(long, default_value_t = 5)]
    pub seconds: usize,
    /// How often each is measured, in turn
    #[arg(long, default_value_t = 3)]
    pub rounds: usize,
    #[command(flatten)]
    pub scene: SceneOptions,
    /// Only days of tenants are asked for, not ranges and rankings
    #[arg(long)]
    pub days_only: bool,
}

/// Answers that are given once more by whoever has nothing to think about.
const PROMPTED: usize = 256;
/// Between two phases.
const REST: Duration = Duration::from_millis(300);
/// Seconds of events beyond those of the phases.
const SLACK: usize = 30;

/// Whom the clients ask.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whom {
    Nobody,
    AtOnce,
    Relayed,
    ByNats,
    ByHttp,
}

impl Whom {
    const ALL: [(Self, &'static str); 5] = [
        (Self::Nobody, "publishing alone"),
        (Self::AtOnce, "somebody with nothing to think about"),
        (Self::Relayed, "the same, with a relay between, as query is"),
        (Self::ByNats, "Daybook by NATS"),
        (Self::ByHttp, "Daybook by HTTP"),
    ];
}

/// # Errors
/// When something does not start, or answers are wrong.
pub async fn run(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let door = gateway::DoorOptions::default();
    let http = gateway::Options { listen: "127.0.0.1:0".to_owned(), door };
    let system = System::start_with(|settings| settings.gateway = Some(http)).await?;
    let events = options.rate * (options.seconds * options.rounds * Whom::ALL.len() + SLACK);
    let scene = Scene::set(&system, &options.scene, events).await?;
    let what = if options.days_only { What::Day } else { What::Mixed };
    let _prompters = prompters(&system, &scene.asked, what).await?;
    let clients = clients(&system, &scene.asked, what, options).await?;
    let load =
        (options.rate > 0).then(|| Load::start_apart(system.broker_options(), scene.messages.clone(), options.rate));
    tokio::time::sleep(Duration::from_secs(1)).await;
    for round in 1..=options.rounds {
        for (whom, name) in Whom::ALL {
            tokio::time::sleep(REST).await;
            let phase = Duration::from_secs(options.seconds as u64);
            let figures = measure(&system, load.as_ref(), &clients, whom, phase).await?;
            report.row(&format!("{name}, round {round}"), &figures);
        }
    }
    let sent = match load {
        Some(load) => {
            anyhow::ensure!(!load.is_over(), "there were too few events");
            load.end().await?
        }
        None => 0,
    };
    scene.check(&system, sent).await?;
    system.stop().await;
    Ok(())
}

/// Those who say what Daybook said to as many questions of the same mixture.
async fn prompters(system: &System, asked: &Asked, what: What) -> anyhow::Result<Prompters> {
    let (reader, mut random) = (system.connect().await?, Random::new(5));
    let mut answers = Vec::new();
    for n in 0..PROMPTED {
        let (tenant, view, query) = asked.question(what, n, &mut random);
        let subject = reader.connection.subjects.query(tenant.as_str(), view);
        let reply = reader.connection.client.request(subject, serde_json::to_vec(&query)?.into()).await?;
        // A tenant to whom nothing has happened today yet has no such day.
        if serde_json::from_slice::<Answer>(&reply.payload).is_ok() {
            answers.push(reply.payload);
        }
    }
    let bytes: usize = answers.iter().map(Bytes::len).sum();
    eprintln!("answers of {} bytes on average", bytes / answers.len().max(1));
    Prompters::begin(&system.connect().await?, &system.connect().await?, answers).await
}

/// One that asks: by NATS or by HTTP, on connections of its own.
#[derive(Clone)]
struct Asker {
    nats: Client,
    /// Where the gateway is.
    http: String,
    asked: Arc<Asked>,
    what: What,
    seed: u64,
}

async fn clients(system: &System, asked: &Arc<Asked>, what: What, options: &Options) -> anyhow::Result<Vec<Asker>> {
    let address = system.http().context("there is a gateway")?;
    let mut clients = Vec::with_capacity(options.scene.clients);
    for seed in 0..options.scene.clients as u64 {
        let (nats, http) = (system.connect().await?, address.to_owned());
        clients.push(Asker { nats, http, asked: asked.clone(), what, seed });
    }
    Ok(clients)
}

async fn measure(
    system: &System,
    load: Option<&Load>,
    clients: &[Asker],
    whom: Whom,
    phase: Duration,
) -> anyhow::Result<Vec<(&'static str, String)>> {
    let events = || load.map_or(0, Load::events);
    let (began, before) = (Instant::now(), events());
    let (all, broker) = (system.processor_time()?, system.broker_time()?);
    let (mut times, mut refused) = (Vec::new(), 0);
    if whom == Whom::Nobody {
        tokio::time::sleep(phase).await;
    } else {
        let until = began + phase;
        let tasks: Vec<_> = clients.iter().cloned().map(|asker| tokio::spawn(asker.ask(whom, until))).collect();
        for task in tasks {
            let (of_one, refused_of_one) = task.await??;
            times.extend(of_one);
            refused += refused_of_one;
        }
    }
    let took = began.elapsed().as_secs_f64();
    let (all, broker) = (system.processor_time()? - all, system.broker_time()? - broker);
    let a_second = |n: usize| count((n as f64 / took) as u64);
    let each = |time: Duration| format!("{:.1}", time.as_micros() as f64 / times.len().max(1) as f64);
    let mut figures = vec![("events/s", a_second(events() - before))];
    if whom != Whom::Nobody {
        figures.extend([
            ("answers/s", a_second(times.len())),
            ("processor µs each", each(all)),
            ("of the broker", each(broker)),
            ("refused", refused.to_string()),
        ]);
        figures.extend(percentiles(&mut times));
    }
    Ok(figures)
}

impl Asker {
    /// How long each answer took, and how many questions were refused.
    async fn ask(self, whom: Whom, until: Instant) -> anyhow::Result<(Vec<Duration>, usize)> {
        let mut random = Random::new(self.seed);
        let (mut times, mut refused) = (Vec::new(), 0);
        let mut http = match whom {
            Whom::ByHttp => Some(BufReader::new(TcpStream::connect(&self.http).await?)),
            _ => None,
        };
        for n in self.seed as usize.. {
            if Instant::now() >= until {
                break;
            }
            let (tenant, view, query) = self.asked.question(self.what, n, &mut random);
            let began = Instant::now();
            let answered = match whom {
                Whom::Nobody => break,
                Whom::ByNats => self.nats.query(tenant, view, &query).await,
                Whom::AtOnce => self.prompted(AT_ONCE, &query).await,
                Whom::Relayed => self.prompted(RELAYED, &query).await,
                Whom::ByHttp => {
                    let stream = http.as_mut().context("it is connected")?;
                    by_http(stream, tenant.as_str(), view, &query).await
                }
            };
            match answered {
                Ok(_) => times.push(began.elapsed()),
                Err(error) if error.code.number() == 429 => refused += 1,
                Err(error) => anyhow::bail!("{tenant}: {error}"),
            }
        }
        Ok((times, refused))
    }

    async fn prompted(&self, subject: &'static str, query: &impl serde::Serialize) -> Result<Answer, AskError> {
        let question = serde_json::to_vec(query).map_err(internal)?;
        let reply = self.nats.connection.client.request(subject, question.into()).await.map_err(internal)?;
        serde_json::from_slice(&reply.payload).map_err(internal)
    }
}

async fn by_http(
    stream: &mut BufReader<TcpStream>,
    tenant: &str,
    view: &str,
    query: &impl serde::Serialize,
) -> Result<Answer, AskError> {
    let question = serde_json::to_string(query).map_err(internal)?;
    let request = format!(
        "POST /v1/tenants/{tenant}/views/{view} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n\
         Accept: application/json\r\nContent-Length: {}\r\n\r\n{question}",
        question.len()
    );
    stream.write_all(request.as_bytes()).await.map_err(internal)?;
    let (status, body) = read_response(stream).await.map_err(internal)?;
    match status {
        200 => serde_json::from_slice(&body).map_err(internal),
        429 => Err(AskError::new(AskErrorCode::Busy, String::from_utf8_lossy(&body))),
        _ => Err(internal(String::from_utf8_lossy(&body))),
    }
}

/// The status of the next response, and its body of a told length.
async fn read_response(stream: &mut BufReader<TcpStream>) -> std::io::Result<(u16, Vec<u8>)> {
    let (mut line, mut status, mut length) = (String::new(), 0, 0);
    loop {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let told = line.trim_end();
        if told.is_empty() {
            break;
        }
        if let Some(rest) = told.strip_prefix("HTTP/1.1 ") {
            status = rest.get(..3).and_then(|code| code.parse().ok()).unwrap_or_default();
        } else if let Some((name, value)) = told.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap_or_default();
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok((status, body))
}

fn internal(error: impl ToString) -> AskError {
    AskError::new(AskErrorCode::Internal, error.to_string())
}
