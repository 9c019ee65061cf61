//! A minute of chaos: every kind of fault once. `just chaos` is the long one.

use daybook_chaos::fault::Kind;
use daybook_chaos::run::{Length, Settings, run};
use std::time::Duration;

const SETTINGS: Settings = Settings {
    seed: 1,
    length: Length::Faults(Kind::ALL.len()),
    clock_interval: Duration::from_millis(1_500),
    only: Vec::new(),
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_fault_once_and_every_figure_is_right() {
    let folder = tempfile::tempdir().unwrap();
    let summary = run(&SETTINGS, folder.path()).await.unwrap();
    println!("{summary}");
    if !summary.is_sound() {
        panic!("{summary}\nlogs and data are in {}", folder.keep().display());
    }
    let kinds: Vec<Kind> = summary.faults.keys().copied().collect();
    assert_eq!(kinds, Kind::ALL);
    assert!(summary.faults.values().all(|strikes| strikes.survived == 1), "{summary}");
    // There was something to lose: events, days that closed, and answers during the faults.
    assert!(summary.events > 500 && summary.days_driven >= 2, "{summary}");
    assert!(summary.hostile_messages > 200, "{summary}");
    assert!(summary.checked.reports >= 12 && summary.checked.answers > 100, "{summary}");
}
