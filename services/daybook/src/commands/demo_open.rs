//! `daybook demo --open`: the flights in fast motion, for the console. Delays move the rankings, days close one after the
//! other, and each day a correction of a sealed report makes its next version.

use super::demo_flights::{EVENTS, define, replaying};
use crate::cli::Outcome;
use crate::client::Client;
use crate::embedded::{Embedded, EmbeddedOptions};
use crate::replayer::Replayer;
use crate::source::{EventSource, Record};
use anyhow::Context as _;
use daybook_domain::time::Instant;
use serde_json::Value;
use std::process::ExitCode;
use std::time::Duration;

/// History that is there at once: the first day is sealed, and the second has begun.
const BEGIN: &str = "2013-03-09T15:00:00Z";
/// How often the clock moves.
const TICK: Duration = Duration::from_millis(200);
/// The airport whose reports are corrected.
const CORRECTED: &str = "ATL";
/// When a day's correction comes, after midnight UTC: all days of the United States have closed an hour before.
const CORRECTION_AT_MS: i64 = 17 * 3_600_000;
/// How far the clock runs on after the last event, so that the last days close too.
const RUN_ON: Duration = Duration::from_secs(48 * 3600);
const DAY_MS: i64 = 86_400_000;

/// Runs until the process is told to stop.
pub(super) async fn run(options: EmbeddedOptions, pace: u16) -> Outcome {
    let mut services = Embedded::start(options.clone()).await?;
    let url = services.http.clone().context("the gateway does not listen")?;
    let client = Client::connect(&options.broker).await?;
    define(&client).await?;
    let playing = async {
        play(&client, pace, &url).await?;
        super::print_line("history ends here; the console stays until Ctrl-C")?;
        std::future::pending::<()>().await;
        anyhow::Ok(())
    };
    tokio::select! {
        played = playing => played?,
        ended = services.ended() => ended?,
    }
    services.stop().await;
    Ok(ExitCode::SUCCESS)
}

/// History time while it is played.
struct Pace {
    began: tokio::time::Instant,
    from: Instant,
    minutes_per_second: u32,
}

impl Pace {
    fn now(&self) -> Instant {
        self.from.after(self.began.elapsed() * 60 * self.minutes_per_second)
    }
}

async fn play(client: &Client, minutes_per_second: u16, url: &str) -> anyhow::Result<()> {
    let begin: Instant = BEGIN.parse()?;
    let mut records = EventSource::of_bytes(EVENTS, "march.ndjson.zst").into_records();
    let mut replayer = Replayer::new(client.clone(), replaying()?);
    let mut corrections = Corrections::default();
    let mut pace: Option<Pace> = None;
    while let Some(Record { line, content }) = records.next().await? {
        let event = content.map_err(|reason| anyhow::anyhow!("line {line}: {reason}"))?;
        let seen: Value = serde_json::from_slice(&event)?;
        let seen_at: Instant = seen["seen_at"].as_str().context("a flight has no time")?.parse()?;
        if seen_at >= begin {
            if pace.is_none() {
                replayer.advance(begin).await?;
                client.settle().await?;
                super::print_line(&format!(
                    "\nThe console is at {url}\n{minutes_per_second} minutes pass in a second; Ctrl-C ends it"
                ))?;
            }
            let pace = pace.get_or_insert_with(|| Pace {
                began: tokio::time::Instant::now(),
                from: begin,
                minutes_per_second: minutes_per_second.into(),
            });
            while pace.now() < seen_at {
                tokio::time::sleep(TICK).await;
                replayer.advance(pace.now().min(seen_at)).await?;
            }
        }
        if let Some(correction) = corrections.due(seen_at) {
            replayer.publish(line, serde_json::to_vec(&correction)?, None).await?;
        }
        corrections.see(seen, seen_at);
        replayer.publish(line, event, None).await?;
    }
    let last = replayer.last_time().unwrap_or(begin);
    replayer.advance(last.after(RUN_ON)).await
}

/// Makes a correction of the day before, once a day: a flight that had landed, an hour later than was said.
#[derive(Default)]
struct Corrections {
    day: i64,
    landed: Option<Value>,
    /// The last flight of the day that is over.
    yesterday: Option<Value>,
}

impl Corrections {
    /// Notes a flight.
    fn see(&mut self, event: Value, seen_at: Instant) {
        let day = seen_at.as_millis().div_euclid(DAY_MS);
        if day > self.day {
            (self.day, self.yesterday) = (day, self.landed.take());
        }
        if event["tenant"] == CORRECTED && event["event"] == "landed" && event["measures"]["arr_delay"].is_i64() {
            self.landed = Some(event);
        }
    }

    /// The correction that is due at `now`, if any.
    fn due(&mut self, now: Instant) -> Option<Value> {
        if now.as_millis().rem_euclid(DAY_MS) < CORRECTION_AT_MS {
            return None;
        }
        let mut event = self.yesterday.take()?;
        event["version"] = (event["version"].as_u64()? + 1).into();
        event["measures"]["arr_delay"] = (event["measures"]["arr_delay"].as_i64()? + 60).into();
        event["seen_at"] = now.to_string().into();
        Some(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn landed(id: u32, at: &str) -> (Value, Instant) {
        let event = serde_json::json!({"tenant": "ATL", "id": id, "event": "landed", "version": 3, "seen_at": at,
            "measures": {"arr_delay": 5}});
        (event, at.parse().unwrap())
    }

    #[test]
    fn each_day_a_flight_of_the_day_before_is_corrected_once() {
        let mut corrections = Corrections::default();
        for (id, at) in [(1, "2013-03-09T20:00:00Z"), (2, "2013-03-09T23:00:00Z"), (3, "2013-03-10T16:00:00Z")] {
            let (event, at) = landed(id, at);
            assert_eq!(corrections.due(at), None);
            corrections.see(event, at);
        }
        let at: Instant = "2013-03-10T17:00:00Z".parse().unwrap();
        let due = corrections.due(at).unwrap();
        assert_eq!((&due["id"], &due["version"], &due["measures"]["arr_delay"]), (&2.into(), &4.into(), &65.into()));
        assert_eq!(due["seen_at"], "2013-03-10T17:00:00Z");
        assert_eq!(corrections.due(at), None);
    }
}
