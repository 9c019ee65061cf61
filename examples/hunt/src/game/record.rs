//! What the log of a hunt holds. Times are milliseconds since 1970, of the process that wrote the record.

use crate::rules::Rules;
use serde::{Deserialize, Serialize};

/// A record. Those of a team are on the team's own subject, in the order in which they count.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Record {
    /// The rules from here on. They count for everything, also for what was submitted before.
    Rules {
        rules: Box<Rules>,
        at: i64,
    },
    /// The public ranking is shown in full again.
    Revealed {
        at: i64,
    },
    /// The team exists.
    Created {
        name: String,
        at: i64,
    },
    Joined {
        player: String,
        name: String,
        at: i64,
    },
    /// An answer to a challenge that was open, within the limits. `id` is the sender's.
    Submitted {
        id: String,
        player: String,
        challenge: String,
        answer: String,
        at: i64,
    },
    /// A hint, at the price of that time.
    Hinted {
        player: String,
        challenge: String,
        number: usize,
        price: i64,
        at: i64,
    },
    /// Points given or taken by the organiser. `id` is the sender's.
    Adjusted {
        id: String,
        points: i64,
        reason: String,
        at: i64,
    },
    Disqualified {
        reason: String,
        at: i64,
    },
    Reinstated {
        at: i64,
    },
}

/// A record with its place: sequence, and team unless it is one for all.
pub type Entry = (u64, Option<String>, Record);

impl Record {
    /// When it was written.
    pub fn at(&self) -> i64 {
        match self {
            Self::Rules { at, .. }
            | Self::Revealed { at }
            | Self::Created { at, .. }
            | Self::Joined { at, .. }
            | Self::Submitted { at, .. }
            | Self::Hinted { at, .. }
            | Self::Adjusted { at, .. }
            | Self::Disqualified { at, .. }
            | Self::Reinstated { at } => *at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Logs of earlier builds stay readable.
    #[test]
    fn records_are_stored_as_they_always_were() {
        let submitted = Record::Submitted {
            id: "s1".to_owned(),
            player: "p1".to_owned(),
            challenge: "gate".to_owned(),
            answer: "x".to_owned(),
            at: 7,
        };
        let golden = r#"{"what":"submitted","id":"s1","player":"p1","challenge":"gate","answer":"x","at":7}"#;
        assert_eq!(serde_json::to_string(&submitted).unwrap(), golden);
        assert_eq!(serde_json::from_str::<Record>(golden).unwrap(), submitted);
        let hinted =
            Record::Hinted { player: "p1".to_owned(), challenge: "gate".to_owned(), number: 0, price: 5, at: 8 };
        let golden = r#"{"what":"hinted","player":"p1","challenge":"gate","number":0,"price":5,"at":8}"#;
        assert_eq!(serde_json::to_string(&hinted).unwrap(), golden);
    }
}
