//! Pages that several people watch are made once for all of them, and again only in the next turn. A turn comes when something
//! changed, at most every 400 ms, and every 10 s for the clocks on the pages.

use super::room::Room;
use crate::game::Refusal;
use crate::node::Node;
use crate::node::ranking::SharedText;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{OnceCell, watch};

/// Shortest time between two turns: what changes meanwhile is shown together.
pub const SHORTEST: Duration = Duration::from_millis(400);
/// Longest time between two turns.
pub const LONGEST: Duration = Duration::from_secs(10);
/// Most bytes of pages that are kept for others in a turn. What is more is made for each watcher.
const MAX_KEPT_BYTES: usize = 64 << 20;

type Cell = Arc<OnceCell<Result<SharedText, Refusal>>>;

/// The pages of a turn.
pub struct Rendered {
    turn: watch::Sender<u64>,
    kept: Mutex<Kept>,
    room: Room,
}

#[derive(Default)]
struct Kept {
    turn: u64,
    bytes: usize,
    pages: HashMap<String, Cell>,
}

impl Rendered {
    pub fn new(room: Room) -> Self {
        Self { turn: watch::Sender::new(0), kept: Mutex::default(), room }
    }

    /// Hears of every turn.
    pub fn turns(&self) -> watch::Receiver<u64> {
        self.turn.subscribe()
    }

    /// Begins the next turn: pages are made again when somebody asks for them.
    pub fn next(&self) {
        {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            *kept = Kept { turn: kept.turn + 1, ..Kept::default() };
        }
        self.turn.send_modify(|turn| *turn += 1);
    }

    /// The page of this name in this turn; `make` makes it for the first who asks.
    ///
    /// # Errors
    /// What `make` refuses.
    pub async fn page(
        &self,
        name: &str,
        make: impl FnOnce() -> Result<String, Refusal>,
    ) -> Result<SharedText, Refusal> {
        let (turn, cell) = {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            let cell = match kept.pages.get(name) {
                Some(cell) => cell.clone(),
                None if kept.bytes >= MAX_KEPT_BYTES => Cell::default(),
                None => kept.pages.entry(name.to_owned()).or_default().clone(),
            };
            (kept.turn, cell)
        };
        let made = cell.get_or_init(|| async {
            metrics::counter!("hunt_pages_made_total").increment(1);
            let made = self.room.make(make).await.map(SharedText::from);
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.turn == turn {
                kept.bytes += made.as_ref().map_or(0, |part| part.bytes.len());
            }
            made
        });
        made.await.clone()
    }
}

/// Begins turns as the game and its rankings change, until the node stops.
pub async fn turn(node: Arc<Node>, rendered: Arc<Rendered>) {
    let (mut positions, mut rankings) = (node.positions(), node.ranking.subscribe());
    loop {
        tokio::select! {
            () = node.stop.cancelled() => return,
            changed = positions.changed() => if changed.is_err() { return },
            changed = rankings.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(LONGEST) => {}
        }
        rendered.next();
        tokio::time::sleep(SHORTEST).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test]
    async fn a_page_is_made_once_for_all_who_watch_it() {
        let rendered = Arc::new(Rendered::new(Room::new()));
        let made = Arc::new(AtomicUsize::new(0));
        let ask = |name: &'static str| {
            let (rendered, made) = (rendered.clone(), made.clone());
            tokio::spawn(async move {
                let page = || Ok(format!("{name} {}", made.fetch_add(1, Ordering::SeqCst)));
                rendered.page(name, page).await.unwrap()
            })
        };
        let asked: Vec<_> = (0..200).map(|_| ask("red")).collect();
        for asked in asked {
            assert_eq!(asked.await.unwrap().bytes, "red 0");
        }
        assert_eq!(ask("blue").await.unwrap().bytes, "blue 1");
        let mut turns = rendered.turns();
        rendered.next();
        assert!(turns.has_changed().unwrap());
        turns.mark_unchanged();
        let (red, again) = (ask("red").await.unwrap(), ask("red").await.unwrap());
        assert_eq!((red.bytes, red.tag == again.tag, made.load(Ordering::SeqCst)), (Bytes::from("red 2"), true, 3));
    }

    #[tokio::test]
    async fn pages_that_are_kept_are_bounded() {
        let rendered = Rendered::new(Room::new());
        let large = || Ok("x".repeat(MAX_KEPT_BYTES / 2));
        for name in ["a", "b", "c", "d"] {
            rendered.page(name, large).await.unwrap();
        }
        assert_eq!(rendered.kept.lock().unwrap().pages.len(), 2);
        rendered.next();
        assert_eq!(rendered.kept.lock().unwrap().bytes, 0);
        // What cannot be made is told to all, too.
        for _ in 0..2 {
            assert_eq!(rendered.page("a", || Err(Refusal::UnknownTeam)).await.map(drop), Err(Refusal::UnknownTeam));
        }
    }
}
