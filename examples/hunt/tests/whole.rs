//! A hunt on a whole Daybook, with two processes of the engine. One of them is killed in the middle; every score is compared with a
//! plain recomputation of the rules.
#![allow(clippy::unwrap_used)]

use daybook::commands::replay::progress;
use daybook::verification::verify::{Scope, verify};
use daybook_tests::{Daybook, PrivateBroker, eventually};
use futures::{StreamExt as _, TryStreamExt as _};
use hunt::broker::connect;
use hunt::game::{Ask, Record, Refusal};
use hunt::lifecycle::{end_hunt, init, init_hunt, remove_hunt, secret};
use hunt::node::log::{Log, read_log};
use hunt::node::teams::{self, Request};
use hunt::node::waiting::MAX_WAITING;
use hunt::node::{Node, clock};
use hunt::play::check::compare;
use hunt::play::generated::{HuntPlan, answer, yaml};
use hunt::play::http::Http;
use hunt::play::load::{Against, Run, Sizes};
use hunt::play::profile::{self, Profile};
use hunt::play::recording::{Recording, from_lines, to_line};
use hunt::play::rehearse::Rehearsal;
use hunt::play::stage::Engine;
use hunt::play::verdict::{Limits, Outcome};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

const HUNT: &str = "cup";
const SEED: u64 = 7;
/// Records after which an engine is killed: some 30 are teams and joins.
const KILLED_AFTER: u64 = 120;
const LIMIT: Duration = Duration::from_secs(60);

/// A Daybook with a hunt, and its engines.
struct Arena {
    daybook: Daybook,
    client: async_nats::Client,
    plan: HuntPlan,
    engines: Vec<Engine>,
    organiser: String,
}

impl Arena {
    /// Starts everything; the hunt lasts so many seconds.
    async fn start(seconds: i64, engines: usize) -> Self {
        let mut arena = Self::stage(seconds).await;
        init_hunt(&arena.client, &yaml(&arena.plan), 1).await.unwrap();
        arena.organiser = secret(&arena.client, HUNT).await.unwrap().organiser();
        for _ in 0..engines {
            arena.engine().await;
        }
        arena
    }

    /// A Daybook that knows nothing of the hunt yet.
    async fn stage(seconds: i64) -> Self {
        let daybook = Daybook::start().await;
        let nats = daybook.broker.broker.client_url().to_owned();
        let client = connect(&nats).await.unwrap();
        let start = clock::now() + 2_000;
        let plan = HuntPlan {
            hunt: HUNT.to_owned(),
            seed: SEED,
            challenges: 12,
            start,
            end: start + seconds * 1_000,
            freezes: true,
            bounds_attempts: true,
        };
        Self { daybook, client, plan, engines: Vec::new(), organiser: String::new() }
    }

    /// Starts one more engine.
    async fn engine(&mut self) {
        let (binary, nats) = (Path::new(env!("CARGO_BIN_EXE_hunt")), self.daybook.broker.broker.client_url());
        self.engines.push(Engine::start(binary, nats, HUNT, "127.0.0.1:0").await.unwrap());
    }

    fn organiser(&self, engine: usize) -> Http {
        let mut http = Http::new(&self.engines[engine].url);
        http.token = Some(self.organiser.clone());
        http
    }

    async fn log_end(&self) -> u64 {
        let log = Log::open(&async_nats::jetstream::new(self.client.clone()), HUNT).await.unwrap();
        log.end().await.unwrap()
    }

    /// Every figure of Daybook is that of a plain recomputation.
    async fn is_right(&self) {
        let comparison = compare(&self.client, HUNT, LIMIT).await.unwrap();
        assert!(comparison.differences.is_empty(), "{:#?}", comparison.differences);
    }
}

/// Makes a team with a player who has answered once, so that Daybook counts something.
async fn one_answer(arena: &Arena) {
    let mut organiser = arena.organiser(0);
    let made = ok(&mut organiser, "/api/organiser/teams", json!([{"id": "red", "name": "Red"}])).await;
    let mut player = Http::new(&arena.engines[0].url);
    let join = json!({"code": made[0]["code"], "name": "Ann", "request": "r1"});
    player.token = ok(&mut player, "/api/join", join).await["token"].as_str().map(str::to_owned);
    eventually("the start", || async { (clock::now() >= arena.plan.start).then_some(()) }).await;
    ok(&mut player, "/api/submit", json!({"id": "1", "challenge": "c00", "answer": "nonsense"})).await;
    arena.is_right().await;
}

