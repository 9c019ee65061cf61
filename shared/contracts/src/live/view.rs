//! A view as a listener of `daybook.live.<tenant>.<view>` has it: the snapshot, and what changed since.

use super::LiveUpdate;
use crate::ask::{Answer, Feed};
use crate::report::{Figure, Row};
use daybook_domain::catalogue::View;
use daybook_domain::ids::Name;
use std::collections::BTreeMap;

/// What became of an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Followed {
    /// The rows are as it says.
    Applied,
    /// It is of another feed, or older than the snapshot.
    Ignored,
    /// Something before it was missed, or it holds too much: take a new snapshot.
    Missed,
}

/// The rows of a watched view.
pub struct LiveView {
    /// The columns by which rows are told apart.
    key: Vec<String>,
    feed: Feed,
    rows: BTreeMap<Vec<Figure>, Row>,
    answer: Answer,
}

impl LiveView {
    /// What the snapshot says; `None` when it is no answer to a question with `watch`.
    pub fn new(view: &View, answer: Answer) -> Option<Self> {
        Self::told_apart_by(&view.group_by, view.ranking.is_some(), answer)
    }

    /// As [`new`](Self::new), for a view with these dimensions, ranked or not.
    pub fn told_apart_by(dimensions: &[Name], ranked: bool, answer: Answer) -> Option<Self> {
        let feed = answer.feed.clone()?;
        let key = match ranked {
            true => vec!["position".to_owned()],
            false => std::iter::once("time".to_owned()).chain(dimensions.iter().map(ToString::to_string)).collect(),
        };
        let mut live = Self { key, feed, rows: BTreeMap::new(), answer };
        let rows = std::mem::take(&mut live.answer.rows);
        live.put(rows);
        Some(live)
    }

    /// Takes an update in.
    pub fn follow(&mut self, update: LiveUpdate) -> Followed {
        if update.feed != self.feed.feed || update.sequence <= self.feed.sequence {
            return Followed::Ignored;
        }
        if update.sequence != self.feed.sequence + 1 || update.reset {
            return Followed::Missed;
        }
        self.feed.sequence = update.sequence;
        if update.date != self.answer.to {
            self.rows.clear();
            self.answer.from = update.date;
            self.answer.to = update.date;
        }
        self.answer.day = update.day;
        self.answer.as_of = update.as_of;
        for row in &update.removed {
            self.rows.remove(&self.key_of(row));
        }
        self.put(update.rows);
        Followed::Applied
    }

    /// Whether the renewed question was answered from the same feed, with nothing missed: `answer` may be ahead of what
    /// has been delivered, never behind.
    pub fn continues(&self, answer: &Answer) -> bool {
        answer.feed.as_ref().is_some_and(|feed| feed.feed == self.feed.feed)
    }

    /// The feed, and the last sequence of it that the rows include.
    pub fn feed(&self) -> &Feed {
        &self.feed
    }

    /// The rows in order.
    pub fn rows(&self) -> Vec<Row> {
        self.rows.values().cloned().collect()
    }

    /// What the rows belong to; it has no rows itself.
    pub fn answer(&self) -> &Answer {
        &self.answer
    }

    fn put(&mut self, rows: Vec<Row>) {
        for row in rows {
            self.rows.insert(self.key_of(&row), row);
        }
    }

    fn key_of(&self, row: &Row) -> Vec<Figure> {
        self.key.iter().map(|column| row.get(column).cloned().unwrap_or(Figure::Null)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use daybook_domain::catalogue::{Metric, Ranking, only_final};
    use daybook_domain::ids::Name;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    fn view() -> View {
        let metric = Metric { name: name("n"), value: "count".into(), filter: None, status: only_final() };
        View::new(name("v"), name("k"), vec![name("city")], vec![metric])
    }

    fn snapshot(rows: &str) -> Answer {
        serde_json::from_str(&format!(
            r#"{{"tenant":"T","view":"v","from":"2026-01-01","to":"2026-01-01","day":"open","rows":{rows},"total":1,
                "as_of":{{"log":1,"inbox":1}},"freshness_ms":0,"stale":false,"coverage":"complete","definition":1,
                "report":null,"feed":{{"feed":"a-1","sequence":4}}}}"#
        ))
        .unwrap()
    }

    fn update(feed: &str, sequence: u64, date: &str, rows: &str, removed: &str) -> LiveUpdate {
        serde_json::from_str(&format!(
            r#"{{"tenant":"T","view":"v","feed":"{feed}","sequence":{sequence},"date":"{date}","day":"open","rows":{rows},
                "removed":{removed},"reset":false,"as_of":{{"log":2,"inbox":2}}}}"#
        ))
        .unwrap()
    }

    fn shown(live: &LiveView) -> String {
        serde_json::to_string(&live.rows()).unwrap()
    }

    #[test]
    fn rows_change_appear_and_go() {
        let mut live = LiveView::new(&view(), snapshot(r#"[{"city":"Bern","n":1}]"#)).unwrap();
        let next = update("a-1", 5, "2026-01-01", r#"[{"city":"Bern","n":2},{"city":"Aarau","n":1}]"#, "[]");
        assert_eq!(live.follow(next), Followed::Applied);
        assert_eq!(shown(&live), r#"[{"city":"Aarau","n":1},{"city":"Bern","n":2}]"#);
        assert_eq!(live.follow(update("a-1", 6, "2026-01-01", "[]", r#"[{"city":"Bern"}]"#)), Followed::Applied);
        assert_eq!(shown(&live), r#"[{"city":"Aarau","n":1}]"#);
    }

    #[test]
    fn gaps_and_other_feeds_are_told_apart() {
        let mut live = LiveView::new(&view(), snapshot("[]")).unwrap();
        assert_eq!(live.follow(update("a-1", 4, "2026-01-01", "[]", "[]")), Followed::Ignored);
        assert_eq!(live.follow(update("b-1", 5, "2026-01-01", "[]", "[]")), Followed::Ignored);
        assert_eq!(live.follow(update("a-1", 6, "2026-01-01", "[]", "[]")), Followed::Missed);
        let reset = LiveUpdate { reset: true, ..update("a-1", 5, "2026-01-01", "[]", "[]") };
        assert_eq!(live.follow(reset), Followed::Missed);
    }

    #[test]
    fn another_day_voids_what_was_shown() {
        let mut live = LiveView::new(&view(), snapshot(r#"[{"city":"Bern","n":1}]"#)).unwrap();
        assert_eq!(live.follow(update("a-1", 5, "2026-01-02", "[]", "[]")), Followed::Applied);
        assert_eq!((shown(&live).as_str(), live.answer().to.to_string().as_str()), ("[]", "2026-01-02"));
    }

    #[test]
    fn a_ranking_is_told_apart_by_position() {
        let ranking = Ranking { by: vec![], ties: Default::default(), earliest: Default::default() };
        let view = View { ranking: Some(ranking), ..view() };
        let rows = r#"[{"position":1,"rank":1,"city":"Bern","n":2},{"position":2,"rank":2,"city":"Aarau","n":1}]"#;
        let mut live = LiveView::new(&view, snapshot(rows)).unwrap();
        let next = update("a-1", 5, "2026-01-01", r#"[{"position":2,"rank":1,"city":"Zug","n":2}]"#, "[]");
        assert_eq!(live.follow(next), Followed::Applied);
        assert!(shown(&live).contains("Zug") && !shown(&live).contains("Aarau"));
    }
}
