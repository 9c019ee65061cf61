use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

const BOUNDS: Bounds =
    Bounds { waiting_of_a_tenant: 100, waiting: 1_000, running_of_a_tenant: 1, running: 1, quantum: 10 };

/// Begins and ends the next item.
fn next(queue: &mut FairQueue<char, u32>, cost: u64) -> Option<(char, u32)> {
    let (tenant, item) = queue.begin()?;
    queue.done(&tenant, cost);
    Some((tenant, item))
}

#[test]
fn a_flood_waits_behind_itself() {
    let mut queue = FairQueue::new(BOUNDS);
    for item in 0..100 {
        queue.push('a', item).unwrap();
    }
    assert_eq!(queue.push('a', 100), Err(Full { waiting: 100 }));
    assert_eq!(Full { waiting: 100 }.busy().code, AskErrorCode::Busy);
    assert_eq!(next(&mut queue, 1), Some(('a', 0)));
    queue.push('b', 0).unwrap();
    queue.push('b', 1).unwrap();
    assert_eq!((queue.ahead_of(&'a'), queue.ahead_of(&'b'), queue.ahead_of(&'c')), (199, 5, 2));
    let order: Vec<_> = (0..5).map(|_| next(&mut queue, 1).unwrap()).collect();
    assert_eq!(order, [('a', 1), ('b', 0), ('a', 2), ('b', 1), ('a', 3)]);
}

#[test]
fn what_costs_more_than_a_turn_uses_up_further_ones() {
    let mut queue = FairQueue::new(BOUNDS);
    for item in 0..10 {
        queue.push('a', item).unwrap();
        queue.push('b', item).unwrap();
    }
    assert_eq!(next(&mut queue, 40), Some(('a', 0)));
    let order: String = (0..8).map(|_| next(&mut queue, 10).unwrap().0).collect();
    assert_eq!(order, "bbbbabab");
}

#[test]
fn nobody_waits_for_turns_that_no_other_wants() {
    let mut queue = FairQueue::new(BOUNDS);
    for item in 0..10 {
        queue.push('a', item).unwrap();
    }
    for item in 0..10 {
        assert_eq!(next(&mut queue, u64::MAX), Some(('a', item)));
    }
    assert_eq!((queue.begin(), queue.tenants.len()), (None, 0), "a tenant without items takes no room");
}

#[test]
fn a_tenant_that_runs_as_many_as_it_may_keeps_its_place() {
    let mut queue = FairQueue::new(Bounds { running_of_a_tenant: 2, running: 4, ..BOUNDS });
    for item in 0..5 {
        queue.push('a', item).unwrap();
    }
    queue.push('b', 0).unwrap();
    let begun: Vec<_> = std::iter::from_fn(|| queue.begin()).collect();
    assert_eq!(begun, [('a', 0), ('b', 0), ('a', 1)]);
    queue.push('c', 0).unwrap();
    queue.done(&'a', 1);
    assert_eq!(queue.begin(), Some(('a', 2)));
    assert_eq!(queue.begin(), Some(('c', 0)));
    assert_eq!((queue.begin(), queue.running(), queue.waiting()), (None, 4, 2));
}

#[derive(Clone, Debug)]
enum Step {
    Push(u8),
    Begin,
    /// Ends the item that was begun so many ago, at that cost.
    Done(usize, u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..5_u8).prop_map(Step::Push),
        // A flood of one tenant.
        4 => Just(Step::Push(0)),
        4 => Just(Step::Begin),
        4 => (0..8_usize, prop_oneof![0..30_u64, Just(u64::MAX)]).prop_map(|(ago, cost)| Step::Done(ago, cost)),
    ]
}

fn bounds() -> impl Strategy<Value = Bounds> {
    (1..20_usize, 1..60_usize, 1..4_usize, 1..8_usize, 1..20_u64).prop_map(
        |(waiting_of_a_tenant, waiting, running_of_a_tenant, running, quantum)| Bounds {
            waiting_of_a_tenant,
            waiting,
            running_of_a_tenant,
            running,
            quantum,
        },
    )
}

/// A tenant as a naive model knows it.
#[derive(Default)]
struct Known {
    waiting: VecDeque<u32>,
    running: usize,
    /// Items that others began since this one could have begun one, by tenant.
    others: BTreeMap<u8, usize>,
    /// It has had an item in this stay that cost more than a turn.
    owes: bool,
}

proptest! {
    #[test]
    fn turns_order_and_bounds_hold(bounds in bounds(), steps in prop::collection::vec(step(), 0..400)) {
        let mut queue = FairQueue::new(bounds);
        let mut known: BTreeMap<u8, Known> = (0..5).map(|tenant| (tenant, Known::default())).collect();
        let mut begun: VecDeque<u8> = VecDeque::new();
        for (item, step) in (0..).zip(steps) {
            let waiting: usize = known.values().map(|tenant| tenant.waiting.len()).sum();
            match step {
                Step::Push(key) => {
                    let tenant = known.get_mut(&key).unwrap();
                    let fits = tenant.waiting.len() < bounds.waiting_of_a_tenant.min(bounds.waiting - waiting);
                    prop_assert_eq!(queue.push(key, item).is_ok(), fits);
                    if fits {
                        tenant.waiting.push_back(item);
                    }
                }
                Step::Begin => {
                    let may_run = |tenant: &Known| !tenant.waiting.is_empty() && tenant.running < bounds.running_of_a_tenant;
                    let expected = begun.len() < bounds.running && known.values().any(may_run);
                    let next = queue.begin();
                    prop_assert_eq!(next.is_some(), expected, "work is done while there is some");
                    let Some((key, item)) = next else { continue };
                    for (other, tenant) in &mut known {
                        if *other != key && may_run(tenant) && !tenant.owes {
                            let turns = tenant.others.entry(key).or_default();
                            *turns += 1;
                            prop_assert!(*turns <= 1, "{} waits for {} turns of {}", other, turns, key);
                        }
                    }
                    let tenant = known.get_mut(&key).unwrap();
                    prop_assert_eq!(tenant.waiting.pop_front(), Some(item), "a tenant's order is kept");
                    tenant.running += 1;
                    tenant.others.clear();
                    begun.push_back(key);
                }
                Step::Done(ago, cost) => {
                    let Some(key) = begun.len().checked_sub(ago + 1).and_then(|place| begun.remove(place)) else { continue };
                    queue.done(&key, cost);
                    let tenant = known.get_mut(&key).unwrap();
                    tenant.running -= 1;
                    tenant.owes |= cost > bounds.quantum;
                    if tenant.running == 0 && tenant.waiting.is_empty() {
                        (tenant.owes, tenant.others) = (false, BTreeMap::new());
                    }
                }
            }
            prop_assert_eq!(queue.waiting(), known.values().map(|tenant| tenant.waiting.len()).sum::<usize>());
            prop_assert_eq!(queue.running(), begun.len());
            prop_assert_eq!(queue.tenants.len(), known.values().filter(|t| t.running + t.waiting.len() > 0).count());
        }
    }
}
