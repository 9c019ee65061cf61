//! The documented configuration: a server that `daybook nats config` has configured, services with credentials of their own, and
//! tenants with tokens.

use crate::attack::{EVIL, VICTIM};
use crate::sight::Sight;
use daybook_access::claims::{self, User};
use daybook_access::credentials::credentials;
use daybook_access::keys::{AccessSeed, KeyPair, new_user};
use daybook_contracts::admin::ClockAdvance;
use daybook_contracts::ask::{DaySelector, Query};
use daybook_domain::ids::{Name, Partition, TenantId};
use daybook_domain::time::Date;
use daybook_tests::eventually;
use daybook_tests::installation::Installation;
use daybook_tests::orders::{self, CLOCK, FIRST_DAY, order};
use daybook_tests::processes::PARTITIONS;
use daybook_tests::wire::{Login, RawClient};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::atomic::{AtomicI32, Ordering};

/// A whole Daybook with a hostile tenant and others, one of which shares its partition.
pub(crate) struct Documented {
    pub(crate) daybook: Installation,
    pub(crate) seed: AccessSeed,
    pub(crate) sight: Sight,
    /// A user of the services' account who may do anything there.
    pub(crate) witness: Login,
    pub(crate) attacker: Login,
    pub(crate) victim: Login,
    /// Everybody but the attacker.
    pub(crate) others: Vec<TenantId>,
    days: AtomicI32,
}

/// What others have and an attack must not change.
#[derive(Debug, PartialEq)]
pub(crate) struct Standing {
    streams: BTreeMap<String, (Value, BTreeMap<String, u64>)>,
    /// The last sequence of each partition's log, but for the attacker's.
    logs: BTreeMap<u16, u64>,
    /// What each tenant is told, by what it asks.
    answers: BTreeMap<String, String>,
}

impl Standing {
    /// What is not the same, in words.
    pub(crate) fn differences(&self, other: &Self) -> Vec<String> {
        let mut found = Vec::new();
        for (name, (config, subjects)) in &self.streams {
            let (other_config, other_subjects) = other.streams.get(name).cloned().unwrap_or_default();
            if *config != other_config {
                found.push(format!("options of {name}: {config} became {other_config}"));
            }
            let all: BTreeSet<&String> = subjects.keys().chain(other_subjects.keys()).collect();
            let changed = all.into_iter().filter(|subject| subjects.get(*subject) != other_subjects.get(*subject));
            found.extend(changed.map(|subject| {
                format!("{subject}: {:?} messages became {:?}", subjects.get(subject), other_subjects.get(subject))
            }));
        }
        if !self.streams.keys().eq(other.streams.keys()) {
            found.push(format!("streams are {:?}", other.streams.keys()));
        }
        if self.logs != other.logs {
            found.push(format!("logs: {:?} became {:?}", self.logs, other.logs));
        }
        for (what, answer) in &self.answers {
            let now = &other.answers[what];
            if answer != now {
                found.push(format!("{what}: {answer} became {now}"));
            }
        }
        found
    }
}

impl Documented {
    pub(crate) async fn start() -> Self {
        let daybook = Installation::start("full").await;
        let own = Partition::of(EVIL, PARTITIONS);
        let neighbour = (0..).map(|number| format!("n{number}")).find(|name| Partition::of(name, PARTITIONS) == own);
        let neighbour = neighbour.expect("some name falls into the partition");
        let tenants = [VICTIM, &neighbour, EVIL];
        daybook.define(&definitions(&tenants)).await;
        orders::advance_by(&daybook.client, orders::NOON).await;
        for tenant in tenants {
            for payload in [order("o-1").to_string(), "no event".to_owned()] {
                let subject = daybook.client.connection.subjects.input(tenant, "order");
                daybook.client.connection.jetstream.publish(subject, payload.into()).await.unwrap().await.unwrap();
            }
        }
        daybook.client.settle().await.unwrap();
        orders::advance_by(&daybook.client, "2024-03-02T12:00:00Z").await;
        daybook.client.settle().await.unwrap();

        let seed = AccessSeed::parse(&fs::read_to_string(daybook.access.file("operator.seed")).unwrap()).unwrap();
        let witness = Login::credentials(&user(&seed.services_account(), None));
        let mut logins = Vec::new();
        for tenant in [EVIL, VICTIM] {
            let token = daybook.access.create_token(&[tenant]);
            eventually("the tenant is let in", || async { daybook.connect(&token).await.ok() }).await;
            logins.push(Login::credentials(&fs::read_to_string(token).unwrap()));
        }
        let [attacker, victim] = logins.try_into().unwrap();
        let file = daybook.access.folder.path().join("sight.creds");
        fs::write(&file, user(&seed.services_account(), None)).unwrap();
        let options = async_nats::ConnectOptions::with_credentials_file(&file).await.unwrap();
        let sight = Sight::new(options.connect(&daybook.server.url).await.unwrap());
        let others = vec![orders_tenant(VICTIM), orders_tenant(&neighbour)];
        Self { daybook, seed, sight, witness, attacker, victim, others, days: AtomicI32::new(2) }
    }

