//! The parameters that routes take, in the path and in the query.

use crate::http::parameters::{Form, Parameter};
use daybook_contracts::ask::{MAX_ANSWER_ROWS, MAX_AROUND};
use daybook_contracts::lists::MAX_LIST_ROWS;

const fn parameter(name: &'static str, form: Form, example: &'static str, about: &'static str) -> Parameter {
    Parameter { name, form, about, example }
}

/// Parameters of paths.
pub(super) const PATH: &[Parameter] = &[
    parameter("tenant", Form::Name, "acme", "The tenant's id; for figures and views also that of a group of tenants."),
    parameter("kind", Form::Name, "order", "The kind of the events."),
    parameter("view", Form::Name, "sales", "The name of a view."),
    parameter("date", Form::Date, "2024-03-01", "A business day of the tenant, by its local date."),
];

const LIMIT: Parameter = parameter(
    "limit",
    Form::Whole(1, MAX_LIST_ROWS as u64),
    "100",
    "Most rows of a page; 400 by default, 100 rejects or alerts.",
);
const CURSOR: Parameter =
    parameter("cursor", Form::Cursor, "", "The `next` of the page before. Only `limit` may differ.");

/// Parameters of the lists of days and reports.
pub(super) const DATES: &[Parameter] = &[
    parameter("from", Form::Date, "2024-03-01", "The first business day; all when absent."),
    parameter("to", Form::Date, "2024-03-31", "The last business day; all when absent."),
    LIMIT,
    CURSOR,
];

/// Parameters of the lists of rejects and alerts.
pub(super) const RECORDED: &[Parameter] = &[LIMIT, CURSOR];
pub(super) const VERSION: &[Parameter] =
    &[parameter("version", Form::Whole(1, u32::MAX as u64), "1", "An older version; the newest when absent.")];
pub(super) const VERSIONS: &[Parameter] = &[
    parameter("from", Form::Whole(1, u32::MAX as u64), "1", "The earlier version; the one before `to` when absent."),
    parameter("to", Form::Whole(1, u32::MAX as u64), "2", "The later version; the newest when absent."),
];
pub(super) const MAPPING: &[Parameter] =
    &[parameter("mapping", Form::Name, "shop", "A mapping of the kind: the body then holds foreign records.")];

/// Parameters of a question.
pub(crate) const QUESTION: &[Parameter] = &[
    parameter(
        "days",
        Form::Days,
        "last_7_days",
        "today (the default), yesterday, week_to_date, month_to_date, last_7_days, \
        2024-03-01, 2024-03-01..2024-03-31 or season:NAME.",
    ),
    parameter("metrics", Form::List, "revenue", "Columns of figures, in this order; all when absent."),
    parameter(
        "dimensions",
        Form::List,
        "store",
        "Columns to group by; the others are rolled up. An empty list gives one row.",
    ),
    parameter("where", Form::Text, "store in ('east', 'west')", "A condition on the view's dimensions."),
    parameter(
        "grain",
        Form::Choice(&["total", "day", "hour", "quarter_hour", "clock_hour", "hour_of_day"]),
        "total",
        "Divides the rows by time.",
    ),
    parameter(
        "order",
        Form::List,
        "revenue desc",
        "Columns to order by, each with asc or desc. Not together with rank.",
    ),
    parameter("limit", Form::Whole(1, MAX_ANSWER_ROWS as u64), "10", "Rows of a page."),
    parameter("rank", Form::Flag, "true", "Ranks the rows by the view's ranking."),
    parameter("rank.by", Form::List, "revenue desc", "Metrics to rank by, at most 8."),
    parameter("rank.ties", Form::Choice(&["competition", "dense", "ordinal"]), "dense", "The rule for equal ranks."),
    parameter(
        "rank.member",
        Form::Repeated,
        "east",
        "Only this member: a value for each asked dimension, in their order.",
    ),
    parameter("rank.around", Form::Whole(0, MAX_AROUND as u64), "2", "Neighbours on either side of the member."),
    // Not for a live view.
    CURSOR,
    parameter(
        "at_least",
        Form::Whole(0, u64::MAX),
        "0",
        "A position that the figures must reach, such as that of published events.",
    ),
    parameter("accept_stale", Form::Flag, "true", "Whether last known figures will do while a shard is away."),
];

/// Parameters of a question that is repeated.
pub(super) const FOLLOWED: &[Parameter] = QUESTION.split_at(QUESTION.len() - 3).0;
