//! An answer as query holds it: what a shard said is handed on as it was written, unless somebody asks for another encoding.

use crate::encoding::{Encoding, MAX_REPLY_BYTES};
use bytes::Bytes;
use daybook_contracts::ask::{Answer, AsOf, AskError, AskErrorCode, Asked};
use daybook_contracts::bundle::Brief;
use daybook_contracts::report::{Figure, Row};
use daybook_domain::ids::Name;
use std::sync::Arc;

/// Where an answer comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerSource {
    /// Asked of the shard for this asker.
    Shard,
    /// Asked for another at the same time.
    Shared,
    /// Asked for another a moment ago.
    Cache,
    /// Merged out of the groups of sealed days, and of what the shard keeps.
    Figures,
    Report,
    /// Last known, while the shard is away.
    Stale,
}

impl AnswerSource {
    /// As a metric's label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Shard => "shard",
            Self::Shared => "shared",
            Self::Cache => "cache",
            Self::Figures => "figures",
            Self::Report => "report",
            Self::Stale => "stale",
        }
    }
}

/// An answer. Cheap to clone.
#[derive(Clone, Debug)]
pub enum Held {
    /// A shard's, in JSON.
    Written(Brief, Bytes),
    Made(Arc<Answer>),
}

/// An answer, and where it comes from.
#[derive(Clone, Debug)]
pub struct FoundAnswer {
    pub held: Held,
    pub source: AnswerSource,
}

impl FoundAnswer {
    /// One that was made here.
    pub fn made(answer: Answer, source: AnswerSource) -> Self {
        Self { held: Held::Made(Arc::new(answer)), source }
    }

    /// What the figures rest on.
    pub fn as_of(&self) -> AsOf {
        self.held.brief().as_of
    }

    /// The reply.
    ///
    /// # Errors
    /// When it does not fit a message, or a shard wrote what is no answer.
    pub fn encode(&self, encoding: Encoding) -> Asked<Bytes> {
        match (encoding, &self.held) {
            (Encoding::Json, Held::Written(_, text)) if text.len() <= MAX_REPLY_BYTES => Ok(text.clone()),
            (_, Held::Made(answer)) => encoding.answer(answer).map(Bytes::from),
            (_, Held::Written(_, text)) => encoding.answer(&read(text)?).map(Bytes::from),
        }
    }
}

impl Held {
    /// Its generation, what it rests on, and how fresh it was when it came.
    pub fn brief(&self) -> Brief {
        match self {
            Self::Written(brief, _) => *brief,
            Self::Made(answer) => Brief::from(&**answer),
        }
    }

    /// The same so much later, as the last known one if the shard is away.
    ///
    /// # Errors
    /// A shard wrote what is no answer.
    pub fn aged(&self, age_ms: u64, is_stale: bool) -> Asked<Self> {
        if age_ms == 0 && !is_stale {
            return Ok(self.clone());
        }
        let mut brief = self.brief();
        brief.freshness_ms = brief.freshness_ms.saturating_add(age_ms);
        if let Self::Written(_, text) = self
            && let Some(text) = with_freshness(text, brief.freshness_ms, is_stale)
        {
            return Ok(Self::Written(brief, text));
        }
        let mut answer = match self {
            Self::Made(answer) => Answer::clone(answer),
            Self::Written(_, text) => read(text)?,
        };
        (answer.freshness_ms, answer.stale) = (brief.freshness_ms, is_stale);
        Ok(Self::Made(Arc::new(answer)))
    }

    /// What it takes in memory, roughly.
    pub fn bytes_in_memory(&self) -> usize {
        let text = |figure: &Figure| match figure {
            Figure::Text(text) if text.is_heap_allocated() => text.capacity(),
            _ => 0,
        };
        let row = |row: &Row| {
            let cells = row.0.len() * size_of::<(Name, Figure)>();
            size_of::<Row>() + cells + row.0.iter().map(|(_, figure)| text(figure)).sum::<usize>()
        };
        match self {
            Self::Written(_, text) => text.len(),
            Self::Made(answer) => size_of::<Answer>() + answer.rows.iter().map(row).sum::<usize>(),
        }
    }
}

fn read(text: &[u8]) -> Asked<Answer> {
    serde_json::from_slice(text)
        .map_err(|error| AskError::new(AskErrorCode::Internal, format!("the shard's answer cannot be read: {error}")))
}

