//! The connect service: reads foreign streams and subjects through mappings, and publishes events to INBOX.
//!
//! [`sources`] is what the file says that is read; `file` follows that file, and `sharing` runs this process's share of the sources.
//! [`reader`] is the actor of one source: a [`reading`] gives messages (`arrival`), [`in_flight`] decides what is published of them next and what
//! may be acknowledged, [`translation`] makes [`publication`]s of one message, and [`publisher`] has them durable in INBOX, as fast as
//! [`pace`] allows. [`catalogue`] follows the definitions that mappings need; [`standing`] says whether a source is read, and why not.
//!
//! **Exactly once** rests on three things. The foreign broker keeps the position: a message is acknowledged only when all that it makes
//! is durable in INBOX, and comes again otherwise. What comes again makes the same events with the same ids and versions.
//! Daybook counts such events once. So two processes may read one source, and each may end at any point.

mod arrival;
pub mod catalogue;
mod file;
pub mod in_flight;
pub mod pace;
pub mod publication;
pub mod publisher;
pub mod reader;
pub mod reading;
mod sharing;
pub mod sources;
pub mod standing;
pub mod translation;

use daybook_runtime::membership::Membership;
use daybook_runtime::process::Context;
use daybook_runtime::supervisor::{self, Child};
use file::{Sources, SourcesFile};
use serde::Serialize;
use std::future::pending;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Settings of connect.
#[derive(Clone, Debug, Default, clap::Args, Serialize)]
#[command(next_help_heading = "Connect")]
pub struct Options {
    /// YAML file with the sources to read, the same for all processes of connect; none are read when absent. A change takes effect
    /// within seconds, and at once on SIGHUP
    #[arg(long, env = "DAYBOOK_SOURCES", value_name = "FILE")]
    pub sources: Option<PathBuf>,
}

/// Runs until `context.stop` is cancelled.
///
/// # Errors
/// When the file of sources cannot be used, or the actors cannot be started at all.
pub async fn run(options: Options, context: Context) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    run_with(options, context, None).await
}

/// The same in a process that runs nothing else: on SIGHUP it looks at the file of sources at once. A process that runs more, such as
/// `daybook up`, ends on SIGHUP, with the terminal it was started in.
///
/// # Errors
/// As [`run`].
pub async fn run_alone(options: Options, context: Context) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let hangups = signal(SignalKind::hangup())?;
    run_with(options, context, Some(hangups)).await
}

async fn run_with(
    options: Options,
    context: Context,
    hangups: Option<Signal>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let opened =
        options.sources.map(|path| SourcesFile::open(path, context.connection.subjects.clone())).transpose()?;
    let (file, first) = opened.map_or((None, Sources::default()), |(file, first)| (Some(file), first));
    tracing::info!(sources = first.len(), "reading sources");
    // Until it is known which sources are this process's.
    context.health.set("connect", false);
    let ended = CancellationToken::new();
    let (definitions, catalogue) = watch::channel(None);
    let (definitions, following) = (Arc::new(definitions), context.clone());
    let follower =
        Child::new("catalogue", move |supervisor| catalogue::spawn(following.clone(), definitions.clone(), supervisor));
    let definitions = tokio::spawn(supervisor::run(vec![follower], ended.clone()));
    let ended = ended.drop_guard();
    let silent = Default::default();
    let version = env!("CARGO_PKG_VERSION");
    let membership = Membership::join(&context.connection, "connect", version, context.board.clone(), silent).await?;
    let (newest, sources) = watch::channel(first);
    let following = async {
        match file {
            Some(file) => file.follow(hangups, newest, context.board.clone()).await,
            None => pending().await,
        }
    };
    let outcome = tokio::select! {
        outcome = sharing::run_shared(&context, &catalogue, sources, &membership) => outcome,
        () = following => Ok(()),
    };
    // Sources that end may need definitions until then.
    drop(ended);
    definitions.await??;
    membership.farewell().await;
    Ok(outcome?)
}
