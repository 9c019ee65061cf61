//! The dashboard of figures (deploy/grafana): each of its queries is asked as the Infinity data source does, and has rows.

use crate::{JSON, ORDERS, shop};
use daybook_tests::eventually;
use daybook_tests::orders::{self, order};
use daybook_tests::web::Web;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

const SOURCE: &str = "yesoreyeram-infinity-datasource";

/// What is chosen on the dashboard.
type Chosen<'c> = BTreeMap<&'c str, &'c str>;

#[tokio::test(flavor = "multi_thread")]
async fn every_query_of_the_dashboard_has_rows() {
    let (daybook, web) = shop().await;
    web.post(ORDERS, JSON, order("a").to_string()).await;
    // Too far ahead: a reject.
    let far = order("far").to_string().replace("2024-03-01", "2031-03-01");
    web.post(ORDERS, JSON, far).await;
    orders::advance(&daybook, "2024-03-02T12:00:00Z").await;
    web.post(ORDERS, JSON, order("c").to_string().replace("2024-03-01", "2024-03-02")).await;
    daybook.settle().await;
    let reports =
        || async { (web.get("/v1/tenants/acme/reports").await.json()["reports"][0]["version"] == 1).then_some(()) };
    eventually("the report", reports).await;

    let dashboard = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/grafana/dashboards/figures.json");
    let dashboard: Value = serde_json::from_str(&std::fs::read_to_string(dashboard).unwrap()).unwrap();
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let own = variables
        .iter()
        .filter_map(|variable| Some((variable["name"].as_str()?, variable["query"].get("infinityQuery")?)));
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let shown = panels.map(|panel| (panel["title"].as_str().unwrap(), panel["targets"].as_array().unwrap()));
    let shown = shown.flat_map(|(title, targets)| targets.iter().map(move |target| (title, target)));
    let queries: Vec<(&str, &Value)> = own.chain(shown).collect();
    assert!(queries.len() >= 8, "{}", queries.len());
    let days = variables.iter().find(|variable| variable["name"] == "days").unwrap()["query"].as_str().unwrap();
    for days in days.split(',') {
        let chosen = Chosen::from([("tenant", "acme"), ("view", "orders"), ("metric", "amount"), ("days", days)]);
        for (what, query) in &queries {
            assert_eq!(query["datasource"]["type"], SOURCE, "{what}");
            ask(&web, what, query, &chosen).await;
        }
    }
}

/// Asks one query and takes its rows apart.
async fn ask(web: &Web, what: &str, query: &Value, chosen: &Chosen<'_>) {
    let text = |value: &Value| filled(value.as_str().unwrap(), chosen);
    let options = &query["url_options"];
    assert_eq!((&query["parser"], &options["method"]), (&"backend".into(), &"GET".into()), "{what}");
    let parameters = options["params"].as_array().unwrap().iter();
    let parameters: Vec<String> =
        parameters.map(|pair| format!("{}={}", text(&pair["key"]), text(&pair["value"]).replace(' ', "+"))).collect();
    let path = format!("{}?{}", text(&query["url"]), parameters.join("&"));
    let answer = web.get(&path).await;
    assert_eq!(answer.status, 200, "{what}: {path}: {answer:?}");
    let answer = answer.json();
    let root = selected(&answer, &text(&query["root_selector"])).unwrap_or_else(|| panic!("{what}: {answer}"));
    let rows = root.as_array().cloned().unwrap_or_else(|| vec![root.clone()]);
    assert!(!rows.is_empty(), "{what}: {path}: {answer}");
    for (row, column) in rows.iter().flat_map(|row| query["columns"].as_array().unwrap().iter().map(move |c| (row, c)))
    {
        let cell = selected(row, &text(&column["selector"])).unwrap_or_else(|| panic!("{what}: {column} of {row}"));
        let fits = match column["type"].as_str().unwrap() {
            "number" => cell.is_number() || cell.is_null(),
            "timestamp" => cell.as_str().is_some_and(|text| text.starts_with("2024-")),
            _ => true,
        };
        assert!(fits, "{what}: {column} of {row}");
    }
}

/// A text with what is chosen in place of the variables.
fn filled(text: &str, chosen: &Chosen<'_>) -> String {
    let filled = chosen.iter().fold(text.to_owned(), |text, (name, value)| {
        text.replace(&format!("${{{name}}}"), value).replace(&format!("${{{name}:percentencode}}"), value)
    });
    assert!(!filled.contains('$'), "{filled}");
    filled
}

/// What a selector of the data source finds: members by points, and the first item whose member has a text by `#(member=="text")`.
fn selected<'v>(value: &'v Value, selector: &str) -> Option<&'v Value> {
    selector.split('.').filter(|step| !step.is_empty()).try_fold(value, |value, step| {
        match step.strip_prefix("#(").and_then(|rest| rest.strip_suffix("\")")?.split_once("==\"")) {
            Some((member, text)) => value.as_array()?.iter().find(|item| item[member] == text),
            None => value.get(step),
        }
    })
}
