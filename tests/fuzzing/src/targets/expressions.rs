//! Expressions of metrics and conditions. A mistake stands within the text; what is accepted, written in its canonical
//! form, reads as the same.

use crate::world::world;
use daybook_domain::expression::{Aggregate, ExpressionError, Predicate, parse_aggregate};

/// Longest text of a mistake, in bytes: it repeats short pieces of the expression only.
const MAX_MESSAGE_BYTES: usize = 1_000;

pub fn run(data: &[u8]) {
    let Ok(source) = std::str::from_utf8(data) else { return };
    for kind in world().kinds() {
        match Predicate::parse_and_check(source, kind) {
            Ok(predicate) => {
                let canonical = predicate.to_string();
                let again = Predicate::parse_and_check(&canonical, kind);
                assert_eq!(again.as_ref(), Ok(&predicate), "{canonical}");
                assert_eq!(again.map(|again| again.to_string()), Ok(canonical));
            }
            Err(error) => is_placed(&error, source),
        }
        if let Err(error) = parse_aggregate(source, kind) {
            is_placed(&error, source);
        }
    }
    if let Ok(syntax) = Aggregate::parse(source) {
        let canonical = syntax.to_string();
        let again = Aggregate::parse(&canonical).map(|again| again.to_string());
        assert_eq!(again.as_deref(), Ok(canonical.as_str()));
        for kind in world().kinds() {
            let (first, second) = (parse_aggregate(source, kind), parse_aggregate(&canonical, kind));
            assert_eq!(first.ok(), second.ok(), "{canonical}");
        }
    }
}

fn is_placed(error: &ExpressionError, source: &str) {
    let end = error.position.checked_add(error.length).expect("a place within a text");
    assert!(source.get(error.position..end).is_some(), "{error:?}");
    assert!(error.to_string().len() < MAX_MESSAGE_BYTES, "{error}");
    let caret = error.caret(source);
    assert!(caret.ends_with('^') && caret.matches('\n').count() == 1, "{caret}");
}

pub fn seeds() -> Vec<Vec<u8>> {
    let metrics = world().views().iter().flat_map(|view| &view.metrics);
    let mut seeds: Vec<Vec<u8>> = metrics.clone().map(|metric| metric.value.clone().into_bytes()).collect();
    seeds.extend(metrics.filter_map(|metric| metric.filter.clone()).map(String::into_bytes));
    seeds.sort();
    seeds.dedup();
    seeds.extend(
        [
            "city in ('Bern', 'Zug', 'it''s') and not (qty between -2 and 1e3 or price <> 0.05)",
            "status = 'draft' or \"status\" != 'x' or city is not null",
            "12.50 <= price and qty < price and city >= channel",
            "not not (page = 'é' and ms not in (1, 2, 9223372036854775807))",
            "((((((((qty > 1))))))))",
        ]
        .map(|text| text.as_bytes().to_vec()),
    );
    seeds
}
