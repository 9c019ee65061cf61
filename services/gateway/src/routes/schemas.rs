//! JSON schemas of bodies and answers, as the document shows them.

use crate::http::parameters::{DAYS, NAME};
use daybook_contracts::ask::{MAX_ANSWER_ROWS, MAX_AROUND};
use daybook_contracts::event::{MAX_ID_BYTES, MAX_MESSAGE_EVENTS};
use daybook_contracts::lists::MAX_LIST_ROWS;
use serde_json::{Value, json};

/// Makes a schema.
pub(super) type Schema = fn() -> Value;

/// An answer without a body.
pub(super) fn nothing() -> Value {
    Value::Null
}

pub(super) fn anything() -> Value {
    json!({"type": "object"})
}

pub(super) fn html() -> Value {
    json!({"type": "string"})
}

pub(super) fn stream() -> Value {
    json!({"type": "string", "description": "text/event-stream"})
}

/// An object: required fields, and others that it may have.
fn object(required: &[(&str, Value)], optional: &[(&str, Value)]) -> Value {
    let properties: serde_json::Map<_, _> =
        required.iter().chain(optional).map(|(name, schema)| ((*name).to_owned(), schema.clone())).collect();
    let names: Vec<_> = required.iter().map(|(name, _)| *name).collect();
    json!({"type": "object", "required": names, "properties": properties})
}

/// The same without fields that are not named.
fn closed(mut schema: Value) -> Value {
    schema["additionalProperties"] = Value::Bool(false);
    schema
}

fn text() -> Value {
    json!({"type": "string"})
}

fn date() -> Value {
    json!({"type": "string", "format": "date"})
}

fn instant() -> Value {
    json!({"type": "string", "format": "date-time"})
}

fn count() -> Value {
    json!({"type": "integer", "minimum": 0})
}

fn flag() -> Value {
    json!({"type": "boolean"})
}

fn or_null(mut schema: Value) -> Value {
    let kind = schema["type"].clone();
    schema["type"] = json!([kind, "null"]);
    schema
}

fn list(items: Value) -> Value {
    json!({"type": "array", "items": items})
}

fn names() -> Value {
    list(json!({"type": "string", "pattern": NAME}))
}

/// Problem details.
pub(super) fn problem() -> Value {
    object(
        &[
            ("type", text()),
            ("title", text()),
            ("status", json!({"type": "integer"})),
            ("code", text()),
            ("detail", text()),
        ],
        &[("field", text()), ("position", count()), ("hint", text()), ("problems", list(event_problem()))],
    )
}

/// One event.
pub(super) fn event() -> Value {
    object(
        &[("at", instant())],
        &[
            ("id", json!({"type": ["string", "integer", "boolean", "null"], "maxLength": MAX_ID_BYTES})),
            ("version", json!({"type": ["integer", "string", "null"]})),
            ("status", json!({"enum": ["draft", "final", "void", null]})),
            ("dims", json!({"type": ["object", "null"]})),
            ("measures", json!({"type": ["object", "null"]})),
        ],
    )
}

/// One event, or an array of them. With `mapping`, any JSON value.
pub(super) fn events() -> Value {
    json!({"anyOf": [event(), {"type": "array", "items": event(), "minItems": 1, "maxItems": MAX_MESSAGE_EVENTS}]})
}

fn event_problem() -> Value {
    object(
        &[("index", count()), ("code", text()), ("reason", text())],
        &[("line", count()), ("item", count()), ("field", text())],
    )
}

pub(super) fn published() -> Value {
    object(
        &[
            ("events", count()),
            ("durable", count()),
            ("refused", count()),
            ("skipped", count()),
            ("inbox", or_null(count())),
            ("problems", list(event_problem())),
            ("problems_omitted", count()),
        ],
        &[],
    )
}

/// The body of a question.
pub(super) fn question() -> Value {
    let direction = json!({"enum": ["asc", "desc"]});
    let by = closed(object(&[("metric", json!({"type": "string", "pattern": NAME}))], &[("direction", direction)]));
    let rank = closed(object(
        &[],
        &[
            ("by", json!({"type": "array", "items": by, "maxItems": 8})),
            ("ties", json!({"enum": ["competition", "dense", "ordinal", null]})),
            ("member", or_null(list(json!({"type": ["string", "null"]})))),
            ("around", json!({"type": "integer", "minimum": 0, "maximum": MAX_AROUND})),
        ],
    ));
    closed(object(
        &[],
        &[
            ("days", json!({"type": "string", "pattern": DAYS})),
            ("metrics", or_null(names())),
            ("dimensions", or_null(names())),
            ("where", or_null(text())),
            ("grain", json!({"enum": ["total", "day", "hour", "quarter_hour", "clock_hour", "hour_of_day"]})),
            ("order", list(text())),
            ("limit", or_null(json!({"type": "integer", "minimum": 1, "maximum": MAX_ANSWER_ROWS}))),
            ("cursor", or_null(text())),
            ("rank", or_null(rank)),
            ("at_least", or_null(count())),
            ("accept_stale", flag()),
        ],
    ))
}

fn limit() -> Value {
    json!({"type": "integer", "minimum": 1, "maximum": MAX_LIST_ROWS})
}

/// The body of a question for days or reports.
pub(super) fn dates() -> Value {
    closed(object(
        &[],
        &[("from", or_null(date())), ("to", or_null(date())), ("limit", or_null(limit())), ("cursor", or_null(text()))],
    ))
}

/// The body of a question for rejects or alerts.
pub(super) fn page() -> Value {
    closed(object(&[], &[("limit", or_null(limit())), ("cursor", or_null(text()))]))
}

