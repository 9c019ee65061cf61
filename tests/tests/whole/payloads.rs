//! Payloads of well-known systems, as those write them. In `payloads/`, each shape has its records, a kind with a mapping and a view, and
//! the events that come out. They are counted as the same events published in Daybook's own form.

use daybook::definitions;
use daybook_contracts::event::Problem;
use daybook_domain::catalogue::{CalendarRule, Kind};
use daybook_domain::time::Date;
use daybook_mapping::{Outcome, RecordMapper, Zones};
use daybook_tests::asking::tenant;
use daybook_tests::orders::{self, NOON, account};
use daybook_tests::sources::rows_of;
use daybook_tests::{Daybook, installation};
use serde_json::json;
use std::path::PathBuf;

const TENANTS: &str = r#"
tenants:
  - { id: acme, zone: Etc/UTC, cutoff: "00:00", first_day: 2024-03-01, clock: shop }
  - { id: twin, zone: Etc/UTC, cutoff: "00:00", first_day: 2024-03-01, clock: shop }
"#;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/whole/payloads")
}

/// A file of a shape.
fn file(name: &str, extension: &str) -> PathBuf {
    folder().join(format!("{name}.{extension}"))
}

fn read(name: &str, extension: &str) -> String {
    let file = file(name, extension);
    std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// The names of all shapes.
fn shapes() -> Vec<String> {
    let files = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let definitions = files.filter(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    let mut names: Vec<String> =
        definitions.map(|file| file.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

/// The one kind of a shape, and the name of its view.
fn defined(name: &str) -> (Kind, String) {
    let files = [(file(name, "yaml"), format!("{}{TENANTS}", read(name, "yaml")))];
    let loaded = definitions::load(&files, &[]).unwrap_or_else(|mistakes| panic!("{name}: {mistakes:?}"));
    let apply = loaded.apply;
    (apply.kinds[0].clone(), apply.views[0].name.to_string())
}

/// What comes of each record, a line each: the event, or why there is none.
fn mapped(name: &str) -> Vec<String> {
    let (kind, _) = defined(name);
    let wanted = format!("{}/{}", kind.name, kind.mappings[0].name).parse().unwrap();
    let mut zones = Zones::default();
    let rule =
        CalendarRule { from: Date::MIN, zone: "Etc/UTC".into(), cutoff_minutes: 0, named_by: Default::default() };
    zones.define(&tenant("acme"), &[rule]);
    let mapper = RecordMapper::find(&[kind], &wanted, zones, None).unwrap();
    let told = |outcome| match outcome {
        Outcome::Event(made) => String::from_utf8(mapper.envelope(&made)).unwrap(),
        Outcome::PassedOver(_) => "skipped".to_owned(),
        Outcome::Unmapped(unmapped) => {
            let Problem { code, field, .. } = unmapped.problem;
            format!("reject {code} {}", field.unwrap_or_default())
        }
    };
    let records = read(name, "ndjson");
    let outcomes =
        (1..).zip(records.lines()).flat_map(|(at, line)| mapper.map(at, line.as_bytes(), NOON.parse().unwrap()));
    outcomes.map(told).collect()
}

#[test]
fn every_shape_becomes_the_events_beside_it() {
    let shapes = shapes();
    assert!(shapes.len() >= 17, "{shapes:?}");
    let told = |shape: &String| {
        let (mapped, expected) = (mapped(shape).join("\n"), read(shape, "events"));
        (mapped != expected.trim_end()).then(|| format!("{shape}:\n{mapped}\n"))
    };
    let differing: Vec<String> = shapes.iter().filter_map(told).collect();
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn shapes_are_counted_as_the_events_beside_them() {
    let daybook = Daybook::start().await;
    daybook.define(TENANTS).await;
    let shapes = shapes();
    for shape in &shapes {
        daybook.define(&read(shape, "yaml")).await;
    }
    orders::advance(&daybook, NOON).await;
    let (mut events, mut rejects) = (0, 0);
    for shape in &shapes {
        let (kind, _) = defined(shape);
        let (records, url) = (file(shape, "ndjson"), daybook.broker.broker.client_url());
        let mapping = kind.mappings[0].name.as_str();
        let replay = ["replay", records.to_str().unwrap(), "--kind", kind.name.as_str(), "--mapping", mapping];
        let output = installation::daybook(&[&replay[..], &["--nats", url, "--json"]].concat());
        assert!(matches!(output.status.code(), Some(0 | 3)), "{shape}: {output:?}");
        for line in read(shape, "events").lines() {
            if line.starts_with('{') {
                daybook.publish("twin", kind.name.as_str(), line.replacen("\"acme\"", "\"twin\"", 1)).await;
                events += 1;
            }
            rejects += u64::from(line.starts_with("reject"));
        }
    }
    daybook.settle().await;
    for shape in &shapes {
        let (_, view) = defined(shape);
        let rows = rows_of(&daybook.client, "acme", &view).await;
        assert_ne!(rows, json!([]), "{shape}");
        assert_eq!(rows, rows_of(&daybook.client, "twin", &view).await, "{shape}");
    }
    let (acme, twin) = (account(&daybook, "acme").await, account(&daybook, "twin").await);
    assert_eq!((acme.published - acme.rejected, twin.published), (events, events));
    assert_eq!((twin.rejected, acme.rejected <= rejects), (0, true), "{acme:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_of_lines_that_vanish_comes_out_as_the_page_says() {
    let page = std::fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/MAPPING.md")).unwrap();
    let section = page.split("## Lines that vanish").nth(1).unwrap();
    let block =
        |language: &str| section.split(&format!("```{language}\n")).nth(1).unwrap().split("```").next().unwrap();
    let daybook = Daybook::start().await;
    daybook.define(&format!("{}{TENANTS}", block("yaml"))).await;
    orders::advance(&daybook, NOON).await;
    let payloads: Vec<&str> = block("json").lines().collect();
    let file = daybook.broker.folder.path().join("orders.ndjson");
    // The second one comes first, and again.
    for lines in [vec![payloads[1], payloads[0]], payloads] {
        std::fs::write(&file, lines.join("\n")).unwrap();
        let url = daybook.broker.broker.client_url();
        let replay = ["replay", file.to_str().unwrap(), "--kind", "order_line", "--mapping", "orders", "--nats", url];
        assert!(installation::daybook(&replay).status.success());
        let rows = rows_of(&daybook.client, "acme", "products").await;
        assert_eq!(rows, json!([{"product": "tea", "lines": 1, "revenue": 3.0}]));
    }
    assert_eq!(account(&daybook, "acme").await.rejected, 0);
}
