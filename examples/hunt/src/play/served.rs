//! Compares a hunt that another program serves with the plain recomputation of its records.

use super::check::Comparison;
use super::generated::{HuntPlan, yaml};
use super::http::Http;
use super::reference::recompute;
use crate::game::{Entry, Record};
use crate::rules::read::read;
use anyhow::{Context as _, bail};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use tokio::time::Instant;

/// Pause between two comparisons.
const AGAIN: Duration = Duration::from_millis(250);

/// One page of records, in the order in which they count.
#[derive(Deserialize)]
struct Page {
    records: Vec<Served>,
    /// Position behind which the next page begins; absent on the last one.
    next: Option<u64>,
}

#[derive(Deserialize)]
struct Served {
    position: u64,
    team: String,
    record: Record,
}

#[derive(Deserialize)]
struct Ranking {
    rows: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    team: String,
    rank: u64,
    points: i64,
    solves: i64,
}

/// Compares the ranking at `url` with the records there, until all is equal, for at most `limit`: the ranking may come from a
/// cache.
///
/// # Errors
/// When the door does not answer, or not in this form.
pub async fn compare_served(
    url: &str,
    organiser: &str,
    plan: &HuntPlan,
    limit: Duration,
) -> anyhow::Result<Comparison> {
    let began = Instant::now();
    let mut http = Http::new(url);
    http.token = Some(organiser.to_owned());
    loop {
        let log = read_records(&mut http, plan).await?;
        let expected = recompute(&log);
        let mut comparison = Comparison { records: log.len(), expected, ..Comparison::default() };
        comparison.differences.extend(comparison.expected.faults.iter().cloned());
        let ranking: Ranking = get(&mut http, "/api/ranking").await?;
        let rows = ranking.rows.into_iter();
        let found: BTreeMap<_, _> = rows.map(|row| (row.team, (row.points, row.solves, row.rank))).collect();
        let wanted = comparison.expected.teams.iter();
        let wanted = wanted.map(|(id, score)| (id.clone(), (score.points, score.solves, score.rank))).collect();
        comparison.equal("team", url, wanted, found);
        if comparison.differences.is_empty() || began.elapsed() >= limit {
            return Ok(comparison);
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// The rules of the plan, and then every record.
async fn read_records(http: &mut Http, plan: &HuntPlan) -> anyhow::Result<Vec<Entry>> {
    let rules = read(Path::new("the generated rules"), &yaml(plan), &mut || "salt".to_owned());
    let rules = rules.map_err(|mistakes| anyhow::anyhow!("the generated rules have {} mistakes", mistakes.0.len()))?;
    let mut entries = vec![(0, None, Record::Rules { rules: Box::new(rules), at: plan.start })];
    let mut after = Some(0);
    while let Some(position) = after {
        let page: Page = get(http, &format!("/api/organiser/records?after={position}")).await?;
        if page.next.is_some_and(|next| next <= position) {
            bail!("the page of records behind {position} does not go on");
        }
        after = page.next;
        entries.extend(page.records.into_iter().map(|served| (served.position, Some(served.team), served.record)));
    }
    Ok(entries)
}

async fn get<T: DeserializeOwned>(http: &mut Http, path: &str) -> anyhow::Result<T> {
    let (status, answer) = http.get(path).await?;
    anyhow::ensure!(status == 200, "{path}: status {status}, {answer}");
    serde_json::from_value(answer).with_context(|| format!("{path} has another form"))
}

#[cfg(test)]
mod tests {
    use super::super::generated::answer;
    use super::*;
    use axum::Router;
    use axum::extract::RawQuery;
    use axum::routing::get;
    use serde_json::{Value, json};

    fn plan() -> HuntPlan {
        let (start, end) = (0, 60_000);
        HuntPlan { hunt: "h".to_owned(), seed: 1, challenges: 3, start, end, freezes: false, bounds_attempts: false }
    }

    fn submitted(position: u64, team: &str, answer: &str) -> Value {
        let id = format!("s{position}");
        let record =
            json!({"what": "submitted", "id": id, "player": "p", "challenge": "c00", "answer": answer, "at": position});
        json!({"position": position, "team": team, "record": record})
    }

    /// Two pages of records, and a ranking with these points of the team that was first.
    async fn serve(points: i64) -> String {
        let right = answer(1, "c00");
        let pages = [
            json!({"records": [submitted(1, "a", "no"), submitted(2, "a", &right)], "next": 2}),
            json!({"records": [submitted(3, "b", &right)], "next": null}),
        ];
        let second = points_of(1);
        let rows = json!({"rows": [
            {"team": "a", "rank": 1, "points": points, "solves": 1}, {"team": "b", "rank": 2, "points": second, "solves": 1},
        ]});
        let records = move |RawQuery(asked): RawQuery| async move {
            let is_first = asked.as_deref() == Some("after=0");
            pages[usize::from(!is_first)].to_string()
        };
        let ranking = move || async move { rows.to_string() };
        let router = Router::new().route("/api/organiser/records", get(records)).route("/api/ranking", get(ranking));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    }

    /// Points of whoever solves the first challenge behind so many others, without decay by time: it has just begun.
    fn points_of(before: usize) -> i64 {
        let rules = read(Path::new("r"), &yaml(&plan()), &mut || "salt".to_owned()).unwrap();
        let first = &rules.challenges[0];
        let lost = first.decay.filter(|decay| decay.each == crate::rules::Each::Solver).map_or(0, |decay| decay.by);
        first.points - lost * before as i64 + first.first[before]
    }

    #[tokio::test]
    async fn a_ranking_that_follows_from_its_records_has_no_differences() {
        let url = serve(points_of(0)).await;
        let comparison = compare_served(&url, "token", &plan(), Duration::ZERO).await.unwrap();
        assert_eq!(comparison.differences, Vec::<String>::new());
        assert_eq!((comparison.records, comparison.figures), (4, 2));
    }

    #[tokio::test]
    async fn a_ranking_with_other_points_is_told() {
        let url = serve(points_of(0) - 1).await;
        let comparison = compare_served(&url, "token", &plan(), Duration::ZERO).await.unwrap();
        assert_eq!(comparison.differences.len(), 1, "{:?}", comparison.differences);
        assert!(comparison.differences[0].starts_with("team a: "), "{:?}", comparison.differences);
    }
}
