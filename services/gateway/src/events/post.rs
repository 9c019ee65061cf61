//! `POST /v1/tenants/{tenant}/kinds/{kind}/events`.

use super::body::{SILENCE, Whole, broken_off, media_type, refuse_encodings, silent, unsupported, whole};
use super::intake::{EventProblem, Form, Intake, Tally};
use super::lines::{Line, Lines};
use super::publisher::{Publisher, STREAM_PATIENCE};
use crate::definitions::Definitions;
use crate::http::{Call, Reply};
use crate::problem::{Code, Problem};
use axum::http::StatusCode;
use bytes::Bytes;
use daybook_contracts::event::MAX_EVENT_BYTES;
use daybook_runtime::clock;
use futures::StreamExt as _;
use serde::Serialize;
use serde_json::Value;
use std::time::Duration;

/// Longest record of NDJSON that a mapping reads, in bytes.
const MAX_RECORD_LINE: usize = 1 << 20;
/// What a stream holds at most, in bytes: a line, and messages that are not confirmed.
pub(crate) const ROOM_OF_A_STREAM: usize = 3 << 20;
/// How long events wait for more to go with them in a message.
const LINGER: Duration = Duration::from_millis(50);
/// Longest body that is read without a thread of its own, in bytes: some milliseconds of work.
const SHORT: usize = 64 << 10;

/// What became of the events of a request.
#[derive(Serialize)]
struct Published<'r> {
    events: u64,
    /// Events that the broker has confirmed.
    durable: u64,
    refused: u64,
    skipped: u64,
    /// The greatest sequence of INBOX among them, for `at_least`.
    inbox: Option<u64>,
    problems: &'r [EventProblem],
    problems_omitted: u64,
}

/// Takes events in, and answers once all are durable.
///
/// # Errors
/// When something else is wrong with the request than with single events, or the broker does not take them.
pub(crate) async fn post(mut call: Call) -> Result<Reply, Problem> {
    let tenant = call.tenant()?;
    let kind = call.name("kind")?;
    call.state.definitions.tenant(&tenant).await?;
    let kind = call.state.definitions.kind(kind.as_str()).await?;
    let mapping =
        call.parameters.text("mapping").map(|name| kind.find_mapper(name).map(|mapper| mapper.name().clone()));
    let mapping = mapping.transpose()?;
    let subject = call.state.connection.subjects.input(tenant.as_str(), kind.kind.name.as_str());
    let media_type = media_type(&call.headers);
    let is_whole = media_type == "application/json";
    let patience = if is_whole { Duration::ZERO } else { STREAM_PATIENCE };
    let mut publisher = Publisher::new(&call.state.connection, subject, kind.kind.mode, patience);
    let form = Form { tenant, kind, mapping, arrived: clock::now() };
    let definitions = call.state.definitions.clone();
    let mut intake = Intake::new(call.state.payload_bytes);
    let read = match media_type.as_str() {
        _ if is_whole => {
            let place = call.state.rooms.bodies.place(Some(&form.tenant));
            let whole = whole(place, call.body, &call.headers, call.state.max_body_bytes).await?;
            intake = take_whole(intake, &whole, form, definitions).await;
            intake.flush();
            publish_ready(&mut intake, &mut publisher).await
        }
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" => {
            refuse_encodings(&call.headers)?;
            let _room = call.state.rooms.streams.take(Some(&form.tenant), ROOM_OF_A_STREAM).await?;
            let check = || {
                call.permit.check(clock::now())?;
                definitions.check_tenant(&form.tenant)
            };
            take_lines(&mut intake, call.body, &form, &definitions, &mut publisher, check).await
        }
        other => return Err(unsupported(other, "application/json (an event or an array) or application/x-ndjson")),
    };
    let published = publisher.finish().await;
    metrics::counter!("daybook_http_events_total", "outcome" => "durable").increment(publisher.durable);
    metrics::counter!("daybook_http_events_total", "outcome" => "refused").increment(intake.tally.refused);
    answer(read.and(published), &intake, &publisher)
}

