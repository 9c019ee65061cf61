//! The outbox of a shard as steps: the real cores say which output is next and what to do for it, and the model broker does it.

use crate::broker::{Answer, Append, Stream, Ticket};
use crate::mutation::Mutation;
use crate::settings::{Invariant, Violation, ensure};
use crate::shell::Shell;
use daybook_contracts::headers;
use daybook_domain::time::Instant;
use daybook_runtime::append::{Found, Newest};
use daybook_runtime::outbox::lanes::{Entry, Lanes};
use daybook_runtime::outbox::writing::{End, Heard, Next, Writing};
use daybook_runtime::outbox::{Output, Task};
use daybook_runtime::written;
use daybook_runtime::written::header_number;

/// Outputs on their way.
#[derive(Default)]
pub struct Outbox {
    lanes: Lanes,
    under_way: Vec<UnderWay>,
}

struct UnderWay {
    entry: Entry,
    writing: Writing,
    next: Next,
    /// Of the append under way.
    ticket: Option<Ticket>,
}

impl Outbox {
    /// Hands an output in.
    pub fn put(&mut self, output: Output) {
        self.lanes.put(Instant::MIN, Task::Write(output));
    }

    /// How many of the first are written without a hole.
    pub fn written(&self) -> u64 {
        self.lanes.done()
    }

    pub fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }

    /// One step of one output.
    ///
    /// # Errors
    /// When a replay makes another report than the one that is there.
    pub fn step(&mut self, shell: &mut Shell) -> Result<(), Violation> {
        while let Some((entry, end)) = self.lanes.next_write() {
            let (writing, next) = Writing::begin(&entry.output, end);
            self.under_way.push(UnderWay { entry, writing, next, ticket: None });
        }
        if self.under_way.is_empty() {
            return Ok(());
        }
        let index = shell.random.below(self.under_way.len());
        if let Some(end) = self.under_way[index].step(shell)? {
            let Entry { ticket, output, .. } = self.under_way.swap_remove(index).entry;
            self.lanes.wrote(ticket, output.subject, end);
        }
        Ok(())
    }
}

impl UnderWay {
    /// Returns the end of its subject once it is written.
    fn step(&mut self, shell: &mut Shell) -> Result<Option<End>, Violation> {
        let output = &self.entry.output;
        let heard = match self.next {
            Next::LookUp { .. } => Heard::End(look_up(shell, output)?),
            Next::AskWhatIsKept => Heard::Kept { has_let_go: false },
            Next::Append { expected } => {
                let Some(ticket) = self.ticket else {
                    self.ticket = Some(send(shell, output, expected));
                    return Ok(None);
                };
                let Some(answer) = shell.broker.answer(ticket) else { return Ok(None) };
                self.ticket = None;
                match answer {
                    Answer::Stored(sequence) => Heard::Stored(sequence),
                    Answer::Conflict => Heard::Conflict,
                    Answer::Unclear => Heard::Unclear,
                }
            }
            Next::Written(end) | Next::Skipped(end) => return Ok(Some(end)),
        };
        self.next = self.writing.heard(heard);
        if self.next == Next::AskWhatIsKept {
            // Streams keep everything here.
            self.next = self.writing.heard(Heard::Kept { has_let_go: false });
        }
        if let Next::Written(_) = self.next {
            shell.trace.note(|| format!("outbox: wrote {} at {}", output.subject, output.position));
        }
        match self.next {
            Next::Written(end) | Next::Skipped(end) => Ok(Some(end)),
            _ => Ok(None),
        }
    }
}

fn stream(shell: &Shell, output: &Output) -> Stream {
    Stream::named(&shell.broker.subjects, &output.stream).expect("an output goes to a stream of Daybook's")
}

fn send(shell: &mut Shell, output: &Output, expected: u64) -> Ticket {
    let mut headers = output.headers.clone();
    headers.insert(headers::POSITION, output.position.to_string());
    let stream = stream(shell, output);
    let is_rewritten = shell.breaks(Mutation::RewriteReport) && stream == Stream::Reports;
    shell.broker.send(Append {
        stream,
        subject: output.subject.clone(),
        expected: (!is_rewritten).then_some(expected),
        headers,
        payload: output.payload.clone(),
        tag: None,
    })
}

fn look_up(shell: &Shell, output: &Output) -> Result<End, Violation> {
    let subjects = &shell.broker.subjects;
    let newest = shell.broker.last_written(stream(shell, output), &output.subject, |message| {
        let position = match shell.breaks(Mutation::BelieveAnyPosition) {
            true => header_number(message.headers, headers::POSITION).unwrap_or(0),
            false => written::position(subjects, message)?,
        };
        let same = match (message.headers.get(headers::HASH), output.headers.get(headers::HASH)) {
            (Some(stored), Some(ours)) => stored == ours,
            _ => message.payload == output.payload,
        };
        Ok((position, same))
    });
    let Newest { end, found } = newest;
    let Some(Found { value: (position, same), .. }) = found else { return Ok(End { sequence: end, position: None }) };
    // The real outbox counts this as a divergence and goes on.
    ensure(position != output.position || same, Invariant::Replicas, || {
        format!("{} at {} was made again with other content", output.subject, output.position)
    })?;
    let is_seen = !shell.breaks(Mutation::OutboxForgetsPosition);
    Ok(End { sequence: end, position: Some(position).filter(|_| is_seen) })
}
