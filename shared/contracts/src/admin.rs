//! The admin service of day-manager: `daybook.admin.apply`, `.catalogue`, `.views`, `.clock`, `.close`, `.revoke`. JSON in, JSON out.

use crate::ask::ViewProgress;
use crate::day::DayMarker;
use daybook_domain::catalogue::{CalendarRule, Clocks, Kind, Season, View};
use daybook_domain::ids::{Name, TenantId};
use daybook_domain::quotas::Quotas;
use daybook_domain::time::{Date, Instant};
use serde::{Deserialize, Serialize};

/// Most definitions in one [`Apply`].
pub const MAX_DEFINITIONS: usize = 5_000;

/// A tenant as its owner describes it; what is absent keeps its value, or gets a default when the tenant is new.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TenantSpec {
    pub id: TenantId,
    #[serde(default)]
    pub name: Option<String>,
    /// An IANA time zone such as `America/New_York`.
    pub zone: String,
    /// Minutes after local midnight at which a business day opens, 0 to 1439.
    pub cutoff_minutes: u16,
    /// Other zones or cut-offs from later business days on.
    #[serde(default)]
    pub changes: Vec<CalendarRule>,
    #[serde(default)]
    pub grace_ms: u64,
    /// Default: the business day in which the tenant is defined.
    #[serde(default)]
    pub first_day: Option<Date>,
    /// Default: `system`.
    #[serde(default)]
    pub clock: Option<Name>,
    #[serde(default)]
    pub seasons: Vec<Season>,
    /// Absent: none.
    #[serde(default, skip_serializing_if = "Quotas::is_none")]
    pub quotas: Quotas,
    /// How long a closed day that late events change waits at least between two versions of its report. Absent:
    /// [`DEFAULT_RESTATE_AFTER_MS`](daybook_domain::catalogue::DEFAULT_RESTATE_AFTER_MS).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restate_after_ms: Option<u64>,
    /// How far ahead events may be. Absent: [`DEFAULT_MAX_AHEAD_MS`](daybook_domain::catalogue::DEFAULT_MAX_AHEAD_MS).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_ahead_ms: Option<u64>,
}

/// Definitions to be put into force, all or none. Revisions are day-manager's to give.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Apply {
    #[serde(default)]
    pub kinds: Vec<Kind>,
    #[serde(default)]
    pub views: Vec<View>,
    #[serde(default)]
    pub tenants: Vec<TenantSpec>,
    /// Only check and tell what would change.
    #[serde(default)]
    pub dry_run: bool,
    /// The last sequence of CATALOG when the asker made the request. What was changed behind it is not changed back: a
    /// request that is late, or a repeated one, is refused then. Absent: it overrides whatever there is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catalog_seen: Option<u64>,
}

/// What was done to one definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    Created,
    Changed,
    Unchanged,
}

/// One line of the outcome of [`Apply`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// `kind`, `view` or `tenant`.
    pub what: String,
    pub name: String,
    pub action: Action,
    /// What differs, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// Why a definition was refused: `what` and `name` say which.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    pub what: String,
    pub name: String,
    pub reason: String,
}

/// The outcome of [`Apply`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ApplyReply {
    Applied(Vec<Applied>),
    /// Nothing was changed.
    Refused(Vec<Refusal>),
}

/// The answer of `daybook.admin.catalogue`. Tenants can be many and are read from the stream CATALOG.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogueReply {
    pub kinds: Vec<Kind>,
    pub views: Vec<View>,
    pub tenants: usize,
    pub clocks: Clocks,
    pub partitions: u16,
    #[serde(default)]
    pub days: DaysStanding,
}

/// How the days of all tenants stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaysStanding {
    pub tenants: u64,
    /// Tenants with a day that is open.
    pub open: u64,
    /// Tenants with a day past its cut-off that is still open for its grace.
    pub closing: u64,
    /// How late the oldest marker by the system clock is, in milliseconds; 0 when none is.
    pub overdue_ms: u64,
}

/// The answer of `daybook.admin.views`: how each partition stands, as far as its shard answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewsReply {
    pub views: Vec<View>,
    /// By partition; `None` where no shard answers.
    pub partitions: Vec<Option<Vec<ViewProgress>>>,
}

/// Closes a tenant's open day now, rather than at its cut-off: `daybook.admin.close`. The next day opens first, so that
/// events always find an open day; what still comes for the closed one is late.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CloseDay {
    pub tenant: TenantId,
    /// The day that the asker takes for the open one, so that a repeated request closes no second day.
    pub date: Date,
}

/// The markers that closed the day, and opened the next if it was not open yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloseReply {
    pub closed: DayMarker,
    pub opened: Option<DayMarker>,
}

/// Drives a named clock: everything due up to and including `advance_to` is closed and opened before the answer comes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClockAdvance {
    pub clock: Name,
    /// A clock never goes back: an earlier instant leaves it where it is.
    pub advance_to: Instant,
}

/// How a clock stands after [`ClockAdvance`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockReply {
    pub now: Instant,
    /// When the next day opens or closes by this clock.
    pub next_due: Option<Instant>,
    /// How many markers this call published; each stands in INBOX before the answer is sent.
    pub markers: u64,
}

/// Makes tokens of a tenant void: `daybook.admin.revoke`. Whoever is connected with one is disconnected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevokeTokens {
    pub tenant: TenantId,
    /// The token by its user's public key, `U…`; every token made so far when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// When the token ends by itself, if it does: its revocation need not be remembered for longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Instant>,
}

/// How far a revocation is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokeReply {
    /// NATS servers that have confirmed it. Those that are away learn of it later.
    pub servers: usize,
    /// Tokens of the tenant that are void.
    pub revoked: usize,
}

/// Why an admin request failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdminError {
    pub message: String,
}
