//! The reading side, looked at from outside: a shop whose figures are asked for, what query asks the shards for that, and
//! who follows live feeds.

use crate::asking::tenant;
use crate::{PATIENCE, define};
use async_nats::Subscriber;
use bytes::Bytes;
use daybook::client::Client;
use daybook_contracts::ask::{Answer, Query, ShardQuestion};
use daybook_contracts::bundle::{is_bundle, read_questions};
use daybook_contracts::live::LiveUpdate;
use daybook_contracts::live::view::{Followed, LiveView};
use daybook_contracts::report::Row;
use daybook_domain::catalogue::View;
use daybook_domain::ids::InboxSeq;
use futures::StreamExt;
use serde_json::{Value, json};
use std::collections::VecDeque;

const MODELS: &str = "
kinds:
  - { name: order, mode: entity, dimensions: [channel, city], measures: [quantity, { name: amount, type: decimal, scale: 2 }] }
  - { name: click, mode: fact, dimensions: [page] }
views:
  - name: orders
    kind: order
    group_by: [channel, city]
    metrics:
      - { name: n, value: count }
      - { name: quantity, value: sum(quantity) }
      - { name: amount, value: sum(amount) }
      - { name: median, value: 'quantile(quantity, 0.5)' }
      - { name: web_least, value: min(amount), where: channel = 'web' }
      - { name: cities, value: distinct(city) }
  - { name: hourly, kind: order, grain: hour, group_by: [channel], metrics: [n: count, amount: sum(amount)] }
  - { name: ranked, kind: order, group_by: [city], ranking: { by: [quantity desc] }, metrics: [quantity: sum(quantity)] }
  - { name: clicks, kind: click, group_by: [page], metrics: [n: count] }
tenants:
";

/// Orders of one day by [`orders`].
pub const ORDERS: usize = 60;

/// Defines the shop's views and these tenants, on the clock `shop`, by days that begin at midnight UTC.
pub async fn define_shops(client: &Client, tenants: &[&str]) {
    let of = |id: &&str| {
        format!(
            "  - {{ id: {id}, zone: Etc/UTC, cutoff: '00:00', first_day: 2024-03-01, clock: shop, restate_after: 0s, max_ahead: 8784h }}\n"
        )
    };
    define(client, &format!("{MODELS}{}", tenants.iter().map(of).collect::<String>())).await;
}

/// An order at noon of that day in March.
pub fn order(id: &str, day: u32, channel: &str, city: &str, quantity: i64) -> Value {
    json!({"id": id, "at": format!("2024-03-{day:02}T12:00:00Z"), "dims": {"channel": channel, "city": city},
        "measures": {"quantity": quantity, "amount": format!("{}.{:02}", quantity * 3, (quantity * 7) % 100)}})
}

/// [`ORDERS`] orders of that day in March, at all hours, in three channels and five cities.
pub fn orders(day: u32) -> Value {
    let one = |number: usize| {
        let (channel, city) =
            (["web", "shop", "phone"][number % 3], ["Aarau", "Bern", "Chur", "Olten", "Zug"][number % 5]);
        let mut order = order(&format!("{day}-{number}"), day, channel, city, (number * 7 + day as usize) as i64 % 23);
        order["at"] = format!("2024-03-{day:02}T{:02}:30:00Z", number % 24).into();
        order
    };
    (0..ORDERS).map(one).collect()
}

/// Publishes one event, or a list of them, and returns the sequence of its PubAck.
pub async fn publish(client: &Client, id: &str, kind: &str, events: Value) -> InboxSeq {
    let subject = client.connection.subjects.input(id, kind);
    let published = client.connection.jetstream.publish(subject, events.to_string().into()).await.unwrap();
    InboxSeq(published.await.unwrap().sequence)
}

/// The sum of a column.
pub fn sum(rows: &[Row], column: &str) -> usize {
    rows.iter().map(|row| row.get(column).unwrap().to_string().parse::<usize>().unwrap()).sum()
}

/// Hears what query asks the shards about views. As it listens, nobody's absence is seen by the broker: questions to a
/// shard that is away wait in vain until they time out.
pub struct Questions {
    client: Client,
    /// Where nobody but this listens.
    mark: String,
    heard: Subscriber,
    /// Heard in one message with others, and not taken yet.
    rest: VecDeque<(String, String, Query)>,
}

impl Questions {
    /// Begins to listen, on the connection by which `client` asks: so every question has been heard before its answer.
    pub async fn listen(client: &Client) -> Self {
        let prefix = client.connection.subjects.prefix();
        let heard = client.connection.client.subscribe(format!("{prefix}.shard.>")).await.unwrap();
        let (mark, rest) = (format!("{prefix}.shard.mark"), VecDeque::new());
        Self { client: client.clone(), mark, heard, rest }
    }

