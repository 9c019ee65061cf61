//! Reads a file of rules. A mistake does not end the reading, so that all of them are reported at once.

use super::answer::{Answer, Hashed, MAX_ANSWER_BYTES, Pattern, normalised};
use super::graph::{self, Closed};
use super::*;
use daybook_yaml::{Mistake, Node, Source, Value, excerpt};
use std::fmt;
use std::path::Path;

const RULES_KEYS: &[&str] =
    &["hunt", "name", "start", "end", "freeze", "join_until", "team_size", "zone", "cutoff", "attempts", "challenges"];
const CHALLENGE_KEYS: &[&str] =
    &["id", "title", "text", "answer", "points", "first", "decay", "after", "of", "hints", "attempts"];
const ANSWER_KEYS: &[&str] = &["exact", "normalised", "regex", "exact_hash", "normalised_hash"];

/// Reads and checks the rules. Clear answers are hashed with salts from `salt`.
///
/// # Errors
/// All mistakes, in the order of their places.
pub fn read(file: &Path, text: &str, salt: &mut dyn FnMut() -> String) -> Result<Rules, Mistakes> {
    let alone = |mistake| Mistakes(vec![mistake]);
    let source = Source::parse(file, text).map_err(alone)?;
    let root = root(&source).map_err(alone)?;
    let mut reader = Reader { source: &source, mistakes: Vec::new(), salt };
    let rules = reader.rules(root);
    let mut mistakes = reader.mistakes;
    mistakes.sort_by_key(|mistake| (mistake.place.line, mistake.place.column));
    match rules {
        Some(rules) if mistakes.is_empty() => Ok(rules),
        _ => Err(Mistakes(mistakes)),
    }
}

/// The one document of a file of rules.
///
/// # Errors
/// When there is none, or there are several.
pub fn root<'s>(source: &'s Source<'_>) -> Result<&'s Node, Mistake> {
    match &source.documents[..] {
        [root] => Ok(root),
        [] => Err(Mistake {
            place: source.start(),
            message: "there is nothing here; expected a file of rules".to_owned(),
        }),
        [_, second, ..] => Err(source.mistake(second, "a file of rules is one document; remove --- and what follows")),
    }
}

/// What is wrong with a file of rules: a line for each mistake.
#[derive(Debug, PartialEq, Eq)]
pub struct Mistakes(pub Vec<Mistake>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for Mistakes {}

struct Reader<'a, 's> {
    source: &'a Source<'a>,
    mistakes: Vec<Mistake>,
    salt: &'s mut dyn FnMut() -> String,
}

/// The entries of a mapping whose keys have been checked.
struct Fields<'a> {
    node: &'a Node,
    what: &'static str,
    entries: Vec<(&'a str, &'a Node)>,
}

impl<'a> Fields<'a> {
    fn get(&self, key: &str) -> Option<&'a Node> {
        self.entries.iter().find(|(known, node)| *known == key && !node.is_null()).map(|(_, node)| *node)
    }
}

