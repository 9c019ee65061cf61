//! Views that come later than events, beside twins that were there from the start and compute the same.

use crate::asking::{query, tenant};
use crate::{PATIENCE, define, eventually};
use daybook::client::Client;
use daybook_contracts::admin::ClockAdvance;
use daybook_contracts::ask::{AskErrorCode, ViewProgress};
use daybook_contracts::report::Coverage;
use daybook_domain::ids::{Name, Partition};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The tenants; they are in different partitions.
pub const TENANTS: [&str; 6] = ["acme", "bloom", "cobalt", "delta", "ember", "fjord"];
/// The pairs of views: `<name>-twin` is there from the start, `<name>` comes later.
pub const VIEWS: [&str; 6] = ["orders", "carried", "kept", "clicks", "ranked", "firsts"];

const METRICS: &str = "[n: count, { name: drafts, value: count, status: draft }, quantity: sum(quantity), least: min(quantity), \
    median: 'quantile(quantity, 0.5)', channels: distinct(channel)]";
const SUMS: &str = "[n: count, { name: drafts, value: count, status: draft }, quantity: sum(quantity)]";

/// One of [`VIEWS`] in YAML, by another name.
fn view(name: &str, called: &str, tenants: &str) -> String {
    let rest = match name {
        "orders" => format!("kind: order, group_by: [channel], metrics: {METRICS}"),
        "carried" => format!("kind: order, group_by: [channel], late: carry_forward, metrics: {SUMS}"),
        "kept" => format!("kind: order, grain: hour, late: reject, metrics: {METRICS}"),
        "clicks" => {
            "kind: click, grain: quarter_hour, group_by: [page], metrics: [n: count, ms: sum(ms), most: max(ms)]"
                .to_owned()
        }
        // Few are slow, so that many pages have as many, and a click that is not slow changes nothing.
        "ranked" => "kind: click, group_by: [page], ranking: { by: [slow desc], earliest: true }, \
            metrics: [{ name: slow, value: count, where: ms >= 470 }, ms: sum(ms)]"
            .to_owned(),
        "firsts" => "kind: order, group_by: [channel], ranking: { by: [most desc, n asc], earliest: true }, \
            metrics: [n: count, most: max(quantity)]"
            .to_owned(),
        other => panic!("there is no view {other}"),
    };
    format!("  - {{ name: {called}, {rest}{tenants} }}\n")
}

/// Kinds, twins and tenants, with a season over two of the days.
pub async fn define_twins(client: &Client) {
    let mut yaml = "
kinds:
  - { name: order, mode: entity, dimensions: [channel], measures: [quantity] }
  - { name: click, mode: fact, dimensions: [page], measures: [ms] }
views:
"
    .to_owned();
    VIEWS.iter().for_each(|name| yaml.push_str(&view(name, &format!("{name}-twin"), "")));
    yaml.push_str("tenants:\n");
    for id in TENANTS {
        yaml.push_str(&format!(
            "  - {{ id: {id}, zone: Etc/UTC, cutoff: '00:00', first_day: 2024-03-01, clock: shop, restate_after: 0s, max_ahead: 8784h, seasons: \
             [{{ name: hunt, from: '2024-03-01T18:00:00Z', to: '2024-03-02T18:00:00Z' }}] }}\n"
        ));
    }
    define(client, &yaml).await;
    advance(client, 1).await;
}

/// Defines these views, for some tenants or, without any, for everyone.
pub async fn define_views(client: &Client, names: &[&str], tenants: &[&str]) {
    let of = if tenants.is_empty() { String::new() } else { format!(", tenants: [{}]", tenants.join(", ")) };
    let views: String = names.iter().map(|name| view(name, name, &of)).collect();
    define(client, &format!("views:\n{views}")).await;
}

/// Drives the clock to noon of that day in March.
pub async fn advance(client: &Client, day: u32) {
    let advance_to = format!("2024-03-{day:02}T12:00:00Z").parse().unwrap();
    client.advance(&ClockAdvance { clock: Name::new("shop").unwrap(), advance_to }).await.unwrap();
}

/// Events in an order that is the same in every run: new orders, drafts that are finalised, corrections that may move to
/// another day, orders taken back, and clicks without ids; of days that are open, have closed, or are yet to come.
struct Events {
    seed: u64,
    /// By tenant and order, the newest version.
    versions: Vec<Vec<u64>>,
}

impl Events {
    fn below(&mut self, bound: u64) -> u64 {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.seed >> 33) % bound
    }

    fn next(&mut self) -> (&'static str, &'static str, Value) {
        let index = self.below(TENANTS.len() as u64) as usize;
        let at = format!("2024-03-0{}T{:02}:{:02}:00Z", 1 + self.below(3), self.below(24), self.below(60));
        if self.below(2) == 0 {
            let page = format!("page-{}", self.below(6));
            let click = json!({"at": at, "dims": {"page": page}, "measures": {"ms": self.below(500)}});
            return (TENANTS[index], "click", click);
        }
        let known = self.versions[index].len() as u64;
        let number = if known > 0 && self.below(2) == 0 { self.below(known) } else { known };
        if number == known {
            self.versions[index].push(0);
        }
        self.versions[index][number as usize] += 1;
        let version = self.versions[index][number as usize];
        let status = ["draft", "final", "final", "final", "void"][self.below(5) as usize];
        let channel = ["web", "shop", "phone"][self.below(3) as usize];
        let order = json!({"id": format!("order-{number}"), "version": version, "status": status, "at": at,
            "dims": {"channel": channel}, "measures": {"quantity": self.below(100)}});
        (TENANTS[index], "order", order)
    }
}

