//! Stored state: rows of a checkpoint. They are refused, or they are a state that can be asked, goes on with the log, and
//! is stored and restored again.

use super::{choice, chosen};
use crate::edit::edit;
use crate::world::{PARTITION, Rows, name, tenant, world};
use aggregator_shard::live::Feeds;
use aggregator_shard::pieces::{Sizes, cut, read_rows};
use daybook_contracts::ask::{DaySelector, Pieces, Query};
use daybook_contracts::day::{DayMarker, Edge};
use daybook_contracts::log::{Batch, FORMAT, Record, Through};
use daybook_domain::calendar::BusinessDay;
use daybook_domain::ids::{InboxSeq, LogSeq, Name, TenantId};
use daybook_domain::time::{Date, Instant};
use daybook_machine::PartitionState;

/// With bit 0 of the first byte the rest are edits of a sound checkpoint, so that most of it stays readable; else it is
/// rows, framed as a snapshot frames them but not compressed.
pub fn run(data: &[u8]) {
    let Some((choice, data)) = choice(data) else { return };
    let mut rows = Rows::new();
    if choice & 1 == 1 {
        rows.clone_from(&world().rows);
        edit(&mut rows, data);
        return restore(&rows);
    }
    let whole = read_rows(data, &mut |row: (Vec<u8>, Vec<u8>)| {
        rows.insert(row.0, row.1);
        Ok(())
    });
    if whole.is_ok() {
        restore(&rows);
    }
}

/// Restores a state from rows of any origin and uses it in every way.
pub fn restore(rows: &Rows) {
    // Of such a state no batch can be applied without its pages.
    if let Ok(Some(mut state)) = PartitionState::restore_passing(PARTITION, rows, 0) {
        ask(&mut state);
    }
    let Ok(Some(mut state)) = PartitionState::restore(PARTITION, rows) else { return };
    ask(&mut state);
    go_on(&mut state);
    ask(&mut state);
    // What was put into it is all that changed, so the rows together are the state.
    let mut stored = rows.clone();
    let changes = state.checkpoint();
    for key in changes.remove {
        stored.remove(&key);
    }
    stored.extend(changes.put);
    let again = PartitionState::restore(PARTITION, &stored).expect("what was stored can be read").expect("it has rows");
    assert_eq!((again.position(), again.through(), again.sizes()), (state.position(), state.through(), state.sizes()));
}

fn ask(state: &mut PartitionState) {
    let views: Vec<Name> = state.views(0).into_iter().map(|view| view.view).collect();
    let _ = (state.sizes(), state.wants_backfill(), state.as_of());
    let mut feeds = Feeds::new("run".to_owned());
    for tenant in tenants() {
        let Ok(days) = state.days(&tenant) else { continue };
        assert!(days.days.iter().all(|day| day.account.balances()));
        for view in &views {
            let one = days.days.first().map_or(Date::MIN, |day| day.date);
            for days in [DaySelector::Date(one), DaySelector::Last(400), DaySelector::Season(name("hunt"))] {
                for grain in [Pieces::Total, Pieces::Day, Pieces::Hour, Pieces::QuarterHour] {
                    let _ = state.view(&tenant, view, &Query { grain, ..Query::days(days.clone()) });
                }
                let _ = state.view(&tenant, view, &Query { dimensions: Some(Vec::new()), ..Query::days(days) });
            }
            let _ = state.figures(&tenant, view, Date::MIN, Date::MAX);
            let _ = feeds.watch(state, &tenant, view, tokio::time::Instant::now());
        }
    }
    let _ = feeds.updates(state);
}

fn tenants() -> [TenantId; 2] {
    [tenant(), TenantId::new("EWR").expect("a valid id")]
}

/// Goes on with the log: events again, newer versions, and days that close, which seals them and lets others expire.
fn go_on(state: &mut PartitionState) {
    for (_, batch) in &world().log {
        // The definitions stand in the first batch and the last; ingest records events of what is defined only.
        let is_known = |record: &Record| match record {
            Record::Events(events) => state.knows(&events.tenant, &events.kind),
            Record::Day(_) | Record::Rejected(_) | Record::Restate(_) => true,
            Record::Define(_) => false,
        };
        let mut records: Vec<Record> = batch.records.iter().filter(|record| is_known(record)).cloned().collect();
        apply(state, records.clone());
        for record in &mut records {
            if let Record::Events(events) = record {
                events.events.iter_mut().for_each(|event| event.version = event.version.map(|version| version + 1_000));
            }
        }
        apply(state, records);
    }
    for tenant in tenants() {
        for days in [0, 1, 2, 60] {
            for edge in [Edge::Opened, Edge::Closed] {
                apply(state, vec![Record::Day(marker(&tenant, edge, Date::from_days(15_772 + days)))]);
            }
        }
    }
}

fn apply(state: &mut PartitionState, records: Vec<Record>) {
    let through = Through { inbox: InboxSeq(state.through().inbox.0 + 1), events: 0 };
    let position = LogSeq(state.position().0 + 1);
    state.apply(position, Batch { format: FORMAT, through, records });
}

fn marker(tenant: &TenantId, edge: Edge, date: Date) -> DayMarker {
    let opens_at = Instant::from_millis(i64::from(date.as_days()) * 86_400_000);
    let closes_at = Instant::from_millis(opens_at.as_millis() + 86_400_000);
    let day = BusinessDay { date, opens_at, closes_at };
    let (calendar, tzdb) = (name("c"), "2026a".to_owned());
    DayMarker {
        tenant: tenant.clone(),
        edge,
        day,
        due_at: closes_at,
        calendar,
        calendar_revision: 1,
        tzdb,
        generation: 0,
    }
}

/// Rows as they are framed here.
pub fn framed(rows: &Rows) -> Vec<u8> {
    let mut bytes = Vec::new();
    let rows = rows.iter().map(Ok::<_, std::convert::Infallible>);
    let Ok(()) = cut(rows, Sizes::STORED, |piece| {
        bytes.extend_from_slice(piece);
        Ok(())
    });
    bytes
}

pub fn seeds() -> Vec<Vec<u8>> {
    let rows = &world().rows;
    let mut early = PartitionState::new(PARTITION);
    let mut seeds = vec![chosen(0, &framed(rows))];
    for (position, batch) in world().log.iter().take(3).cloned() {
        early.apply(position, batch);
    }
    seeds.push(chosen(0, &framed(&early.checkpoint().put.into_iter().collect())));
    seeds.extend([1, 3, 8, 20].map(|count| chosen(1, &crate::edit::some(count))));
    seeds
}
