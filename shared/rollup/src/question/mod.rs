//! A query checked against its view: names are positions, the condition is typed, the order is total.

mod filter;
mod names;
mod ranks;

use crate::cursor::{self, Cursor};
use crate::order::{Group, KeyPart, KeySource, SortKey};
use crate::ranking::RankPlace;
use compact_str::CompactString;
use daybook_contracts::ask::{AskError, AskErrorCode, Asked, MAX_ANSWER_ROWS, Numbers, Order, Pieces, Query};
use daybook_contracts::report::{Figure, Row};
use daybook_domain::calendar::BusinessDay;
use daybook_domain::catalogue::{Direction, Grain, Kind, Ties};
use daybook_domain::expression::Predicate;
use daybook_domain::ids::Name;
use daybook_domain::plan::{Plan, clock_hour};
use daybook_domain::time::{Date, Instant};
use daybook_domain::value::Number;
use ranks::Ranking;

/// What is asked of a view. Made for one plan, and good for groups of that plan only.
#[derive(Clone, Debug)]
pub struct Question {
    /// The columns of a row, from left to right.
    columns: Vec<(Name, Column)>,
    /// Positions in the view's `group_by`, in the order asked.
    dimensions: Vec<usize>,
    filter: Option<Predicate>,
    pieces: Pieces,
    /// How many pieces of the view make one of the question's.
    step: u16,
    ranking: Option<Ranking>,
    /// Whether the view's own ranking is asked for, of its groups as they are.
    ranked_by_view: bool,
    order: SortKey,
    /// Whether the rows come in the order of the ranking.
    in_ranking_order: bool,
    limit: usize,
    cursor: Option<Cursor>,
    hash: String,
    digits: Digits,
}

/// How metrics are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Digits {
    /// All digits of the measure.
    All,
    /// The same as texts.
    Text,
    /// Without zeros at the end.
    Trimmed,
}

impl Digits {
    fn write(self, number: Number) -> Figure {
        match self {
            Self::All => Figure::Number(number),
            Self::Text => Figure::Text(number.to_string().into()),
            Self::Trimmed => Figure::Number(number.trimmed()),
        }
    }
}

/// What stands in a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    Time,
    Position,
    Rank,
    /// By its position in the view's `group_by`.
    Dimension(usize),
    /// By its position in the view.
    Metric(usize),
}

impl Question {
    /// Checks a query and resolves its names. `kind` is the one that `plan` was compiled with.
    ///
    /// # Errors
    /// With [`AskErrorCode::BadRequest`], the first mistake: the field, where there is one the position in it, and what
    /// to write instead.
    pub fn compile(query: &Query, plan: &Plan, kind: &Kind) -> Asked<Self> {
        names::check_watch(query)?;
        let metrics = names::metrics(query, plan)?;
        let dimensions = names::dimensions(query, plan)?;
        let filter = query.filter.as_deref().map(|text| filter::compile(text, plan, kind)).transpose()?;
        let step = step(query.grain, plan)?;
        let ranking = ranks::ranking(query, plan, &dimensions)?;
        let columns = columns(query, plan, &metrics, &dimensions, ranking.is_some())?;
        let limit = limit(query)?;
        let in_ranking_order = ranking.is_some() && query.order.is_empty();
        let order = match &ranking {
            Some(ranking) if in_ranking_order => ranking.key.clone(),
            _ => {
                let parts = order_parts(&query.order, &columns, ranking.as_ref())?;
                SortKey::new(parts, query.grain != Pieces::Total, &dimensions)
            }
        };
        if query.cursor.is_some() && ranking.as_ref().is_some_and(|ranking| ranking.member.is_some()) {
            return Err(wrong("cursor", "a member and its neighbours are on one page")
                .hint("leave out either the cursor or rank.member"));
        }
        let hash = cursor::question_hash(query, plan);
        let cursor = query.cursor.as_deref().map(|text| cursor::read(text, &hash, &order)).transpose()?;
        let as_the_view = dimensions.iter().copied().eq(0..plan.view.group_by.len()) && filter.is_none();
        let ranked_by_view =
            in_ranking_order && as_the_view && query.rank.as_ref().is_none_or(|rank| rank.by.is_empty());
        Ok(Self {
            columns,
            dimensions,
            filter,
            pieces: query.grain,
            step,
            ranking,
            ranked_by_view,
            order,
            in_ranking_order,
            limit,
            cursor,
            hash,
            digits: match query.numbers {
                Numbers::Number => Digits::All,
                Numbers::Text => Digits::Text,
            },
        })
    }

    /// The same for a sealed report, whose hash covers its bytes: numbers without zeros at the end, as in every version before.
    #[must_use]
    pub fn for_report(self) -> Self {
        Self { digits: Digits::Trimmed, ..self }
    }

