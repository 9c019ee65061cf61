//! The outcomes of one record while they are made, within a bound of bytes.

use crate::record::{MAX_SPARE_BYTES, Outcome};

/// What a column of an event takes beside its text, in bytes.
const COLUMN_BYTES: usize = 8;

/// The outcomes of a record so far. Values of the record are copied into the event of each of its items, so a small record can make
/// large events: from the bound on nothing is kept, and whoever fills it refuses the record.
#[derive(Debug)]
pub(crate) struct Outcomes {
    /// Each with the number of its record.
    made: Vec<(u32, Outcome)>,
    /// The number of the record that is being mapped.
    record: u32,
    bytes_left: usize,
    is_full: bool,
}

impl Outcomes {
    /// None yet, of a record of so many bytes.
    pub(crate) fn of(record_bytes: usize) -> Self {
        Self { made: Vec::new(), record: 0, bytes_left: record_bytes.saturating_add(MAX_SPARE_BYTES), is_full: false }
    }

    /// What is pushed from now on is of the record of this number.
    pub(crate) fn begin(&mut self, record: u32) {
        self.record = record;
    }

    pub(crate) fn push(&mut self, outcome: Outcome) {
        match self.bytes_left.checked_sub(bytes(&outcome)) {
            Some(left) if !self.is_full => {
                self.bytes_left = left;
                self.made.push((self.record, outcome));
            }
            _ => self.is_full = true,
        }
    }

    /// Puts one outcome in the place of all others.
    pub(crate) fn replace(&mut self, outcome: Outcome) {
        self.made = vec![(self.record, outcome)];
    }

    /// Some outcomes are missing: there was no room for their bytes.
    pub(crate) fn is_full(&self) -> bool {
        self.is_full
    }

    pub(crate) fn len(&self) -> usize {
        self.made.len()
    }

    /// Each with the number of its record.
    pub(crate) fn into_numbered(self) -> Vec<(u32, Outcome)> {
        self.made
    }
}

/// What an outcome takes that depends on its record.
fn bytes(outcome: &Outcome) -> usize {
    match outcome {
        Outcome::Event(made) => {
            let texts = made.event.id.iter().chain(made.event.dims.iter().flatten());
            let columns = made.event.dims.len() + made.event.measures.len();
            columns * COLUMN_BYTES + texts.map(|text| text.len()).sum::<usize>()
        }
        Outcome::Unmapped(unmapped) => {
            unmapped.problem.reason.len() + unmapped.problem.field.as_ref().map_or(0, |field| field.len())
        }
        Outcome::PassedOver(_) => 0,
    }
}
