//! Answers while events come at a fixed rate: days, ranges, rankings, and many clients at once.

use crate::bare;
use crate::hops::{self, Echoes};
use crate::load::{Load, interleave};
use crate::report::{Report, percentiles};
use crate::system::{Outgoing, System, outgoing, publish};
use crate::work::{Work, game, orders};
use daybook::client::Client;
use daybook::table::count;
use daybook_contracts::ask::{AskError, DaySelector, Query, RankQuery};
use daybook_contracts::report::{Figure, Row};
use daybook_domain::ids::TenantId;
use daybook_domain::time::Date;
use daybook_random::Random;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Settings of `reading`.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Events a second meanwhile: one half orders, the other points of the games
    #[arg(long, default_value_t = 20_000)]
    pub rate: usize,
    /// Seconds of each question
    #[arg(long, default_value_t = 5)]
    pub seconds: usize,
    #[command(flatten)]
    pub scene: SceneOptions,
}

/// What is asked about, and by how many.
#[derive(Clone, Debug, clap::Args)]
pub struct SceneOptions {
    /// Tenants with orders
    #[arg(long, default_value_t = 1_000)]
    pub tenants: usize,
    /// Orders on the days before today
    #[arg(long, default_value_t = 600_000)]
    pub history: usize,
    /// Members of each game
    #[arg(long, value_delimiter = ',', default_value = "1000,100000,1000000")]
    pub members: Vec<usize>,
    /// Clients at once, each with a connection of its own
    #[arg(long, default_value_t = 500)]
    pub clients: usize,
}

/// Days of a range, the last of which is today.
const DAYS: i32 = 30;
/// Events a message.
const TOGETHER: usize = 100;
/// Members shown of a ranking: from so many to so many, in turn, so that no question is the one of a moment ago, which
/// would be answered without the shard.
const TOP: std::ops::Range<u32> = 10..40;
/// Between two questions of a client that does not ask as fast as it can.
const PAUSE: Duration = Duration::from_millis(500);
/// Seconds of events beyond those of the questions: connecting clients takes a while, and so do first questions.
const SLACK: usize = 60;
/// Members whose ranks are compared at the end, of each game.
const COMPARED: usize = 100;

/// What can be asked.
pub(crate) struct Asked {
    tenants: Vec<TenantId>,
    games: Vec<(TenantId, usize)>,
    range: DaySelector,
    today: DaySelector,
}

#[derive(Clone, Copy)]
pub(crate) enum What {
    Day,
    Range,
    /// Of this game.
    Top(usize),
    Rank(usize),
    /// Days mostly, each of the others now and then.
    Mixed,
}

impl Asked {
    /// The question `n` of somebody.
    pub(crate) fn question(&self, what: What, n: usize, random: &mut Random) -> (&TenantId, &'static str, Query) {
        match what {
            What::Day => (&self.tenants[n % self.tenants.len()], orders::VIEW, Query::days(self.today.clone())),
            What::Range => (&self.tenants[n % self.tenants.len()], orders::VIEW, Query::days(self.range.clone())),
            What::Top(game) => {
                let limit = TOP.start + n as u32 % (TOP.end - TOP.start);
                let query = Query { limit: Some(limit), ..Query::days(self.today.clone()) };
                (&self.games[game].0, game::VIEW, query)
            }
            What::Rank(game) => {
                let (tenant, members) = &self.games[game];
                (tenant, game::VIEW, self.rank(random.below(*members)))
            }
            What::Mixed => {
                let game = random.below(self.games.len());
                let what = [What::Day, What::Day, What::Day, What::Range, What::Top(game), What::Rank(game)];
                let what = *random.pick(&what);
                self.question(what, random.below(1 << 20), random)
            }
        }
    }

    fn rank(&self, member: usize) -> Query {
        let rank = RankQuery { member: Some(vec![Some(game::member_name(member))]), ..RankQuery::default() };
        Query { rank: Some(rank), ..Query::days(self.today.clone()) }
    }
}

/// Orders of many tenants on many days, and games; and more of both, to be published while questions are asked.
pub(crate) struct Scene {
    pub(crate) asked: Arc<Asked>,
    /// Orders, and points of the games, that were published before.
    before: [Work; 2],
    /// Those to come.
    coming: [Work; 2],
    pub(crate) messages: Vec<Outgoing>,
    today: Date,
    members: Vec<usize>,
}

