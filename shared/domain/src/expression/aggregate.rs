//! What a metric computes.

use super::MAX_QUANTILE_DIGITS;
use super::error::{ExpressionError, excerpt};
use super::fields;
use super::lexer::Token;
use super::parser::Cursor;
use super::syntax::Identifier;
use crate::catalogue::Kind;
use crate::ids::Name;
use crate::value::Number;
use std::fmt;

/// What a metric computes, checked against its kind. `measure` and `dimension` are positions in
/// [`Kind::measures`] and [`Kind::dimensions`]; `s` is the scale of the measure. A null measure or dimension takes no
/// part. The figure of no values is null, but that of `count`, `sum` and the distinct counts, which is 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Aggregate {
    /// `count`: entities.
    Count,
    /// `count(m)`: entities that have the measure.
    CountOf { measure: usize },
    /// `sum(m)`: exact, at `s` digits.
    Sum { measure: usize },
    /// `avg(m)`: of the entities that have the measure, rounded half to even at `s + 6` digits.
    Avg { measure: usize },
    /// `min(m)`: exact, at `s` digits.
    Min { measure: usize },
    /// `max(m)`: exact, at `s` digits.
    Max { measure: usize },
    /// `variance(m)`: that of a sample (by `n − 1`, as `var_samp` in SQL), rounded half to even at `2 · s + 6` digits.
    /// Null for fewer than two values, and when it has more than 38 digits in all.
    Variance { measure: usize },
    /// `stddev(m)`: the root of the exact variance, rounded once, half to even at `s + 6` digits. Null for fewer than
    /// two values.
    Stddev { measure: usize },
    /// `quantile(m, q)`, or `median(m)` where `q` is 0.5: exact, by nearest rank, so always a value that occurs: the
    /// smallest that at least `q · n` values do not exceed. 0 < `q` <= 1, with at most
    /// [`MAX_QUANTILE_DIGITS`](super::MAX_QUANTILE_DIGITS) digits after the point.
    Quantile { measure: usize, q: Number },
    /// `approx_quantile(m, q)`, with `q` as for [`Aggregate::Quantile`]: off by at most one part in
    /// [`APPROX_QUANTILE_ERROR_DIVISOR`](crate::accumulator::APPROX_QUANTILE_ERROR_DIVISOR) of the exact quantile, and
    /// by nothing where that has fewer than 128 units of its last digit.
    ApproxQuantile { measure: usize, q: Number },
    /// `distinct(d)`: how many values the dimension has, exactly.
    Distinct { dimension: usize },
    /// `approx_distinct(d)`: about how many, with a standard error of
    /// [`APPROX_DISTINCT_STANDARD_ERROR_PPM`](crate::accumulator::APPROX_DISTINCT_STANDARD_ERROR_PPM).
    ApproxDistinct { dimension: usize },
    /// `first(m)`: the value of the earliest event that has one, by event time; the smallest of those at the same
    /// millisecond.
    First { measure: usize },
    /// `last(m)`: the value of the latest event that has one, by event time; the largest of those at the same
    /// millisecond.
    Last { measure: usize },
    /// `ratio(a, b)` of two metrics above it in the view, rounded half to even at 6 digits. Null when either is, when
    /// `b` is 0, and when it has more than 38 digits in all. It takes the rows that they take.
    Ratio { numerator: Name, denominator: Name },
}

impl Aggregate {
    /// Reads what a metric computes; [`AggregateSyntax::check`] then looks its names up.
    ///
    /// # Errors
    /// With its place, the first mistake in the grammar, the function's name or its arguments' form.
    ///
    /// ```
    /// use daybook_domain::expression::Aggregate;
    /// assert_eq!(Aggregate::parse("Count ( )").unwrap().to_string(), "count");
    /// assert_eq!(Aggregate::parse("median(fare)").unwrap().to_string(), "quantile(fare, 0.5)");
    /// ```
    pub fn parse(text: &str) -> Result<AggregateSyntax, ExpressionError> {
        parse(text).map(|call| AggregateSyntax { call })
    }
}

/// Reads what a metric computes and types it against the model of `kind`. The metrics of a `ratio` are left to
/// [`AggregateSyntax::check_metrics`].
///
/// # Errors
/// Those of [`Aggregate::parse`] and [`AggregateSyntax::check`].
pub fn parse_aggregate(text: &str, kind: &Kind) -> Result<Aggregate, ExpressionError> {
    Aggregate::parse(text)?.check(kind)
}

/// What a metric computes, with its names not looked up yet. [`Display`](fmt::Display) writes it in its canonical form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AggregateSyntax {
    call: Call,
}

