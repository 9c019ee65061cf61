//! A view as its listeners have it: the rows, and the changes of late, for those who come back. Pure.

use super::frames;
use bytes::Bytes;
use daybook_contracts::ask::Answer;
use daybook_contracts::live::LiveUpdate;
use daybook_contracts::live::view::{Followed, LiveView};
use daybook_domain::ids::Name;
use std::collections::VecDeque;

/// Most changes that are kept for listeners who come back.
const MAX_KEPT: usize = 256;
/// Most bytes of them.
const MAX_KEPT_BYTES: usize = 1 << 20;

/// The columns by which rows are told apart.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    pub(super) dimensions: Vec<Name>,
    pub(super) ranked: bool,
}

/// The state of a followed view.
pub(super) struct Watched {
    view: LiveView,
    /// The snapshot event for the rows as they are, once somebody needed it.
    snapshot: Option<Bytes>,
    /// The last changes of this feed: sequence and event.
    kept: VecDeque<(u64, Bytes)>,
    kept_bytes: usize,
}

/// What becomes of an update.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// An event for every listener.
    Event(Bytes),
    /// Nothing new.
    Nothing,
    /// Something was missed.
    Gap,
}

impl Watched {
    /// What the snapshot says; `None` when it begins no feed.
    pub(super) fn new(shape: &Shape, answer: Answer) -> Option<Self> {
        let view = LiveView::told_apart_by(&shape.dimensions, shape.ranked, answer)?;
        Some(Self { view, snapshot: None, kept: VecDeque::new(), kept_bytes: 0 })
    }

    /// Takes an update in; `payload` is what it was read from.
    pub(super) fn take(&mut self, update: LiveUpdate, payload: &[u8]) -> Taken {
        let sequence = update.sequence;
        match self.view.follow(update) {
            Followed::Ignored => return Taken::Nothing,
            Followed::Missed => return Taken::Gap,
            Followed::Applied => {}
        }
        self.snapshot = None;
        let id = frames::identifier(&self.view.feed().feed, sequence);
        let event = frames::event("changes", Some(&id), payload);
        self.kept_bytes += event.len();
        self.kept.push_back((sequence, event.clone()));
        while self.kept.len() > MAX_KEPT || self.kept_bytes > MAX_KEPT_BYTES {
            self.kept_bytes -= self.kept.pop_front().map_or(self.kept_bytes, |(_, event)| event.len());
        }
        Taken::Event(event)
    }

    /// Whether the answer to a repeated question is of the feed that is followed.
    pub(super) fn continues(&self, answer: &Answer) -> bool {
        self.view.continues(answer)
    }

    /// The last sequence that is included.
    pub(super) fn sequence(&self) -> u64 {
        self.view.feed().sequence
    }

    /// What a listener gets first: the changes behind `last`, the identifier of the last event that it had, if all of them are
    /// kept; else the snapshot.
    ///
    /// # Errors
    /// Those of `hold`, which finds room for a new snapshot.
    pub(super) fn first<E>(
        &mut self,
        last: Option<&str>,
        hold: impl FnOnce(Bytes) -> Result<Bytes, E>,
    ) -> Result<Vec<Bytes>, E> {
        let since = last.and_then(frames::parse_identifier).filter(|(feed, _)| *feed == self.view.feed().feed);
        if let Some((_, had)) = since
            && had <= self.sequence()
        {
            let oldest = self.kept.front().map_or(self.sequence() + 1, |(sequence, _)| *sequence);
            if had + 1 >= oldest {
                let missed = self.kept.iter().filter(|(sequence, _)| *sequence > had);
                return Ok(missed.map(|(_, event)| event.clone()).collect());
            }
        }
        Ok(vec![self.snapshot(hold)?])
    }

