//! Payloads of events as ingest reads them. An event is within the documented bounds or a reject within its own; what is
//! recorded decodes as it was; and a shard takes all of it, counting each event once.

use super::{choice, chosen, packed};
use crate::world::{EVENTS, PARTITION, message, subject, tenant, world};
use daybook_contracts::event::{
    Encoding, MAX_DIMENSION_BYTES, MAX_EVENT_BYTES, MAX_FIELD_CHARS, MAX_ID_BYTES, MAX_MESSAGE_EVENTS,
    MAX_REASON_CHARS, ValidEvent, read,
};
use daybook_contracts::log::{Batch, FORMAT, Record, Through};
use daybook_domain::catalogue::{Kind, Mode, Status};
use daybook_domain::ids::{InboxSeq, LogSeq};
use daybook_domain::time::Instant;
use daybook_machine::{Effect, PartitionState};

/// Bit 0 of the first byte chooses the encoding, bit 1 the kind; the rest is the payload.
pub fn run(data: &[u8]) {
    let Some((choice, payload)) = choice(data) else { return };
    let encoding = if choice & 1 == 0 { Encoding::Json } else { Encoding::MessagePack };
    let kind = &world().kinds()[usize::from(choice >> 1) % world().kinds().len()];
    let events = read(payload, encoding, tenant().as_str(), kind);
    assert!((1..=MAX_MESSAGE_EVENTS).contains(&events.len()), "{} events of a message", events.len());
    for event in &events {
        match &event.outcome {
            Ok(valid) => {
                assert!(event.original.len() <= MAX_EVENT_BYTES);
                check(valid, kind);
            }
            Err(problem) => {
                assert!(problem.reason.chars().count() <= MAX_REASON_CHARS, "{problem:?}");
                assert!(problem.field.as_ref().is_none_or(|field| field.chars().count() <= MAX_FIELD_CHARS));
            }
        }
    }
    record(payload, encoding, kind, events.len());
}

fn check(event: &ValidEvent, kind: &Kind) {
    assert!((Instant::MIN..=Instant::MAX).contains(&event.at));
    assert!(event.id.as_ref().is_none_or(|id| (1..=MAX_ID_BYTES).contains(&id.len())), "{event:?}");
    assert!(event.version.is_none_or(|version| version < u64::MAX));
    match kind.mode {
        Mode::Entity => assert!(event.id.is_some(), "an entity without an id"),
        Mode::Fact => assert_eq!(event.status, Status::Final),
    }
    assert_eq!((event.dims.len(), event.measures.len()), (kind.dimensions.len(), kind.measures.len()));
    assert!(event.dims.iter().flatten().all(|text| text.len() <= MAX_DIMENSION_BYTES), "{event:?}");
}

/// Records the message and applies what was recorded.
fn record(payload: &[u8], encoding: Encoding, kind: &Kind, events: usize) {
    let mut sequencer = world().sequencer();
    sequencer
        .take(message(2, &subject(kind.name.as_str()), encoding, payload))
        .expect("what comes from nowhere stops nothing");
    let mut state = PartitionState::new(PARTITION);
    let records = world().definitions.iter().cloned().map(Record::Define).collect();
    state.apply(LogSeq(1), Batch { format: FORMAT, through: Through { inbox: InboxSeq(1), events: 0 }, records });
    let mut position = 1;
    let mut recorded = 0;
    while let Some(cut) = sequencer.cut() {
        let batch = cut.batch;
        assert_eq!(Batch::decode(&batch.encode()).as_ref().ok(), Some(&batch), "a batch comes back as it was");
        for record in &batch.records {
            recorded += match record {
                Record::Events(events) => events.events.len(),
                _ => 1,
            };
        }
        position += 1;
        for effect in state.apply(LogSeq(position), batch) {
            assert!(matches!(effect, Effect::Rejects { .. }), "nothing has closed");
        }
    }
    assert_eq!(recorded, events, "each event is recorded once");
    let days = state.days(&tenant()).expect("the tenant is defined").days;
    assert!(days.iter().all(|day| day.account.balances()));
    assert_eq!(days.iter().map(|day| day.account.published).sum::<u64>(), events as u64);
}

pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for (kind, payload) in EVENTS {
        let choice = if kind == "order" { 0 } else { 2 };
        seeds.push(chosen(choice, payload.as_bytes()));
        seeds.push(chosen(choice | 1, &packed(payload)));
    }
    seeds
}
