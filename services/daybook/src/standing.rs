//! How far a view is in force, over all partitions: read off what the shards say.

use daybook_contracts::admin::ViewsReply;
use daybook_contracts::ask::ViewProgress;
use daybook_contracts::report::Coverage;
use daybook_domain::catalogue::View;
use daybook_domain::ids::LogSeq;
use std::fmt;

/// How the newest revision of a view stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewStanding {
    partitions: usize,
    /// Partitions whose shard does not answer.
    pub away: usize,
    /// Partitions whose shard answers, but has not read the definition yet.
    pub unread: usize,
    /// Of the slowest partition that has read the definition and does not have it in force, 0 to 100.
    pub backfilled_percent: Option<u8>,
    /// The latest position from which figures are there, where they are not complete, and why.
    partial: Option<(LogSeq, String)>,
}

impl ViewStanding {
    /// How `view` stands in the partitions.
    pub fn of(view: &View, partitions: &[Option<Vec<ViewProgress>>]) -> Self {
        let mut standing =
            Self { partitions: partitions.len(), away: 0, unread: 0, backfilled_percent: None, partial: None };
        for answer in partitions {
            let Some(answer) = answer else {
                standing.away += 1;
                continue;
            };
            let progress = answer.iter().find(|progress| progress.view == view.name);
            standing.take(view.revision, progress);
        }
        standing
    }

    fn take(&mut self, revision: u64, progress: Option<&ViewProgress>) {
        let pending = progress.and_then(|progress| progress.pending.as_ref());
        match (progress, pending) {
            (Some(progress), _) if progress.active >= revision => {
                if let Coverage::Partial { from, reason } = &progress.coverage
                    && self.partial.as_ref().is_none_or(|(known, _)| known < from)
                {
                    self.partial = Some((*from, reason.clone()));
                }
            }
            (_, Some(pending)) if pending.revision >= revision => {
                let slowest = self.backfilled_percent.map_or(pending.percent, |percent| percent.min(pending.percent));
                self.backfilled_percent = Some(slowest);
            }
            _ => self.unread += 1,
        }
    }

    /// Whether it is in force everywhere.
    pub fn is_active(&self) -> bool {
        self.away == 0 && self.unread == 0 && self.backfilled_percent.is_none()
    }

    /// How much of its backfill is done in the slowest partition, 0 to 100; 100 is not in force yet where a partition
    /// is away.
    pub fn percent(&self) -> u8 {
        match self.backfilled_percent {
            _ if self.unread > 0 => 0,
            Some(percent) => percent,
            None => 100,
        }
    }
}

/// `active`, `backfilling 43 %`, `2 of 4 partitions away`, or `active, from log position 7 on: …`.
impl fmt::Display for ViewStanding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        if self.unread > 0 || self.backfilled_percent.is_some() {
            write!(f, "backfilling {} %", self.percent())?;
            separator = ", ";
        }
        if self.away > 0 {
            return write!(f, "{separator}{} of {} partitions away", self.away, self.partitions);
        }
        match &self.partial {
            _ if !self.is_active() => Ok(()),
            None => f.write_str("active"),
            Some((from, reason)) => write!(f, "active, from log position {from} on: {reason}"),
        }
    }
}

/// How every view stands, in the order of the reply.
pub fn standings(reply: &ViewsReply) -> impl Iterator<Item = (&View, ViewStanding)> {
    reply.views.iter().map(|view| (view, ViewStanding::of(view, &reply.partitions)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use daybook_contracts::ask::Backfilling;
    use daybook_domain::ids::Name;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    fn view() -> View {
        View { revision: 2, ..View::new(name("v"), name("k"), Vec::new(), Vec::new()) }
    }

    fn answer(active: u64, pending: Option<(u64, u8)>, coverage: Coverage) -> Option<Vec<ViewProgress>> {
        let pending =
            pending.map(|(revision, percent)| Backfilling { revision, percent, ready: percent == 100, since: None });
        let of = |view: &str, active, pending| ViewProgress {
            view: name(view),
            active,
            pending,
            coverage: coverage.clone(),
        };
        Some(vec![of("other", 9, None), of("v", active, pending)])
    }

    fn active() -> Option<Vec<ViewProgress>> {
        answer(2, None, Coverage::Complete)
    }

    fn backfilling(percent: u8) -> Option<Vec<ViewProgress>> {
        answer(1, Some((2, percent)), Coverage::Complete)
    }

    fn partial(from: u64) -> Option<Vec<ViewProgress>> {
        answer(2, None, Coverage::Partial { from: LogSeq(from), reason: format!("reason {from}") })
    }

    #[test]
    fn the_slowest_partition_counts() {
        let overtaken = answer(0, Some((1, 90)), Coverage::Complete);
        for (partitions, is_active, percent, shown) in [
            (vec![active(), active()], true, 100, "active"),
            (vec![], true, 100, "active"),
            (vec![active(), backfilling(60), backfilling(43)], false, 43, "backfilling 43 %"),
            (vec![active(), backfilling(100)], false, 100, "backfilling 100 %"),
            (vec![backfilling(60), Some(vec![])], false, 0, "backfilling 0 %"),
            (vec![active(), overtaken], false, 0, "backfilling 0 %"),
            (vec![None, active(), None, active()], false, 100, "2 of 4 partitions away"),
            (vec![None, backfilling(43)], false, 43, "backfilling 43 %, 1 of 2 partitions away"),
            (vec![partial(7), partial(9), active()], true, 100, "active, from log position 9 on: reason 9"),
            (vec![partial(7), backfilling(1)], false, 1, "backfilling 1 %"),
            (vec![partial(7), None], false, 100, "1 of 2 partitions away"),
        ] {
            let standing = ViewStanding::of(&view(), &partitions);
            assert_eq!(standing.to_string(), shown);
            assert_eq!((standing.is_active(), standing.percent()), (is_active, percent), "{shown}");
        }
    }
}
