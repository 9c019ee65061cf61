//! Reads batches as they are written here, field after field: several times as fast as by way of serde, which does nothing but
//! this on the way of every event. Whatever looks otherwise is left to serde, which decides whether it is a batch at all:
//! [`batch`] finds nothing then, and where it finds something serde would find the same.

use super::{Batch, Event, Events, Record, Through};
use compact_str::CompactString;
use daybook_domain::catalogue::Status;
use daybook_domain::ids::{InboxSeq, Name, TenantId};
use daybook_domain::time::{Date, Instant};
use serde::Deserialize;
use smallvec::{Array, SmallVec};

/// The batch, where it is one in the usual form.
pub(super) fn batch(bytes: &[u8]) -> Option<Batch> {
    let mut from = Cursor(bytes);
    from.tuple(3)?;
    let format = u8::try_from(from.unsigned()?).ok()?;
    from.tuple(2)?;
    let through = Through { inbox: InboxSeq(from.unsigned()?), events: from.small()? };
    let records = from.list(record)?;
    from.0.is_empty().then_some(Batch { format, through, records })
}

fn record(from: &mut Cursor<'_>) -> Option<Record> {
    // A map of one entry: the kind of record, and its fields.
    match from.0 {
        [0x81, 0xa1, b'e', rest @ ..] => {
            from.0 = rest;
            events(from).map(Record::Events)
        }
        // The others are few.
        _ => Record::deserialize(&mut rmp_serde::Deserializer::new(&mut from.0)).ok(),
    }
}

fn events(from: &mut Cursor<'_>) -> Option<Events> {
    from.tuple(4)?;
    Some(Events {
        inbox: InboxSeq(from.unsigned()?),
        tenant: TenantId::new(from.text()?).ok()?,
        kind: Name::new(from.text()?).ok()?,
        events: from.list(event)?,
    })
}

fn event(from: &mut Cursor<'_>) -> Option<Event> {
    from.tuple(8)?;
    Some(Event {
        index: from.small()?,
        date: Date::from_days(i32::try_from(from.signed()?).ok()?),
        at: Instant::from_millis(from.signed()?),
        id: from.option(Cursor::compact)?,
        version: from.option(Cursor::unsigned)?,
        status: match from.raw()? {
            b"final" => Status::Final,
            b"draft" => Status::Draft,
            b"void" => Status::Void,
            _ => return None,
        },
        dims: from.columns(Cursor::compact)?,
        measures: from.columns(Cursor::signed)?,
    })
}

/// What is left to be read.
struct Cursor<'b>(&'b [u8]);

impl<'b> Cursor<'b> {
    #[inline]
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    #[inline]
    fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*first)
    }

    /// The head of an array of that many things.
    #[inline]
    fn tuple(&mut self, len: usize) -> Option<()> {
        (self.array()? == len).then_some(())
    }

    #[inline]
    fn array(&mut self) -> Option<usize> {
        match self.byte()? {
            head @ 0x90..=0x9f => Some(usize::from(head & 0xf)),
            0xdc => Some(usize::from(u16::from_be_bytes(self.bytes()?))),
            0xdd => usize::try_from(u32::from_be_bytes(self.bytes()?)).ok(),
            _ => None,
        }
    }

    fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let len = self.array()?;
        // Every item takes a byte at least, so a false length costs no memory.
        let mut items = Vec::with_capacity(len.min(self.0.len()));
        for _ in 0..len {
            items.push(item(self)?);
        }
        Some(items)
    }

    #[inline]
    fn columns<A: Array<Item = Option<T>>, T>(
        &mut self,
        mut value: impl FnMut(&mut Self) -> Option<T>,
    ) -> Option<SmallVec<A>> {
        let len = self.array()?;
        let mut columns = SmallVec::with_capacity(len.min(self.0.len()));
        for _ in 0..len {
            columns.push(self.option(&mut value)?);
        }
        Some(columns)
    }

    #[inline]
    fn option<T>(&mut self, value: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        if let [0xc0, rest @ ..] = self.0 {
            self.0 = rest;
            return Some(None);
        }
        value(self).map(Some)
    }

    #[inline]
    fn unsigned(&mut self) -> Option<u64> {
        match self.byte()? {
            small @ 0..=0x7f => Some(u64::from(small)),
            0xcc => self.byte().map(u64::from),
            0xcd => Some(u64::from(u16::from_be_bytes(self.bytes()?))),
            0xce => Some(u64::from(u32::from_be_bytes(self.bytes()?))),
            0xcf => Some(u64::from_be_bytes(self.bytes()?)),
            _ => None,
        }
    }

    #[inline]
    fn small(&mut self) -> Option<u32> {
        u32::try_from(self.unsigned()?).ok()
    }

    #[inline]
    fn signed(&mut self) -> Option<i64> {
        match *self.0.first()? {
            small @ 0xe0..=0xff => {
                self.byte()?;
                Some(i64::from(small as i8))
            }
            0xd0..=0xd3 => match self.byte()? {
                0xd0 => Some(i64::from(i8::from_be_bytes(self.bytes()?))),
                0xd1 => Some(i64::from(i16::from_be_bytes(self.bytes()?))),
                0xd2 => Some(i64::from(i32::from_be_bytes(self.bytes()?))),
                _ => Some(i64::from_be_bytes(self.bytes()?)),
            },
            _ => i64::try_from(self.unsigned()?).ok(),
        }
    }

    #[inline]
    fn text(&mut self) -> Option<&'b str> {
        std::str::from_utf8(self.raw()?).ok()
    }

    /// The bytes of a text.
    #[inline]
    fn raw(&mut self) -> Option<&'b [u8]> {
        let len = match self.byte()? {
            head @ 0xa0..=0xbf => usize::from(head & 0x1f),
            0xd9 => usize::from(self.byte()?),
            0xda => usize::from(u16::from_be_bytes(self.bytes()?)),
            0xdb => usize::try_from(u32::from_be_bytes(self.bytes()?)).ok()?,
            _ => return None,
        };
        let (text, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(text)
    }

    #[inline]
    fn compact(&mut self) -> Option<CompactString> {
        self.text().map(CompactString::new)
    }
}

