//! The engine against a plain recomputation, over random games; and the rules one by one.

use super::*;
use crate::play::reference::recompute;
use crate::rules::{Rules, read::read};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::path::Path;

const RULES: &str = "
hunt: h
name: H
start: 1970-01-01T00:00:01Z
end: 1970-01-01T00:16:40Z
join_until: 1970-01-01T00:10:00Z
team_size: 3
challenges:
  - { id: a, answer: { exact: 'yes' }, points: 100, first: [30, 10], decay: { by: 7, to: 80 },
      hints: [{ text: one, price: 5 }, { text: two, price: 6 }] }
  - { id: b, answer: { normalised: 'yes' }, points: 50, after: [a], decay: { by: 3, each: 60s, to: 10 } }
  - { id: c, answer: { regex: 'yes|maybe' }, points: 70, attempts: { count: 2, within: 20s } }
";

fn rules(text: &str) -> Box<Rules> {
    Box::new(read(Path::new("r"), text, &mut || "salt".to_owned()).unwrap())
}

/// A game with its log.
struct Game {
    world: World,
    log: Vec<Entry>,
    /// What Daybook would hold: the newest version of every event.
    daybook: BTreeMap<String, Event>,
}

impl Game {
    fn new() -> Self {
        let mut game = Self { world: World::default(), log: Vec::new(), daybook: BTreeMap::new() };
        game.append(None, Record::Rules { rules: rules(RULES), at: 0 });
        game
    }

    fn append(&mut self, team: Option<&str>, record: Record) {
        let sequence = self.log.len() as u64 + 1;
        self.log.push((sequence, team.map(str::to_owned), record.clone()));
        for event in self.world.apply(sequence, team, record) {
            let known = self.daybook.get(&event.id).map_or(0, |known| known.version);
            assert!(event.version > known, "{event:?} follows version {known}");
            self.daybook.insert(event.id.clone(), event);
        }
    }

    fn ask(&mut self, team: &str, ask: &Ask, now: impl Into<Moment>) -> Result<Reply, Refusal> {
        let now = now.into();
        match decide(&self.world, team, ask, now) {
            Decision::Done(reply) => Ok(reply),
            Decision::Refuse(refusal) => Err(refusal),
            Decision::Append(record) => {
                self.append(Some(team), record);
                match decide(&self.world, team, ask, now) {
                    Decision::Done(reply) => Ok(reply),
                    other => panic!("{ask:?} was appended, and is {other:?}"),
                }
            }
        }
    }

    fn join(&mut self, team: &str, player: &str) {
        self.ask(team, &Ask::Create { name: team.to_owned() }, 1).unwrap();
        self.ask(team, &Ask::Join { player: player.to_owned(), name: player.to_owned() }, 1).unwrap();
    }

    fn submit(
        &mut self,
        team: &str,
        id: &str,
        challenge: &str,
        answer: &str,
        now: impl Into<Moment>,
    ) -> Result<Reply, Refusal> {
        self.ask(team, &submit(id, team, challenge, answer), now)
    }
}

use super::ask::decide;

/// A submission of the player whose id is that of the team.
fn submit(id: &str, player: &str, challenge: &str, answer: &str) -> Ask {
    Ask::Submit { id: id.into(), player: player.into(), challenge: challenge.into(), answer: answer.into() }
}

fn points(reply: Result<Reply, Refusal>) -> i64 {
    match reply {
        Ok(Reply::Judged { points, .. }) => points,
        other => panic!("{other:?}"),
    }
}

#[test]
fn first_solvers_get_more_and_chains_open() {
    let mut game = Game::new();
    for team in ["red", "blue", "green"] {
        game.join(team, team);
    }
    assert_eq!(game.submit("red", "1", "b", "yes", 2_000), Err(Refusal::NotOpen));
    assert_eq!(points(game.submit("red", "1", "a", "no", 2_000)), 0);
    let Ok(Reply::Judged { points, open, .. }) = game.submit("red", "2", "a", " yes", 3_000) else { panic!() };
    assert_eq!((points, open), (130, vec!["b".to_owned(), "c".to_owned()]));
    assert_eq!(self::points(game.submit("blue", "1", "a", "yes", 3_000)), 103);
    assert_eq!(self::points(game.submit("green", "1", "a", "yes", 3_000)), 86);
    assert_eq!(self::points(game.submit("red", "3", "b", "Y-E-S!", 122_000)), 44);
    assert_eq!(game.submit("red", "4", "a", "yes", 4_000), Err(Refusal::Solved));
}

#[test]
fn a_submission_is_judged_once() {
    let mut game = Game::new();
    game.join("red", "red");
    let first = game.submit("red", "1", "a", "yes", 2_000);
    let length = game.log.len();
    assert_eq!(game.submit("red", "1", "a", "yes", 900_000), first);
    assert_eq!(game.submit("red", "1", "a", "no", 2_000), Err(Refusal::OtherContent));
    assert_eq!(game.log.len(), length);
}

