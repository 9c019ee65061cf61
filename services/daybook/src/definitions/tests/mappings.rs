//! Mappings of kinds.

use super::*;

/// The kind with a mapping of these lines, from line 8 on at column 9.
fn mapping_with(lines: &str) -> String {
    let base = "kinds:\n  - name: sale\n    mode: entity\n    dimensions: [store, product]\n    measures: [{ name: total, scale: 2 }]\n";
    format!("{base}    mappings:\n      - name: shop\n{lines}")
}

#[test]
fn mappings_are_read_in_every_form() {
    use daybook_domain::ids::Name;
    use daybook_domain::mapping::{Explode, Mapping, Pick, Round, Take};
    let apply = good(&mapping_with(
        r#"
        when: "financial_status != 'pending'"
        tenant: { path: /shop/domain, map: { east.example: acme, 17: zeta, true: yes } }
        explode: { path: /line_items }
        id: [/id, ./id, index]
        version: { path: /updated_at, as: rfc3339 }
        at: { path: /created, as: [epoch_s, "%d.%m.%Y"], zone: Europe/Berlin }
        status: { path: /financial_status, map: { paid: final, refunded: void }, else: draft }
        dims: { store: { path: /location_id, text: true }, product: { path: ./sku, default: "??" } }
        measures: { total: { path: ./ms, shift: -2, divide: 60000, round: half_even } }
"#,
    ));
    let mapping = &apply.kinds[0].mappings[0];
    let name = |text: &str| Name::new(text).unwrap();
    let map = |pairs: &[(&str, &str)]| pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
    let expected = Mapping {
        when: Some("financial_status != 'pending'".into()),
        tenant: Some(Pick {
            map: map(&[("east.example", "acme"), ("17", "zeta"), ("true", "yes")]),
            ..Pick::path("/shop/domain")
        }),
        explode: Some(Explode { path: "/line_items".into(), complete: false, slots: None }),
        id: vec![Pick::path("/id"), Pick::path("./id"), Pick { take: Some(Take::Index), ..Pick::default() }],
        version: Some(Pick { form: vec!["rfc3339".into()], ..Pick::path("/updated_at") }),
        at: Some(Pick {
            form: vec!["epoch_s".into(), "%d.%m.%Y".into()],
            zone: Some("Europe/Berlin".into()),
            ..Pick::path("/created")
        }),
        status: Some(Pick {
            map: map(&[("paid", "final"), ("refunded", "void")]),
            otherwise: Some("draft".into()),
            ..Pick::path("/financial_status")
        }),
        dims: [
            (name("store"), Pick { text: true, ..Pick::path("/location_id") }),
            (name("product"), Pick { default: Some("??".into()), ..Pick::path("./sku") }),
        ]
        .into(),
        measures: [(
            name("total"),
            Pick { shift: Some(-2), divide: Some(60_000), round: Some(Round::HalfEven), ..Pick::path("./ms") },
        )]
        .into(),
        ..Mapping::new(name("shop"))
    };
    assert_eq!(*mapping, expected);
    let several = good(&mapping_with(
        "        id: /id
        at: /t
        dims: { store: { path: [/a, /b, /c] } }
        measures: { total: { path: /cents, shift: { path: /currency, map: { JPY: 0 }, else: -2 } } }
",
    ));
    let mapping = &several.kinds[0].mappings[0];
    assert_eq!(mapping.dims[&name("store")], Pick { or: vec!["/b".into(), "/c".into()], ..Pick::path("/a") });
    let by = Pick { map: map(&[("JPY", "0")]), otherwise: Some("-2".into()), ..Pick::path("/currency") };
    assert_eq!(mapping.measures[&name("total")], Pick { shift_by: Some(by.into()), ..Pick::path("/cents") });
    let short = good(&mapping_with(
        "        extends: debezium\n        tenant: { const: acme }\n        id: ./id\n        at: arrival\n",
    ));
    let mapping = &short.kinds[0].mappings[0];
    assert_eq!(mapping.rows, ["/after", "/before"], "what a preset says is stored");
    assert_eq!((mapping.id.len(), mapping.at.as_ref().unwrap().take), (1, Some(Take::Arrival)));
}

#[test]
fn mistakes_of_mappings_have_their_place() {
    for (lines, expected) in [
        ("        id: /id\n", "a.yaml:7:9: the mapping has no at, the time that decides the business day"),
        ("        id: /id\n        at: /t\n        when: a = and\n", "a.yaml:10:19: expected"),
        ("        id: /id\n        at: /t\n        when: \"a = 'x' and '/b' = 1\"\n", "a.yaml:10:28: both sides"),
        ("        id: [/id, x.y]\n        at: /t\n", "a.yaml:8:19: \"x.y\" is no path; a path begins with /"),
        ("        id: /id\n        at: { path: /t, as: rfc3340 }\n", "a.yaml:9:29: \"rfc3340\" is neither"),
        (
            "        id: /id\n        at: { path: /t, sa: rfc3339 }\n",
            "a.yaml:9:25: unknown key \"sa\"; the keys are path",
        ),
        (
            "        id: /id\n        at: /t\n        dims: { stor: /s }\n",
            "a.yaml:10:17: sale has no dimension \"stor\"; did you mean",
        ),
        (
            "        id: /id\n        at: /t\n        status: { path: /s, map: { paid: done } }\n",
            "a.yaml:10:42: \"done\" is no status",
        ),
        (
            "        id: /id\n        at: /t\n        measures: { total: { path: /x, shift: 99 } }\n",
            "a.yaml:10:47: a shift is -18 to 18",
        ),
        (
            "        id: /id\n        at: /t\n        measures: { total: { path: /x, shift: { path: /c, map: { EUR: two } } } }\n",
            "a.yaml:10:71: \"two\" is no shift",
        ),
        ("        id: { path: [/a, b] }\n        at: /t\n", "a.yaml:8:26: \"b\" is no path"),
        (
            "        id: /id\n        at: /t\n        measures: { total: { path: /x, shift: much } }\n",
            "a.yaml:10:47: expected digits",
        ),
        (
            "        id: ./id\n        at: /t\n        explode: { path: /l, complete: true }\n",
            "a.yaml:10:40: complete is not there yet",
        ),
        (
            "        id: /id\n        at: /t\n        extends: debezum\n",
            "a.yaml:10:18: unknown preset \"debezum\"; did you mean \"debezium\"?",
        ),
        (
            "        id: /id\n        at: /t\n      - name: shop\n        id: /id\n        at: /t\n",
            "a.yaml:10:9: the mapping shop is defined twice",
        ),
    ] {
        let found = bad(&mapping_with(lines));
        assert!(found.starts_with(expected), "{lines}{found}\ninstead of {expected}");
    }
}
