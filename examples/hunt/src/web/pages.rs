//! Pages for players, the public and organisers. They work without a script; with one they are live.

use super::api::{Join, as_player, let_in};
use super::room::Use;
use super::view::{ChallengeView, NamedRow, TeamView, name_of, top};
use super::{Answer, COOKIES, Door, cookie, form, go_to, reply, status_of};
use crate::game::{Ask, Refusal, Reply, World};
use crate::node::ranking::{PlayerRow, Ranking};
use crate::node::teams::{self, Request};
use crate::node::tokens::{Bearer, random_text};
use crate::node::{Node, changing, clock};
use crate::rules::time_text;
use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use maud::{DOCTYPE, Markup, PreEscaped, html};

/// Rows of the public board.
pub const BOARD_ROWS: usize = 50;
/// Teams that organisers see at once, the ones that need them most first.
const SHOWN_TEAMS: usize = 200;
/// A team that has solved nothing for so long may need a hint.
const STUCK_MS: i64 = 30 * 60_000;

pub async fn player(State(door): State<Door>, RawQuery(query): RawQuery, headers: HeaderMap) -> Answer {
    let Some((_, Bearer::Player { team, player })) = door.bearer(&headers) else { return join_form(&door, None) };
    let said = query.and_then(|query| form(query.as_bytes()).remove("judged"));
    let made = door.room.make(|| team_part(&door.node, &team, &Own::of(&door.node, &team, &player)?)).await;
    match made {
        Ok(part) => {
            let lead = said.map(|id| verdict(&door.node.world(), &team, &id));
            document(StatusCode::OK, "Your hunt", Some("/live/player"), &lead.unwrap_or_default(), &part)
        }
        Err(refusal) => join_form(&door, Some(&refusal)),
    }
}

fn join_form(door: &Door, refusal: Option<&Refusal>) -> Answer {
    let request = random_text(12).unwrap_or_default();
    let title = door.node.world().rules.as_ref().map_or_else(|| "Hunt".to_owned(), |rules| rules.name.clone());
    let body = html! {
        @if let Some(refusal) = refusal { p.notice.bad role="alert" { (refusal.to_string()) } }
        form.stack method="post" action="/join" {
            label for="code" { "Code of your team" }
            input #code name="code" required autocomplete="off" autofocus;
            label for="name" { "Your name" }
            input #name name="name" required maxlength="80" autocomplete="nickname";
            input type="hidden" name="request" value=(request);
            button { "Join" }
        }
        p { a href="/board" { "The ranking" } }
    };
    document(refusal.map_or(StatusCode::OK, status_of), &title, None, &Markup::default(), &body)
}

pub async fn join(State(door): State<Door>, body: Bytes) -> Answer {
    let mut fields = form(&body);
    let mut take = |name: &str| fields.remove(name).unwrap_or_default();
    let join = Join { code: take("code"), name: take("name"), request: take("request") };
    match let_in(&door, join).await {
        Ok(joined) => door.go_with_cookie("/", COOKIES[0], &joined.token),
        Err(refusal) => join_form(&door, Some(&refusal)),
    }
}

pub async fn leave(State(door): State<Door>) -> Answer {
    door.go_with_cookie("/", COOKIES[0], "")
}

pub async fn submit(State(door): State<Door>, headers: HeaderMap, body: Bytes) -> Answer {
    let mut fields = form(&body);
    let mut take = |name: &str| fields.remove(name).unwrap_or_default();
    let (id, challenge, answer) = (take("id"), take("challenge"), take("answer"));
    let judged = id.clone();
    match as_player(&door, &headers, |player| Ask::Submit { id, player, challenge, answer }).await {
        Ok(_) => {
            let id = percent_encoding::utf8_percent_encode(&judged, percent_encoding::NON_ALPHANUMERIC);
            go_to(&format!("/?judged={id}"))
        }
        Err(refusal) => trouble(&refusal, "/"),
    }
}

