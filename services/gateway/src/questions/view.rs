//! The figures of a view: `GET` and `POST /v1/tenants/{tenant}/views/{view}`.

use super::tabulate::{csv, ndjson};
use super::{AS_OF, NEXT, posted};
use crate::asker::{Asker, decode};
use crate::http::parameters::Parameter;
use crate::http::{Call, Format, Reply};
use crate::problem::{Code, Problem};
use axum::http::{HeaderName, StatusCode};
use bytes::Bytes;
use daybook_contracts::ask::{Answer, Pieces, Query};
use daybook_domain::ids::{Name, TenantId};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

/// Asks by query parameters.
///
/// # Errors
/// Those of the query service.
pub(crate) async fn get(call: Call, parameters: &'static [Parameter]) -> Result<Reply, Problem> {
    let body = asked(&call, parameters)?;
    answer(call, body, true).await
}

/// The question of the query parameters; empty without any.
///
/// # Errors
/// They make no question.
pub(crate) fn asked(call: &Call, parameters: &[Parameter]) -> Result<Bytes, Problem> {
    let question = question(call.parameters.object(parameters))?;
    Ok(if question.is_empty() { Bytes::new() } else { Value::Object(question).to_string().into() })
}

/// Asks by the body, which is the question of a NATS client.
///
/// # Errors
/// Those of the query service.
pub(crate) async fn post(mut call: Call) -> Result<Reply, Problem> {
    let body = posted(&mut call).await?;
    answer(call, body, false).await
}

/// The question that query parameters make: those that begin with `rank.` are fields of `rank`.
pub(crate) fn question(given: Map<String, Value>) -> Result<Map<String, Value>, Problem> {
    let mut question = Map::new();
    let mut rank = Map::new();
    let mut is_ranked = false;
    for (name, value) in given {
        match name.as_str() {
            "rank" => is_ranked = value == Value::Bool(true),
            "rank.by" => drop(rank.insert("by".to_owned(), ranked_by(&value)?)),
            _ => match name.strip_prefix("rank.") {
                Some(field) => drop(rank.insert(field.to_owned(), value)),
                None => drop(question.insert(name, value)),
            },
        }
    }
    if is_ranked || !rank.is_empty() {
        question.insert("rank".to_owned(), Value::Object(rank));
    }
    Ok(question)
}

/// `revenue desc,orders asc` as a list of objects.
fn ranked_by(value: &Value) -> Result<Value, Problem> {
    let one = |text: &Value| {
        let mut words = text.as_str().unwrap_or_default().split_ascii_whitespace();
        match (words.next(), words.next(), words.next()) {
            (Some(metric), None, _) => Ok(json!({"metric": metric})),
            (Some(metric), Some(direction), None) => Ok(json!({"metric": metric, "direction": direction})),
            _ => Err(Problem::new(Code::BadRequest, "write a metric, and asc or desc").field("rank.by")),
        }
    };
    value.as_array().into_iter().flatten().map(one).collect()
}

async fn answer(call: Call, body: Bytes, is_tagged: bool) -> Result<Reply, Problem> {
    let tenant = call.tenant()?;
    let view = call.name("view")?;
    // What cannot be read here is refused by the query service, with the place of the mistake.
    let query = if body.is_empty() { Some(Query::default()) } else { serde_json::from_slice::<Query>(&body).ok() };
    if query.as_ref().is_some_and(|query| query.watch) {
        let hint = format!("follow /v1/tenants/{tenant}/views/{view}/live");
        return Err(Problem::new(Code::BadRequest, "a feed is of no use by HTTP").field("watch").hint(hint));
    }
    let reply = call.state.asker.ask_patiently(&tenant, view.as_str(), body).await?;
    let found: Answer<&RawValue> = decode(&reply.payload)?;
    let written = match call.format {
        Format::Json => Reply::json(StatusCode::OK, reply.payload.clone()),
        format => {
            let rows: Vec<&RawValue> = decode(found.rows.get().as_bytes())?;
            let body = match format {
                Format::Csv if rows.is_empty() => {
                    csv(&rows, columns(&call.state.asker, &tenant, &view, query.unwrap_or_default()).await?)?
                }
                Format::Csv => csv(&rows, Vec::new())?,
                _ => ndjson(&rows),
            };
            described(Reply::of(StatusCode::OK, format.media_type(), body), &found)
        }
    };
    Ok(if is_tagged { written.tagged(&tag(&found, call.format), &call.headers) } else { written })
}

