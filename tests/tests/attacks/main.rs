//! Attacks of a hostile tenant on a whole Daybook: in the documented configuration none has an effect, and each has one where
//! its guard is left out.
//!
//! Read [`attack`] (an attack as data), then [`families`] (the table), [`attempt`] (carrying one out), [`documented`] and
//! [`servers`] (the places with and without guards). [`sight`] is what is looked at.
#![allow(clippy::unwrap_used)]

mod anything;
mod attack;
mod attempt;
mod connecting;
mod documented;
mod families;
mod malformed;
mod options;
mod servers;
mod sight;

use attack::{Attack, EVIL, Probe, Step, VICTIM, Without};
use attempt::{Attempt, Cast};
use daybook_access::tenants::{Publishable, permissions};
use daybook_contracts::subjects::Subjects;
use daybook_domain::ids::TenantId;
use daybook_tests::Daybook;
use daybook_tests::orders;
use documented::{Documented, definitions, live_on};
use futures::StreamExt;
use servers::{Unguarded, attacker, start_broker, user};
use sight::Sight;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI32, Ordering};

/// Attacks that there are at least.
const LEAST: usize = 60;
/// Servers that run at once.
const SERVERS: usize = 3;

#[test]
fn there_are_sixty_and_no_two_are_the_same() {
    let attacks = families::all();
    let names: BTreeSet<&str> = attacks.iter().map(|attack| attack.name).collect();
    let steps: BTreeSet<String> = attacks.iter().map(written).collect();
    assert_eq!((names.len(), steps.len()), (attacks.len(), attacks.len()));
    assert!(attacks.len() >= LEAST, "{}", attacks.len());
    for attack in &attacks {
        println!("{} | {} | {}", attack.name, attack.guard, attack.effect);
    }
}

/// What an attacker does, in words.
fn written(attack: &Attack) -> String {
    let steps = attack.steps.iter().map(|step| match step {
        Step::Publish(m) | Step::Flood(_, m) => format!("{} {:?} {} {}", m.subject, m.reply, m.headers, m.payload),
        Step::Listen(subject, queue) => format!("{subject} {queue:?}"),
        Step::Wait => "wait".to_owned(),
    });
    steps.collect::<Vec<_>>().join("; ")
}