impl<'a> Reader<'a, '_> {
    fn rules(&mut self, root: &'a Node) -> Option<Rules> {
        let fields = self.fields(root, "file of rules", RULES_KEYS)?;
        let hunt = self.required(&fields, "hunt").and_then(|node| self.id(node, "hunt"));
        let name = self.required(&fields, "name").and_then(|node| self.name(node, "name"));
        let start = self.required(&fields, "start").and_then(|node| self.time(node, "start"));
        let end = self.required(&fields, "end").and_then(|node| self.time(node, "end"));
        if let (Some(start), Some(end), Some(node)) = (start, end, fields.get("end"))
            && end <= start
        {
            self.wrong(node, "the hunt ends before it starts");
        }
        let within = |reader: &mut Self, key: &'static str| {
            let node = fields.get(key)?;
            let time = reader.time(node, key)?;
            if start.zip(end).is_some_and(|(start, end)| time < start || time > end) {
                reader.wrong(node, format!("{key} must be between start and end"));
            }
            Some(time)
        };
        let freeze = within(self, "freeze");
        if let (Some(freeze), Some(start), Some(node)) = (freeze, start, fields.get("freeze"))
            && freeze == start
        {
            self.wrong(node, "freeze must be after start: the public would never see a ranking");
        }
        let join_until = within(self, "join_until").or(end);
        let team_size = fields.get("team_size").and_then(|node| self.whole(node, "team_size", 1, MAX_TEAM_SIZE.into()));
        let zone = fields.get("zone").and_then(|node| self.zone(node)).unwrap_or_else(|| "Etc/UTC".to_owned());
        let cutoff = fields.get("cutoff").and_then(|node| self.cutoff(node)).unwrap_or(0);
        let attempts = fields.get("attempts").and_then(|node| self.attempts(node));
        let challenges = self.required(&fields, "challenges").map(|node| self.challenges(node, attempts))?;
        Some(Rules {
            hunt: hunt?,
            name: name?,
            start: start?,
            end: end?,
            freeze,
            join_until: join_until?,
            team_size: team_size.and_then(|size| u32::try_from(size).ok()).unwrap_or(MAX_TEAM_SIZE),
            zone,
            cutoff_minutes: cutoff,
            challenges,
        })
    }

    fn challenges(&mut self, node: &'a Node, attempts: Option<Attempts>) -> Vec<Challenge> {
        let before = self.mistakes.len();
        let nodes = self.list(node, "challenges", MAX_CHALLENGES);
        if nodes.is_empty() {
            self.wrong(node, "a hunt needs at least one challenge");
        }
        let ids: Vec<&str> = nodes.iter().filter_map(id_of).collect();
        let mut read: Vec<(&Node, Challenge)> = Vec::with_capacity(nodes.len());
        for (index, node) in nodes.iter().enumerate() {
            let Some(challenge) = self.challenge(node, attempts) else { continue };
            if nodes[..index].iter().any(|other| id_of(other) == Some(challenge.id.as_str())) {
                self.wrong(node, format!("two challenges have the id {}", challenge.id));
            }
            for (position, id) in challenge.after.iter().enumerate() {
                if !ids.contains(&id.as_str()) {
                    self.wrong(node, format!("{} opens after {id:?}, and there is no such challenge", challenge.id));
                } else if challenge.after[..position].contains(id) {
                    self.wrong(node, format!("{} names {id} twice in after", challenge.id));
                }
            }
            read.push((node, challenge));
        }
        let challenges: Vec<Challenge> = read.iter().map(|(_, challenge)| challenge.clone()).collect();
        // What opens what can be judged only of all challenges.
        if self.mistakes.len() == before && read.len() == nodes.len() {
            self.check_graph(&read, &challenges);
        }
        challenges
    }

    /// Challenges that nothing can open.
    fn check_graph(&mut self, read: &[(&'a Node, Challenge)], challenges: &[Challenge]) {
        for (index, why) in graph::closed(challenges) {
            let id = &challenges[index].id;
            let message = match why {
                Closed::Cycle(ids) => format!("nothing opens {id}: it needs itself ({} → {id})", ids.join(" → ")),
                Closed::Behind(ids) => format!("nothing opens {id}: it needs {}, which never opens", ids.join(", ")),
            };
            self.wrong(read[index].0, message);
        }
    }

    fn challenge(&mut self, node: &'a Node, attempts: Option<Attempts>) -> Option<Challenge> {
        let fields = self.fields(node, "challenge", CHALLENGE_KEYS)?;
        let id = self.required(&fields, "id").and_then(|node| self.id(node, "id"));
        let title = fields.get("title").and_then(|node| self.name(node, "title"));
        let text = fields.get("text").and_then(|node| self.text(node, "text", MAX_TEXT_BYTES)).unwrap_or_default();
        let answers = self.required(&fields, "answer").map(|node| self.answers(node)).unwrap_or_default();
        let points = self.required(&fields, "points").and_then(|node| self.whole(node, "points", 0, MAX_POINTS));
        let first = fields.get("first").map(|node| self.first(node)).unwrap_or_default();
        let decay = fields.get("decay").and_then(|node| self.decay(node, points));
        let after = fields.get("after").map(|node| self.after(node)).unwrap_or_default();
        let of = match fields.get("of") {
            Some(node) => self.whole(node, "of", 1, i64::try_from(after.len()).unwrap_or(1).max(1)),
            None => i64::try_from(after.len()).ok(),
        };
        let hints = fields.get("hints").map(|node| self.hints(node)).unwrap_or_default();
        let own = fields.get("attempts").and_then(|node| self.attempts(node));
        let id = id?;
        Some(Challenge {
            title: title.unwrap_or_else(|| id.clone()),
            id,
            text,
            answers,
            points: points?,
            first,
            decay,
            of: usize::try_from(of?).ok()?.min(after.len()),
            after,
            hints,
            attempts: own.or(attempts),
        })
    }

    fn answers(&mut self, node: &'a Node) -> Vec<Answer> {
        let nodes: Vec<&Node> = match node.value() {
            Value::List(_) => self.list(node, "answers", MAX_ANSWERS).iter().collect(),
            _ => vec![node],
        };
        if nodes.is_empty() {
            self.wrong(node, "a challenge needs an answer");
        }
        nodes.into_iter().filter_map(|node| self.answer(node)).collect()
    }

    fn answer(&mut self, node: &'a Node) -> Option<Answer> {
        let fields = self.fields(node, "answer", ANSWER_KEYS)?;
        let [(key, value)] = fields.entries[..] else {
            self.wrong(node, "an answer is one of exact, normalised and regex, such as { normalised: iron gate }");
            return None;
        };
        let text = self.text(value, key, MAX_ANSWER_BYTES)?;
        let made = match key {
            "regex" => Pattern::new(&text).map(Answer::Regex),
            "exact_hash" => Hashed::try_from(text).map(Answer::Exact),
            "normalised_hash" => Hashed::try_from(text).map(Answer::Normalised),
            "exact" if text.trim().is_empty() => Err("is empty".to_owned()),
            "exact" => Ok(Answer::Exact(Hashed::of(text.trim(), &(self.salt)()))),
            _ if normalised(&text).is_empty() => Err("has no letter and no digit".to_owned()),
            _ => Ok(Answer::Normalised(Hashed::of(&normalised(&text), &(self.salt)()))),
        };
        made.map_err(|reason| self.wrong(value, format!("the answer {reason}"))).ok()
    }

    fn first(&mut self, node: &'a Node) -> Vec<i64> {
        let nodes = self.list(node, "first", MAX_FIRST);
        nodes.iter().filter_map(|node| self.whole(node, "a bonus of first", 0, MAX_POINTS)).collect()
    }

    fn after(&mut self, node: &'a Node) -> Vec<String> {
        let nodes = self.list(node, "after", MAX_CHALLENGES);
        nodes.iter().filter_map(|node| self.id(node, "after")).collect()
    }

    fn decay(&mut self, node: &'a Node, points: Option<i64>) -> Option<Decay> {
        let fields = self.fields(node, "decay", &["by", "each", "to"])?;
        let by = self.required(&fields, "by").and_then(|node| self.whole(node, "by", 1, MAX_POINTS));
        let to = fields.get("to").map_or(Some(0), |node| self.whole(node, "to", 0, points.unwrap_or(MAX_POINTS)));
        let each = match fields.get("each") {
            Some(node) if node.as_text() != Some("solver") => Each::Millis(self.span(node, "each")?),
            _ => Each::Solver,
        };
        Some(Decay { by: by?, to: to?, each })
    }

    fn hints(&mut self, node: &'a Node) -> Vec<Hint> {
        let nodes = self.list(node, "hints", MAX_HINTS);
        let hint = |node: &'a Node| {
            let fields = self.fields(node, "hint", &["text", "price"])?;
            let text = self.required(&fields, "text").and_then(|node| self.text(node, "text", MAX_TEXT_BYTES));
            let price = fields.get("price").map_or(Some(0), |node| self.whole(node, "price", 0, MAX_POINTS));
            Some(Hint { text: text?, price: price? })
        };
        nodes.iter().filter_map(hint).collect()
    }

    fn attempts(&mut self, node: &'a Node) -> Option<Attempts> {
        let fields = self.fields(node, "limit of attempts", &["count", "within"])?;
        let count = self.required(&fields, "count").and_then(|node| self.whole(node, "count", 1, MAX_ATTEMPTS.into()));
        let within_ms = self.required(&fields, "within").and_then(|node| self.span(node, "within"));
        Some(Attempts { count: u32::try_from(count?).ok()?, within_ms: within_ms? })
    }

    fn wrong(&mut self, node: &Node, message: impl Into<String>) {
        self.mistakes.push(self.source.mistake(node, message));
    }

    fn expected(&mut self, node: &Node, expected: &str) {
        let message = format!("expected {expected}, found {}", self.source.describe(node));
        self.wrong(node, message);
    }

    fn fields(&mut self, node: &'a Node, what: &'static str, known: &[&str]) -> Option<Fields<'a>> {
        let Value::Mapping(entries) = node.value() else {
            self.expected(node, &format!("a {what} with {}", known.join(", ")));
            return None;
        };
        let mut fields = Fields { node, what, entries: Vec::with_capacity(entries.len()) };
        for (key, value) in entries {
            match key.as_text() {
                Some(name) if fields.entries.iter().any(|(other, _)| *other == name) => {
                    self.wrong(key, format!("the key {name} stands here twice"));
                }
                Some(name) if known.contains(&name) => fields.entries.push((name, value)),
                Some(name) => {
                    let message = format!("unknown key {:?}; a {what} has {}", excerpt(name), known.join(", "));
                    self.wrong(key, message);
                }
                None => self.expected(key, &format!("one of the keys {}", known.join(", "))),
            }
        }
        Some(fields)
    }

    fn required(&mut self, fields: &Fields<'a>, key: &str) -> Option<&'a Node> {
        let found = fields.get(key);
        if found.is_none() {
            self.wrong(fields.node, format!("the {} has no {key}", fields.what));
        }
        found
    }

    fn list(&mut self, node: &'a Node, what: &str, most: usize) -> &'a [Node] {
        let Value::List(items) = node.value() else {
            self.expected(node, &format!("a list of {what}"));
            return &[];
        };
        if items.len() > most {
            self.wrong(node, format!("{} {what}; at most {most} are allowed", items.len()));
        }
        items
    }

    fn text(&mut self, node: &Node, what: &str, most: usize) -> Option<String> {
        match node.value() {
            Value::Text(text) if text.len() <= most => return Some(text.clone()),
            Value::Text(text) => {
                self.wrong(node, format!("{what} has {} bytes; at most {most} are allowed", text.len()))
            }
            Value::Bool(_) | Value::Integer(_) | Value::Fraction => {
                self.expected(node, &format!("{what} as text in quotes"));
            }
            _ => self.expected(node, &format!("{what} as text")),
        }
        None
    }

    fn name(&mut self, node: &Node, what: &str) -> Option<String> {
        let text = self.text(node, what, MAX_TEXT_BYTES)?;
        if text.trim().is_empty() || text.chars().count() > MAX_NAME_CHARACTERS || text.chars().any(char::is_control) {
            self.wrong(node, format!("{what} must have 1 to {MAX_NAME_CHARACTERS} characters in one line"));
            return None;
        }
        Some(text)
    }

    fn id(&mut self, node: &Node, what: &str) -> Option<String> {
        let text = self.text(node, what, MAX_TEXT_BYTES)?;
        if !is_id(&text) {
            let shown = excerpt(&text);
            self.wrong(node, format!("{what} {shown:?} must be 1 to {MAX_ID_BYTES} of A-Z, a-z, 0-9, - and _"));
            return None;
        }
        Some(text)
    }

    fn whole(&mut self, node: &Node, what: &str, least: i64, most: i64) -> Option<i64> {
        let found = match node.value() {
            Value::Integer(value) => i64::try_from(*value).ok().filter(|value| (least..=most).contains(value)),
            _ => None,
        };
        if found.is_none() {
            self.expected(node, &format!("{what} as a whole number from {least} to {most}"));
        }
        found
    }

    fn time(&mut self, node: &Node, what: &str) -> Option<i64> {
        let time = node.as_text().and_then(|text| text.parse::<Timestamp>().ok());
        if time.is_none() {
            self.expected(node, &format!("{what} as a time such as 2026-05-01T18:00:00Z"));
        }
        time.map(|time| time.as_millisecond())
    }

    fn zone(&mut self, node: &Node) -> Option<String> {
        let name = node.as_text().filter(|name| jiff::tz::TimeZone::get(name).is_ok());
        if name.is_none() {
            self.expected(node, "zone as a time zone such as Europe/Berlin");
        }
        name.map(str::to_owned)
    }

    /// `"05:00"` in minutes after midnight.
    fn cutoff(&mut self, node: &Node) -> Option<u16> {
        let parsed = node.as_text().filter(|text| text.len() == 5).and_then(|text| {
            let (hours, minutes) = text.split_once(':')?;
            let (hours, minutes) = (hours.parse::<u16>().ok()?, minutes.parse::<u16>().ok()?);
            (hours < 24 && minutes < 60).then_some(hours * 60 + minutes)
        });
        if parsed.is_none() {
            self.expected(node, "cutoff as a time of day in quotes, such as \"05:00\"");
        }
        parsed
    }

    /// `90s`, `10m` or `2h` in milliseconds; at least one.
    fn span(&mut self, node: &Node, what: &str) -> Option<i64> {
        let parsed = node.as_text().and_then(|text| {
            let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
            let unit = match unit {
                "s" => 1_000,
                "m" => 60_000,
                "h" => 3_600_000,
                _ => return None,
            };
            let number = number.parse::<u32>().ok().filter(|number| (1..=100_000).contains(number))?;
            Some(i64::from(number) * unit)
        });
        if parsed.is_none() {
            self.expected(node, &format!("{what} as a span such as 90s, 10m or 2h"));
        }
        parsed
    }
}

/// The id of a challenge, whatever else is wrong with it.
fn id_of(node: &Node) -> Option<&str> {
    let Value::Mapping(entries) = node.value() else { return None };
    entries.iter().find(|(key, _)| key.as_text() == Some("id")).and_then(|(_, id)| id.as_text())
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