/// Reads a body that is there as a whole. A long one is read on a thread for such work.
async fn take_whole(mut intake: Intake, whole: &Whole, form: Form, definitions: Definitions) -> Intake {
    if whole.bytes.len() <= SHORT {
        intake.take(&whole.bytes, &form, &definitions);
        return intake;
    }
    let bytes = whole.bytes.clone();
    let work = move || {
        intake.take(&bytes, &form, &definitions);
        intake
    };
    tokio::task::spawn_blocking(work).await.expect("reading events does not panic")
}

/// Reads lines as they come. Reads on only when the broker keeps up, and while `check` finds nothing against it.
async fn take_lines(
    intake: &mut Intake,
    body: axum::body::Body,
    form: &Form,
    definitions: &Definitions,
    publisher: &mut Publisher,
    mut check: impl FnMut() -> Result<(), Problem>,
) -> Result<(), Problem> {
    let longest = if form.mapping.is_some() { MAX_RECORD_LINE } else { MAX_EVENT_BYTES };
    let mut lines = Lines::new(longest);
    let mut pieces = body.into_data_stream();
    loop {
        let next = match tokio::time::timeout(LINGER, pieces.next()).await {
            Ok(next) => next,
            Err(_) => {
                // Nothing more for the moment: what is here is published meanwhile.
                intake.flush();
                publish_ready(intake, publisher).await?;
                tokio::time::timeout(SILENCE, pieces.next()).await.map_err(|_| silent())?
            }
        };
        let piece: Bytes = match next {
            Some(piece) => piece.map_err(|_| broken_off())?,
            None => break,
        };
        check()?;
        lines.push(&piece, |line| take_line(intake, &line, longest, form, definitions));
        publish_ready(intake, publisher).await?;
    }
    lines.finish(|line| take_line(intake, &line, longest, form, definitions));
    intake.flush();
    publish_ready(intake, publisher).await
}

fn take_line(intake: &mut Intake, line: &Line<'_>, longest: usize, form: &Form, definitions: &Definitions) {
    match line.content {
        Ok(content) => intake.take_line(content, line.number, form, definitions),
        Err(bytes) => intake.refuse_line(line.number, bytes, longest),
    }
}

async fn publish_ready(intake: &mut Intake, publisher: &mut Publisher) -> Result<(), Problem> {
    while let Some(batch) = intake.next_batch() {
        publisher.publish(batch).await?;
    }
    Ok(())
}

/// 200 when every event is durable, 207 when some were refused, 422 when all were; a problem that says how far it got when the
/// request did not come to its end.
fn answer(outcome: Result<(), Problem>, intake: &Intake, publisher: &Publisher) -> Result<Reply, Problem> {
    let Tally { events, refused, skipped, problems, problems_omitted } = &intake.tally;
    let Publisher { durable, position, .. } = publisher;
    let told = Published {
        events: *events,
        durable: *durable,
        refused: *refused,
        skipped: *skipped,
        inbox: *position,
        problems,
        problems_omitted: *problems_omitted,
    };
    let with_all = |problem: Problem| match serde_json::to_value(&told) {
        Ok(Value::Object(members)) => {
            members.into_iter().fold(problem, |problem, (name, value)| problem.with(&name, value))
        }
        _ => problem,
    };
    if let Err(problem) = outcome {
        return Err(with_all(problem));
    }
    if told.refused > 0 && told.refused == told.events {
        let problem = Problem::new(Code::Refused, format!("all {events} events are wrong; `problems` says why"));
        return Err(with_all(problem));
    }
    let status = if told.refused > 0 { StatusCode::MULTI_STATUS } else { StatusCode::OK };
    Ok(Reply::json(status, serde_json::to_string(&told).expect("plain values")))
}
