//! The groups behind a view's figures: accumulators, from which any metric, roll-up or range can be worked out exactly.
//! Published on `daybook.figures.<tenant>.<date>.<view>` with every version of a report, in MessagePack compressed by
//! Zstandard; the newest of a subject counts. Of a view without any group on that day there is none, and an
//! empty one of a view with too many groups. So sealed days can be asked for when the shard is away or has let go of
//! them.

use crate::report::Coverage;
use compact_str::CompactString;
use daybook_domain::accumulator::Accumulator;
use daybook_domain::calendar::BusinessDay;
use daybook_domain::catalogue::{Kind, View};
use daybook_domain::ids::{InboxSeq, LogSeq};
use serde::{Deserialize, Serialize};

/// Version of the encoding; another one is not read.
pub const FORMAT: u8 = 1;
/// Largest message of figures, compressed, in bytes. Beyond it there is none for that day and view: its shard answers
/// while it keeps the day, and the report has the first rows.
pub const MAX_FIGURES_BYTES: usize = 900 * 1024;

/// A view's groups for one or more days. Describes itself: the definitions are those that the groups were made with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    pub format: u8,
    pub view: View,
    pub kind: Kind,
    pub log: LogSeq,
    pub inbox: InboxSeq,
    pub days: Vec<DayFigures>,
}

/// A day's groups, in order of their keys.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DayFigures {
    pub day: BusinessDay,
    pub closed: bool,
    /// Of its report, if it is sealed.
    pub version: Option<u32>,
    pub coverage: Coverage,
    pub groups: Vec<GroupFigures>,
}

/// One group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupFigures {
    /// Which piece of the day, from 0, at the view's grain.
    pub piece: u16,
    /// In the order of the view's `group_by`.
    pub dims: Box<[Option<CompactString>]>,
    /// In the order of the plan's cells.
    pub cells: Box<[Accumulator]>,
}

impl Figures {
    /// In MessagePack.
    pub fn encode(&self) -> Vec<u8> {
        rmp_serde::to_vec(self).expect("figures hold nothing that MessagePack cannot")
    }

    /// # Errors
    /// When the bytes are no figures, or of another format.
    pub fn decode(bytes: &[u8]) -> Result<Self, rmp_serde::decode::Error> {
        let figures: Self = rmp_serde::from_slice(bytes)?;
        match figures.format {
            FORMAT => Ok(figures),
            other => Err(serde::de::Error::custom(format!("figures of format {other}; this version reads {FORMAT}"))),
        }
    }
}
