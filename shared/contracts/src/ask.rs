//! Questions and answers: `daybook.query.<tenant>.<view>` for clients, and what query asks of the shards for them.

use crate::report::{Account, Coverage, Row};
use compact_str::CompactString;
use daybook_domain::catalogue::{Direction, Grain, RankedBy, Ties};
use daybook_domain::ids::{InboxSeq, LogSeq, Name, TenantId};
use daybook_domain::time::{Date, Instant};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::str::FromStr;

/// The reserved view name under which a tenant's days and their accounts are asked for.
pub const DAYS_VIEW: &str = "~days";
/// The reserved view name under which is asked how far the figures of a tenant reach.
pub const POSITION_VIEW: &str = "~position";
/// Most rows in one answer, and the limit where a question has none. The rest is on further pages.
pub const MAX_ANSWER_ROWS: usize = 10_000;
/// Most bytes of rows in one answer, below the broker's payload limit.
pub const MAX_ANSWER_BYTES: usize = 768 * 1024;
/// Most business days in one question.
pub const MAX_RANGE_DAYS: i32 = 400;
/// Most neighbours on either side of a member.
pub const MAX_AROUND: u32 = 500;

/// Which business days are asked for. "Today" is the newest day that is open; weeks begin on Monday.
///
/// ```
/// use daybook_contracts::ask::DaySelector;
/// for text in ["today", "yesterday", "week_to_date", "month_to_date", "last_7_days", "2013-03-10",
///              "2013-03-08..2013-03-12", "season:hunt"] {
///     assert_eq!(text.parse::<DaySelector>().unwrap().to_string(), text);
/// }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum DaySelector {
    #[default]
    Today,
    Yesterday,
    WeekToDate,
    MonthToDate,
    /// So many days, the last of which is today.
    Last(u16),
    Date(Date),
    /// Both included.
    Range(Date, Date),
    /// A named window of the tenant.
    Season(Name),
}

/// A text that selects no days.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} selects no days: {1}")]
pub struct DaysError(String, &'static str);

const DAYS_FORMS: &str = "use today, yesterday, week_to_date, month_to_date, last_7_days, 2013-03-10, \
     2013-03-08..2013-03-12 or season:NAME";

impl FromStr for DaySelector {
    type Err = DaysError;
    fn from_str(text: &str) -> Result<Self, DaysError> {
        let wrong = |why| DaysError(text.chars().take(64).collect(), why);
        let date = |text: &str| text.parse::<Date>().map_err(|_| wrong(DAYS_FORMS));
        Ok(match text {
            "today" => Self::Today,
            "yesterday" => Self::Yesterday,
            "week_to_date" => Self::WeekToDate,
            "month_to_date" => Self::MonthToDate,
            _ => {
                if let Some(count) = text.strip_prefix("last_").and_then(|rest| rest.strip_suffix("_days")) {
                    let count = count.parse().map_err(|_| wrong(DAYS_FORMS))?;
                    if !(1..=MAX_RANGE_DAYS as u16).contains(&count) {
                        return Err(wrong("at least 1 and at most 400 days can be asked for at once"));
                    }
                    Self::Last(count)
                } else if let Some(name) = text.strip_prefix("season:") {
                    Self::Season(Name::new(name).map_err(|_| wrong("a season's name is made of A-Z a-z 0-9 _ -"))?)
                } else if let Some((from, to)) = text.split_once("..") {
                    let (from, to) = (date(from)?, date(to)?);
                    if to < from {
                        return Err(wrong("the range ends before it begins"));
                    }
                    if to.days_since(from) >= MAX_RANGE_DAYS {
                        return Err(wrong("at least 1 and at most 400 days can be asked for at once"));
                    }
                    Self::Range(from, to)
                } else {
                    Self::Date(date(text)?)
                }
            }
        })
    }
}

impl fmt::Display for DaySelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Today => f.write_str("today"),
            Self::Yesterday => f.write_str("yesterday"),
            Self::WeekToDate => f.write_str("week_to_date"),
            Self::MonthToDate => f.write_str("month_to_date"),
            Self::Last(count) => write!(f, "last_{count}_days"),
            Self::Date(date) => date.fmt(f),
            Self::Range(from, to) => write!(f, "{from}..{to}"),
            Self::Season(name) => write!(f, "season:{name}"),
        }
    }
}

