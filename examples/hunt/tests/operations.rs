//! The hunt's dashboard, alerts and documentation name what there is. `deploy/local/metrics.py` also runs promtool.
#![allow(clippy::unwrap_used)]

use regex::Regex;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn text(file: &str) -> String {
    std::fs::read_to_string(root().join(file)).unwrap()
}

/// All that a pattern's first group finds.
fn found(pattern: &str, text: &str) -> BTreeSet<String> {
    Regex::new(pattern).unwrap().captures_iter(text).map(|found| found[1].to_owned()).collect()
}

/// All source files of the hunt, as one text.
fn sources() -> String {
    let mut folders = vec![root().join("examples/hunt/src")];
    let mut sources = String::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false if path.extension().is_some_and(|extension| extension == "rs") => {
                    sources += &std::fs::read_to_string(path).unwrap();
                }
                false => {}
            }
        }
    }
    sources
}

/// Metrics that are made, by their macros.
fn made() -> BTreeSet<String> {
    found(r#"(?:counter|gauge|histogram)!\(\s*"(hunt_\w+)""#, &sources())
}

/// Metrics that a text names; a histogram's without what its series add.
fn named(text: &str) -> BTreeSet<String> {
    let strip = |name: &String| {
        let stem = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        stem.unwrap_or(name).to_owned()
    };
    found(r"\b(hunt_\w+)\b", text).iter().map(strip).collect()
}

#[test]
fn the_dashboard_and_alerts_name_metrics_that_exist() {
    let made = made();
    assert!(made.len() > 20, "{made:?}");
    let dashboard: Value = serde_json::from_str(&text("deploy/grafana/dashboards/hunt.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "ids differ");
    for file in ["deploy/grafana/dashboards/hunt.json", "deploy/prometheus/hunt.yml", "deploy/prometheus/hunt.test.yml"]
    {
        let named = named(&text(file));
        assert!(!named.is_empty() && named.is_subset(&made), "{file}: {:?}", named.difference(&made));
    }
}

#[test]
fn every_alert_has_a_test_and_a_severity() {
    let rules = text("deploy/prometheus/hunt.yml");
    let alerts = found(r"(?m)^ +- alert: (\w+)$", &rules);
    let tested = found(
        r#"exp_samples: \[\{ labels: '\{alertname="(\w+)"\}', value: 1 \}\]"#,
        &text("deploy/prometheus/hunt.test.yml"),
    );
    assert_eq!(alerts, tested);
    assert_eq!(rules.matches("labels: { severity: ").count(), alerts.len());
    assert_eq!(rules.matches("          summary: ").count(), alerts.len());
    assert!(text("deploy/prometheus/prometheus.yml").contains("/etc/prometheus/hunt.yml"));
    let files = found(r"- (/etc/prometheus/\w+\.yml)", &text("deploy/prometheus/prometheus.yml"));
    assert_eq!(files.len(), 2, "{files:?}");
}

#[test]
fn the_page_has_every_metric_and_every_alert() {
    let page = text("docs/HUNT.md");
    let documented = found(r"`(hunt_\w+)(?:\{[^`]*\})?`", &page);
    let missing: Vec<_> = made().difference(&documented).cloned().collect();
    assert!(missing.is_empty(), "docs/HUNT.md lacks {missing:?}");
    let strangers: Vec<_> = named(&page).difference(&made()).filter(|name| !name.ends_with('_')).cloned().collect();
    // Views of Daybook have names like metrics.
    let views = ["hunt_teams", "hunt_players", "hunt_challenges", "hunt_hours"];
    assert!(strangers.iter().all(|name| views.contains(&name.as_str())), "docs/HUNT.md names {strangers:?}");
    for alert in found(r"(?m)^ +- alert: (\w+)$", &text("deploy/prometheus/hunt.yml")) {
        assert!(page.contains(&format!("`{alert}`")), "docs/HUNT.md lacks {alert}");
    }
}

#[test]
fn searches_for_traces_name_spans_and_fields_that_exist() {
    let dashboard: Value = serde_json::from_str(&text("deploy/grafana/dashboards/hunt.json")).unwrap();
    let targets = dashboard["panels"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let searches: Vec<&Value> = targets.filter(|target| target["queryType"] == "search").collect();
    assert_eq!(searches.len(), 1);
    let sources = sources();
    for search in searches {
        let operation = search["operation"].as_str().unwrap();
        let spans = Regex::new(&format!(r#"info_span!\(\s*"{operation}"([^;]*?)\)[;.]"#)).unwrap();
        let fields: BTreeSet<String> =
            spans.captures_iter(&sources).flat_map(|span| found(r"(\w+) = ", &span[1])).collect();
        assert!(!fields.is_empty(), "there is no span {operation}");
        let asked = found(r"(\w+)=", search["tags"].as_str().unwrap());
        assert!(asked.is_subset(&fields), "{asked:?} of {fields:?}");
    }
}
