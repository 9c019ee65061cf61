//! What `daybook status` says of webhooks: how many alerts wait for each, and why.

use crate::table::{Table, count, duration};
use daybook_domain::time::Instant;
use daybook_runtime::webhooks::WebhookStanding;

/// A row for each webhook; nothing where there is none.
pub(super) fn table(webhooks: &[WebhookStanding], now: Instant) -> Option<Table> {
    if webhooks.is_empty() {
        return None;
    }
    let mut table = Table::new(["WEBHOOK", "WAITING", "OLDEST", "STATE", "LAST REFUSAL"]);
    for webhook in webhooks {
        let ago = |at: Instant| duration(now.since(at));
        let oldest = webhook.oldest.map_or_else(|| "-".to_owned(), ago);
        let refusal = webhook.refusal.as_ref();
        let refusal = refusal.map(|refusal| format!("{} ago: {}", ago(refusal.at), refusal.why)).unwrap_or_default();
        table.row([webhook.name.clone(), count(webhook.waiting), oldest, state(webhook, now), refusal]);
    }
    Some(table)
}

fn state(webhook: &WebhookStanding, now: Instant) -> String {
    match (webhook.failing_since, webhook.waiting) {
        (Some(since), _) => format!("held off for {}", duration(now.since(since))),
        (None, 0) => "idle".to_owned(),
        (None, _) => "sending".to_owned(),
    }
}

/// A sentence for each webhook that has been refused for long.
pub(super) fn refused_long(webhooks: &[WebhookStanding], now: Instant) -> Vec<String> {
    let refused = webhooks.iter().filter(|webhook| webhook.is_refused_long(now));
    refused
        .map(|webhook| {
            let WebhookStanding { name, failing_since, refusal, .. } = webhook;
            let long = duration(now.since(failing_since.unwrap_or(now)));
            let why = refusal.as_ref().map(|refusal| format!(": {}", refusal.why)).unwrap_or_default();
            format!(
                "the webhook {name} has taken no alert for {long}{why}. Each alert is given up three days after it was made; \
                 `daybook webhook try FILE --target {name}` sends a test alert"
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use daybook_contracts::members::WebhookRefusal;

    #[test]
    fn what_waits_and_why_is_shown() {
        let at = |seconds: i64| Instant::from_millis(seconds * 1_000);
        let idle = WebhookStanding {
            name: "idle".to_owned(),
            waiting: 0,
            oldest: None,
            held_off: false,
            failing_since: None,
            taken_at: None,
            refusal: None,
        };
        let why = "the receiver answered 500 Internal Server Error";
        let failing = WebhookStanding {
            name: "pager".to_owned(),
            waiting: 1_234,
            oldest: Some(at(0)),
            held_off: true,
            failing_since: Some(at(60)),
            taken_at: Some(at(60)),
            refusal: Some(WebhookRefusal { at: at(3_000), why: why.into() }),
        };
        let sending = WebhookStanding { name: "chat".to_owned(), waiting: 1, ..idle.clone() };
        let all = [sending, idle, failing];
        let shown = table(&all, at(3_660)).unwrap().render(None);
        let lines: Vec<Vec<&str>> = shown
            .lines()
            .map(|line| line.split("  ").filter(|cell| !cell.is_empty()).map(str::trim).collect())
            .collect();
        assert_eq!(lines[1], ["chat", "1", "-", "sending"]);
        assert_eq!(lines[2], ["idle", "0", "-", "idle"]);
        assert_eq!(lines[3][..3], ["pager", "1,234", &duration(std::time::Duration::from_secs(3_660))]);
        assert!(lines[3][3].starts_with("held off for") && lines[3][4].ends_with(why), "{shown}");
        assert_eq!(refused_long(&all, at(3_659)), [""; 0]);
        let sentences = refused_long(&all, at(3_660));
        assert!(
            sentences.len() == 1 && sentences[0].starts_with("the webhook pager has taken no alert for"),
            "{sentences:?}"
        );
        assert!(table(&[], at(0)).is_none());
    }
}
