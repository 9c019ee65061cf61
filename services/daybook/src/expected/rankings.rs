//! The rankings of the flights example, compared with its expected results: `expected/*/top_carriers.csv` with the view
//! `carriers`, `expected/*/origin_leaderboard.csv` with the view `origins`.

use super::{Difference, Outcome, Unreadable, newest, shown};
use daybook_contracts::report::{Figure, Report, Row};
use daybook_domain::catalogue::Ties;
use daybook_domain::ids::TenantId;
use daybook_domain::time::Date;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;

/// How many carriers of a day `top_carriers.csv` has.
const TOP_CARRIERS: usize = 3;

/// The expected rows of one ranking, by tenant and business day.
#[derive(Clone, Debug)]
pub struct Rankings {
    /// The view that ranks, and its dimension.
    view: &'static str,
    dimension: &'static str,
    /// How many rows of a day are expected: the first ones.
    first: usize,
    days: BTreeMap<(TenantId, Date), Vec<Member>>,
}

/// One row: who, with which figures, and where that is.
#[derive(Clone, Debug)]
struct Member {
    name: String,
    /// By metric of the view.
    figures: Vec<(&'static str, i64)>,
    position: u64,
    rank: u64,
    dense_rank: u64,
}

/// A row of `top_carriers.csv`.
#[derive(Debug, Deserialize)]
struct Carrier {
    tenant: TenantId,
    business_day: Date,
    carrier: String,
    flights: i64,
    distance: i64,
    position: u64,
    rank: u64,
    dense_rank: u64,
}

/// A row of `origin_leaderboard.csv`. Empty cells are nulls.
#[derive(Debug, Deserialize)]
struct Origin {
    tenant: TenantId,
    business_day: Date,
    origin: String,
    flights: i64,
    sum_distance: i64,
    n_delay: i64,
    sum_arr_delay: Option<i64>,
    n_on_time: i64,
    position: u64,
    rank: u64,
    dense_rank: u64,
}

impl Rankings {
    /// What `top_carriers.csv` says of the view `carriers`.
    ///
    /// # Errors
    /// When it is not the table that it should be.
    pub fn carriers(csv: &str) -> Result<Self, Unreadable> {
        Self::read(csv, ("carriers", "carrier", TOP_CARRIERS), |row: Carrier| {
            let Carrier { tenant, business_day, carrier, flights, distance, position, rank, dense_rank } = row;
            let figures = vec![("flights", flights), ("distance", distance)];
            (tenant, business_day, Member { name: carrier, figures, position, rank, dense_rank })
        })
    }

    /// What `origin_leaderboard.csv` says of the view `origins`.
    ///
    /// # Errors
    /// When it is not the table that it should be.
    pub fn origins(csv: &str) -> Result<Self, Unreadable> {
        Self::read(csv, ("origins", "origin", usize::MAX), |row: Origin| {
            let figures = vec![
                ("flights", row.flights),
                ("distance", row.sum_distance),
                ("arr_delay_n", row.n_delay),
                // The sum of nothing is null in SQL and 0 in Daybook.
                ("arr_delay_sum", row.sum_arr_delay.unwrap_or(0)),
                ("on_time", row.n_on_time),
            ];
            let Origin { tenant, business_day, origin, position, rank, dense_rank, .. } = row;
            (tenant, business_day, Member { name: origin, figures, position, rank, dense_rank })
        })
    }

    fn read<R: DeserializeOwned>(
        csv: &str,
        (view, dimension, first): (&'static str, &'static str, usize),
        member: impl Fn(R) -> (TenantId, Date, Member),
    ) -> Result<Self, Unreadable> {
        let mut days: BTreeMap<(TenantId, Date), Vec<Member>> = BTreeMap::new();
        for row in csv::Reader::from_reader(csv.as_bytes()).deserialize() {
            let (tenant, date, member) = member(row?);
            days.entry((tenant, date)).or_default().push(member);
        }
        Ok(Self { view, dimension, first, days })
    }

    /// The view that ranks.
    pub fn view(&self) -> &'static str {
        self.view
    }

    /// The days that have rows, in order of tenants and dates.
    pub fn days(&self) -> impl Iterator<Item = &(TenantId, Date)> {
        self.days.keys()
    }

