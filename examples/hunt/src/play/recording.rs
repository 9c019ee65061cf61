//! An earlier hunt as something to play again: what everybody did, and when. Pure.

use crate::game::{Ask, Entry, Record};
use crate::rules::{Each, Rules};
use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Most records of a recording: with 200 bytes each some 2 GB of memory.
pub const MAX_RECORDS: usize = 10_000_000;

/// A line of a file with the log of a hunt.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    sequence: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    team: Option<String>,
    record: Record,
}

/// A record as a line of a file.
///
/// # Errors
/// When it cannot be written as JSON.
pub fn to_line((sequence, team, record): &Entry) -> anyhow::Result<String> {
    let line = Line { sequence: *sequence, team: team.clone(), record: record.clone() };
    Ok(serde_json::to_string(&line)?)
}

/// The records of a file, a line each.
///
/// # Errors
/// The line that is no record, and when there are too many.
pub fn from_lines(text: &str) -> anyhow::Result<Vec<Entry>> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let read = lines.map(|(number, line)| {
        let Line { sequence, team, record } = serde_json::from_str(line)
            .with_context(|| format!("line {} is no record; `hunt log HUNT` writes such files", number + 1))?;
        Ok((sequence, team, record))
    });
    let entries: Vec<Entry> = read.take(MAX_RECORDS + 1).collect::<anyhow::Result<_>>()?;
    anyhow::ensure!(entries.len() <= MAX_RECORDS, "a rehearsal plays at most {MAX_RECORDS} records");
    Ok(entries)
}

/// Something that somebody did during the hunt.
#[derive(Clone, Debug, PartialEq)]
pub enum Act {
    Join { name: String },
    Submit { id: String, challenge: String, answer: String },
    Hint { challenge: String, number: usize },
}

/// Something that an organiser did during the hunt.
#[derive(Clone, Debug, PartialEq)]
pub enum Organised {
    Ask { team: String, ask: Ask },
    Rules(Box<Rules>),
    Reveal,
}

/// A player with what they did, in order: when, since the start, and what. They joined first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Player {
    pub team: String,
    pub acts: Vec<(Duration, Act)>,
}

/// A hunt to be played again.
#[derive(Clone, Debug)]
pub struct Recording {
    /// The rules at the start.
    pub rules: Rules,
    pub teams: Vec<(String, String)>,
    pub players: Vec<Player>,
    pub organised: Vec<(Duration, Organised)>,
    pub submissions: usize,
}

impl Recording {
    /// What a log holds.
    ///
    /// # Errors
    /// When it holds no rules, or no submission.
    pub fn of(log: &[Entry]) -> anyhow::Result<Self> {
        let all: Vec<_> = log
            .iter()
            .filter_map(|(_, _, record)| match record {
                Record::Rules { rules, at } => Some((rules, *at)),
                _ => None,
            })
            .collect();
        let before_start = all.iter().rev().find(|(rules, at)| *at <= rules.start).or(all.first());
        let (rules, rules_at) = before_start.context("the log holds no rules")?;
        let start = rules.start;
        let since = |at: i64| Duration::from_millis(u64::try_from(at - start).unwrap_or(0));
        let mut recording = Self {
            rules: (***rules).clone(),
            teams: Vec::new(),
            players: Vec::new(),
            organised: Vec::new(),
            submissions: 0,
        };
        let mut players: BTreeMap<(String, String), Player> = BTreeMap::new();
        for (_, place, record) in log {
            let at = since(record.at());
            let Some(team) = place else {
                match record {
                    Record::Rules { rules, at: put } if put > rules_at => {
                        recording.organised.push((at, Organised::Rules(rules.clone())));
                    }
                    Record::Revealed { .. } => recording.organised.push((at, Organised::Reveal)),
                    _ => {}
                }
                continue;
            };
            let mut act = |player: &str, act: Act| {
                let known = players.entry((team.clone(), player.to_owned())).or_default();
                known.team.clone_from(team);
                known.acts.push((at, act));
            };
            let ask = match record.clone() {
                Record::Created { name, .. } => {
                    recording.teams.push((team.clone(), name));
                    continue;
                }
                Record::Joined { player, name, .. } => {
                    act(&player, Act::Join { name });
                    continue;
                }
                Record::Submitted { id, player, challenge, answer, .. } => {
                    recording.submissions += 1;
                    act(&player, Act::Submit { id, challenge, answer });
                    continue;
                }
                Record::Hinted { player, challenge, number, .. } => {
                    act(&player, Act::Hint { challenge, number });
                    continue;
                }
                Record::Adjusted { id, points, reason, .. } => Ask::Adjust { id, points, reason },
                Record::Disqualified { reason, .. } => Ask::Disqualify { reason },
                Record::Reinstated { .. } => Ask::Reinstate,
                Record::Rules { .. } | Record::Revealed { .. } => continue,
            };
            recording.organised.push((at, Organised::Ask { team: team.clone(), ask }));
        }
        recording.players = players.into_values().collect();
        anyhow::ensure!(recording.submissions > 0, "the log holds no submission, so there is nothing to play");
        Ok(recording)
    }

