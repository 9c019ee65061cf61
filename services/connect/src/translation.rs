//! What is published of a foreign message. Pure: the same message, mapping and definitions give the same publications, so a
//! message that is delivered again adds nothing.

use crate::publication::{self, Publication};
use compact_str::{CompactString, format_compact};
use daybook_contracts::event::Problem;
use daybook_contracts::reject::{Code, MAX_ORIGINAL_BYTES};
use daybook_domain::catalogue::Mode;
use daybook_domain::ids::{Name, TenantId};
use daybook_domain::time::Instant;
use daybook_mapping::{
    MAX_OUTCOMES, MappedEvent, MappingName, Originals, Outcome, Record, RecordMapper, Refused, Unmapped,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Longest event that is published, in bytes. The broker takes 1 MiB with the headers; ingest refuses what is above 64 KiB.
const MAX_PUBLISHED_BYTES: usize = 768 * 1024;

/// Items of one message and tenant of which each is a reject of its own; all further ones share one.
const MAX_REJECTS: u64 = 100;

/// Bits of a version that tell the events of one message apart; the sequence of the message is in the bits above. A stream has far
/// fewer than 2⁴⁸ messages.
const PLACE_BITS: u32 = 16;

const _: () = assert!(MAX_OUTCOMES < 1 << PLACE_BITS, "places of one message must not run into the next one");

/// A foreign message.
#[derive(Clone, Copy, Debug)]
pub struct ForeignMessage<'m> {
    pub subject: &'m str,
    pub headers: &'m [(&'m str, &'m str)],
    pub payload: &'m [u8],
    /// When its stream stored it, or when it was heard on a core subject.
    pub arrived: Instant,
    pub mark: &'m SourceMark,
    /// Its sequence in the stream, or how many messages were heard before it.
    pub number: u64,
}

/// What tells the messages of one reading of a source from all others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceMark {
    /// The beginning of ids of facts that have none. For a stream it differs from that of other streams of its name, for a listener
    /// from that of any other process and run.
    pub text: String,
    /// The messages are those of a stream; else they were heard on core subjects.
    pub is_stored: bool,
}

/// What comes of one message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Translation {
    pub publications: VecDeque<Publication>,
    pub events: u64,
    /// Records, or items of them, that no event could be made of.
    pub unmapped: u64,
    /// Records, or items of them, that are no events by the mapping's `when`.
    pub passed_over: u64,
}

/// Translates the messages of one source.
#[derive(Clone, Debug)]
pub struct Translator {
    mapper: RecordMapper,
    /// For whom events may be; for any tenant when absent.
    tenants: Option<BTreeSet<TenantId>>,
    /// The mapping gives versions, so the stream's sequence is not needed as one.
    has_version: bool,
}

impl Translator {
    /// Events of other tenants than `tenants` are rejects, where it is given.
    pub fn new(mapper: RecordMapper, tenants: Option<BTreeSet<TenantId>>) -> Self {
        let has_version = mapper.mapping().version.is_some();
        Self { mapper, tenants, has_version }
    }

    /// The mapping with its kind, however the source spells it.
    pub fn mapping(&self) -> MappingName {
        MappingName { kind: Some(self.mapper.kind.name.clone()), name: self.mapper.mapping().name.clone() }
    }

    /// What is published of a message. Events keep their order; those of one tenant that follow each other share a batch.
    pub fn translate(&self, message: &ForeignMessage<'_>) -> Translation {
        let record = Record {
            subject: message.subject,
            headers: message.headers,
            sequence: message.mark.is_stored.then_some(message.number),
            arrived: Some(message.arrived),
            ..Record::of(message.payload)
        };
        let mut output = Output::of(&self.mapper.kind.name, message.payload.len());
        for (place, outcome) in self.mapper.map_record(&record).into_iter().enumerate() {
            match self.admit(outcome, message.payload.len()) {
                Outcome::Event(made) => {
                    let made = self.complete(made, place, message);
                    output.event(&made.tenant, self.mapper.envelope(&made));
                }
                Outcome::Unmapped(unmapped) => {
                    let refused = self.mapper.refuse(message.payload, &unmapped, &mut output.originals);
                    output.refuse(refused);
                }
                Outcome::PassedOver(_) => output.translation.passed_over += 1,
            }
        }
        output.finish()
    }

