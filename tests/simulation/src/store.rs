//! The store of a replica as a map on disk, with the real ledger. A crash in the middle of a commit leaves any part of its
//! rows, with or without its ledger: what no engine should do, and the ledger is there to tell.

use crate::fault::Fault;
use crate::mutation::Mutation;
use crate::settings::{Invariant, Violation, ensure};
use crate::shell::Shell;
use daybook_runtime::store::ledger::{self, Ledger};
use daybook_runtime::store::{Batch, Changes, Row, batch};
use std::collections::BTreeMap;

/// A commit of more than a few rows is broken off once in so many times: there is a crash at every other place already.
const TORN_ONE_IN: usize = 2;
const FEW_ROWS: usize = 3;
/// There is no room for a commit once in so many times.
const FULL_ONE_IN: usize = 6;
/// A store is damaged once in so many times that it is opened.
const DAMAGED_ONE_IN: usize = 6;

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// What became of a commit.
#[derive(Clone, Copy, Debug)]
pub enum Commit {
    Whole,
    /// It broke off, and whoever did it is gone.
    Torn,
    /// Nothing of it is stored.
    Refused,
}

/// Survives crashes.
#[derive(Default)]
pub struct Store {
    /// On disk, the ledger's among them.
    rows: Rows,
    /// What was there some commits ago.
    earlier: Rows,
    /// What a commit left that was made whole, where that is no longer what is there.
    torn: Option<Rows>,
    /// Of what was committed, while it is open.
    ledger: Ledger,
}

impl Store {
    /// The rows; `None` if what is there must not be used, which is left as it is.
    ///
    /// # Errors
    /// When the ledger lets rows pass that are not those of one commit.
    pub fn open(&mut self, shell: &mut Shell, name: &str) -> Result<Option<Vec<Row>>, Violation> {
        self.damage(shell, name);
        let mut rows: Vec<Row> = self.rows.clone().into_iter().collect();
        match Ledger::check(&mut rows) {
            Ok(ledger) => {
                // With nothing left it is as if it had never been. What one fault puts there another may take away.
                let is_whole = self.torn.take().is_none_or(|whole| whole == self.rows) || rows.is_empty();
                ensure(is_whole, Invariant::Checkpoints, || format!("replica {name}: a torn store adds up"))?;
                self.ledger = ledger;
                Ok(Some(rows))
            }
            Err(_) if shell.breaks(Mutation::TrustTornCommit) => {
                rows.retain(|(key, _)| key != ledger::KEY);
                (self.ledger, self.torn) = (Ledger::default(), None);
                self.ledger.apply(&rows.iter().map(|(key, value)| (&**key, Some(&**value))).collect());
                Ok(Some(rows))
            }
            Err(why) => {
                shell.trace.note(|| format!("replica {name}: the store cannot be used: {why}"));
                Ok(None)
            }
        }
    }

    /// Puts a store with these rows in the place of this one.
    pub fn replace(&mut self, rows: Vec<Row>) {
        self.wipe();
        let changes = Changes { put: rows, remove: Vec::new() };
        let mut batch = batch(&changes);
        self.ledger.apply(&batch);
        let stored = self.ledger.stored();
        batch.insert(ledger::KEY, Some(&stored));
        write(&mut self.rows, &batch);
    }

    /// The rows, as of the last commit.
    pub fn scan(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.rows.iter().map(|(key, value)| (&**key, &**value)).filter(|(key, _)| *key != ledger::KEY)
    }

    /// A row as it was committed last; `None` if it is not there, or not that.
    pub fn read(&self, shell: &Shell, key: &[u8]) -> Option<Vec<u8>> {
        if shell.breaks(Mutation::StalePage)
            && let Some(earlier) = self.earlier.get(key)
        {
            return Some(earlier.clone());
        }
        self.rows.get(key).filter(|value| self.ledger.has(key, value)).cloned()
    }

    /// Removes everything.
    pub fn wipe(&mut self) {
        self.rows.clear();
        self.ledger = Ledger::default();
        self.torn = None;
    }

    /// Commits.
    pub fn commit(&mut self, shell: &mut Shell, changes: &Changes) -> Commit {
        if shell.strikes(Fault::FullDisk, FULL_ONE_IN) {
            return Commit::Refused;
        }
        if shell.random.one_in(3) && self.torn.is_none() {
            self.earlier.clone_from(&self.rows);
        }
        let mut batch = batch(changes);
        self.ledger.apply(&batch);
        let stored = self.ledger.stored();
        batch.insert(ledger::KEY, Some(&stored));
        if batch.len() <= FEW_ROWS || !shell.strikes(Fault::TornCommit, TORN_ONE_IN) {
            write(&mut self.rows, &batch);
            self.torn = None;
            return Commit::Whole;
        }
        let (before, mut after) = (self.rows.clone(), self.rows.clone());
        write(&mut after, &batch);
        // What is hard to tell is one row of the commit before.
        if !shell.random.one_in(4) {
            let lost = shell.random.below(batch.len());
            let mut index = 0..;
            batch.retain(|_, _| index.next() != Some(lost));
        } else {
            batch.retain(|_, _| shell.random.one_in(2));
        }
        write(&mut self.rows, &batch);
        if self.rows != before && self.rows != after {
            self.torn.get_or_insert(before);
        }
        Commit::Torn
    }

    fn damage(&mut self, shell: &mut Shell, name: &str) {
        if self.rows.is_empty() || !shell.strikes(Fault::StoreDamage, DAMAGED_ONE_IN) {
            return;
        }
        let what = shell.random.below(4);
        let index = shell.random.below(self.rows.len());
        let key = self.rows.keys().nth(index).expect("there are so many").clone();
        shell.trace.note(|| format!("replica {name}: damage {what} to its store"));
        if what >= 2 && self.torn.is_none() {
            self.torn = Some(self.rows.clone());
        }
        match what {
            0 => self.wipe(),
            1 => {
                self.rows = self.earlier.clone();
                self.torn = None;
            }
            2 => drop(self.rows.remove(&key)),
            _ => {
                let row = self.rows.get_mut(&key).expect("a key of the store");
                row.truncate(row.len() / 2);
            }
        }
    }
}

fn write(rows: &mut Rows, batch: &Batch) {
    for (key, value) in batch {
        match value {
            Some(value) => drop(rows.insert(key.to_vec(), value.to_vec())),
            None => drop(rows.remove(*key)),
        }
    }
}
