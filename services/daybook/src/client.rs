//! What an operator's commands ask of the services and read from the streams.

use crate::asker::Asker;
use crate::sealed::Sealed;
use anyhow::{Context as _, anyhow, bail};
use async_nats::client::RequestError;
use async_nats::service::{NATS_SERVICE_ERROR, NATS_SERVICE_ERROR_CODE};
use bytes::Bytes;
use daybook_contracts::admin::{
    Apply, ApplyReply, CatalogueReply, ClockAdvance, ClockReply, CloseDay, CloseReply, DaysStanding, Remove,
    RemoveReply, RevokeReply, RevokeTokens, ViewsReply,
};
use daybook_contracts::ask::{Answer, Asked, Days, Position, Query, ShardQuestion};
use daybook_contracts::members::HEARTBEAT;
use daybook_contracts::subjects::Subjects;
use daybook_domain::catalogue::{Definition, Tenant};
use daybook_domain::ids::{InboxSeq, Partition, TenantId};
use daybook_domain::time::Date;
use daybook_runtime::append::{last_message, last_written, stream_handle};
use daybook_runtime::backoff::retry;
use daybook_runtime::connection::{BrokerOptions, ConnectError, Connection, FIND_LIMIT, FindStreamError, connect};
use daybook_runtime::log;
use daybook_runtime::membership::{Members, Membership};
use daybook_runtime::reader::read_newest_written;
use daybook_runtime::telemetry;
use daybook_runtime::written::{self, Message, NotWritten};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use std::time::Duration;
use tokio::sync::watch;

/// How long one request may take.
const REQUEST_DEADLINE: Duration = Duration::from_secs(8);
/// How long a request may be without a reply before another copy of it is sent.
const COPY_AFTER: Duration = Duration::from_secs(1);
/// How long a service may take to tell how it stands.
const STATUS_DEADLINE: Duration = Duration::from_secs(1);
/// How long a request is repeated while nobody answers it.
const PATIENCE: Duration = Duration::from_secs(180);

/// An operator's client of one Daybook: it reads streams and hears of the services' processes.
#[derive(Clone)]
pub struct Client {
    pub connection: Connection,
    pub asker: Asker,
    /// The processes of aggregator-shard that are known to live.
    shards: watch::Receiver<Members>,
    /// When every one that lives has been heard of.
    shards_known_at: tokio::time::Instant,
}

impl Client {
    /// Connects, and takes the number of partitions from INBOX.
    ///
    /// # Errors
    /// When no server answers or lets this user in, or there is no Daybook on it.
    pub async fn connect(options: &BrokerOptions) -> anyhow::Result<Self> {
        let mut connection = connect(options, "daybook-cli").await?;
        let waiting = |why: &ConnectError| {
            telemetry::say(&format!("waiting up to {} s, because {why}", FIND_LIMIT.as_secs()));
        };
        let inbox = match connection.find_stream(&connection.subjects.inbox_stream(), waiting).await {
            Ok(inbox) => inbox,
            Err(FindStreamError::Connection(error)) => return Err(error.into()),
            Err(error @ FindStreamError::Absent { .. }) => {
                let nats = &options.nats.nats;
                let hint = format!("there is no Daybook at {nats} yet; start one with `daybook up --data DIR`");
                return Err(anyhow::Error::from(error).context(hint));
            }
            Err(error) => return Err(error.into()),
        };
        connection.partitions = daybook_runtime::streams::partitions_of(inbox.cached_info())
            .with_context(|| format!("stream {} was not made by Daybook", connection.subjects.inbox_stream()))?;
        let shards = Membership::observe(&connection, "aggregator-shard").await?;
        let asker = Asker::new(&connection);
        Ok(Self { connection, asker, shards, shards_known_at: tokio::time::Instant::now() + 2 * HEARTBEAT })
    }

    /// Puts definitions into force. Should a repetition of the request come late, it does not undo what was applied since.
    ///
    /// # Errors
    /// When day-manager does not answer.
    pub async fn apply(&self, apply: &Apply) -> anyhow::Result<ApplyReply> {
        self.admin("apply", &Apply { catalog_seen: Some(self.catalog_end().await), ..apply.clone() }).await
    }