#[cfg(test)]
mod tests {
    use super::super::FORMAT;
    use super::*;
    use proptest::prelude::*;

    fn text() -> impl Strategy<Value = Option<CompactString>> {
        // Of every head that a text can have.
        let long = prop::sample::select(vec![31_usize, 32, 255, 256, 65_535, 65_536]);
        prop_oneof![
            2 => Just(None),
            8 => "[a-zß€]{0,30}".prop_map(|text| Some(text.into())),
            1 => long.prop_map(|len| Some("x".repeat(len).into())),
        ]
    }

    fn integer() -> impl Strategy<Value = i64> {
        (any::<i64>(), 0_u32..64).prop_map(|(value, shift)| value >> shift)
    }

    fn any_event() -> impl Strategy<Value = Event> {
        let status = prop::sample::select(Status::ALL.to_vec());
        let columns = (prop::collection::vec(text(), 0..20), prop::collection::vec(prop::option::of(integer()), 0..20));
        let numbers = (any::<u32>(), 0_u32..32, -100_000_i32..100_000, integer(), prop::option::of(integer()));
        (numbers, text(), status, columns).prop_map(|(numbers, id, status, (dims, measures))| {
            let (index, shift, days, at, version) = numbers;
            Event {
                index: index >> shift,
                date: Date::from_days(days),
                at: Instant::from_millis(at),
                id,
                version: version.map(|version| version as u64),
                status,
                dims: dims.into(),
                measures: measures.into(),
            }
        })
    }

    fn any_batch() -> impl Strategy<Value = Batch> {
        let events = |(inbox, events)| {
            let (tenant, kind) = (TenantId::new("tenant-1").unwrap(), Name::new("order").unwrap());
            Record::Events(Events { inbox: InboxSeq(inbox), tenant, kind, events })
        };
        let day = super::super::tests::day_marker();
        let record = prop_oneof![
            4 => (any::<u64>(), prop::collection::vec(any_event(), 0..20)).prop_map(events),
            1 => Just(Record::Day(day)),
        ];
        (any::<u64>(), any::<u32>(), prop::collection::vec(record, 0..6)).prop_map(|(inbox, events, records)| Batch {
            format: FORMAT,
            through: Through { inbox: InboxSeq(inbox), events },
            records,
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn what_was_encoded_is_read(written in any_batch()) {
            let bytes = written.encode();
            prop_assert_eq!(&bytes, &rmp_serde::to_vec(&written).unwrap(), "what serde writes");
            prop_assert_eq!(batch(&bytes), Some(written));
        }

        /// What it reads of damaged bytes is what serde reads.
        #[test]
        fn nothing_is_read_that_serde_would_not_read(
            written in any_batch(),
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
            cut in prop::option::of(any::<prop::sample::Index>()),
        ) {
            let mut bytes = written.encode();
            for (at, byte) in damage {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if let Some(cut) = cut {
                bytes.truncate(cut.index(bytes.len()));
            }
            if let Some(read) = batch(&bytes) {
                prop_assert_eq!(rmp_serde::from_slice::<Batch>(&bytes).ok(), Some(read));
            }
        }
    }
}
