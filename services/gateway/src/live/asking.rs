//! Repeats a question that has no feed, such as a season or a member of a ranking with its neighbours, for all who follow it.

use super::followed::Followed;
use super::frames;
use super::stream::{self, LiveRoom, Patience, Stream};
use crate::asker::{Asker, decode};
use crate::problem::Problem;
use crate::room::Room;
use bytes::Bytes;
use daybook_contracts::ask::Answer;
use serde_json::value::RawValue;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often the question is asked.
const EVERY: Duration = Duration::from_secs(1);

/// Starts to follow a question.
pub(super) fn start(asker: Asker, followed: Followed, room: Room, stop: CancellationToken) -> Arc<Stream> {
    let room = LiveRoom { room, tenant: followed.tenant.clone() };
    stream::start(room, move |stream| repeat(asker, followed, stream), stop)
}

/// Asks until nobody listens, or there is no answer to be had.
async fn repeat(asker: Asker, followed: Followed, stream: Weak<Stream>) -> Option<Problem> {
    let mut patience = Patience::default();
    loop {
        let outcome = asker.ask(&followed.tenant, followed.view.as_str(), followed.question.clone()).await;
        let listeners = stream.upgrade()?;
        let outcome =
            outcome.and_then(|reply| event(&reply.payload)).and_then(|(id, event)| listeners.answer(id, event));
        // Held no longer: the stream ends when its listeners leave.
        drop(listeners);
        match patience.judge(outcome).await {
            Ok(Some(())) => tokio::time::sleep(EVERY).await,
            Ok(None) => {}
            Err(problem) => return Some(problem),
        }
        stream.upgrade()?;
    }
}

/// The event for an answer. Its identifier stays the same while rows, days and coverage do, wherever the log is.
fn event(reply: &Bytes) -> Result<(String, Bytes), Problem> {
    let answer: Answer<&RawValue> = decode(reply)?;
    let state =
        serde_json::json!([answer.from, answer.to, answer.day, answer.total, answer.coverage, answer.definition]);
    let mut hasher = blake3::Hasher::new();
    hasher.update(state.to_string().as_bytes()).update(answer.rows.get().as_bytes());
    let id = frames::identifier(
        "answer",
        u64::from_le_bytes(hasher.finalize().as_bytes()[..8].try_into().expect("8 bytes")),
    );
    let event = frames::event("snapshot", Some(&id), reply);
    Ok((id, event))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_news_makes_another_event() {
        let reply = |log: u64, rows: &str| {
            let text = format!(
                r#"{{"tenant":"T","view":"v","from":"2026-01-01","to":"2026-01-01","day":"open","rows":{rows},"total":1,
                    "as_of":{{"log":{log},"inbox":1}},"freshness_ms":{log},"stale":false,"coverage":"complete",
                    "definition":1,"report":null}}"#
            );
            event(&text.into()).unwrap().0
        };
        assert_eq!(reply(1, r#"[{"n":1}]"#), reply(2, r#"[{"n":1}]"#));
        assert_ne!(reply(1, r#"[{"n":1}]"#), reply(1, r#"[{"n":2}]"#));
    }
}
