//! Zeros at the end of figures in reports. A sealed report has none, for its hash covers its bytes; people read money with them.

use crate::definitions::Definitions;
use daybook_contracts::report::{Figure, Report};
use daybook_domain::catalogue::{Kind, View};
use daybook_domain::value::Number;
use std::collections::BTreeMap;

/// What gives figures with the digits of its measure.
const KEEP: [&str; 4] = ["sum", "min", "max", "quantile"];

/// Gives figures the digits of their measures, as the newest definitions have them. Values stay as they are.
pub(super) fn restore(report: &mut Report, definitions: &Definitions) {
    let kinds = definitions.kinds();
    for view in definitions.views() {
        let kind = kinds.iter().find(|known| known.kind.name == view.kind);
        let (Some(known), Some(rows)) = (kind, report.views.get_mut(&view.name)) else { continue };
        let digits = digits(&view, &known.kind);
        for (name, figure) in rows.rows.iter_mut().flat_map(|row| row.0.iter_mut()) {
            if let (Figure::Number(number), Some(digits)) = (&figure, digits.get(name.as_str())) {
                *figure = Figure::Number(with_digits(*number, *digits));
            }
        }
    }
}

/// The digits after the point of each metric that has some.
fn digits(view: &View, kind: &Kind) -> BTreeMap<String, u8> {
    let of = |value: &str| {
        let (function, rest) = value.split_once('(')?;
        let measure = rest.split([',', ')']).next()?.trim();
        let scale = kind.measures[kind.measure(measure)?].scale;
        (KEEP.contains(&function.trim()) && scale > 0).then_some(scale)
    };
    view.metrics.iter().filter_map(|metric| Some((metric.name.to_string(), of(&metric.value)?))).collect()
}

/// The number with at least so many digits; as it is where there is no room for them.
fn with_digits(number: Number, digits: u8) -> Number {
    let text = number.to_string();
    let missing = usize::from(digits.saturating_sub(number.scale()));
    let point = if number.scale() == 0 && missing > 0 { "." } else { "" };
    Number::parse_as_shown(&format!("{text}{point}{}", "0".repeat(missing))).unwrap_or(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_has_its_zeros() {
        let shown = |unscaled, scale| with_digits(Number::new(unscaled, scale), 2).to_string();
        assert_eq!(
            [shown(2_294, 1), shown(1_070, 0), shown(-1, 3), shown(0, 0)],
            ["229.40", "1070.00", "-0.001", "0.00"]
        );
    }

    #[test]
    fn only_figures_of_a_measure_have_its_digits() {
        let kind =
            serde_json::from_str(r#"{"name":"k","mode":"fact","measures":[{"name":"total","scale":2},{"name":"n"}]}"#)
                .unwrap();
        let view = serde_json::from_str(
            r#"{"name":"v","kind":"k","metrics":[{"name":"a","value":"sum(total)"},{"name":"b","value":"quantile( total , 0.5)"},
                {"name":"c","value":"count"},{"name":"d","value":"avg(total)"},{"name":"e","value":"sum(n)"}]}"#,
        )
        .unwrap();
        assert_eq!(digits(&view, &kind), [("a".to_owned(), 2), ("b".to_owned(), 2)].into());
    }
}
