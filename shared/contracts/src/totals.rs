//! What a shard keeps of a view for several tenants: accumulators, from which figures of all of them together are made exactly.
//! They pass between shards and query, in MessagePack.

use crate::ask::{AskErrorCode, DayState};
use crate::figures::GroupFigures;
use crate::report::Coverage;
use compact_str::CompactString;
use daybook_domain::accumulator::Accumulator;
use daybook_domain::calendar::BusinessDay;
use daybook_domain::catalogue::{Kind, View};
use daybook_domain::ids::{InboxSeq, LogSeq, TenantId};
use daybook_domain::time::Date;
use serde::{Deserialize, Serialize};
use std::io;

/// Version of the encoding; another one is not read.
const FORMAT: u8 = 1;

/// A shard's part of the figures of a group of tenants.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Totals {
    pub format: u8,
    pub log: LogSeq,
    pub inbox: InboxSeq,
    pub freshness_ms: u64,
    /// What the figures were made with; `None` when no tenant has any.
    pub definition: Option<(View, Kind)>,
    pub members: Vec<Member>,
}

/// What the shard says of one tenant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Member {
    pub tenant: TenantId,
    pub found: Result<MemberFigures, Absent>,
}

/// Why there are no figures of a tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Absent {
    pub code: AskErrorCode,
    pub why: String,
}

/// The figures of one tenant, for the business days of its own calendar.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MemberFigures {
    pub from: Date,
    pub to: Date,
    /// Open when any of the days is.
    pub day: DayState,
    /// The days that have groups.
    pub days: Vec<MemberDay>,
}

/// The groups of one day, in order of their keys.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MemberDay {
    pub day: BusinessDay,
    pub coverage: Coverage,
    pub groups: Vec<GroupFigures>,
}

impl Totals {
    /// Nothing of any tenant yet, at a position of the log.
    pub fn at(log: LogSeq, inbox: InboxSeq) -> Self {
        Self { format: FORMAT, log, inbox, freshness_ms: 0, definition: None, members: Vec::new() }
    }

    /// # Errors
    /// When the bytes are no totals, or of another format.
    pub fn decode(bytes: &[u8]) -> Result<Self, rmp_serde::decode::Error> {
        let totals: Self = rmp_serde::from_slice(bytes)?;
        match totals.format {
            FORMAT => Ok(totals),
            other => Err(serde::de::Error::custom(format!("totals of format {other}; this version reads {FORMAT}"))),
        }
    }
}

/// [`MemberFigures`] as a shard has them: nothing is copied before it is encoded.
#[derive(Clone, Debug, Serialize)]
pub struct MemberFiguresRef<'s> {
    pub from: Date,
    pub to: Date,
    pub day: DayState,
    pub days: Vec<MemberDayRef<'s>>,
}

/// [`MemberDay`] as a shard has it.
#[derive(Clone, Debug, Serialize)]
pub struct MemberDayRef<'s> {
    pub day: BusinessDay,
    pub coverage: &'s Coverage,
    pub groups: Vec<GroupRef<'s>>,
}

/// [`GroupFigures`] as a shard has them.
#[derive(Clone, Debug, Serialize)]
pub struct GroupRef<'s> {
    pub piece: u16,
    pub dims: &'s [Option<CompactString>],
    pub cells: &'s [Accumulator],
}

/// The encoding of a tenant's figures is longer than it may be; nothing was added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the figures take more than {most} bytes")]
pub struct TooLong {
    pub most: usize,
}

/// [`Totals`] on their way out of a shard. Each tenant is encoded when it is added, and only then.
#[derive(Clone, Debug)]
pub struct Encoder {
    log: LogSeq,
    inbox: InboxSeq,
    definition: Option<(View, Kind)>,
    members: Vec<u8>,
    count: u32,
}

/// [`Member`], borrowed.
#[derive(Serialize)]
struct MemberRef<'m, 's> {
    tenant: &'m TenantId,
    found: Result<&'m MemberFiguresRef<'s>, &'m Absent>,
}

