//! How a source stands: on the board for other processes and `daybook status`, in metrics, and in the log when that changes.

use crate::arrival::SourceTrouble;
use crate::in_flight::TranslationTally;
use crate::reading::SourceProgress;
use compact_str::ToCompactString;
use daybook_contracts::members::SourceStanding;
use daybook_domain::ids::Name;
use daybook_runtime::membership::Board;
use std::sync::Arc;

/// What is told of one source.
pub struct SourceTeller {
    board: Board,
    /// The label of its metrics.
    label: Arc<str>,
    told: SourceStanding,
}

impl SourceTeller {
    /// For a source that this process begins to read.
    pub fn begin(board: Board, name: &Name) -> Self {
        let told = SourceStanding { name: name.as_str().into(), running: true, ..SourceStanding::default() };
        let standing = Self { board, label: name.as_str().into(), told };
        standing.tell();
        standing
    }

    pub fn count(&mut self, tally: TranslationTally) {
        let TranslationTally { messages, repeated, events, unmapped, passed_over } = tally;
        self.told.messages += messages;
        self.told.events += events;
        self.told.unmapped += unmapped;
        for (name, count) in [
            ("daybook_connect_messages_total", messages),
            ("daybook_connect_redelivered_total", repeated),
            ("daybook_connect_events_total", events),
            ("daybook_connect_unmapped_total", unmapped),
            ("daybook_connect_passed_over_total", passed_over),
        ] {
            metrics::counter!(name, "source" => self.label.clone()).increment(count);
        }
        self.tell();
    }

    pub fn progress(&mut self, progress: SourceProgress) {
        self.told.lag = progress.lag;
        if let Some(lag) = progress.lag {
            metrics::gauge!("daybook_connect_lag_messages", "source" => self.label.clone()).set(lag as f64);
        }
        metrics::counter!("daybook_connect_dropped_total", "source" => self.label.clone()).increment(progress.dropped);
        if progress.dropped > 0 {
            let dropped = progress.dropped;
            tracing::warn!(
                source = &*self.label,
                dropped,
                "messages of core subjects came faster than INBOX takes them"
            );
        }
        self.tell();
    }

    /// The source takes nothing at the moment, for this reason.
    pub fn trouble(&mut self, trouble: &SourceTrouble) {
        let text = trouble.to_compact_string();
        if self.told.trouble.as_ref() != Some(&text) {
            tracing::warn!(source = &*self.label, %trouble, "the source takes nothing");
            self.told.trouble = Some(text);
        }
        self.tell();
    }

    pub fn well(&mut self) {
        if self.told.trouble.take().is_some() {
            tracing::info!(source = &*self.label, "the source goes on");
            self.tell();
        }
    }

    fn tell(&self) {
        let stuck = f64::from(u8::from(self.told.trouble.is_some()));
        metrics::gauge!("daybook_connect_stuck", "source" => self.label.clone()).set(stuck);
        self.board.tell_source(self.told.clone());
    }
}

impl Drop for SourceTeller {
    /// Others may read it now.
    fn drop(&mut self) {
        for name in ["daybook_connect_stuck", "daybook_connect_lag_messages"] {
            metrics::gauge!(name, "source" => self.label.clone()).set(0.0);
        }
        self.board.tell_source(SourceStanding { running: false, lag: None, trouble: None, ..self.told.clone() });
    }
}
