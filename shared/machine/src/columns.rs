//! The columns of an entity's version in one short text: there are millions of them, and those of most need no memory of
//! their own.
//!
//! First stands how many dimensions there are, then each as its length and its text, then the measures. A number is
//! written six bits at a time, the lowest first, each as the character of that code, 64 higher where more follow: so all
//! of it is text, and what is read of it needs no check. Measures are zigzagged: 0, -1, 1, -2. What stands before a column is
//! gone through to read it, which is less than to go elsewhere for it where columns are few, and 127 steps where they are many.

use compact_str::CompactString;
use smallvec::SmallVec;

/// Stands for a column that is null: a zero that takes one character more than zero does.
const NULL: &[u8] = b"\x40\0";
/// Bits of a number in a character.
const BITS: u32 = 6;
/// More of the number follows.
const MORE: u8 = 1 << BITS;

/// Dimensions and measures, in the order of their kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Columns(CompactString);

impl Columns {
    /// Puts them together.
    pub fn new<'v>(
        dims: impl ExactSizeIterator<Item = Option<&'v str>>,
        measures: impl Iterator<Item = Option<i64>>,
    ) -> Self {
        let mut packed = Packed::new();
        write_number(&mut packed, dims.len() as u64);
        for text in dims {
            match text {
                Some(text) => {
                    write_number(&mut packed, text.len() as u64);
                    packed.extend_from_slice(text.as_bytes());
                }
                None => packed.extend_from_slice(NULL),
            }
        }
        for value in measures {
            match value {
                Some(value) => write_number(&mut packed, ((value << 1) ^ (value >> 63)) as u64),
                None => packed.extend_from_slice(NULL),
            }
        }
        Self(CompactString::from_utf8(packed).expect("characters and texts"))
    }

    /// The dimensions.
    pub fn dims(&self) -> impl Iterator<Item = Option<&str>> {
        let mut from = Reader(&self.0);
        (0..from.number()).map(move |_| from.text())
    }

    /// The measures.
    pub fn measures(&self) -> impl Iterator<Item = Option<i64>> {
        let mut from = Reader(&self.0);
        for _ in 0..from.number() {
            from.text();
        }
        std::iter::from_fn(move || (!from.0.is_empty()).then(|| from.value()))
    }
}

type Packed = SmallVec<[u8; 64]>;

#[inline]
fn write_number(to: &mut Packed, mut number: u64) {
    while number >= u64::from(MORE) {
        to.push(number as u8 & (MORE - 1) | MORE);
        number >>= BITS;
    }
    to.push(number as u8);
}

/// What is left to be read. It was written here, so that nothing is missing.
struct Reader<'p>(&'p str);

impl<'p> Reader<'p> {
    fn number(&mut self) -> u64 {
        let (mut number, mut shift, mut len) = (0, 0, 0);
        for byte in self.0.bytes() {
            number |= u64::from(byte & (MORE - 1)) << shift;
            shift += BITS;
            len += 1;
            if byte < MORE {
                break;
            }
        }
        self.0 = &self.0[len..];
        number
    }

    fn null(&mut self) -> bool {
        let is_null = self.0.as_bytes().starts_with(NULL);
        if is_null {
            self.0 = &self.0[NULL.len()..];
        }
        is_null
    }

    fn text(&mut self) -> Option<&'p str> {
        if self.null() {
            return None;
        }
        let len = self.number() as usize;
        let (text, rest) = self.0.split_at(len);
        self.0 = rest;
        Some(text)
    }

    fn value(&mut self) -> Option<i64> {
        if self.null() {
            return None;
        }
        let zigzag = self.number();
        Some((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn value() -> impl Strategy<Value = Option<i64>> {
        let any = (any::<i64>(), 0_u32..64).prop_map(|(value, shift)| value >> shift);
        prop::option::of(prop_oneof![Just(i64::MIN), Just(i64::MAX), any])
    }

    proptest! {
        #[test]
        fn what_is_put_in_comes_out(
            dims in prop::collection::vec(prop::option::of("[a-z\0@ß€]{0,80}"), 0..70),
            measures in prop::collection::vec(value(), 0..70),
        ) {
            let columns = Columns::new(dims.iter().map(Option::as_deref), measures.iter().copied());
            prop_assert_eq!(columns.dims().map(|text| text.map(str::to_owned)).collect::<Vec<_>>(), dims);
            prop_assert_eq!(columns.measures().collect::<Vec<_>>(), measures);
        }
    }

    #[test]
    fn those_of_a_usual_entity_need_no_memory_of_their_own() {
        let dims = ["store-12", "c4711"].map(Some);
        let columns = Columns::new(dims.into_iter(), [Some(123_456)].into_iter());
        assert!(!columns.0.is_heap_allocated(), "{columns:?}");
    }
}
