//! An answer as query holds it: what a shard said is handed on as it was written, unless somebody asks for another encoding.

use crate::encoding::Encoding;
use daybook_contracts::ask::{Answer, AskError, AskErrorCode, Asked};
use daybook_contracts::report::{Figure, Row};
use daybook_domain::ids::Name;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use std::sync::Arc;

/// Where an answer comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
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

impl Source {
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

/// The rows of an answer.
#[derive(Clone, Debug)]
pub enum Rows {
    /// A shard's, in JSON.
    Written(Box<RawValue>),
    Made(Vec<Row>),
}

/// An answer, and where it comes from.
#[derive(Clone, Debug)]
pub struct Found {
    pub answer: Arc<Answer<Rows>>,
    pub source: Source,
}

impl Found {
    /// One that was made here.
    pub fn made(answer: Answer, source: Source) -> Self {
        Self::new(answer.with_rows(Rows::Made), source)
    }

    pub fn new(answer: Answer<Rows>, source: Source) -> Self {
        Self { answer: Arc::new(answer), source }
    }

    /// The reply.
    ///
    /// # Errors
    /// When it does not fit a message, or a shard wrote rows that are none.
    pub fn encode(&self, encoding: Encoding) -> Asked<Vec<u8>> {
        match (encoding, &self.answer.rows) {
            (Encoding::Json, _) | (Encoding::MessagePack, Rows::Made(_)) => encoding.answer(&*self.answer),
            (Encoding::MessagePack, Rows::Written(rows)) => {
                let rows: Vec<Row> = serde_json::from_str(rows.get()).map_err(|error| {
                    AskError::new(AskErrorCode::Internal, format!("the shard's rows cannot be read: {error}"))
                })?;
                encoding.answer(&Answer::clone(&self.answer).with_rows(|_| rows))
            }
        }
    }
}

impl Serialize for Rows {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Written(rows) => rows.serialize(serializer),
            Self::Made(rows) => rows.serialize(serializer),
        }
    }
}

impl Rows {
    /// What they take in memory, roughly.
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
            Self::Written(rows) => rows.get().len(),
            Self::Made(rows) => rows.iter().map(row).sum(),
        }
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use daybook_contracts::ask::{AsOf, DayState};
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

    /// As a shard writes it, and query reads that.
    fn written(answer: &Answer) -> Found {
        let reply = serde_json::to_vec(&Asked::Ok(answer)).unwrap();
        let read: Asked<Answer<Box<RawValue>>> = serde_json::from_slice(&reply).unwrap();
        Found::new(read.unwrap().with_rows(Rows::Written), Source::Shard)
    }

    #[test]
    fn what_is_handed_on_is_what_would_be_made() {
        for rows in [0, 1, 3] {
            let (made, written) = (Found::made(answer(rows), Source::Report), written(&answer(rows)));
            for encoding in [Encoding::Json, Encoding::MessagePack] {
                assert_eq!(made.encode(encoding).unwrap(), written.encode(encoding).unwrap(), "{encoding:?}");
            }
        }
    }

    #[test]
    fn rows_that_are_none_are_an_error_to_those_who_need_them() {
        let mut found = written(&answer(1));
        let rows = RawValue::from_string("[7]".to_owned()).unwrap();
        found.answer = Arc::new(Answer::clone(&found.answer).with_rows(|_| Rows::Written(rows)));
        assert_eq!(found.encode(Encoding::MessagePack).unwrap_err().code, AskErrorCode::Internal);
    }

    #[test]
    fn memory_is_counted_by_row() {
        let row = Row(vec![(Name::new("carrier").unwrap(), Figure::Text("a name that does not fit inline".into()))]);
        let bytes = |rows| Rows::Made(vec![row.clone(); rows]).bytes_in_memory();
        let row = (bytes(1_001) - bytes(1)) / 1_000;
        assert!((100..300).contains(&row), "{row} bytes");
        let text = written(&answer(1_001)).answer.rows.bytes_in_memory();
        assert!((50_000..100_000).contains(&text), "{text} bytes");
    }
}
