//! What a shard leaves undone while it is behind: live updates, which are the first to go. Events, seals and answers are
//! never left undone; what is not pushed stays pending, put together, until it has caught up.

/// Batches behind the last one applied from which on nothing is pushed: at 384 KiB a batch some 24 MiB of the log, about
/// a second's work.
pub const SHED_BATCHES: u64 = 64;
/// Batches behind at which pushing begins again: as many as are fed ahead, so none waits in the log.
pub const CAUGHT_UP_BATCHES: u64 = 4;

/// Whether live updates are left undone. Between the two bounds it stays as it is, so that it does not flutter.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shedding {
    is_on: bool,
}

impl Shedding {
    /// Judges by how many batches of the log wait, and tells whether to push nothing.
    pub fn judge(&mut self, behind: u64) -> bool {
        self.is_on = match self.is_on {
            true => behind > CAUGHT_UP_BATCHES,
            false => behind > SHED_BATCHES,
        };
        self.is_on
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pushing_stops_when_the_shard_is_far_behind_and_begins_when_it_has_caught_up() {
        let mut shedding = Shedding::default();
        let steps = [(0, false), (64, false), (65, true), (64, true), (5, true), (4, false), (5, false), (64, false)];
        for (behind, sheds) in steps {
            assert_eq!(shedding.judge(behind), sheds, "{behind}");
        }
    }
}
