//! Pages of remembered ids as they are stored: the ids in order of their hashes, each with its day.
//!
//! A page begins with the version of its form, the oldest of its days and how many ids it has. An id is the days from that oldest one
//! to its own, its length, and its bytes. Numbers are written seven bits at a time, the lowest first.

use crate::pages::stable_hash;
use daybook_domain::time::Date;

/// Version of the form.
const FORMAT: u8 = 1;
/// Bits of a number in a byte, and the bit that says that more of it follows.
const BITS: u32 = 7;
const MORE: u8 = 1 << BITS;

/// An id with its hash, and the business day that it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Id<'i> {
    pub hash: u64,
    pub text: &'i str,
    pub date: Date,
}

/// The page of these ids, which are in order.
pub fn encode(ids: &[Id<'_>]) -> Vec<u8> {
    let oldest = ids.iter().map(|id| id.date).min().unwrap_or(Date::from_days(0));
    let mut bytes = Vec::with_capacity(ids.iter().map(|id| id.text.len() + 3).sum::<usize>() + 8);
    bytes.push(FORMAT);
    bytes.extend(oldest.as_days().to_be_bytes());
    write_number(&mut bytes, ids.len() as u32);
    for id in ids {
        write_number(&mut bytes, (id.date.as_days() - oldest.as_days()) as u32);
        write_number(&mut bytes, id.text.len() as u32);
        bytes.extend(id.text.as_bytes());
    }
    bytes
}

fn write_number(bytes: &mut Vec<u8>, mut number: u32) {
    while number >= u32::from(MORE) {
        bytes.push(number as u8 | MORE);
        number >>= BITS;
    }
    bytes.push(number as u8);
}

/// The page is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damaged;

/// The days and ids of a page, one after the other. After an error nothing of what follows means anything.
#[derive(Debug)]
pub struct Entries<'p> {
    rest: &'p [u8],
    oldest: i32,
    left: u32,
}

impl<'p> Entries<'p> {
    /// Those of `page`.
    ///
    /// # Errors
    /// When it does not begin as a page does.
    pub fn of(page: &'p [u8]) -> Result<Self, Damaged> {
        let (format, rest) = page.split_first().ok_or(Damaged)?;
        let (oldest, rest) = rest.split_first_chunk::<4>().ok_or(Damaged)?;
        let mut entries = Self { rest, oldest: i32::from_be_bytes(*oldest), left: 0 };
        entries.left = entries.number().ok_or(Damaged)?;
        (*format == FORMAT).then_some(entries).ok_or(Damaged)
    }

    /// How many are left.
    pub fn left(&self) -> u32 {
        self.left
    }

    fn number(&mut self) -> Option<u32> {
        let (mut number, mut shift) = (0_u32, 0);
        loop {
            let (byte, rest) = self.rest.split_first()?;
            self.rest = rest;
            number |= u32::from(byte & (MORE - 1)).checked_shl(shift)?;
            if *byte < MORE {
                return Some(number);
            }
            shift += BITS;
        }
    }

    fn entry(&mut self) -> Option<(Date, &'p [u8])> {
        let after = i32::try_from(self.number()?).ok()?;
        let length = self.number()? as usize;
        let (id, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        let days = self.oldest.checked_add(after)?;
        let is_date = (Date::MIN.as_days()..=Date::MAX.as_days()).contains(&days);
        is_date.then(|| (Date::from_days(days), id))
    }
}

impl<'p> Iterator for Entries<'p> {
    type Item = Result<(Date, &'p [u8]), Damaged>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            // Behind the last there is nothing.
            return (!std::mem::take(&mut self.rest).is_empty()).then_some(Err(Damaged));
        }
        self.left -= 1;
        Some(self.entry().ok_or(Damaged))
    }
}

/// All ids of a page of a kind, with their hashes.
///
/// # Errors
/// When it is none.
pub fn decode(kind: u16, page: &[u8]) -> Result<Vec<Id<'_>>, Damaged> {
    // A number that was damaged costs no memory.
    Entries::of(page)?.map(|entry| id(kind, entry?)).collect()
}

fn id(kind: u16, (date, bytes): (Date, &[u8])) -> Result<Id<'_>, Damaged> {
    let text = std::str::from_utf8(bytes).map_err(|_| Damaged)?;
    Ok(Id { hash: stable_hash(u64::from(kind), bytes), text, date })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(text: &str, days: i32) -> Id<'_> {
        Id { hash: stable_hash(3, text.as_bytes()), text, date: Date::from_days(days) }
    }

    #[test]
    fn golden_bytes() {
        let bytes = encode(&[id("o-1", 20_000), id("", 19_999), id("ß", 20_200)]);
        let expected = [&[1, 0, 0, 0x4e, 0x1f, 3, 1, 3][..], b"o-1", &[0, 0, 0xc9, 1, 2], "ß".as_bytes()].concat();
        assert_eq!(bytes, expected);
    }

    proptest! {
        #[test]
        fn what_is_put_in_comes_out(ids in prop::collection::vec(("[a-z0-9ß]{0,200}", -400_i32..40_000), 0..40)) {
            let ids: Vec<Id<'_>> = ids.iter().map(|(text, days)| id(text, *days)).collect();
            let page = encode(&ids);
            prop_assert_eq!(Entries::of(&page).unwrap().left() as usize, ids.len());
            prop_assert_eq!(decode(3, &page).unwrap(), ids);
            let longer = [&page[..], &[0]].concat();
            prop_assert_eq!(decode(3, &longer), Err(Damaged), "something behind the last");
            prop_assert_eq!(decode(3, &page[..page.len() - 1]), Err(Damaged), "something is missing");
        }

        #[test]
        fn whatever_is_no_page_is_an_error(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = decode(0, &[&[FORMAT][..], &bytes].concat());
        }
    }
}
