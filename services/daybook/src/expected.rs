//! Sealed reports of the flights example, compared with its expected results: here with `expected/*/daily.csv`, in
//! [`Rankings`] with the rankings.

mod rankings;

pub use rankings::Rankings;

use daybook_contracts::report::{Figure, Report, Row, ViewRows};
use daybook_domain::ids::TenantId;
use daybook_domain::time::{Date, Instant};
use daybook_domain::value::{Number, pow10};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;

/// What a comparison found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Rows of the expected results, in the range of dates.
    pub checked: usize,
    /// Those of them whose report says the same in every field.
    pub matching: usize,
    /// In order of tenants and dates.
    pub differences: Vec<Difference>,
}

impl Outcome {
    /// Whether there was something to check, and all of it matches.
    pub fn is_match(&self) -> bool {
        self.checked > 0 && self.differences.is_empty()
    }

    /// Takes in what another comparison found.
    pub fn add(&mut self, other: Self) {
        self.checked += other.checked;
        self.matching += other.matching;
        self.differences.extend(other.differences);
    }
}

/// One field in which a report differs from what was expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    pub tenant: TenantId,
    pub date: Date,
    /// The column of `daily.csv`, or the view, member and column of a ranking; `report` or `row` where there is none, or
    /// should be none.
    pub field: String,
    pub expected: String,
    pub got: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tenant, date, field, expected, got } = self;
        write!(f, "{tenant} {date} {field}: expected {expected}, got {got}")
    }
}

/// The expected results cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the expected results cannot be read")]
pub struct Unreadable(#[from] csv::Error);

/// A row of `daily.csv`, but for what the example's views do not compute. Empty cells are nulls.
#[derive(Debug, Deserialize)]
struct Expected {
    tenant: TenantId,
    business_day: Date,
    day_start_utc: Instant,
    day_end_utc: Instant,
    final_flights: i64,
    cancelled: i64,
    diverted: i64,
    sum_distance: i64,
    n_arr_delay: i64,
    sum_arr_delay: Option<i64>,
    avg_arr_delay: String,
    min_arr_delay: Option<i64>,
    max_arr_delay: Option<i64>,
    p50_nearest_rank: Option<i64>,
    p95_nearest_rank: Option<i64>,
    n_on_time: i64,
    distinct_tailnum: i64,
    /// Such as `DL:26|FL:6|MQ:4`.
    top3_carriers: String,
}

/// Compares the reports with every row of `daily_csv` whose business day is `from`, `to` or between them. A row without
/// a report is a difference, and so is a report of flights without a row. Of several versions of a report the newest
/// counts.
///
/// # Errors
/// When `daily_csv` is not the table that it should be.
pub fn check<'a>(
    reports: impl Iterator<Item = &'a Report>,
    daily_csv: &str,
    from: Date,
    to: Date,
) -> Result<Outcome, Unreadable> {
    let mut unmatched = newest(reports, from, to);
    let mut outcome = Outcome::default();
    for row in csv::Reader::from_reader(daily_csv.as_bytes()).deserialize() {
        let expected: Expected = row?;
        if !(from..=to).contains(&expected.business_day) {
            continue;
        }
        let before = outcome.differences.len();
        let report = unmatched.remove(&(expected.tenant.clone(), expected.business_day));
        let mut comparison = Comparison { expected: &expected, differences: &mut outcome.differences };
        match report {
            Some(report) => comparison.report(report),
            None => comparison.differ("report", "one", "none"),
        }
        outcome.checked += 1;
        outcome.matching += usize::from(outcome.differences.len() == before);
    }
    for ((tenant, date), report) in unmatched {
        let row = only_row(report.views.get("arrivals"));
        let flights: Vec<String> = ["flights", "cancelled", "diverted"]
            .into_iter()
            .filter_map(|metric| match row.and_then(|row| row.get(metric)) {
                Some(Figure::Number(number)) if *number != Number::integer(0) => Some(format!("{number} {metric}")),
                _ => None,
            })
            .collect();
        if !flights.is_empty() {
            let got = flights.join(", ");
            let (field, expected) = ("report".to_owned(), "no flights".to_owned());
            outcome.differences.push(Difference { tenant, date, field, expected, got });
        }
    }
    outcome.differences.sort_by(|one, other| (&one.tenant, one.date).cmp(&(&other.tenant, other.date)));
    Ok(outcome)
}

