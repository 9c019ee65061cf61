//! What query asks of the shards, in JSON, live feeds among it. Any question that is read is answered.

use crate::world::{name, tenant, world};
use aggregator_shard::live::Feeds;
use daybook_contracts::ask::{DaySelector, Query, ShardQuestion};
use daybook_contracts::figures::Figures;
use daybook_contracts::log::Batch;
use daybook_contracts::totals::Totals;
use daybook_domain::ids::{LogSeq, Partition};
use daybook_domain::time::Date;
use daybook_machine::PartitionState;
use tokio::time::Instant;

pub fn run(data: &[u8]) {
    let Ok(question) = serde_json::from_slice::<ShardQuestion>(data) else { return };
    let bytes = serde_json::to_vec(&question).expect("questions are plain values");
    assert_eq!(serde_json::from_slice(&bytes).ok().as_ref(), Some(&question));
    let mut state = world().state();
    match question {
        ShardQuestion::View { tenant, view, query } if query.watch => {
            let mut feeds = Feeds::new("run".to_owned());
            if state.check(&tenant, &view, &query).is_err() {
                return;
            }
            if feeds.watch(&mut state, &tenant, &view, Instant::now()).is_ok() {
                apply_something(&mut state);
                for update in feeds.updates(&mut state) {
                    assert_eq!((update.tenant, update.view), (tenant.clone(), view.clone()));
                }
            }
        }
        ShardQuestion::View { tenant, view, query } => drop(state.view(&tenant, &view, &query)),
        ShardQuestion::Figures { tenant, view, from, to } => {
            if let Ok(figures) = state.figures(&tenant, &view, from, to) {
                assert_eq!(Figures::decode(&figures.encode()).ok().as_ref(), Some(&figures));
            }
        }
        ShardQuestion::Totals { tenants, view, days, .. } => {
            if let Ok(totals) = state.totals(&tenants, &view, &days) {
                let totals = Totals::decode(&totals.finish(0)).expect("what is written is read");
                assert!(totals.members.iter().map(|member| &member.tenant).eq(&tenants));
            }
        }
        ShardQuestion::Days { tenant } => drop(state.days(&tenant)),
        ShardQuestion::ViewsOf { tenant, .. } => drop(state.views_for(&tenant)),
        ShardQuestion::Position => assert!(state.as_of().log > LogSeq(0)),
        ShardQuestion::Views => assert!(!state.views(0).is_empty()),
    }
}

/// Reads the log once more, as if it went on with what it had.
fn apply_something(state: &mut PartitionState) {
    let through = state.through();
    for (offset, (_, batch)) in world().log.iter().enumerate().skip(1) {
        let position = LogSeq(state.position().0 + 1 + offset as u64);
        let batch = Batch { through, ..batch.clone() };
        if !state.awaits_backfill(&batch) {
            state.apply(position, batch);
        }
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let view = |view: &str, query| ShardQuestion::View { tenant: tenant(), view: name(view), query: Box::new(query) };
    let figures = |from, to| ShardQuestion::Figures { tenant: tenant(), view: name("race"), from, to };
    assert!(Partition::of(tenant().as_str(), 1).0 == 0);
    let mut questions = vec![
        view("totals", Query::default()),
        view("hours", Query::days(DaySelector::Last(7))),
        figures(Date::from_days(15_770), Date::from_days(15_780)),
        ShardQuestion::Days { tenant: tenant() },
        ShardQuestion::ViewsOf { tenant: tenant(), group: None },
        ShardQuestion::Position,
        ShardQuestion::Views,
    ];
    questions.extend(["totals", "race", "hours"].map(|name| view(name, Query { watch: true, ..Query::default() })));
    let (group, tenants) = (tenant(), vec![tenant(), "nobody".parse().expect("a valid id")]);
    questions.push(ShardQuestion::Totals { group, tenants, view: name("race"), days: DaySelector::Last(7) });
    questions.iter().map(|question| serde_json::to_vec(question).expect("plain values")).collect()
}