#[tokio::test(flavor = "multi_thread")]
async fn no_attack_has_an_effect_in_the_documented_configuration() {
    let daybook = Documented::start().await;
    let cast = Cast {
        url: &daybook.daybook.server.url,
        attacker: daybook.attacker.clone(),
        victim: daybook.victim.clone(),
        witness: daybook.witness.clone(),
        sight: &daybook.sight,
        services_trim: true,
    };
    let mut before = daybook.standing().await;
    let mut failed = Vec::new();
    for attack in families::all() {
        let mut attempt = Attempt::begin(&attack, &cast).await;
        attempt.carry_out(async || daybook.live_on().await).await;
        let after = daybook.standing().await;
        let mut seen = Vec::new();
        if !attack.waits() {
            seen.extend(before.differences(&after));
        }
        if attempt.has_effect().await {
            seen.push("it has its effect".to_owned());
        }
        if attempt.has_crossed().await {
            seen.push("something of it came into the services' account".to_owned());
        }
        let refused = attempt.attacker.errors.iter().filter(|error| error.contains("Permissions Violation")).count();
        if refused != not_permitted(&attack) {
            seen.push(format!("{} steps are not permitted, {:?}", not_permitted(&attack), attempt.attacker.errors));
        }
        if !seen.is_empty() {
            failed.push(format!("{}: {}", attack.name, seen.join("; ")));
        }
        let has_changed =
            matches!(attack.probe, Probe::VictimRefused | Probe::VictimDuplicate(_)) || !failed.is_empty();
        before = if has_changed || attack.waits() { daybook.standing().await } else { after };
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    assert_eq!(daybook.daybook.server.violations_of_services(), [""; 0]);
}

/// How many of its steps go beyond what a tenant is permitted.
fn not_permitted(attack: &Attack) -> usize {
    let kinds = ["order", "click"].map(|kind| kind.parse().unwrap());
    let subjects = Subjects::new("daybook").unwrap();
    let permitted = permissions(&subjects, &TenantId::new(EVIL).unwrap(), &Publishable::Kinds(kinds.into()));
    let beyond = |step: &Step| match step {
        Step::Publish(message) => {
            let traced = message.headers.contains("Nats-Trace-Dest");
            usize::from(!permitted.may_publish(&message.subject)) + usize::from(traced)
        }
        Step::Flood(count, message) => {
            (0..*count).filter(|number| !permitted.may_publish(&message.numbered(*number).subject)).count()
        }
        Step::Listen(subject, _) => usize::from(!permitted.may_hear(subject)),
        Step::Wait => 0,
    };
    attack.steps.iter().map(beyond).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_attack_has_an_effect_where_its_guard_is_left_out() {
    let attacks = families::all();
    let alone = attacks.iter().filter(|attack| !matches!(attack.without, Without::OpenDaybook));
    let outcomes = futures::stream::iter(alone).map(try_without_guard).buffer_unordered(SERVERS);
    let mut failed: Vec<String> = outcomes.filter_map(|outcome| async { outcome.err() }).collect().await;
    failed.sort();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

async fn try_without_guard(attack: &Attack) -> Result<(), String> {
    let change = match attack.without {
        Without::Option(stream, change) => Some((stream, change)),
        _ => None,
    };
    if change.is_some() && try_on(&Unguarded::start(None).await, attack, false).await {
        return Err(format!("{}: has its effect with the services' own options", attack.name));
    }
    let server = Unguarded::start(change).await;
    match try_on(&server, attack, true).await {
        true => Ok(()),
        false => Err(format!("{}: has no effect", attack.name)),
    }
}

/// Whether an attack has its effect on a server.
async fn try_on(server: &Unguarded, attack: &Attack, is_expected: bool) -> bool {
    let (victim, witness) = (user("services"), user("services"));
    let attacker = attacker(attack.without);
    let cast = Cast { url: server.url(), attacker, victim, witness, sight: &server.sight, services_trim: false };
    let mut attempt = Attempt::begin(attack, &cast).await;
    let connects = async || {
        daybook_tests::wire::RawClient::connect(server.url(), &user("services")).await.unwrap().flush().await;
    };
    attempt.carry_out(connects).await;
    if !is_expected {
        return attempt.has_effect().await;
    }
    let has_effect = attempt.has_effect_soon().await;
    if !has_effect {
        let heard: Vec<String> = attempt.attacker.heard.iter().map(daybook_tests::wire::Heard::text).collect();
        println!("{}: {heard:?} {:?}", attack.name, attempt.attacker.errors);
    }
    has_effect
}

#[tokio::test(flavor = "multi_thread")]
async fn attacks_on_services_have_an_effect_where_everything_is_permitted() {
    let daybook = Daybook::start_on(start_broker().await, |_| {}).await;
    daybook.define(&definitions(&[VICTIM, EVIL])).await;
    orders::advance(&daybook, orders::NOON).await;
    daybook.publish(VICTIM, "order", orders::order("o-1").to_string()).await;
    daybook.settle().await;
    let (url, sight) = (daybook.broker.broker.client_url(), Sight::new(daybook.client.connection.client.clone()));
    let (days, mut failed) = (AtomicI32::new(1), Vec::new());
    for attack in families::all().iter().filter(|attack| matches!(attack.without, Without::OpenDaybook)) {
        let (victim, witness, attacker) = (user("services"), user("services"), attacker(attack.without));
        let cast = Cast { url, attacker, victim, witness, sight: &sight, services_trim: true };
        let mut attempt = Attempt::begin(attack, &cast).await;
        let lives =
            async || live_on(url, &user("services"), days.fetch_add(1, Ordering::SeqCst), &daybook.client).await;
        attempt.carry_out(lives).await;
        if !attempt.has_effect_soon().await {
            failed.push(format!("{}: has no effect", attack.name));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
