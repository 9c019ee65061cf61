//! The admin service of day-manager: `daybook.admin.apply`, `.catalogue`, `.views`, `.clock`, `.close`, `.remove`, `.revoke`. JSON in, JSON out.

use crate::ask::ViewProgress;
use crate::day::DayMarker;
use daybook_domain::alerts::ReportAlert;
use daybook_domain::catalogue::{CalendarRule, Clocks, Kind, NamedBy, Season, TenantGroup, View};
use daybook_domain::ids::{Name, TenantId};
use daybook_domain::quotas::Quotas;
use daybook_domain::time::{Date, Instant};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

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
    /// Which date names a business day.
    #[serde(default, skip_serializing_if = "NamedBy::is_default")]
    pub day_named_by: NamedBy,
    /// The alerts that it gets for its reports.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub alerts: BTreeSet<ReportAlert>,
}

impl TenantSpec {
    /// The rules of its calendar.
    pub fn rules(&self) -> Vec<CalendarRule> {
        let named_by = self.day_named_by;
        let (zone, cutoff_minutes) = (self.zone.clone(), self.cutoff_minutes);
        let first = CalendarRule { from: Date::MIN, zone, cutoff_minutes, named_by };
        let changes = self.changes.iter().map(|rule| CalendarRule { named_by, ..rule.clone() });
        std::iter::once(first).chain(changes).collect()
    }
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
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<TenantGroup>,
    /// Only check and tell what would change.
    #[serde(default)]
    pub dry_run: bool,
    /// The last sequence of CATALOG when the asker made the request. What was changed behind it is not changed back: a
    /// request that is late, or a repeated one, is refused then. Absent: it overrides whatever there is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catalog_seen: Option<u64>,
}

/// What is to be removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Target {
    Tenant {
        id: TenantId,
        /// Delete its reports, figures, rejects and alerts, too, which stay until their retention otherwise.
        #[serde(default)]
        purge: bool,
    },
    View {
        name: Name,
    },
    /// No view may use it.
    Kind {
        name: Name,
    },
    /// Its tenants stay.
    Group {
        id: TenantId,
    },
}

/// Removes a tenant, a view, a kind or a group: `daybook.admin.remove`. Its name may be used again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Remove {
    pub target: Target,
    /// Only tell what would go.
    #[serde(default)]
    pub dry_run: bool,
    /// The last sequence of CATALOG when the asker made the request. What was defined or changed behind it is not removed: a
    /// request that is late does not remove what has the name now. Absent: it removes whatever there is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catalog_seen: Option<u64>,
}

impl Target {
    /// What it is: `tenant`, `view`, `kind` or `group`.
    pub fn what(&self) -> &'static str {
        match self {
            Self::Tenant { .. } => "tenant",
            Self::View { .. } => "view",
            Self::Kind { .. } => "kind",
            Self::Group { .. } => "group",
        }
    }

    /// Its id or name.
    pub fn name(&self) -> &str {
        match self {
            Self::Tenant { id, .. } | Self::Group { id } => id.as_str(),
            Self::View { name } | Self::Kind { name } => name.as_str(),
        }
    }
}

/// What a removal takes away, or would. Counts are as of the request; `None` where nobody says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoveReply {
    /// It was removed before: only what is left on the broker goes.
    pub is_repeated: bool,
    /// Views that name the removed tenant, and are for one tenant fewer now.
    pub views: Vec<Name>,
    /// Groups that name the removed tenant, and have one tenant fewer now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<TenantId>,
    /// What the shard of a removed tenant keeps of it.
    pub state: Option<StateHeld>,
    /// What the broker keeps of a removed tenant. It goes with `purge`; else it stays until its retention.
    pub stored: Option<OutputsHeld>,
    /// Whether the tokens of a removed tenant are void now; `None` where day-manager makes no accounts.
    pub tokens_revoked: Option<bool>,
}

/// What a shard keeps of a tenant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateHeld {
    /// Business days.
    pub days: u64,
    /// Those of them that are not closed, which are never sealed.
    pub open_days: u64,
    /// Events published for these days.
    pub events: u64,
}

/// How many messages the broker keeps of a tenant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputsHeld {
    /// Versions of sealed reports.
    pub reports: u64,
    /// Figures behind them.
    pub figures: u64,
    /// Messages with rejected events.
    pub rejects: u64,
    /// Alerts. Absent from a day-manager of an earlier build.
    #[serde(default)]
    pub alerts: u64,
    /// Whether the stream of reports was made by an earlier build, and forbids to purge them.
    pub reports_stay: bool,
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
    /// `kind`, `view`, `tenant` or `group`.
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
    #[serde(default)]
    pub groups: Vec<TenantGroup>,
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
    /// The day ends now: events from now on, by their time, belong to the next day rather than to this one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub boundary: bool,
}

/// The markers that closed the day, and opened the next if it was not open yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloseReply {
    pub closed: DayMarker,
    pub opened: Option<DayMarker>,
    /// Where the closed day ended before its cut-off: events from then on belong to the next day. Left out when it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boundary: Option<Instant>,
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