impl Scene {
    /// Orders on the days before today, games today, and so many events to come.
    ///
    /// # Errors
    /// When the services do not take them.
    pub(crate) async fn set(system: &System, options: &SceneOptions, events: usize) -> anyhow::Result<Self> {
        let SceneOptions { tenants, history, ref members, .. } = *options;
        let spread = orders::Spread { tenants, first_day: 0, days: i64::from(DAYS - 1), ids: "o", is_even: false };
        let before = orders::spread("orders", history, spread);
        let today = before.first_day.plus(DAYS - 1);
        eprintln!("{} orders on {} days", count(history as u64), DAYS - 1);
        live_through(system, &before).await?;
        eprintln!("games of {members:?} members");
        let beginning = game::beginning(members, today);
        system.define(&beginning).await?;
        publish(&system.client.connection.jetstream, &messages_of_game(&beginning)).await?;
        system.client.settle().await?;

        let spread = orders::Spread { tenants, first_day: DAYS - 1, days: 1, ids: "n", is_even: false };
        let coming = [orders::spread("orders", events / 2, spread), game::going_on(members, today, events.div_ceil(2))];
        let messages = interleave(messages_of_orders(&coming[0]), messages_of_game(&coming[1]));
        let asked = Arc::new(Asked {
            tenants: before.tenants.clone(),
            games: beginning.tenants.iter().cloned().zip(members.iter().copied()).collect(),
            range: DaySelector::Range(before.first_day, today),
            today: DaySelector::Date(today),
        });
        Ok(Self { asked, before: [before, beginning], coming, messages, today, members: members.to_vec() })
    }

    /// Whether all figures are those of a plain recomputation, when so many of the messages were published.
    ///
    /// # Errors
    /// When they are not.
    pub(crate) async fn check(self, system: &System, sent: usize) -> anyhow::Result<()> {
        system.client.settle().await?;
        let sent = &self.messages[..sent];
        let [orders, games] = self.before;
        let orders = [orders, published(&self.coming[0], sent)];
        check_orders(system, &self.asked, &orders, self.today).await?;
        let games = [games, published(&self.coming[1], sent)];
        check_rankings(system, &self.asked, &games, &self.members).await
    }
}

/// # Errors
/// When something does not start, or answers are wrong.
pub async fn run(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let system = System::start().await?;
    let Options { rate, ref scene, .. } = *options;
    let phases = 7 + 2 * scene.members.len();
    let events = rate * (options.seconds * phases + SLACK);
    let scene = Scene::set(&system, scene, events).await?;
    let load = Load::start(system.connect().await?.connection, scene.messages.clone(), rate);
    measure(&system, &load, &scene.asked, options, report).await?;
    anyhow::ensure!(!load.is_over(), "there were too few events: some answers were measured without any");
    let sent = load.end().await?;
    scene.check(&system, sent).await?;
    system.stop().await;
    Ok(())
}

fn messages_of_orders(work: &Work) -> Vec<Outgoing> {
    outgoing(work, TOGETHER, orders::DIMENSIONS, orders::MEASURES)
}

fn messages_of_game(work: &Work) -> Vec<Outgoing> {
    outgoing(work, TOGETHER, game::DIMENSIONS, game::MEASURES)
}

/// Publishes a work day by day, each of which is closed before the next; then opens the day behind the last.
async fn live_through(system: &System, work: &Work) -> anyhow::Result<()> {
    system.define(work).await?;
    let per_day = work.events.len().div_ceil(DAYS as usize - 1);
    for (events, next) in work.events.chunks(per_day).zip(1..) {
        let of_day = Work { events: events.to_vec(), ..work.without_events() };
        publish(&system.client.connection.jetstream, &messages_of_orders(&of_day)).await?;
        system.open(work.first_day.plus(next)).await?;
    }
    system.client.settle().await
}

/// The part of a work's events that is among the messages sent.
fn published(work: &Work, sent: &[Outgoing]) -> Work {
    let kind = format!(".{}", work.kind);
    let messages = sent.iter().filter(|message| message.subject.ends_with(&kind)).count();
    let events = work.messages(TOGETHER).into_iter().take(messages);
    let events = events.flat_map(|(tenant, events)| events.into_iter().map(move |event| (tenant, event))).collect();
    Work { events, ..work.without_events() }
}