impl DaySelector {
    /// The first and the last day, when `today` is the newest open day; `None` for a season.
    pub fn range(&self, today: Date) -> Option<(Date, Date)> {
        let back = |days: i32| (today.plus(-days), today);
        Some(match self {
            Self::Today => (today, today),
            Self::Yesterday => (today.plus(-1), today.plus(-1)),
            Self::WeekToDate => back(today.weekday()),
            Self::MonthToDate => back(today.day_of_month() - 1),
            Self::Last(count) => back(i32::from(*count) - 1),
            Self::Date(date) => (*date, *date),
            Self::Range(from, to) => (*from, *to),
            Self::Season(_) => return None,
        })
    }
}

impl Serialize for DaySelector {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for DaySelector {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// Into which pieces of time the answer's rows are divided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pieces {
    /// None: one row for everything asked for.
    #[default]
    Total,
    /// A column `day`.
    Day,
    /// A column `time`, the start of each; only of views that are kept as finely.
    Hour,
    QuarterHour,
    /// A column `time`, the local time at which each hour of the clock begins; only of views that are kept by `clock_hour`.
    ClockHour,
    /// A column `time`, the hour of the clock: all days together. Only of views that are kept by `clock_hour`.
    HourOfDay,
}

impl From<Grain> for Pieces {
    fn from(grain: Grain) -> Self {
        match grain {
            Grain::Day => Self::Total,
            Grain::Hour => Self::Hour,
            Grain::QuarterHour => Self::QuarterHour,
            Grain::ClockHour => Self::ClockHour,
        }
    }
}

impl Pieces {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Total => "total",
            Self::Day => "day",
            Self::Hour => "hour",
            Self::QuarterHour => "quarter_hour",
            Self::ClockHour => "clock_hour",
            Self::HourOfDay => "hour_of_day",
        }
    }

    /// The grain that the view must have, or, but for hours of the clock, a finer one.
    pub fn grain(self) -> Grain {
        match self {
            Self::Total | Self::Day => Grain::Day,
            Self::Hour => Grain::Hour,
            Self::QuarterHour => Grain::QuarterHour,
            Self::ClockHour | Self::HourOfDay => Grain::ClockHour,
        }
    }
}

/// A column to order by: `flights`, `flights desc`, `carrier asc`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Order {
    pub by: Name,
    pub direction: Direction,
}

impl FromStr for Order {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let mut words = text.split_ascii_whitespace();
        let by =
            Name::new(words.next().unwrap_or_default()).map_err(|error| format!("the column to order by {error}"))?;
        let direction = match words.next().map(str::to_ascii_lowercase).as_deref() {
            None | Some("asc") => Direction::Asc,
            Some("desc") => Direction::Desc,
            Some(other) => return Err(format!("{other:?} is no direction; use asc or desc")),
        };
        match words.next() {
            None => Ok(Self { by, direction }),
            Some(more) => Err(format!("{more:?} is too much; write a column and asc or desc")),
        }
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let direction = if self.direction == Direction::Desc { " desc" } else { "" };
        write!(f, "{}{direction}", self.by)
    }
}

impl Serialize for Order {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Order {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// How to rank, and around whom. Rows get the columns `position` (1, 2, 3, …) and `rank` (by the tie rule).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RankQuery {
    /// By which metrics; default: the view's ranking.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub by: Vec<RankedBy>,
    /// Default: the view's ranking.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ties: Option<Ties>,
    /// Only this member, by the values of the asked dimensions in their order, and its neighbours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<Vec<Option<CompactString>>>,
    /// How many neighbours on either side, at most [`MAX_AROUND`].
    #[serde(default, skip_serializing_if = "is_zero")]
    pub around: u32,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// How an answer writes metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Numbers {
    /// As numbers with all digits of their measure, such as `5077.30`.
    #[default]
    Number,
    /// As texts of the same digits, for readers whose numbers are binary floats, as those of JavaScript are.
    Text,
}

impl Numbers {
    fn is_default(&self) -> bool {
        *self == Self::Number
    }
}

/// The body of a query, in JSON, or in MessagePack (a map) with that content type. An empty body asks for today.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Query {
    pub days: DaySelector,
    /// Which metrics of the view, in this order; all when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Vec<Name>>,
    /// Which of the view's dimensions, in this order; all when absent. The others are rolled up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dimensions: Option<Vec<Name>>,
    /// A condition on dimensions of the view, whether they are shown or not.
    #[serde(rename = "where", skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    pub grain: Pieces,
    /// Columns of the answer; default: the ranking if the view has one, else time and dimensions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub order: Vec<Order>,
    /// Most rows of this page, 1 to [`MAX_ANSWER_ROWS`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// The `next` of the page before; the rest of the question must be the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Gives ranks, also where the view has no ranking.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rank: Option<RankQuery>,
    /// Answer only when the figures rest on this INBOX sequence (of the asker's PubAck) or a later one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_least: Option<InboxSeq>,
    /// How the answer writes metrics.
    #[serde(skip_serializing_if = "Numbers::is_default")]
    pub numbers: Numbers,
    /// Whether last known figures will do, marked `stale`, when the shard is away.
    pub accept_stale: bool,
    /// Start or renew the view's feed on `daybook.live.<tenant>.<view>`; see [`crate::live`]. Only for a question that
    /// asks for nothing else.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub watch: bool,
}