    /// How everybody else stands, once all that was published has had its effect.
    pub(crate) async fn standing(&self) -> Standing {
        self.daybook.client.settle().await.unwrap();
        let own = format!(".{EVIL}");
        let streams = self.sight.streams(|subject| subject.contains(&own) || subject.contains("~invalid")).await;
        let mut logs = BTreeMap::new();
        for partition in Partition::all(PARTITIONS).filter(|partition| *partition != Partition::of(EVIL, PARTITIONS)) {
            let connection = &self.daybook.client.connection;
            let (stream, subject) = (connection.subjects.events_stream(), connection.subjects.events(partition));
            let last = daybook_runtime::append::last_message(connection, &stream, &subject).await;
            logs.insert(partition.0, last.map_or(0, |message| message.sequence));
        }
        let mut answers = BTreeMap::new();
        for tenant in &self.others {
            for (what, answer) in self.answers(tenant).await {
                answers.insert(format!("{what} of {tenant}"), answer);
            }
        }
        Standing { streams, logs, answers }
    }

    async fn answers(&self, tenant: &TenantId) -> Vec<(&'static str, String)> {
        let asker = &self.daybook.client.asker;
        let first: Date = FIRST_DAY.parse().unwrap();
        let days = asker.days(tenant).await.unwrap().days;
        let all = DaySelector::Range(first, days.last().unwrap().date);
        let orders = asker.query(tenant, "orders", &Query::days(all)).await.unwrap();
        let reports = asker.reports(tenant, first, first.plus(1_000)).await.unwrap();
        let report = asker.report(tenant, first, None).await.unwrap();
        let rejects = asker.rejects(tenant, 1_000).await.unwrap();
        vec![
            ("figures", format!("{:?}", orders.rows)),
            ("days", format!("{days:?}")),
            ("reports", format!("{reports:?}")),
            ("report", report.hash),
            ("rejects", format!("{rejects:?}")),
        ]
    }

    /// The others go on: the victim publishes and asks, and a day closes.
    pub(crate) async fn live_on(&self) {
        let day = self.days.fetch_add(1, Ordering::SeqCst);
        live_on(&self.daybook.server.url, &self.victim, day, &self.daybook.client).await;
    }
}

/// The models and these tenants, who are told of each day that is sealed.
pub(crate) fn definitions(tenants: &[&str]) -> String {
    orders::definitions(tenants).replace("max_ahead: 8784h }", "max_ahead: 8784h, alerts: [day_sealed] }")
}

/// Publishes, asks and closes a day, as everybody does.
pub(crate) async fn live_on(url: &str, victim: &Login, day: i32, operator: &daybook::client::Client) {
    let today = FIRST_DAY.parse::<Date>().unwrap().plus(day - 1);
    let mut victim = RawClient::connect(url, victim).await.unwrap();
    let own = "_INBOX.victim.life";
    victim.subscribe(own, None).await;
    let mut event = order(&format!("day-{day}"));
    let (subject, question) = (format!("daybook.in.{VICTIM}.order"), format!("daybook.query.{VICTIM}.orders"));
    victim.publish(question.as_bytes(), Some(own.as_bytes()), None, br#"{"watch": true}"#).await;
    event["at"] = format!("{today}T12:00:00Z").into();
    for payload in [event.to_string(), "no event".to_owned()] {
        victim.publish(subject.as_bytes(), Some(own.as_bytes()), None, payload.as_bytes()).await;
    }
    victim.flush().await;
    operator.settle().await.unwrap();
    let advance_to = format!("{}T12:00:00Z", today.plus(1)).parse().unwrap();
    operator.advance(&ClockAdvance { clock: Name::new(CLOCK).unwrap(), advance_to }).await.unwrap();
    operator.settle().await.unwrap();
    victim.flush().await;
    assert!(victim.heard.len() >= 3, "the victim is answered: {:?} {:?}", victim.heard, victim.errors);
}

/// Credentials of a new user of an account, with all its rights.
pub(crate) fn user(account: &KeyPair, expires_at: Option<i64>) -> String {
    let user = new_user();
    let issued_at = daybook_runtime::clock::now().as_millis() / 1_000 - 60;
    let public_key = user.public_key();
    let token = User { name: "test", public_key: &public_key, permissions: None, issued_at, expires_at };
    credentials(&claims::user(account, &token), &user)
}

fn orders_tenant(id: &str) -> TenantId {
    TenantId::new(id).unwrap()
}
