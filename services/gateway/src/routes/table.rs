//! The routes. The router and the OpenAPI document are made from this table and from nothing else.

use super::inputs::{DATES, FOLLOWED, MAPPING, QUESTION, RECORDED, VERSION, VERSIONS};
use super::route::{Action, Document, Route};
use super::schemas;
use crate::access::Scope::{Publish, Query};
use crate::events;
use crate::http::Format::{self, Csv, EventStream, Html, Json, Ndjson};
use crate::live::listen;
use crate::problem::Code;
use crate::questions::lists::{self, List};
use crate::questions::{day, report, view};
use daybook_contracts::ask::DAYS_VIEW;
use daybook_contracts::lists::{ALERTS_VIEW, REJECTS_VIEW, REPORTS_VIEW, VIEWS_VIEW};

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
    action: Action::Open(Document::OpenApi),
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
        action: Action::Open(Document::OpenApi),
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
        action: Action::Open(Document::Page),
        formats: &[Html],
        answers: &[(200, "The page.", schemas::html), (304, "The client has it already.", schemas::nothing)],
        problems: &[],
        ..PLAIN
    },
];