impl Default for Query {
    fn default() -> Self {
        Self {
            days: DaySelector::Today,
            metrics: None,
            dimensions: None,
            filter: None,
            grain: Pieces::Total,
            order: Vec::new(),
            limit: None,
            cursor: None,
            rank: None,
            at_least: None,
            numbers: Numbers::default(),
            accept_stale: true,
            watch: false,
        }
    }
}

impl Query {
    /// The view as it stands for these days.
    pub fn days(days: DaySelector) -> Self {
        Self { days, ..Self::default() }
    }
}

/// What query asks of a shard, in JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ShardQuestion {
    /// Answered by [`Answer`]; [`AskErrorCode::Expired`] when it asks for days that the shard has let go of.
    View {
        tenant: TenantId,
        view: Name,
        query: Box<Query>,
    },
    /// The groups behind the figures of the days from `from` to `to`, to be merged with those of older days. Answered
    /// by [`crate::figures::Figures`] in MessagePack, or by an error in JSON (which begins with `{`).
    Figures {
        tenant: TenantId,
        view: Name,
        from: Date,
        to: Date,
    },
    Days {
        tenant: TenantId,
    },
    /// The groups behind a view's figures for tenants of a group, of each for its own business days. Answered by
    /// [`crate::totals::Totals`] in MessagePack, or by an error in JSON (which begins with `{`).
    Totals {
        /// Whose turn it takes.
        group: TenantId,
        tenants: Vec<TenantId>,
        view: Name,
        /// No season: that is one tenant's.
        days: DaySelector,
    },
    Position,
    /// How the views of the partition stand. Answered by a list of [`ViewProgress`].
    Views,
    /// The views in force that the tenant may ask for. Answered by [`crate::lists::ViewList`].
    ViewsOf {
        tenant: TenantId,
        /// The group of tenants that asks; the question takes its turn then.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        group: Option<TenantId>,
    },
}

/// How a view stands in a partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewProgress {
    pub view: Name,
    /// The revision in force, 0 for none.
    pub active: u64,
    /// A newer revision that is being backfilled.
    pub pending: Option<Backfilling>,
    pub coverage: Coverage,
}

/// A view's backfill in a partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backfilling {
    pub revision: u64,
    /// 0 to 100; how much of the log below has been read.
    pub percent: u8,
    /// All of it is there: the view can be activated.
    pub ready: bool,
    /// Where the log had to be begun when it no longer reaches back.
    pub since: Option<LogSeq>,
}

/// Where a day stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DayState {
    /// Not opened yet; early events may be known.
    Upcoming,
    Open,
    /// Closed, and its report sealed.
    Closed,
}

/// How current an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AsOf {
    pub log: LogSeq,
    pub inbox: InboxSeq,
}

/// How far the figures of a tenant's partition reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    pub as_of: AsOf,
    /// Reports and rejects that are made but not written yet.
    pub outputs_waiting: u64,
}

/// A feed and how far it has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Feed {
    /// Unlike that of any other feed, also of the same view.
    pub feed: CompactString,
    /// Of the last message that the answer's rows include; 0 before the first.
    pub sequence: u64,
}

/// The rows of a view, and how far they can be relied on. Whoever only hands it on may leave the rows as they are written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer<Rows = Vec<Row>> {
    pub tenant: TenantId,
    /// How many tenants of this id were removed before; left out when 0.
    #[serde(default, skip_serializing_if = "crate::day::is_first")]
    pub generation: u32,
    pub view: Name,
    /// The first and the last business day asked for; of a season, the days that it touches.
    pub from: Date,
    pub to: Date,
    /// Open when any of the days is.
    pub day: DayState,
    pub rows: Rows,
    /// How many rows there are on all pages.
    pub total: u64,
    /// The cursor of the next page, when there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    pub as_of: AsOf,
    /// How many milliseconds ago the figures were known to be level with the log; 0 for sealed days.
    pub freshness_ms: u64,
    /// The shard is away: these are the last known figures, as old as `freshness_ms` says.
    #[serde(default)]
    pub stale: bool,
    pub coverage: Coverage,
    /// Revision of the view's definition.
    pub definition: u64,
    /// The newest sealed version, if one closed day was asked for.
    pub report: Option<u32>,
    /// With `watch`: what follows on the live subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feed: Option<Feed>,
}