pub async fn hint(State(door): State<Door>, headers: HeaderMap, body: Bytes) -> Answer {
    let mut fields = form(&body);
    let challenge = fields.remove("challenge").unwrap_or_default();
    let number = fields.remove("number").and_then(|number| number.parse().ok()).unwrap_or(usize::MAX);
    match as_player(&door, &headers, |player| Ask::Hint { player, challenge, number }).await {
        Ok(_) => go_to("/"),
        Err(refusal) => trouble(&refusal, "/"),
    }
}

fn trouble(refusal: &Refusal, back: &str) -> Answer {
    let body = html! {
        p.notice.bad role="alert" {
            (refusal.to_string())
            @if let Refusal::TooManyAttempts { again_at } = refusal { " (after " (clock_text(*again_at)) ")" }
            "."
        }
        p { a href=(back) { "Back" } }
    };
    document(status_of(refusal), "That did not work", None, &Markup::default(), &body)
}

/// What became of the submission of this id, for whoever sent it.
fn verdict(world: &World, team: &str, id: &str) -> Markup {
    let found = world.teams.get(team).and_then(|team| Some((team, &team.submissions[*team.ids.get(id)?])));
    let Some((team, submission)) = found else { return Markup::default() };
    let solve = team.solved.get(&submission.challenge);
    html! {
        @if submission.is_right {
            p.notice.good role="status" { "Right! " @if let Some(solve) = solve { (solve.points) " points." } }
        } @else {
            p.notice.bad role="status" { "“" (submission.answer) "” is not the answer." }
        }
    }
}

/// What differs between the pages of two players of a team.
pub struct Own {
    /// The player's name, in HTML.
    name: String,
    /// The beginning of the ids of the player's submissions.
    form: String,
}

impl Own {
    /// That of a player.
    ///
    /// # Errors
    /// When there is no such player.
    pub fn of(node: &Node, team: &str, player: &str) -> Result<Self, Refusal> {
        let name = name_of(node, team, player)?;
        Ok(Self { name: html! { (name) }.0, form: node.secret.player_id(team, &format!("form.{player}")) })
    }

    /// Texts that are nobody's, in whose place those of a player are put later. Nobody outside knows the name of a process.
    pub fn holes(node: &Node) -> Self {
        Self { name: format!("~{}~name~", node.name), form: format!("~{}~form~", node.name) }
    }

    /// Puts a player's own into the holes.
    pub fn fill(&self, text: &str, own: &Self) -> String {
        text.replace(&self.name, &own.name).replace(&self.form, &own.form)
    }
}

/// The part of a player's page that changes: the team's, with what is the player's own.
///
/// # Errors
/// When there is no such team.
pub fn team_part(node: &Node, team: &str, own: &Own) -> Result<Markup, Refusal> {
    let view = TeamView::of(node, team)?;
    // The same form sent twice is one submission.
    let form_id = |challenge: &ChallengeView| format!("{}.{}.{}", own.form, challenge.id, challenge.attempts);
    Ok(html! {
        p.standing {
            strong { (view.team_name) } span { (view.points) " points" } span { (PreEscaped(&own.name)) }
            span { @if view.now < view.start { "starts " (clock_text(view.start)) } @else { "ends " (clock_text(view.end)) } }
        }
        @if let Some(reason) = &view.disqualified { p.notice.bad { "Your team is disqualified: " (reason) } }
        div.columns {
            section aria-label="Challenges" {
                @for challenge in &view.challenges { (challenge_card(challenge, &form_id(challenge))) }
                @if view.hidden > 0 { p.hint { (view.hidden) " more are hidden" } }
            }
            section aria-label="Ranking" {
                h2 { "Around you" @if view.is_frozen { " (frozen)" } }
                (ranking_table(&view.around, Some(team)))
                p { a href="/board" { "The whole ranking" } }
                h2 { "Your team" }
                ul { @for member in &view.members { li { (member) } } }
                form method="post" action="/leave" { button.quiet { "Leave this browser" } }
            }
        }
    })
}

