//! What players were told, all together: what a hunt's doors said is compared with what its log holds.

use serde_json::Value;
use std::collections::BTreeMap;
use tokio::time::Instant;

/// What players were told.
#[derive(Debug, Default)]
pub struct Told {
    /// By team and id: whether it was right. Another verdict for the same id is a fault.
    pub verdicts: BTreeMap<(String, String), bool>,
    /// Points of a team, at the time when they were told.
    pub totals: Vec<(String, i64, Instant)>,
    /// Times of submissions, in microseconds.
    pub times: Vec<u64>,
    pub refused: BTreeMap<String, u64>,
    /// Requests that had to be sent again, and those that never were answered.
    pub repeated: u64,
    pub failed: u64,
    /// Why they had to be: too many waited, or a door or what is behind it was not reached.
    pub busy: u64,
    pub unavailable: u64,
    pub faults: Vec<String>,
}

impl Told {
    /// Takes in what a team was told of a submission.
    pub fn hear(&mut self, team: &str, id: &str, reply: &Value) {
        if let Some(refusal) = reply["refused"].as_str() {
            *self.refused.entry(refusal.to_owned()).or_default() += 1;
        }
        let Some(is_right) = reply["is_right"].as_bool() else { return };
        let known = self.verdicts.insert((team.to_owned(), id.to_owned()), is_right);
        if known.is_some_and(|known| known != is_right) {
            self.faults.push(format!("{id} of {team} was judged in two ways"));
        }
        if is_right && known.is_none() {
            self.totals.push((team.to_owned(), reply["total"].as_i64().unwrap_or(0), Instant::now()));
        }
    }
}
