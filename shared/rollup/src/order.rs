//! Which rows come first: sort keys, and what they are read off.

use crate::key;
use compact_str::CompactString;
use daybook_contracts::report::Figure;
use daybook_domain::accumulator::Accumulator;
use daybook_domain::catalogue::Direction;
use daybook_domain::plan::Plan;
use daybook_domain::value::Number;

/// A group of the answer.
#[derive(Clone, Copy)]
pub(crate) struct Group<'g> {
    /// Its piece of time, as the question counts it: days since 1970, milliseconds since then, or 0.
    pub(crate) time: i64,
    /// In the order of the view's `group_by`; only those asked for mean anything.
    pub(crate) dims: &'g [Option<CompactString>],
    /// In the order of the plan's cells.
    pub(crate) cells: &'g [Accumulator],
}

/// What a part of a sort key is read off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeySource {
    Time,
    /// By its position in the view's `group_by`.
    Dimension(usize),
    /// By its position in the view.
    Metric(usize),
    /// When the group reached its score.
    Reached,
}

/// One criterion of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyPart {
    pub(crate) source: KeySource,
    pub(crate) descending: bool,
    nulls_last: bool,
}

impl KeyPart {
    /// Null dimensions are before every text; null metrics come last in either direction.
    pub(crate) fn new(source: KeySource, direction: Direction) -> Self {
        let descending = direction == Direction::Desc;
        let nulls_last = match source {
            KeySource::Time | KeySource::Dimension(_) => descending,
            KeySource::Metric(_) | KeySource::Reached => true,
        };
        Self { source, descending, nulls_last }
    }

    /// The exact opposite, nulls included.
    pub(crate) fn reversed(self) -> Self {
        Self { descending: !self.descending, nulls_last: !self.nulls_last, ..self }
    }

    fn write(self, value: Value<'_>, key: &mut Vec<u8>) {
        match value {
            Value::Null => key::write_null(key, self.nulls_last),
            Value::Number(number) => key::write_number(key, number, self.descending),
            Value::Text(text) => key::write_text(key, text, self.descending),
        }
    }
}

/// What stands in one part of a key.
#[derive(Clone, Copy)]
enum Value<'g> {
    Null,
    Number(Number),
    Text(&'g str),
}

/// A total order of groups: the first part decides, the next among equals of it, and so on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SortKey {
    parts: Vec<KeyPart>,
    /// How many parts make the score, where this is the order of a ranking.
    score: usize,
}

impl SortKey {
    /// What comes of `parts`, and then of time, if there are pieces of it, and of the dimensions, so that no two groups
    /// are equal.
    pub(crate) fn new(parts: Vec<KeyPart>, time: bool, dimensions: &[usize]) -> Self {
        let mut key = Self { parts, score: 0 };
        let last = time.then_some(KeySource::Time);
        for source in last.into_iter().chain(dimensions.iter().copied().map(KeySource::Dimension)) {
            if !key.parts.iter().any(|part| part.source == source) {
                key.parts.push(KeyPart::new(source, Direction::Asc));
            }
        }
        key
    }

    /// The order of a ranking: by metrics, then, where `is_earliest`, by when the score was reached, the earlier before, then by
    /// dimensions.
    pub(crate) fn ranking(by: &[(usize, Direction)], is_earliest: bool, dimensions: &[usize]) -> Self {
        let mut parts: Vec<KeyPart> =
            by.iter().map(|(metric, direction)| KeyPart::new(KeySource::Metric(*metric), *direction)).collect();
        parts.extend(is_earliest.then(|| KeyPart::new(KeySource::Reached, Direction::Asc)));
        let score = parts.len();
        Self { score, ..Self::new(parts, false, dimensions) }
    }

    pub(crate) fn parts(&self) -> &[KeyPart] {
        &self.parts
    }

    /// The parts that equals are equal in, of a ranking.
    pub(crate) fn score_parts(&self) -> &[KeyPart] {
        &self.parts[..self.score]
    }

    /// The beginning of a ranking's key in which equals are equal.
    pub(crate) fn score<'k>(&self, key: &'k [u8]) -> &'k [u8] {
        let length = self
            .score_parts()
            .iter()
            .fold(0, |length, part| length + key::number_length(&key[length..], part.descending));
        &key[..length]
    }

    /// Appends the key of a group.
    pub(crate) fn write(&self, plan: &Plan, group: &Group<'_>, key: &mut Vec<u8>) {
        let figures = self.figures(plan, group);
        for part in &self.parts {
            part.write(value(part.source, plan, group, &figures), key);
        }
    }

    /// What stands in the key of a group, part by part.
    pub(crate) fn values(&self, plan: &Plan, group: &Group<'_>) -> Vec<Figure> {
        let figures = self.figures(plan, group);
        let figure = |part: &KeyPart| match value(part.source, plan, group, &figures) {
            Value::Null => Figure::Null,
            Value::Number(number) => Figure::Number(number),
            Value::Text(text) => Figure::Text(text.into()),
        };
        self.parts.iter().map(figure).collect()
    }

    /// The key in which `values` stand; `None` when they are too many, too few or of the wrong types.
    pub(crate) fn of_values(&self, values: &[Figure]) -> Option<Box<[u8]>> {
        if values.len() != self.parts.len() {
            return None;
        }
        let mut key = Vec::new();
        for (part, value) in self.parts.iter().zip(values) {
            let value = match (part.source, value) {
                (KeySource::Dimension(_) | KeySource::Metric(_) | KeySource::Reached, Figure::Null) => Value::Null,
                (KeySource::Time | KeySource::Metric(_) | KeySource::Reached, Figure::Number(number)) => {
                    Value::Number(*number)
                }
                (KeySource::Dimension(_), Figure::Text(text)) => Value::Text(text),
                _ => return None,
            };
            part.write(value, &mut key);
        }
        Some(key.into())
    }

    /// The metrics of a group, if any part of the key is one: not to be worked out in vain.
    fn figures(&self, plan: &Plan, group: &Group<'_>) -> Vec<Option<Number>> {
        let needed = self.parts.iter().any(|part| matches!(part.source, KeySource::Metric(_)));
        if needed { plan.figures(group.cells) } else { Vec::new() }
    }
}

fn value<'g>(source: KeySource, plan: &Plan, group: &Group<'g>, figures: &[Option<Number>]) -> Value<'g> {
    let number = |number: Option<Number>| number.map_or(Value::Null, Value::Number);
    match source {
        KeySource::Time => Value::Number(Number::integer(group.time.into())),
        KeySource::Dimension(position) => group.dims[position].as_deref().map_or(Value::Null, Value::Text),
        KeySource::Metric(position) => number(figures[position]),
        KeySource::Reached => {
            number(plan.earliest(group.cells).map(|reached| Number::integer(reached.as_millis().into())))
        }
    }
}
