//! Producers: events of all sorts, published once or more often.

use crate::broker::{Answer, Append, Stream, Ticket};
use crate::fault::Fault;
use crate::shell::Shell;
use async_nats::HeaderMap;
use bytes::Bytes;
use daybook_contracts::headers;
use daybook_domain::catalogue::Status;
use daybook_domain::time::{Date, Instant};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Requests under way at most.
const MAX_UNDER_WAY: usize = 4;
/// Ids of a kind and tenant: few, so that most events meet what is known.
const IDS: usize = 7;
const HOUR_MS: i64 = 3_600_000;
/// Of a flood.
const FLOOD_EVENTS: usize = 5_000;
const FLOOD_BYTES: usize = 1 << 19;

/// What a producer means by a message.
#[derive(Clone, Debug)]
pub struct Message {
    pub tenant: String,
    pub kind: String,
    /// None when the payload cannot even be split into events, or nobody looks at them.
    pub events: Option<Vec<Intent>>,
    /// How many events there are, for which one stands that cannot be split.
    pub count: u64,
    subject: String,
    headers: HeaderMap,
    payload: Bytes,
}

/// An event's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub date: Date,
    pub at: Instant,
    pub status: Status,
    pub dims: BTreeMap<String, String>,
    pub measure: i64,
    /// The name of the measure.
    pub measured: &'static str,
}

/// What a producer means by an event.
#[derive(Clone, Debug)]
pub enum Intent {
    Sound(Sound),
    /// To be rejected whatever is known.
    Unsound,
}

/// A sound event.
#[derive(Clone, Debug)]
pub struct Sound {
    pub id: Option<String>,
    pub version: Option<u64>,
    pub status: Status,
    pub at: Instant,
    pub dims: BTreeMap<String, String>,
    pub measured: &'static str,
    pub measure: i64,
}

impl Sound {
    /// Its content on a business day.
    pub fn row(&self, date: Date) -> Row {
        let Self { status, at, dims, measured, measure, .. } = self.clone();
        Row { date, at, status, dims, measure, measured }
    }

    fn json(&self) -> Value {
        json!({
            "id": self.id, "version": self.version, "status": self.status.as_str(), "at": self.at.to_string(),
            "dims": self.dims, "measures": { self.measured: self.measure },
        })
    }
}

/// All producers together.
#[derive(Default)]
pub struct Producers {
    /// Everything that was ever meant to be published; a tag is an index.
    pub messages: Vec<Message>,
    under_way: Vec<(Ticket, usize)>,
}

impl Producers {
    /// Whether every request is answered.
    pub fn is_idle(&self) -> bool {
        self.under_way.is_empty()
    }

    /// Looks at answers, and publishes once more what may not have been stored; then, if wanted, something new for one
    /// of `tenants`, each with the instant that its clock has reached.
    pub fn step(&mut self, shell: &mut Shell, tenants: &[(String, Instant)], more: bool) {
        for index in (0..self.under_way.len()).rev() {
            let (ticket, tag) = self.under_way[index];
            let again = match shell.broker.answer(ticket) {
                None => continue,
                Some(Answer::Unclear) => true,
                Some(_) => shell.strikes(Fault::ProducerRetry, 8),
            };
            self.under_way.remove(index);
            if again {
                self.send(shell, tag);
            }
        }
        if more && self.under_way.len() < MAX_UNDER_WAY {
            let message = message(shell, tenants);
            shell.trace.note(|| format!("producer: {} {:?}", message.subject, message.events));
            self.messages.push(message);
            self.send(shell, self.messages.len() - 1);
        }
    }

    fn send(&mut self, shell: &mut Shell, tag: usize) {
        let Message { subject, headers, payload, .. } = self.messages[tag].clone();
        let append = Append { stream: Stream::Inbox, subject, expected: None, headers, payload, tag: Some(tag) };
        self.under_way.push((shell.broker.send(append), tag));
    }
}