    /// Compares the reports of the days from `from` to `to` with every row of these: its figures, its position and its
    /// rank, which is a competition rank. A row too many is a difference as well. Of several versions of a report the
    /// newest counts.
    pub fn check<'a>(&self, reports: impl Iterator<Item = &'a Report>, from: Date, to: Date) -> Outcome {
        let newest = newest(reports, from, to);
        let mut outcome = Outcome::default();
        let expected = self.days.keys().filter(|(_, date)| (from..=to).contains(date));
        let mut days: Vec<_> = expected.chain(newest.keys()).collect();
        days.sort_unstable();
        days.dedup();
        for day in days {
            let view = newest.get(day).and_then(|report| report.views.get(self.view));
            outcome.add(self.check_day(&day.0, day.1, view.map_or(&[], |view| &view.rows), Ties::Competition));
        }
        outcome
    }

    /// Compares the rows of a day's ranking, which has that tie rule: all of them, or the first ones where only those
    /// are expected.
    pub fn check_day(&self, tenant: &TenantId, date: Date, rows: &[Row], ties: Ties) -> Outcome {
        let mut outcome = Outcome::default();
        let mut unmatched: BTreeMap<String, &Row> = BTreeMap::new();
        let mut differ = |member: &str, field: &str, expected: String, got: String| {
            let field = format!("{} {member}: {field}", self.view);
            outcome.differences.push(Difference { tenant: tenant.clone(), date, field, expected, got });
        };
        for row in rows.iter().take(self.first) {
            let member = row.get(self.dimension).map_or_else(String::new, Figure::to_string);
            if unmatched.insert(member.clone(), row).is_some() {
                differ(&member, "row", "one".to_owned(), "two".to_owned());
            }
        }
        let expected = self.days.get(&(tenant.clone(), date)).map_or(&[][..], Vec::as_slice);
        for member in expected {
            let Some(row) = unmatched.remove(&member.name) else {
                differ(&member.name, "row", "one".to_owned(), "none".to_owned());
                continue;
            };
            let rank = match ties {
                Ties::Competition => member.rank,
                Ties::Dense => member.dense_rank,
                Ties::Ordinal => member.position,
            };
            let places = [("position", Figure::integer(member.position)), ("rank", Figure::integer(rank))];
            let figures = member.figures.iter().map(|(metric, value)| (*metric, Figure::integer(*value)));
            let mut matches = true;
            for (field, expected) in places.into_iter().chain(figures) {
                if row.get(field) != Some(&expected) {
                    matches = false;
                    differ(&member.name, field, shown(Some(&expected)), shown(row.get(field)));
                }
            }
            outcome.matching += usize::from(matches);
        }
        for member in unmatched.keys() {
            differ(member, "row", "none".to_owned(), "one".to_owned());
        }
        outcome.checked = expected.len();
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expected::tests::{bna, cell, date};
    use daybook_contracts::report::ViewRows;
    use daybook_domain::ids::Name;

    const CARRIERS: [&str; 2] = [
        include_str!("../../../../examples/flights/expected/march/top_carriers.csv"),
        include_str!("../../../../examples/flights/expected/november/top_carriers.csv"),
    ];
    const ORIGINS: [&str; 2] = [
        include_str!("../../../../examples/flights/expected/march/origin_leaderboard.csv"),
        include_str!("../../../../examples/flights/expected/november/origin_leaderboard.csv"),
    ];
    const BNA: &str = "tenant,business_day,carrier,flights,distance,position,rank,dense_rank\n\
        BNA,2013-03-10,MQ,6,4585,1,1,1\nBNA,2013-03-10,EV,4,2992,2,2,2\nBNA,2013-03-10,WN,4,3024,3,2,2\n\
        BNA,2013-03-10,9E,1,700,4,4,3\n";

    /// The ranking that [`BNA`] expects, made by hand.
    fn ranked() -> Report {
        let rows = r#"[{"position":1,"rank":1,"carrier":"MQ","flights":6,"distance":4585},
            {"position":2,"rank":2,"carrier":"EV","flights":4,"distance":2992},
            {"position":3,"rank":2,"carrier":"WN","flights":4,"distance":3024},
            {"position":4,"rank":4,"carrier":"9E","flights":1,"distance":700}]"#;
        let rows = ViewRows { rows: serde_json::from_str(rows).unwrap(), total: 4, ..ViewRows::default() };
        let mut report = bna();
        report.views.insert(Name::new("carriers").unwrap(), rows);
        report
    }

    /// All that [`BNA`] says.
    fn whole() -> Rankings {
        Rankings { first: usize::MAX, ..Rankings::carriers(BNA).unwrap() }
    }

    fn check(report: &Report) -> Outcome {
        whole().check([report].into_iter(), date("2013-03-08"), date("2013-03-12"))
    }

    fn differences(report: &Report) -> Vec<String> {
        check(report).differences.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_ranking_that_says_the_same_matches() {
        assert_eq!(check(&ranked()), Outcome { checked: 4, matching: 4, differences: vec![] });
    }

    #[test]
    fn every_field_is_compared() {
        for field in ["position", "rank", "flights", "distance"] {
            for wrong in [Figure::integer(9), Figure::Null, Figure::Text("2".into())] {
                let mut report = ranked();
                *cell(&mut report, "carriers", 1, field) = wrong;
                let outcome = check(&report);
                assert_eq!((outcome.checked, outcome.matching), (4, 3));
                assert_eq!(outcome.differences.len(), 1);
                assert_eq!(outcome.differences[0].field, format!("carriers EV: {field}"));
            }
        }
    }

    #[test]
    fn rows_must_go_together() {
        let rows = |change: fn(&mut Vec<Row>)| {
            let mut report = ranked();
            change(&mut report.views.get_mut("carriers").unwrap().rows);
            differences(&report)
        };
        assert_eq!(rows(|rows| drop(rows.remove(1))), ["BNA 2013-03-10 carriers EV: row: expected one, got none"]);
        assert_eq!(rows(|rows| rows.push(rows[0].clone())), ["BNA 2013-03-10 carriers MQ: row: expected one, got two"]);
        let strange = |rows: &mut Vec<Row>| {
            rows.push(rows[0].clone());
            rows[4].0.iter_mut().find(|(name, _)| name.as_str() == "carrier").unwrap().1 = Figure::Text("XX".into());
        };
        assert_eq!(rows(strange), ["BNA 2013-03-10 carriers XX: row: expected none, got one"]);
        assert_eq!(rows(Vec::clear).len(), 4);
        let mut without = ranked();
        without.views.clear();
        assert_eq!(check(&without).matching, 0);
    }

    #[test]
    fn of_carriers_only_the_first_ones_are_expected() {
        let csv = &BNA[..BNA.find("BNA,2013-03-10,9E").unwrap()];
        let rankings = Rankings::carriers(csv).unwrap();
        let mut report = ranked();
        let check = |report: &Report| rankings.check([report].into_iter(), report.date, report.date);
        assert_eq!(check(&report), Outcome { checked: 3, matching: 3, differences: vec![] });
        report.views.get_mut("carriers").unwrap().rows.remove(1);
        assert_eq!(check(&report).differences.len(), 2, "one is missing, and one is there in its place");
    }

    #[test]
    fn days_without_rows_must_be_empty() {
        let mut report = ranked();
        report.date = date("2013-03-11");
        let outcome = check(&report);
        assert_eq!((outcome.checked, outcome.matching, outcome.differences.len()), (4, 0, 8));
        report.date = date("2013-03-13");
        assert_eq!(check(&report).differences.len(), 4, "a report out of the range says nothing");
    }

    #[test]
    fn ranks_are_those_of_the_tie_rule() {
        let mut report = ranked();
        *cell(&mut report, "carriers", 3, "rank") = Figure::integer(3);
        let rankings = whole();
        let rows = &report.views.get("carriers").unwrap().rows;
        let dense = rankings.check_day(&report.tenant, report.date, rows, Ties::Dense);
        assert!(dense.is_match());
        let competition = rankings.check_day(&report.tenant, report.date, rows, Ties::Competition);
        assert_eq!(competition.differences.len(), 1);
    }

    #[test]
    fn the_expected_rankings_can_be_read() {
        let rows = |rankings: Result<Rankings, Unreadable>| {
            rankings.unwrap().check([].into_iter(), Date::MIN, Date::MAX).checked
        };
        assert_eq!(CARRIERS.map(|csv| rows(Rankings::carriers(csv))), [904, 893]);
        assert_eq!(ORIGINS.map(|csv| rows(Rankings::origins(csv))), [855, 870]);
        assert!(Rankings::origins(CARRIERS[0]).is_err());
    }
}
