//! Random sequences of members that come, go and serve, and of actors that fail, on the real supervisor.

use super::*;
use crate::membership::Readiness;
use daybook_contracts::members::{Heartbeat, Part};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

const PARTITIONS: u16 = 3;
/// Sequences that run side by side: most of their time is waiting.
const SEQUENCES: usize = 100;
/// How long a process may take to settle: some failures in a row, each with a longer pause.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Clone, Debug)]
enum Step {
    /// These are the members now, each with the partitions that it serves. Bit 0 of the members is the process itself.
    Members { here: u8, serving: [u8; 3] },
    /// The actor of a partition fails, if it runs.
    Fail(u16),
    /// So many milliseconds pass.
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0u8..8, any::<[u8; 3]>()).prop_map(|(here, serving)| Step::Members { here: here | 1, serving }),
        1 => (0..PARTITIONS).prop_map(Step::Fail),
        // Around LINGER, within which changes coalesce.
        3 => (0u64..200).prop_map(Step::Pass),
    ]
}

#[derive(Clone, Debug)]
struct Sequence {
    sharing: Sharing,
    /// How long each actor takes to begin and to end.
    delay_ms: u64,
    steps: Vec<Step>,
}

fn sequence() -> impl Strategy<Value = Sequence> {
    (1usize..=2, any::<bool>(), 0u64..60, prop::collection::vec(step(), 1..12)).prop_map(
        |(replicas, hand_over, delay_ms, steps)| {
            let sharing = Sharing { partitions: PARTITIONS, replicas, hand_over };
            Sequence { sharing, delay_ms, steps }
        },
    )
}

const NAMES: [&str; 3] = ["a", "b", "c"];

fn members(here: u8, serving: [u8; 3]) -> Members {
    let member = |index: usize| {
        let serves = |p: &u16| serving[index] & (1 << p) != 0;
        let ready = || Part { ready: true, ..Part::default() };
        let parts = (0..PARTITIONS).filter(serves).map(|p| (Partition(p), ready())).collect();
        (NAMES[index].into(), Heartbeat { parts, ..Heartbeat::of("aggregator-shard", NAMES[index]) })
    };
    (0..3).filter(|index| here & (1 << index) != 0).map(member).collect()
}

/// The actors that serve, as they know it themselves.
type Serving = Arc<Mutex<BTreeMap<u16, ActorRef<()>>>>;

struct Serves;

struct State {
    partition: u16,
    delay: Duration,
    serving: Serving,
    readiness: Readiness,
}

impl Drop for State {
    fn drop(&mut self) {
        // One that fails does not come to `post_stop`.
        self.readiness.lost();
        self.serving.lock().unwrap().remove(&self.partition);
    }
}

impl Actor for Serves {
    type Msg = ();
    type State = State;
    type Arguments = (u16, Duration, Serving, Health, Board);

    async fn pre_start(
        &self,
        myself: ActorRef<()>,
        (partition, delay, serving, health, board): Self::Arguments,
    ) -> Result<State, ActorProcessingErr> {
        let readiness = Readiness::begin(health, board, Partition(partition));
        tokio::time::sleep(delay).await;
        serving.lock().unwrap().insert(partition, myself);
        readiness.reached();
        Ok(State { partition, delay, serving, readiness })
    }

    async fn handle(&self, _: ActorRef<()>, (): (), _: &mut State) -> Result<(), ActorProcessingErr> {
        Err("on purpose".into())
    }

    async fn post_stop(&self, _: ActorRef<()>, state: &mut State) -> Result<(), ActorProcessingErr> {
        state.readiness.lost();
        state.serving.lock().unwrap().remove(&state.partition);
        tokio::time::sleep(state.delay).await;
        Ok(())
    }
}

/// What a process says and does at one moment: parts of health, what the others hear, who serves.
fn seen(health: &Health, board: &Board, serving: &Serving) -> (BTreeMap<String, bool>, Vec<u16>, Vec<u16>) {
    let told = board.parts().iter().filter(|(_, part)| part.ready).map(|(partition, _)| partition.0).collect();
    (health.parts(), told, serving.lock().unwrap().keys().copied().collect())
}

