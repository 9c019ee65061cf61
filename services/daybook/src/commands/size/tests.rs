use super::*;
use clap::Parser as _;

const SHOP: &str = "
kinds:
  - { name: order, mode: entity, dimensions: [store, customer], measures: [{ name: total, type: decimal, scale: 2 }], remember: 100 }
  - { name: click, mode: fact, dimensions: [page, user], measures: [ms] }
views:
  - { name: sales, kind: order, group_by: [store], metrics: [orders: count, revenue: sum(total), median: \"quantile(total, 0.5)\"] }
  - { name: hours, kind: order, grain: hour, group_by: [store], metrics: [orders: count], tenants: [acme] }
  - { name: pages, kind: click, group_by: [page, user], metrics: [clicks: count, slowest: max(ms)] }
tenants:
  - { id: acme, zone: Etc/UTC, cutoff: \"00:00\" }
  - { id: zeta, zone: Etc/UTC, cutoff: \"00:00\" }
";

#[derive(clap::Parser)]
struct Line {
    #[command(flatten)]
    arguments: Arguments,
}

fn parsed(line: &str) -> Result<Arguments, clap::Error> {
    Line::try_parse_from(std::iter::once("size").chain(line.split_whitespace())).map(|line| line.arguments)
}

/// The load of a command with the shop's file.
fn shop(line: &str) -> anyhow::Result<SizingLoad> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("shop.yaml");
    std::fs::write(&path, SHOP)?;
    let arguments = parsed(&format!("{line} --file {}", path.display()))?;
    let defined = definitions_of(&arguments)?.context("it has mistakes")?;
    load(&arguments, &defined)
}

#[test]
fn kinds_views_and_tenants_come_from_files() {
    let load = shop("--events order=10_000 --events click=1,000,000 --versions 2 --groups pages=300").unwrap();
    assert_eq!(load.tenants, 2);
    let kinds: Vec<_> = load
        .kinds
        .iter()
        .map(|kind| (&*kind.name, kind.events, kind.rows, kind.entities, kind.columns, kind.remember))
        .collect();
    assert_eq!(kinds, [("order", 10_000, 5_000, 5_000, 3, 100), ("click", 1_000_000, 1_000_000, 0, 3, 400)]);
    let views: Vec<_> = load
        .views
        .iter()
        .map(|view| (&*view.name, view.tenants, view.groups_of_tenant, view.accumulators, view.values))
        .collect();
    // The median holds the value of each order; the sum counts as well.
    assert_eq!(views[0].0, "sales");
    assert_eq!((views[0].1, views[0].2, views[0].4), (2, 20, 5_000));
    assert_eq!((views[1].0, views[1].1, views[1].2, views[1].4), ("hours", 1, 480, 0));
    assert_eq!((views[2].0, views[2].1, views[2].2, views[2].4), ("pages", 2, 300, 0), "of facts, extremes alone");
    assert!(views.iter().all(|view| (1..=3).contains(&view.3)), "{views:?}");
    let with_ids = shop("--events order=1 --events click=1000 --fact-ids --remember 35").unwrap();
    assert_eq!((with_ids.kinds[1].entities, with_ids.kinds[0].remember), (1_000, 35));
    assert_eq!(with_ids.views[0].groups_of_tenant, 1, "no more groups than rows");
}

#[test]
fn what_is_not_said_is_asked_for() {
    let refused = |line: &str| shop(line).unwrap_err().to_string();
    assert!(refused("--events order=1").contains("a day there are of click: --events click=N"));
    let told = refused("--events 5");
    assert!(told.contains("say of which kind, such as --events order=5"), "{told}");
    assert!(refused("--events ordr=1 --events click=1").contains("no kind ordr; did you mean order?"));
    assert!(refused("--events order=1 --events order=2 --events click=1").contains("twice how many order has"));
    assert!(refused("--events order=1 --events click=1 --groups page=1").contains("did you mean pages?"));
    assert!(refused("--events order=1 --events click=1 --tenants 0").contains("--tenants N"));
    assert!(refused("--events order=1 --events click=1 --versions 0").contains("at least one event"));
    for line in
        ["", "--events x", "--events -5", "--events 1.5", "--events 9999999999999", "--events 1 --shard-memory 1"]
    {
        assert!(parsed(line).is_err(), "{line}");
    }
    let without = parsed("--events 1000").unwrap();
    let told = load(&without, &definitions_of(&without).unwrap().unwrap()).unwrap_err().to_string();
    assert!(told.contains("--tenants N"), "{told}");
}

#[test]
fn without_files_flags_describe_the_kind() {
    let loaded = |line: &str| {
        let arguments = parsed(line).unwrap();
        load(&arguments, &definitions_of(&arguments).unwrap().unwrap()).unwrap()
    };
    let plain = loaded("--events 1000 --tenants 10");
    assert_eq!((plain.kinds[0].entities, plain.kinds[0].columns, plain.views.len()), (1_000, 3, 1));
    assert_eq!((plain.views[0].groups_of_tenant, plain.views[0].values), (20, 0));
    let facts = loaded("--events 1000 --tenants 10 --mode fact --dimensions 0 --measures 0 --views 3");
    assert_eq!((facts.kinds[0].entities, facts.views.len(), facts.views[2].groups_of_tenant), (0, 3, 1));
}

#[test]
fn the_answer_says_how_many_processes_or_what_to_change() {
    let told = |line: &str| {
        let arguments = parsed(line).unwrap();
        let load = load(&arguments, &definitions_of(&arguments).unwrap().unwrap()).unwrap();
        let Installation { partitions, replicas, shard_memory, .. } = load.installation;
        processes(&estimate(&load), partitions, replicas, shard_memory)
    };
    let small = told("--events 100000 --tenants 10");
    assert!(small.starts_with("shard processes: 2 of 2.0 GiB; each holds up to 8 of 8 partitions"), "{small}");
    let large = told("--events 30,000,000 --tenants 1000 --shard-memory 1g");
    assert!(large.starts_with("DOES NOT FIT: ") && large.contains("or --partitions "), "{large}");
    let memory = large.split("--shard-memory ").nth(1).unwrap().split(',').next().unwrap().to_owned();
    let larger = told(&format!("--events 30_000_000 --tenants 1000 --shard-memory {memory}"));
    assert!(larger.starts_with("shard processes: "), "{larger}");
    let partitions = large.rsplit(' ').next().unwrap();
    let more = told(&format!("--events 30_000_000 --tenants 1000 --shard-memory 1g --partitions {partitions}"));
    assert!(more.starts_with("shard processes: "), "{more}");
}

#[test]
fn amounts_have_one_digit_behind_the_point() {
    for (bytes, shown) in [
        (0, "0 B"),
        (1_023, "1023 B"),
        (1 << 10, "1.0 KiB"),
        (1_900_000_000, "1.7 GiB"),
        (u64::MAX, "16,777,215.9 TiB"),
    ] {
        assert_eq!(amount(bytes), shown);
    }
}