async fn ok(http: &mut Http, path: &str, body: Value) -> Value {
    let (status, reply) = http.post(path, &body).await.unwrap();
    assert_eq!(status, 200, "{path} {body}: {reply}");
    reply
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_engine_loses_and_doubles_nothing() {
    let mut arena = Arena::start(15, 2).await;
    let sizes = Sizes { players: 30, teams: 6, watchers: 4, think: Duration::from_millis(400), right: 35 };
    let urls = arena.engines.iter().map(|engine| engine.url.clone()).collect();
    let (plan, organiser, client) = (arena.plan.clone(), arena.organiser.clone(), arena.client.clone());
    let playing =
        tokio::spawn(async move { Run::play(&plan, &sizes, urls, &organiser, Against::Daybook(&client)).await });
    eventually("some play", || async { (arena.log_end().await > KILLED_AFTER).then_some(()) }).await;
    arena.engines[0].kill().await.unwrap();
    let killed_at = arena.log_end().await;
    let run = playing.await.unwrap().unwrap();
    assert!(run.differences.is_empty(), "{:#?}", run.differences);
    assert!(run.failed == 0 && run.judged > 100 && run.figures > 100, "{run}");
    assert!(arena.log_end().await > killed_at + 50 && run.repeated > 0, "the other engine goes on\n{run}");

    // Corrections after the end come out everywhere.
    let mut http = arena.organiser(1);
    let ask = |team: &str, ask: Value| json!({"team": team, "ask": ask});
    let adjust = json!({"ask": "adjust", "id": "a1", "points": 40, "reason": "the bell was silent"});
    for _ in 0..2 {
        ok(&mut http, "/api/organiser/ask", ask("team0001", adjust.clone())).await;
    }
    ok(&mut http, "/api/organiser/ask", ask("team0002", json!({"ask": "disqualify", "reason": "two phones"}))).await;
    arena.is_right().await;
    let mended = yaml(&arena.plan).replace(&answer(SEED, "c00"), "guess 1");
    let (status, _) = http.post("/api/organiser/rules", &Value::Null).await.unwrap();
    assert_eq!(status, 400, "null is no rules");
    init_hunt(&arena.client, &mended, 1).await.unwrap();
    arena.is_right().await;

    // All engines are killed, and another begins with nothing but the log: it publishes what the last one may not have.
    ok(
        &mut http,
        "/api/organiser/ask",
        ask("team0003", json!({"ask": "adjust", "id": "a2", "points": -7, "reason": ""})),
    )
    .await;
    arena.engines[1].kill().await.unwrap();
    arena.engine().await;
    let mut http = arena.organiser(2);
    ok(&mut http, "/api/organiser/ask", ask("team0002", json!({"ask": "reinstate"}))).await;
    arena.is_right().await;

    // The day is sealed, and its report proves itself.
    end_hunt(&arena.client, HUNT).await.unwrap();
    arena.is_right().await;
    arena.daybook.settle().await;
    let outcome = verify(&arena.daybook.client.connection, Scope::All, &progress(None, true)).await.unwrap();
    assert!(outcome.is_sound() && outcome.verified.count >= 1, "{:?}", outcome.differences);
}

/// What a hunt that runs does not take.
async fn bounds_and_promises_hold(arena: &Arena, player: &mut Http, organiser: &mut Http) {
    // Bodies are bounded by who sends them.
    let long = "x".repeat(5_000);
    assert_eq!(
        player.post("/api/submit", &json!({"id": "4", "challenge": "c00", "answer": long})).await.unwrap().0,
        413
    );
    assert_eq!(player.post("/api/organiser/rules", &json!(long)).await.unwrap().0, 413);
    assert_eq!(
        organiser.post("/api/organiser/rules", &json!(long)).await.unwrap().0,
        400,
        "no rules, but not too large"
    );
    // The hunt runs, so its freeze stays.
    let thawed: String =
        yaml(&arena.plan).lines().filter(|line| !line.starts_with("freeze")).collect::<Vec<_>>().join("\n");
    let error = init_hunt(&arena.client, &thawed, 1).await.unwrap_err().to_string();
    assert!(error.contains("keep freeze"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn doors_let_in_who_may_and_judge_once() {
    let arena = Arena::start(600, 2).await;
    let mut organiser = arena.organiser(0);
    let made = ok(&mut organiser, "/api/organiser/teams", json!([{"id": "red", "name": "Red"}])).await;
    let code = made[0]["code"].as_str().unwrap().to_owned();
    let mut player = Http::new(&arena.engines[1].url);
    let join = json!({"code": code, "name": "Ann <b>", "request": "r1"});
    // The other engine hears of the team in a moment.
    let joined = eventually("joining", || {
        let mut http = Http::new(&arena.engines[1].url);
        let join = join.clone();
        async move { http.post("/api/join", &join).await.ok().filter(|(status, _)| *status == 200) }
    })
    .await
    .1;
    assert_eq!(ok(&mut player, "/api/join", join).await, joined, "the same request is the same player");
    player.token = joined["token"].as_str().map(str::to_owned);
    let submit = |id: &str, answer: &str| json!({"id": id, "challenge": "c00", "answer": answer});
    eventually("the start", || async { (clock::now() >= arena.plan.start).then_some(()) }).await;
    let wrong = ok(&mut player, "/api/submit", submit("1", "nonsense")).await;
    assert_eq!((&wrong["is_right"], &wrong["total"]), (&json!(false), &json!(0)));
    let right = ok(&mut player, "/api/submit", submit("2", &answer(SEED, "c00"))).await;
    assert_eq!(right["is_right"], true);
    assert_eq!(ok(&mut player, "/api/submit", submit("2", &answer(SEED, "c00"))).await, right);
    let (status, refused) = player.post("/api/submit", &submit("3", "again")).await.unwrap();
    assert_eq!((status, &refused["refused"]), (409, &json!("solved")));
    let (status, _) =
        player.post("/api/organiser/ask", &json!({"team": "red", "ask": {"ask": "reinstate"}})).await.unwrap();
    assert_eq!(status, 401);
    // By NATS it is the same submission.
    let request = json!({"token": player.token, "ask": {"ask": "submit", "id": "2", "player": joined["player"],
        "challenge": "c00", "answer": answer(SEED, "c00")}});
    let reply = eventually("the owner of the team", || async {
        arena.client.request(format!("hunt.{HUNT}.ask.red"), request.to_string().into()).await.ok()
    })
    .await;
    assert_eq!(serde_json::from_slice::<Value>(&reply.payload).unwrap(), right);
    // The ranking has it, and so has the player's own view.
    eventually("the ranking", || {
        let mut http = Http::new(&arena.engines[0].url);
        async move {
            let (_, ranking) = http.get("/api/ranking").await.ok()?;
            (ranking["rows"][0]["team"] == "red").then_some(())
        }
    })
    .await;
    let (_, state) = player.get("/api/state").await.unwrap();
    assert_eq!((&state["points"], &state["team_name"]), (&right["total"], &json!("Red")));
    assert_eq!(state["player_name"], "Ann <b>");
    // The live page is made once for the team, with what is the player's own.
    let mut follower = Http::new(&arena.engines[1].url);
    follower.token.clone_from(&player.token);
    let first = follower.stream("/live/player").await.unwrap().next().await.unwrap().unwrap();
    let page = String::from_utf8(first.to_vec()).unwrap();
    assert!(
        page.contains("Ann &lt;b&gt;") && page.contains("Red") && !page.contains("~name~") && !page.contains("~form~"),
        "{page}"
    );
    bounds_and_promises_hold(&arena, &mut player, &mut organiser).await;
    arena.is_right().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hunt_has_one_log_whoever_starts_it() {
    let mut arena = Arena::stage(600).await;
    let text = yaml(&arena.plan);
    // The salts of answers differ, so these are three versions of the rules.
    let inits = futures::future::join_all((0..3).map(|_| init_hunt(&arena.client, &text, 1))).await;
    let refused: Vec<String> = inits.iter().filter_map(|init| Some(init.as_ref().err()?.to_string())).collect();
    assert!(refused.iter().all(|error| error.contains("other rules came into force")), "{refused:?}");
    let log = read_log(&arena.client, HUNT).await.unwrap();
    assert_eq!(log.len(), 3 - refused.len(), "each change that was taken is in the one log: {refused:?}");
    assert!(log.iter().all(|(_, team, record)| team.is_none() && matches!(record, Record::Rules { .. })));

    // Two engines that start at once are two processes of one hunt.
    arena.organiser = secret(&arena.client, HUNT).await.unwrap().organiser();
    let (binary, nats) = (Path::new(env!("CARGO_BIN_EXE_hunt")), arena.daybook.broker.broker.client_url());
    let start = || Engine::start(binary, nats, HUNT, "127.0.0.1:0");
    let (one, other) = tokio::join!(start(), start());
    arena.engines.extend([one.unwrap(), other.unwrap()]);
    for (engine, teams) in [(0, json!([{"id": "red", "name": "Red"}])), (1, json!([{"id": "blue", "name": "Blue"}]))] {
        ok(&mut arena.organiser(engine), "/api/organiser/teams", teams).await;
    }
    let end = arena.log_end().await;
    assert_eq!(end, log.len() as u64 + 2);
    for engine in [0, 1] {
        eventually("both know all of it", || {
            let mut http = arena.organiser(engine);
            async move {
                let (_, health) = http.get("/healthz").await.ok()?;
                (health["position"] == end && health["members"] == 2).then_some(())
            }
        })
        .await;
    }
    let jetstream = async_nats::jetstream::new(arena.client.clone());
    let names: Vec<String> = jetstream.stream_names().try_collect().await.unwrap();
    assert_eq!(names.iter().filter(|name| name.starts_with("HUNT_")).count(), 1, "{names:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_made_again_is_refused() {
    let mut arena = Arena::start(600, 1).await;
    one_answer(&arena).await;
    let jetstream = async_nats::jetstream::new(arena.client.clone());
    let text = yaml(&arena.plan);
    let init = || async { init_hunt(&arena.client, &text, 1).await.unwrap_err().to_string() };

    // Deleted: it is not made again, and the engine ends.
    jetstream.delete_stream(format!("HUNT_{HUNT}")).await.unwrap();
    assert!(init().await.contains("was deleted, and Daybook still counts"));
    assert!(!arena.engines[0].ended().await.unwrap());

    // Made again by hand: neither is another log played on, nor does an engine start on it.
    Log::create(&jetstream, HUNT, 1).await.unwrap();
    assert!(init().await.contains("was deleted and made again"));
    let binary = Path::new(env!("CARGO_BIN_EXE_hunt"));
    let nats = arena.daybook.broker.broker.client_url();
    assert!(Engine::start(binary, nats, HUNT, "127.0.0.1:0").await.is_err());

    // Without the bucket, Daybook's figures tell that there was another hunt.
    jetstream.delete_stream(format!("HUNT_{HUNT}")).await.unwrap();
    jetstream.delete_key_value(format!("HUNT_{HUNT}_STATE")).await.unwrap();
    assert!(init().await.contains("Daybook counts events of an earlier hunt"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_sees_that_its_log_was_replaced() {
    let mut arena = Arena::start(600, 1).await;
    let mut organiser = arena.organiser(0);
    ok(&mut organiser, "/api/organiser/teams", json!([{"id": "red", "name": "Red"}])).await;
    let jetstream = async_nats::jetstream::new(arena.client.clone());
    jetstream.delete_stream(format!("HUNT_{HUNT}")).await.unwrap();
    Log::create(&jetstream, HUNT, 1).await.unwrap();
    // Whether it appends or only looks: it ends, and takes nothing more.
    let teams = json!([{"id": "blue", "name": "Blue"}]);
    let answer = organiser.post("/api/organiser/teams", &teams).await;
    assert!(answer.is_err() || answer.unwrap().0 == 503);
    assert!(!arena.engines[0].ended().await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn asks_that_wait_are_bounded_and_nobody_works_for_those_who_left() {
    let arena = Arena::start(600, 0).await;
    let running = Node::start(arena.client.clone(), HUNT, true).await.unwrap();
    let node = running.node.clone();
    let ask = |ask: Ask| teams::ask(&node, "red", Request { token: arena.organiser.clone(), ask });
    let adjust = |id: usize| Ask::Adjust { id: id.to_string(), points: 1, reason: String::new() };
    ask(Ask::Create { name: "Red".to_owned() }).await.unwrap();

    // No actor is needed for the bound: it holds also where an ask is carried out by whoever got it.
    let taken: Vec<_> = (0..MAX_WAITING).map(|_| node.places.take("red").unwrap()).collect();
    assert_eq!(ask(adjust(0)).await, Err(Refusal::Busy));
    drop(taken);
    eventually("the actor", || async { node.owned.read().unwrap().contains_key("red").then_some(()) }).await;
    let before = arena.log_end().await;
    {
        let mut asks: Vec<_> = (1..MAX_WAITING).map(|id| Box::pin(ask(adjust(id)))).collect();
        for ask in &mut asks {
            assert!(futures::poll!(ask.as_mut()).is_pending());
        }
        // Everybody leaves before the first of them has an answer.
    }
    ask(adjust(MAX_WAITING)).await.unwrap();
    let appended = arena.log_end().await - before;
    assert!((1..10).contains(&appended), "{appended} of {MAX_WAITING} asks were carried out");
    // Their places are free again.
    assert_eq!((0..MAX_WAITING).filter(|_| node.places.take("red").is_ok()).count(), MAX_WAITING);
    running.stop().await;
}

#[tokio::test]
async fn a_ranking_that_is_kept_has_a_bound() {
    let broker = PrivateBroker::start().await;
    let client = connect(broker.broker.client_url()).await.unwrap();
    let mut questions = client.subscribe("daybook.query.big.hunt_teams").await.unwrap();
    let answering = client.clone();
    // Whoever answers has no end of rows.
    tokio::spawn(async move {
        while let Some(question) = questions.next().await {
            let page = json!({"rows": ["x".repeat(900_000)], "next": "more", "as_of": {"inbox": 1}});
            answering.publish(question.reply.unwrap(), page.to_string().into()).await.unwrap();
        }
    });
    let rows = hunt::node::daybook::Daybook::new(&client, "big").rows::<Value>("hunt_teams", json!({}), LIMIT).await;
    let error = rows.unwrap_err().to_string();
    assert!(error.contains("take more than"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rehearsal_plays_a_hunt_again_and_judges_the_set_up() {
    const TRY: &str = "try";
    let arena = Arena::stage(600).await;
    let plan = HuntPlan { hunt: "earlier".to_owned(), end: arena.plan.start + 8_000, ..arena.plan.clone() };
    let profile = Profile { players: 20, teams: 4, think_ms: 900.0, right: 30 };
    let recording = Recording::of(&profile::log(&plan, &profile).unwrap()).unwrap();
    let recorded = recording.submissions;
    let recording = recording.again(TRY, clock::now() + 12_000, 1.0);
    init(&arena.client, recording.rules.clone(), 1).await.unwrap();
    let (binary, nats) = (Path::new(env!("CARGO_BIN_EXE_hunt")), arena.daybook.broker.broker.client_url());
    let engines = [(); 2].map(|()| Engine::start(binary, nats, TRY, "127.0.0.1:0"));
    let engines: Vec<Engine> = futures::future::try_join_all(engines).await.unwrap();
    let urls = engines.iter().map(|engine| engine.url.clone()).collect();
    let organiser = secret(&arena.client, TRY).await.unwrap().organiser();
    // Nothing is measured here: the machine of a test is busy.
    let limits = Limits { submission_ms: 20_000.0, ranking_ms: 20_000.0 };
    let rehearsal = Rehearsal { recording: recording.clone(), limits, watchers: 3, pace: 1.0 };
    let report = rehearsal.play(urls, organiser, &arena.client).await.unwrap();
    assert_eq!(report.verdict.outcome, Outcome::Holds, "{report}");
    assert!(report.differences.is_empty() && recorded > 50, "{report}");
    assert_eq!((report.submissions.count, report.players, report.teams), (recorded, 20, 4));
    assert!(
        report.rankings.count > 0 && report.measured.has_own_figures && report.measured.append_ms > 0.0,
        "{report:?}"
    );
    assert_eq!(serde_json::to_value(&report).unwrap()["verdict"]["outcome"], "holds");

    // What was played is a recording in turn.
    let log = read_log(&arena.client, TRY).await.unwrap();
    let lines: Vec<String> = log.iter().map(|entry| to_line(entry).unwrap()).collect();
    assert_eq!(from_lines(&lines.join("\n")).unwrap(), log);
    let again = Recording::of(&log).unwrap();
    assert_eq!((again.players.len(), again.teams.len()), (20, 4));
    assert!(again.submissions <= recorded && again.again("next", 0, 1.5).check().is_ok());

    // Removed, its id is free, and nothing of it is counted any more.
    remove_hunt(&arena.client, TRY).await.unwrap();
    for mut engine in engines {
        assert!(!engine.ended().await.unwrap(), "an engine ends with its log");
    }
    remove_hunt(&arena.client, TRY).await.unwrap();
    init(&arena.client, recording.rules, 1).await.unwrap();
    assert_eq!(read_log(&arena.client, TRY).await.unwrap().len(), 1);
}
