//! Bodies of questions, and what is asked by them. A body that is read comes back from either encoding; a mistake stands
//! within the body or the field; and any question gets an answer or an error from a live shard and from sealed days.

use super::{choice, chosen, packed};
use crate::world::{tenant, world};
use daybook_contracts::ask::{Answer, AskError, Asked, DaySelector, MAX_ANSWER_ROWS, MAX_RANGE_DAYS, Query};
use daybook_contracts::figures::Figures;
use daybook_domain::ids::Name;
use daybook_domain::plan::Plan;
use daybook_domain::time::Date;
use daybook_machine::PartitionState;
use daybook_rollup::Question;
use query::encoding::Encoding;
use query::merge::roll_up;
use query::request::query;
use std::cell::RefCell;
use std::sync::OnceLock;

thread_local! {
    /// Questions change nothing that an answer shows.
    static STATE: RefCell<PartitionState> = RefCell::new(world().state());
}

/// Bit 0 of the first byte chooses the encoding.
pub fn run(data: &[u8]) {
    let Some((choice, body)) = choice(data) else { return };
    let encoding = if choice & 1 == 0 { Encoding::Json } else { Encoding::MessagePack };
    match query(body, encoding) {
        Ok(read) => {
            comes_back(&read);
            for view in world().views() {
                ask(&view.name, &read);
            }
        }
        Err(error) => {
            assert!(error.position.is_none_or(|at| at <= body.len()), "{error:?}");
            told(&error);
        }
    }
    if let Some(days) = std::str::from_utf8(body).ok().and_then(|text| text.parse().ok()) {
        selects(&days);
    }
}

/// Asks the question of the view, live and sealed.
pub fn ask(view: &Name, asked: &Query) {
    let definition = world().views().iter().find(|known| known.name == *view).expect("a view of the world");
    let kind = world().kind(&definition.kind);
    let plan = Plan::compile(definition, kind).expect("it is in force");
    if let Err(error) = Question::compile(asked, &plan, kind) {
        let text = match error.field.as_deref() {
            Some("where") => asked.filter.as_deref(),
            _ => None,
        };
        assert!(error.position.is_none() || error.position <= text.map(str::len), "{error:?}");
        told(&error);
    }
    let answer = STATE.with_borrow_mut(|state| state.view(&tenant(), view, asked));
    if let Ok(answer) = &answer {
        assert!(answer.rows.len() <= MAX_ANSWER_ROWS && answer.rows.len() as u64 <= answer.total);
    }
    for encoding in [Encoding::Json, Encoding::MessagePack] {
        assert!(encoding.answer(&answer.as_ref().ok()).is_ok());
    }
    let answer: Asked<Answer> = answer;
    let json = serde_json::to_vec(&answer).expect("answers are plain values");
    assert_eq!(serde_json::from_slice::<Asked<Answer>>(&json).expect("an answer comes back"), answer);
    if let Some(figures) = sealed(view) {
        let _ = roll_up(asked, &[figures]);
    }
}

/// The figures of the view's days, as they are sealed.
fn sealed(view: &Name) -> Option<&'static Figures> {
    static SEALED: OnceLock<Vec<Figures>> = OnceLock::new();
    let sealed = SEALED.get_or_init(|| {
        let state = world().state();
        let of = |name: &Name| state.figures(&tenant(), name, Date::MIN, Date::MAX).ok();
        world().views().iter().filter_map(|view| of(&view.name)).collect()
    });
    sealed.iter().find(|figures| figures.view.name == *view)
}

fn comes_back(read: &Query) {
    let json = serde_json::to_vec(read).expect("queries are plain values");
    assert_eq!(query(&json, Encoding::Json).as_ref(), Ok(read));
    let packed = rmp_serde::to_vec_named(read).expect("queries are plain values");
    assert_eq!(query(&packed, Encoding::MessagePack).as_ref(), Ok(read));
    selects(&read.days);
}

fn selects(days: &DaySelector) {
    assert_eq!(days.to_string().parse().as_ref(), Ok(days));
    for today in [Date::MIN, Date::from_days(15_774), Date::MAX] {
        if let Some((from, to)) = days.range(today) {
            assert!(from <= to && to.days_since(from) < MAX_RANGE_DAYS, "{days}: {from} to {to}");
        }
    }
}

fn told(error: &AskError) {
    let json = serde_json::to_vec(error).expect("errors are plain values");
    assert_eq!(serde_json::from_slice::<AskError>(&json).ok().as_ref(), Some(error));
    assert!(!error.message.is_empty());
}

pub fn seeds() -> Vec<Vec<u8>> {
    let bodies = [
        "{}",
        r#"{"days":"2013-03-08..2013-03-10","metrics":["n","share"],"limit":5}"#,
        r#"{"days":"last_7_days","dimensions":["city"],"where":"channel = 'web' or city is null","grain":"day"}"#,
        r#"{"days":"season:hunt","order":["n desc","city"]}"#,
        r#"{"days":"2013-03-08","grain":"hour","order":["time","n desc"],"dimensions":[]}"#,
        r#"{"rank":{"by":[{"metric":"n","direction":"asc"}],"ties":"ordinal","member":["Bern","web"],"around":2}}"#,
        r#"{"rank":{},"limit":1,"order":["rank desc","position"],"days":"week_to_date"}"#,
        r#"{"at_least":77,"accept_stale":false,"watch":true,"days":"today"}"#,
        r#"{"cursor":"e30","days":"month_to_date"}"#,
    ];
    let mut seeds: Vec<Vec<u8>> = Vec::new();
    for body in bodies {
        seeds.push(chosen(0, body.as_bytes()));
        seeds.push(chosen(1, &packed(body)));
    }
    seeds.extend(["2013-03-08..2013-03-12", "last_400_days", "season:a"].map(|days| chosen(0, days.as_bytes())));
    seeds
}
