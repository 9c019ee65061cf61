//! Lists: `/v1/tenants/{tenant}/days`, `/reports`, `/rejects`, `/alerts`, `/views`, and the position of the figures.

use super::tabulate::{csv, fields, ndjson, rows};
use super::{AS_OF, NEWER, NEXT, posted};
use crate::http::parameters::Parameter;
use crate::http::{Call, Format, Reply};
use crate::problem::Problem;
use axum::http::StatusCode;
use bytes::Bytes;
use serde_json::Value;

/// A list of the query service.
#[derive(Clone, Copy, Debug)]
pub(crate) struct List {
    /// Its reserved view.
    pub view: &'static str,
    /// The field of the answer that holds the rows.
    pub rows: &'static str,
    /// The first columns of CSV: what a list without rows shows.
    pub columns: &'static [&'static str],
}

/// Asks by query parameters.
///
/// # Errors
/// Those of the query service.
pub(crate) async fn get(call: Call, list: List, parameters: &'static [Parameter]) -> Result<Reply, Problem> {
    let question = call.parameters.object(parameters);
    let body = if question.is_empty() { Bytes::new() } else { Value::Object(question).to_string().into() };
    answer(call, list, body, true).await
}

/// Asks by the body.
///
/// # Errors
/// Those of the query service.
pub(crate) async fn post(mut call: Call, list: List) -> Result<Reply, Problem> {
    let body = posted(&mut call).await?;
    answer(call, list, body, false).await
}

async fn answer(call: Call, list: List, body: Bytes, is_tagged: bool) -> Result<Reply, Problem> {
    let tenant = call.tenant()?;
    let reply = call.state.asker.ask(&tenant, list.view, body).await?;
    let hash = blake3::hash(&reply.payload).to_hex();
    let written = match call.format {
        Format::Json => Reply::json(StatusCode::OK, reply.payload),
        format => {
            let all = fields(&reply.payload)?;
            let rows = rows(&all, list.rows)?;
            let columns = list.columns.iter().map(|name| (*name).to_owned()).collect();
            let body = if format == Format::Csv { csv(&rows, columns)? } else { ndjson(&rows) };
            let mut reply = Reply::of(StatusCode::OK, format.media_type(), body);
            for (field, header) in [("next", NEXT), ("newer", NEWER)] {
                if let Some(cursor) = all.text(field) {
                    reply = reply.with(header, &cursor);
                }
            }
            let as_of =
                all.get("as_of").and_then(|as_of| Some(fields(as_of.get().as_bytes()).ok()?.get("inbox")?.get()));
            match as_of {
                Some(position) => reply.with(AS_OF, position),
                None => reply,
            }
        }
    };
    let tag = format!("W/\"{}-{}\"", &hash[..16], call.format.name().replace('/', "-"));
    Ok(if is_tagged { written.tagged(&tag, &call.headers) } else { written })
}

/// How far the tenant's figures reach.
///
/// # Errors
/// Those of the query service.
pub(crate) async fn position(call: Call) -> Result<Reply, Problem> {
    let tenant = call.tenant()?;
    let reply = call.state.asker.ask(&tenant, daybook_contracts::ask::POSITION_VIEW, Bytes::new()).await?;
    Ok(Reply::json(StatusCode::OK, reply.payload))
}