async fn measure(
    system: &System,
    load: &Load,
    asked: &Arc<Asked>,
    options: &Options,
    report: &mut Report,
) -> anyhow::Result<()> {
    let phase = Duration::from_secs(options.seconds as u64);
    let reader = system.connect().await?;
    let mut questions =
        vec![("a tenant's day".to_owned(), What::Day), (format!("a tenant's {DAYS} days"), What::Range)];
    for (game, members) in options.scene.members.iter().enumerate() {
        let members = count(*members as u64);
        let began = Instant::now();
        let (tenant, view, query) = asked.question(What::Top(game), 0, &mut Random::new(0));
        reader.query(tenant, view, &query).await?;
        let first = format!("{:.2}", began.elapsed().as_secs_f64() * 1_000.0);
        report.row(&format!("the first question on a ranking of {members}"), &[("p50 ms", first)]);
        questions.push((format!("top 10 to 39 of {members}"), What::Top(game)));
        questions.push((format!("rank of one among {members}"), What::Rank(game)));
    }
    let _echoes = Echoes::begin(&system.connect().await?, &system.connect().await?).await?;
    let echo = |is_relayed| hops::echo(&reader, is_relayed, Duration::ZERO, Instant::now() + phase);
    let hops = [
        ("an echo through the broker, for comparison", echo(false).await?),
        ("an echo with a relay between, as query is", echo(true).await?),
        (
            "a tenant's day, asked of the shard itself",
            hops::shard(&reader, asked.tenants.clone(), &asked.today, phase).await?,
        ),
    ];
    for (name, mut times) in hops {
        let rate = count((times.len() as f64 / phase.as_secs_f64()) as u64);
        report.row(name, &[vec![("answers/s", rate)], percentiles(&mut times)].concat());
    }
    for (name, what) in questions {
        let client = Asker { client: reader.clone(), asked: asked.clone(), pause: Duration::ZERO, seed: 1 };
        rows(&name, load, phase, vec![client], what, report).await?;
    }
    let mut clients = Vec::with_capacity(options.scene.clients);
    for _ in 0..options.scene.clients {
        clients.push(system.connect().await?);
    }
    for (name, pause) in [("each twice a second", PAUSE), ("each as fast as it can", Duration::ZERO)] {
        let client =
            |(client, seed): (&Client, u64)| Asker { client: client.clone(), asked: asked.clone(), pause, seed };
        let askers = clients.iter().zip(1..).map(client).collect();
        rows(&format!("{} clients, mixed, {name}", options.scene.clients), load, phase, askers, What::Mixed, report)
            .await?;
    }
    Ok(())
}

/// Somebody who asks on a connection of its own, and what for.
struct Asker {
    client: Client,
    asked: Arc<Asked>,
    pause: Duration,
    seed: u64,
}

impl Asker {
    /// How long each answer took, and how many questions were refused.
    async fn ask(self, what: What, until: Instant) -> Result<(Vec<Duration>, usize), AskError> {
        let mut random = Random::new(self.seed);
        let (mut times, mut refused) = (Vec::new(), 0);
        // Not all at the same moment.
        tokio::time::sleep(self.pause.mul_f64(random.unit())).await;
        for n in 0.. {
            if Instant::now() >= until {
                break;
            }
            let (tenant, view, query) = self.asked.question(what, n, &mut random);
            let began = Instant::now();
            match self.client.query(tenant, view, &query).await {
                Ok(_) => times.push(began.elapsed()),
                // The tenant has too many under way.
                Err(error) if error.code.number() == 429 => refused += 1,
                Err(error) => return Err(error),
            }
            if !self.pause.is_zero() {
                tokio::time::sleep(self.pause).await;
            }
        }
        Ok((times, refused))
    }
}

