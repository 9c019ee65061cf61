//! Messages on their way from a source to INBOX. Pure: decides what is published next, and what may be acknowledged.

use crate::arrival::ArrivedMessage;
use crate::publication::{self, Publication};
use crate::translation::{ForeignMessage, SourceMark, Translation, Translator};
use std::collections::VecDeque;

/// Bytes of publications from which on no further message is translated until they are durable: a small message can make many
/// events.
const QUEUE_BYTES: usize = 8 << 20;

/// Most messages that are on their way at a time.
pub const MAX_BATCH_MESSAGES: usize = 256;

/// Messages of one reading that are not all durable yet.
///
/// # Invariants
/// A message is among the `translated` until everything that was made of it, and of those before it, is durable.
#[derive(Default)]
pub struct InFlight {
    mark: SourceMark,
    /// Not translated yet.
    arrived: VecDeque<ArrivedMessage>,
    /// Their publications are in the queue, or durable.
    translated: Vec<ArrivedMessage>,
    pub queue: VecDeque<Publication>,
}

/// What was counted while messages were translated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TranslationTally {
    pub messages: u64,
    pub repeated: u64,
    pub events: u64,
    pub unmapped: u64,
    pub passed_over: u64,
}

impl InFlight {
    /// An empty batch for the messages of a reading.
    pub fn of(mark: SourceMark) -> Self {
        Self { mark, ..Self::default() }
    }

    pub fn is_stored(&self) -> bool {
        self.mark.is_stored
    }

    pub fn push(&mut self, arrival: ArrivedMessage) {
        self.arrived.push_back(arrival);
    }

    pub fn len(&self) -> usize {
        self.arrived.len() + self.translated.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The messages that are not translated yet.
    pub fn arrived(&self) -> impl Iterator<Item = &ArrivedMessage> {
        self.arrived.iter()
    }

    /// Translates messages until they make `most` events, the queue is long enough, or none is left.
    pub fn translate(&mut self, translator: &Translator, most: u64) -> TranslationTally {
        let mut tally = TranslationTally::default();
        let mut bytes: usize = self.queue.iter().map(Publication::bytes).sum();
        while bytes < QUEUE_BYTES
            && tally.events < most
            && let Some(arrival) = self.arrived.pop_front()
        {
            let Translation { publications, events, unmapped, passed_over } =
                translate(translator, &arrival, &self.mark);
            tally.messages += 1;
            tally.repeated += u64::from(arrival.is_repeated);
            tally.events += events;
            tally.unmapped += unmapped;
            tally.passed_over += passed_over;
            bytes += publications.iter().map(Publication::bytes).sum::<usize>();
            publications.into_iter().for_each(|publication| publication::push(&mut self.queue, publication));
            self.translated.push(arrival);
        }
        tally
    }

    /// The messages of which everything is durable: all that were translated, once the queue is empty.
    pub fn durable(&mut self) -> Vec<ArrivedMessage> {
        match self.queue.is_empty() {
            true => std::mem::take(&mut self.translated),
            false => Vec::new(),
        }
    }

    /// The messages that the source's broker waits for.
    pub fn unfinished(&self) -> impl Iterator<Item = &ArrivedMessage> {
        self.translated.iter().chain(&self.arrived)
    }

    /// Everything that is not durable for certain.
    pub fn into_unfinished(self) -> impl Iterator<Item = ArrivedMessage> {
        self.translated.into_iter().chain(self.arrived)
    }
}

fn translate(translator: &Translator, arrival: &ArrivedMessage, mark: &SourceMark) -> Translation {
    let headers: Vec<(&str, &str)> =
        arrival.headers.iter().filter_map(|(name, values)| Some((name.as_ref(), values.first()?.as_str()))).collect();
    translator.translate(&ForeignMessage {
        subject: &arrival.subject,
        headers: &headers,
        payload: &arrival.payload,
        arrived: arrival.at,
        mark,
        number: arrival.number,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use daybook_domain::catalogue::{Kind, Mode};
    use daybook_domain::ids::Name;
    use daybook_domain::mapping::{Explode, Mapping, Pick, Take};
    use daybook_mapping::{RecordMapper, Zones};

    fn translator() -> Translator {
        let name = |text: &str| Name::new(text).unwrap();
        let mapping = Mapping {
            tenant: Some(Pick { constant: Some("acme".into()), ..Pick::default() }),
            at: Some(Pick { take: Some(Take::Arrival), ..Pick::default() }),
            explode: Some(Explode { path: String::new(), complete: false, slots: None }),
            ..Mapping::new(name("m"))
        };
        let (dimensions, measures, mappings) = (Vec::new(), Vec::new(), vec![mapping]);
        let kind =
            Kind { name: name("click"), mode: Mode::Fact, dimensions, measures, revision: 1, mappings, remember: None };
        Translator::new(RecordMapper::find(&[kind], &"m".parse().unwrap(), Zones::default(), None).unwrap(), None)
    }

    fn message(number: u64, events: usize) -> ArrivedMessage {
        ArrivedMessage {
            subject: "clicks".into(),
            headers: async_nats::HeaderMap::new(),
            payload: format!("[{}]", vec!["{}"; events].join(",")).into(),
            at: "2024-03-01T12:00:00Z".parse().unwrap(),
            number,
            is_repeated: number == 2,
            acker: None,
        }
    }

    fn numbers(messages: impl IntoIterator<Item = ArrivedMessage>) -> Vec<u64> {
        messages.into_iter().map(|message| message.number).collect()
    }

    #[test]
    fn a_message_is_durable_when_all_that_was_made_of_it_is() {
        let mut in_flight = InFlight::of(SourceMark { text: "S@1".to_owned(), is_stored: true });
        (1..=3).for_each(|number| in_flight.push(message(number, 2)));
        let tally = in_flight.translate(&translator(), u64::MAX);
        assert_eq!((tally.messages, tally.repeated, tally.events), (3, 1, 6));
        assert_eq!(in_flight.queue.len(), 1, "a batch of all six");
        assert_eq!(numbers(in_flight.durable()), [0; 0], "of the last ones nobody knows yet");
        assert_eq!(in_flight.len(), 3);
        in_flight.queue.clear();
        assert_eq!(numbers(in_flight.durable()), [1, 2, 3]);
        assert!(in_flight.is_empty());
    }

    #[test]
    fn messages_wait_while_the_queue_is_long_and_none_is_forgotten() {
        let mut in_flight = InFlight::of(SourceMark { text: "S@1".to_owned(), is_stored: true });
        (1..=64).for_each(|number| in_flight.push(message(number, 9_000)));
        let tally = in_flight.translate(&translator(), u64::MAX);
        assert!((2..32).contains(&tally.messages), "{tally:?}");
        assert_eq!(in_flight.arrived().count() as u64, 64 - tally.messages);
        assert_eq!(in_flight.translate(&translator(), u64::MAX).messages, 0, "the queue is long enough");
        in_flight.queue.clear();
        assert_eq!(in_flight.translate(&translator(), 9_001).messages, 2, "and with two there are as many events");
        assert_eq!(numbers(in_flight.into_unfinished()), (1..=64).collect::<Vec<_>>());
    }
}