impl AggregateSyntax {
    /// Looks measures and dimensions up in the model of `kind`.
    ///
    /// # Errors
    /// With its place, the name that `kind` does not have, or has as something else.
    pub fn check(&self, kind: &Kind) -> Result<Aggregate, ExpressionError> {
        Ok(match &self.call {
            Call::Count => Aggregate::Count,
            Call::OfMeasure { function, measure } => {
                let measure = fields::measure(measure, kind, function.as_str())?;
                match function {
                    MeasureFunction::Count => Aggregate::CountOf { measure },
                    MeasureFunction::Sum => Aggregate::Sum { measure },
                    MeasureFunction::Avg => Aggregate::Avg { measure },
                    MeasureFunction::Min => Aggregate::Min { measure },
                    MeasureFunction::Max => Aggregate::Max { measure },
                    MeasureFunction::Variance => Aggregate::Variance { measure },
                    MeasureFunction::Stddev => Aggregate::Stddev { measure },
                    MeasureFunction::First => Aggregate::First { measure },
                    MeasureFunction::Last => Aggregate::Last { measure },
                }
            }
            Call::Quantile { exact, measure, q } => {
                let (measure, q) = (fields::measure(measure, kind, self.call.function())?, *q);
                match exact {
                    true => Aggregate::Quantile { measure, q },
                    false => Aggregate::ApproxQuantile { measure, q },
                }
            }
            Call::Distinct { exact, dimension } => {
                let dimension = fields::dimension(dimension, kind, self.call.function())?;
                match exact {
                    true => Aggregate::Distinct { dimension },
                    false => Aggregate::ApproxDistinct { dimension },
                }
            }
            Call::Ratio { numerator, denominator } => {
                Aggregate::Ratio { numerator: metric_name(numerator)?, denominator: metric_name(denominator)? }
            }
        })
    }

    /// Whether the metrics of a `ratio` are among `known`. Other aggregates name none.
    ///
    /// # Errors
    /// With its place, the name that is not known.
    pub fn check_metrics<'a>(&self, known: impl IntoIterator<Item = &'a Name>) -> Result<(), ExpressionError> {
        let Call::Ratio { numerator, denominator } = &self.call else {
            return Ok(());
        };
        let known: Vec<&str> = known.into_iter().map(Name::as_str).collect();
        match [numerator, denominator].into_iter().find(|metric| !known.contains(&metric.name.as_str())) {
            Some(metric) => Err(fields::unknown(metric, "metric", known.iter().copied())),
            None => Ok(()),
        }
    }
}

impl fmt::Display for AggregateSyntax {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.call.function())?;
        match &self.call {
            Call::Count => Ok(()),
            Call::OfMeasure { measure, .. } => write!(f, "({measure})"),
            Call::Quantile { measure, q, .. } => write!(f, "({measure}, {q})"),
            Call::Distinct { dimension, .. } => write!(f, "({dimension})"),
            Call::Ratio { numerator, denominator } => write!(f, "({numerator}, {denominator})"),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Call {
    Count,
    OfMeasure { function: MeasureFunction, measure: Identifier },
    Quantile { exact: bool, measure: Identifier, q: Number },
    Distinct { exact: bool, dimension: Identifier },
    Ratio { numerator: Identifier, denominator: Identifier },
}

impl Call {
    fn function(&self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::OfMeasure { function, .. } => function.as_str(),
            Self::Quantile { exact: true, .. } => "quantile",
            Self::Quantile { exact: false, .. } => "approx_quantile",
            Self::Distinct { exact: true, .. } => "distinct",
            Self::Distinct { exact: false, .. } => "approx_distinct",
            Self::Ratio { .. } => "ratio",
        }
    }
}

/// A function of one measure and nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MeasureFunction {
    Count,
    Sum,
    Avg,
    Min,
    Max,
    Variance,
    Stddev,
    First,
    Last,
}

impl MeasureFunction {
    const ALL: [Self; 9] = [
        Self::Count,
        Self::Sum,
        Self::Avg,
        Self::Min,
        Self::Max,
        Self::Variance,
        Self::Stddev,
        Self::First,
        Self::Last,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Sum => "sum",
            Self::Avg => "avg",
            Self::Min => "min",
            Self::Max => "max",
            Self::Variance => "variance",
            Self::Stddev => "stddev",
            Self::First => "first",
            Self::Last => "last",
        }
    }
}

/// The functions that are more than one measure, as they are called.
const OTHER_FUNCTIONS: [&str; 6] = ["quantile", "median", "approx_quantile", "distinct", "approx_distinct", "ratio"];

