//! Judges how near a process is to its memory limit. Pure.

use super::MemoryUse;

/// From this share of the limit on, in thousandths, a process takes in less.
const SCARCE: u64 = 850;
/// Below this share memory is ample again.
const AMPLE: u64 = 800;
/// From this share on a process takes in nothing more. What is left is for questions and for what is under way.
const FULL: u64 = 930;
/// Below this share it goes on.
const NOT_FULL: u64 = 900;

/// How near a process is to its memory limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Pressure {
    #[default]
    Ample,
    /// It slows what it takes in: by 0 thousandths where memory begins to be scarce, by 1,000 where it is full.
    Scarce { thousandths: u64 },
    /// It takes in nothing more.
    Full,
}

impl Pressure {
    /// The judgement that follows this one. It depends on this one, so that a use that wavers about a bound does not make the process
    /// waver.
    pub(super) fn next(self, memory: &MemoryUse) -> Self {
        let share = memory.thousandths();
        let scarce =
            Self::Scarce { thousandths: share.saturating_sub(SCARCE).min(FULL - SCARCE) * 1_000 / (FULL - SCARCE) };
        match self {
            _ if share >= FULL => Self::Full,
            Self::Full if share >= NOT_FULL => Self::Full,
            _ if share >= SCARCE => scarce,
            Self::Full | Self::Scarce { .. } if share >= AMPLE => scarce,
            _ => Self::Ample,
        }
    }
}

impl MemoryUse {
    /// Whether so much may be used without the process being full.
    pub(super) fn has_room(&self) -> bool {
        self.thousandths() < FULL
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Limited;

    #[test]
    fn each_bound_is_left_again_only_well_below_it() {
        let mut pressure = Pressure::default();
        let scarce = |thousandths| Pressure::Scarce { thousandths };
        for (used, expected) in [
            (0, Pressure::Ample),
            (849, Pressure::Ample),
            (850, scarce(0)),
            (890, scarce(500)),
            (849, scarce(0)),
            (800, scarce(0)),
            (799, Pressure::Ample),
            (849, Pressure::Ample),
            (929, scarce(987)),
            (930, Pressure::Full),
            (2_000, Pressure::Full),
            (900, Pressure::Full),
            (899, scarce(612)),
            (929, scarce(987)),
            (930, Pressure::Full),
            (10, Pressure::Ample),
        ] {
            let memory = MemoryUse { used, limit: 1_000, limited_by: Limited::Setting };
            pressure = pressure.next(&memory);
            assert_eq!(pressure, expected, "{used}");
        }
        let nothing = MemoryUse { used: 1, limit: 0, limited_by: Limited::Setting };
        assert_eq!(pressure.next(&nothing), Pressure::Full);
    }
}
