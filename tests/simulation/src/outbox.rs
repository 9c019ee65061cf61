//! The outbox of a shard as steps: what `daybook_runtime::outbox` does, written once more.

use crate::broker::{Answer, Append, Stream, Ticket};
use crate::mutation::Mutation;
use crate::settings::{Invariant, Shell, Violation, ensure};
use daybook_contracts::headers;
use daybook_runtime::append::{Found, Newest};
use daybook_runtime::outbox::Output;
use daybook_runtime::written;
use daybook_runtime::written::header_number;
use std::collections::{BTreeMap, VecDeque};

/// What is known of the end of a subject.
#[derive(Clone, Copy)]
struct End {
    sequence: u64,
    position: Option<u64>,
}

/// An output at the head of its lane.
enum Stage {
    /// What its subject ends with is not known.
    Look,
    Send(End),
    Wait(End, Ticket),
}

#[derive(Default)]
struct Lane {
    outputs: VecDeque<(u64, Output)>,
    stage: Option<Stage>,
}

/// Outputs on their way, those of a subject one after the other.
#[derive(Default)]
pub struct Outbox {
    accepted: u64,
    lanes: BTreeMap<String, Lane>,
    remembered: BTreeMap<String, End>,
}

impl Outbox {
    /// Hands an output in.
    pub fn put(&mut self, output: Output) {
        self.accepted += 1;
        self.lanes.entry(output.subject.clone()).or_default().outputs.push_back((self.accepted, output));
    }

    /// How many were handed in so far.
    pub fn accepted(&self) -> u64 {
        self.accepted
    }

    /// How many of the first are written without a hole.
    pub fn written(&self) -> u64 {
        let heads = self.lanes.values().filter_map(|lane| lane.outputs.front());
        heads.map(|(ticket, _)| ticket - 1).min().unwrap_or(self.accepted)
    }

    pub fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }

    /// One step of one lane.
    ///
    /// # Errors
    /// When a replay makes another report than the one that is there.
    pub fn step(&mut self, shell: &mut Shell) -> Result<(), Violation> {
        if self.lanes.is_empty() {
            return Ok(());
        }
        let index = shell.random.below(self.lanes.len());
        let (subject, lane) = self.lanes.iter_mut().nth(index).expect("there are so many");
        let (_, output) = lane.outputs.front().expect("a lane goes when it is empty");
        let stage = lane.stage.take().unwrap_or_else(|| match self.remembered.remove(subject) {
            Some(end) => Stage::Send(end),
            None if output.first => Stage::Send(End { sequence: 0, position: None }),
            None => Stage::Look,
        });
        let done = match stage {
            Stage::Look => {
                lane.stage = Some(Stage::Send(look_up(shell, output)?));
                None
            }
            Stage::Send(end) => {
                let is_there = end.position.is_some_and(|position| position >= output.position);
                if is_there && !shell.breaks(Mutation::OutboxForgetsPosition) {
                    Some(end)
                } else {
                    lane.stage = Some(Stage::Wait(end, send(shell, output, end)));
                    None
                }
            }
            Stage::Wait(end, ticket) => match shell.broker.answer(ticket) {
                None => {
                    lane.stage = Some(Stage::Wait(end, ticket));
                    None
                }
                Some(Answer::Stored(sequence)) => {
                    shell.trace.note(|| format!("outbox: wrote {subject} at {}", output.position));
                    Some(End { sequence, position: Some(output.position) })
                }
                Some(Answer::Conflict | Answer::Unclear) => {
                    lane.stage = Some(Stage::Look);
                    None
                }
            },
        };
        if let Some(end) = done {
            lane.outputs.pop_front();
            self.remembered.insert(subject.clone(), end);
            if lane.outputs.is_empty() {
                let subject = subject.clone();
                self.lanes.remove(&subject);
            }
        }
        Ok(())
    }
}

fn stream(shell: &Shell, output: &Output) -> Stream {
    Stream::named(&shell.broker.subjects, &output.stream).expect("an output goes to a stream of Daybook's")
}

fn send(shell: &mut Shell, output: &Output, end: End) -> Ticket {
    let mut headers = output.headers.clone();
    headers.insert(headers::POSITION, output.position.to_string());
    let stream = stream(shell, output);
    let is_rewritten = shell.breaks(Mutation::RewriteReport) && stream == Stream::Reports;
    shell.broker.send(Append {
        stream,
        subject: output.subject.clone(),
        expected: (!is_rewritten).then_some(end.sequence),
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
    Ok(End { sequence: end, position: Some(position) })
}