fn parse(text: &str) -> Result<Call, ExpressionError> {
    let mut cursor = Cursor::new(text)?;
    let Some(name) = cursor.identifier() else {
        return Err(cursor.unexpected("a function", Some("such as count or sum(amount)")));
    };
    let call = call(&name, &mut cursor)?;
    match cursor.peek() {
        Token::End => Ok(call),
        Token::Word(word) if word.eq_ignore_ascii_case("where") => {
            Err(cursor.unexpected("the end", Some("the condition has a place of its own in the metric: where")))
        }
        _ => Err(cursor.unexpected("the end", Some("a metric is one function; ratio(a, b) combines two metrics"))),
    }
}

fn call(name: &Identifier, cursor: &mut Cursor) -> Result<Call, ExpressionError> {
    let function = match name.quoted {
        true => String::new(),
        false => name.name.to_ascii_lowercase(),
    };
    if function == "count" {
        let alone = !cursor.accept(&Token::Open) || cursor.accept(&Token::Close);
        if alone {
            return Ok(Call::Count);
        }
        let measure = argument(cursor, "the name of a measure", "count(amount)")?;
        close(cursor, "count(amount)")?;
        return Ok(Call::OfMeasure { function: MeasureFunction::Count, measure });
    }
    if let Some(function) = MeasureFunction::ALL.into_iter().find(|candidate| candidate.as_str() == function) {
        let example = format!("{}(amount)", function.as_str());
        open(cursor, &example)?;
        let measure = argument(cursor, "the name of a measure", &example)?;
        close(cursor, &example)?;
        return Ok(Call::OfMeasure { function, measure });
    }
    match function.as_str() {
        "median" => {
            open(cursor, "median(amount)")?;
            let measure = argument(cursor, "the name of a measure", "median(amount)")?;
            close(cursor, "median(amount)")?;
            Ok(Call::Quantile { exact: true, measure, q: Number::new(5, 1) })
        }
        "quantile" | "approx_quantile" => quantile(&function, cursor),
        "distinct" | "approx_distinct" => {
            let example = format!("{function}(customer)");
            open(cursor, &example)?;
            let dimension = argument(cursor, "the name of a dimension", &example)?;
            close(cursor, &example)?;
            Ok(Call::Distinct { exact: function == "distinct", dimension })
        }
        "ratio" => ratio(cursor),
        _ => Err(unknown(name, cursor)),
    }
}

fn quantile(function: &str, cursor: &mut Cursor) -> Result<Call, ExpressionError> {
    let example = format!("{function}(amount, 0.95)");
    open(cursor, &example)?;
    let measure = argument(cursor, "the name of a measure", &example)?;
    let example = format!("{function}({}, 0.95)", excerpt(&measure.name));
    if !cursor.accept(&Token::Comma) {
        return Err(cursor.unexpected("\",\" and then q", Some(&format!("such as {example}"))));
    }
    let q = quantile_order(cursor, &example)?;
    close(cursor, &example)?;
    Ok(Call::Quantile { exact: function == "quantile", measure, q })
}

fn ratio(cursor: &mut Cursor) -> Result<Call, ExpressionError> {
    let example = "ratio(late_flights, flights)";
    open(cursor, example)?;
    let numerator = argument(cursor, "the name of a metric", example)?;
    if !cursor.accept(&Token::Comma) {
        let hint = format!("such as {example}");
        return Err(cursor.unexpected("\",\" and then the metric to divide by", Some(&hint)));
    }
    let denominator = argument(cursor, "the name of a metric", example)?;
    close(cursor, example)?;
    Ok(Call::Ratio { numerator, denominator })
}

/// There is no such function, or it is a name without one.
fn unknown(name: &Identifier, cursor: &mut Cursor) -> ExpressionError {
    let functions = MeasureFunction::ALL.into_iter().map(MeasureFunction::as_str);
    let known: Vec<_> = functions.chain(OTHER_FUNCTIONS).collect();
    let error = fields::unknown(name, "function", known.iter().copied());
    match cursor.peek() {
        Token::Open => error,
        // A lone name: more likely a field than a function.
        _ => {
            let example = format!("such as sum({})", excerpt(&name.name));
            let hint = match &error.hint {
                Some(meant) if meant.starts_with("did") => format!("{example}; or {meant}"),
                _ => example,
            };
            ExpressionError { hint: Some(hint), ..error }
        }
    }
}

fn open(cursor: &mut Cursor, example: &str) -> Result<(), ExpressionError> {
    match cursor.accept(&Token::Open) {
        true => Ok(()),
        false => Err(cursor.unexpected("\"(\"", Some(&format!("such as {example}")))),
    }
}

