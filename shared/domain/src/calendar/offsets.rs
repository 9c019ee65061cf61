//! How far the clocks of a place are ahead of UTC. CATALOG, the log and checkpoints hold them as one list of whole seconds: when an
//! offset begins, after the one before it, and the offset; and so on.

use crate::time::{Date, Instant};
use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserializer, Serializer};
use std::fmt;

/// Most offsets of a table: every zone has fewer in all its history, and a tenant may change its zone now and then.
const MAX_OFFSETS: usize = 100_000;

/// From an instant on, local clocks are so far ahead of UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offset {
    /// A whole second, as all cut-offs and all changes of clocks are.
    pub from: Instant,
    /// Negative where they are behind.
    pub seconds: i32,
}

/// What the hours of a business day are counted by.
#[derive(Clone, Copy, Debug)]
pub struct DayClock<'t> {
    pub date: Date,
    pub opens_at: Instant,
    /// Those of its calendar, in order of time.
    pub offsets: &'t [Offset],
}

impl DayClock<'_> {
    /// How far local clocks are ahead of UTC at that time, in seconds; 0 where no offset is known.
    pub fn offset_at(&self, at: Instant) -> i64 {
        let after = self.offsets.partition_point(|offset| offset.from <= at);
        self.offsets.get(after.saturating_sub(1)).map_or(0, |offset| offset.seconds.into())
    }
}

pub(super) fn serialize<S: Serializer>(offsets: &[Offset], serializer: S) -> Result<S::Ok, S::Error> {
    let mut before = 0;
    let numbers = offsets.iter().flat_map(|offset| {
        let from = offset.from.as_millis().div_euclid(1_000);
        [from - std::mem::replace(&mut before, from), i64::from(offset.seconds)]
    });
    serializer.collect_seq(numbers.collect::<Vec<i64>>())
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Offset>, D::Error> {
    struct Offsets;
    impl<'de> Visitor<'de> for Offsets {
        type Value = Vec<Offset>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("pairs of seconds")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut offsets = Vec::new();
            let mut from = 0_i64;
            while let Some(after) = seq.next_element::<i64>()? {
                let seconds = seq.next_element()?.ok_or_else(|| de::Error::custom("an instant without an offset"))?;
                from = from.checked_add(after).ok_or_else(|| de::Error::custom("an offset beyond all time"))?;
                let millis = from.checked_mul(1_000).ok_or_else(|| de::Error::custom("an offset beyond all time"))?;
                if offsets.len() == MAX_OFFSETS {
                    return Err(de::Error::custom(format!("a calendar of more than {MAX_OFFSETS} offsets")));
                }
                offsets.push(Offset { from: Instant::from_millis(millis), seconds });
            }
            Ok(offsets)
        }
    }
    deserializer.deserialize_seq(Offsets)
}

#[cfg(test)]
mod tests {
    use super::super::CalendarTable;
    use crate::ids::Name;

    #[test]
    fn offsets_come_back_and_bad_ones_are_refused() {
        let json = |offsets: &str| {
            format!(
                r#"{{"name":"c","revision":1,"tzdb":"2026a","first":"1970-01-01","cutoffs":[["1970-01-01T00:00:00Z",86400000,3]],"offsets":{offsets}}}"#
            )
        };
        let text = json("[-3600,3600,93600,-7200]");
        let table: CalendarTable = serde_json::from_str(&text).unwrap();
        let shown: Vec<_> = table.offsets.iter().map(|offset| (offset.from.as_millis(), offset.seconds)).collect();
        assert_eq!(shown, [(-3_600_000, 3_600), (90_000_000, -7_200)]);
        assert_eq!(serde_json::to_string(&table).unwrap(), text);
        let packed = rmp_serde::to_vec(&table).unwrap();
        assert_eq!(rmp_serde::from_slice::<CalendarTable>(&packed).unwrap(), table);
        for bad in ["[1]", "[9223372036854775807,0,1,0]", "[9223372036854775807,0]", "[0,99999999999]", "7"] {
            assert!(serde_json::from_str::<CalendarTable>(&json(bad)).is_err(), "{bad}");
        }
        // As an earlier build wrote it.
        let bare = CalendarTable { name: Name::new("c").unwrap(), offsets: Vec::new(), ..table };
        assert_eq!(rmp_serde::to_vec(&bare).unwrap()[0], 0x95);
    }
}