    /// Removes a tenant, a view or a kind. Should a repetition of the request come late, it does not remove what has the name
    /// since.
    ///
    /// # Errors
    /// When there is no such thing, something still uses it, or day-manager does not answer.
    pub async fn remove(&self, remove: &Remove) -> anyhow::Result<RemoveReply> {
        self.admin("remove", &Remove { catalog_seen: Some(self.catalog_end().await), ..remove.clone() }).await
    }

    /// The last sequence of CATALOG.
    async fn catalog_end(&self) -> u64 {
        let catalog = self.connection.subjects.catalog_stream();
        retry("look at CATALOG", || async {
            Ok(stream_handle(&self.connection, &catalog).await?.get_info().await?.state.last_sequence)
        })
        .await
    }

    /// Kinds, views and clocks.
    ///
    /// # Errors
    /// When day-manager does not answer.
    pub async fn catalogue(&self) -> anyhow::Result<CatalogueReply> {
        self.admin("catalogue", &()).await
    }

    /// How the days of all tenants stand.
    ///
    /// # Errors
    /// When no day-manager answers at once.
    pub async fn days_standing(&self) -> anyhow::Result<DaysStanding> {
        let subject = self.connection.subjects.admin("catalogue");
        let request = async_nats::Request::new().timeout(Some(STATUS_DEADLINE));
        let reply = self.connection.client.send_request(subject, request).await?;
        Ok(serde_json::from_slice::<CatalogueReply>(&reply.payload)?.days)
    }

    /// How many outputs are made and not written yet, by partition; `None` where no shard answers at once.
    pub async fn outputs_waiting(&self) -> Vec<Option<u64>> {
        let ask = |partition| async move {
            let position = self.position(self.connection.subjects.shard(partition)).await.ok()?;
            Some(position.outputs_waiting)
        };
        futures::future::join_all(Partition::all(self.connection.partitions).map(ask)).await
    }

    /// Drives a clock; returns when every marker due by then stands in INBOX.
    ///
    /// # Errors
    /// When day-manager does not answer.
    pub async fn advance(&self, advance: &ClockAdvance) -> anyhow::Result<ClockReply> {
        self.admin("clock", advance).await
    }

    /// Views, and how each partition stands, as far as its shard answers.
    ///
    /// # Errors
    /// When day-manager does not answer.
    pub async fn views(&self) -> anyhow::Result<ViewsReply> {
        self.admin("views", &()).await
    }

    /// Closes an open day by hand; returns when its markers stand in INBOX.
    ///
    /// # Errors
    /// When the day cannot be closed, or is closed already, or day-manager does not answer.
    pub async fn close(&self, close: &CloseDay) -> anyhow::Result<CloseReply> {
        self.admin("close", close).await
    }

    /// Makes tokens void; returns when the NATS servers that answer have been told.
    ///
    /// # Errors
    /// When day-manager does not make the tenants' accounts, or does not answer.
    pub async fn revoke(&self, tokens: &RevokeTokens) -> anyhow::Result<RevokeReply> {
        self.admin("revoke", tokens).await
    }

