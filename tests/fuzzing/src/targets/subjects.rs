//! Subjects of INBOX and of questions, whose tokens are as the publisher or the asker wrote them. What is recorded of a
//! message has bounds, and whatever tenant was meant, a shard takes it.

use super::{choice, chosen};
use crate::world::{EVENTS, PARTITION, message, world};
use daybook_contracts::ask::AskErrorCode;
use daybook_contracts::event::Encoding;
use daybook_contracts::log::Batch;
use daybook_contracts::log::Record;
use daybook_domain::ids::LogSeq;
use daybook_machine::PartitionState;
use query::request::{Target, target};

/// Longest token that a reject repeats, in characters.
const MAX_TOKEN_CHARS: usize = 256;

/// The first byte says how long the first token is; a second follows it.
pub fn run(data: &[u8]) {
    let Some((length, text)) = choice(data) else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let split = (0..=usize::from(length).min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    let (first, second) = text.split_at(split);
    match target(first, second) {
        Ok((tenant, Target::View(view))) => assert_eq!((tenant.as_str(), view.as_str()), (first, second)),
        Ok((tenant, _)) => assert_eq!(tenant.as_str(), first),
        Err(error) => {
            assert!(matches!(error.code, AskErrorCode::BadRequest | AskErrorCode::UnknownView));
            assert!(error.message.chars().count() < 256, "{error}");
        }
    }
    for subject in [
        text.to_owned(),
        format!("daybook.in.{text}"),
        format!("daybook.inbox.{text}"),
        format!("daybook.inbox.{PARTITION}.{first}.event.{second}"),
    ] {
        take(&subject);
    }
}

fn take(subject: &str) {
    let mut sequencer = world().sequencer();
    sequencer
        .take(message(2, subject, Encoding::Json, EVENTS[0].1.as_bytes()))
        .expect("what comes from nowhere stops nothing");
    let cut = sequencer.cut().expect("every message moves the mark");
    assert!(sequencer.cut().is_none());
    assert_eq!(cut.batch.through.inbox.0, 2);
    for record in &cut.batch.records {
        if let Record::Rejected(reject) = record {
            assert!(reject.tenant.chars().count() <= MAX_TOKEN_CHARS && reject.kind.chars().count() <= MAX_TOKEN_CHARS);
        }
    }
    assert_eq!(Batch::decode(&cut.batch.encode()).ok().as_ref(), Some(&cut.batch));
    let mut state = PartitionState::new(PARTITION);
    state.apply(LogSeq(1), Batch { through: Default::default(), ..world().log[0].1.clone() });
    state.apply(LogSeq(2), cut.batch);
}

pub fn seeds() -> Vec<Vec<u8>> {
    [(3, "ABQorder"), (3, "ABQ~days"), (3, "ABQ~position"), (4, "E*R.click"), (0, "3.ABQ.event.order"), (2, "éa.b")]
        .map(|(length, text)| chosen(length, text.as_bytes()))
        .into()
}