/// Plays a sequence, and says what is wrong.
async fn play(sequence: Sequence) -> Result<(), String> {
    let Sequence { sharing, delay_ms, steps } = sequence;
    let (health, board, serving) = (Health::default(), Board::default(), Serving::default());
    let children = (0..PARTITIONS).map(|partition| {
        let arguments = (partition, Duration::from_millis(delay_ms), serving.clone(), health.clone(), board.clone());
        Child::new(label(partition), move |supervisor| {
            let arguments = arguments.clone();
            async move { Ok(Actor::spawn_linked(None, Serves, arguments, supervisor).await?.0.get_cell()) }
        })
    });
    let (sender, receiver) = watch::channel(members(1, [0; 3]));
    let (stop, gone) = (CancellationToken::new(), CancellationToken::new());
    gone.cancel();
    let membership =
        Membership { instance: "a".into(), service: "aggregator-shard", members: receiver, stop: stop.clone(), gone };
    let (children, leave, told) = (children.collect(), stop.child_token(), board.clone());
    let running = tokio::spawn(run_owned(children, sharing, membership, told, health.clone(), leave, stop.clone()));
    for step in steps {
        match step {
            Step::Members { here, serving } => drop(sender.send_replace(members(here, serving))),
            Step::Fail(partition) => {
                if let Some(actor) = serving.lock().unwrap().get(&partition) {
                    let _ = actor.cast(());
                }
            }
            Step::Pass(ms) => tokio::time::sleep(Duration::from_millis(ms)).await,
        }
        let (parts, told, serve) = seen(&health, &board, &serving);
        let is_served = |partition: &u16| serve.contains(partition);
        let mut ready = (0..PARTITIONS).filter(|partition| parts.get(&label(*partition)) == Some(&true));
        if !told.iter().all(is_served) || !ready.all(|partition| is_served(&partition)) {
            return Err(format!("health says {parts:?} and the others hear {told:?} while {serve:?} are served"));
        }
    }
    // The others serve everything at last, so that what is theirs is left to them.
    sender.send_modify(|members| {
        for (name, member) in members.iter_mut().filter(|(name, _)| *name != "a") {
            *member = Heartbeat { instance: name.clone(), ..self::members(7, [7; 3])["b"].clone() };
        }
    });
    let due = wanted(&BTreeSet::new(), usize::from(PARTITIONS), sharing, "a", &sender.borrow());
    let due: Vec<u16> = due.into_iter().map(|index| index as u16).collect();
    let wanted = (due.iter().map(|p| (label(*p), true)).collect(), due.clone(), due);
    let settled = async {
        while seen(&health, &board, &serving) != wanted {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let settled = tokio::time::timeout(PATIENCE, settled).await;
    let last = seen(&health, &board, &serving);
    stop.cancel();
    running.await.expect("it does not panic").expect("it starts");
    settled.map_err(|_| format!("it stays at {last:?} instead of {wanted:?}"))
}

fn label(partition: u16) -> String {
    format!("shard {partition}")
}

#[test]
fn after_any_sequence_exactly_what_is_served_and_owned_is_ready() {
    // A try that fails takes PATIENCE, so nothing is shrunk; the sequence at fault is short and shown.
    let config = Config { cases: 1, max_shrink_iters: 0, failure_persistence: None, ..Config::default() };
    let run = |sequences: Vec<Sequence>| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let plays = sequences.iter().cloned().map(play);
        let outcomes = runtime.block_on(futures::future::join_all(plays));
        for (sequence, outcome) in sequences.iter().zip(outcomes) {
            outcome.map_err(|why| TestCaseError::fail(format!("{why}, after {sequence:?}")))?;
        }
        Ok(())
    };
    TestRunner::new(config).run(&prop::collection::vec(sequence(), SEQUENCES), run).unwrap();
}
