//! Sort keys as bytes: of two keys made in the same way, the one whose bytes come first is before. One comparison of
//! memory takes the place of comparing figures and texts one by one, and a key of a few figures is a few dozen bytes.
//!
//! No value is written as the beginning of another one, so that the next part of a key never weighs on this one, and
//! the opposite direction is every byte inverted. Null is [`NULL_FIRST`] or [`NULL_LAST`], with which no value begins
//! in either direction.

use compact_str::CompactString;
use daybook_domain::value::{Number, pow10};

const NULL_FIRST: u8 = 0x00;
const NULL_LAST: u8 = 0xff;
/// The first byte of a number whose whole part is 0. More by one for every further byte of it; less where negative.
const ZERO: u8 = 0x80;
/// The first byte of a text, behind [`NULL_FIRST`].
const TEXT: u8 = 0x01;
/// Ends texts and the digits after a number's point; before all that may stand in its place.
const END: u8 = 0x00;
/// In a text, stands before the bytes 0 and 1, which are then written as 1 and 2.
const ESCAPE: u8 = 0x01;

/// Appends a null.
pub(crate) fn write_null(key: &mut Vec<u8>, last: bool) {
    key.push(if last { NULL_LAST } else { NULL_FIRST });
}

/// Appends a number; equal numbers are written alike, whatever their scales.
///
/// First the whole part, rounded down: how many bytes it has, and these, the greatest first, without those that only
/// repeat the sign. Then the digits after the point, two in a byte.
pub(crate) fn write_number(key: &mut Vec<u8>, number: Number, descending: bool) {
    let start = key.len();
    let unit = pow10(number.scale());
    let (whole, mut fraction) = (number.unscaled().div_euclid(unit), number.unscaled().rem_euclid(unit));
    let bytes = whole.to_be_bytes();
    let sign = if whole < 0 { 0xff } else { 0x00 };
    let kept = &bytes[bytes.iter().take_while(|byte| **byte == sign).count()..];
    // At most 16.
    let length = kept.len() as u8;
    key.push(if whole < 0 { ZERO - 1 - length } else { ZERO + length });
    key.extend_from_slice(kept);
    let mut digits = number.scale();
    if digits % 2 == 1 {
        digits += 1;
        fraction *= 10;
    }
    while fraction != 0 {
        digits -= 2;
        let unit = pow10(digits);
        key.push((fraction / unit) as u8 + 1);
        fraction %= unit;
    }
    key.push(END);
    if descending {
        invert(&mut key[start..]);
    }
}

/// Appends a text.
pub(crate) fn write_text(key: &mut Vec<u8>, text: &str, descending: bool) {
    let start = key.len();
    key.push(TEXT);
    for byte in text.bytes() {
        if byte <= ESCAPE {
            key.extend([ESCAPE, byte + 1]);
        } else {
            key.push(byte);
        }
    }
    key.push(END);
    if descending {
        invert(&mut key[start..]);
    }
}

/// How many bytes the number, or null, at the beginning of `key` takes.
pub(crate) fn number_length(key: &[u8], descending: bool) -> usize {
    if key[0] == NULL_FIRST || key[0] == NULL_LAST {
        return 1;
    }
    let (first, end) = if descending { (!key[0], !END) } else { (key[0], END) };
    let whole = 1 + usize::from(if first < ZERO { ZERO - 1 - first } else { first - ZERO });
    let fraction = key[whole..].iter().position(|byte| *byte == end).expect("a number ends");
    whole + fraction + 1
}

/// The text, or null, at the beginning of `key`, which was written ascending, and what stands behind it.
pub(crate) fn read_text(key: &[u8]) -> (Option<CompactString>, &[u8]) {
    if key[0] != TEXT {
        return (None, &key[1..]);
    }
    let end = key.iter().position(|byte| *byte == END).expect("a text ends");
    let mut bytes = Vec::with_capacity(end);
    let mut written = key[1..end].iter();
    while let Some(&byte) = written.next() {
        bytes.push(match byte {
            ESCAPE => written.next().expect("an escaped byte follows") - 1,
            plain => plain,
        });
    }
    (Some(CompactString::from_utf8(bytes).expect("a text was written")), &key[end + 1..])
}

fn invert(bytes: &mut [u8]) {
    bytes.iter_mut().for_each(|byte| *byte = !*byte);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::cmp::Ordering;

    fn number() -> impl Strategy<Value = Number> {
        prop_oneof![
            (-300_i128..300, 0_u8..4).prop_map(|(unscaled, scale)| Number::new(unscaled, scale)),
            (any::<i128>(), 0_u8..=36).prop_map(|(unscaled, scale)| Number::new(unscaled, scale)),
            (any::<i64>(), 0_u8..=12).prop_map(|(unscaled, scale)| Number::new(unscaled.into(), scale)),
            Just(Number::new(i128::MIN, 36)),
            Just(Number::new(i128::MAX, 0)),
        ]
    }

    fn text() -> impl Strategy<Value = String> {
        prop_oneof!["[\0\u{1}\u{2}a]{0,4}", ".{0,6}"]
    }

    fn written(number: Option<Number>, text: Option<&str>, descending: bool) -> Vec<u8> {
        let mut key = Vec::new();
        match number {
            Some(number) => write_number(&mut key, number, descending),
            None => write_null(&mut key, true),
        }
        match text {
            Some(text) => write_text(&mut key, text, descending),
            None => write_null(&mut key, descending),
        }
        key
    }

    /// Nulls of numbers come last in either direction.
    fn compare(left: Option<Number>, right: Option<Number>, descending: bool) -> Ordering {
        match (left, right) {
            (Some(left), Some(right)) if descending => right.cmp(&left),
            (Some(left), Some(right)) => left.cmp(&right),
            (left, right) => left.is_none().cmp(&right.is_none()),
        }
    }

    proptest! {
        #[test]
        fn bytes_are_ordered_as_what_they_stand_for(
            left in (prop::option::of(number()), prop::option::of(text())),
            right in (prop::option::of(number()), prop::option::of(text())),
            same in any::<bool>(),
            descending in any::<bool>(),
        ) {
            let right = if same { (left.0, right.1) } else { right };
            let texts = if descending { right.1.cmp(&left.1) } else { left.1.cmp(&right.1) };
            let expected = compare(left.0, right.0, descending).then(texts);
            let keys = [&left, &right].map(|(number, text)| written(*number, text.as_deref(), descending));
            prop_assert_eq!(keys[0].cmp(&keys[1]), expected, "{:?} {:?}", &keys[0], &keys[1]);
        }

        #[test]
        fn parts_of_a_key_can_be_told_apart(
            number in prop::option::of(number()), text in prop::option::of(text()), descending in any::<bool>(),
        ) {
            let mut key = Vec::new();
            match number {
                Some(number) => write_number(&mut key, number, descending),
                None => write_null(&mut key, true),
            }
            let length = key.len();
            match &text {
                Some(text) => write_text(&mut key, text, false),
                None => write_null(&mut key, false),
            }
            key.push(7);
            prop_assert_eq!(number_length(&key, descending), length);
            let (read, rest) = read_text(&key[length..]);
            prop_assert_eq!((read.as_deref(), rest), (text.as_deref(), &[7][..]));
        }
    }

    #[test]
    fn keys_are_short() {
        assert_eq!(written(Some(Number::integer(1000)), Some("B6"), true).len(), 4 + 4);
        assert_eq!(written(Some(Number::new(-350, 2)), None, false).len(), 4 + 1);
    }
}
