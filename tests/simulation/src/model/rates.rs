//! Whether a message is over its tenant's rates, by looking at all that the tenant has published. A bucket is no part of the
//! log: it begins full with each owner of the partition, so where the owner began to read has to be known.

use daybook_contracts::reject::Code;
use daybook_domain::quotas::Quotas;
use daybook_domain::time::Instant;

/// For how many seconds quotas may be saved up, and what a bucket holds at least; the model's own copy of the rule.
const BURST_SECONDS: i128 = 10;
const LEAST: [i128; 2] = [10_000, 1 << 20];
const CODES: [Code; 2] = [Code::QuotaEvents, Code::QuotaBytes];

/// A message of a tenant, as rates look at it.
#[derive(Debug)]
pub struct Metered {
    pub inbox: u64,
    /// By the broker's stamp.
    pub at: Instant,
    /// Of the tenant at that time: events and bytes a second.
    rates: [Option<u64>; 2],
    /// Events and bytes.
    amounts: [u64; 2],
    pub is_taken: bool,
}

impl Metered {
    pub fn new(inbox: u64, at: Instant, quotas: &Quotas, events: u64, bytes: usize) -> Self {
        let rates = [quotas.events_per_second, quotas.bytes_per_second];
        Self { inbox, at, rates, amounts: [events, bytes as u64], is_taken: true }
    }

    /// The quota that has not enough left for it, if there is one, behind what the tenant published `before`, for an owner
    /// that began to read at `begun`: over no stretch of time is more taken than it is worth and a burst.
    pub fn over(&self, before: &[Self], begun: u64) -> Option<Code> {
        let is_other = |past: &Self| past.inbox < begun || past.rates != self.rates;
        let run = &before[before.iter().rposition(is_other).map_or(0, |place| place + 1)..];
        (0..2).find(|quota| self.is_over(*quota, run)).map(|quota| CODES[quota])
    }

    fn is_over(&self, quota: usize, run: &[Self]) -> bool {
        let Some(rate) = self.rates[quota].map(i128::from) else { return false };
        // In thousandths, for time is in milliseconds.
        let burst = (rate * BURST_SECONDS).max(LEAST[quota]) * 1_000;
        let (mut left, mut used, mut elapsed_ms, mut later) = (burst, 0, 0, self.at);
        for past in run.iter().rev() {
            // A clock that goes back does not take away.
            elapsed_ms += i128::from(later.as_millis() - past.at.as_millis()).max(0);
            later = past.at;
            if past.is_taken {
                used += i128::from(past.amounts[quota]) * 1_000;
                left = left.min(burst + rate * elapsed_ms - used);
            }
        }
        i128::from(self.amounts[quota]) * 1_000 > left
    }
}
