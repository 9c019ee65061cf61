//! Cut-offs as CATALOG, the log and checkpoints hold them: runs of equal steps, each its first instant, the step in milliseconds and
//! how many cut-offs it has. A year of days takes two or three runs, for clocks change twice. Earlier builds wrote every cut-off by
//! itself; both forms are read.

use crate::time::Instant;
use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serializer};
use std::fmt;

/// Most cut-offs of a table: all days from the year 1 to 9999. A false count costs no more memory than these.
const MAX_CUTOFFS: u64 = 3_652_060;

/// Cut-offs with the same step from each to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    first: Instant,
    step_ms: i64,
    /// At least 1.
    count: u64,
}

/// The runs, each as long as it can be.
fn runs(cutoffs: &[Instant]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for (index, cutoff) in cutoffs.iter().enumerate() {
        let step = index.checked_sub(1).map(|before| cutoff.as_millis() - cutoffs[before].as_millis());
        match (runs.last_mut(), step) {
            (Some(run), Some(step)) if run.count == 1 || run.step_ms == step => {
                (run.step_ms, run.count) = (step, run.count + 1);
            }
            _ => runs.push((*cutoff).into()),
        }
    }
    runs
}

pub(super) fn serialize<S: Serializer>(cutoffs: &[Instant], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(runs(cutoffs).into_iter().map(|run| (run.first, run.step_ms, run.count)))
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Instant>, D::Error> {
    struct Cutoffs;
    impl<'de> Visitor<'de> for Cutoffs {
        type Value = Vec<Instant>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("cut-offs, or runs of them")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut cutoffs = Vec::new();
            while let Some(run) = seq.next_element::<Run>()? {
                if run.count > MAX_CUTOFFS - cutoffs.len() as u64 {
                    return Err(de::Error::custom(format!("a calendar of more than {MAX_CUTOFFS} cut-offs")));
                }
                for index in 0..run.count as i64 {
                    let at = run.step_ms.checked_mul(index).and_then(|past| run.first.as_millis().checked_add(past));
                    let at = at.ok_or_else(|| de::Error::custom("a cut-off beyond all time"))?;
                    cutoffs.push(Instant::from_millis(at));
                }
            }
            Ok(cutoffs)
        }
    }
    deserializer.deserialize_seq(Cutoffs)
}

/// A single cut-off is a run of one.
impl From<Instant> for Run {
    fn from(first: Instant) -> Self {
        Self { first, step_ms: 0, count: 1 }
    }
}

impl<'de> Deserialize<'de> for Run {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Run;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a cut-off, or its first instant, the step in milliseconds and how many there are")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Run, E> {
                text.parse().map(Instant::into).map_err(E::custom)
            }

            fn visit_i64<E: de::Error>(self, millis: i64) -> Result<Run, E> {
                Ok(Instant::from_millis(millis).into())
            }

            fn visit_u64<E: de::Error>(self, millis: u64) -> Result<Run, E> {
                i64::try_from(millis).map(|millis| Instant::from_millis(millis).into()).map_err(E::custom)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Run, A::Error> {
                let missing = || de::Error::custom("a run is its first instant, the step and the count");
                let first = seq.next_element()?.ok_or_else(missing)?;
                let step_ms = seq.next_element()?.ok_or_else(missing)?;
                let count = seq.next_element()?.ok_or_else(missing)?;
                Ok(Run { first, step_ms, count })
            }
        }
        deserializer.deserialize_any(Either)
    }
}

#[cfg(test)]
mod tests {
    use crate::calendar::CalendarTable;
    use crate::ids::Name;
    use crate::time::{Date, Instant};

    fn table(hours: &[i64]) -> CalendarTable {
        CalendarTable {
            name: Name::new("c").unwrap(),
            revision: 1,
            tzdb: "2026a".into(),
            first: Date::from_days(0),
            cutoffs: hours.iter().map(|hour| Instant::from_millis(hour * 3_600_000)).collect(),
            offsets: Vec::new(),
        }
    }

    #[test]
    fn runs_are_what_is_stored() {
        let json = serde_json::to_string(&table(&[0, 24, 48, 71, 95])).unwrap();
        assert!(
            json.ends_with(r#""cutoffs":[["1970-01-01T00:00:00Z",86400000,3],["1970-01-03T23:00:00Z",86400000,2]]}"#),
            "{json}"
        );
    }

    #[test]
    fn every_table_comes_back_from_both_forms() {
        for hours in [&[0, 24][..], &[5], &[], &[0, 24, 24, 48, 72], &[0, 1, 3, 6, 10, 14, 18], &[-48, -24, 0, 23]] {
            let table = table(hours);
            let json = serde_json::to_string(&table).unwrap();
            assert_eq!(serde_json::from_str::<CalendarTable>(&json).unwrap(), table, "{json}");
            let bytes = rmp_serde::to_vec(&table).unwrap();
            assert_eq!(rmp_serde::from_slice::<CalendarTable>(&bytes).unwrap(), table);
            // As earlier builds wrote them.
            let list = serde_json::to_string(&table.cutoffs).unwrap();
            let cutoffs = &json[json.find("\"cutoffs\":").unwrap()..];
            let earlier = json.replace(cutoffs, &format!("\"cutoffs\":{list}}}"));
            assert_eq!(serde_json::from_str::<CalendarTable>(&earlier).unwrap(), table, "{earlier}");
            let earlier = rmp_serde::to_vec(&(&table.name, 1, &table.tzdb, table.first, &table.cutoffs)).unwrap();
            assert_eq!(rmp_serde::from_slice::<CalendarTable>(&earlier).unwrap(), table);
        }
    }

    #[test]
    fn false_runs_are_refused() {
        let read = |cutoffs: &str| {
            let json = format!(r#"{{"name":"c","revision":1,"tzdb":"t","first":"1970-01-01","cutoffs":{cutoffs}}}"#);
            serde_json::from_str::<CalendarTable>(&json).map_err(|error| error.to_string())
        };
        assert!(
            read(r#"[["1970-01-01T00:00:00Z",1,18446744073709551615]]"#).unwrap_err().contains("more than 3652060")
        );
        assert!(read(r#"[["1970-01-01T00:00:00Z",9223372036854775807,3]]"#).unwrap_err().contains("beyond all time"));
        assert!(read(r#"[["1970-01-01T00:00:00Z",1]]"#).unwrap_err().contains("a run is its first instant"));
        assert!(read("[true]").is_err());
    }
}