/// The newest version of each report in the range of dates.
fn newest<'a>(
    reports: impl Iterator<Item = &'a Report>,
    from: Date,
    to: Date,
) -> BTreeMap<(TenantId, Date), &'a Report> {
    let mut newest: BTreeMap<(TenantId, Date), &Report> = BTreeMap::new();
    for report in reports.filter(|report| (from..=to).contains(&report.date)) {
        let known = newest.entry((report.tenant.clone(), report.date)).or_insert(report);
        if report.version > known.version {
            *known = report;
        }
    }
    newest
}

/// The row of a view that groups by nothing.
fn only_row(view: Option<&ViewRows>) -> Option<&Row> {
    view.and_then(|view| view.rows.first())
}

/// One row against its report.
struct Comparison<'a> {
    expected: &'a Expected,
    differences: &'a mut Vec<Difference>,
}

impl Comparison<'_> {
    fn report(&mut self, report: &Report) {
        let expected = self.expected;
        self.instant("day_start_utc", expected.day_start_utc, report.day.opens_at);
        self.instant("day_end_utc", expected.day_end_utc, report.day.closes_at);
        match only_row(report.views.get("arrivals")) {
            Some(row) => self.arrivals(row),
            None => self.differ("report", "a row of the view arrivals", "none"),
        }
        match report.views.get("carriers") {
            Some(view) => self.carriers(view),
            None => self.differ("report", "the view carriers", "none"),
        }
    }

    fn arrivals(&mut self, row: &Row) {
        let expected = self.expected;
        for (field, metric, expected) in [
            ("final_flights", "flights", Some(expected.final_flights)),
            ("cancelled", "cancelled", Some(expected.cancelled)),
            ("diverted", "diverted", Some(expected.diverted)),
            ("sum_distance", "distance", Some(expected.sum_distance)),
            ("n_arr_delay", "arr_delay_n", Some(expected.n_arr_delay)),
            // The sum of nothing is null in SQL and 0 in Daybook.
            ("sum_arr_delay", "arr_delay_sum", expected.sum_arr_delay.or((expected.n_arr_delay == 0).then_some(0))),
            ("min_arr_delay", "arr_delay_min", expected.min_arr_delay),
            ("max_arr_delay", "arr_delay_max", expected.max_arr_delay),
            ("p50_nearest_rank", "arr_delay_p50", expected.p50_nearest_rank),
            ("p95_nearest_rank", "arr_delay_p95", expected.p95_nearest_rank),
            ("n_on_time", "on_time", Some(expected.n_on_time)),
            ("distinct_tailnum", "tails", Some(expected.distinct_tailnum)),
        ] {
            let expected = expected.map_or(Figure::Null, Figure::integer);
            if row.get(metric) != Some(&expected) {
                self.differ(field, shown(Some(&expected)), shown(row.get(metric)));
            }
        }
        let average = row.get("arr_delay_avg");
        if !same_average(&expected.avg_arr_delay, average) {
            self.differ("avg_arr_delay", shown_text(&expected.avg_arr_delay), shown(average));
        }
    }

    /// The three carriers with most flights, equals in the order of their code.
    fn carriers(&mut self, view: &ViewRows) {
        let mut ranking: Vec<(Number, String)> = view
            .rows
            .iter()
            .filter_map(|row| match row.get("flights") {
                // A carrier all of whose flights were cancelled has a row, too.
                Some(Figure::Number(flights)) if *flights > Number::integer(0) => {
                    Some((*flights, row.get("carrier").map_or_else(String::new, Figure::to_string)))
                }
                _ => None,
            })
            .collect();
        ranking
            .sort_by(|(flights, carrier), (other, other_carrier)| other.cmp(flights).then(carrier.cmp(other_carrier)));
        let top: Vec<String> =
            ranking.iter().take(3).map(|(flights, carrier)| format!("{carrier}:{flights}")).collect();
        let top = top.join("|");
        if top != self.expected.top3_carriers {
            self.differ("top3_carriers", shown_text(&self.expected.top3_carriers), shown_text(&top));
        }
    }

    fn instant(&mut self, field: &'static str, expected: Instant, got: Instant) {
        if expected != got {
            self.differ(field, expected.to_string(), got.to_string());
        }
    }

    fn differ(&mut self, field: &'static str, expected: impl Into<String>, got: impl Into<String>) {
        let (tenant, date) = (self.expected.tenant.clone(), self.expected.business_day);
        let (field, expected, got) = (field.to_owned(), expected.into(), got.into());
        self.differences.push(Difference { tenant, date, field, expected, got });
    }
}

