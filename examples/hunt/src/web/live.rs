//! What changes, as server-sent events. A stream sends at most a few times a second, and only what differs from what it sent.

use super::pages::{Own, board_part, organiser_part, team_part};
use super::rendered::LONGEST;
use super::room::Use;
use super::{Answer, COOKIES, Door, cookie, refused, reply};
use crate::game::Refusal;
use crate::node::ranking::{Ranking, SharedText};
use crate::node::tokens::Bearer;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use futures::stream::unfold;
use serde_json::json;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, watch};

/// Rows of the ranking that programs get.
const MAX_ROWS: usize = 100;

/// What a stream shows.
enum Shown {
    Ranking,
    Board,
    Player { team: String, player: String },
    Organiser,
}

impl Shown {
    fn name(&self) -> &'static str {
        match self {
            Self::Ranking => "ranking",
            Self::Board => "board",
            Self::Player { .. } => "player",
            Self::Organiser => "organiser",
        }
    }
}

struct Stream {
    door: Door,
    shown: Shown,
    rankings: watch::Receiver<Arc<Ranking>>,
    turns: watch::Receiver<u64>,
    /// The tag of what was sent last.
    sent: Option<u64>,
    is_over: bool,
    _place: OwnedSemaphorePermit,
}

/// The public ranking for programs: `ranking` has `frozen` and the first rows.
pub async fn ranking(State(door): State<Door>) -> Answer {
    stream(door, Use::Board, Shown::Ranking)
}

pub async fn board(State(door): State<Door>) -> Answer {
    stream(door, Use::Board, Shown::Board)
}

pub async fn player(State(door): State<Door>, headers: HeaderMap) -> Answer {
    let Some((_, Bearer::Player { team, player })) = door.bearer(&headers) else { return refused(&Refusal::Forbidden) };
    stream(door, Use::Player, Shown::Player { team, player })
}

pub async fn organiser(State(door): State<Door>, headers: HeaderMap) -> Answer {
    let token = cookie(&headers, COOKIES[1]).unwrap_or_default();
    if door.node.secret.bearer(&token) != Some(Bearer::Organiser) {
        return refused(&Refusal::Forbidden);
    }
    stream(door, Use::Organiser, Shown::Organiser)
}

fn stream(door: Door, place: Use, shown: Shown) -> Answer {
    let place = match door.room.take(place) {
        Ok(place) => place,
        Err(refusal) => return refused(&refusal),
    };
    let (rankings, turns) = (door.node.ranking.subscribe(), door.rendered.turns());
    let stream = Stream { door, shown, rankings, turns, sent: None, is_over: false, _place: place };
    metrics::gauge!("hunt_watchers", "page" => stream.shown.name()).increment(1);
    let events = unfold(stream, |mut stream| async move {
        let event = stream.next().await?;
        Some((Ok::<_, Infallible>(event), stream))
    });
    reply(StatusCode::OK, "text/event-stream", Body::from_stream(events))
}

impl Drop for Stream {
    fn drop(&mut self) {
        metrics::gauge!("hunt_watchers", "page" => self.shown.name()).decrement(1);
    }
}

impl Stream {
    async fn next(&mut self) -> Option<Bytes> {
        if self.is_over {
            return None;
        }
        loop {
            match self.make().await {
                Err(refusal) => {
                    self.is_over = true;
                    return Some(event("end", &refusal.to_string()).into());
                }
                Ok(made) if self.sent != Some(made.tag) => {
                    self.sent = Some(made.tag);
                    return Some(made.bytes);
                }
                Ok(_) => {}
            }
            let is_board = matches!(self.shown, Shown::Ranking | Shown::Board);
            tokio::select! {
                () = self.door.node.stop.cancelled() => return None,
                // Rankings and turns come at most a few times a second.
                changed = self.rankings.changed(), if is_board => if changed.is_err() { return None },
                changed = self.turns.changed(), if !is_board => if changed.is_err() { return None },
                () = tokio::time::sleep(LONGEST) => return Some(Bytes::from_static(b":\n\n")),
            }
        }
    }

    /// What is to be shown now. All who watch the same get the same, made once.
    async fn make(&mut self) -> Result<SharedText, Refusal> {
        let door = &self.door;
        match &self.shown {
            Shown::Ranking => {
                let ranking = self.rankings.borrow_and_update().clone();
                let json = ranking.first.get_or_init(|| {
                    let rows = ranking.public();
                    let rows = &rows[..rows.len().min(MAX_ROWS)];
                    event("ranking", &json!({"frozen": ranking.is_frozen, "rows": rows}).to_string()).into()
                });
                Ok(json.clone())
            }
            Shown::Board => {
                let ranking = self.rankings.borrow_and_update().clone();
                let board = ranking.board.get_or_init(|| page(&board_part(&ranking, &door.node.world())).into());
                Ok(board.clone())
            }
            Shown::Player { team, player } => {
                let holes = &door.holes;
                let part = door.rendered.page(team, || Ok(page(&team_part(&door.node, team, holes)?))).await?;
                if self.sent == Some(part.tag) {
                    return Ok(part);
                }
                let own = Own::of(&door.node, team, player)?;
                let text = std::str::from_utf8(&part.bytes).unwrap_or_default();
                Ok(SharedText { bytes: holes.fill(text, &own).into(), tag: part.tag })
            }
            Shown::Organiser => {
                // No team has this id.
                door.rendered.page("~organiser", || Ok(page(&organiser_part(&door.node)))).await
            }
        }
    }
}

fn page(part: &maud::Markup) -> String {
    event("page", &part.0)
}

fn event(name: &str, data: &str) -> String {
    let mut event = format!("retry: 2000\nevent: {name}\n");
    for line in data.split(['\n', '\r']) {
        let _ = writeln!(event, "data: {line}");
    }
    event.push('\n');
    event
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_stay_within_their_event() {
        let expected = "retry: 2000\nevent: page\ndata: <p>\ndata: event: x\ndata: </p>\n\n";
        assert_eq!(event("page", "<p>\nevent: x\r</p>"), expected);
    }
}
