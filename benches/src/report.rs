//! What was measured: a table for people, JSON and Markdown for files.

use serde_json::{Map, Value, json};
use std::time::Duration;

/// The tables of one run.
#[derive(Debug, Default)]
pub struct Report {
    parts: Vec<Part>,
}

#[derive(Debug)]
struct Part {
    title: String,
    rows: Vec<(String, Vec<(String, String)>)>,
}

impl Report {
    /// Begins a table.
    pub fn part(&mut self, title: &str) {
        eprintln!("# {title}");
        self.parts.push(Part { title: title.to_owned(), rows: Vec::new() });
    }

    /// Adds a row to the last table.
    pub fn row(&mut self, name: &str, figures: &[(&str, String)]) {
        let figures: Vec<_> = figures.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        let text: Vec<String> = figures.iter().map(|(key, value)| format!("{key} {value}")).collect();
        eprintln!("{name}: {}", text.join(", "));
        let part = self.parts.last_mut().expect("a part was begun");
        part.rows.push((name.to_owned(), figures));
    }

    /// All tables as Markdown.
    pub fn markdown(&self) -> String {
        let mut text = String::new();
        for (key, value) in machine() {
            text += &format!("- {key}: {value}\n");
        }
        for part in &self.parts {
            text += &format!("\n## {}\n\n", part.title);
            let mut columns: Vec<&str> = Vec::new();
            for (key, _) in part.rows.iter().flat_map(|(_, figures)| figures) {
                if !columns.contains(&key.as_str()) {
                    columns.push(key);
                }
            }
            text += &format!("| | {} |\n| --- |{}\n", columns.join(" | "), " ---: |".repeat(columns.len()));
            for (name, figures) in &part.rows {
                let of = |column: &&str| figures.iter().find(|(key, _)| key == column).map_or("", |(_, value)| value);
                let cells: Vec<&str> = columns.iter().map(of).collect();
                text += &format!("| {name} | {} |\n", cells.join(" | "));
            }
        }
        text
    }

    /// All tables as JSON.
    pub fn json(&self) -> Value {
        let row = |(name, figures): &(String, Vec<(String, String)>)| {
            let mut object = Map::from_iter([("name".to_owned(), Value::from(name.as_str()))]);
            object.extend(figures.iter().map(|(key, value)| (key.clone(), Value::from(value.as_str()))));
            Value::Object(object)
        };
        let part = |part: &Part| json!({ "title": part.title, "rows": part.rows.iter().map(row).collect::<Vec<_>>() });
        let machine: Map<String, Value> =
            machine().into_iter().map(|(key, value)| (key.to_owned(), value.into())).collect();
        json!({ "machine": machine, "parts": self.parts.iter().map(part).collect::<Vec<_>>() })
    }
}

/// What it was measured on.
fn machine() -> Vec<(&'static str, String)> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_once(':').map_or(String::new(), |(_, value)| value.trim().to_owned())
    };
    vec![
        ("processor", field(&read("/proc/cpuinfo"), "model name")),
        ("cores", std::thread::available_parallelism().map_or(0, usize::from).to_string()),
        ("memory", field(&read("/proc/meminfo"), "MemTotal")),
        ("system", read("/proc/sys/kernel/osrelease").trim().to_owned()),
        ("Daybook", env!("CARGO_PKG_VERSION").to_owned()),
        ("build", if cfg!(debug_assertions) { "debug: figures mean nothing" } else { "release" }.to_owned()),
    ]
}

/// A rate, with thousands marked.
pub fn per_second(count: usize, time: Duration) -> String {
    daybook::table::count((count as f64 / time.as_secs_f64()) as u64)
}

/// The time that a share of the times, which are sorted, do not exceed; `None` when there are none.
pub fn percentile(times: &[Duration], share: f64) -> Option<Duration> {
    let index = (times.len() as f64 * share) as usize;
    times.get(index.min(times.len().saturating_sub(1))).copied()
}

/// In milliseconds; nothing for no time.
pub fn milliseconds(time: Option<Duration>) -> String {
    time.map_or_else(String::new, |time| format!("{:.2}", time.as_secs_f64() * 1_000.0))
}

/// In seconds.
pub fn seconds(time: Duration) -> String {
    format!("{:.2}", time.as_secs_f64())
}

/// How many there are, and their percentiles in milliseconds.
pub fn percentiles(times: &mut [Duration]) -> Vec<(&'static str, String)> {
    let n = daybook::table::count(times.len() as u64);
    let mut at = |share| quantile_ms(times, share);
    vec![("n", n), ("p50 ms", at(0.5)), ("p99 ms", at(0.99)), ("p99.9 ms", at(0.999))]
}

/// In milliseconds the time that this share of `times` does not exceed; empty when there are none.
pub fn quantile_ms(times: &mut [Duration], share: f64) -> String {
    times.sort_unstable();
    milliseconds(percentile(times, share))
}
