//! A second machine that reads the log for views that came later: aggregator-shard's backfill task as steps.

use crate::mutation::Mutation;
use crate::opening::reach_of;
use crate::settings::Place;
use crate::shell::Shell;
use crate::snapshots;
use aggregator_shard::opening::makes_up_for_the_log;
use daybook_domain::ids::{LogSeq, Partition};
use daybook_machine::PartitionState;
use daybook_machine::backfill::Found;

/// A scratch.
pub struct Scratch {
    state: PartitionState,
    base: LogSeq,
    /// The last batch that was read; none before it is known where to begin.
    last: Option<LogSeq>,
    /// From which position on it reads, where the log is trimmed.
    since: Option<LogSeq>,
}

/// How far a scratch is.
pub enum Scratched {
    Goes,
    /// It has read everything up to its base.
    Read,
    /// It has to begin again, with a later base.
    Lost,
    /// Another's snapshot is ahead of its base, and waits for no backfill.
    Behind,
}

impl Scratch {
    pub fn new(state: PartitionState, base: LogSeq) -> Self {
        Self { state, base, last: None, since: None }
    }

    /// What it has found, once it has read everything.
    pub fn found(self, shell: &mut Shell, partition: Partition) -> Found {
        let Self { base, since, state, .. } = self;
        shell.trace.note(|| format!("replica {partition}: a backfill has read up to {base}, since {since:?}"));
        Found::of(state, since)
    }

    pub fn step(&mut self, shell: &mut Shell, partition: Partition) -> Scratched {
        let Some(mut last) = self.last else { return self.begin(shell, partition) };
        let through = match () {
            () if shell.breaks(Mutation::BackfillBaseEarly) => LogSeq(self.base.0.saturating_sub(1)),
            () if shell.breaks(Mutation::BackfillBaseLate) => {
                let beyond = shell.broker.next_batch(partition, self.base.0 + 1);
                beyond.map_or(self.base, |(position, _)| position)
            }
            () => self.base,
        };
        for _ in 0..=shell.random.below(8) {
            let Some((position, logged)) = shell.broker.next_batch(partition, last.0 + 1) else {
                return Scratched::Read;
            };
            if last >= through {
                return Scratched::Read;
            }
            if logged.follows != last {
                return Scratched::Lost;
            }
            if position > through {
                return Scratched::Read;
            }
            let _ = self.state.apply(position, logged.batch);
            last = position;
            self.last = Some(last);
        }
        Scratched::Goes
    }

    /// Begins with the log, or, where that is trimmed, with the oldest snapshot that it goes on from.
    fn begin(&mut self, shell: &mut Shell, partition: Partition) -> Scratched {
        let reach = reach_of(&shell.broker, partition);
        if reach.trimmed().is_none() {
            self.last = Some(LogSeq(0));
            return Scratched::Goes;
        }
        let known = snapshots::try_list(shell, partition).unwrap_or_default();
        for position in known.iter().map(|snapshot| snapshot.position).filter(|at| reach.reaches(*at)) {
            let Ok((_, before)) = snapshots::fetch(shell, partition, position) else { continue };
            if position > self.base {
                break;
            }
            if !shell.breaks(Mutation::BackfillFromNothing) {
                self.state.begin_with(before);
            }
            shell.reach(Place::Seeded);
            (self.last, self.since) = (Some(position), Some(LogSeq(position.0 + 1)));
            return Scratched::Goes;
        }
        match makes_up_for_the_log(known.last(), LogSeq(self.base.0 + 1)) {
            true => Scratched::Behind,
            false => Scratched::Lost,
        }
    }
}
