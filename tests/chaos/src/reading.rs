//! Readers: they ask all the time, and keep what they are told, to be judged at the end.

use crate::load::Board;
use crate::model::{Cell, Rows, VIEWS, without_empty};
use anyhow::Context as _;
use daybook::client::Client;
use daybook_contracts::ask::{DaySelector, Query};
use daybook_contracts::report::{Figure, Row};
use daybook_domain::ids::InboxSeq;
use daybook_domain::time::Date;
use daybook_random::Random;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Readers at once.
pub const READERS: usize = 3;
/// Between two questions of a reader.
const ASK_INTERVAL: Duration = Duration::from_millis(40);
/// How long a reader waits for an answer.
const ANSWER_DEADLINE: Duration = Duration::from_secs(4);
/// Wrong answers that are told in words.
const TOLD: usize = 10;

/// An answer, with what is needed to judge it.
pub struct Told {
    pub tenant: usize,
    pub view: &'static str,
    pub date: Date,
    /// The INBOX sequence that it says to rest on.
    pub sequence: u64,
    pub rows: Rows,
    pub at: Instant,
    pub is_stale: bool,
}

/// What readers found.
#[derive(Default)]
pub struct Readings {
    pub asked: u64,
    /// Those without an answer, by the code of the refusal, or by how nothing came.
    pub failed: BTreeMap<String, u64>,
    pub stale: u64,
    pub told: Vec<Told>,
    /// The longest that a reader went without any answer.
    pub longest_silence: Duration,
    pub problems: Vec<String>,
}

impl Readings {
    /// Notes what is wrong for certain.
    pub fn problem(&mut self, what: String) {
        if self.problems.len() < TOLD {
            self.problems.push(what);
        }
    }
}

/// Asks until the run stops.
pub async fn read(board: Arc<Board>, client: Client, readings: Arc<Mutex<Readings>>, seed: u64) {
    let mut random = Random::new(seed);
    // The farthest that each tenant's figures were seen at.
    let mut seen = vec![0; board.tenants.len()];
    let mut answered = Instant::now();
    let mut tick = tokio::time::interval(ASK_INTERVAL);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = board.stop.cancelled() => return,
        }
        let tenant = random.below(board.tenants.len() as u64) as usize;
        let (view, group, metrics) = *random.pick(&VIEWS);
        let first = board.tenants[tenant].first_day;
        let back = random.between(0, 3);
        let date = board.tenants[tenant].day_of(board.now_ms(tenant)).plus(-(back as i32)).max(first);
        let at_least = match random.below(3) {
            0 => None,
            1 => board.newest(tenant, None),
            _ => Some(seen[tenant]),
        };
        let accept_stale = random.percent(80);
        let query = Query { at_least: at_least.map(InboxSeq), accept_stale, ..Query::days(DaySelector::Date(date)) };
        let id = board.tenants[tenant].id.clone();
        let answer = tokio::time::timeout(ANSWER_DEADLINE, client.query(&id, view, &query)).await;
        let mut readings = readings.lock().unwrap_or_else(PoisonError::into_inner);
        readings.asked += 1;
        let answer = match answer {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                *readings.failed.entry(format!("{:?}", error.code)).or_default() += 1;
                continue;
            }
            Err(_) => {
                *readings.failed.entry("nothing came".to_owned()).or_default() += 1;
                continue;
            }
        };
        readings.longest_silence = readings.longest_silence.max(answered.elapsed());
        answered = Instant::now();
        let sequence = answer.as_of.inbox.0;
        readings.stale += u64::from(answer.stale);
        if at_least.is_some_and(|wanted| sequence < wanted) {
            readings.problem(format!("{id} {view} {date}: asked for {at_least:?}, answered at {sequence}"));
        }
        if answer.stale && !accept_stale {
            readings.problem(format!("{id} {view} {date}: a stale answer to one who accepts none"));
        }
        seen[tenant] = seen[tenant].max(sequence);
        match rows_of(&answer.rows, group, metrics) {
            Ok(rows) => readings.told.push(Told {
                tenant,
                view,
                date,
                sequence,
                rows,
                at: Instant::now(),
                is_stale: answer.stale,
            }),
            Err(error) => readings.problem(format!("{id} {view} {date}: {error:#}")),
        }
    }
}

/// The rows of an answer or a report, as the model has them.
///
/// # Errors
/// When a column is missing or holds something else.
pub fn rows_of(rows: &[Row], group: Option<&str>, metrics: &[&str]) -> anyhow::Result<Rows> {
    let mut found = Rows::new();
    for row in rows {
        let key = match group {
            Some(group) => row.get(group).with_context(|| format!("no {group}"))?.to_string(),
            None => String::new(),
        };
        let cells: anyhow::Result<Vec<Cell>> = metrics.iter().map(|metric| cell(row, metric)).collect();
        anyhow::ensure!(found.insert(key, cells?).is_none(), "a group comes twice in {rows:?}");
    }
    Ok(without_empty(found))
}

/// A figure in hundredths.
///
/// # Errors
/// When there is none of the name, or it is no number.
pub fn cell(row: &Row, metric: &str) -> anyhow::Result<Cell> {
    match row.get(metric) {
        Some(Figure::Number(number)) => Ok(Some(number.at_scale(2)?)),
        Some(Figure::Null) => Ok(None),
        other => anyhow::bail!("{metric} is {other:?}"),
    }
}