/// What JSON says beside the rows, in headers.
fn described(reply: Reply, answer: &Answer<&RawValue>) -> Reply {
    let day = serde_json::to_value(answer.day).unwrap_or_default();
    let coverage = serde_json::to_string(&answer.coverage).unwrap_or_default();
    let reply = reply
        .with(AS_OF, &answer.as_of.inbox.to_string())
        .with(HeaderName::from_static("daybook-day"), day.as_str().unwrap_or_default())
        .with(HeaderName::from_static("daybook-coverage"), &coverage)
        .with(HeaderName::from_static("daybook-stale"), if answer.stale { "true" } else { "false" })
        .with(HeaderName::from_static("daybook-total"), &answer.total.to_string());
    match &answer.next {
        Some(next) => reply.with(NEXT, next),
        None => reply,
    }
}

/// The same rows, position in the log, definition and days. How long ago that was known does not count. The position alone does not
/// tell the rows of a group of tenants: it is the least of all of theirs.
fn tag(answer: &Answer<&RawValue>, format: Format) -> String {
    let state = json!([
        answer.as_of,
        answer.from,
        answer.to,
        answer.day,
        answer.definition,
        answer.report,
        answer.stale,
        answer.coverage,
        answer.total,
        answer.next,
        format.name(),
    ]);
    let mut hasher = blake3::Hasher::new();
    hasher.update(state.to_string().as_bytes()).update(answer.rows.get().as_bytes());
    let hash = hasher.finalize().to_hex();
    format!("W/\"{}-{}\"", answer.as_of.inbox, &hash[..16])
}

/// The columns of an answer without rows.
async fn columns(asker: &Asker, tenant: &TenantId, name: &Name, query: Query) -> Result<Vec<String>, Problem> {
    let views = asker.views(tenant).await?;
    let Some(view) = views.into_iter().find(|view| view.name == *name) else { return Ok(Vec::new()) };
    let mut columns: Vec<String> = match query.grain {
        Pieces::Total => Vec::new(),
        Pieces::Day => vec!["day".to_owned()],
        Pieces::Hour | Pieces::QuarterHour | Pieces::ClockHour | Pieces::HourOfDay => vec!["time".to_owned()],
    };
    if query.rank.is_some() || (view.ranked && query.order.is_empty() && query.grain == Pieces::Total) {
        columns.extend(["position".to_owned(), "rank".to_owned()]);
    }
    columns.extend(query.dimensions.unwrap_or(view.dimensions).iter().map(ToString::to_string));
    columns.extend(query.metrics.unwrap_or(view.metrics).iter().map(ToString::to_string));
    Ok(columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_make_the_question_of_a_nats_client() {
        let given = json!({"days": "today", "order": ["revenue desc"], "rank.by": ["revenue desc", "orders"],
            "rank.member": ["a,b"], "rank.around": 2, "limit": 3});
        let Value::Object(given) = given else { unreachable!() };
        let made = Value::Object(question(given).unwrap());
        let expected = json!({"days": "today", "order": ["revenue desc"], "limit": 3, "rank": {"around": 2,
            "member": ["a,b"], "by": [{"metric": "revenue", "direction": "desc"}, {"metric": "orders"}]}});
        assert_eq!(made, expected);
        assert!(serde_json::from_value::<Query>(made).is_ok());
        let ranked = |flag: bool| question(Map::from_iter([("rank".to_owned(), flag.into())])).unwrap();
        assert_eq!(Value::Object(ranked(true)), json!({"rank": {}}));
        assert_eq!(Value::Object(ranked(false)), json!({}));
        assert!(ranked_by(&json!(["a b c"])).is_err() && ranked_by(&json!([""])).is_err());
    }
}
