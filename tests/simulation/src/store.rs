//! The store of a replica as a map on disk, with the real ledger. A crash in the middle of a commit leaves any part of its
//! rows, with or without its ledger: what no engine should do, and the ledger is there to tell.

use crate::fault::Fault;
use crate::mutation::Mutation;
use crate::settings::{Invariant, Place, Violation, ensure};
use crate::shell::Shell;
use daybook_machine::checkpoint::pass;
use daybook_runtime::store::ledger::{self, Checking, Ledger};
use daybook_runtime::store::{Batch, Changes, Passed, Reading, Row, batch};
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

/// A commit of more than a few rows is broken off once in so many times: there is a crash at every other place already.
const TORN_ONE_IN: usize = 2;
const FEW_ROWS: usize = 3;
/// There is no room for a commit once in so many times.
const FULL_ONE_IN: usize = 6;
/// A store is damaged once in so many times that it is opened.
const DAMAGED_ONE_IN: usize = 6;
/// Likewise a row that was passed, where there are any.
const PASSED_DAMAGED_ONE_IN: usize = 2;

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
    /// What may be there of one commit, where something else may be.
    torn: Option<Vec<Rows>>,
    /// Of what was committed, while it is open.
    ledger: Ledger,
    /// A row may not be what was committed.
    is_damaged: bool,
    /// It is read whole when it is opened next.
    is_doubted: Cell<bool>,
}

impl Store {
    /// The rows, but for those that others speak for if it `passes` them, and whether it did; `None` if what is there must not be used,
    /// which is left as it is.
    ///
    /// # Errors
    /// When the ledger lets rows pass that are not those of one commit.
    pub fn open(
        &mut self,
        shell: &mut Shell,
        name: &str,
        passes: bool,
    ) -> Result<Option<(Vec<Row>, Reading)>, Violation> {
        self.damage(shell, name);
        let passes = passes && !self.is_doubted.get();
        let reading = if passes { Reading::Passing } else { Reading::Whole };
        let (rows, checking, passed) = self.read_all(passes);
        match checking.finish() {
            Ok(ledger) => {
                // With nothing left it is as if it had never been. What one fault puts there another may take away.
                let wholes = self.torn.take().filter(|wholes| !rows.is_empty() && !wholes.contains(&self.rows));
                let is_whole = |whole: &Rows| without(whole, &passed) == without(&self.rows, &passed);
                ensure(
                    wholes.as_ref().is_none_or(|wholes| wholes.iter().any(is_whole)),
                    Invariant::Checkpoints,
                    || format!("replica {name}: a torn store adds up"),
                )?;
                // What was not read may still be damaged.
                self.torn = wholes;
                if !passes {
                    self.is_doubted.set(false);
                }
                self.ledger = ledger;
                if !passed.is_empty() {
                    shell.reach(Place::Passed);
                    self.damage_passed(shell, name, &passed);
                }
                Ok(Some((rows, reading)))
            }
            Err(_) if shell.breaks(Mutation::TrustTornCommit) => {
                (self.ledger, self.torn) = (Ledger::default(), None);
                let rows: Vec<Row> = self.scan().map(|(key, value)| (key.to_vec(), value.to_vec())).collect();
                self.ledger.apply(&rows.iter().map(|(key, value)| (&**key, Some(&**value))).collect());
                Ok(Some((rows, Reading::Whole)))
            }
            Err(why) => {
                shell.trace.note(|| format!("replica {name}: the store cannot be used: {why}"));
                Ok(None)
            }
        }
    }

    /// What `runtime::store` reads of it, and the keys that it passes.
    fn read_all(&self, passes: bool) -> (Vec<Row>, Checking, BTreeSet<Vec<u8>>) {
        let (mut rows, mut checking, mut passed) = (Vec::new(), Checking::default(), BTreeSet::new());
        let mut from = Vec::new();
        while let Some((key, value)) = self.rows.range(from.clone()..).next() {
            let row = (key.clone(), value.clone());
            from = [key.as_slice(), b"\0"].concat();
            if let Some(Passed { rows, next }) = pass(&row).filter(|_| passes) {
                rows.iter().for_each(|(key, row)| checking.pass(key, *row));
                passed.extend(rows.into_iter().map(|(key, _)| key));
                from = next;
            }
            rows.extend(checking.take(row));
        }
        (rows, checking, passed)
    }

    /// Whether every row is what was committed.
    pub fn is_as_committed(&self) -> bool {
        self.scan().all(|(key, value)| self.ledger.has(key, value)) && self.scan().count() == self.ledger.rows()
    }

    /// Whether a row may not be what was committed. If so it is read whole when it is opened next.
    pub fn doubt(&self) -> bool {
        self.is_doubted.set(self.is_damaged);
        self.is_damaged
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
        self.is_damaged = false;
        self.is_doubted.set(false);
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
            (self.torn, self.is_damaged) = (Some(vec![before, after]), true);
        }
        Commit::Torn
    }

    /// Damages a row that was not read: whoever reads it is to notice.
    fn damage_passed(&mut self, shell: &mut Shell, name: &str, passed: &BTreeSet<Vec<u8>>) {
        if !shell.strikes(Fault::StoreDamage, PASSED_DAMAGED_ONE_IN) {
            return;
        }
        let index = shell.random.below(passed.len());
        let key = passed.iter().nth(index).expect("there are so many");
        shell.trace.note(|| format!("replica {name}: damage to a row that it passed"));
        self.torn.get_or_insert(vec![self.rows.clone()]);
        self.is_damaged = true;
        match self.rows.get_mut(key).filter(|_| shell.random.one_in(2)) {
            Some(row) => row.truncate(row.len() / 2),
            None => drop(self.rows.remove(key)),
        }
    }

    fn damage(&mut self, shell: &mut Shell, name: &str) {
        if self.rows.is_empty() || !shell.strikes(Fault::StoreDamage, DAMAGED_ONE_IN) {
            return;
        }
        let what = shell.random.below(4);
        let index = shell.random.below(self.rows.len());
        let key = self.rows.keys().nth(index).expect("there are so many").clone();
        shell.trace.note(|| format!("replica {name}: damage {what} to its store"));
        if what >= 2 {
            self.torn.get_or_insert(vec![self.rows.clone()]);
            self.is_damaged = true;
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

fn without(rows: &Rows, keys: &BTreeSet<Vec<u8>>) -> Vec<(Vec<u8>, Vec<u8>)> {
    rows.iter().filter(|(key, _)| !keys.contains(*key)).map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn write(rows: &mut Rows, batch: &Batch) {
    for (key, value) in batch {
        match value {
            Some(value) => drop(rows.insert(key.to_vec(), value.to_vec())),
            None => drop(rows.remove(*key)),
        }
    }
}
