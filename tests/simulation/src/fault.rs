//! What can go wrong in a run. Every kind can be switched off, by which a failing run is made smaller.

use std::fmt;
use std::str::FromStr;

macro_rules! named {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }

        impl $name {
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, String> {
                let known: Vec<&str> = Self::ALL.iter().map(|each| each.as_str()).collect();
                let found = Self::ALL.iter().copied().find(|each| each.as_str() == text);
                found.ok_or_else(|| format!("{text:?} is none of {}", known.join(", ")))
            }
        }
    };
}
pub(crate) use named;

named! {
    /// One kind of fault, or of change that makes a run harder.
    Fault {
        /// An actor ends after any step and begins again with what is stored.
        Crash = "crash",
        /// A request never reaches the broker, which its sender cannot tell.
        LostRequest = "lost-request",
        /// A request is carried out, but the answer is lost.
        LostAnswer = "lost-answer",
        /// A request is given up by its sender and carried out later.
        LateRequest = "late-request",
        /// A shard stands still for long while others go on.
        Pause = "pause",
        /// Two sequencers of one partition.
        TwoOwners = "two-owners",
        /// Two day-managers.
        TwoManagers = "two-managers",
        /// The broker restarts, and sources again what INBOX no longer tells it has.
        BrokerRestart = "broker-restart",
        /// A reader hands a message of INBOX over once more.
        Redelivery = "redelivery",
        /// A stored checkpoint is wiped, loses a row, has one cut short, or goes back to an earlier one.
        StoreDamage = "store-damage",
        /// A shard ends in the middle of a commit, of which any part is stored.
        TornCommit = "torn-commit",
        /// There is no room on disk for a commit, and nothing of it is stored.
        FullDisk = "full-disk",
        /// A shard has no memory for a checkpoint, a backfill or upkeep.
        LowMemory = "low-memory",
        /// Producers publish again what they have published.
        ProducerRetry = "producer-retry",
        /// Events that are none, or for tenants, kinds and days that are none.
        BadEvents = "bad-events",
        /// Messages of very many events or bytes.
        Flood = "flood",
        /// Events for days before the present one.
        LateEvents = "late-events",
        /// The clock jumps ahead, rarely by weeks.
        ClockJump = "clock-jump",
        /// The clock is set back.
        ClockBack = "clock-back",
        /// Tenants change zone, cut-off or grace.
        ZoneChange = "zone-change",
        /// Tenants get rates and quotas of entities and groups, others, or none.
        QuotaChange = "quota-change",
        /// Tenants are added.
        NewTenant = "new-tenant",
        /// Tenants and views are removed, and their names are used again.
        Removal = "removal",
        /// Views are added and changed.
        ViewChange = "view-change",
        /// Days are closed by hand.
        CloseByHand = "close-by-hand",
        /// INBOX is trimmed.
        Trim = "trim",
        /// The log is trimmed below snapshots that are old enough.
        TrimLog = "trim-log",
        /// A snapshot that is read breaks off, or the broker does not tell of snapshots.
        TornSnapshot = "torn-snapshot",
        /// The broker is made to store answers and copies of other messages in Daybook's streams.
        Foreign = "foreign",
    }
}

/// Which faults may happen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Faults(u32);

impl Faults {
    /// Every one.
    pub fn all() -> Self {
        Self((1 << Fault::ALL.len()) - 1)
    }

    /// None at all.
    pub fn none() -> Self {
        Self(0)
    }

    /// Whether a fault may happen.
    pub fn has(self, fault: Fault) -> bool {
        self.0 & (1 << fault as u32) != 0
    }

    /// All of these but one.
    pub fn without(self, fault: Fault) -> Self {
        Self(self.0 & !(1 << fault as u32))
    }

    /// Those that are switched off.
    pub fn missing(self) -> impl Iterator<Item = Fault> {
        Fault::ALL.iter().copied().filter(move |fault| !self.has(*fault))
    }
}
