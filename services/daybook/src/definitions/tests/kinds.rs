//! Kinds: their columns, and how long ids are remembered.

use super::*;

#[test]
fn how_long_ids_are_remembered_is_read_and_checked() {
    let with = |line: &str| format!("{KIND}    remember: {line}\n");
    assert_eq!((good(KIND).kinds[0].remember, good(&with("60")).kinds[0].remember), (None, Some(60)));
    for wrong in ["34", "4001", "-1"] {
        let told = bad(&with(wrong));
        assert!(told.contains("remember is 35 to 4000 days, found"), "{told}");
    }
    assert!(bad(&with("long")).contains("a number of days, such as remember: 400"), "{}", bad(&with("long")));
}

#[test]
fn columns_of_a_kind_are_told_apart() {
    let kind = |columns: &str| bad(&format!("kinds:\n  - name: k\n    mode: fact\n{columns}"));
    assert_eq!(
        kind("    dimensions: [a, a]\n    measures: [b, b, a]\n"),
        "a.yaml:4:21: the dimension a is defined twice\n\
         a.yaml:5:19: the measure b is defined twice\n\
         a.yaml:5:22: a is both a dimension and a measure; rename one of them"
    );
    assert!(kind("    dimensions: [status]\n").starts_with("a.yaml:4:18: a dimension cannot be called status; "));
    assert!(kind("    measures: [{ name: status }]\n").starts_with("a.yaml:4:24: a measure cannot be called status; "));
    assert!(
        kind("    dimensions: [{ name: s, field: status }]\n")
            .starts_with("a.yaml:4:36: the event's own field status is no dimension")
    );
    assert_eq!(
        kind("    dimensions: [{ name: a, field: x }, { name: b, field: x }]\n"),
        "a.yaml:4:59: the field x is taken by the dimension a already"
    );
}

#[test]
fn measures_have_a_sound_scale() {
    let measure = |measure: &str| bad(&format!("kinds:\n  - name: k\n    mode: fact\n    measures: [{measure}]\n"));
    assert_eq!(measure("{ name: a, scale: 13 }"), "a.yaml:4:34: a scale is 0 to 12, found the number 13");
    assert_eq!(measure("{ name: a, scale: -1 }"), "a.yaml:4:34: a scale is 0 to 12, found the number -1");
    assert_eq!(measure("{ name: a, scale: two }"), "a.yaml:4:34: expected a scale, 0 to 12, found \"two\"");
    assert_eq!(
        measure("{ name: a, type: integer, scale: 2 }"),
        "a.yaml:4:49: an integer has no digits after the point; write type: decimal"
    );
    assert_eq!(
        measure("{ name: a, type: decimal }"),
        "a.yaml:4:16: the decimal measure has no scale; say how many digits it has after the point, 0 to 12, such as \
         scale: 2"
    );
    assert_eq!(
        measure("{ name: a, type: float }"),
        "a.yaml:4:33: unknown type \"float\"; the types are integer, decimal"
    );
}
