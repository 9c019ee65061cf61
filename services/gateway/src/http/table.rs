//! The routes. The router and the OpenAPI document are made from this table and from nothing else.

use super::call::{Call, Reply};
use super::fixed::Fixed;
use super::negotiation::Format::{self, Csv, EventStream, Html, Json, Ndjson};
use super::parameters::{Form, Parameter};
use super::schemas::{self, Schema};
use super::{openapi, page};
use crate::access::Scope::{self, Publish, Query};
use crate::events;
use crate::live::listen;
use crate::problem::{Code, Problem};
use crate::questions::lists::{self, List};
use crate::questions::{day, report, view};
use daybook_contracts::ask::{DAYS_VIEW, MAX_ANSWER_ROWS, MAX_AROUND};
use daybook_contracts::lists::{ALERTS_VIEW, MAX_LIST_ROWS, REJECTS_VIEW, REPORTS_VIEW, VIEWS_VIEW};
use futures::future::BoxFuture;

/// Answers a request that its token allows.
pub(super) type Handler = fn(Call) -> BoxFuture<'static, Result<Reply, Problem>>;

/// What a route does.
#[derive(Clone, Copy)]
pub(super) enum Action {
    /// The same for everyone, without a token.
    Open(fn() -> &'static Fixed),
    /// For tokens with the scope.
    For(Scope, Handler),
}

/// One method of one path.
pub(super) struct Route {
    pub method: &'static str,
    pub path: &'static str,
    /// The operation's id in the document.
    pub id: &'static str,
    pub summary: &'static str,
    pub about: &'static str,
    pub action: Action,
    /// Parameters of the query.
    pub query: &'static [Parameter],
    /// Bodies that are read: media type and schema.
    pub bodies: &'static [(&'static str, Schema)],
    /// The formats of the answer; the first where a client likes all alike.
    pub formats: &'static [Format],
    /// Statuses that are no problems, and the schema of their JSON.
    pub answers: &'static [(u16, &'static str, Schema)],
    /// Problems besides those that every route has.
    pub problems: &'static [Code],
    /// Whether it may take longer than other requests.
    pub is_stream: bool,
}

impl Route {
    /// The parameters of the path.
    pub(super) fn path_parameters(&self) -> impl Iterator<Item = &'static Parameter> {
        let path = self.path;
        PATH.iter().filter(move |parameter| path.contains(&format!("{{{}}}", parameter.name)))
    }

    /// Whether its answers are server-sent events.
    pub(super) fn is_live(&self) -> bool {
        self.formats == [EventStream]
    }
}

const fn parameter(name: &'static str, form: Form, example: &'static str, about: &'static str) -> Parameter {
    Parameter { name, form, about, example }
}