    /// Whether exactly the view's ranking is asked for: all its dimensions in their order, whole, all members and by
    /// its own criteria. Which metrics are shown, the tie rule, and where the page begins and ends is open. Then a
    /// [`RankIndex`](crate::RankIndex) answers.
    pub fn ranked_by_view(&self) -> bool {
        self.ranked_by_view
    }

    /// Which dimensions are asked for: positions in the view's `group_by`, in the order asked.
    pub fn dimensions(&self) -> &[usize] {
        &self.dimensions
    }

    /// Into which pieces of time the rows are divided.
    pub fn pieces(&self) -> Pieces {
        self.pieces
    }

    /// Most rows of the page, 1 to [`MAX_ANSWER_ROWS`].
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Behind which row the page begins; `None` for the first page.
    pub fn cursor(&self) -> Option<&Cursor> {
        self.cursor.as_ref()
    }

    /// The tie rule, where the answer is ranked.
    pub fn ties(&self) -> Option<Ties> {
        self.ranking.as_ref().map(|ranking| ranking.ties)
    }

    /// Only this member and its neighbours: the values of [`Question::dimensions`].
    pub fn member(&self) -> Option<&[Option<CompactString>]> {
        self.ranking.as_ref()?.member.as_deref()
    }

    /// How many neighbours on either side of the member: as asked, or as many as the limit leaves room for.
    pub fn around(&self) -> usize {
        self.ranking.as_ref().map_or(0, |ranking| ranking.around).min((self.limit - 1) / 2)
    }

    pub(crate) fn order(&self) -> &SortKey {
        &self.order
    }

    /// The key of the ranking, where the answer is ranked.
    pub(crate) fn ranking_key(&self) -> Option<&SortKey> {
        self.ranking.as_ref().map(|ranking| &ranking.key)
    }

    /// Whether the order of rows, or their places, depend on when groups reached their scores.
    pub(crate) fn orders_by_time_reached(&self) -> bool {
        let mut keys = self.ranking_key().into_iter().chain([&self.order]);
        keys.any(|key| key.parts().iter().any(|part| part.source == KeySource::Reached))
    }

    pub(crate) fn in_ranking_order(&self) -> bool {
        self.in_ranking_order
    }

    pub(crate) fn hash(&self) -> &str {
        &self.hash
    }

    /// Whether there is one row, whatever groups there are.
    pub(crate) fn is_one_row(&self) -> bool {
        self.dimensions.is_empty() && self.pieces == Pieces::Total
    }

    /// Whether groups with these values of the view's dimensions take part.
    pub(crate) fn takes(&self, dims: &[Option<CompactString>]) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter.matches(&filter::Dimensions(dims)))
    }

    /// The piece of time, as this question counts it, of the view's piece `piece` of `day`: days since 1970 for days,
    /// local hours since then for hours of the clock, the start in milliseconds since then for others.
    pub(crate) fn time(&self, day: &BusinessDay, piece: u16) -> i64 {
        match self.pieces {
            Pieces::Total => 0,
            Pieces::Day => day.date.as_days().into(),
            Pieces::Hour | Pieces::QuarterHour => {
                let length = self.pieces.grain().duration().expect("hours and quarters have a length");
                day.opens_at.after(length * u32::from(piece / self.step)).as_millis()
            }
            Pieces::ClockHour => clock_hour::hour(day.date, piece),
            Pieces::HourOfDay => clock_hour::of_day(clock_hour::hour(day.date, piece)),
        }
    }

    /// The row of a group; `place` where the answer is ranked.
    pub(crate) fn row(&self, plan: &Plan, group: &Group<'_>, place: Option<RankPlace>) -> Row {
        let figures = plan.figures(group.cells);
        let place = |read: fn(RankPlace) -> u64| place.map_or(Figure::Null, |place| Figure::integer(read(place)));
        let figure = |column: &Column| match *column {
            Column::Time => Figure::Text(self.time_text(group.time)),
            Column::Position => place(|place| place.position),
            Column::Rank => place(|place| place.rank),
            Column::Dimension(position) => group.dims[position].clone().map_or(Figure::Null, Figure::Text),
            Column::Metric(position) => figures[position].map_or(Figure::Null, |number| self.digits.write(number)),
        };
        Row(self.columns.iter().map(|(name, column)| (name.clone(), figure(column))).collect())
    }

    fn time_text(&self, time: i64) -> CompactString {
        let text = match self.pieces {
            Pieces::Total | Pieces::Day => Date::from_days(time as i32).to_string(),
            Pieces::Hour | Pieces::QuarterHour => Instant::from_millis(time).to_string(),
            Pieces::ClockHour => clock_hour::text(time),
            Pieces::HourOfDay => clock_hour::of_day_text(time),
        };
        text.into()
    }
}

/// An error about one field of the query.
fn wrong(field: impl Into<String>, message: impl Into<String>) -> AskError {
    AskError::new(AskErrorCode::BadRequest, message).field(field)
}

