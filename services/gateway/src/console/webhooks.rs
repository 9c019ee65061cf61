//! Webhooks on the page of the installation: what waits for each, and why. No URL is shown, and no secret.

use super::page::table_section;
use super::words;
use daybook_domain::time::Instant;
use daybook_runtime::webhooks::WebhookStanding;
use maud::{Markup, html};

/// Those that have taken nothing for long.
pub(super) fn alarms(webhooks: &[WebhookStanding], now: Instant) -> Markup {
    html! {
        @for webhook in webhooks.iter().filter(|webhook| webhook.is_refused_long(now)) {
            p.notice.bad {
                "The webhook " (webhook.name) " has taken no alert for " (words::span(now.since(webhook.failing_since.unwrap_or(now))))
                @if let Some(refusal) = &webhook.refusal { ": " (refusal.why) } "."
            }
        }
    }
}

/// A row for each; nothing where there is none.
pub(super) fn table(webhooks: &[WebhookStanding], now: Instant) -> Markup {
    if webhooks.is_empty() {
        return html! {};
    }
    let table = html! {
        thead { tr {
            th scope="col" { "Webhook" } th.number scope="col" { "Waiting" } th.number scope="col" { "Oldest" } th scope="col" { "State" }
            th scope="col" { "Last refusal" }
        } }
        tbody {
            @for webhook in webhooks {
                tr data-key=(webhook.name) {
                    th scope="row" { (webhook.name) } td.number { (words::count(webhook.waiting)) }
                    td.number { @if let Some(oldest) = webhook.oldest { (words::span(now.since(oldest))) } }
                    td { (state(webhook, now)) }
                    td { @if let Some(refusal) = &webhook.refusal { (words::span(now.since(refusal.at))) " ago: " (refusal.why) } }
                }
            }
        }
    };
    table_section("webhooks", "Webhooks", "Receivers of alerts, what waits for each, and why", &table)
}

fn state(webhook: &WebhookStanding, now: Instant) -> Markup {
    html! {
        @match (webhook.failing_since, webhook.waiting) {
            (Some(since), _) => { span.state.overdue { "held off for " (words::span(now.since(since))) } }
            (None, 0) => { span.state.sealed { "idle" } }
            (None, _) => { span.state.open { "sending" } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use daybook_contracts::members::WebhookRefusal;

    #[test]
    fn what_a_receiver_says_is_text() {
        let at = |seconds: i64| Instant::from_millis(seconds * 1_000);
        let webhook = WebhookStanding {
            name: "pager".to_owned(),
            waiting: 3,
            oldest: Some(at(0)),
            held_off: true,
            failing_since: Some(at(0)),
            taken_at: None,
            refusal: Some(WebhookRefusal { at: at(10), why: "<b>no</b>".into() }),
        };
        let all = [webhook];
        let shown = table(&all, at(3_600)).into_string();
        assert!(
            shown.contains("held off") && shown.contains("&lt;b&gt;no&lt;/b&gt;") && !shown.contains("<b>"),
            "{shown}"
        );
        assert!(alarms(&all, at(3_600)).into_string().contains("has taken no alert for"));
        assert!(alarms(&all, at(3_599)).into_string().is_empty());
        assert!(table(&[], at(0)).into_string().is_empty());
    }
}
