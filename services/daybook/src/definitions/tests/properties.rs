//! Whatever a file holds, it is read or has mistakes with their places.

use super::*;
use proptest::prelude::*;

/// Pieces of definition files, which find more ways than random characters do.
fn piece() -> impl Strategy<Value = String> {
    let words = [
        "kinds:",
        "views:",
        "tenants:",
        "- ",
        "{",
        "}",
        "[",
        "]",
        ", ",
        ": ",
        "\n",
        "\n  ",
        "\n    ",
        "name",
        "mode: fact",
        "id: A",
        "zone: UTC",
        "cutoff",
        "'05:00'",
        "grace: 1h",
        "metrics:",
        "kind: k",
        "count",
        "sum(a)",
        "measures: [a]",
        "where: a < 1",
        "ranking: a desc",
        "grain: hour",
        "seasons:",
        "from: 2026-05-01T18:00:00Z",
        "\"",
        "'",
        "&x ",
        "*x",
        "<<: ",
        "? ",
        "---\n",
        "# ",
        "|",
        "!!int ",
        "é",
        "\u{0}",
        "\t",
        "1",
        "~",
    ];
    prop_oneof![9 => proptest::sample::select(words.to_vec()).prop_map(str::to_owned), 1 => any::<String>()]
}

proptest! {
    #[test]
    fn no_text_panics(text in any::<String>()) {
        if let Err(mistakes) = load(&files(&[&text]), &[]) {
            prop_assert!(!mistakes.is_empty());
            prop_assert!(mistakes.iter().all(|mistake| mistake.place.is_some() && !mistake.to_string().is_empty()));
        }
    }

    #[test]
    fn nearly_good_texts_do_not_panic(pieces in proptest::collection::vec(piece(), 0..40)) {
        let text = pieces.concat();
        let _ = load(&files(&[&text, KIND]), &[]).map_err(|mistakes| shown(&mistakes));
    }

    #[test]
    fn a_damaged_example_does_not_panic(cut in 0_usize..2_500, piece in piece()) {
        let views = include_str!("../../../../../examples/flights/views.yaml");
        let at = (0..=cut.min(views.len())).rev().find(|at| views.is_char_boundary(*at)).unwrap();
        let text = format!("{}{piece}{}", &views[..at], &views[at..]);
        let _ = load(&files(&[&text, include_str!("../../../../../examples/flights/kind.yaml")]), &[]);
    }
}