#[test]
fn attempts_and_times_are_bounded() {
    let mut game = Game::new();
    game.join("red", "red");
    assert_eq!(game.submit("red", "0", "c", "no", 999), Err(Refusal::NotStarted { starts_at: 1_000 }));
    for (id, at) in [("1", 2_000), ("2", 5_000)] {
        assert_eq!(points(game.submit("red", id, "c", "no", at)), 0);
    }
    assert_eq!(game.submit("red", "3", "c", "yes", 21_999), Err(Refusal::TooManyAttempts { again_at: 22_000 }));
    assert_eq!(points(game.submit("red", "3", "c", "yes", 22_000)), 70);
    assert_eq!(game.submit("red", "4", "a", "yes", 1_000_000), Err(Refusal::Over));
    let late = Ask::Join { player: "late".into(), name: "late".into() };
    assert_eq!(game.ask("red", &late, 600_000), Err(Refusal::TooLate));
}

#[test]
fn a_clock_that_goes_back_locks_nobody_out() {
    let mut game = Game::new();
    game.join("red", "red");
    // A process whose clock is ahead takes both attempts of 20 s, 500 s from now.
    for id in ["1", "2"] {
        assert_eq!(points(game.submit("red", id, "c", "no", 502_000)), 0);
    }
    // One with the right time carries on. The limit lasts as long as it says, by the time that passes.
    let moment = |since: i64| Moment { now: 2_000 + since, since };
    let refused = |at| Err(Refusal::TooManyAttempts { again_at: at });
    assert_eq!(game.submit("red", "3", "c", "no", moment(0)), refused(22_000));
    assert_eq!(game.submit("red", "3", "c", "no", moment(19_999)), refused(22_000));
    assert_eq!(points(game.submit("red", "3", "c", "no", moment(20_000))), 0);
    // The team's times go on from there, so that attempts stay bounded.
    assert_eq!((game.world.teams["red"].last_at, game.world.teams["red"].attempts["c"].len()), (522_000, 3));
    assert_eq!(points(game.submit("red", "4", "c", "no", Moment { now: 22_001, since: 1 })), 0);
    assert_eq!(game.submit("red", "5", "c", "yes", Moment { now: 22_002, since: 1 }), refused(42_000));
    assert_eq!(points(game.submit("red", "5", "c", "yes", Moment { now: 42_001, since: 20_000 })), 70);
}

#[test]
fn a_clock_that_was_ahead_takes_no_time_from_a_team() {
    let mut game = Game::new();
    game.join("red", "red");
    assert_eq!(points(game.submit("red", "1", "c", "no", 999_000)), 0);
    // By the right clock the hunt goes on; what is played counts for it, and bounds hold.
    assert_eq!(points(game.submit("red", "2", "c", "no", Moment { now: 10_000, since: 5_000 })), 0);
    assert_eq!(game.world.teams["red"].last_at, 999_999);
    assert!(matches!(
        game.submit("red", "3", "c", "yes", Moment { now: 15_000, since: 5_000 }),
        Err(Refusal::TooManyAttempts { .. })
    ));
    assert_eq!(points(game.submit("red", "3", "c", "yes", Moment { now: 30_000, since: 20_000 })), 70);
    assert_eq!(game.submit("red", "4", "a", "yes", Moment { now: 1_000_000, since: 0 }), Err(Refusal::Over));
}

#[test]
fn a_ranking_that_stands_still_does_so_for_every_clock() {
    let mut game = Game::new();
    game.join("red", "red");
    let frozen = RULES.replace("team_size", "freeze: 1970-01-01T00:10:00Z\nteam_size");
    game.append(None, Record::Rules { rules: rules(&frozen), at: 2 });
    assert!(!game.world.is_frozen(599_999) && game.world.is_frozen(600_000));
    game.submit("red", "1", "a", "no", 600_000).unwrap();
    assert!(game.world.is_frozen(5_000), "a clock that is behind does not show more");
    game.append(None, Record::Revealed { at: 700_000 });
    assert!(!game.world.is_frozen(700_000));
}

#[test]
fn hints_come_in_order_and_cost_once() {
    let mut game = Game::new();
    game.join("red", "red");
    let hint = |number| Ask::Hint { player: "red".into(), challenge: "a".into(), number };
    assert_eq!(game.ask("red", &hint(1), 2_000), Err(Refusal::UnknownHint));
    let first = game.ask("red", &hint(0), 2_000);
    assert_eq!(first, Ok(Reply::Hinted { text: "one".into(), price: 5, total: -5 }));
    assert_eq!(game.ask("red", &hint(0), 3_000), first);
    assert!(game.ask("red", &hint(1), 3_000).is_ok());
    assert_eq!(game.world.teams["red"].points(), -11);
    assert_eq!(game.ask("red", &hint(2), 3_000), Err(Refusal::UnknownHint));
}

