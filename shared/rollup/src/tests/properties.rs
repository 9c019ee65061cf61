//! Roll-ups, conditions, orders, pages and ranks against the [`model`](super::model), and the index against the roll-up.

use super::fixtures::{Entry, METRICS, cells, day, groups, kind, name, plan, ranked_plan};
use super::model::{CONDITIONS, Item, Model};
use crate::{Page, Question, RankIndex, Rollup, Start};
use compact_str::CompactString;
use daybook_contracts::ask::{AskErrorCode, Asked, Order, Pieces, Query, RankQuery};
use daybook_contracts::report::Row;
use daybook_domain::accumulator::{Accumulator, Sign};
use daybook_domain::catalogue::{Direction, Grain, RankedBy, Ties};
use daybook_domain::plan::Plan;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use std::collections::BTreeMap;

fn value() -> impl Strategy<Value = Option<CompactString>> {
    prop::option::weighted(0.8, select(vec!["A", "B", "C", "", "A\0"]).prop_map(CompactString::from))
}

fn entry() -> impl Strategy<Value = Entry> {
    // Few prices, so that scores are equal and come again.
    let price = prop_oneof![-200_i64..200, select(vec![0, 0, 50, -50])];
    let figures = (prop::option::of(-3_i64..3), prop::option::of(price), prop::bool::weighted(0.8));
    let when = (0_i32..3, 0_u16..9, 0_i64..8);
    (when, value(), value(), figures).prop_map(|((day, piece, at), carrier, origin, (delay, price, add))| {
        let sign = if add { Sign::Add } else { Sign::Retract };
        // What is taken out of a day without having been there is never the largest of it, and cancels out nothing at its time.
        let (at, delay) = if add { (at * 2, delay) } else { (at * 2 + 1, None) };
        Entry { day, piece, at, dims: [carrier, origin], delay, price, sign }
    })
}

fn entries() -> impl Strategy<Value = Vec<Entry>> {
    prop::collection::vec(entry(), 0..40)
}

fn direction() -> impl Strategy<Value = Direction> {
    select(vec![Direction::Asc, Direction::Desc])
}

fn ties() -> impl Strategy<Value = Ties> {
    select(Ties::ALL.to_vec())
}

fn some_metrics() -> impl Strategy<Value = Vec<&'static str>> {
    let names = METRICS.map(|(name, _)| name).to_vec();
    subsequence(names, 1..=METRICS.len()).prop_shuffle()
}

fn criteria() -> impl Strategy<Value = Vec<(usize, Direction)>> {
    (subsequence((0..METRICS.len()).collect::<Vec<_>>(), 1..=2).prop_shuffle(), prop::collection::vec(direction(), 2))
        .prop_map(|(metrics, directions)| metrics.into_iter().zip(directions).collect())
}

/// A view by quarters or hours without a ranking, or by days with one or none.
fn any_plan() -> impl Strategy<Value = Plan> {
    prop_oneof![
        select(Grain::ALL.to_vec()).prop_map(plan),
        (criteria(), ties(), any::<bool>()).prop_map(|(by, ties, earliest)| ranked_plan(by, ties, earliest)),
    ]
}

/// A question that makes sense for the plan. What is ordered by is picked from what is there by the given seeds.
fn query(plan: &Plan) -> impl Strategy<Value = Query> + use<> {
    let mut grains = vec![Pieces::Total, Pieces::Total, Pieces::Day];
    grains.extend_from_slice(match plan.view.grain {
        Grain::QuarterHour => &[Pieces::Hour, Pieces::QuarterHour],
        Grain::Hour => &[Pieces::Hour],
        Grain::ClockHour => &[Pieces::ClockHour, Pieces::HourOfDay],
        Grain::Day => &[],
    });
    let has_ranking = plan.ranking.is_some();
    let rank = (criteria(), prop::option::of(ties()), any::<bool>());
    let dimensions = subsequence(vec!["carrier", "origin"], 0..=2).prop_shuffle();
    let order = prop::collection::vec((any::<prop::sample::Index>(), direction()), 0..3);
    (
        prop::option::of(some_metrics()),
        prop::option::of(dimensions),
        prop::option::of(select(CONDITIONS.map(|(text, _)| text).to_vec())),
        select(grains),
        order,
        prop::option::of(rank),
        1_u32..7,
    )
        .prop_map(move |(metrics, dimensions, filter, grain, order, rank, limit)| {
            let mut query = Query {
                metrics: metrics.map(|metrics| metrics.into_iter().map(name).collect()),
                dimensions: dimensions.map(|dimensions| dimensions.into_iter().map(name).collect()),
                filter: filter.map(str::to_owned),
                grain,
                limit: Some(limit),
                ..Query::default()
            };
            let has_members = query.dimensions.as_ref().is_none_or(|dimensions| !dimensions.is_empty());
            let rankable = has_members && grain == Pieces::Total;
            if let Some((by, ties, own)) = rank.filter(|_| rankable) {
                let by = by.into_iter().map(|(at, direction)| RankedBy { metric: name(METRICS[at].0), direction });
                let by = if own && has_ranking { Vec::new() } else { by.collect() };
                query.rank = Some(RankQuery { by, ties, ..RankQuery::default() });
                return query;
            }
            let mut columns = query.metrics.clone().unwrap_or_else(|| METRICS.map(|(text, _)| name(text)).into());
            columns.extend(query.dimensions.clone().unwrap_or_else(|| vec![name("carrier"), name("origin")]));
            match grain {
                Pieces::Total if has_ranking && rankable => columns.extend([name("rank"), name("position")]),
                Pieces::Total => {}
                Pieces::Day => columns.push(name("day")),
                _ => columns.push(name("time")),
            }
            for (index, direction) in order {
                let by = columns[index.index(columns.len())].clone();
                if !query.order.iter().any(|order| order.by == by) {
                    query.order.push(Order { by, direction });
                }
            }
            query
        })
}