fn challenge_card(challenge: &ChallengeView, form_id: &str) -> Markup {
    let answer = format!("answer-{}", challenge.id);
    html! {
        article.card.solved[challenge.is_solved] data-key=(challenge.id) {
            h3 { (challenge.title) span.points { (challenge.points) " points" } }
            p { (challenge.text) }
            @for hint in &challenge.hints { p.hint { "Hint: " (hint) } }
            @if challenge.is_solved {
                p.good { "Solved" }
            } @else {
                form.row method="post" action="/submit" {
                    label.hidden for=(answer) { "Answer to " (challenge.title) }
                    input id=(answer) name="answer" required maxlength="200" autocomplete="off";
                    input type="hidden" name="challenge" value=(challenge.id);
                    input type="hidden" name="id" value=(form_id);
                    button { "Submit" }
                }
                p.hint {
                    (counted(challenge.attempts, "attempt")) ", solved by " (counted(challenge.solvers, "team"))
                    @if let Some(again_at) = challenge.again_at { ", next attempt after " (clock_text(again_at)) }
                }
                @if let Some(price) = challenge.next_hint {
                    form method="post" action="/hint" {
                        input type="hidden" name="challenge" value=(challenge.id);
                        input type="hidden" name="number" value=(challenge.hints.len());
                        button.quiet { "Hint for " (price) " points" }
                    }
                }
            }
        }
    }
}

pub async fn board(State(door): State<Door>) -> Answer {
    let ranking = door.node.ranking.borrow().clone();
    let made = || {
        let world = door.node.world();
        let title = world.rules.as_ref().map_or_else(|| "Hunt".to_owned(), |rules| rules.name.clone());
        (board_part(&ranking, &world), title)
    };
    let (part, title) = door.room.make(made).await;
    document(StatusCode::OK, &title, Some("/live/board"), &Markup::default(), &part)
}

/// The part of the board that changes.
pub fn board_part(ranking: &Ranking, world: &World) -> Markup {
    let rows = top(ranking, world, BOARD_ROWS);
    html! {
        @if ranking.is_frozen { p.notice { "The ranking stands still until the winners are announced." } }
        @if rows.is_empty() { p.hint { "Nobody has points yet." } }
        div.columns {
            section aria-label="Teams" { (ranking_table(&rows, None)) }
            section aria-label="Players" { (players_table(&ranking.players, world)) }
        }
    }
}

fn players_table(rows: &[PlayerRow], world: &World) -> Markup {
    html! {
        @if !rows.is_empty() {
            table {
                thead { tr { th { "Rank" } th { "Player" } th { "Team" } th.number { "Points" } } }
                tbody {
                    @for row in rows {
                        @let (player, team) = row.names(world);
                        tr data-key=(row.player.as_deref().unwrap_or_default()) {
                            td.rank { (row.rank) } th scope="row" { (player) } td { (team) } td.number { (row.points) }
                        }
                    }
                }
            }
        }
    }
}

fn ranking_table(rows: &[NamedRow], own: Option<&str>) -> Markup {
    html! {
        @if !rows.is_empty() {
            table.ranking {
                thead { tr { th { "Rank" } th {} th { "Team" } th.number { "Solved" } th.number { "Points" } } }
                tbody {
                    @for NamedRow { row, name } in rows {
                        tr data-key=(row.team.as_deref().unwrap_or_default()) data-position=(row.position)
                            .own[row.team.as_deref() == own && own.is_some()] {
                            td.rank { (row.rank) }
                            td.movement {}
                            th scope="row" { (name) }
                            td.number { (row.solves) }
                            td.number { (row.points) }
                        }
                    }
                }
            }
        }
    }
}