impl<Rows> Answer<Rows> {
    /// The same with its rows in another form.
    pub fn with_rows<Others>(self, others: impl FnOnce(Rows) -> Others) -> Answer<Others> {
        Answer {
            rows: others(self.rows),
            tenant: self.tenant,
            generation: self.generation,
            view: self.view,
            from: self.from,
            to: self.to,
            day: self.day,
            total: self.total,
            next: self.next,
            as_of: self.as_of,
            freshness_ms: self.freshness_ms,
            stale: self.stale,
            coverage: self.coverage,
            definition: self.definition,
            report: self.report,
            feed: self.feed,
        }
    }
}

/// One day of a tenant, with the account of its events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DayAccount {
    pub date: Date,
    pub day: DayState,
    pub opens_at: Option<Instant>,
    pub closes_at: Option<Instant>,
    pub report: Option<u32>,
    pub account: Account,
    /// The account is that of the report: what came since and changed no figure may not be in it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub as_reported: bool,
    /// Late events have changed the figures of the closed day since its newest report, and a further version will come.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub restating: bool,
}

/// Days of a tenant: those that a shard keeps, or a page of all of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Days {
    pub tenant: TenantId,
    /// In order of their dates.
    pub days: Vec<DayAccount>,
    pub as_of: AsOf,
    /// The cursor of the page with earlier days, when there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Why a question was not answered. `code` is stable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{}{message}{}", place(.field, .position), hint.as_ref().map(|h| format!("; {h}")).unwrap_or_default())]
pub struct AskError {
    pub code: AskErrorCode,
    pub message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The field of the request that is wrong, such as `where` or `order[1]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// Where the mistake is: bytes from the start of the field, or of the request when no field is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<usize>,
}

fn place(field: &Option<String>, position: &Option<usize>) -> String {
    match (field, position) {
        (Some(field), Some(position)) => format!("{field}, at {position}: "),
        (Some(field), None) => format!("{field}: "),
        (None, Some(position)) => format!("at {position}: "),
        (None, None) => String::new(),
    }
}

impl AskError {
    pub fn new(code: AskErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None, field: None, position: None }
    }

    /// What to do about it.
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// The field of the request that is wrong.
    pub fn field(self, field: impl Into<String>) -> Self {
        Self { field: Some(field.into()), ..self }
    }

    /// Where in the field, or in the request, the mistake is.
    pub fn at(self, position: usize) -> Self {
        Self { position: Some(position), ..self }
    }
}

/// The kinds of [`AskError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AskErrorCode {
    /// The request cannot be read, or asks for what the view does not have.
    BadRequest,
    UnknownTenant,
    UnknownView,
    /// The day is not known: not published, or expired with no report.
    UnknownDay,
    /// The tenant has no season of that name.
    UnknownSeason,
    /// The ranking has no such member.
    UnknownMember,
    /// The shard has let go of some of the days. Only between shard and query.
    Expired,
    /// The day was sealed, and its report or figures are over their retention: they were deleted.
    PastRetention,
    /// The figures do not reach `at_least` yet.
    NotYet,
    /// The answer would take more than can be computed or sent; narrow the question.
    TooLarge,
    /// The tenant has too many questions under way in this query service; others are not held up by it.
    Busy,
    /// The tenant has as much as its quota allows.
    Quota,
    /// No shard answers for the tenant.
    Unavailable,
    /// A defect; the log says more.
    Internal,
}

impl AskErrorCode {
    /// The number in the `Nats-Service-Error-Code` header.
    pub fn number(self) -> usize {
        match self {
            Self::BadRequest => 400,
            Self::UnknownTenant | Self::UnknownView | Self::UnknownDay | Self::UnknownSeason | Self::UnknownMember => {
                404
            }
            Self::Expired | Self::PastRetention => 410,
            Self::TooLarge => 413,
            Self::NotYet => 425,
            Self::Busy | Self::Quota => 429,
            Self::Unavailable => 503,
            Self::Internal => 500,
        }
    }
}

/// An answer or the reason why there is none, as it travels between shard and query.
pub type Asked<T> = Result<T, AskError>;