fn asked() -> impl Strategy<Value = (Plan, Query)> {
    any_plan().prop_flat_map(|plan| {
        let query = query(&plan);
        (Just(plan), query)
    })
}

/// What a roll-up answers.
pub(super) fn rolled_up(query: &Query, plan: &Plan, entries: &[Entry]) -> Asked<Page> {
    let question = Question::compile(query, plan, &kind())?;
    let groups = groups(plan, entries);
    let mut rollup = Rollup::new(&question, plan);
    // Backwards: the order in which groups come is nobody's business.
    for ((number, piece, dims), cells) in groups.iter().rev() {
        rollup.add(&day(*number), *piece, dims, cells)?;
    }
    rollup.finish()
}

fn rows(items: &[Item]) -> Vec<Row> {
    items.iter().map(|item| item.row.clone()).collect()
}

/// What was put into a group, and so its cells.
type Member = (Vec<Entry>, Box<[Accumulator]>);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn pages_are_the_model_cut_in_pieces((plan, mut query) in asked(), entries in entries()) {
        let expected = Model::new(&query, &plan).items(&entries);
        let limit = query.limit.unwrap() as usize;
        let whole = rolled_up(&Query { limit: None, ..query.clone() }, &plan, &entries).unwrap();
        prop_assert_eq!(&whole.rows, &rows(&expected));
        prop_assert_eq!(&whole.next, &None);
        let mut pages = expected.chunks(limit);
        loop {
            let page = rolled_up(&query, &plan, &entries).unwrap();
            prop_assert_eq!(&page.rows, &rows(pages.next().unwrap_or_default()));
            prop_assert_eq!(page.total, expected.len() as u64);
            query.cursor = page.next;
            if query.cursor.is_none() {
                break;
            }
        }
        prop_assert!(pages.next().is_none());
    }

    #[test]
    fn the_next_page_is_what_is_behind_though_figures_changed(
        (plan, mut query) in asked(), before in entries(), more in prop::collection::vec(entry(), 0..10),
        kept in 0_usize..40,
    ) {
        let after: Vec<Entry> = before.iter().take(kept).chain(&more).cloned().collect();
        query.cursor = rolled_up(&query, &plan, &before).unwrap().next;
        prop_assume!(query.cursor.is_some());
        let model = Model::new(&query, &plan);
        let limit = query.limit.unwrap() as usize;
        let last = &model.items(&before)[limit - 1];
        let behind: Vec<Item> =
            model.items(&after).into_iter().filter(|item| model.compare(last, item).is_lt()).collect();
        let page = rolled_up(&query, &plan, &after).unwrap();
        prop_assert_eq!(&page.rows, &rows(&behind[..limit.min(behind.len())]));
        prop_assert_eq!(page.next.is_some(), behind.len() > limit);
    }

    #[test]
    fn a_member_stands_among_its_neighbours(
        (plan, mut query) in asked(), entries in entries(), by in criteria(), around in 0_u32..4,
        limit in 1_u32..9, pick in any::<prop::sample::Index>(),
    ) {
        prop_assume!(query.dimensions.as_ref().is_none_or(|dimensions| !dimensions.is_empty()));
        (query.grain, query.order, query.limit) = (Pieces::Total, Vec::new(), Some(limit));
        query.rank.get_or_insert_with(|| RankQuery {
            by: by.iter().map(|(at, direction)| RankedBy { metric: name(METRICS[*at].0), direction: *direction }).collect(),
            ..RankQuery::default()
        });
        let expected = Model::new(&query, &plan).items(&entries);
        prop_assume!(!expected.is_empty());
        let at = pick.index(expected.len());
        let member = expected[at].dims.clone();
        let mut with_member = query.clone();
        let rank = with_member.rank.as_mut().unwrap();
        (rank.member, rank.around) = (Some(member), around);
        let page = rolled_up(&with_member, &plan, &entries).unwrap();
        let around = (around as usize).min((limit as usize - 1) / 2);
        let shown = at.saturating_sub(around)..(at + around + 1).min(expected.len());
        prop_assert_eq!(&page.rows, &rows(&expected[shown]));
        prop_assert_eq!((page.total, page.next), (expected.len() as u64, None));
        let rank = with_member.rank.as_mut().unwrap();
        rank.member.as_mut().unwrap()[0] = Some("nobody".into());
        let error = rolled_up(&with_member, &plan, &entries).unwrap_err();
        prop_assert_eq!(error.code, AskErrorCode::UnknownMember);
    }

    #[test]
    fn an_index_answers_as_a_roll_up_does(
        by in criteria(), own_ties in ties(), earliest in any::<bool>(), metrics in prop::option::of(some_metrics()),
        changes in prop::collection::vec(
            (entry(), prop::option::of(prop::option::of(ties())), 1_u32..5, any::<prop::sample::Index>(), 0_u32..3),
            1..30,
        ),
    ) {
        let plan = ranked_plan(by, own_ties, earliest);
        let mut index = RankIndex::new(&plan).unwrap();
        let mut members: BTreeMap<[Option<CompactString>; 2], Member> = BTreeMap::new();
        let mut cursors = BTreeMap::new();
        for (entry, ties, limit, pick, around) in changes {
            let entry = Entry { day: 0, ..entry };
            let (rows, held) = members.entry(entry.dims.clone()).or_insert_with(|| (Vec::new(), plan.zero()));
            let there = !plan.is_nothing(held);
            prop_assert_eq!(index.remove(&plan, &entry.dims, held), there);
            let dims = entry.dims.clone();
            rows.push(entry);
            *held = cells(&plan, &*rows);
            let there = !plan.is_nothing(held);
            prop_assert_eq!(index.insert(&plan, &dims, held), there);
            prop_assert!(!index.insert(&plan, &dims, held));
            let entries: Vec<Entry> = members.values().flat_map(|(rows, _)| rows.clone()).collect();

            let rank = ties.map(|ties| RankQuery { ties, ..RankQuery::default() });
            let mut query = Query {
                metrics: metrics.clone().map(|metrics| metrics.into_iter().map(name).collect()),
                limit: Some(limit),
                rank,
                ..Query::default()
            };
            let check = |query: &Query| {
                let question = Question::compile(query, &plan, &kind()).unwrap();
                assert!(question.ranked_by_view());
                let dims = |dims: &[Option<CompactString>]| [dims[0].clone(), dims[1].clone()];
                let found = index.answer(&question, &plan, |of| members.get(&dims(of)).map(|(_, cells)| &cells[..]));
                assert_eq!(found, rolled_up(query, &plan, &entries));
                found
            };
            // A page from the start, one behind an older cursor, and one around somebody who may not be a member.
            let first = check(&query).unwrap();
            prop_assert_eq!(first.total, index.len() as u64);
            query.cursor = cursors.get(&ties).cloned();
            check(&query).unwrap();
            if let Some(next) = first.next {
                cursors.insert(ties, next);
            }
            let member = members.keys().nth(pick.index(members.len())).unwrap().to_vec();
            query.cursor = None;
            query.limit = None;
            query.rank = Some(RankQuery { member: Some(member), around, ..query.rank.unwrap_or_default() });
            let _: Asked<Page> = check(&query);
        }
        let all = index.page(&plan, Start::Position(1), own_ties, usize::MAX);
        for (at, ranked) in all.iter().enumerate() {
            let dims = [ranked.dims[0].clone(), ranked.dims[1].clone()];
            let start = Start::Around { dims: &dims, cells: &members[&dims].1, before: 1 };
            prop_assert_eq!(&index.page(&plan, start, own_ties, 3), &all[at.saturating_sub(1)..][..3.min(all.len() - at.saturating_sub(1))]);
        }
    }
}