fn close(cursor: &mut Cursor, example: &str) -> Result<(), ExpressionError> {
    match cursor.accept(&Token::Close) {
        true => Ok(()),
        false => Err(cursor.unexpected("\")\"", Some(&format!("such as {example}")))),
    }
}

fn argument(cursor: &mut Cursor, expected: &str, example: &str) -> Result<Identifier, ExpressionError> {
    match cursor.peek() {
        // The hint about quotes says more than an example.
        Token::Keyword(_) => Err(cursor.unexpected(expected, None)),
        _ => cursor.identifier().ok_or_else(|| cursor.unexpected(expected, Some(&format!("such as {example}")))),
    }
}

fn quantile_order(cursor: &mut Cursor, example: &str) -> Result<Number, ExpressionError> {
    let &Token::Number(q) = cursor.peek() else {
        return Err(cursor.unexpected("q, a number more than 0 and at most 1", Some(&format!("such as {example}"))));
    };
    let (_, place) = cursor.take();
    let one = Number::integer(1);
    if q <= Number::integer(0) || q > one {
        let error = place.error(format!("expected q to be more than 0 and at most 1, found {q}"));
        let percent = (q > one && q <= Number::integer(100) && q.scale() <= MAX_QUANTILE_DIGITS)
            .then(|| format!("the {q}th percentile is {}", Number::new(q.unscaled(), q.scale() + 2)));
        let extreme = (q == Number::integer(0)).then(|| "the smallest value is min".to_owned());
        return Err(ExpressionError { hint: percent.or(extreme), ..error });
    }
    if q.scale() > MAX_QUANTILE_DIGITS {
        return Err(place.error(format!("q has more than {MAX_QUANTILE_DIGITS} digits after the point")));
    }
    Ok(q)
}

fn metric_name(identifier: &Identifier) -> Result<Name, ExpressionError> {
    Name::new(&identifier.name).map_err(|problem| identifier.place.error(format!("the metric's name {problem}")))
}

#[cfg(test)]
mod tests {
    use super::super::properties::{flight, number_of};
    use super::*;

    #[test]
    fn every_function_is_read() {
        let name = |text: &str| Name::new(text).unwrap();
        for (source, canonical, aggregate) in [
            ("count", "count", Aggregate::Count),
            (" COUNT ( ) ", "count", Aggregate::Count),
            ("count(fare)", "count(fare)", Aggregate::CountOf { measure: 1 }),
            ("sum(arr_delay)", "sum(arr_delay)", Aggregate::Sum { measure: 0 }),
            ("Avg(\"fare\")", "avg(fare)", Aggregate::Avg { measure: 1 }),
            ("min(fare)", "min(fare)", Aggregate::Min { measure: 1 }),
            ("max(fare)", "max(fare)", Aggregate::Max { measure: 1 }),
            ("variance(fare)", "variance(fare)", Aggregate::Variance { measure: 1 }),
            ("stddev(\"null\")", "stddev(\"null\")", Aggregate::Stddev { measure: 2 }),
            ("first(fare)", "first(fare)", Aggregate::First { measure: 1 }),
            ("last(fare)", "last(fare)", Aggregate::Last { measure: 1 }),
            ("quantile(fare,0.950)", "quantile(fare, 0.95)", Aggregate::Quantile { measure: 1, q: number_of("0.95") }),
            ("median(fare)", "quantile(fare, 0.5)", Aggregate::Quantile { measure: 1, q: number_of("0.5") }),
            (
                "approx_quantile(fare, 1)",
                "approx_quantile(fare, 1)",
                Aggregate::ApproxQuantile { measure: 1, q: number_of("1") },
            ),
            ("distinct(\"gate-no\")", "distinct(\"gate-no\")", Aggregate::Distinct { dimension: 2 }),
            ("approx_distinct(carrier)", "approx_distinct(carrier)", Aggregate::ApproxDistinct { dimension: 0 }),
            ("distinct(status)", "distinct(status)", Aggregate::Distinct { dimension: 3 }),
            (
                "ratio(on_time, \"all-flights\")",
                "ratio(on_time, \"all-flights\")",
                Aggregate::Ratio { numerator: name("on_time"), denominator: name("all-flights") },
            ),
        ] {
            let syntax = Aggregate::parse(source).expect(source);
            assert_eq!(syntax.to_string(), canonical, "{source}");
            assert_eq!(syntax.check(&flight()).expect(source), aggregate, "{source}");
            assert_eq!(parse_aggregate(canonical, &flight()).expect(canonical), aggregate, "{canonical}");
        }
    }