impl Encoder {
    /// Nothing of any tenant yet, at a position of the log.
    pub fn at(log: LogSeq, inbox: InboxSeq) -> Self {
        Self { log, inbox, definition: None, members: Vec::new(), count: 0 }
    }

    /// Says what the figures are made with, without alerts: no figure depends on them. What was said first stays.
    pub fn define(&mut self, view: &View, kind: &Kind) {
        self.definition.get_or_insert_with(|| (View { alerts: Vec::new(), ..view.clone() }, kind.clone()));
    }

    /// Adds a tenant's figures.
    ///
    /// # Errors
    /// When they take more than `most` bytes. It stops at that length, however long they are.
    pub fn found(&mut self, tenant: &TenantId, figures: &MemberFiguresRef<'_>, most: usize) -> Result<(), TooLong> {
        let before = self.members.len();
        let mut bounded = Bounded { bytes: &mut self.members, end: before.saturating_add(most) };
        if rmp_serde::encode::write(&mut bounded, &MemberRef { tenant, found: Ok(figures) }).is_err() {
            self.members.truncate(before);
            return Err(TooLong { most });
        }
        self.count += 1;
        Ok(())
    }

    /// Adds why a tenant has no figures.
    pub fn absent(&mut self, tenant: &TenantId, absent: &Absent) {
        let member = MemberRef { tenant, found: Err(absent) };
        rmp_serde::encode::write(&mut self.members, &member).expect("a vector takes every text");
        self.count += 1;
    }

    /// How many bytes the tenants take so far.
    pub fn bytes(&self) -> usize {
        self.members.len()
    }

    /// All of it, as [`Totals::decode`] reads it.
    pub fn finish(self, freshness_ms: u64) -> Vec<u8> {
        let Self { log, inbox, definition, members, count } = self;
        let mut bytes = rmp_serde::to_vec(&(FORMAT, log, inbox, freshness_ms, definition, [(); 0]))
            .expect("totals hold nothing that MessagePack cannot");
        // The last field has no element yet, and so is one byte: the header of a list, which is written anew.
        bytes.pop();
        rmp::encode::write_array_len(&mut bytes, count).expect("a vector takes every header");
        bytes.extend(members);
        bytes
    }
}

/// Takes bytes until there are too many.
struct Bounded<'b> {
    bytes: &'b mut Vec<u8>,
    end: usize,
}

