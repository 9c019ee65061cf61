//! JSON for programs. Every request may be repeated.

use super::room::Use;
use super::view::PlayerView;
use super::{Answer, Door, json_of, refused, reply};
use crate::game::{Ask, Refusal, Reply};
use crate::node::changing;
use crate::node::teams::{self, Request};
use crate::node::tokens::{Bearer, salts};
use crate::rules::Rules;
use crate::rules::read::read;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::path::Path;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Join {
    pub code: String,
    pub name: String,
    /// Chosen by the client: the same again is the same player.
    pub request: String,
}

#[derive(Serialize, Deserialize)]
pub struct Joined {
    pub token: String,
    pub team: String,
    pub player: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Submit {
    /// Chosen by the client: the same again is judged once.
    pub id: String,
    pub challenge: String,
    pub answer: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Hint {
    challenge: String,
    number: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewTeam {
    id: String,
    name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Organise {
    team: String,
    ask: Ask,
}

/// Most teams of a request.
const MAX_NEW_TEAMS: usize = 100;

fn parse<'b, T: Deserialize<'b>>(body: &'b [u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| Refusal::Bad { what: error.to_string() })
}

fn answer<T: Serialize>(outcome: Result<T, Refusal>) -> Answer {
    match outcome {
        Ok(value) => json_of(StatusCode::OK, &value),
        Err(refusal) => refused(&refusal),
    }
}

/// Lets a player into the team of a code.
///
/// # Errors
/// Why not.
pub async fn let_in(door: &Door, join: Join) -> Result<Joined, Refusal> {
    let _place = door.room.take(Use::Ask)?;
    let team = door.node.secret.team_of(&join.code).ok_or(Refusal::Forbidden)?.to_owned();
    if join.request.is_empty() || join.request.len() > 64 {
        return Err(Refusal::Bad { what: "request must have 1 to 64 bytes".to_owned() });
    }
    let player = door.node.secret.player_id(&team, &join.request);
    let ask = Ask::Join { player: player.clone(), name: join.name };
    teams::ask(&door.node, &team, Request { token: join.code, ask }).await?;
    Ok(Joined { token: door.node.secret.player(&team, &player), team, player })
}

pub async fn join(State(door): State<Door>, body: Bytes) -> Answer {
    let outcome = match parse(&body) {
        Ok(join) => let_in(&door, join).await,
        Err(refusal) => Err(refusal),
    };
    answer(outcome)
}

/// Asks as the player whom the request names.
///
/// # Errors
/// Why it was refused.
pub async fn as_player(door: &Door, headers: &HeaderMap, ask: impl FnOnce(String) -> Ask) -> Result<Reply, Refusal> {
    let Some((token, Bearer::Player { team, player })) = door.bearer(headers) else { return Err(Refusal::Forbidden) };
    let _place = door.room.take(Use::Ask)?;
    teams::ask(&door.node, &team, Request { token, ask: ask(player) }).await
}

pub async fn submit(State(door): State<Door>, headers: HeaderMap, body: Bytes) -> Answer {
    let outcome = match parse::<Submit>(&body) {
        Ok(Submit { id, challenge, answer }) => {
            as_player(&door, &headers, |player| Ask::Submit { id, player, challenge, answer }).await
        }
        Err(refusal) => Err(refusal),
    };
    answer(outcome)
}

/// The hunt, for whoever has no part in it.
pub async fn hunt(State(door): State<Door>) -> Answer {
    let rules = door.node.world().rules.clone();
    let about = |rules: &Rules| json!({"hunt": rules.hunt, "name": rules.name, "start": rules.start, "end": rules.end});
    answer(rules.as_deref().map(about).ok_or(Refusal::NoHunt))
}

pub async fn take_hint(State(door): State<Door>, headers: HeaderMap, body: Bytes) -> Answer {
    let outcome = match parse::<Hint>(&body) {
        Ok(Hint { challenge, number }) => {
            as_player(&door, &headers, |player| Ask::Hint { player, challenge, number }).await
        }
        Err(refusal) => Err(refusal),
    };
    answer(outcome)
}

pub async fn state(State(door): State<Door>, headers: HeaderMap) -> Answer {
    let Some((_, Bearer::Player { team, player })) = door.bearer(&headers) else { return refused(&Refusal::Forbidden) };
    answer(door.room.make(|| PlayerView::of(&door.node, &team, &player)).await)
}

/// The public ranking.
pub async fn ranking(State(door): State<Door>) -> Answer {
    let ranking = door.node.ranking.borrow().clone();
    let all = || {
        ranking.all.get_or_init(|| json!({"frozen": ranking.is_frozen, "rows": ranking.public()}).to_string().into())
    };
    let all = door.room.make(|| all().clone()).await;
    reply(StatusCode::OK, "application/json", all)
}

/// Makes teams, and says their codes.
pub async fn teams(State(door): State<Door>, headers: HeaderMap, body: Bytes) -> Answer {
    let outcome = async {
        let token = door.organiser(&headers)?;
        let _place = door.room.take(Use::Organising)?;
        let new: Vec<NewTeam> = parse(&body)?;
        if new.len() > MAX_NEW_TEAMS {
            return Err(Refusal::Bad { what: format!("at most {MAX_NEW_TEAMS} teams are made at once") });
        }
        let made = new.into_iter().map(|NewTeam { id, name }| {
            let (door, request) = (&door, Request { token: token.clone(), ask: Ask::Create { name } });
            async move {
                teams::ask(&door.node, &id, request).await?;
                Ok(json!({"id": id, "code": door.node.secret.code(&id)}))
            }
        });
        futures::future::join_all(made).await.into_iter().collect::<Result<Vec<_>, Refusal>>()
    };
    answer(outcome.await)
}

/// Asks as an organiser.
pub async fn organise(State(door): State<Door>, headers: HeaderMap, body: Bytes) -> Answer {
    let outcome = async {
        let token = door.organiser(&headers)?;
        let _place = door.room.take(Use::Organising)?;
        let Organise { team, ask } = parse(&body)?;
        teams::ask(&door.node, &team, Request { token, ask }).await
    };
    answer(outcome.await)
}

/// Other rules, in YAML: everything is judged again by them.
pub async fn rules(State(door): State<Door>, headers: HeaderMap, body: Bytes) -> Answer {
    let outcome = async {
        door.organiser(&headers)?;
        let text =
            std::str::from_utf8(&body).map_err(|_| Refusal::Bad { what: "the rules are not UTF-8".to_owned() })?;
        let bad = |what: String| Refusal::Bad { what };
        let mut salts = salts().map_err(|error| bad(error.to_string()))?;
        let rules = read(Path::new("rules.yaml"), text, &mut salts).map_err(|mistakes| bad(mistakes.to_string()))?;
        let changed = changing::put_rules(&door.node, rules).await?;
        Ok(json!({"keys_that_changed": changed}))
    };
    answer(outcome.await)
}

/// Shows the public ranking in full again.
pub async fn reveal(State(door): State<Door>, headers: HeaderMap) -> Answer {
    let outcome = async {
        door.organiser(&headers)?;
        let _place = door.room.take(Use::Organising)?;
        changing::reveal(&door.node).await?;
        Ok(json!({}))
    };
    answer(outcome.await)
}