pub async fn organiser(State(door): State<Door>, headers: HeaderMap) -> Answer {
    let token = cookie(&headers, COOKIES[1]).unwrap_or_default();
    if door.node.secret.bearer(&token) != Some(Bearer::Organiser) {
        let body = html! {
            form.stack method="post" action="/organiser" {
                label for="token" { "Token of the organiser" }
                input #token name="token" type="password" required autocomplete="current-password";
                button name="do" value="sign-in" { "Sign in" }
            }
        };
        return document(StatusCode::OK, "Organiser", None, &Markup::default(), &body);
    }
    let (lead, part) = door.room.make(|| (organiser_forms(&door.node), organiser_part(&door.node))).await;
    document(StatusCode::OK, "Organiser", Some("/live/organiser"), &lead, &part)
}

/// What organisers do; the forms stay while the page changes.
fn organiser_forms(node: &Node) -> Markup {
    let id = random_text(12).unwrap_or_default();
    let world = node.world();
    let challenges: Vec<&str> =
        world.rules.iter().flat_map(|rules| rules.challenges.iter().map(|challenge| challenge.id.as_str())).collect();
    let text = |name: &str, label: &str| html! { label { (label) input name=(name) required autocomplete="off"; } };
    html! {
        details { summary { "Actions" } div.actions {
            form method="post" action="/organiser" {
                h3 { "New team" } (text("team", "Id")) (text("name", "Name")) button name="do" value="create" { "Create" }
            }
            form method="post" action="/organiser" {
                h3 { "Give or take points" } (text("team", "Team")) (text("points", "Points")) (text("reason", "Reason"))
                input type="hidden" name="id" value=(id); button name="do" value="adjust" { "Give" }
            }
            form method="post" action="/organiser" {
                h3 { "Disqualify" } (text("team", "Team")) (text("reason", "Reason"))
                button name="do" value="disqualify" { "Disqualify" }
                button.quiet name="do" value="reinstate" { "Reinstate" }
            }
            form method="post" action="/organiser" {
                h3 { "Mend a key" }
                label { "Challenge" select name="challenge" { @for id in challenges { option { (id) } } } }
                (text("answer", "Also right (letters and digits count)"))
                button name="do" value="mend" { "Accept it too" }
            }
            form method="post" action="/organiser" {
                h3 { "Ranking" } button name="do" value="reveal" { "Reveal the ranking" }
            }
        } }
    }
}

pub async fn organise(State(door): State<Door>, headers: HeaderMap, body: Bytes) -> Answer {
    let fields = form(&body);
    let field = |name: &str| fields.get(name).cloned().unwrap_or_default();
    if field("do") == "sign-in" {
        let token = field("token");
        return match door.node.secret.bearer(token.trim()) {
            Some(Bearer::Organiser) => door.go_with_cookie("/organiser", COOKIES[1], token.trim()),
            _ => trouble(&Refusal::Forbidden, "/organiser"),
        };
    }
    let outcome = match door.organiser(&headers) {
        Ok(token) => act(&door, token, &field).await,
        Err(refusal) => Err(refusal),
    };
    outcome.map_or_else(|refusal| trouble(&refusal, "/organiser"), |()| go_to("/organiser"))
}

async fn act(door: &Door, token: String, field: &impl Fn(&str) -> String) -> Result<(), Refusal> {
    let _place = door.room.take(Use::Organising)?;
    let bad = |what: &str| Err(Refusal::Bad { what: what.to_owned() });
    let ask = match field("do").as_str() {
        "create" => Ask::Create { name: field("name") },
        "adjust" => match field("points").parse() {
            Ok(points) => Ask::Adjust { id: field("id"), points, reason: field("reason") },
            Err(_) => return bad("points must be a whole number"),
        },
        "disqualify" => Ask::Disqualify { reason: field("reason") },
        "reinstate" => Ask::Reinstate,
        "mend" => {
            let salt = random_text(8).map_err(|error| Refusal::Bad { what: error.to_string() })?;
            return changing::mend(&door.node, &field("challenge"), &field("answer"), &salt).await;
        }
        "reveal" => return changing::reveal(&door.node).await,
        _ => return bad("there is no such action"),
    };
    teams::ask(&door.node, &field("team"), Request { token, ask }).await.map(|_: Reply| ())
}