impl io::Write for Bounded<'_> {
    fn write(&mut self, more: &[u8]) -> io::Result<usize> {
        if more.len() > self.end.saturating_sub(self.bytes.len()) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.bytes.extend_from_slice(more);
        Ok(more.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use daybook_domain::ids::Name;
    use daybook_domain::time::Instant;

    fn id(text: &str) -> TenantId {
        TenantId::new(text).unwrap()
    }

    fn day() -> BusinessDay {
        let opens_at = Instant::from_millis(0);
        BusinessDay { date: Date::from_days(0), opens_at, closes_at: Instant::from_millis(86_400_000) }
    }

    fn definition() -> (View, Kind) {
        let name = |text| Name::new(text).unwrap();
        let kind = serde_json::from_value(serde_json::json!({"name": "order", "mode": "entity"})).unwrap();
        (View::new(name("orders"), name("order"), vec![], vec![]), kind)
    }

    /// A tenant with so many groups of one count.
    fn with_groups<T>(groups: usize, then: impl FnOnce(&MemberFiguresRef<'_>) -> T) -> T {
        let (dims, cells) = ([Some(CompactString::from("Bern"))], [Accumulator::Count(3)]);
        let group = GroupRef { piece: 2, dims: &dims, cells: &cells };
        let days = vec![MemberDayRef { day: day(), coverage: &Coverage::Complete, groups: vec![group; groups] }];
        let (from, to) = (Date::from_days(0), Date::from_days(1));
        then(&MemberFiguresRef { from, to, day: DayState::Open, days })
    }

    #[test]
    fn what_is_encoded_tenant_by_tenant_is_read_as_a_whole() {
        let absent = Absent { code: AskErrorCode::UnknownDay, why: "no such day".to_owned() };
        let group =
            GroupFigures { piece: 2, dims: Box::new([Some("Bern".into())]), cells: Box::new([Accumulator::Count(3)]) };
        let days = vec![MemberDay { day: day(), coverage: Coverage::Complete, groups: vec![group] }];
        let figures = MemberFigures { from: Date::from_days(0), to: Date::from_days(1), day: DayState::Open, days };
        // A list of more than 15 has a longer header.
        for count in [0, 1, 15, 16, 70_000] {
            let mut encoder = Encoder::at(LogSeq(7), InboxSeq(9));
            let mut expected = Totals { freshness_ms: 300, ..Totals::at(LogSeq(7), InboxSeq(9)) };
            for number in 0..count {
                let (tenant, is_found) = (id(&format!("t{number}")), number % 2 == 0);
                if is_found {
                    let (view, kind) = definition();
                    encoder.define(&view, &kind);
                    expected.definition = Some((view, kind));
                    with_groups(1, |figures| encoder.found(&tenant, figures, 1_000)).unwrap();
                } else {
                    encoder.absent(&tenant, &absent);
                }
                let found = if is_found { Ok(figures.clone()) } else { Err(absent.clone()) };
                expected.members.push(Member { tenant, found });
            }
            let bytes = encoder.finish(300);
            assert_eq!(Totals::decode(&bytes).unwrap(), expected, "{count}");
            assert_eq!(bytes, rmp_serde::to_vec(&expected).unwrap(), "{count}");
        }
    }

    #[test]
    fn golden_bytes_of_totals() {
        let mut encoder = Encoder::at(LogSeq(7), InboxSeq(9));
        with_groups(1, |figures| encoder.found(&id("a"), figures, 1_000)).unwrap();
        encoder.absent(&id("b"), &Absent { code: AskErrorCode::UnknownDay, why: "none".to_owned() });
        let text: String = encoder.finish(3).iter().map(|byte| format!("{byte:02x}")).collect();
        let head = "9601070903c092";
        let found = "92a16181a24f6b940001a46f70656e9193930000ce05265c00a8636f6d706c65746591930291a44265726e9181a16303";
        let absent = "92a16281a345727292ab756e6b6e6f776e5f646179a46e6f6e65";
        assert_eq!(text, [head, found, absent].concat());
    }

    #[test]
    fn figures_that_are_too_long_are_left_out_and_the_others_stay() {
        let mut encoder = Encoder::at(LogSeq(7), InboxSeq(9));
        with_groups(1, |figures| encoder.found(&id("a"), figures, 1_000)).unwrap();
        let before = encoder.bytes();
        with_groups(1, |figures| {
            assert_eq!(encoder.clone().found(&id("b"), figures, before - 1), Err(TooLong { most: before - 1 }));
            encoder.found(&id("b"), figures, before).unwrap();
        });
        let refused = with_groups(1_000_000, |figures| encoder.found(&id("c"), figures, 5_000));
        assert_eq!((refused, encoder.bytes()), (Err(TooLong { most: 5_000 }), 2 * before));
        assert!(encoder.members.capacity() < 20_000, "it stops where it is too long");
        let read = Totals::decode(&encoder.finish(0)).unwrap();
        assert_eq!(read.members.iter().map(|member| member.tenant.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn another_format_is_not_read() {
        let mut bytes = Encoder::at(LogSeq(1), InboxSeq(1)).finish(0);
        assert!(Totals::decode(&bytes).is_ok());
        bytes[1] = FORMAT + 1;
        assert!(Totals::decode(&bytes).unwrap_err().to_string().contains("format 2"));
    }
}