    /// The same as another hunt, which starts at `start` and goes `pace` times as fast.
    pub fn again(mut self, hunt: &str, start: i64, pace: f64) -> Self {
        let before = self.rules.start;
        self.rules = shifted(&self.rules, hunt, before, start, pace);
        let faster = |at: &mut Duration| *at = at.div_f64(pace);
        for player in &mut self.players {
            player.acts.iter_mut().for_each(|(at, _)| faster(at));
        }
        for (at, organised) in &mut self.organised {
            faster(at);
            if let Organised::Rules(rules) = organised {
                **rules = shifted(rules, hunt, before, start, pace);
            }
        }
        self
    }

    /// The most submissions within a second, and the mean of all seconds.
    pub fn rates(&self) -> (u64, f64) {
        let mut seconds: BTreeMap<u64, u64> = BTreeMap::new();
        for (at, act) in self.players.iter().flat_map(|player| &player.acts) {
            if matches!(act, Act::Submit { .. }) {
                *seconds.entry(at.as_secs()).or_default() += 1;
            }
        }
        let length = (self.rules.end - self.rules.start).max(1_000) as f64 / 1_000.0;
        (seconds.values().copied().max().unwrap_or(0), self.submissions as f64 / length)
    }

    /// Times of the hunt that must not lie closer together than clocks and time-outs allow.
    ///
    /// # Errors
    /// When the hunt would be over at once, or a player submits something twice.
    pub fn check(&self) -> anyhow::Result<()> {
        let length = self.rules.end - self.rules.start;
        anyhow::ensure!(length >= 5_000, "the hunt would last {length} ms at this pace; it must last 5 s at least");
        let mut ids = BTreeSet::new();
        for player in &self.players {
            for (_, act) in &player.acts {
                if let Act::Submit { id, .. } = act {
                    anyhow::ensure!(ids.insert((&player.team, id)), "{} has the submission {id} twice", player.team);
                }
            }
        }
        Ok(())
    }
}

