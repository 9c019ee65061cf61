//! Cursors of pages: JSON in base64url. One that belongs to the question gives a page that begins behind it, any other is
//! refused. The text is taken once as it is and once as what a cursor's base64 holds.

use super::queries::ask;
use super::{choice, chosen};
use crate::world::{name, tenant, world};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use daybook_contracts::ask::{DaySelector, Pieces, Query};

/// The questions whose pages are turned, with their views.
fn questions() -> Vec<(&'static str, Query)> {
    let day =
        || Query { limit: Some(1), ..Query::days(DaySelector::Date(daybook_domain::time::Date::from_days(15_772))) };
    let order = |text: &str| vec![text.parse().expect("a column and a direction")];
    vec![
        ("race", day()),
        ("race", Query { order: order("city desc"), ..day() }),
        ("hours", Query { grain: Pieces::Hour, ..day() }),
        ("carried", Query { order: order("price"), ..day() }),
    ]
}

/// The first byte chooses the question.
pub fn run(data: &[u8]) {
    let Some((choice, text)) = choice(data) else { return };
    let questions = questions();
    let (view, query) = &questions[usize::from(choice) % questions.len()];
    if let Ok(text) = std::str::from_utf8(text) {
        ask(&name(view), &Query { cursor: Some(text.to_owned()), ..query.clone() });
    }
    ask(&name(view), &Query { cursor: Some(URL_SAFE_NO_PAD.encode(text)), ..query.clone() });
}

pub fn seeds() -> Vec<Vec<u8>> {
    let mut state = world().state();
    let mut seeds = Vec::new();
    for (index, (view, query)) in questions().into_iter().enumerate() {
        let answer = state.view(&tenant(), &name(view), &query).expect("the question fits the view");
        let next = answer.next.unwrap_or_else(|| panic!("{view} has one page only"));
        seeds.push(chosen(index as u8, next.as_bytes()));
        seeds.push(chosen(index as u8, &URL_SAFE_NO_PAD.decode(&next).expect("base64url")));
    }
    seeds
}
