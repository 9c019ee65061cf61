//! Updates of a live feed, as whoever watches a view reads them: lines of JSON, followed one after the other.

use crate::world::{name, tenant, world};
use daybook_contracts::ask::{Answer, Feed, Query};
use daybook_contracts::live::LiveUpdate;
use daybook_contracts::live::view::{Followed, LiveView};
use std::sync::OnceLock;

pub fn run(data: &[u8]) {
    let mut updates = Vec::new();
    for line in data.split(|byte| *byte == b'\n') {
        let Ok(update) = serde_json::from_slice::<LiveUpdate>(line) else { continue };
        let bytes = serde_json::to_vec(&update).expect("updates are plain values");
        assert_eq!(serde_json::from_slice(&bytes).ok().as_ref(), Some(&update));
        updates.push(update);
    }
    static SNAPSHOTS: OnceLock<Vec<Answer>> = OnceLock::new();
    let snapshots = SNAPSHOTS.get_or_init(|| world().views().iter().map(|view| snapshot(view.name.as_str())).collect());
    for (view, snapshot) in world().views().iter().zip(snapshots) {
        let mut live = LiveView::new(view, snapshot.clone()).expect("the snapshot has a feed");
        let mut followed = 0;
        for update in &updates {
            followed += usize::from(live.follow(update.clone()) == Followed::Applied);
        }
        let rows: usize = updates.iter().map(|update| update.rows.len()).sum();
        assert!(live.rows().len() <= snapshot.rows.len() + rows && followed <= updates.len());
    }
}

fn snapshot(view: &str) -> Answer {
    let answer = world().state().view(&tenant(), &name(view), &Query::default()).expect("it can be asked for");
    Answer { feed: Some(Feed { feed: "run-1".into(), sequence: 0 }), ..answer }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let line = |view: &str, sequence, reset| {
        let answer = snapshot(view);
        let update = LiveUpdate {
            tenant: tenant(),
            view: name(view),
            feed: "run-1".into(),
            sequence,
            date: answer.to,
            day: answer.day,
            removed: answer.rows.iter().take(1).cloned().collect(),
            rows: answer.rows,
            reset,
            as_of: answer.as_of,
        };
        serde_json::to_vec(&update).expect("plain values")
    };
    let of = |view: &str| [line(view, 1, false), line(view, 2, false), line(view, 3, true)].join(&b'\n');
    ["totals", "race", "hours"].map(of).into()
}
