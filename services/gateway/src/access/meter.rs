//! How often each token may ask, and how many of its requests may be under way: a bounded table of buckets. A tenant has
//! bounds, too, for all its tokens together.

use crate::problem::{Code, Problem};
use daybook_domain::ids::TenantId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Most tokens with a bucket of their own. Further ones share one.
const MAX_BUCKETS: usize = 10_000;
/// A bucket that nobody used for so long is full again and can be forgotten.
const FORGET_AFTER: Duration = Duration::from_secs(10);

/// What a token may do, and a tenant with all its tokens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    /// Requests a second of a token; twice as many may come at once.
    pub per_second: u32,
    /// Of a token.
    pub of_token: UnderWay,
    /// Of a tenant.
    pub of_tenant: UnderWay,
}

/// How many may be under way at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UnderWay {
    /// Requests, without those below.
    pub requests: u32,
    /// Streams of events to publish.
    pub uploads: u32,
    /// Live streams.
    pub listeners: u32,
    /// Pages of the console that change while they are looked at.
    pub pages: u32,
}

impl UnderWay {
    fn of(self, what: Use) -> u32 {
        match what {
            Use::Request => self.requests,
            Use::Upload => self.uploads,
            Use::Listener => self.listeners,
            Use::Page => self.pages,
        }
    }
}

/// What a request is counted as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    Request,
    /// A stream of events to publish.
    Upload,
    /// A live stream.
    Listener,
    /// A page of the console that changes while it is looked at.
    Page,
}

/// How many there are under way, by [`Use`].
type Counts = [u32; 4];

impl Use {
    /// How people call it.
    fn noun(self) -> &'static str {
        match self {
            Self::Request => "requests",
            Self::Upload => "streams of events",
            Self::Listener => "live streams",
            Self::Page => "live pages",
        }
    }
}

/// Counts the requests of tokens.
#[derive(Clone)]
pub(crate) struct Meter {
    rate: Rate,
    buckets: Arc<Mutex<Buckets>>,
}

#[derive(Default)]
struct Buckets {
    by_holder: HashMap<String, Bucket>,
    /// Tenants without anything under way are not there, so it is as bounded as requests are.
    by_tenant: HashMap<TenantId, Counts>,
}

struct Bucket {
    /// Requests that may come now.
    left: f64,
    filled_at: Instant,
    under_way: Counts,
}

/// Why a request has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Too many in too short a time; so long until the next.
    Rate(Duration),
    /// The token has too many of these under way.
    UnderWay(Use, u32),
    /// All tokens together have too many of these under way for the tenant.
    OfTenant(Use, u32),
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Rate(wait) => Self::new(Code::RateLimited, "the token asks more often than it may")
                .hint("wait as long as Retry-After says")
                .retry_after(wait),
            Refusal::UnderWay(what, bound) => {
                Self::new(Code::Busy, format!("the token has {bound} {} under way already", what.noun()))
                    .hint("wait for one to end before the next")
            }
            Refusal::OfTenant(what, bound) => {
                Self::new(Code::Busy, format!("the tenant has {bound} {} under way already", what.noun()))
                    .hint("wait for one to end before the next; all tokens of the tenant count together")
            }
        }
    }
}

/// A request or a live stream, counted until it is dropped.
pub(crate) struct Turn {
    meter: Meter,
    holder: String,
    tenant: Option<TenantId>,
    counted_as: Use,
}

impl Turn {
    /// The tenant of the path.
    pub(crate) fn tenant(&self) -> Option<&TenantId> {
        self.tenant.as_ref()
    }
}

/// Stands for the tokens beyond [`MAX_BUCKETS`].
const OTHERS: &str = "";

impl Meter {
    pub(crate) fn new(rate: Rate) -> Self {
        Self { rate, buckets: Arc::default() }
    }