    /// Asks day-manager, again and again while it is away or starting: every admin request may be repeated.
    async fn admin<T: DeserializeOwned>(&self, command: &str, request: &impl Serialize) -> anyhow::Result<T> {
        let subject = self.connection.subjects.admin(command);
        let body = Bytes::from(serde_json::to_vec(request)?);
        let began = tokio::time::Instant::now();
        loop {
            let failure = match self.first_reply(&subject, &body).await {
                Reply::Done(reply) => return Ok(serde_json::from_slice(&reply.payload)?),
                Reply::Refused(why) => bail!("{why}"),
                Reply::Failed(why) => anyhow!("{why}"),
                Reply::Away(failure) => failure,
            };
            if began.elapsed() > PATIENCE {
                return Err(failure);
            }
            tracing::warn!(%failure, "asking again");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Sends a request, and a copy of it every second until there is a reply: a day-manager that stands still is sent its
    /// share of them too. Another may refuse a copy because of what the first one has just done, or fail where that one does
    /// not, so a refusal or failure counts only when no other reply is to come.
    async fn first_reply(&self, subject: &str, body: &Bytes) -> Reply {
        let deadline = tokio::time::Instant::now() + REQUEST_DEADLINE;
        let mut due = tokio::time::interval(COPY_AFTER);
        let mut copies = FuturesUnordered::new();
        let (mut refused, mut failed, mut silent) = (None, None, None);
        loop {
            tokio::select! {
                _ = due.tick(), if refused.is_none() && failed.is_none() => {
                    let left = deadline.duration_since(tokio::time::Instant::now());
                    let request = async_nats::Request::new().payload(body.clone()).timeout(Some(left));
                    copies.push(self.connection.client.send_request(subject.to_owned(), request));
                }
                Some(reply) = copies.next() => match Reply::of(reply) {
                    Reply::Done(reply) => return Reply::Done(reply),
                    Reply::Refused(why) => refused = Some(why),
                    Reply::Failed(why) => failed = Some(why),
                    Reply::Away(failure) => silent = Some(failure),
                },
            }
            if copies.is_empty() {
                // What a day-manager says tells more than that another one is silent.
                let last = refused.take().map(Reply::Refused).or(failed.take().map(Reply::Failed));
                if let Some(last) = last.or(silent.take().map(Reply::Away)) {
                    return last;
                }
            }
        }
    }

    /// The figures of a view.
    ///
    /// # Errors
    /// As the query service tells them.
    pub async fn query(&self, tenant: &TenantId, view: &str, query: &Query) -> Asked<Answer> {
        self.asker.query(tenant, view, query).await
    }

    /// All days of a tenant, with their accounts.
    ///
    /// # Errors
    /// As the query service tells them.
    pub async fn days(&self, tenant: &TenantId) -> Asked<Days> {
        self.asker.days(tenant).await
    }

    /// Waits until figures, reports and rejects rest on everything that stands in INBOX now.
    ///
    /// # Errors
    /// When a shard stays away for too long.
    pub async fn settle(&self) -> anyhow::Result<()> {
        let subjects = &self.connection.subjects;
        for partition in Partition::all(self.connection.partitions) {
            let mut newest = None;
            for filter in subjects.inbox_of(partition) {
                let last = last_message(&self.connection, &subjects.inbox_stream(), &filter).await;
                newest = newest.max(last.map(|message| message.sequence));
            }
            // What was trimmed from INBOX is recorded in the log.
            let recorded = log::end(&self.connection, partition).await?.marks().through.inbox.0;
            let wanted = newest.max(Some(recorded).filter(|recorded| *recorded > 0));
            if let Some(wanted) = wanted {
                self.settle_partition(partition, InboxSeq(wanted)).await?;
            }
        }
        Ok(())
    }

    /// Every replica must have got there: which of them answers next is not known.
    async fn settle_partition(&self, partition: Partition, sequence: InboxSeq) -> anyhow::Result<()> {
        let mut quiet_since = tokio::time::Instant::now();
        let mut reached = InboxSeq(0);
        loop {
            match self.positions(partition).await {
                Ok(positions) => {
                    let slowest = positions.iter().map(|position| position.as_of.inbox).min().unwrap_or_default();
                    let waiting: u64 = positions.iter().map(|position| position.outputs_waiting).sum();
                    if slowest >= sequence && waiting == 0 {
                        return Ok(());
                    }
                    if slowest > reached {
                        reached = slowest;
                        quiet_since = tokio::time::Instant::now();
                    } else if quiet_since.elapsed() >= PATIENCE {
                        bail!("a shard of partition {partition} stands at {slowest} and does not reach {sequence}");
                    }
                }
                Err(_) if quiet_since.elapsed() < PATIENCE => {}
                Err(error) => return Err(error.context(format!("no shard of partition {partition} answers"))),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// How far all shards are that are known to run a partition, and whichever answers for it.
    async fn positions(&self, partition: Partition) -> anyhow::Result<Vec<Position>> {
        tokio::time::sleep_until(self.shards_known_at).await;
        let subjects = &self.connection.subjects;
        let mut addresses = vec![subjects.shard(partition)];
        let shards = self.shards.borrow().clone();
        let runners = shards.values().filter(|shard| shard.parts.contains_key(&partition));
        addresses.extend(runners.map(|shard| subjects.shard_at(partition, &shard.instance)));
        futures::future::try_join_all(addresses.into_iter().map(|address| self.position(address))).await
    }

    async fn position(&self, address: String) -> anyhow::Result<Position> {
        let body = serde_json::to_vec(&ShardQuestion::Position).expect("a plain value");
        let request = async_nats::Request::new().payload(body.into()).timeout(Some(STATUS_DEADLINE));
        let reply = self.connection.client.send_request(address, request).await?;
        Ok(serde_json::from_slice::<Asked<Position>>(&reply.payload)??)
    }

    /// Every tenant, in order.
    ///
    /// # Errors
    /// When one cannot be read.
    pub async fn tenants(&self) -> anyhow::Result<Vec<Tenant>> {
        let subjects = &self.connection.subjects;
        let read = |message: Message<'_>| written::definition(subjects, message);
        let (stream, filter) = (subjects.catalog_stream(), subjects.every_tenant());
        let newest = read_newest_written(&self.connection, stream, filter, read).await?;
        let mut tenants: Vec<Tenant> = newest
            .into_iter()
            .filter_map(|(_, newest)| match newest.found?.value {
                (_, Definition::Tenant(tenant)) => Some(tenant),
                _ => None,
            })
            .collect();
        tenants.sort_by(|one, other| one.id.cmp(&other.id));
        Ok(tenants)
    }

    /// The newest versions of a tenant's reports from `from` to `to`, in order of their dates, as the stream has them: a
    /// check that does not rely on the query service.
    ///
    /// # Errors
    /// When a report cannot be read.
    pub async fn reports(&self, tenant: &TenantId, from: Date, to: Date) -> anyhow::Result<Vec<Sealed>> {
        let subjects = &self.connection.subjects;
        let read = |message: Message<'_>| match subjects.parse_report(message.subject) {
            Some((_, date)) if !(from..=to).contains(&date) => Ok(None),
            _ => sealed(subjects, message).map(Some),
        };
        let (stream, filter) = (subjects.reports_stream(), subjects.reports_of(tenant.as_str()));
        let newest = read_newest_written(&self.connection, stream, filter, read).await?;
        let mut reports: Vec<Sealed> = newest.into_iter().filter_map(|(_, newest)| newest.found?.value).collect();
        reports.sort_by_key(|sealed| sealed.report.date);
        Ok(reports)
    }

    /// The newest version of one report, as the stream has it.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn report(&self, tenant: &TenantId, date: Date) -> anyhow::Result<Option<Sealed>> {
        let subjects = &self.connection.subjects;
        let (stream, subject) = (subjects.reports_stream(), subjects.report(tenant, date));
        let read = |message: Message<'_>| sealed(subjects, message);
        let newest = last_written(&self.connection, &stream, &subject, read).await?;
        Ok(newest.found.map(|found| found.value))
    }
}

/// Reads a message of REPORTS.
fn sealed(subjects: &Subjects, message: Message<'_>) -> Result<Sealed, NotWritten> {
    written::report::<IgnoredAny>(subjects, message)?;
    Sealed::read(Some(message.headers), Bytes::copy_from_slice(message.payload))
        .map_err(|error| NotWritten::Unreadable(error.to_string()))
}

/// What became of a request to day-manager.
enum Reply {
    Done(async_nats::Message),
    Refused(String),
    /// It may be asked for again.
    Failed(String),
    /// Nobody takes it now.
    Away(anyhow::Error),
}

impl Reply {
    fn of(reply: Result<async_nats::Message, RequestError>) -> Self {
        let reply = match reply {
            Ok(reply) => reply,
            Err(error) => return Self::Away(anyhow!("day-manager does not answer: {error}")),
        };
        let header = |name| reply.headers.as_ref().and_then(|headers| headers.get(name)).map(|value| value.as_str());
        match (header(NATS_SERVICE_ERROR_CODE), header(NATS_SERVICE_ERROR)) {
            (None, _) => Self::Done(reply),
            (Some("503"), why) => Self::Failed(why.unwrap_or("day-manager failed").to_owned()),
            (Some(_), why) => Self::Refused(why.unwrap_or("the request was refused").to_owned()),
        }
    }
}
