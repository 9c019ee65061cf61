//! What the digest of a state tells, and when it is taken. That replicas agree is with the properties.

use super::fixtures::*;
use super::replica::{commit, restore};
use crate::PartitionState;
use crate::digest::DIGEST_EVERY;
use daybook_contracts::ask::{DaySelector, Query};
use daybook_contracts::log::{Batch, FORMAT, Through};
use daybook_contracts::members::{MAX_DIGESTS, StateDigest};
use daybook_domain::catalogue::{Definition, Status};
use daybook_domain::ids::{InboxSeq, LogSeq};
use std::collections::BTreeMap;

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

fn shard() -> Shard {
    let mut shard = Shard::new();
    shard.state.keep_digests();
    shard.open(0);
    shard.orders(vec![order("x", Some(1), 0), with_status(Status::Draft, order("y", Some(1), 0))]);
    shard.clicks(vec![click(Some("c"), 0), click(None, 1)]);
    shard
}

fn digest(shard: &mut Shard) -> StateDigest {
    shard.state.digest().unwrap()
}

/// The digest of a state that is restored from what is stored, all of it looked at anew.
fn anew(rows: &Rows) -> StateDigest {
    let mut state = restore(rows);
    state.keep_digests();
    state.digest().unwrap()
}

#[test]
fn a_restored_state_has_the_digest_of_the_one_that_ran() {
    let (mut shard, mut rows) = (shard(), Rows::new());
    let before = digest(&mut shard);
    commit(&mut rows, shard.state.checkpoint());
    assert_eq!(anew(&rows), before);
    // Events of kinds that are known change no definition.
    shard.clicks(vec![click(None, 0)]);
    commit(&mut rows, shard.state.checkpoint());
    assert_eq!(anew(&rows), digest(&mut shard));
    // Changes that a checkpoint took are in the next digest all the same.
    shard.define(tenant_with_seasons("ABQ", 2, vec![season("hunt", 2, 3)]));
    shard.orders(vec![with_qty(9, order("x", Some(2), 0)), order("z", Some(1), 2)]);
    commit(&mut rows, shard.state.checkpoint());
    shard.close(0);
    shard.orders(vec![order("late", Some(1), 0)]);
    commit(&mut rows, shard.state.checkpoint());
    let after = digest(&mut shard);
    assert_ne!(after, before);
    assert_eq!(anew(&rows), after);
    // Days go, and what they put in with them.
    shard.close(50);
    commit(&mut rows, shard.state.checkpoint());
    assert_eq!(anew(&rows), digest(&mut shard));
}

#[test]
fn any_change_gives_another_digest() {
    let mut seen = Vec::new();
    let changes: [fn(&mut Shard); 9] = [
        |_| {},
        |shard| shard.orders(vec![order("z", Some(1), 0)]),
        |shard| shard.orders(vec![order("z", Some(2), 0)]),
        |shard| shard.orders(vec![order("x", Some(1), 0)]),
        |shard| shard.clicks(vec![click(None, 0)]),
        |shard| shard.clicks(vec![click(None, 2)]),
        |shard| shard.open(1),
        |shard| shard.define(Definition::View(by_city("late"))),
        |shard| shard.define(tenant("EWR")),
    ];
    for change in changes {
        let mut shard = shard();
        change(&mut shard);
        if shard.state.position() == LogSeq(8) {
            shard.apply(vec![]);
        }
        seen.push((shard.state.position(), digest(&mut shard).state));
    }
    let positions: Vec<LogSeq> = seen.iter().map(|(position, _)| *position).collect();
    assert!(
        positions.iter().all(|position| *position == positions[0]),
        "otherwise that alone would tell: {positions:?}"
    );
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), changes.len());
}

#[test]
fn a_damaged_figure_is_seen_and_seasons_are_told_apart() {
    let mut shard = shard();
    shard.define(tenant_with_seasons("ABQ", 2, vec![season("hunt", 2, 3)]));
    shard.orders(vec![order("s", Some(1), 2)]);
    let mut rows = Rows::new();
    commit(&mut rows, shard.state.checkpoint());
    let sound = digest(&mut shard);
    assert!(sound.seasons.is_some());
    let damaged = |is_hit: fn(&[u8]) -> bool| {
        let mut rows = rows.clone();
        let row = rows.iter_mut().find(|(key, value)| is_hit(key) && value.len() > 4).expect("such a row").1;
        // The last number of the row, or of the page that ends it: of a group's figures.
        *row.last_mut().unwrap() ^= 1;
        anew(&rows)
    };
    let day = damaged(|key| key[0] == b'd' && key.ends_with(b"h"));
    assert_eq!((day.contradicts(&sound), day.seasons == sound.seasons), (true, true));
    let season = damaged(|key| key[0] == b's');
    assert_eq!((season.contradicts(&sound), season.state == sound.state), (true, true));
}

#[test]
fn what_one_replica_alone_has_does_not_tell() {
    let (mut one, mut other) = (shard(), shard());
    one.define(Definition::View(by_city("late")));
    other.define(Definition::View(by_city("late")));
    // A job, a feed, an order of members, and windows with nothing in them.
    one.make_everything();
    one.state.watch(&tenant_id("ABQ"), &name("totals"), date(1));
    one.ask("ABQ", "totals", &Query::days(DaySelector::Date(date(0)))).unwrap();
    one.orders(vec![with_qty(3, order("x", Some(2), 0))]);
    other.orders(vec![with_qty(3, order("x", Some(2), 0))]);
    assert_eq!(digest(&mut one), digest(&mut other));
    assert_eq!(PartitionState::new(PARTITION).digest(), None, "not kept");
}

#[test]
fn digests_are_taken_where_the_log_says() {
    let mut one = PartitionState::new(PARTITION);
    one.keep_digests();
    assert_eq!(*one.digests(), []);
    let every = DIGEST_EVERY;
    let positions = [1, every - 1, every + 2, every + 3, 2 * every, 5 * every, 6 * every, 7 * every + 1];
    let batch = |number: usize| {
        let through = Through { inbox: InboxSeq(number as u64), events: 0 };
        Batch { format: FORMAT, through, records: vec![] }
    };
    let (mut rows, mut late) = (Rows::new(), None);
    for (number, position) in positions.into_iter().enumerate() {
        one.apply(LogSeq(position), batch(number));
        if position == every - 1 {
            commit(&mut rows, one.checkpoint());
            late = Some(restore(&rows));
        }
    }
    let taken: Vec<u64> = one.digests().iter().map(|digest| digest.log.0).collect();
    assert_eq!(taken, [2 * every, 5 * every, 6 * every, 7 * every + 1]);
    assert_eq!(taken.len(), MAX_DIGESTS);
    let mut late = late.unwrap();
    late.keep_digests();
    positions
        .into_iter()
        .enumerate()
        .skip(2)
        .for_each(|(number, position)| drop(late.apply(LogSeq(position), batch(number))));
    assert_eq!(late.digests(), one.digests());
}
