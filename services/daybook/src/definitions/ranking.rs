//! The ranking of a view, in three forms:
//!
//! ```yaml
//! ranking: flights desc
//! ranking: [flights desc, distance asc]
//! ranking: { by: [flights desc], ties: dense, earliest: true }
//! ```

use super::mistake::Mistake;
use super::reader::Reader;
use daybook_domain::catalogue::{Direction, Earliest, MAX_RANKED_BY, Metric, RankedBy, Ranking, Ties};
use daybook_domain::ids::Name;
use daybook_yaml::{Node, Value};

const DIRECTIONS: [(&str, Direction); 2] = [("desc", Direction::Desc), ("asc", Direction::Asc)];

/// Reads a ranking by `metrics`, those of its view; not given when some of them are not known.
pub(super) fn read<'a>(node: &'a Node, metrics: Option<&[Metric]>, reader: &mut Reader<'a, '_>) -> Option<Ranking> {
    if !matches!(node.value(), Value::Mapping(_)) {
        let by = read_by(node, metrics, reader)?;
        return Some(Ranking { by, ties: Ties::default(), earliest: Earliest::No });
    }
    if let Some(limit) = node.key("limit") {
        let hint =
            "a ranking has all members; give the limit in the question, such as daybook query TENANT VIEW --limit 10";
        reader.mistake_with_hint(limit, "unknown key \"limit\"", hint);
        return None;
    }
    let fields = reader.fields(node, "ranking", &["by", "ties", "earliest"])?;
    let by = reader.required(&fields, "by", "flights desc").and_then(|node| read_by(node, metrics, reader));
    let words = Ties::ALL.map(|ties| (ties.as_str(), ties));
    let ties = fields.get("ties").map(|node| reader.word(node, "tie rule", &words));
    let earliest = fields.get("earliest").map(|node| reader.flag(node, "earliest")).unwrap_or(Some(false));
    Some(Ranking {
        by: by?,
        ties: ties.unwrap_or_else(|| Some(Ties::default()))?,
        earliest: if earliest? { Earliest::Reached } else { Earliest::No },
    })
}

/// `flights desc`, or a list of such.
fn read_by<'a>(node: &'a Node, metrics: Option<&[Metric]>, reader: &mut Reader<'a, '_>) -> Option<Vec<RankedBy>> {
    let nodes = node.one_or_many();
    if nodes.is_empty() {
        reader.mistake_with_hint(node, "ranks by no metric", "give it one, such as flights desc");
    }
    if let Some(node) = nodes.get(MAX_RANKED_BY) {
        reader.mistake(node, format!("ranks by {} metrics; at most {MAX_RANKED_BY} are allowed", nodes.len()));
    }
    let before = reader.mistakes();
    let mut by: Vec<RankedBy> = Vec::with_capacity(nodes.len());
    for node in nodes {
        if let Some(ranked) = read_ranked(node, metrics, reader) {
            if by.iter().any(|known| known.metric == ranked.metric) {
                reader.mistake(node, format!("ranks by {} twice", ranked.metric));
            }
            by.push(ranked);
        }
    }
    (!by.is_empty() && reader.mistakes() == before).then_some(by)
}

/// A metric, and which end of it comes first; the highest when that is not said.
fn read_ranked<'a>(node: &'a Node, metrics: Option<&[Metric]>, reader: &mut Reader<'a, '_>) -> Option<RankedBy> {
    let text = reader.text(node, "the metric to rank by")?;
    let mut words = text.split_ascii_whitespace();
    let (word, direction, rest) = (words.next().unwrap_or_default(), words.next(), words.next());
    // Words are slices of the text, so their places follow.
    let place = |word: &str| reader.source.place_within(node, word.as_ptr() as usize - text.as_ptr() as usize);
    if let Some(rest) = rest {
        let place = place(rest);
        let message = format!("{rest:?} is too much");
        reader.push(Mistake {
            hint: Some("write a metric and asc or desc; several as a list".to_owned()),
            ..Mistake::new(Some(place), message)
        });
        return None;
    }
    let name: Name = match word.parse() {
        Ok(name) => name,
        Err(error) => {
            reader.mistake(node, format!("the metric to rank by {error}"));
            return None;
        }
    };
    if let Some(metrics) = metrics
        && !metrics.iter().any(|metric| metric.name == name)
    {
        let place = place(word);
        reader.unknown_at(place, "metric", word, metrics.iter().map(|metric| metric.name.as_str()));
        return None;
    }
    let direction = match direction {
        None => Direction::Desc,
        Some(word) => match DIRECTIONS.iter().find(|(known, _)| *known == word) {
            Some((_, direction)) => *direction,
            None => {
                let place = place(word);
                reader.unknown_at(place, "direction", word, DIRECTIONS.iter().map(|(known, _)| *known));
                return None;
            }
        },
    };
    Some(RankedBy { metric: name, direction })
}
