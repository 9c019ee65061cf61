//! Whether what Daybook answers is what the [`bare`] loop found, group by group.

use crate::bare::{BEST, Fold, Groups};
use crate::timing::measured;
use crate::work::Work;
use anyhow::ensure;
use compact_str::CompactString;
use daybook_contracts::ask::{Answer, DaySelector, Query, RankQuery};
use daybook_contracts::report::{Figure, Row};
use daybook_domain::ids::{Name, TenantId};
use daybook_domain::time::Date;
use daybook_machine::PartitionState;
use std::collections::BTreeMap;
use std::time::Duration;

/// Days that works are of.
const DAYS: i32 = 2;
/// Auctions whose ten best bids are asked for.
const ASKED: usize = 100;

/// Compares all figures of all groups, but for [`Fold::Best`] the ten best of some auctions. Returns the processor time of
/// each question.
///
/// # Errors
/// When they differ.
pub fn check(fold: Fold, work: &Work, state: &mut PartitionState, groups: &Groups) -> anyhow::Result<Vec<Duration>> {
    match fold {
        Fold::Statistics => check_groups(fold, ("q15", None), work, state, groups),
        Fold::Channels => check_groups(fold, ("q16", Some("channel")), work, state, groups),
        Fold::Auctions => check_groups(fold, ("q17", Some("auction")), work, state, groups),
        Fold::Orders => check_groups(fold, ("stores", Some("store")), work, state, groups),
        Fold::Best => check_best(work, state, groups),
    }
}

fn check_groups(
    fold: Fold,
    (view, dimension): (&str, Option<&str>),
    work: &Work,
    state: &mut PartitionState,
    groups: &Groups,
) -> anyhow::Result<Vec<Duration>> {
    let name = Name::new(view)?;
    let (mut times, mut found) = (Vec::new(), 0);
    for tenant in &work.tenants {
        for day in 0..DAYS {
            let date = work.first_day.plus(day);
            let mut query = Query::days(DaySelector::Date(date));
            loop {
                let (time, answer) = measured(|| state.view(tenant, &name, &query));
                // A tenant that nothing came of that day has no such day; groups that are missing are missed below.
                let Ok(answer) = answer else { break };
                times.push(time);
                for row in &answer.rows {
                    compare(fold, groups, (tenant, date, dimension), row)?;
                }
                found += answer.rows.len();
                query.cursor = answer.next;
                if query.cursor.is_none() {
                    break;
                }
            }
        }
    }
    let expected = groups.values().filter(|figures| figures.n > 0).count();
    ensure!(found == expected, "{view}: {found} groups, but the bare loop has {expected}");
    Ok(times)
}

fn compare(
    fold: Fold,
    groups: &Groups,
    (tenant, date, dimension): (&TenantId, Date, Option<&str>),
    row: &Row,
) -> anyhow::Result<()> {
    let group = match dimension.map(|name| row.get(name)) {
        None => CompactString::default(),
        Some(Some(Figure::Text(text))) => text.clone(),
        Some(other) => anyhow::bail!("a group is named by a text, not {other:?}"),
    };
    let key = (CompactString::new(tenant.as_str()), date, group);
    let Some(figures) = groups.get(&key) else { anyhow::bail!("the bare loop has no group {key:?}") };
    for (metric, expected) in figures.metrics(fold) {
        let found = row.get(metric);
        ensure!(
            found == Some(&Figure::integer(expected)),
            "{key:?}, {metric}: {found:?}, but the bare loop {expected}"
        );
    }
    Ok(())
}

/// The ten best bids of some auctions over all days, by prices: which of equal bids are shown is open.
fn check_best(work: &Work, state: &mut PartitionState, groups: &Groups) -> anyhow::Result<Vec<Duration>> {
    let mut auctions: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
    for ((_, _, auction), figures) in groups {
        let best = auctions.entry(auction).or_default();
        best.extend(&figures.best);
        best.sort_unstable_by(|one, other| other.cmp(one));
        best.truncate(BEST);
    }
    let name = Name::new("q19")?;
    let step = auctions.len().div_ceil(ASKED).max(1);
    let mut times = Vec::new();
    for (auction, expected) in auctions.iter().step_by(step) {
        let query = Query {
            days: DaySelector::Range(work.first_day, work.first_day.plus(DAYS - 1)),
            filter: Some(format!("auction = '{auction}'")),
            rank: Some(RankQuery::default()),
            limit: Some(BEST as u32),
            ..Query::default()
        };
        let (time, answer) = measured(|| state.view(&work.tenants[0], &name, &query));
        times.push(time);
        let found = prices(&answer?);
        ensure!(found == *expected, "the ten best of {auction}: {found:?}, but the bare loop {expected:?}");
    }
    Ok(times)
}

fn prices(answer: &Answer) -> Vec<i64> {
    let price = |row: &Row| match row.get("price") {
        Some(Figure::Number(number)) => i64::try_from(number.unscaled()).unwrap_or(i64::MAX),
        _ => 0,
    };
    answer.rows.iter().map(price).collect()
}