fn message(shell: &mut Shell, tenants: &[(String, Instant)]) -> Message {
    let (mut tenant, now) =
        tenants.get(shell.random.below(tenants.len().max(1))).cloned().unwrap_or_else(|| ("ABQ".into(), shell.now));
    let mut kind = (*shell.random.pick(&["order", "order", "click", "note"])).to_owned();
    let bad = if shell.strikes(Fault::BadEvents, 6) { shell.random.below(5) } else { usize::MAX };
    match bad {
        0 => tenant = "nobody".into(),
        1 => kind = "nothing".into(),
        2 => tenant = "*".into(),
        _ => {}
    }
    if shell.strikes(Fault::Flood, 10) && bad == usize::MAX {
        return flood(shell, tenant);
    }
    let count = 1 + shell.random.below(3);
    let mut events = Vec::new();
    let mut values = Vec::new();
    for _ in 0..count {
        let sound = sound(shell, &kind, now);
        let mut value = sound.json();
        let is_unsound = bad == 3 && shell.random.one_in(2);
        if is_unsound {
            let field = *shell.random.pick(&["at", "status"]);
            value[field] = json!(7);
        }
        values.push(value);
        events.push(if is_unsound { Intent::Unsound } else { Intent::Sound(sound) });
    }
    let mut headers = HeaderMap::new();
    let value = if count == 1 && shell.random.one_in(2) { values.remove(0) } else { Value::Array(values) };
    let mut payload = match shell.random.one_in(3) {
        true => {
            headers.insert(headers::CONTENT_TYPE, headers::MSGPACK);
            rmp_serde::to_vec_named(&value).expect("a plain value")
        }
        false => serde_json::to_vec(&value).expect("a plain value"),
    };
    let mut events = Some(events);
    if bad == 4 {
        payload = b"\"no event".to_vec();
        headers = HeaderMap::new();
        events = None;
    }
    let subject = shell.broker.subjects.input(&tenant, &kind);
    let count = events.as_ref().map_or(1, |events| events.len() as u64);
    Message { tenant, kind, events, count, subject, headers, payload: payload.into() }
}

/// Half of what a bucket of the smallest rate holds, of a kind that there is not: what the quota lets in is one reject.
fn flood(shell: &mut Shell, tenant: String) -> Message {
    let (count, payload) = match shell.random.one_in(2) {
        true => (FLOOD_EVENTS as u64, format!("[{}0]", "0,".repeat(FLOOD_EVENTS - 1))),
        false => (1, "x".repeat(FLOOD_BYTES)),
    };
    let kind = "nothing".to_owned();
    let subject = shell.broker.subjects.input(&tenant, &kind);
    Message { tenant, kind, events: None, count, subject, headers: HeaderMap::new(), payload: payload.into() }
}

fn sound(shell: &mut Shell, kind: &str, now: Instant) -> Sound {
    let random = &mut shell.random;
    let mut at = now.as_millis() - random.between(0, 6 * HOUR_MS);
    if shell.strikes(Fault::LateEvents, 4) {
        at -= shell.random.between(12, 72) * HOUR_MS;
    } else if shell.strikes(Fault::BadEvents, 20) {
        // Early by a day, far too early, or beyond what is published.
        at += *shell.random.pick(&[24, -24 * 500, 24 * 60]) * HOUR_MS;
    }
    let random = &mut shell.random;
    // Whole hours and few values, so that some events repeat others.
    let at = Instant::from_millis(at - at.rem_euclid(HOUR_MS));
    let id = format!("{kind}-{}", random.below(IDS));
    let (measured, names) = match kind {
        "click" => ("ms", &["page"][..]),
        "note" => ("size", &["city"][..]),
        _ => ("qty", &["city", "sku"][..]),
    };
    let mut dims = BTreeMap::new();
    for name in names {
        if !random.one_in(8) {
            dims.insert((*name).to_owned(), (*random.pick(&["a", "b"])).to_owned());
        }
    }
    let is_fact = kind == "click";
    Sound {
        id: (!is_fact || random.one_in(2)).then_some(id),
        version: (!is_fact && random.one_in(3)).then(|| random.below(6) as u64),
        status: if is_fact {
            Status::Final
        } else {
            *random.pick(&[Status::Draft, Status::Final, Status::Final, Status::Void])
        },
        at,
        dims,
        measured,
        measure: random.between(1, 3),
    }
}
