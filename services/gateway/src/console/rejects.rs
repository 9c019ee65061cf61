//! Events of a tenant that were not counted: how many of each code, why, and the original.

use super::page::{Page, above};
use super::wanted::Wanted;
use super::{Console, words};
use crate::problem::Problem;
use daybook_contracts::lists::{REJECTS_VIEW, RejectList, RejectsQuery};
use daybook_contracts::reject::Reject;
use maud::{Markup, html};
use std::collections::BTreeMap;
use std::time::Duration;

/// Rejects on a page; each may hold an original of 64 KiB.
const A_PAGE: u32 = 100;
/// Longest piece of an original that is shown, in bytes.
const MAX_SHOWN: usize = 4 << 10;
const EVERY: Duration = Duration::from_secs(2);

/// Makes the page.
///
/// # Errors
/// Those of the query service; there is no such tenant.
pub(super) async fn page(console: &Console, wanted: &Wanted) -> Result<Page, Problem> {
    let tenant = wanted.tenant(console).await?;
    let asked = &wanted.asked;
    let question = RejectsQuery { limit: Some(A_PAGE), cursor: asked.text("cursor").map(str::to_owned) };
    let list: RejectList = console.gateway.asker.read(&tenant.id, REJECTS_VIEW, &question).await?;
    let code = asked.text("code");
    let mut codes = BTreeMap::<&str, u64>::new();
    list.rejects.iter().for_each(|reject| *codes.entry(reject.code.as_str()).or_default() += reject.events());
    let shown: Vec<&Reject> =
        list.rejects.iter().rev().filter(|reject| code.is_none_or(|code| reject.code.as_str() == code)).collect();
    Ok(Page {
        title: "Rejects".to_owned(),
        above: above(&tenant),
        lead: html! {
            p.hint {
                "Events that were not counted, the newest first. Mend the kind or the mapping, then send them again: "
                code { "daybook rejects resend " (tenant.id) }
            }
        },
        live: html! {
            @if list.missed { p.notice { "The stream of rejects is bounded: it has dropped some before these." } }
            @if list.rejects.is_empty() { p.notice { "Nothing was rejected." } } @else { (by_code(&codes, code, wanted)) }
            ul.rejects { @for reject in &shown { (entry(reject)) } }
            @if let Some(next) = &list.next {
                nav.pages aria-label="Pages" { a rel="next" href=(asked.with("cursor", next).link(&wanted.path)) { "Older rejects" } }
            }
        },
        every: EVERY,
    })
}

fn by_code(codes: &BTreeMap<&str, u64>, chosen: Option<&str>, wanted: &Wanted) -> Markup {
    html! {
        nav.versions aria-label="Codes" {
            a href=(wanted.asked.without(&["code"]).link(&wanted.path)) aria-current=[chosen.is_none().then_some("true")] { "all" }
            @for (code, count) in codes {
                a href=(wanted.asked.with("code", code).link(&wanted.path)) aria-current=[(chosen == Some(*code)).then_some("true")] {
                    (code) " " (words::count(*count))
                }
            }
        }
    }
}

fn entry(reject: &Reject) -> Markup {
    html! {
        li data-key=(format!("{}-{}", reject.inbox.0, reject.index)) {
            p.reason { code.state.closing { (reject.code) } " " (reject.reason) }
            p.hint {
                "kind " (reject.kind) ", position " (words::count(reject.inbox.0)) ", event " (reject.index)
                @if let Some(field) = &reject.field { ", field " code { (field) } }
                @if let Some(date) = reject.date { ", business day " (words::date(date)) }
                @if let Some(span) = reject.span { ", stands for " (words::count(span.events)) " events" }
            }
            @if !reject.original.bytes().is_empty() {
                details {
                    summary { "The original" span.hidden { ", position " (reject.inbox.0) ", event " (reject.index) } }
                    pre tabindex="0" { code { (original(reject.original.bytes())) } }
                    @if reject.original.bytes().len() > MAX_SHOWN || reject.original.is_cut() {
                        p.hint { "Cut: the original has " (words::bytes(reject.original.total())) "." }
                    }
                }
            }
        }
    }
}

/// An original as a text: JSON on several lines, other bytes as far as they are UTF-8.
fn original(bytes: &[u8]) -> String {
    let parsed = serde_json::from_slice::<Box<serde_json::value::RawValue>>(bytes).is_ok();
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(MAX_SHOWN)]).into_owned();
    if parsed && bytes.len() <= MAX_SHOWN { indented(&text) } else { text }
}

/// Sound JSON, a member a line. Its numbers and texts stay as they were written.
fn indented(json: &str) -> String {
    let (mut shown, mut depth, mut in_text, mut is_escaped) = (String::new(), 0_usize, false, false);
    for character in json.chars() {
        if in_text {
            (in_text, is_escaped) = (is_escaped || character != '"', !is_escaped && character == '\\');
            shown.push(character);
            continue;
        }
        match character {
            '{' | '[' => {
                depth += 1;
                shown.push(character);
                line(&mut shown, depth);
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line(&mut shown, depth);
                shown.push(character);
            }
            ',' => {
                shown.push(character);
                line(&mut shown, depth);
            }
            ':' => shown.push_str(": "),
            character if character.is_ascii_whitespace() => {}
            character => {
                in_text = character == '"';
                shown.push(character);
            }
        }
    }
    shown
}

/// Depth beyond this is not indented further: the text stays short.
const MAX_DEPTH: usize = 8;

fn line(shown: &mut String, depth: usize) {
    shown.push('\n');
    shown.extend(std::iter::repeat_n("  ", depth.min(MAX_DEPTH)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_original_keeps_its_digits_and_texts() {
        let shown = original(br#"{"a": "x, \"{y}\"", "n":1.50,"l":[1,2]}"#);
        assert_eq!(shown, "{\n  \"a\": \"x, \\\"{y}\\\"\",\n  \"n\": 1.50,\n  \"l\": [\n    1,\n    2\n  ]\n}");
        assert_eq!(original(b"{\"a\":"), "{\"a\":");
        assert!(original(b"\xff<b>").ends_with("<b>"));
        assert!(original("[".repeat(9_000).as_bytes()).len() <= MAX_SHOWN);
    }
}
