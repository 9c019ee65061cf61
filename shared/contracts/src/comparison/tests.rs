use super::*;
use serde_json::{Value, json};

/// A version of acme's report with these rows of the view `sales`, which are `total` in all.
fn report(version: u32, rows: &Value, total: u64) -> Report {
    let supersedes = (version > 1).then(|| json!({"version": version - 1, "hash": "00"}));
    let counted = u64::from(version);
    serde_json::from_value(json!({
        "tenant": "acme", "date": "2024-03-01", "version": version,
        "day": {"date": "2024-03-01", "opens_at": "2024-03-01T00:00:00Z", "closes_at": "2024-03-02T00:00:00Z"},
        "dispositions": {"published": counted, "counted": counted, "pending": 0, "duplicate": 0, "stale": 0,
            "carried": 0, "rejected": 0},
        "coverage": "complete", "views": {"sales": {"rows": rows, "total": total}},
        "definitions": {"tenant": 1, "kinds": {}, "views": {"sales": 1}, "calendar": null, "calendar_revision": 1,
            "tzdb": "2024a"},
        "log": {"partition": 0, "from": 1, "through": 2, "inbox_through": 3},
        "supersedes": supersedes, "changes": [], "changes_omitted": 0,
    }))
    .unwrap()
}

fn of_rows(before: &Value, after: &Value) -> Value {
    let count = |rows: &Value| rows.as_array().unwrap().len() as u64;
    let [one, two] = [(1, before), (2, after)].map(|(version, rows)| report(version, rows, count(rows)));
    serde_json::to_value(compare(&one, &two)).unwrap()["views"].clone()
}

#[test]
fn a_figure_has_its_value_before_and_after() {
    let [before, after] = [json!([{"orders": 3, "revenue": 10.50}]), json!([{"orders": 3, "revenue": 12.00}])];
    let figures = json!([{"name": "revenue", "before": 10.5, "after": 12.0}]);
    let expected = json!({"sales": {"rows": [{"key": {}, "row": "changed", "figures": figures}]}});
    assert_eq!(of_rows(&before, &after), expected);
    assert_eq!(of_rows(&after, &after), json!({}), "what is the same is left out");
}

#[test]
fn rows_are_told_apart_by_their_texts_whatever_their_order() {
    let before = json!([
        {"position": 1, "store": "east", "orders": 5}, {"position": 2, "store": null, "orders": 4},
        {"position": 3, "store": "gone", "orders": 1},
    ]);
    let after = json!([
        {"position": 1, "store": null, "orders": 6}, {"position": 2, "store": "east", "orders": 5},
        {"position": 3, "store": "new", "orders": 2},
    ]);
    let figure = |name: &str, before: Value, after: Value| json!({"name": name, "before": before, "after": after});
    let row =
        |store: Value, row: &str, figures: Value| json!({"key": {"store": store}, "row": row, "figures": figures});
    // A JSON value has its names in the order of the alphabet.
    let expected = [
        row(
            json!(null),
            "changed",
            json!([figure("orders", json!(4), json!(6)), figure("position", json!(2), json!(1))]),
        ),
        row(json!("east"), "changed", json!([figure("position", json!(1), json!(2))])),
        row(
            json!("new"),
            "new",
            json!([figure("orders", json!(null), json!(2)), figure("position", json!(null), json!(3))]),
        ),
        row(
            json!("gone"),
            "gone",
            json!([figure("orders", json!(1), json!(null)), figure("position", json!(3), json!(null))]),
        ),
    ];
    assert_eq!(of_rows(&before, &after)["sales"]["rows"], json!(expected));
}

#[test]
fn a_row_that_had_no_room_is_not_called_new_or_gone() {
    let rows = |store: &str| json!([{"store": store, "orders": 1}]);
    let compared = compare(&report(1, &rows("east"), 9), &report(2, &rows("west"), 9));
    let view = &compared.views[&Name::new("sales").unwrap()];
    assert_eq!((view.rows.len(), view.rows_unknown, view.total), (0, 2, None));
}

#[test]
fn the_account_and_the_definitions_are_compared() {
    let rows = json!([{"orders": 1}]);
    let (one, mut four) = (report(1, &rows, 1), report(4, &rows, 1));
    let sales = Name::new("sales").unwrap();
    four.definitions.views.insert(sales.clone(), 2);
    let compared = compare(&one, &four);
    assert_eq!((compared.from, compared.to, compared.versions_between), (1, 4, 2));
    let counts = Both { before: 1, after: 4 };
    assert_eq!(compared.dispositions, BTreeMap::from([("published", counts), ("counted", counts)]));
    assert_eq!(compared.coverage, None);
    assert_eq!(compared.views[&sales].definition, Some(Both { before: Some(1), after: Some(2) }));

    four.views.clear();
    four.definitions.views.clear();
    let without = compare(&one, &four);
    assert_eq!(without.views[&sales].rows[0].row, RowChange::Gone);
    assert_eq!(without.views[&sales].definition, Some(Both { before: Some(1), after: None }));
}

#[test]
fn the_version_before_is_compared_unless_another_is_named() {
    let report = |version| report(version, &json!([]), 0);
    assert_eq!(earlier_version(&report(3), None), Ok(2));
    assert_eq!(earlier_version(&report(3), Some(1)), Ok(1));
    assert_eq!(earlier_version(&report(1), None), Err(NoEarlier::First(1)));
    for from in [3, 4] {
        assert_eq!(earlier_version(&report(3), Some(from)), Err(NoEarlier::Order { from, to: 3 }));
    }
}
