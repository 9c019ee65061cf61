//! People who watch the ranking: how long until every one of them has seen a team's points.

use super::http::Http;
use futures::StreamExt as _;
use serde_json::Value;
use std::collections::HashMap;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Pause before a broken stream is opened again.
const AGAIN: Duration = Duration::from_millis(200);

/// What one watcher saw: a team's points when they changed, nothing when the team left the rows that are shown.
type Seen = Vec<(Instant, String, Option<i64>)>;

/// The same of each team, in the order of time.
type ByTeam = HashMap<String, Vec<(Instant, Option<i64>)>>;

/// Watchers at work.
pub struct Watchers {
    stop: CancellationToken,
    watching: Vec<JoinHandle<Seen>>,
}

/// How long it took until all watchers had seen points.
#[derive(Clone, Debug, Default)]
pub struct Views {
    /// In microseconds, sorted.
    pub until_all: Vec<u64>,
    /// Points that not every watcher saw: the team was not among the rows that are shown, or took a hint at once.
    pub unseen: usize,
}

impl Watchers {
    /// Lets so many watch, at these doors in turn.
    pub fn start(urls: &[String], count: usize) -> Self {
        let stop = CancellationToken::new();
        let watching =
            (0..count).map(|index| tokio::spawn(watch(urls[index % urls.len()].clone(), stop.clone()))).collect();
        Self { stop, watching }
    }

    /// Ends the watching; `told` are points of teams, with the time at which they were told.
    pub async fn end(self, told: &[(String, i64, Instant)]) -> Views {
        self.stop.cancel();
        let mut seen: Vec<ByTeam> = Vec::new();
        for watching in self.watching {
            let mut of_team: ByTeam = HashMap::new();
            for (at, team, points) in watching.await.unwrap_or_default() {
                of_team.entry(team).or_default().push((at, points));
            }
            seen.push(of_team);
        }
        let mut views = Views::default();
        for (team, points, at) in told {
            let until = |watcher: &ByTeam| {
                let changes = watcher.get(team)?;
                let (before, after) = changes.split_at(changes.partition_point(|(seen, _)| seen < at));
                let shown = before.last()?.1?;
                let seen =
                    after.iter().take_while(|(_, points)| points.is_some()).find(|(_, shown)| shown >= &Some(*points));
                let waited = |(seen, _): &(Instant, Option<i64>)| seen.saturating_duration_since(*at).as_micros();
                let waited = if shown >= *points { 0 } else { waited(seen?) };
                Some(u64::try_from(waited).unwrap_or(u64::MAX))
            };
            match seen.iter().map(until).collect::<Option<Vec<u64>>>() {
                Some(all) => views.until_all.extend(all.into_iter().max()),
                None => views.unseen += 1,
            }
        }
        views.until_all.sort_unstable();
        views
    }
}

async fn watch(url: String, stop: CancellationToken) -> Seen {
    let mut seen = Seen::new();
    let mut known: HashMap<String, i64> = HashMap::new();
    while !stop.is_cancelled() {
        let mut http = Http::new(&url);
        if let Ok(mut stream) = http.stream("/api/live").await {
            let mut text = String::new();
            loop {
                let piece = tokio::select! {
                    piece = stream.next() => piece,
                    () = stop.cancelled() => return seen,
                };
                let Some(Ok(piece)) = piece else { break };
                text.push_str(&String::from_utf8_lossy(&piece));
                while let Some(end) = text.find("\n\n") {
                    let event: String = text.drain(..end + 2).collect();
                    see(&event, &mut known, &mut seen);
                }
            }
        }
        tokio::time::sleep(AGAIN).await;
    }
    seen
}

fn see(event: &str, known: &mut HashMap<String, i64>, seen: &mut Seen) {
    let Some(data) = event.lines().find_map(|line| line.strip_prefix("data: ")) else { return };
    let Ok(ranking) = serde_json::from_str::<Value>(data) else { return };
    let now = Instant::now();
    let mut gone: Vec<String> = known.keys().cloned().collect();
    for row in ranking["rows"].as_array().into_iter().flatten() {
        let (Some(team), Some(points)) = (row["team"].as_str(), row["points"].as_i64()) else { continue };
        gone.retain(|other| other != team);
        if known.insert(team.to_owned(), points) != Some(points) {
            seen.push((now, team.to_owned(), Some(points)));
        }
    }
    for team in gone {
        known.remove(&team);
        seen.push((now, team, None));
    }
}

/// A quantile of sorted values.
pub fn quantile(sorted: &[u64], of_thousand: usize) -> u64 {
    let rank = (sorted.len() * of_thousand).div_ceil(1000).max(1);
    sorted.get(rank - 1).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_by_nearest_rank() {
        let values: Vec<u64> = (1..=100).collect();
        assert_eq!((quantile(&values, 500), quantile(&values, 990), quantile(&values, 1000)), (50, 99, 100));
        assert_eq!((quantile(&[], 500), quantile(&[7], 10)), (0, 7));
    }
}