fn shown(figure: Option<&Figure>) -> String {
    match figure {
        None => "no such metric".to_owned(),
        Some(figure) => shown_text(&figure.to_string()),
    }
}

fn shown_text(text: &str) -> String {
    if text.is_empty() { "nothing".to_owned() } else { text.to_owned() }
}

/// Whether a report's average, which has six digits after the point, is the expected one, which has all that a binary
/// float has: they are at most half a unit of the sixth digit apart, and the float's own error.
fn same_average(expected: &str, got: Option<&Figure>) -> bool {
    // In units of 10^-18: i128 holds averages of up to 10^20.
    const SCALE: u8 = 18;
    let unscaled = |number: Number| {
        let unscaled = number.unscaled();
        match number.scale() {
            scale if scale <= SCALE => unscaled.checked_mul(pow10(SCALE - scale)),
            scale => Some(unscaled / pow10(scale - SCALE)),
        }
    };
    match (expected, got) {
        ("", Some(Figure::Null)) => true,
        (expected, Some(Figure::Number(got))) => {
            let half_a_unit = pow10(SCALE - 6) / 2;
            let float_error = pow10(SCALE - 9);
            let expected = Number::parse(expected).ok().and_then(unscaled);
            match (expected, unscaled(*got)) {
                (Some(expected), Some(got)) => {
                    expected.checked_sub(got).is_some_and(|apart| apart.abs() <= half_a_unit + float_error)
                }
                _ => false,
            }
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARCH: &str = include_str!("../../../examples/flights/expected/march/daily.csv");
    const NOVEMBER: &str = include_str!("../../../examples/flights/expected/november/daily.csv");
    const HEADINGS: &str = "tenant,tz,business_day,day_start_utc,day_end_utc,day_hours,entities,final_flights,cancelled,\
        diverted,sum_distance,n_arr_delay,sum_arr_delay,avg_arr_delay,min_arr_delay,max_arr_delay,p50_nearest_rank,\
        p95_nearest_rank,p50_linear,p95_linear,n_on_time,on_time_share,distinct_tailnum,top3_carriers,origin_leaderboard";
    const BNA: &str = "BNA,America/Chicago,2013-03-10,2013-03-10T10:00:00Z,2013-03-11T10:00:00Z,24,14,14,1,0,10601,13,\
        4,0.3076923076923077,-18,40,-2,40,-2.00,39.00,11,0.85,13,MQ:6|EV:4|WN:4,EWR:4";

    pub(super) fn date(text: &str) -> Date {
        text.parse().unwrap()
    }

    fn report(json: &str) -> Report {
        serde_json::from_str(json).unwrap()
    }

    /// What [`BNA`] expects, made by hand.
    pub(super) fn bna() -> Report {
        report(
            r#"{"tenant":"BNA","date":"2013-03-10","version":1,
            "day":{"date":"2013-03-10","opens_at":"2013-03-10T10:00:00Z","closes_at":"2013-03-11T10:00:00Z"},
            "dispositions":{"published":45,"counted":15,"pending":30,"duplicate":0,"stale":0,"carried":0,"rejected":0},
            "coverage":"complete","late_policy":"restate",
            "views":{
              "arrivals":{"total":1,"rows":[{"flights":14,"cancelled":1,"diverted":0,"distance":10601,"arr_delay_n":13,
                "arr_delay_sum":4,"arr_delay_avg":0.307692,"arr_delay_min":-18,"arr_delay_max":40,"arr_delay_p50":-2,
                "arr_delay_p95":40,"on_time":11,"tails":13}]},
              "carriers":{"total":4,"rows":[{"carrier":"9E","flights":0,"distance":0},
                {"carrier":"EV","flights":4,"distance":2992},{"carrier":"MQ","flights":6,"distance":4585},
                {"carrier":"WN","flights":4,"distance":3024}]}},
            "definitions":{"tenant":1,"kinds":{},"views":{},"calendar":null,"calendar_revision":1,"tzdb":"2026a"},
            "log":{"partition":0,"from":1,"through":2,"inbox_through":3},
            "supersedes":null,"changes":[],"changes_omitted":0}"#,
        )
    }

    pub(super) fn cell<'a>(report: &'a mut Report, view: &str, row: usize, metric: &str) -> &'a mut Figure {
        let row = &mut report.views.get_mut(view).unwrap().rows[row];
        &mut row.0.iter_mut().find(|(name, _)| name.as_str() == metric).unwrap().1
    }

    fn check_day(reports: &[Report], rows: &str) -> Outcome {
        let csv = format!("{HEADINGS}\n{rows}\n");
        check(reports.iter(), &csv, date("2013-03-08"), date("2013-03-12")).unwrap()
    }

    #[test]
    fn a_report_that_says_the_same_matches() {
        let outcome = check_day(&[bna()], BNA);
        assert_eq!(outcome, Outcome { checked: 1, matching: 1, differences: vec![] });
        assert!(outcome.is_match());
        assert!(!check_day(&[], "").is_match(), "nothing was checked");
    }

    #[test]
    fn every_field_is_compared() {
        for (metric, field) in [
            ("flights", "final_flights"),
            ("cancelled", "cancelled"),
            ("diverted", "diverted"),
            ("distance", "sum_distance"),
            ("arr_delay_n", "n_arr_delay"),
            ("arr_delay_sum", "sum_arr_delay"),
            ("arr_delay_avg", "avg_arr_delay"),
            ("arr_delay_min", "min_arr_delay"),
            ("arr_delay_max", "max_arr_delay"),
            ("arr_delay_p50", "p50_nearest_rank"),
            ("arr_delay_p95", "p95_nearest_rank"),
            ("on_time", "n_on_time"),
            ("tails", "distinct_tailnum"),
        ] {
            for wrong in [Figure::integer(7), Figure::Null, Figure::Text("14".into())] {
                let mut report = bna();
                *cell(&mut report, "arrivals", 0, metric) = wrong;
                let outcome = check_day(&[report], BNA);
                assert_eq!((outcome.checked, outcome.matching), (1, 0));
                assert_eq!(outcome.differences.iter().map(|d| d.field.as_str()).collect::<Vec<_>>(), [field]);
            }
            let mut report = bna();
            report.views.get_mut("arrivals").unwrap().rows[0].0.retain(|(name, _)| name.as_str() != metric);
            assert_eq!(check_day(&[report], BNA).differences[0].got, "no such metric");
        }
    }

    #[test]
    fn the_bounds_of_the_day_are_compared() {
        let mut report = bna();
        report.day.closes_at = "2013-03-11T09:00:00Z".parse().unwrap();
        let outcome = check_day(&[report], BNA);
        assert_eq!(
            outcome.differences[0].to_string(),
            "BNA 2013-03-10 day_end_utc: expected 2013-03-11T10:00:00Z, got 2013-03-11T09:00:00Z"
        );
    }

    #[test]
    fn carriers_rank_by_flights_and_then_by_code() {
        // WN flew farther than EV, but has as many flights and the later code.
        let mut report = bna();
        *cell(&mut report, "carriers", 1, "flights") = Figure::integer(3);
        let outcome = check_day(&[report], BNA);
        assert_eq!(
            outcome.differences[0].to_string(),
            "BNA 2013-03-10 top3_carriers: expected MQ:6|EV:4|WN:4, got MQ:6|WN:4|EV:3"
        );
        let mut report = bna();
        report.views.remove("carriers");
        assert_eq!(
            check_day(&[report], BNA).differences[0].to_string(),
            "BNA 2013-03-10 report: expected the view carriers, got none"
        );
        let mut report = bna();
        report.views.get_mut("arrivals").unwrap().rows.clear();
        assert_eq!(check_day(&[report], BNA).differences[0].expected, "a row of the view arrivals");
    }

    #[test]
    fn averages_agree_to_the_last_digit_of_the_report() {
        let same =
            |expected: &str, got: &str| same_average(expected, Some(&Figure::Number(Number::parse(got).unwrap())));
        assert!(same("0.3076923076923077", "0.307692"));
        assert!(!same("0.3076923076923077", "0.307693"));
        assert!(!same("0.3076923076923077", "0.307691"));
        assert!(same("94.94736842105263", "94.947368"));
        assert!(same("-7.864864864864865", "-7.864865"));
        assert!(!same("-7.864864864864865", "7.864865"));
        assert!(same("263.0", "263"));
        // Half to even: a tie may go either way, and no further.
        assert!(same("0.0000005", "0") && same("0.0000015", "0.000002") && !same("0.0000015", "0.000003"));
        assert!(same("1e-7", "0"));
        assert!(same_average("", Some(&Figure::Null)));
        assert!(!same_average("", Some(&Figure::integer(0))));
        assert!(!same_average("1.0", Some(&Figure::Null)));
        assert!(!same_average("x", Some(&Figure::integer(0))));
        assert!(!same_average("1.0", None));
        assert!(!same("170141183460469231731687303715884105727", "1"));
    }

    #[test]
    fn a_day_without_arrivals_has_nulls() {
        let row = "BNA,America/Chicago,2013-03-10,2013-03-10T10:00:00Z,2013-03-11T10:00:00Z,24,1,0,1,0,0,0,,,,,,,,,0,-nan,0,,";
        let mut report = bna();
        for metric in ["flights", "distance", "arr_delay_n", "arr_delay_sum", "on_time", "tails"] {
            *cell(&mut report, "arrivals", 0, metric) = Figure::integer(0);
        }
        for metric in ["arr_delay_avg", "arr_delay_min", "arr_delay_max", "arr_delay_p50", "arr_delay_p95"] {
            *cell(&mut report, "arrivals", 0, metric) = Figure::Null;
        }
        report.views.get_mut("carriers").unwrap().rows.truncate(1);
        assert_eq!(check_day(&[report], row).differences, []);
    }

    #[test]
    fn rows_and_reports_must_go_together() {
        assert_eq!(check_day(&[], BNA).differences[0].to_string(), "BNA 2013-03-10 report: expected one, got none");
        let outcome = check_day(&[bna()], "");
        assert_eq!(outcome.checked, 0);
        assert_eq!(
            outcome.differences[0].to_string(),
            "BNA 2013-03-10 report: expected no flights, got 14 flights, 1 cancelled"
        );
        let mut empty = bna();
        for metric in ["flights", "cancelled"] {
            *cell(&mut empty, "arrivals", 0, metric) = Figure::integer(0);
        }
        assert_eq!(check_day(&[empty], "").differences, []);
    }

    #[test]
    fn only_the_range_of_dates_counts() {
        let csv = format!("{HEADINGS}\n{BNA}\n");
        let reports = [bna()];
        for (from, to, checked) in
            [("2013-03-10", "2013-03-10", 1), ("2013-03-11", "2013-03-12", 0), ("2013-03-08", "2013-03-09", 0)]
        {
            let outcome = check(reports.iter(), &csv, date(from), date(to)).unwrap();
            assert_eq!((outcome.checked, outcome.matching, outcome.differences.len()), (checked, checked, 0));
        }
    }

    #[test]
    fn the_newest_version_counts() {
        let mut old = bna();
        *cell(&mut old, "arrivals", 0, "flights") = Figure::integer(13);
        let mut new = bna();
        new.version = 2;
        assert!(check_day(&[new.clone(), old.clone()], BNA).is_match());
        assert!(check_day(&[old, new], BNA).is_match());
    }

    #[test]
    fn the_expected_results_can_be_read() {
        for (csv, rows) in [(MARCH, 424), (NOVEMBER, 416)] {
            let outcome = check([].into_iter(), csv, Date::MIN, Date::MAX).unwrap();
            assert_eq!((outcome.checked, outcome.matching, outcome.differences.len()), (rows, 0, rows));
        }
        assert!(check([].into_iter(), "tenant\nA\n", Date::MIN, Date::MAX).is_err());
        let bad = format!("{HEADINGS}\n{}\n", BNA.replace("10601", "10601.5"));
        assert!(check([].into_iter(), &bad, Date::MIN, Date::MAX).is_err());
    }
}