/// Parameters of paths.
const PATH: &[Parameter] = &[
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
const DATES: &[Parameter] = &[
    parameter("from", Form::Date, "2024-03-01", "The first business day; all when absent."),
    parameter("to", Form::Date, "2024-03-31", "The last business day; all when absent."),
    LIMIT,
    CURSOR,
];

/// Parameters of the lists of rejects and alerts.
const RECORDED: &[Parameter] = &[LIMIT, CURSOR];
const VERSION: &[Parameter] =
    &[parameter("version", Form::Whole(1, u32::MAX as u64), "1", "An older version; the newest when absent.")];
const VERSIONS: &[Parameter] = &[
    parameter("from", Form::Whole(1, u32::MAX as u64), "1", "The earlier version; the one before `to` when absent."),
    parameter("to", Form::Whole(1, u32::MAX as u64), "2", "The later version; the newest when absent."),
];
const MAPPING: &[Parameter] =
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
const FOLLOWED: &[Parameter] = QUESTION.split_at(QUESTION.len() - 3).0;

const DAYS: List = List { view: DAYS_VIEW, rows: "days", columns: &["date", "day", "opens_at", "closes_at", "report"] };
const REPORTS: List = List { view: REPORTS_VIEW, rows: "reports", columns: &["date", "version", "hash"] };
const REJECT_LIST: List =
    List { view: REJECTS_VIEW, rows: "rejects", columns: &["code", "reason", "kind", "inbox", "index"] };
const ALERT_LIST: List = List {
    view: ALERTS_VIEW,
    rows: "alerts",
    columns: &["id", "alert", "day", "at", "log", "view", "group", "figures"],
};
const VIEWS: List = List { view: VIEWS_VIEW, rows: "views", columns: &["name", "kind", "grain"] };

const TABLES: &[Format] = &[Json, Csv, Ndjson];
const JSON: &str = "application/json";
const NDJSON: &str = "application/x-ndjson";
const ASKING: &[Code] =
    &[Code::UnknownTenant, Code::PastRetention, Code::TooLarge, Code::Busy, Code::Internal, Code::Unavailable];
const ASKING_REPORT: &[Code] = &[
    Code::UnknownTenant,
    Code::UnknownDay,
    Code::PastRetention,
    Code::TooLarge,
    Code::Busy,
    Code::Internal,
    Code::Unavailable,
];
const ASKING_VIEW: &[Code] = &[
    Code::UnknownTenant,
    Code::UnknownView,
    Code::UnknownDay,
    Code::UnknownSeason,
    Code::UnknownMember,
    Code::PastRetention,
    Code::TooLarge,
    Code::NotYet,
    Code::Busy,
    Code::Quota,
    Code::Internal,
    Code::Unavailable,
];

/// A route with what most have.
const PLAIN: Route = Route {
    method: "GET",
    path: "",
    id: "",
    summary: "",
    about: "",
    action: Action::Open(openapi::served),
    query: &[],
    bodies: &[],
    formats: TABLES,
    answers: &[],
    problems: ASKING,
    is_stream: false,
};

/// Every route.
pub(super) static ROUTES: &[Route] = &[
    Route {
        method: "POST",
        path: "/v1/tenants/{tenant}/kinds/{kind}/events",
        id: "publishEvents",
        summary: "Publish events",
        about: "Takes one event, an array of at most 10,000, or NDJSON of any length, which is read as a stream. Answers once all \
            events are durable. `inbox` is for `at_least` of a question. Events with an id count once, however often they are sent.",
        action: Action::For(Publish, |call| Box::pin(events::post::post(call))),
        query: MAPPING,
        bodies: &[(JSON, schemas::events), (NDJSON, schemas::event)],
        formats: &[Json],
        answers: &[
            (200, "Every event is durable.", schemas::published),
            (207, "Some events are wrong, as `problems` says; all others are durable.", schemas::published),
        ],
        problems: &[
            Code::UnknownTenant,
            Code::UnknownKind,
            Code::UnknownMapping,
            Code::Timeout,
            Code::TooLarge,
            Code::UnsupportedMediaType,
            Code::Refused,
            Code::Busy,
            Code::Unavailable,
            Code::Full,
        ],
        is_stream: true,
    },
    Route {
        path: "/v1/tenants/{tenant}/views",
        id: "listViews",
        summary: "List the views",
        about: "The views that the tenant can ask for, with their columns.",
        action: Action::For(Query, |call| Box::pin(lists::get(call, VIEWS, &[]))),
        answers: &[(200, "The views, by name.", schemas::views)],
        ..PLAIN
    },
    Route {
        path: "/v1/tenants/{tenant}/views/{view}",
        id: "askView",
        summary: "Ask for the figures of a view",
        about: "Without parameters: the whole view on the newest open day. The entity tag stays the same while the figures do.",
        action: Action::For(Query, |call| Box::pin(view::get(call, QUESTION))),
        query: QUESTION,
        answers: &[(200, "The figures.", schemas::answer), (304, "The client has them already.", schemas::nothing)],
        problems: ASKING_VIEW,
        ..PLAIN
    },
    Route {
        method: "POST",
        path: "/v1/tenants/{tenant}/views/{view}",
        id: "askViewByBody",
        summary: "Ask for the figures of a view, by a body",
        about: "The body is the question of a NATS client (docs/CLIENTS.md), without `watch`.",
        action: Action::For(Query, |call| Box::pin(view::post(call))),
        bodies: &[(JSON, schemas::question)],
        answers: &[(200, "The figures.", schemas::answer)],
        problems: ASKING_VIEW,
        ..PLAIN
    },
    Route {
        path: "/v1/tenants/{tenant}/views/{view}/live",
        id: "followView",
        summary: "Follow a view as server-sent events",
        about: "The event `snapshot` has all rows of the newest open day, `changes` the rows that changed since, `end` the problem \
            that ends the stream. After a gap there is another `snapshot`. Send the last id as `Last-Event-ID` to go on. With \
            parameters, such as a season or a member of a ranking, each change is a `snapshot`, at most one a second.",
        action: Action::For(Query, |call| Box::pin(listen::get(call, FOLLOWED))),
        query: FOLLOWED,
        formats: &[EventStream],
        answers: &[(200, "The stream.", schemas::stream)],
        problems: ASKING_VIEW,
        is_stream: true,
        ..PLAIN
    },
    Route {
        path: "/v1/tenants/{tenant}/days",
        id: "listDays",
        summary: "List the business days",
        about: "Each with the account of its events. The first page holds the newest days; within it the oldest comes first.",
        action: Action::For(Query, |call| Box::pin(lists::get(call, DAYS, DATES))),
        query: DATES,
        answers: &[(200, "A page of days.", schemas::days), (304, "The client has it already.", schemas::nothing)],
        ..PLAIN
    },
    Route {
        method: "POST",
        path: "/v1/tenants/{tenant}/days",
        id: "listDaysByBody",
        summary: "List the business days, by a body",
        about: "As with GET.",
        action: Action::For(Query, |call| Box::pin(lists::post(call, DAYS))),
        bodies: &[(JSON, schemas::dates)],
        answers: &[(200, "A page of days.", schemas::days)],
        ..PLAIN
    },
    Route {
        path: "/v1/tenants/{tenant}/days/{date}",
        id: "getDay",
        summary: "Get one day, and whether its figures are final",
        about: "`figures` is upcoming, open, closing, restating, sealed, final or unknown. `sealed`: the report has all that is \
            known. `final`: nothing can change the day any more.",
        action: Action::For(Query, |call| Box::pin(day::get(call))),
        formats: &[Json],
        answers: &[(200, "The day.", schemas::day)],
        problems: &[Code::UnknownTenant, Code::UnknownDay, Code::Busy, Code::Internal, Code::Unavailable],
        ..PLAIN
    },
    Route {
        path: "/v1/tenants/{tenant}/reports",
        id: "listReports",
        summary: "List the sealed reports",
        about: "The newest version of each day.",
        action: Action::For(Query, |call| Box::pin(lists::get(call, REPORTS, DATES))),
        query: DATES,
        answers: &[
            (200, "A page of reports.", schemas::reports),
            (304, "The client has it already.", schemas::nothing),
        ],
        ..PLAIN
    },
    Route {
        method: "POST",
        path: "/v1/tenants/{tenant}/reports",
        id: "listReportsByBody",
        summary: "List the sealed reports, by a body",
        about: "As with GET.",
        action: Action::For(Query, |call| Box::pin(lists::post(call, REPORTS))),
        bodies: &[(JSON, schemas::dates)],
        answers: &[(200, "A page of reports.", schemas::reports)],
        ..PLAIN
    },
    Route {
        path: "/v1/tenants/{tenant}/reports/{date}",
        id: "getReport",
        summary: "Get a sealed report",
        about: "Byte for byte as it was sealed. The header Daybook-Hash is BLAKE3 of the body.",
        action: Action::For(Query, |call| Box::pin(report::get(call))),
        query: VERSION,
        formats: &[Json],
        answers: &[(200, "The report.", schemas::report), (304, "The client has it already.", schemas::nothing)],
        problems: ASKING_REPORT,
        ..PLAIN
    },
    Route {
        path: "/v1/tenants/{tenant}/reports/{date}/diff",
        id: "compareReports",
        summary: "Compare two versions of a sealed report",
        about: "Names what differs, with figures before and after, and the late events that made the later version. Without \
            parameters: the newest version and the one before it.",
        action: Action::For(Query, |call| Box::pin(report::compare(call))),
        query: VERSIONS,
        formats: &[Json],
        answers: &[(200, "The differences.", schemas::comparison)],
        problems: ASKING_REPORT,
        ..PLAIN
    },
    Route {
        path: "/v1/tenants/{tenant}/rejects",
        id: "listRejects",
        summary: "List events that were not counted",
        about: "The newest first page. Keep `newer` and ask with it as the cursor for rejects that are recorded later.",
        action: Action::For(Query, |call| Box::pin(lists::get(call, REJECT_LIST, RECORDED))),
        query: RECORDED,
        answers: &[
            (200, "A page of rejects.", schemas::rejects),
            (304, "The client has it already.", schemas::nothing),
        ],
        ..PLAIN
    },
    Route {
        method: "POST",
        path: "/v1/tenants/{tenant}/rejects",
        id: "listRejectsByBody",
        summary: "List events that were not counted, by a body",
        about: "As with GET.",
        action: Action::For(Query, |call| Box::pin(lists::post(call, REJECT_LIST))),
        bodies: &[(JSON, schemas::page)],
        answers: &[(200, "A page of rejects.", schemas::rejects)],
        ..PLAIN
    },
    Route {
        path: "/v1/tenants/{tenant}/alerts",
        id: "listAlerts",
        summary: "List alerts",
        about: "The newest first page. Keep `newer` and ask with it as the cursor for alerts that come later.",
        action: Action::For(Query, |call| Box::pin(lists::get(call, ALERT_LIST, RECORDED))),
        query: RECORDED,
        answers: &[(200, "A page of alerts.", schemas::alerts), (304, "The client has it already.", schemas::nothing)],
        ..PLAIN
    },
    Route {
        method: "POST",
        path: "/v1/tenants/{tenant}/alerts",
        id: "listAlertsByBody",
        summary: "List alerts, by a body",
        about: "As with GET.",
        action: Action::For(Query, |call| Box::pin(lists::post(call, ALERT_LIST))),
        bodies: &[(JSON, schemas::page)],
        answers: &[(200, "A page of alerts.", schemas::alerts)],
        ..PLAIN
    },
    Route {
        path: "/v1/tenants/{tenant}/position",
        id: "getPosition",
        summary: "Get the position that the figures reflect",
        about: "The position of the tenant's partition: an event is in the figures once `as_of.inbox` has reached its position.",
        action: Action::For(Query, |call| Box::pin(lists::position(call))),
        formats: &[Json],
        answers: &[(200, "The position.", schemas::position)],
        ..PLAIN
    },
    Route {
        path: "/v1/openapi.json",
        id: "getDocument",
        summary: "Get this document",
        about: "OpenAPI 3.1.",
        action: Action::Open(openapi::served),
        formats: &[Json],
        answers: &[(200, "The document.", schemas::anything), (304, "The client has it already.", schemas::nothing)],
        problems: &[],
        ..PLAIN
    },
    Route {
        path: "/v1/docs",
        id: "getDocs",
        summary: "Read this document as a page",
        about: "HTML, without scripts and without requests to other hosts.",
        action: Action::Open(page::served),
        formats: &[Html],
        answers: &[(200, "The page.", schemas::html), (304, "The client has it already.", schemas::nothing)],
        problems: &[],
        ..PLAIN
    },
];
