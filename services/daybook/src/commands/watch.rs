//! `daybook watch`: a view as a live table.

use crate::asker::Asker;
use crate::cli::{ClientArguments, Outcome};
use crate::commands::query::heading;
use crate::commands::report::rows_table;

use crate::table::{self, count};
use anyhow::{Context as _, bail};
use daybook_contracts::ask::{Answer, AskError, AskErrorCode, Query};
use daybook_contracts::lists::ViewEntry;
use daybook_contracts::live::view::{Followed, LiveView};
use daybook_contracts::live::{LiveUpdate, RENEW_AFTER};
use daybook_domain::ids::{Name, TenantId};
use daybook_runtime::process::wait_for_signal;
use futures::StreamExt;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior};

/// Least time between two drawings of the table.
const REDRAW: Duration = Duration::from_millis(100);
/// Between two tries to find the shard again.
const RETRY: Duration = Duration::from_secs(1);
/// Clears the terminal and goes to its upper left corner.
const CLEAR: &str = "\x1b[2J\x1b[H";

#[derive(Debug, clap::Args)]
pub struct Arguments {
    tenant: TenantId,
    view: Name,
    /// Most rows shown
    #[arg(long, default_value_t = 40)]
    rows: usize,
    /// End after so many updates
    #[arg(long, value_name = "COUNT")]
    updates: Option<u64>,
    #[command(flatten)]
    client: ClientArguments,
}

pub async fn run(arguments: Arguments) -> Outcome {
    let asker = arguments.client.connect_to_ask().await?;
    let views = asker.views(&arguments.tenant).await?.views;
    let Some(view) = views.into_iter().find(|view| view.name == arguments.view) else {
        // The answer says why: there is none of that name, or it is being made.
        ask(&asker, &arguments).await?;
        bail!("the view {} has come into force just now; watch it again", arguments.view);
    };
    tokio::select! {
        outcome = watch(&asker, &arguments, &view) => outcome,
        () = wait_for_signal() => Ok(ExitCode::from(130)),
    }
}

async fn watch(asker: &Asker, arguments: &Arguments, view: &ViewEntry) -> Outcome {
    // Before the snapshot, so that nothing falls between the two.
    let mut updates = asker.live(&arguments.tenant, arguments.view.as_str()).await?;
    let mut screen = Screen::new(arguments);
    let mut live = screen.snapshot(view, ask(asker, arguments).await?)?;
    let mut renewal = tokio::time::interval_at(Instant::now() + RENEW_AFTER, RENEW_AFTER);
    renewal.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut redraw = tokio::time::interval(REDRAW);
    redraw.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let must_ask = tokio::select! {
            message = updates.next() => {
                let message = message.context("the connection to the broker has ended")?;
                let update: LiveUpdate =
                    serde_json::from_slice(&message.payload).context("an update that cannot be read")?;
                screen.told(&update)?;
                match live.follow(update) {
                    Followed::Applied => {
                        screen.is_drawn = false;
                        screen.seen += 1;
                        false
                    }
                    Followed::Ignored => false,
                    Followed::Missed => true,
                }
            }
            _ = renewal.tick() => match ask(asker, arguments).await {
                Ok(answer) => !live.continues(&answer),
                Err(error) if error.code == AskErrorCode::Unavailable => {
                    screen.notice = Some(error.to_string());
                    true
                }
                Err(error) => return Err(error.into()),
            },
            _ = redraw.tick() => {
                screen.draw(&live)?;
                false
            }
        };
        if arguments.updates.is_some_and(|count| screen.seen >= count) {
            screen.draw(&live)?;
            return Ok(ExitCode::SUCCESS);
        }
        if must_ask {
            live = anew(asker, arguments, view, &mut screen).await?;
        }
    }
}

/// A new snapshot, as soon as there is one.
async fn anew(asker: &Asker, arguments: &Arguments, view: &ViewEntry, screen: &mut Screen) -> anyhow::Result<LiveView> {
    loop {
        match ask(asker, arguments).await {
            Ok(answer) => {
                screen.notice = None;
                return screen.snapshot(view, answer);
            }
            Err(error) if error.code == AskErrorCode::Unavailable => {
                screen.notice = Some(error.to_string());
                tokio::time::sleep(RETRY).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

async fn ask(asker: &Asker, arguments: &Arguments) -> Result<Answer, AskError> {
    let query = Query { watch: true, ..Query::default() };
    asker.query(&arguments.tenant, arguments.view.as_str(), &query).await
}

/// What is shown: a table in a terminal, a line a message for machines.
struct Screen {
    json: bool,
    is_terminal: bool,
    rows: usize,
    seen: u64,
    is_drawn: bool,
    notice: Option<String>,
}

impl Screen {
    fn new(arguments: &Arguments) -> Self {
        let is_terminal = std::io::stdout().is_terminal();
        Self { json: arguments.client.json, is_terminal, rows: arguments.rows, seen: 0, is_drawn: false, notice: None }
    }

    fn snapshot(&mut self, view: &ViewEntry, answer: Answer) -> anyhow::Result<LiveView> {
        if self.json {
            table::print(&format!("{}\n", serde_json::to_string(&answer)?))?;
        }
        self.is_drawn = false;
        LiveView::told_apart_by(&view.dimensions, view.ranked, answer)
            .context("the answer tells of no feed; is the query service of another version?")
    }

    fn told(&self, update: &LiveUpdate) -> anyhow::Result<()> {
        if self.json {
            table::print(&format!("{}\n", serde_json::to_string(update)?))?;
        }
        Ok(())
    }

    fn draw(&mut self, live: &LiveView) -> anyhow::Result<()> {
        if self.json || self.is_drawn {
            return Ok(());
        }
        self.is_drawn = true;
        let rows = live.rows();
        let shown = &rows[..rows.len().min(self.rows)];
        let clear = if self.is_terminal { CLEAR } else { "" };
        table::print(&format!("{clear}{}\n", heading(live.answer())))?;
        rows_table(shown).print()?;
        let more = if rows.len() > shown.len() {
            format!("… {} rows more, ", rows.len() - shown.len())
        } else {
            String::new()
        };
        let notice = self.notice.as_deref().map(|notice| format!("; {notice}")).unwrap_or_default();
        let end = if self.is_terminal { "; Ctrl-C ends" } else { "" };
        let inbox = live.answer().as_of.inbox;
        table::print(&format!("{more}{} updates, INBOX {inbox}{notice}{end}\n", count(self.seen)))?;
        Ok(())
    }
}