/// A task that publishes, as fast as the broker takes it, as many events as it is allowed: each late one makes a new
/// version of a report, so without a bound shards would fall behind by minutes.
pub struct Publisher {
    allowed: watch::Sender<u64>,
    published: watch::Receiver<u64>,
    task: JoinHandle<()>,
}

impl Publisher {
    pub fn begin(client: &Client) -> Self {
        let (allowed, mut may) = watch::channel(0);
        let (count, published) = watch::channel(0);
        let client = client.clone();
        let task = tokio::spawn(async move {
            let mut events = Events { seed: 11, versions: vec![Vec::new(); TENANTS.len()] };
            // Until the other end is dropped.
            while may.wait_for(|allowed| *allowed > *count.borrow()).await.is_ok() {
                let (id, kind, event) = events.next();
                let subject = client.connection.subjects.input(id, kind);
                let published = client.connection.jetstream.publish(subject, event.to_string().into()).await.unwrap();
                published.await.unwrap();
                count.send_modify(|count| *count += 1);
            }
        });
        Self { allowed, published, task }
    }

    /// Has it publish so many more, from now on.
    pub fn go_on(&self, more: u64) {
        self.allowed.send_modify(|allowed| *allowed += more);
    }

    /// Waits until all that is allowed is published.
    pub async fn done(&mut self) {
        let allowed = *self.allowed.borrow();
        let done = self.published.wait_for(|published| *published >= allowed);
        tokio::time::timeout(PATIENCE, done).await.expect("publishing takes too long").expect("publishing failed");
    }

    /// Ends it.
    pub async fn end(self) {
        drop(self.allowed);
        self.task.await.unwrap();
    }
}

/// The newest revision of a view, and how it stands in the partitions whose shards answer and know of it.
pub async fn progress(client: &Client, name: &str) -> (u64, BTreeMap<Partition, ViewProgress>) {
    let reply = client.views().await.unwrap();
    let revision = reply.views.iter().find(|view| view.name.as_str() == name).unwrap().revision;
    let of = |views: Vec<ViewProgress>| views.into_iter().find(|progress| progress.view.as_str() == name);
    let partitions = Partition::all(client.connection.partitions).zip(reply.partitions);
    (revision, partitions.filter_map(|(partition, views)| Some((partition, of(views?)?))).collect())
}

/// How a view stands in one partition, if its shard answers and knows of it.
pub async fn progress_in(client: &Client, name: &str, partition: Partition) -> Option<ViewProgress> {
    progress(client, name).await.1.remove(&partition)
}

/// Waits until the newest revision of a view is in force everywhere; tells whether it was seen to be made.
pub async fn in_force(client: &Client, name: &str) -> bool {
    let was_pending = AtomicBool::new(false);
    eventually(&format!("{name} in force"), || async {
        let (revision, partitions) = progress(client, name).await;
        for pending in partitions.values().filter_map(|progress| progress.pending.as_ref()) {
            assert!(pending.percent <= 100 && (pending.percent == 100) == pending.ready, "{pending:?}");
            was_pending.store(true, Ordering::SeqCst);
        }
        let is_in_force = |progress: &ViewProgress| progress.active == revision && progress.pending.is_none();
        (partitions.len() == usize::from(client.connection.partitions) && partitions.values().all(is_in_force))
            .then_some(())
    })
    .await;
    was_pending.into_inner()
}

/// Checks that a view says the same as its twin: of every day and piece, by ranks, and of the season, and completely.
/// Returns how many rows there are.
pub async fn check_twins(client: &Client, names: &[&str], tenants: &[&str]) -> usize {
    let mut rows = 0;
    for id in tenants {
        let days = client.days(&tenant(id)).await.unwrap().days;
        for name in names {
            let grain = match *name {
                "kept" => "hour",
                "clicks" => "quarter_hour",
                _ => "total",
            };
            let by_day = days.iter().map(|day| json!({"days": day.date.to_string(), "grain": grain}));
            for question in by_day.chain([json!({"days": "season:hunt"}), json!({"days": "last_7_days"})]) {
                let asked = query(question.clone());
                let made = client.query(&tenant(id), name, &asked).await.unwrap();
                let twin = client.query(&tenant(id), &format!("{name}-twin"), &asked).await.unwrap();
                assert_eq!(made.rows, twin.rows, "{name} of {id}, {question}");
                assert_eq!((made.total, made.day, &made.coverage), (twin.total, twin.day, &Coverage::Complete));
                rows += made.rows.len();
            }
        }
    }
    rows
}

/// Checks that these tenants do not have the view.
pub async fn check_absent(client: &Client, name: &str, tenants: &[&str]) {
    for id in tenants {
        let error = client.query(&tenant(id), name, &query(json!({}))).await.unwrap_err();
        assert_eq!(error.code, AskErrorCode::UnknownView, "{name} of {id}: {error}");
    }
}