/// Rules with all times moved and all spans shortened.
fn shifted(rules: &Rules, hunt: &str, before: i64, start: i64, pace: f64) -> Rules {
    let span = |millis: i64| ((millis as f64 / pace).round() as i64).max(1);
    let time = |at: i64| if at <= before { start } else { start + span(at - before) };
    let mut rules = Rules {
        hunt: hunt.to_owned(),
        start: time(rules.start),
        end: time(rules.end).max(start + 1),
        freeze: rules.freeze.map(time),
        join_until: time(rules.join_until),
        ..rules.clone()
    };
    // Whoever joined before the start does so after it was made again.
    rules.join_until = rules.join_until.max(rules.start);
    for challenge in &mut rules.challenges {
        if let Some(decay) = &mut challenge.decay
            && let Each::Millis(millis) = decay.each
        {
            decay.each = Each::Millis(span(millis));
        }
        if let Some(attempts) = &mut challenge.attempts {
            attempts.within_ms = span(attempts.within_ms);
        }
    }
    rules
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::read::read;
    use std::path::Path;

    const RULES: &str = "
hunt: town
name: Town
start: 2026-05-01T18:00:00Z
end: 2026-05-01T19:00:00Z
freeze: 2026-05-01T18:50:00Z
challenges:
  - { id: a, answer: { exact: x }, points: 9, decay: { by: 1, each: 60s }, attempts: { count: 2, within: 20s } }
";

    fn log() -> Vec<Entry> {
        let rules = read(Path::new("r"), RULES, &mut || "salt".to_owned()).unwrap();
        let start = rules.start;
        let mended = Rules { name: "Mended".to_owned(), ..rules.clone() };
        let team = Some("red".to_owned());
        let submitted = |id: &str, at| Record::Submitted {
            id: id.to_owned(),
            player: "p".to_owned(),
            challenge: "a".to_owned(),
            answer: "x".to_owned(),
            at,
        };
        let old = Rules { name: "Old".to_owned(), ..rules.clone() };
        let records = [
            (None, Record::Rules { rules: Box::new(old), at: start - 9_000 }),
            (None, Record::Rules { rules: Box::new(rules), at: start - 8_000 }),
            (team.clone(), Record::Created { name: "Red".to_owned(), at: start - 7_000 }),
            (team.clone(), Record::Joined { player: "p".to_owned(), name: "Ann".to_owned(), at: start - 6_000 }),
            (team.clone(), submitted("1", start + 60_000)),
            (None, Record::Rules { rules: Box::new(mended), at: start + 120_000 }),
            (team.clone(), submitted("2", start + 180_500)),
            (team.clone(), submitted("3", start + 180_900)),
            (team, Record::Disqualified { reason: "two phones".to_owned(), at: start + 200_000 }),
            (None, Record::Revealed { at: start + 3_700_000 }),
        ];
        records.into_iter().enumerate().map(|(at, (team, record))| (at as u64 + 1, team, record)).collect()
    }

    #[test]
    fn a_log_is_written_and_read_again() {
        let lines: Vec<String> = log().iter().map(|entry| to_line(entry).unwrap()).collect();
        assert_eq!(from_lines(&lines.join("\n")).unwrap(), log());
        assert_eq!(
            lines[2],
            r#"{"sequence":3,"team":"red","record":{"what":"created","name":"Red","at":1777658393000}}"#
        );
        let error = from_lines("\n{}\n").unwrap_err().to_string();
        assert!(error.starts_with("line 2 is no record"), "{error}");
    }

    #[test]
    fn a_recording_goes_faster_under_another_id() {
        let recording = Recording::of(&log()).unwrap();
        assert_eq!((recording.rules.name.as_str(), recording.submissions), ("Town", 3));
        assert_eq!(recording.teams, [("red".to_owned(), "Red".to_owned())]);
        assert_eq!(recording.rates().0, 2);
        let again = recording.again("rehearsal", 1_000_000, 60.0);
        let rules = &again.rules;
        assert_eq!((rules.hunt.as_str(), rules.start, rules.end), ("rehearsal", 1_000_000, 1_060_000));
        assert_eq!((rules.freeze, rules.join_until), (Some(1_050_000), 1_060_000));
        let challenge = &rules.challenges[0];
        assert_eq!(challenge.decay.unwrap().each, Each::Millis(1_000));
        assert_eq!((challenge.attempts.unwrap().within_ms, challenge.accepts("x")), (333, true));
        let acts: Vec<u128> = again.players[0].acts.iter().map(|(at, _)| at.as_millis()).collect();
        assert_eq!(acts, [0, 1_000, 3_008, 3_015]);
        let [(mended, Organised::Rules(rules)), (_, Organised::Ask { .. }), (_, Organised::Reveal)] =
            &again.organised[..]
        else {
            panic!("{:?}", again.organised)
        };
        assert_eq!((mended.as_millis(), rules.name.as_str(), rules.start), (2_000, "Mended", 1_000_000));
        assert!(again.check().is_ok());
        let too_fast = Recording::of(&log()).unwrap().again("rehearsal", 0, 3_600.0);
        assert!(too_fast.check().unwrap_err().to_string().contains("must last 5 s"));
    }

    #[test]
    fn a_log_without_play_is_refused() {
        assert!(Recording::of(&log()[..4]).unwrap_err().to_string().contains("no submission"));
        assert!(Recording::of(&log()[2..4]).unwrap_err().to_string().contains("no rules"));
    }
}
