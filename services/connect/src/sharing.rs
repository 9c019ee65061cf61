//! Runs the sources that are this process's, as processes come and go and the file of sources changes.
//!
//! Each source has a supervisor of its own, so one that ends or changes does not disturb the others. Two processes that read the same
//! source get different messages of it. So the new owner begins at once, and processes that know different files do no harm.

use crate::catalogue::DefinitionsWatch;
use crate::file::Sources;
use crate::reader;
use crate::sources::SourceSpec;
use daybook_domain::ids::Name;
use daybook_runtime::membership::Membership;
use daybook_runtime::process::Context;
use daybook_runtime::supervisor::{self, Child};
use ractor::SpawnErr;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

/// A supervisor that cannot be started, or that failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SharingError {
    #[error("a source cannot be started")]
    Spawn(#[from] SpawnErr),
    #[error("a source failed")]
    Failed(#[from] JoinError),
}

/// Runs this process's share of the sources until `context.leave` is cancelled. It ends when all of them have.
///
/// # Errors
/// When a source cannot be started at all.
pub(crate) async fn run_shared(
    context: &Context,
    catalogue: &DefinitionsWatch,
    mut sources: watch::Receiver<Sources>,
    membership: &Membership,
) -> Result<(), SharingError> {
    let mut members = membership.members();
    let mut runs = SourceRuns {
        context: context.clone(),
        catalogue: catalogue.clone(),
        running: BTreeMap::new(),
        supervisors: JoinSet::new(),
    };
    while !context.leave.is_cancelled() {
        let known = sources.borrow_and_update().clone();
        members.mark_unchanged();
        context.board.know_sources(known.iter().map(|source| source.name.as_str().into()));
        let names: Vec<&str> = known.iter().map(|source| source.name.as_str()).collect();
        let own = membership.own(&names);
        let wanted: Vec<&Arc<SourceSpec>> = known.iter().filter(|source| own.contains(&source.name.as_str())).collect();
        runs.run_only(&wanted);
        context.health.set("connect", true);
        tokio::select! {
            Ok(()) = members.changed() => {}
            Ok(()) = sources.changed() => {}
            ended = runs.one_ended(), if !runs.supervisors.is_empty() => ended?,
            () = context.leave.cancelled() => {}
        }
    }
    runs.run_only(&[]);
    while !runs.supervisors.is_empty() {
        runs.one_ended().await?;
    }
    Ok(())
}

/// The sources that run here.
struct SourceRuns {
    context: Context,
    catalogue: DefinitionsWatch,
    /// Those that are about to end, too.
    running: BTreeMap<Name, SourceRun>,
    /// One for each that runs.
    supervisors: JoinSet<(Name, Result<(), SpawnErr>)>,
}

struct SourceRun {
    source: Arc<SourceSpec>,
    stop: CancellationToken,
}

impl SourceRuns {
    /// Stops what is not wanted, or not as it runs, and starts what is missing. A source that changes is started when it has ended, by
    /// the next call.
    fn run_only(&mut self, wanted: &[&Arc<SourceSpec>]) {
        for run in self.running.values().filter(|run| !wanted.contains(&&run.source) && !run.stop.is_cancelled()) {
            tracing::info!(source = %run.source.name, "the source ends here: others read it, or it is changed or gone");
            run.stop.cancel();
        }
        for source in wanted {
            if !self.running.contains_key(&source.name) {
                self.start(source);
            }
        }
    }

    fn start(&mut self, source: &Arc<SourceSpec>) {
        let stop = self.context.leave.child_token();
        let context = Context { leave: stop.clone(), ..self.context.clone() };
        let (own, catalogue) = (source.clone(), self.catalogue.clone());
        let child = Child::new(format!("source {}", source.name), move |supervisor| {
            reader::spawn(context.clone(), own.clone(), catalogue.clone(), supervisor)
        });
        let (name, running) = (source.name.clone(), supervisor::run(vec![child], stop.clone()));
        self.supervisors.spawn(async move { (name, running.await) });
        self.running.insert(source.name.clone(), SourceRun { source: source.clone(), stop });
    }

    /// Waits until a source has ended. Cancel safe.
    async fn one_ended(&mut self) -> Result<(), SharingError> {
        if let Some(ended) = self.supervisors.join_next().await {
            let (name, outcome) = ended?;
            self.running.remove(&name);
            outcome?;
        }
        Ok(())
    }
}
