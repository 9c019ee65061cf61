//! Figures over time as bars. The picture is for eyes; the same figures follow as a table.

use super::words::figure;
use daybook_contracts::report::Figure;
use maud::{Markup, html};

/// Height of the picture in its own units; bars are 10 wide and 2 apart.
const HEIGHT: f64 = 100.0;
const STEP: f64 = 12.0;
const WIDTH: f64 = 10.0;

/// One bar.
pub(super) struct Bar {
    /// Below the axis, such as `05:00`.
    pub label: String,
    pub figure: Figure,
    /// Not over yet.
    pub is_open: bool,
}

impl Bar {
    fn height(&self) -> f64 {
        match &self.figure {
            Figure::Number(number) => number.to_f64(),
            _ => 0.0,
        }
    }
}

/// A chart of bars; nothing without any.
pub(super) fn bars(title: &str, unit: &str, bars: &[Bar]) -> Markup {
    let Some((first, last)) = bars.first().zip(bars.last()) else { return html! {} };
    let most = bars.iter().map(Bar::height).fold(0.0, f64::max);
    let least = bars.iter().map(Bar::height).fold(0.0, f64::min);
    let span = if most - least > 0.0 { most - least } else { 1.0 };
    let y = |value: f64| (most - value) / span * HEIGHT;
    let top = bars.iter().max_by(|one, other| one.height().total_cmp(&other.height()));
    let width = bars.len() as f64 * STEP;
    html! {
        figure.chart {
            figcaption { (title) @if let Some(top) = top { span.hint { " most: " (figure(&top.figure)) ", " (top.label) } } }
            svg viewBox=(format!("0 0 {width} {HEIGHT}")) preserveAspectRatio="none" aria-hidden="true" focusable="false" {
                @for (place, bar) in bars.iter().enumerate() {
                    @let (from, to) = (y(bar.height().max(0.0)), y(bar.height().min(0.0)));
                    rect .open[bar.is_open] x=(place as f64 * STEP + 1.0) y=(short(from)) width=(WIDTH)
                        height=(short((to - from).max(0.4))) { title { (bar.label) ": " (figure(&bar.figure)) } }
                }
            }
            div.axis aria-hidden="true" {
                span { (first.label) }
                @if bars.len() > 2 { span { (bars[bars.len() / 2].label) } }
                @if bars.len() > 1 { span { (last.label) } }
            }
            details {
                summary { "The chart as a table" }
                table {
                    caption { (title) }
                    thead { tr { th scope="col" { "Time" } th.number scope="col" { (unit) } } }
                    tbody {
                        @for bar in bars { tr { th scope="row" { (bar.label) } td.number { (figure(&bar.figure)) } } }
                    }
                }
            }
        }
    }
}

fn short(value: f64) -> String {
    format!("{value:.2}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_below_zero_hang_from_the_axis() {
        let bar = |value: i32| Bar { label: format!("at {value}"), figure: Figure::integer(value), is_open: false };
        let shown = bars("t", "u", &[bar(30), bar(-10), bar(0)]).into_string();
        assert!(shown.contains(r#"y="0.00" width="10" height="75.00""#), "{shown}");
        assert!(shown.contains(r#"y="75.00" width="10" height="25.00""#), "{shown}");
        assert!(shown.contains("−10") && bars("t", "u", &[]).into_string().is_empty());
    }
}
