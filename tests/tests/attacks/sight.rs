//! What is to be seen in the account of the services by somebody who may see everything there, and is no part of a Daybook.

use async_nats::jetstream::{self, Context};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The streams, by the names that attacks use.
pub(crate) const STREAMS: [&str; 11] =
    ["CATALOG", "DAYS", "CLOCKS", "INBOX", "EVENTS", "REPORTS", "FIGURES", "REJECTS", "ALERTS", "ACCESS", "SNAPSHOTS"];

/// Streams out of which services take messages all the time.
pub(crate) const TRIMMED: [&str; 3] = ["INBOX", "EVENTS", "SNAPSHOTS"];

/// Sees every stream.
#[derive(Clone)]
pub(crate) struct Sight {
    jetstream: Context,
}

/// How a stream is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Stream {
    pub(crate) config: Value,
    pub(crate) created: String,
    pub(crate) messages: u64,
    pub(crate) last_sequence: u64,
    pub(crate) consumers: u64,
    /// Messages of each subject.
    pub(crate) subjects: BTreeMap<String, u64>,
}

impl Sight {
    pub(crate) fn new(client: async_nats::Client) -> Self {
        Self { jetstream: jetstream::new(client) }
    }

    /// The name of a stream on the broker.
    pub(crate) fn name(stream: &str) -> String {
        match stream {
            "SNAPSHOTS" => "OBJ_DAYBOOK_CHECKPOINTS".to_owned(),
            "SPY" | "EVIL" | "DAYBOOK_OTHER" => stream.to_owned(),
            stream => format!("DAYBOOK_{stream}"),
        }
    }

    async fn api(&self, subject: String, body: &Value) -> Value {
        self.jetstream.request(subject.clone(), body).await.unwrap_or_else(|error| panic!("{subject}: {error}"))
    }

    /// A stream; `None` when there is none of that name.
    pub(crate) async fn stream(&self, stream: &str) -> Option<Stream> {
        let subject = format!("STREAM.INFO.{}", Self::name(stream));
        let info = self.api(subject, &json!({ "subjects_filter": ">" })).await;
        let state = &info["state"];
        let subjects = state["subjects"].as_object().into_iter().flatten();
        Some(Stream {
            config: info.get("config")?.clone(),
            created: info["created"].as_str()?.to_owned(),
            messages: state["messages"].as_u64()?,
            last_sequence: state["last_seq"].as_u64()?,
            consumers: state["consumer_count"].as_u64()?,
            subjects: subjects.map(|(subject, count)| (subject.clone(), count.as_u64().unwrap())).collect(),
        })
    }

    /// The names of all streams.
    pub(crate) async fn names(&self) -> Vec<String> {
        let names = self.api("STREAM.NAMES".to_owned(), &json!({})).await;
        names["streams"].as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect()
    }

    /// Headers and payload of a message; `None` when it is not there any more.
    pub(crate) async fn message(&self, stream: &str, sequence: u64) -> Option<String> {
        let found = self.api(format!("STREAM.MSG.GET.{}", Self::name(stream)), &json!({ "seq": sequence })).await;
        let message = found.get("message")?;
        let decode = |name: &str| STANDARD.decode(message[name].as_str().unwrap_or_default()).unwrap();
        Some(String::from_utf8_lossy(&[decode("hdrs"), decode("data")].concat()).into_owned())
    }

    /// Whether a message with `text` came to stand in a stream behind `sequence`. One that a service has taken out of INBOX in the
    /// meantime counts too: nobody knows what it was.
    pub(crate) async fn has_stored(&self, stream: &str, sequence: u64, text: &str) -> bool {
        let Some(now) = self.stream(stream).await else { return false };
        for sequence in sequence + 1..=now.last_sequence {
            match self.message(stream, sequence).await {
                Some(message) if message.contains(text) => return true,
                None if stream == "INBOX" => return true,
                _ => {}
            }
        }
        false
    }

    /// All that an attacker must not change: options of every stream, and what stands under subjects that are not `own`, as far as
    /// services do not take it away.
    pub(crate) async fn streams(&self, own: impl Fn(&str) -> bool) -> BTreeMap<String, (Value, BTreeMap<String, u64>)> {
        let mut streams = BTreeMap::new();
        for name in self.names().await {
            let known = STREAMS.into_iter().find(|stream| Self::name(stream) == name);
            let stream = known.unwrap_or_else(|| panic!("there is a stream {name}"));
            let mut found = self.stream(stream).await.unwrap();
            found.subjects.retain(|subject, _| !TRIMMED.contains(&stream) && !own(subject));
            streams.insert(name, (found.config, found.subjects));
        }
        streams
    }
}
