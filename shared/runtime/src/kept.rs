//! What a stream keeps, as its leader says, and since when: by the leader's own clock, which is also the one that stamps
//! messages. With the clock of another machine, an age is as wrong as the two clocks differ.

use crate::connection::Connection;
use daybook_domain::time::Instant;
use serde::Deserialize;
use std::time::Duration;

/// How a stream stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// When the leader said so.
    pub now: Instant,
    /// Messages that are older are removed.
    max_age: Option<Duration>,
    /// When the first message that is left was stored, where others have made way for it.
    room_from: Option<Instant>,
}

#[derive(Deserialize)]
struct Reply {
    ts: Option<Instant>,
    config: Option<ConfigWire>,
    state: Option<StateWire>,
    error: Option<async_nats::jetstream::Error>,
}

#[derive(Deserialize)]
struct ConfigWire {
    /// In nanoseconds, 0 for none.
    #[serde(default)]
    max_age: u64,
    #[serde(default)]
    max_bytes: i64,
}

#[derive(Deserialize)]
struct StateWire {
    messages: u64,
    bytes: u64,
    first_seq: u64,
    /// Of the year 1 when there is none.
    first_ts: String,
}

impl Kept {
    /// Asks the stream's leader.
    ///
    /// # Errors
    /// When it does not answer, or there is no such stream.
    pub async fn ask(connection: &Connection, stream: &str) -> Result<Self, async_nats::Error> {
        let reply: Reply = connection.jetstream.request(format!("STREAM.INFO.{stream}"), &()).await?;
        match (reply.error, reply.ts, reply.config, reply.state) {
            (Some(error), ..) => Err(error.into()),
            (None, Some(now), Some(config), Some(state)) => Ok(Self::of(now, &config, &state)),
            _ => Err("the broker does not say how the stream stands".into()),
        }
    }

    fn of(now: Instant, config: &ConfigWire, state: &StateWire) -> Self {
        let max_age = Some(Duration::from_nanos(config.max_age)).filter(|age| *age > Duration::ZERO);
        // A stream with much room has lost its first messages to the purge of a removed tenant.
        let is_full = u64::try_from(config.max_bytes).is_ok_and(|most| most > 0 && state.bytes >= most / 2);
        let made_room = is_full && state.messages > 0 && state.first_seq > 1;
        let room_from = Some(&state.first_ts).filter(|_| made_room).and_then(|first| first.parse().ok());
        Self { now, max_age, room_from }
    }

    /// Whether a message that was stored then has been removed, for its age or for want of room.
    pub fn has_let_go(&self, stored_at: Instant) -> bool {
        self.max_age.is_some_and(|age| self.now.since(stored_at) >= age)
            || self.room_from.is_some_and(|from| stored_at < from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_old_or_had_to_make_room_is_let_go() {
        let kept = |max_age_s: u64, max_bytes, messages, first_seq| {
            let config = ConfigWire { max_age: max_age_s * 1_000_000_000, max_bytes };
            let first_ts = if messages == 0 { "0001-01-01T00:00:00Z" } else { "2024-03-01T12:00:00.123456789Z" };
            let state = StateWire { messages, bytes: 600, first_seq, first_ts: first_ts.to_owned() };
            let kept = Kept::of("2024-03-01T13:00:00Z".parse().unwrap(), &config, &state);
            let minutes = ["11:30", "12:30", "12:59"];
            minutes.map(|minute| kept.has_let_go(format!("2024-03-01T{minute}:00Z").parse().unwrap()))
        };
        assert_eq!(kept(0, -1, 5, 9), [false; 3], "newer versions have taken their places");
        assert_eq!(kept(3_600, -1, 5, 9), [true, false, false]);
        assert_eq!(kept(1_800, -1, 0, 9), [true, true, false]);
        assert_eq!(kept(0, 1_000, 5, 9), [true, false, false]);
        assert_eq!(kept(0, 10_000, 5, 9), [false; 3], "there is room: what is gone was purged");
        assert_eq!(kept(0, 1_000, 5, 1), [false; 3], "nothing has had to go");
        assert_eq!(kept(0, 1_000, 0, 9), [false; 3]);
    }
}