    /// Refuses what is for a tenant that the source must not publish for. That tenant does not see it: whoever publishes to the source
    /// could fill its rejects.
    fn admit(&self, outcome: Outcome, payload_bytes: usize) -> Outcome {
        let is_foreign = |tenant: &TenantId| self.tenants.as_ref().is_some_and(|tenants| !tenants.contains(tenant));
        let told = |tenant: &TenantId| format!("the event is for {tenant}, which is none of the source's `tenants`");
        match outcome {
            Outcome::Event(made) if is_foreign(&made.tenant) => {
                let reason = told(&made.tenant);
                let problem = Problem::new(Code::UnknownTenant, None, reason);
                Outcome::Unmapped(Unmapped { problem, tenant: None, item: made.item, piece: 0..payload_bytes })
            }
            // With this code nobody sends it again for that tenant once the mapping is mended.
            Outcome::Unmapped(Unmapped { problem, tenant: Some(tenant), item, piece }) if is_foreign(&tenant) => {
                let reason = format!("{}; besides: {}", told(&tenant), problem.reason);
                let problem = Problem { code: Code::UnknownTenant, reason, ..problem };
                Outcome::Unmapped(Unmapped { problem, tenant: None, item, piece })
            }
            other => other,
        }
    }

    /// Gives a fact without an id one that says where it comes from, and an entity without a version one that grows with the stream:
    /// then a message that comes again, late or twice, changes nothing. `place` is the event's among the outcomes of its message.
    fn complete(&self, mut made: MappedEvent, place: usize, message: &ForeignMessage<'_>) -> MappedEvent {
        let event = &mut made.event;
        match self.mapper.kind.mode {
            Mode::Fact if event.id.is_none() => event.id = Some(id_of(message, place)),
            Mode::Entity if !self.has_version && message.mark.is_stored => {
                event.version = Some(version_of(message.number, place));
            }
            Mode::Fact | Mode::Entity => {}
        }
        made
    }
}

/// Such as `ORDERS@5d1c09e2:17`, or `ORDERS@5d1c09e2:17:3` for a further event of the message.
fn id_of(message: &ForeignMessage<'_>, place: usize) -> CompactString {
    let (origin, number) = (&message.mark.text, message.number);
    match place {
        0 => format_compact!("{origin}:{number}"),
        place => format_compact!("{origin}:{number}:{place}"),
    }
}

/// Of two states of an entity the later one in the stream has the higher version, also when one message has both.
fn version_of(sequence: u64, place: usize) -> u64 {
    sequence.saturating_mul(1 << PLACE_BITS).saturating_add(place as u64)
}

struct Output<'k> {
    kind: &'k Name,
    translation: Translation,
    /// What the rejects of the message may still repeat of it.
    originals: Originals,
    /// How many items of each tenant could not be mapped, and the first that is not told by itself.
    refused: BTreeMap<String, (u64, Option<Refused>)>,
}

impl<'k> Output<'k> {
    fn of(kind: &'k Name, payload_bytes: usize) -> Self {
        Self {
            kind,
            translation: Translation::default(),
            originals: Originals::of(payload_bytes),
            refused: BTreeMap::new(),
        }
    }

    fn event(&mut self, tenant: &TenantId, event: Vec<u8>) {
        if event.len() > MAX_PUBLISHED_BYTES {
            let reason =
                format!("the event is {} bytes long; at most {MAX_PUBLISHED_BYTES} are published", event.len());
            let problem = Problem::new(Code::TooLarge, None, reason);
            let piece = self.originals.take(&event[..=MAX_ORIGINAL_BYTES]);
            return self.refuse(Refused {
                tenant: tenant.to_string(),
                kind: self.kind.clone(),
                piece,
                why: serde_json::to_string(&problem).expect("a problem is plain values"),
            });
        }
        self.translation.events += 1;
        publication::push(&mut self.translation.publications, Publication::event(tenant, self.kind, event));
    }

    fn refuse(&mut self, refused: Refused) {
        self.translation.unmapped += 1;
        let (count, further) = self.refused.entry(refused.tenant.clone()).or_default();
        *count += 1;
        match *count <= MAX_REJECTS {
            true => publication::push(&mut self.translation.publications, refused.into()),
            false => drop(further.get_or_insert(refused)),
        }
    }

    /// Adds one reject for all further items of each tenant: a small message with many bad items must not take a hundred times its
    /// bytes in the log.
    fn finish(mut self) -> Translation {
        for (count, further) in std::mem::take(&mut self.refused).into_values() {
            let Some(mut refused) = further else { continue };
            if let Ok(problem) = serde_json::from_str::<Problem>(&refused.why) {
                let items = count - MAX_REJECTS;
                let reason = format!(
                    "{items} further items of the message cannot be mapped, the first because {}",
                    problem.reason
                );
                let problem = Problem::new(problem.code, problem.field.as_deref(), reason);
                refused.why = serde_json::to_string(&problem).expect("a problem is plain values");
            }
            publication::push(&mut self.translation.publications, refused.into());
        }
        self.translation
    }
}

#[cfg(test)]
mod tests;