/// How many pieces of the view make one of the pieces asked for.
fn step(pieces: Pieces, plan: &Plan) -> Asked<u16> {
    let grain = plan.view.grain;
    match (pieces, grain) {
        (Pieces::Total | Pieces::Day, _) => return Ok(1),
        (Pieces::Hour, Grain::QuarterHour) => return Ok(4),
        (pieces, grain) if pieces.grain() == grain => return Ok(1),
        _ => {}
    }
    let finest = match grain {
        Grain::QuarterHour => "quarter_hour, hour, day or total",
        Grain::Hour => "hour, day or total",
        Grain::ClockHour => "clock_hour, hour_of_day, day or total",
        Grain::Day => "day or total",
    };
    let (kept, asked) = (grain.as_str(), pieces.as_str());
    let message = match (pieces.grain(), grain) {
        (Grain::ClockHour, _) => {
            let message = format!(
                "the view {} is kept by {kept}, and {asked} needs one that is kept by clock_hour",
                plan.view.name
            );
            return Err(wrong("grain", message).hint(format!("use {finest}, or a view with `grain: clock_hour`")));
        }
        (_, Grain::ClockHour) => {
            format!("the view {} is kept by {kept}, not by time since the opening", plan.view.name)
        }
        _ => format!("the view {} is kept by {kept}, and {asked} is finer", plan.view.name),
    };
    Err(wrong("grain", message).hint(format!("use {finest}")))
}

fn limit(query: &Query) -> Asked<usize> {
    match query.limit {
        None => Ok(MAX_ANSWER_ROWS),
        Some(limit) if (1..=MAX_ANSWER_ROWS).contains(&(limit as usize)) => Ok(limit as usize),
        Some(limit) => Err(wrong("limit", format!("{limit} rows cannot be asked for"))
            .hint(format!("use 1 to {MAX_ANSWER_ROWS}; the rest is on further pages"))),
    }
}

/// The columns of a row. None is named like another one.
fn columns(
    query: &Query,
    plan: &Plan,
    metrics: &[usize],
    dimensions: &[usize],
    ranked: bool,
) -> Asked<Vec<(Name, Column)>> {
    let word = |word: &str| Name::new(word).expect("a plain word");
    let mut columns = Vec::new();
    match query.grain {
        Pieces::Total => {}
        Pieces::Day => columns.push((word("day"), Column::Time)),
        Pieces::Hour | Pieces::QuarterHour | Pieces::ClockHour | Pieces::HourOfDay => {
            columns.push((word("time"), Column::Time));
        }
    }
    if ranked {
        columns.extend([(word("position"), Column::Position), (word("rank"), Column::Rank)]);
    }
    let own = columns.len();
    columns.extend(dimensions.iter().map(|&at| (plan.view.group_by[at].clone(), Column::Dimension(at))));
    columns.extend(metrics.iter().map(|&at| (plan.view.metrics[at].name.clone(), Column::Metric(at))));
    let (ours, views) = columns.split_at(own);
    if let Some((name, _)) = ours.iter().find(|(name, _)| views.iter().any(|(other, _)| other == name)) {
        let field = if ranked { "rank" } else { "grain" };
        return Err(wrong(field, format!("the answer would have two columns {name}"))
            .hint(format!("leave {name} out of the dimensions and metrics, or rename it in the view")));
    }
    Ok(columns)
}

/// The columns to order by, as parts of a sort key.
fn order_parts(order: &[Order], columns: &[(Name, Column)], ranking: Option<&Ranking>) -> Asked<Vec<KeyPart>> {
    let mut parts = Vec::new();
    for (index, Order { by, direction }) in order.iter().enumerate() {
        let field = || format!("order[{index}]");
        if order[..index].iter().any(|before| before.by == *by) {
            return Err(wrong(field(), format!("the answer is ordered by {by} already")).hint("name each column once"));
        }
        let Some((_, column)) = columns.iter().find(|(name, _)| name == by) else {
            let known = columns.iter().map(|(name, _)| name.as_str());
            return Err(names::unknown(field(), "column", by.as_str(), known));
        };
        match (*column, ranking) {
            (Column::Time, _) => parts.push(KeyPart::new(KeySource::Time, *direction)),
            (Column::Dimension(at), _) => parts.push(KeyPart::new(KeySource::Dimension(at), *direction)),
            (Column::Metric(at), _) => parts.push(KeyPart::new(KeySource::Metric(at), *direction)),
            // What the numbers stand for, rather than the numbers: so pages go on where they ended.
            (column, Some(ranking)) => {
                let numbered = if column == Column::Position || ranking.ties == Ties::Ordinal {
                    ranking.key.parts()
                } else {
                    ranking.key.score_parts()
                };
                let reversed = *direction == Direction::Desc;
                parts.extend(numbered.iter().map(|part| if reversed { part.reversed() } else { *part }));
            }
            (_, None) => unreachable!("only ranked answers have positions and ranks"),
        }
    }
    Ok(parts)
}