/// The text of an answer with another freshness; `None` where it does not stand as this build writes it. It is looked for from the
/// end: behind it there is nothing of that name, for no text in JSON has bare quotes, and rows stand before it.
fn with_freshness(text: &[u8], freshness_ms: u64, is_stale: bool) -> Option<Bytes> {
    const NAME: &[u8] = b",\"freshness_ms\":";
    const STALE: &[u8] = b",\"stale\":";
    let value = text.windows(NAME.len()).rposition(|window| window == NAME)? + NAME.len();
    let digits = text[value..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let rest = text[value + digits..].strip_prefix(STALE)?.strip_prefix(b"false")?;
    let new = format!("{freshness_ms},\"stale\":{is_stale}");
    (digits > 0).then(|| [&text[..value], new.as_bytes(), rest].concat().into())
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use daybook_contracts::ask::{DayState, Feed};
    use daybook_contracts::bundle::Said;
    use daybook_contracts::report::Coverage;
    use daybook_domain::ids::{InboxSeq, LogSeq, TenantId};
    use daybook_domain::time::Date;
    use daybook_domain::value::Number;

    pub fn answer(rows: usize) -> Answer {
        let row = Row(vec![
            (Name::new("carrier").unwrap(), Figure::Text("a name that does not fit inline".into())),
            (Name::new("delay").unwrap(), Figure::Number(Number::new(-35, 1))),
            (Name::new("low").unwrap(), Figure::Null),
        ]);
        Answer {
            tenant: TenantId::new("ATL").unwrap(),
            generation: 0,
            view: Name::new("carriers").unwrap(),
            from: Date::from_days(0),
            to: Date::from_days(0),
            day: DayState::Open,
            rows: vec![row; rows],
            total: rows as u64,
            next: None,
            as_of: AsOf { log: LogSeq(1), inbox: InboxSeq(1) },
            freshness_ms: 3,
            stale: false,
            coverage: Coverage::Complete,
            definition: 1,
            report: None,
            feed: None,
        }
    }

    /// As a shard writes it.
    pub fn written(answer: &Answer) -> Held {
        match Said::view(answer) {
            Said::View(brief, text) => Held::Written(brief, text),
            Said::Reply(_) => unreachable!("it is an answer"),
        }
    }

    fn found(held: Held) -> FoundAnswer {
        FoundAnswer { held, source: AnswerSource::Shard }
    }

    #[test]
    fn what_is_handed_on_is_what_would_be_made() {
        for rows in [0, 1, 3] {
            let (made, written) =
                (FoundAnswer::made(answer(rows), AnswerSource::Report), found(written(&answer(rows))));
            for encoding in [Encoding::Json, Encoding::MessagePack] {
                assert_eq!(made.encode(encoding).unwrap(), written.encode(encoding).unwrap(), "{encoding:?}");
            }
        }
    }

    #[test]
    fn an_aged_text_is_what_an_aged_answer_would_be() {
        // A column, a name and a reason that look like what is looked for.
        let mut odd = answer(2);
        odd.rows[1].0.push((Name::new("freshness_ms").unwrap(), Figure::integer(9)));
        odd.rows[1].0.push((Name::new("stale").unwrap(), Figure::Text(",\"freshness_ms\":1,\"stale\":false".into())));
        odd.next = Some(",\"freshness_ms\":1,\"stale\":false".to_owned());
        odd.feed = Some(Feed { feed: ",\"freshness_ms\":1,\"stale\":false".into(), sequence: 2 });
        for answer in [answer(0), answer(3), odd, Answer { freshness_ms: u64::MAX, ..answer(1) }] {
            for (age, is_stale) in [(0, false), (0, true), (7, false), (123_456, true)] {
                let (made, written) = (Held::Made(Arc::new(answer.clone())), written(&answer));
                let aged = [&made, &written].map(|held| held.aged(age, is_stale).unwrap());
                assert!(matches!(aged[1], Held::Written(..)), "the text is changed, not made anew");
                assert_eq!(aged[0].brief(), aged[1].brief());
                let [made, written] = aged.map(|held| found(held).encode(Encoding::Json).unwrap());
                assert_eq!(made, written, "{age} {is_stale}");
            }
        }
    }

    #[test]
    fn a_text_in_another_form_ages_all_the_same() {
        let text = serde_json::to_string_pretty(&answer(1)).unwrap();
        let held = Held::Written(Brief::from(&answer(1)), text.into());
        let aged = found(held.aged(4, true).unwrap()).encode(Encoding::Json).unwrap();
        let expected = Answer { freshness_ms: 7, stale: true, ..answer(1) };
        assert_eq!(aged, serde_json::to_vec(&expected).unwrap());
    }

    #[test]
    fn what_is_no_answer_is_an_error_to_those_who_need_one() {
        let broken = Held::Written(Brief::from(&answer(1)), "{\"rows\":[7]}".into());
        assert_eq!(found(broken.clone()).encode(Encoding::MessagePack).unwrap_err().code, AskErrorCode::Internal);
        assert_eq!(broken.aged(1, false).unwrap_err().code, AskErrorCode::Internal);
    }

    #[test]
    fn what_no_message_takes_is_refused_as_it_is_written() {
        let long = Answer { next: Some("x".repeat(MAX_REPLY_BYTES)), ..answer(0) };
        assert_eq!(found(written(&long)).encode(Encoding::Json).unwrap_err().code, AskErrorCode::TooLarge);
    }

    #[test]
    fn memory_is_counted_by_row() {
        let bytes = |rows| {
            let mut made = answer(rows);
            made.rows.iter_mut().for_each(|row| row.0.truncate(1));
            Held::Made(Arc::new(made)).bytes_in_memory()
        };
        let row = (bytes(1_001) - bytes(1)) / 1_000;
        assert!((100..300).contains(&row), "{row} bytes");
        let text = written(&answer(1_001)).bytes_in_memory();
        assert!((50_000..100_000).contains(&text), "{text} bytes");
    }
}
