//! Events as producers mean them, and what the broker acknowledged of them.

use daybook_domain::time::Instant;
use serde_json::{Value, json};

/// What an order is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Draft,
    Final,
    Void,
}

/// One event. Every one has an id, so that its repetition is a duplicate whatever the broker has forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub id: String,
    pub at_ms: i64,
    pub what: What,
}

/// What is said of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    Order { version: u64, status: Status, channel: &'static str, quantity: i64, cents: i64 },
    Click { page: &'static str, ms: i64 },
}

impl Event {
    pub fn kind(&self) -> &'static str {
        match self.what {
            What::Order { .. } => "order",
            What::Click { .. } => "click",
        }
    }

    pub fn json(&self) -> Value {
        let at = Instant::from_millis(self.at_ms).to_string();
        match &self.what {
            What::Order { version, status, channel, quantity, cents } => {
                let status = match status {
                    Status::Draft => "draft",
                    Status::Final => "final",
                    Status::Void => "void",
                };
                let amount = format!("{}.{:02}", cents / 100, cents % 100);
                json!({"id": self.id, "version": version, "status": status, "at": at, "dims": {"channel": channel},
                    "measures": {"quantity": quantity, "amount": amount}})
            }
            What::Click { page, ms } => {
                json!({"id": self.id, "at": at, "dims": {"page": page}, "measures": {"ms": ms}})
            }
        }
    }
}

/// A message that the broker acknowledged: one event or several of a kind.
#[derive(Clone, Debug)]
pub struct Message {
    pub events: Vec<Event>,
    /// Its INBOX sequence, as the acknowledgement says.
    pub sequence: u64,
    /// How often it was published until then. More than once: it may stand in INBOX before `sequence` too.
    pub attempts: u64,
    /// When it was published first.
    pub began: std::time::Instant,
}
