//! Somebody at the doors of a hunt: sends again what was not answered, and turns to the next door.

use super::http::Http;
use super::told::Told;
use anyhow::bail;
use serde_json::Value;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How often something is sent again that was not answered.
pub const TRIES: usize = 20;
/// Pause before that.
const AGAIN: Duration = Duration::from_millis(200);

/// Somebody with a connection.
pub struct Visitor {
    urls: Arc<[String]>,
    door: usize,
    pub http: Http,
    told: Arc<Mutex<Told>>,
}

impl Visitor {
    /// Visitors of different numbers begin at different doors.
    pub fn new(urls: &Arc<[String]>, number: usize, told: &Arc<Mutex<Told>>) -> Self {
        let door = number % urls.len();
        Self { http: Http::new(&urls[door]), urls: urls.clone(), door, told: told.clone() }
    }

    /// Notes something for all.
    pub fn note(&self, what: impl FnOnce(&mut Told)) {
        what(&mut self.told.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Sends until there is an answer: the same request, so that it counts once.
    ///
    /// # Errors
    /// When there never was one.
    pub async fn send(&mut self, path: &str, body: &Value) -> anyhow::Result<(u16, Value)> {
        for _ in 0..TRIES {
            match self.http.post(path, body).await {
                Ok((503, _)) | Err(_) => self.note(|told| told.unavailable += 1),
                Ok((_, reply)) if reply["refused"] == "busy" => self.note(|told| told.busy += 1),
                answer => return answer,
            }
            self.turn_away().await;
        }
        self.note(|told| told.failed += 1);
        bail!("{path} was never answered")
    }

    /// Waits, and goes to the next door.
    pub async fn turn_away(&mut self) {
        self.note(|told| told.repeated += 1);
        tokio::time::sleep(AGAIN).await;
        self.door = (self.door + 1) % self.urls.len();
        self.http.turn_to(&self.urls[self.door]);
    }
}
