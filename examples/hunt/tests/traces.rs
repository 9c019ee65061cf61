//! One trace from a submission to the ranking that moved, as an OTLP collector receives it; Daybook's own is linked to it.
//!
//! One test only: logs and traces are set up once for a whole process.
#![allow(clippy::unwrap_used)]

use daybook_runtime::config::OperationsOptions;
use daybook_runtime::telemetry;
use daybook_tests::collector::{Collector, Span, hex, outline};
use daybook_tests::{Daybook, eventually};
use hunt::broker::connect;
use hunt::game::Ask;
use hunt::lifecycle::{init_hunt, secret};
use hunt::node::teams::{self, Request};
use hunt::node::{Node, clock};
use hunt::play::generated::{HuntPlan, answer, yaml};
use std::sync::Arc;

const HUNT: &str = "traced";
const SEED: u64 = 5;

#[test]
fn a_submission_is_followed_to_the_ranking_that_it_moves() {
    let collector = Collector::start();
    let operations = OperationsOptions { otlp_endpoint: Some(collector.endpoint.clone()), ..Default::default() };
    // Before the runtime: the trace exporter has a blocking client of its own.
    let telemetry = telemetry::start("hunt-test", &operations).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let other = runtime.block_on(submit_at_another_process());
    drop(runtime);
    drop(telemetry);

    let spans = collector.spans();
    let field = |span: &Span, key: &str| {
        let value = span.attributes.iter().find(|attribute| attribute.key == key)?.value.clone()?;
        Some(format!("{:?}", value.value?))
    };
    let is_submission = |span: &&Span| {
        span.name == "ask"
            && span.parent_span_id.is_empty()
            && field(span, "what").is_some_and(|what| what.contains("submit"))
    };
    let roots: Vec<&Span> = spans.iter().filter(is_submission).collect();
    let [root] = roots[..] else { panic!("one submission begins a trace, of {:?}", outline(&spans)) };
    let children = |of: &Span, name: &str| -> Vec<&Span> {
        let is_it =
            |span: &&Span| span.name == name && span.trace_id == root.trace_id && span.parent_span_id == of.span_id;
        spans.iter().filter(is_it).collect()
    };
    let only = |of: &Span, name: &str| {
        let found = children(of, name);
        assert_eq!(found.len(), 1, "{name} below {}, of {:?}", of.name, outline(&spans));
        found[0].clone()
    };
    // The process that got it hands it on to the team's, which judges it.
    let handed_on = only(root, "ask");
    assert!(field(&handed_on, "team").is_some_and(|team| team.contains(&other)));
    let judge = only(&handed_on, "judge");
    // The record carries the trace to whoever publishes: what was submitted, and the points.
    let published = children(&judge, "publish");
    assert_eq!(published.len(), 2, "{:?}", outline(&spans));
    let ranking = only(&judge, "ranking");
    for publish in &published {
        assert!(publish.start_time_unix_nano >= judge.start_time_unix_nano);
        assert!(ranking.end_time_unix_nano >= publish.end_time_unix_nano, "the ranking moves last");
    }
    // Daybook's own trace of the batch is linked to each message.
    let linked = |span: &Span| {
        let links_to = |other: &&Span| {
            let mut links = other.links.iter();
            other.name == "ingest" && links.any(|link| link.span_id == span.span_id && link.trace_id == span.trace_id)
        };
        spans.iter().filter(links_to).count()
    };
    for publish in published {
        assert_eq!(linked(publish), 1, "{} of {:?}", hex(&publish.span_id), outline(&spans));
    }
}

/// Two processes; the right answer comes to the one that does not own the team. Returns the team.
async fn submit_at_another_process() -> String {
    let mut daybook = Daybook::start().await;
    let client = connect(daybook.broker.broker.client_url()).await.unwrap();
    let start = clock::now() + 1_000;
    let plan = HuntPlan {
        hunt: HUNT.to_owned(),
        seed: SEED,
        challenges: 3,
        start,
        end: start + 600_000,
        freezes: false,
        bounds_attempts: false,
    };
    init_hunt(&client, &yaml(&plan), 1).await.unwrap();
    let token = secret(&client, HUNT).await.unwrap().organiser();
    let one = Node::start(client.clone(), HUNT, true).await.unwrap();
    let two = Node::start(connect(daybook.broker.broker.client_url()).await.unwrap(), HUNT, true).await.unwrap();
    let team = "red".to_owned();
    let ask = |node: &Arc<Node>, ask: Ask| {
        let (node, team, request) = (node.clone(), team.clone(), Request { token: token.clone(), ask });
        async move { teams::ask(&node, &team, request).await.unwrap() }
    };
    ask(&one.node, Ask::Create { name: "Red".to_owned() }).await;
    ask(&one.node, Ask::Join { player: "p".to_owned(), name: "Ann".to_owned() }).await;
    let owns = |node: &Arc<Node>| node.owned.read().unwrap().contains_key(&team);
    let owned = || async {
        let both = one.node.members.borrow().len() == 2 && two.node.members.borrow().len() == 2;
        (both && owns(&one.node) != owns(&two.node) && clock::now() >= start).then_some(())
    };
    eventually("one owner of the team", owned).await;
    let other = if owns(&one.node) { two.node.clone() } else { one.node.clone() };
    eventually("the team at the other", || async { other.world().teams.contains_key(&team).then_some(()) }).await;
    let submit = Ask::Submit {
        id: "1".to_owned(),
        player: "p".to_owned(),
        challenge: "c00".to_owned(),
        answer: answer(SEED, "c00"),
    };
    ask(&other, submit).await;
    eventually("the ranking", || async {
        let has_points = |node: &Arc<Node>| node.ranking.borrow().rows.iter().any(|row| row.points > 0);
        (has_points(&one.node) && has_points(&two.node)).then_some(())
    })
    .await;
    one.stop().await;
    two.stop().await;
    daybook.stop_services().await;
    team
}
