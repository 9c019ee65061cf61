//! Times, processor time, and what a circuit has put out.

use dbsp::typed_batch::{IndexedZSetReader as _, SpineSnapshot};
use dbsp::{DBData, OrdIndexedZSet, OutputHandle};
use serde_json::json;
use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// The changes of a table of results.
pub type Output<K, V> = OutputHandle<SpineSnapshot<OrdIndexedZSet<K, V>>>;

/// Brings the results up to what the last transaction made of them.
pub fn collect<K: DBData + Hash + Eq, V: DBData>(output: &Output<K, V>, results: &mut HashMap<K, V>) {
    let changes = output.concat().consolidate();
    // A result that changes is taken out as it was and put in as it is, in the order of the values.
    let (mut gone, mut new) = (Vec::new(), Vec::new());
    for (key, value, weight) in changes.iter() {
        if weight > 0 { new.push((key, value)) } else { gone.push(key) }
    }
    for key in gone {
        results.remove(&key);
    }
    results.extend(new);
}

/// A stretch of work.
pub struct Load {
    began: Instant,
    busy: Duration,
    steps: Vec<Duration>,
}

impl Load {
    pub fn begin() -> Self {
        Self { began: Instant::now(), busy: processor_time(), steps: Vec::new() }
    }

    pub fn step(&mut self, time: Duration) {
        self.steps.push(time);
    }

    /// The columns of so many events, from the beginning until now.
    pub fn figures(&mut self, events: usize) -> Vec<(String, String)> {
        let (took, busy) = (self.began.elapsed(), processor_time() - self.busy);
        let mut figures = vec![
            ("events".to_owned(), thousands(events)),
            ("events/s".to_owned(), thousands((events as f64 / took.as_secs_f64()) as usize)),
            ("per busy core".to_owned(), thousands((events as f64 / busy.as_secs_f64()) as usize)),
        ];
        figures.extend(milliseconds("transaction", &mut self.steps));
        figures
    }
}

/// The columns of these times.
pub fn milliseconds(name: &str, times: &mut [Duration]) -> [(String, String); 2] {
    times.sort_unstable();
    let at = |share: f64| {
        let index = ((times.len() as f64 * share) as usize).min(times.len().saturating_sub(1));
        times.get(index).map_or_else(String::new, |time| format!("{:.2}", time.as_secs_f64() * 1_000.0))
    };
    [(format!("{name} p50 ms"), at(0.5)), (format!("{name} p99 ms"), at(0.99))]
}

pub fn row(table: &str, name: &str, mut figures: Vec<(String, String)>) {
    figures.push(("note".to_owned(), "in process, nothing durable".to_owned()));
    println!("{}", json!({ "table": table, "name": name, "figures": figures }));
}

fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
