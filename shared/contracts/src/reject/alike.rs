//! Bounds what is stored for the rejects of one message: many small events that are no good would else take a hundred times the
//! bytes of their message.

use super::{Code, Original, Reject, Span};
use std::collections::BTreeMap;

/// Bytes that the rejects of a message may take besides as many as the message has: those of a small message are all told one
/// by one.
const ALLOWANCE_BYTES: usize = 4 << 10;
/// Bytes of a reject besides its texts and its original, in JSON.
const REJECT_BYTES: usize = 250;

/// The rejects of one message. While they take no more bytes than the message has, each is told by itself; after that those of
/// one code are told together, without their originals.
#[derive(Debug)]
pub struct Alike {
    bytes_left: usize,
    /// Where the reject of each code is that stands for several.
    together: BTreeMap<Code, usize>,
}

/// What is to be done with a reject.
#[derive(Debug, PartialEq, Eq)]
pub enum Told {
    /// It is to be stored.
    Stored(Reject),
    /// The one at this place stands for one event more.
    With(usize),
}

impl Alike {
    /// For a message of so many bytes.
    pub fn of(message_bytes: usize) -> Self {
        Self { bytes_left: message_bytes + ALLOWANCE_BYTES, together: BTreeMap::new() }
    }

    /// Says what is to be done with the next reject, which would be stored at `place`.
    pub fn tell(&mut self, reject: Reject, place: usize) -> Told {
        let bytes = bytes_of(&reject);
        if bytes <= self.bytes_left {
            self.bytes_left -= bytes;
            return Told::Stored(reject);
        }
        // Whatever comes now is told with others, also when it would fit: which are told by themselves is easy to say then.
        self.bytes_left = 0;
        match self.together.entry(reject.code) {
            std::collections::btree_map::Entry::Occupied(place) => Told::With(*place.get()),
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert(place);
                let span = Some(Span { events: 1, last: reject.inbox });
                Told::Stored(Reject { original: Original::new(b""), span, ..reject })
            }
        }
    }

    /// The places hold other things from now on.
    pub fn forget_places(&mut self) {
        self.together.clear();
    }
}

/// The rejects that were found of one message as they are told, where only their own events are known of the message.
pub fn gather(rejects: Vec<Reject>) -> Vec<Reject> {
    let mut alike = Alike::of(rejects.iter().map(|reject| reject.original.bytes().len()).sum());
    let mut gathered: Vec<Reject> = Vec::new();
    for reject in rejects {
        match alike.tell(reject, gathered.len()) {
            Told::Stored(reject) => gathered.push(reject),
            Told::With(place) => gathered[place].extend(),
        }
    }
    gathered
}

impl Reject {
    /// Counts one event more to a reject that stands for several of one message.
    ///
    /// # Panics
    /// When it stands for one only.
    pub fn extend(&mut self) {
        self.span.as_mut().expect("a reject that stands for several").events += 1;
    }
}

/// About how many bytes a reject takes.
fn bytes_of(reject: &Reject) -> usize {
    let texts = [&reject.reason, &reject.tenant, &reject.kind].map(String::len).iter().sum::<usize>();
    REJECT_BYTES + texts + reject.field.as_ref().map_or(0, String::len) + reject.original.bytes().len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use daybook_domain::ids::InboxSeq;
    use proptest::prelude::*;

    fn reject(index: u32, code: Code, original: &[u8]) -> Reject {
        Reject {
            code,
            reason: "a reason".into(),
            tenant: "acme".into(),
            kind: "order".into(),
            inbox: InboxSeq(7),
            index,
            field: None,
            date: None,
            original: Original::new(original),
            span: None,
        }
    }

    /// The rejects of a message as they are stored.
    fn stored(message_bytes: usize, rejects: Vec<Reject>) -> Vec<Reject> {
        let (mut alike, mut stored) = (Alike::of(message_bytes), Vec::<Reject>::new());
        for reject in rejects {
            match alike.tell(reject, stored.len()) {
                Told::Stored(reject) => stored.push(reject),
                Told::With(place) => stored[place].extend(),
            }
        }
        stored
    }

    #[test]
    fn a_few_rejects_are_told_one_by_one() {
        let few: Vec<Reject> = (0..10).map(|index| reject(index, Code::WrongType, b"{}")).collect();
        assert_eq!(stored(2_000, few.clone()), few);
    }

    #[test]
    fn ten_thousand_zeros_take_no_more_than_their_message() {
        let zeros = (0..10_000).map(|index| reject(index, Code::Malformed, b"0")).collect();
        let told = stored(20_001, zeros);
        let bytes: usize = told.iter().map(bytes_of).sum();
        assert!(bytes < 25_000 && told.len() < 100, "{bytes} bytes, {} rejects", told.len());
        assert_eq!(told.iter().map(Reject::events).sum::<u64>(), 10_000);
        let last = told.last().unwrap();
        assert_eq!((last.index as usize, last.span.unwrap().last), (told.len() - 1, InboxSeq(7)));
        assert!(last.original.bytes().is_empty());
    }

    proptest! {
        #[test]
        fn every_event_is_told_and_what_is_stored_has_a_bound(
            message in 0_usize..50_000,
            events in prop::collection::vec((0_usize..4, 0_usize..3_000), 0..300),
        ) {
            const CODES: [Code; 4] = [Code::Malformed, Code::WrongType, Code::Late, Code::Overflow];
            let rejects: Vec<Reject> =
                events.iter().zip(0..).map(|((code, size), n)| reject(n, CODES[*code], &vec![b'x'; *size])).collect();
            let told = stored(message, rejects.clone());
            for code in CODES {
                let events = |rejects: &[Reject]| rejects.iter().filter(|it| it.code == code).map(Reject::events).sum::<u64>();
                prop_assert_eq!(events(&told), events(&rejects));
            }
            let bytes: usize = told.iter().map(bytes_of).sum();
            prop_assert!(bytes <= message + ALLOWANCE_BYTES + CODES.len() * 300, "{} of {}", bytes, message);
            let alone = told.iter().take_while(|reject| reject.span.is_none()).count();
            prop_assert_eq!(&told[..alone], &rejects[..alone]);
            prop_assert!(told[alone..].iter().all(|reject| reject.span.is_some()));
        }
    }
}