    #[test]
    fn mistakes_are_found_where_they_are() {
        for (source, position, length, message, hint) in [
            ("", 0, 0, "expected a function, found the end", "such as count"),
            ("5", 0, 1, "expected a function, found 5", "such as count"),
            ("summ(fare)", 0, 4, "unknown function \"summ\"", "did you mean \"sum\"?"),
            ("mode(fare)", 0, 4, "unknown function \"mode\"", "the functions are count, sum"),
            ("fare", 0, 4, "unknown function \"fare\"", "such as sum(fare)"),
            ("coun", 0, 4, "unknown function \"coun\"", "such as sum(coun); or did you mean \"count\"?"),
            ("\"sum\"(fare)", 0, 5, "unknown function \"sum\"", ""),
            ("sum", 3, 0, "expected \"(\", found the end", "sum(amount)"),
            ("sum()", 4, 1, "expected the name of a measure, found \")\"", "sum(amount)"),
            ("sum(5)", 4, 1, "expected the name of a measure, found 5", "sum(amount)"),
            ("sum(in)", 4, 2, "expected the name of a measure, found \"in\"", "double quotes: \"in\""),
            ("sum(fare", 8, 0, "expected \")\", found the end", "sum(amount)"),
            ("sum(fare, arr_delay)", 8, 1, "expected \")\", found \",\"", "sum(amount)"),
            ("sum(fare) + 1", 10, 1, "unexpected \"+\"", "no addition"),
            ("sum(fare) sum(fare)", 10, 3, "expected the end", "ratio"),
            ("count where fare > 1", 6, 5, "expected the end, found where", "place of its own"),
            ("count(*)", 6, 1, "unexpected \"*\"", "without *"),
            ("count(carrier)", 6, 7, "count needs a measure, and carrier is a dimension", "distinct(carrier)"),
            ("sum(fares)", 4, 5, "unknown measure \"fares\"", "did you mean \"fare\"?"),
            ("sum(speed)", 4, 5, "unknown measure \"speed\"", "the measures are arr_delay, fare, null"),
            ("distinct(fare)", 9, 4, "distinct needs a dimension, and fare is a measure", ""),
            ("approx_distinct(gate)", 16, 4, "unknown dimension \"gate\"", "the dimensions are carrier"),
            ("quantile(fare)", 13, 1, "expected \",\" and then q", "quantile(fare, 0.95)"),
            ("quantile(fare, x)", 15, 1, "expected q, a number", "quantile(fare, 0.95)"),
            ("quantile(fare, 0)", 15, 1, "more than 0 and at most 1, found 0", "min"),
            ("quantile(fare, -0.5)", 15, 4, "found -0.5", ""),
            ("quantile(fare, 99.5)", 15, 4, "found 99.5", "0.995"),
            ("quantile(fare, 1.1e2)", 15, 5, "found 110", ""),
            ("quantile(fare, 0.1234567890123)", 15, 15, "more than 12 digits", ""),
            ("quantile(carrier, 0.5)", 9, 7, "quantile needs a measure", "distinct"),
            ("median(fare, 0.5)", 11, 1, "expected \")\"", "median(amount)"),
            ("ratio(a)", 7, 1, "expected \",\" and then the metric", "ratio("),
            ("ratio(a, 1)", 9, 1, "expected the name of a metric, found 1", "ratio("),
            ("ratio(a, \"b c\")", 9, 5, "the metric's name contains ' '", ""),
        ] {
            let error = parse_aggregate(source, &flight()).expect_err(source);
            assert_eq!((error.position, error.length), (position, length), "{source}: {error}");
            assert!(error.message.contains(message), "{source}: {error}");
            assert!(error.hint.as_deref().unwrap_or("").contains(hint), "{source}: {error}");
        }
    }

    #[test]
    fn a_ratio_names_metrics_of_the_view() {
        let names = ["late", "flights"].map(|name| Name::new(name).unwrap());
        assert_eq!(Aggregate::parse("ratio(late, flights)").unwrap().check_metrics(&names), Ok(()));
        assert_eq!(Aggregate::parse("sum(late)").unwrap().check_metrics([]), Ok(()));
        let error = Aggregate::parse("ratio(late, flight)").unwrap().check_metrics(&names).unwrap_err();
        assert_eq!(error.to_string(), "at 12: unknown metric \"flight\"; did you mean \"flights\"?");
    }

    #[test]
    fn long_names_make_short_messages() {
        let long = "x".repeat(4000);
        let error = parse_aggregate(&format!("sum({long})"), &flight()).unwrap_err();
        assert!(error.message.len() < 100);
        let error = parse_aggregate(&long, &flight()).unwrap_err();
        assert!(error.message.len() < 100);
    }
}