#[test]
fn disqualified_teams_leave_their_places_to_others() {
    let mut game = Game::new();
    for team in ["red", "blue"] {
        game.join(team, team);
        game.submit(team, "1", "a", "yes", 2_000).unwrap();
    }
    assert_eq!(game.world.teams["blue"].points(), 103);
    game.ask("red", &Ask::Disqualify { reason: "cheated".into() }, 3_000).unwrap();
    assert_eq!((game.world.teams["red"].points(), game.world.teams["blue"].points()), (0, 130));
    assert_eq!((game.daybook["solve.red.a"].status, game.daybook["solve.blue.a"].measures["points"]), ("void", 130));
    assert!(matches!(game.submit("red", "2", "c", "yes", 4_000), Err(Refusal::Disqualified { .. })));
    game.ask("red", &Ask::Reinstate, 5_000).unwrap();
    assert_eq!((game.world.teams["red"].points(), game.world.teams["blue"].points()), (130, 103));
    assert_eq!(game.daybook["solve.red.a"].status, "final");
}

#[test]
fn a_mended_key_counts_from_the_start() {
    let mut game = Game::new();
    for team in ["red", "blue"] {
        game.join(team, team);
    }
    game.submit("red", "1", "a", "yes!", 2_000).unwrap();
    game.submit("blue", "1", "a", "yes", 3_000).unwrap();
    assert_eq!((game.world.teams["red"].points(), game.world.teams["blue"].points()), (0, 130));
    let mended = RULES.replace("{ exact: 'yes' }", "[{ exact: 'yes' }, { exact: 'yes!' }]");
    game.append(None, Record::Rules { rules: rules(&mended), at: 4_000 });
    assert_eq!((game.world.teams["red"].points(), game.world.teams["blue"].points()), (130, 103));
    assert_eq!(game.daybook["solve.red.a"].at, "1970-01-01T00:00:02Z");
    assert!(game.world.teams["red"].open(&rules(RULES)).contains("b"));
    // And back: red keeps what it could answer.
    game.append(None, Record::Rules { rules: rules(RULES), at: 5_000 });
    assert_eq!((game.world.teams["red"].points(), game.daybook["solve.red.a"].status), (0, "void"));
}

/// One step of a random game.
#[derive(Clone, Debug)]
enum Step {
    Ask(usize, Ask),
    Mend(bool),
}

const TEAMS: [&str; 4] = ["red", "blue", "green", "grey"];

fn steps() -> impl Strategy<Value = Vec<(i64, Step)>> {
    let team = 0..TEAMS.len();
    let text = |choices: &'static [&'static str]| prop::sample::select(choices).prop_map(str::to_owned);
    let submit = (0..30_u32, text(&["p1", "p2"]), text(&["a", "b", "c"]), text(&["yes", "maybe", "no"]))
        .prop_map(|(id, player, challenge, answer)| Ask::Submit { id: id.to_string(), player, challenge, answer });
    let hint = (text(&["p1", "p2"]), text(&["a", "c"]), 0..3_usize).prop_map(|(player, challenge, number)| Ask::Hint {
        player,
        challenge,
        number,
    });
    let adjust = (0..5_u32, -50..50_i64).prop_map(|(id, points)| Ask::Adjust {
        id: id.to_string(),
        points,
        reason: String::new(),
    });
    let ask = prop_oneof![
        12 => submit,
        2 => hint,
        1 => adjust,
        1 => Just(Ask::Disqualify { reason: String::new() }),
        1 => Just(Ask::Reinstate),
    ];
    let step = prop_oneof![
        20 => (team, ask).prop_map(|(team, ask)| Step::Ask(team, ask)),
        1 => any::<bool>().prop_map(Step::Mend),
    ];
    prop::collection::vec((0..8_000_i64, step), 1..150)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// What the engine tells teams, what Daybook sums up of its events, and what a plain recomputation says are one.
    #[test]
    fn every_figure_is_that_of_a_plain_recomputation(steps in steps()) {
        let mut game = Game::new();
        for team in TEAMS {
            game.join(team, "p1");
            game.ask(team, &Ask::Join { player: "p2".into(), name: "p2".into() }, 1).unwrap();
        }
        let mut now = 1_000;
        for (pause, step) in steps {
            now += pause;
            match step {
                Step::Ask(team, ask) => drop(game.ask(TEAMS[team], &ask, now)),
                Step::Mend(is_wider) => {
                    let text = if is_wider { RULES.replace("exact: 'yes'", "regex: 'yes|maybe'") } else { RULES.to_owned() };
                    game.append(None, Record::Rules { rules: rules(&text), at: now });
                }
            }
        }
        let expected = recompute(&game.log);
        prop_assert!(expected.faults.is_empty(), "{:?}", expected.faults);
        for team in TEAMS {
            let wanted = expected.teams.get(team).map_or(0, |score| score.points);
            prop_assert_eq!(game.world.teams[team].points(), wanted, "{}", team);
            let of_team = |event: &&Event| event.kind == world::SCORE && event.status == "final" && event.dims["team"] == team;
            let summed: i64 = game.daybook.values().filter(of_team).map(|event| event.measures["points"]).sum();
            prop_assert_eq!(summed, wanted, "{} in Daybook", team);
        }
        // Whoever reads the log again gets the same events with the same versions.
        let mut again = World::default();
        let mut daybook = BTreeMap::new();
        for (sequence, team, record) in game.log.clone() {
            daybook.extend(again.apply(sequence, team.as_deref(), record).into_iter().map(|event| (event.id.clone(), event)));
        }
        prop_assert_eq!(daybook, game.daybook);
    }
}