    /// Counts a request of `holder` for `tenant` at `now`.
    ///
    /// # Errors
    /// When the token or the tenant has to wait.
    pub(crate) fn begin(
        &self,
        holder: &str,
        tenant: Option<TenantId>,
        counted_as: Use,
        now: Instant,
    ) -> Result<Turn, Refusal> {
        let mut locked = self.lock();
        let buckets = &mut *locked;
        let holder = buckets.place(holder, now);
        let most = f64::from(self.rate.per_second) * 2.0;
        let fresh = || Bucket { left: most, filled_at: now, under_way: Counts::default() };
        let bucket = buckets.by_holder.entry(holder.to_owned()).or_insert_with(fresh);
        let gained = now.saturating_duration_since(bucket.filled_at).as_secs_f64() * f64::from(self.rate.per_second);
        (bucket.left, bucket.filled_at) = ((bucket.left + gained).min(most), now);
        if bucket.left < 1.0 {
            let wait = (1.0 - bucket.left) / f64::from(self.rate.per_second);
            return Err(Refusal::Rate(Duration::from_secs_f64(wait)));
        }
        let (bound, most) = (self.rate.of_token.of(counted_as), self.rate.of_tenant.of(counted_as));
        let count = &mut bucket.under_way[counted_as as usize];
        if *count >= bound {
            return Err(Refusal::UnderWay(counted_as, bound));
        }
        bucket.left -= 1.0;
        if let Some(tenant) = &tenant {
            let together = buckets.by_tenant.get(tenant).map_or(0, |counts| counts[counted_as as usize]);
            if together >= most {
                return Err(Refusal::OfTenant(counted_as, most));
            }
            buckets.by_tenant.entry(tenant.clone()).or_default()[counted_as as usize] += 1;
        }
        *count += 1;
        Ok(Turn { meter: self.clone(), holder: holder.to_owned(), tenant, counted_as })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Buckets> {
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Buckets {
    /// The bucket for `holder`. Makes room among those that nobody uses; without room it is that of the others.
    fn place<'h>(&mut self, holder: &'h str, now: Instant) -> &'h str {
        if self.by_holder.len() >= MAX_BUCKETS && !self.by_holder.contains_key(holder) {
            self.by_holder.retain(|_, bucket| {
                bucket.under_way != Counts::default() || now.saturating_duration_since(bucket.filled_at) < FORGET_AFTER
            });
        }
        let has_room = self.by_holder.len() < MAX_BUCKETS || self.by_holder.contains_key(holder);
        if has_room { holder } else { OTHERS }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut buckets = self.meter.lock();
        let what = self.counted_as as usize;
        if let Some(bucket) = buckets.by_holder.get_mut(&self.holder) {
            bucket.under_way[what] = bucket.under_way[what].saturating_sub(1);
        }
        let Some(tenant) = &self.tenant else { return };
        if let Some(counts) = buckets.by_tenant.get_mut(tenant) {
            counts[what] = counts[what].saturating_sub(1);
            if *counts == Counts::default() {
                buckets.by_tenant.remove(tenant);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meter() -> Meter {
        Meter::new(Rate {
            per_second: 10,
            of_token: UnderWay { requests: 2, uploads: 1, listeners: 1, pages: 1 },
            of_tenant: UnderWay { requests: 3, uploads: 1, listeners: 1, pages: 1 },
        })
    }

    #[test]
    fn a_burst_is_taken_and_then_the_rate() {
        let (meter, now) = (meter(), Instant::now());
        for _ in 0..20 {
            assert!(meter.begin("a", None, Use::Request, now).is_ok());
        }
        let Err(Refusal::Rate(wait)) = meter.begin("a", None, Use::Request, now) else { panic!("the burst is over") };
        assert!(meter.begin("b", None, Use::Request, now).is_ok(), "others are not held up");
        assert!(meter.begin("a", None, Use::Request, now + wait + Duration::from_millis(1)).is_ok());
        assert!(matches!(meter.begin("a", None, Use::Request, now + wait), Err(Refusal::Rate(_))));
    }

    #[test]
    fn requests_under_way_are_counted_until_they_end() {
        let (meter, now) = (meter(), Instant::now());
        let (one, _other) =
            (meter.begin("a", None, Use::Request, now).ok(), meter.begin("a", None, Use::Request, now).ok());
        assert_eq!(meter.begin("a", None, Use::Request, now).err(), Some(Refusal::UnderWay(Use::Request, 2)));
        let listener = meter.begin("a", None, Use::Listener, now).ok();
        assert_eq!(meter.begin("a", None, Use::Listener, now).err(), Some(Refusal::UnderWay(Use::Listener, 1)));
        drop(one);
        assert!(meter.begin("a", None, Use::Request, now).is_ok());
        drop(listener);
        assert!(meter.begin("a", None, Use::Listener, now).is_ok());
        let _page = meter.begin("a", None, Use::Page, now).ok();
        assert_eq!(meter.begin("a", None, Use::Page, now).err(), Some(Refusal::UnderWay(Use::Page, 1)));
        assert!(meter.begin("a", None, Use::Listener, now).is_ok(), "a page is no listener");
    }

    #[test]
    fn all_tokens_of_a_tenant_count_together() {
        let (meter, now) = (meter(), Instant::now());
        let tenant = |id: &str| Some(TenantId::new(id).unwrap());
        let begin = |holder: &str, id: &str, what| meter.begin(holder, tenant(id), what, now);
        let mut under_way: Vec<_> =
            ["a", "a", "b"].into_iter().map(|holder| begin(holder, "acme", Use::Request).ok()).collect();
        assert_eq!(begin("c", "acme", Use::Request).err(), Some(Refusal::OfTenant(Use::Request, 3)));
        assert!(begin("c", "other", Use::Request).is_ok());
        let upload = begin("a", "acme", Use::Upload).ok();
        assert_eq!(begin("b", "acme", Use::Upload).err(), Some(Refusal::OfTenant(Use::Upload, 1)));
        under_way.pop();
        assert!(begin("c", "acme", Use::Request).is_ok());
        drop((under_way, upload));
        assert!(meter.lock().by_tenant.is_empty());
    }

    #[test]
    fn the_table_is_bounded_and_forgets_whom_nobody_misses() {
        let (meter, now) = (meter(), Instant::now());
        for holder in 0..MAX_BUCKETS + 100 {
            drop(meter.begin(&holder.to_string(), None, Use::Request, now));
        }
        assert!(meter.lock().by_holder.len() <= MAX_BUCKETS + 1);
        drop(meter.begin("new", None, Use::Request, now + FORGET_AFTER));
        assert!(meter.lock().by_holder.len() < 10);
    }
}
