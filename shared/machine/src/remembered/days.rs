//! The days whose ids of a kind are remembered, oldest first: of each, how many ids it has and what their hashes sum up to. This is what
//! replicas compare, and what the ids that are read back must add up to.

use daybook_domain::time::Date;
use serde::{Deserialize, Serialize};

/// Days that are stored in one row.
pub const DAYS_PER_ROW: i32 = 32;

/// What is known of the ids of a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DayOfIds {
    pub date: Date,
    pub count: u64,
    pub sum: u128,
}

/// The days.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Days {
    days: Vec<DayOfIds>,
    count: u64,
    sum: u128,
}

/// What an id with that hash adds to the sum of its day.
pub fn id_sum(hash: u64, date: Date) -> u128 {
    let mixed = |seed: u64| {
        let mut mixed = hash ^ (date.as_days() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ seed;
        mixed = (mixed ^ mixed >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
        mixed = (mixed ^ mixed >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        mixed ^ mixed >> 33
    };
    u128::from(mixed(0x2d35_8dcc_aa6c_78a5)) << 64 | u128::from(mixed(0x8bb8_4b93_962e_acc9))
}

impl Days {
    /// Adds a day, which comes behind all others; false, and nothing done, if it does not.
    pub fn push(&mut self, day: DayOfIds) -> bool {
        let is_last = self.days.last().is_none_or(|last| last.date < day.date);
        if is_last {
            self.days.push(day);
            self.count = self.count.wrapping_add(day.count);
            self.sum = self.sum.wrapping_add(day.sum);
        }
        is_last
    }

    /// Takes days before `before` out, for good, and returns them.
    pub fn forget_before(&mut self, before: Date) -> Vec<DayOfIds> {
        let gone: Vec<DayOfIds> = self.days.drain(..self.days.partition_point(|day| day.date < before)).collect();
        for day in &gone {
            self.count = self.count.wrapping_sub(day.count);
            self.sum = self.sum.wrapping_sub(day.sum);
        }
        gone
    }

    /// The oldest day.
    pub fn first(&self) -> Option<Date> {
        self.days.first().map(|day| day.date)
    }

    /// The newest day.
    pub fn last(&self) -> Option<Date> {
        self.days.last().map(|day| day.date)
    }

    pub fn get(&self, date: Date) -> Option<&DayOfIds> {
        self.days.binary_search_by_key(&date, |day| day.date).ok().map(|at| &self.days[at])
    }

    pub fn iter(&self) -> impl Iterator<Item = &DayOfIds> {
        self.days.iter()
    }

    /// How many ids there are, and what their hashes sum up to.
    pub fn sums(&self) -> (u64, u128) {
        (self.count, self.sum)
    }

    /// The days that are stored in a row.
    pub fn row(&self, row: i32) -> &[DayOfIds] {
        let first = self.days.partition_point(|day| row_of(day.date) < row);
        &self.days[first..self.days.partition_point(|day| row_of(day.date) <= row)]
    }

    /// Bytes of memory.
    pub fn bytes(&self) -> usize {
        self.days.capacity() * size_of::<DayOfIds>()
    }
}

/// The number of the row that a day is stored in.
pub fn row_of(date: Date) -> i32 {
    date.as_days().div_euclid(DAYS_PER_ROW)
}
