//! The query service: the reading side, for clients that ask `daybook.query.<tenant>.<view>`.
//!
//! Instances share a queue group and hold nothing that could not be lost. Follow a question: [`service`] is the NATS
//! micro service that gets it, [`encoding`] the two ways in which clients write, [`request`] what they asked,
//! [`dispatch`] says who answers it, [`reply`] is what goes back, [`asking`] the question as the rest knows it.
//! [`answers`] finds the answer: in the [`cache`] if one came a moment ago, by joining those who ask the same just now
//! ([`flight`]), or from the [`shard`] behind its circuit [`breaker`], to which the [`courier`] carries it among others. [`turns`] says whether there is room, and at the
//! [`gate`] of a shard tenants take turns, so that none holds up the others; [`shedding`] says what is left undone
//! while a shard is behind. Days that the shard no longer keeps, or all sealed days while it is away, are read from
//! their streams ([`archive`], [`sealed`], [`history`]) and put together ([`ranges`], [`merge`]). [`lists`] answers the
//! reserved views: days, reports, rejects, alerts. [`groups`] knows the groups of tenants, out of the
//! [`catalogue`], and [`totals`] answers for all tenants of one.

pub mod answers;
pub mod archive;
pub mod asking;
mod awaited;
pub mod breaker;
pub mod cache;
pub mod catalogue;
pub mod courier;
pub mod dispatch;
pub mod encoding;
pub mod flight;
pub mod found;
pub mod gate;
pub mod generations;
pub mod groups;
pub mod history;
pub mod lists;
pub mod merge;
pub mod ranges;
pub mod reply;
pub mod request;
pub mod sealed;
pub mod service;
pub mod shard;
pub mod shedding;
pub mod totals;
pub mod turns;

use crate::answers::Answers;
use daybook_runtime::membership::Membership;
use daybook_runtime::process::Context;
use daybook_runtime::supervisor::{self, Child};
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;

/// Settings of query.
#[derive(Clone, Debug, clap::Args, Serialize)]
#[command(next_help_heading = "Query")]
pub struct Options {
    /// Milliseconds that a shard may take to answer before it is done without [10..=60000]
    #[arg(long, env = "DAYBOOK_SHARD_TIMEOUT_MS", default_value_t = Self::default().shard_timeout_ms, value_parser = clap::value_parser!(u64).range(10..=60_000))]
    pub shard_timeout_ms: u64,
    /// Milliseconds for which an answer is given again to the same question; 0 asks anew each time [0..=60000]
    #[arg(long, env = "DAYBOOK_MAX_STALENESS_MS", default_value_t = Self::default().max_staleness_ms, value_parser = clap::value_parser!(u64).range(0..=60_000))]
    pub max_staleness_ms: u64,
    /// Different questions of one tenant under way at once; more are refused [1..=1024]
    #[arg(long, env = "DAYBOOK_MAX_QUESTIONS_PER_TENANT", default_value_t = Self::default().max_questions_per_tenant, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub max_questions_per_tenant: u16,
}

impl Default for Options {
    fn default() -> Self {
        Self { shard_timeout_ms: 2000, max_staleness_ms: 20, max_questions_per_tenant: 256 }
    }
}

/// Runs until `context.stop` is cancelled.
///
/// # Errors
/// When the actors cannot be started at all.
pub async fn run(options: Options, context: Context) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let shard_timeout = Duration::from_millis(options.shard_timeout_ms);
    let max_staleness = Duration::from_millis(options.max_staleness_ms);
    let shards = Membership::observe(&context.connection, "aggregator-shard").await?;
    let most = options.max_questions_per_tenant;
    let answers = Arc::new(Answers::new(context.connection.clone(), shards, shard_timeout, max_staleness, most));
    context.health.set("query", false);
    let serving = context.clone();
    let probing = answers.clone();
    let probing = tokio::spawn(async move { probing.shards.probe().await });
    let service = Child::new("query", move |supervisor| {
        service::spawn(serving.clone(), options.clone(), answers.clone(), supervisor)
    });
    let Context { connection, board, leave, .. } = context;
    let membership = Membership::join(&connection, "query", env!("CARGO_PKG_VERSION"), board, leave.clone()).await?;
    // The others answer already: nothing has to be waited for but the questions that are here.
    let ended = supervisor::run(vec![service], leave).await;
    probing.abort();
    ended?;
    membership.farewell().await;
    Ok(())
}