/// Has everybody ask for a while, and tells how it went.
async fn rows(
    name: &str,
    load: &Load,
    phase: Duration,
    askers: Vec<Asker>,
    what: What,
    report: &mut Report,
) -> anyhow::Result<()> {
    let (began, events) = (Instant::now(), load.events());
    // A task for each: what others do on the way does not count.
    let tasks: Vec<_> = askers.into_iter().map(|asker| tokio::spawn(asker.ask(what, began + phase))).collect();
    let (mut times, mut refused) = (Vec::new(), 0);
    for task in tasks {
        let (of_one, refused_of_one) = task.await??;
        times.extend(of_one);
        refused += refused_of_one;
    }
    let took = began.elapsed().as_secs_f64();
    let a_second = |n: usize| count((n as f64 / took) as u64);
    let rates = vec![("events/s", a_second(load.events() - events)), ("answers/s", a_second(times.len()))];
    report.row(name, &[rates, percentiles(&mut times), vec![("refused", refused.to_string())]].concat());
    Ok(())
}

/// Whether the day and the range of all tenants add up to what a plain recomputation finds.
async fn check_orders(system: &System, asked: &Asked, works: &[Work; 2], today: Date) -> anyhow::Result<()> {
    let groups = works.iter().map(|work| Ok(bare::fold(bare::Fold::Orders, &work.log(TOGETHER)?)));
    let groups: Vec<_> = groups.collect::<anyhow::Result<_>>()?;
    for (days, is_in) in
        [(&asked.today, (|date, today| date == today) as fn(Date, Date) -> bool), (&asked.range, |_, _| true)]
    {
        let within = groups.iter().flatten().filter(|((_, date, _), _)| is_in(*date, today));
        let expected = within.fold((0, 0), |(n, sum), (_, figures)| (n + figures.n, sum + figures.sum));
        let mut found = (0, 0);
        for tenant in &asked.tenants {
            let query = Query { dimensions: Some(Vec::new()), ..Query::days(days.clone()) };
            let answer = system.client.query(tenant, orders::VIEW, &query).await?;
            for row in &answer.rows {
                found = (found.0 + number(row, "orders"), found.1 + number(row, "amount"));
            }
        }
        anyhow::ensure!(found == expected, "{days}: Daybook answers {found:?}, a plain recomputation {expected:?}");
    }
    Ok(())
}

/// Whether the first members of each game and the places of some others are those of a plain recomputation.
async fn check_rankings(system: &System, asked: &Asked, works: &[Work; 2], members: &[usize]) -> anyhow::Result<()> {
    let mut points: Vec<HashMap<&str, i64>> = vec![HashMap::new(); asked.games.len()];
    for (game, event) in works.iter().flat_map(|work| &work.events) {
        let member = event.dims[0].as_deref().expect("every event has a member");
        *points[*game as usize].entry(member).or_default() += event.measures[0].expect("every event has points");
    }
    let mut random = Random::new(3);
    for ((tenant, _), points) in asked.games.iter().zip(points) {
        let mut ranked: Vec<(i64, &str)> = points.into_iter().map(|(member, points)| (-points, member)).collect();
        ranked.sort_unstable();
        let expected = |place: usize| {
            let (points, member) = ranked[place];
            let rank = ranked.partition_point(|(other, _)| *other < points) + 1;
            (place as i64 + 1, rank as i64, member.to_owned(), -points)
        };
        let found = |row: &Row| {
            let member = row.get("member").map(ToString::to_string).unwrap_or_default();
            (number(row, "position"), number(row, "rank"), member, number(row, "points"))
        };
        let top = Query { limit: Some(TOP.end), ..Query::days(asked.today.clone()) };
        let answer = system.client.query(tenant, game::VIEW, &top).await?;
        let all = answer.rows.iter().map(found).eq((0..answer.rows.len()).map(expected));
        anyhow::ensure!(all && answer.total == ranked.len() as u64, "{tenant}: the first members are wrong");
        for _ in 0..COMPARED {
            let place = random.below(ranked.len());
            let member = ranked[place].1[1..].parse()?;
            let answer = system.client.query(tenant, game::VIEW, &asked.rank(member)).await?;
            let found: Vec<_> = answer.rows.iter().map(found).collect();
            let expected = expected(place);
            anyhow::ensure!(found == [expected.clone()], "{tenant}: {found:?}, a plain recomputation {expected:?}");
        }
    }
    eprintln!("checked: the orders of {} tenants, {} rankings", asked.tenants.len(), members.len());
    Ok(())
}

fn number(row: &Row, column: &str) -> i64 {
    match row.get(column) {
        Some(Figure::Number(number)) => i64::try_from(number.unscaled()).unwrap_or(i64::MAX),
        _ => 0,
    }
}