/// The part of the organiser's page that changes.
pub fn organiser_part(node: &Node) -> Markup {
    let ranking = node.ranking.borrow().clone();
    let world = node.world();
    let Some(rules) = world.rules.as_deref() else { return html! { p { "There are no rules yet." } } };
    let recent = world.recent.iter().rev().filter_map(|(id, index)| {
        let team = world.teams.get(id)?;
        Some((team.name.as_str(), team.submissions.get(*index)?))
    });
    html! {
        h2 { "Challenges" }
        table {
            thead { tr { th { "Challenge" } th.number { "Solved by" } th.number { "Submissions" } th.number { "Worth now" } } }
            tbody { @for challenge in &rules.challenges {
                @let submitted = world.submitted.get(&challenge.id).copied().unwrap_or_default();
                @let solvers = world.solvers.get(&challenge.id).map_or(0, |solvers| solvers.len());
                tr data-key=(challenge.id) {
                    th scope="row" { (challenge.title) } td.number { (solvers) " of " (world.teams.len()) }
                    td.number { (submitted) } td.number { (challenge.worth(solvers, clock::now(), rules.start)) }
                }
            } }
        }
        (teams_table(node, &world))
        h2 { "Newest submissions" }
        table { tbody { @for (team, submission) in recent {
            tr data-key=(submission.sequence) {
                td { (clock_text(submission.at)) } th scope="row" { (team) } td { (submission.challenge) }
                td { (submission.answer) } td { @if submission.is_right { span.good { "right" } } @else { "wrong" } }
            }
        } } }
        h2 { "Ranking" @if ranking.is_frozen { " (the public sees it as it was)" } }
        (ranking_table(&super::view::named(&ranking.rows[..ranking.rows.len().min(BOARD_ROWS)], &world), None))
    }
}

/// Teams, those first that have solved nothing for the longest time.
fn teams_table(node: &Node, world: &World) -> Markup {
    let now = clock::now();
    let last = |team: &crate::game::Team| team.solved.values().map(|solve| solve.at).max().unwrap_or(0);
    let mut teams: Vec<_> = world.teams.iter().map(|(id, team)| (last(team), id, team)).collect();
    teams.sort_by_key(|(last, id, _)| (*last, (*id).clone()));
    let start = world.rules.as_ref().map_or(now, |rules| rules.start);
    html! {
        h2 { "Teams" }
        table {
            thead { tr { th { "Team" } th { "Code" } th.number { "Members" } th.number { "Points" } th { "Last solve" } } }
            tbody { @for (last, id, team) in teams.iter().take(SHOWN_TEAMS) {
                tr data-key=(id) {
                    th scope="row" { (team.name) @if team.disqualified.is_some() { span.bad { " disqualified" } } }
                    td { code { (node.secret.code(id)) } }
                    td.number { (team.members.len()) } td.number { (team.points()) }
                    td { @if *last > 0 { (clock_text(*last)) } @else { "none" }
                        @if now - (*last).max(start) > STUCK_MS { span.bad { " stuck" } } }
                }
            } }
        }
    }
}

fn document(status: StatusCode, title: &str, follow: Option<&str>, lead: &Markup, live: &Markup) -> Answer {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                link rel="stylesheet" href="/hunt.css";
                script src="/hunt.js" defer {}
            }
            body {
                main {
                    h1 { (title) span.pulse #following role="status" {} }
                    (lead)
                    div #live data-follow=[follow] { (live) }
                }
            }
        }
    };
    reply(status, "text/html; charset=utf-8", page.0)
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// A time as the page shows it: UTC, to the second.
fn clock_text(millis: i64) -> String {
    let text = time_text(millis - millis.rem_euclid(1000));
    text.get(5..19).map_or_else(|| text.clone(), |short| short.replace('T', " "))
}