    /// The next question about a view: of which tenant, about which view, and what.
    pub async fn next(&mut self) -> (String, String, Query) {
        loop {
            if let Some(asked) = self.rest.pop_front() {
                return asked;
            }
            let next = tokio::time::timeout(PATIENCE, self.heard.next()).await;
            let message = next.expect("nothing is asked").expect("the connection goes on");
            self.rest.extend(about_views(&message.payload));
        }
    }

    /// The questions about views that have been asked and not been taken yet.
    pub async fn take(&mut self) -> Vec<(String, String, Query)> {
        // What was sent before the mark is heard before it.
        self.client.connection.client.publish(self.mark.clone(), "".into()).await.unwrap();
        let mut asked = Vec::from_iter(self.rest.drain(..));
        loop {
            let next = tokio::time::timeout(PATIENCE, self.heard.next()).await;
            let message = next.expect("the mark comes back").expect("the connection goes on");
            if message.subject.as_str() == self.mark {
                return asked;
            }
            asked.extend(about_views(&message.payload));
        }
    }
}

/// The questions about views in a message to a shard, which is one question or a bundle of them.
fn about_views(message: &Bytes) -> Vec<(String, String, Query)> {
    let questions = match is_bundle(message) {
        true => read_questions(message).unwrap(),
        false => vec![message.clone()],
    };
    let about_a_view = |question: Bytes| match serde_json::from_slice(&question) {
        Ok(ShardQuestion::View { tenant, view, query }) => Some((tenant.to_string(), view.to_string(), *query)),
        _ => None,
    };
    questions.into_iter().filter_map(about_a_view).collect()
}

/// Somebody who follows the live feed of a view, as docs/CLIENTS.md says.
pub struct Listener {
    client: Client,
    tenant: String,
    view: View,
    updates: Subscriber,
    live: LiveView,
    feed: String,
    sequence: u64,
}

impl Listener {
    /// Subscribes and takes the snapshot.
    pub async fn begin(client: &Client, id: &str, view: &str) -> Self {
        let views = client.catalogue().await.unwrap().views;
        let view = views.into_iter().find(|other| other.name.as_str() == view).unwrap();
        let subject = client.connection.subjects.live(id, view.name.as_str());
        let updates = client.connection.client.subscribe(subject).await.unwrap();
        let answer = watch(client, id, view.name.as_str()).await;
        let (feed, sequence) = feed(&answer);
        let live = LiveView::new(&view, answer).unwrap();
        Self { client: client.clone(), tenant: id.to_owned(), view, updates, live, feed, sequence }
    }

    /// Asks again, and takes the answer for the new snapshot; tells whether it is of the same feed.
    pub async fn renew(&mut self) -> bool {
        let answer = watch(&self.client, &self.tenant, self.view.name.as_str()).await;
        let continues = self.live.continues(&answer);
        (self.feed, self.sequence) = feed(&answer);
        self.live = LiveView::new(&self.view, answer).unwrap();
        continues
    }

    /// The name of the feed.
    pub fn feed(&self) -> &str {
        &self.feed
    }

    /// The rows as they are known.
    pub fn rows(&self) -> Vec<Row> {
        self.live.rows()
    }

    /// What the rows belong to.
    pub fn answer(&self) -> &Answer {
        self.live.answer()
    }

    /// The next message of the feed behind the snapshot; it is not taken in.
    pub async fn next(&mut self) -> LiveUpdate {
        loop {
            let next = tokio::time::timeout(PATIENCE, self.updates.next()).await;
            let message = next.expect("nothing is pushed").expect("the connection goes on");
            let update: LiveUpdate = serde_json::from_slice(&message.payload).unwrap();
            if update.feed == self.feed && update.sequence > self.sequence {
                return update;
            }
        }
    }

    /// Takes a message in.
    pub fn follow(&mut self, update: LiveUpdate) -> Followed {
        let sequence = update.sequence;
        let followed = self.live.follow(update);
        if followed == Followed::Applied {
            self.sequence = sequence;
        }
        followed
    }

    /// Follows until the rows rest on that sequence of INBOX. Returns the updates, none of which was missed.
    pub async fn reach(&mut self, sequence: InboxSeq) -> Vec<LiveUpdate> {
        let mut updates = Vec::new();
        while self.answer().as_of.inbox < sequence {
            let update = self.next().await;
            assert_eq!(update.sequence, self.sequence + 1, "one after the other");
            assert_eq!(self.follow(update.clone()), Followed::Applied, "{update:?}");
            updates.push(update);
        }
        updates
    }
}

/// The snapshot of a view, which starts or renews its feed.
pub async fn watch(client: &Client, id: &str, view: &str) -> Answer {
    client.query(&tenant(id), view, &Query { watch: true, ..Query::default() }).await.unwrap()
}

fn feed(snapshot: &Answer) -> (String, u64) {
    let feed = snapshot.feed.as_ref().expect("a snapshot names its feed");
    (feed.feed.to_string(), feed.sequence)
}