    /// The snapshot event.
    ///
    /// # Errors
    /// Those of `hold`, which finds room for a new one.
    pub(super) fn snapshot<E>(&mut self, hold: impl FnOnce(Bytes) -> Result<Bytes, E>) -> Result<Bytes, E> {
        if let Some(written) = &self.snapshot {
            return Ok(written.clone());
        }
        let view = &self.view;
        let mut answer = view.answer().clone().with_rows(|_: Vec<_>| view.rows());
        answer.total = answer.total.max(answer.rows.len() as u64);
        answer.next = None;
        answer.feed = Some(view.feed().clone());
        let data = serde_json::to_vec(&answer).expect("an answer is plain values");
        let id = frames::identifier(&view.feed().feed, view.feed().sequence);
        let written = hold(frames::event("snapshot", Some(&id), &data))?;
        self.snapshot = Some(written.clone());
        Ok(written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape() -> Shape {
        Shape { dimensions: vec![Name::new("city").unwrap()], ranked: false }
    }

    fn answer(feed: &str, sequence: u64) -> Answer {
        serde_json::from_str(&format!(
            r#"{{"tenant":"T","view":"v","from":"2026-01-01","to":"2026-01-01","day":"open","rows":[{{"city":"Bern","n":1}}],
                "total":1,"as_of":{{"log":1,"inbox":1}},"freshness_ms":0,"stale":false,"coverage":"complete","definition":1,
                "report":null,"feed":{{"feed":"{feed}","sequence":{sequence}}}}}"#
        ))
        .unwrap()
    }

    fn update(sequence: u64) -> String {
        format!(
            r#"{{"tenant":"T","view":"v","feed":"a-1","sequence":{sequence},"date":"2026-01-01","day":"open",
                "rows":[{{"city":"Bern","n":{sequence}}}],"removed":[],"reset":false,"as_of":{{"log":2,"inbox":2}}}}"#
        )
    }

    fn take(watched: &mut Watched, sequence: u64) -> Taken {
        let text = update(sequence);
        watched.take(serde_json::from_str(&text).unwrap(), text.as_bytes())
    }

    #[test]
    fn whoever_comes_back_gets_what_was_missed_and_nothing_else() {
        let mut watched = Watched::new(&shape(), answer("a-1", 4)).unwrap();
        for sequence in 5..=8 {
            assert!(matches!(take(&mut watched, sequence), Taken::Event(_)));
        }
        let behind = |watched: &mut Watched, last: &str| {
            let first = watched.first(Some(last), Ok::<_, ()>).unwrap();
            let texts: Vec<_> = first.iter().map(|event| String::from_utf8_lossy(event).into_owned()).collect();
            let ids: Vec<_> = texts.iter().map(|text| text.lines().take(2).collect::<Vec<_>>().join(" ")).collect();
            ids.join(", ")
        };
        assert_eq!(behind(&mut watched, "a-1:8"), "");
        assert_eq!(behind(&mut watched, "a-1:6"), "event: changes id: a-1:7, event: changes id: a-1:8");
        assert_eq!(behind(&mut watched, "a-1:4").matches("changes").count(), 4);
        for other in ["a-1:3", "a-1:9", "b-1:8", "x", ""] {
            assert_eq!(behind(&mut watched, other), "event: snapshot id: a-1:8", "{other}");
        }
        assert!(String::from_utf8_lossy(&watched.snapshot(Ok::<_, ()>).unwrap()).contains(r#"{"city":"Bern","n":8}"#));
    }

    #[test]
    fn gaps_are_told_and_what_is_kept_is_bounded() {
        let mut watched = Watched::new(&shape(), answer("a-1", 4)).unwrap();
        assert_eq!(take(&mut watched, 4), Taken::Nothing);
        assert_eq!(take(&mut watched, 6), Taken::Gap);
        for sequence in 5..5 + 2 * MAX_KEPT as u64 {
            take(&mut watched, sequence);
        }
        assert!(watched.kept.len() <= MAX_KEPT && watched.kept_bytes <= MAX_KEPT_BYTES);
        assert_eq!(watched.kept_bytes, watched.kept.iter().map(|(_, event)| event.len()).sum::<usize>());
        assert!(watched.first(Some("a-1:5"), Ok::<_, ()>).unwrap()[0].starts_with(b"event: snapshot"));
    }
}