fn as_of() -> Value {
    object(&[("inbox", count()), ("log", count())], &[])
}

fn account() -> Value {
    let names = ["published", "counted", "pending", "duplicate", "stale", "carried", "rejected"];
    object(&names.map(|name| (name, count())), &[("drafts", count())])
}

fn day_state() -> Value {
    json!({"enum": ["upcoming", "open", "closed"]})
}

fn coverage() -> Value {
    json!({"anyOf": [{"const": "complete"}, {"type": "object"}]})
}

/// The figures of a view.
pub(super) fn answer() -> Value {
    let cell = json!({"type": ["string", "number", "null"]});
    object(
        &[
            ("tenant", text()),
            ("view", text()),
            ("from", date()),
            ("to", date()),
            ("day", day_state()),
            ("rows", list(json!({"type": "object", "additionalProperties": cell}))),
            ("total", count()),
            ("as_of", as_of()),
            ("freshness_ms", count()),
            ("stale", flag()),
            ("coverage", coverage()),
            ("definition", count()),
            ("report", or_null(count())),
        ],
        &[("generation", count()), ("next", text())],
    )
}

pub(super) fn views() -> Value {
    let view = object(
        &[
            ("name", text()),
            ("kind", text()),
            ("grain", text()),
            ("late", text()),
            ("ranked", flag()),
            ("dimensions", names()),
            ("metrics", names()),
            ("definition", count()),
        ],
        &[],
    );
    object(&[("tenant", text()), ("views", list(view))], &[])
}

/// Named schemas.
type Fields = Vec<(&'static str, Value)>;

/// Required fields of a day, and others that it may have.
fn one_day() -> (Fields, Fields) {
    let required = vec![
        ("date", date()),
        ("day", day_state()),
        ("opens_at", or_null(instant())),
        ("closes_at", or_null(instant())),
        ("report", or_null(count())),
        ("account", account()),
    ];
    (required, vec![("as_reported", flag()), ("restating", flag())])
}

pub(super) fn days() -> Value {
    let (required, optional) = one_day();
    let rows = list(object(&required, &optional));
    object(&[("tenant", text()), ("days", rows), ("as_of", as_of())], &[("next", text())])
}

/// One day, with the word on its figures.
pub(super) fn day() -> Value {
    let (mut required, optional) = one_day();
    let words = json!({"enum": ["upcoming", "open", "closing", "restating", "sealed", "final", "unknown"]});
    required.extend([("tenant", text()), ("figures", words), ("as_of", as_of())]);
    object(&required, &optional)
}

pub(super) fn reports() -> Value {
    let report = object(
        &[
            ("date", date()),
            ("version", count()),
            ("day", json!({"type": "object"})),
            ("dispositions", account()),
            ("coverage", coverage()),
            ("supersedes", json!({"type": ["object", "null"]})),
            ("hash", text()),
            ("bytes", count()),
        ],
        &[],
    );
    object(&[("tenant", text()), ("reports", list(report))], &[("next", text())])
}

/// A sealed report.
pub(super) fn report() -> Value {
    object(
        &[
            ("tenant", text()),
            ("date", date()),
            ("version", count()),
            ("dispositions", account()),
            ("views", json!({"type": "object"})),
            ("coverage", coverage()),
        ],
        &[],
    )
}

/// The difference between two versions of a report.
pub(super) fn comparison() -> Value {
    let both = |schema: Value| object(&[("before", schema.clone()), ("after", schema)], &[]);
    let cell = json!({"type": ["string", "number", "null"]});
    let figure = object(&[("name", text()), ("before", cell.clone()), ("after", cell)], &[]);
    let row = object(
        &[
            ("key", json!({"type": "object"})),
            ("row", json!({"enum": ["changed", "new", "gone"]})),
            ("figures", list(figure)),
        ],
        &[],
    );
    let view = object(
        &[("rows", list(row))],
        &[("definition", both(or_null(count()))), ("total", both(count())), ("rows_unknown", count())],
    );
    object(
        &[
            ("tenant", text()),
            ("date", date()),
            ("from", count()),
            ("to", count()),
            ("changes", list(json!({"type": "object"}))),
            ("changes_omitted", count()),
            ("versions_between", count()),
            ("dispositions", json!({"type": "object", "additionalProperties": both(count())})),
            ("views", json!({"type": "object", "additionalProperties": view})),
        ],
        &[("coverage", both(coverage()))],
    )
}

pub(super) fn rejects() -> Value {
    let reject = object(
        &[
            ("code", text()),
            ("reason", text()),
            ("tenant", text()),
            ("kind", text()),
            ("inbox", count()),
            ("index", count()),
        ],
        &[("field", or_null(text())), ("date", or_null(date())), ("original", json!({"type": "object"}))],
    );
    object(&[("tenant", text()), ("rejects", list(reject)), ("newer", text())], &[("next", text()), ("missed", flag())])
}

pub(super) fn alerts() -> Value {
    let row = json!({"type": "object"});
    let alert = object(
        &[
            ("id", text()),
            ("alert", text()),
            ("tenant", text()),
            ("generation", count()),
            ("day", date()),
            ("at", text()),
            ("log", count()),
        ],
        &[
            ("view", text()),
            ("group", row.clone()),
            ("figures", row),
            ("more_groups", flag()),
            ("report", object(&[("version", count()), ("hash", text())], &[])),
        ],
    );
    object(&[("tenant", text()), ("alerts", list(alert)), ("newer", text())], &[("next", text()), ("missed", flag())])
}

pub(super) fn position() -> Value {
    object(&[("as_of", as_of()), ("outputs_waiting", count())], &[])
}
