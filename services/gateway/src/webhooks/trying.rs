//! Sends one test alert to a target, for the command line.

use super::posting::post;
use super::retries::TryOutcome;
use super::targets::{self, WebhookTarget, WebhooksError};
use crate::outgoing::Outgoing;
use daybook_contracts::alert::alert_id;
use daybook_domain::ids::{LogSeq, TenantId};
use daybook_domain::nearest::nearest;
use daybook_domain::time::Instant;
use daybook_runtime::clock;
use serde::Serialize;
use serde_json::json;
use std::path::{Path, PathBuf};

/// The tenant of a test alert to a target of all tenants.
const TEST_TENANT: &str = "test";
/// The name of a test alert.
const TEST_ALERT: &str = "webhook_test";

/// Why a test alert cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum TryError {
    #[error(transparent)]
    File(#[from] WebhooksError),
    #[error("the file of webhooks {path:?} has no target {name}; {hint}")]
    UnknownTarget { path: PathBuf, name: String, hint: String },
}

/// What came of a test alert.
#[derive(Clone, Debug, Serialize)]
pub struct TriedTarget {
    pub target: String,
    /// Scheme, host and port of the receiver.
    pub place: String,
    pub id: String,
    /// Whether the receiver took it.
    pub is_taken: bool,
    /// The status of the answer; absent when there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Why it was not taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    pub millis: u64,
    /// The beginning of the answer's body, without control characters.
    pub said: String,
}

/// Sends a test alert to the target `name` of a file of webhooks, as the gateway would send an alert.
///
/// # Errors
/// When the file cannot be used, or has no such target.
pub async fn try_target(path: &Path, name: &str) -> Result<TriedTarget, TryError> {
    let targets = targets::load(path)?;
    let Some(target) = targets.iter().find(|target| target.name.as_str() == name) else {
        let names: Vec<&str> = targets.iter().map(|target| target.name.as_str()).collect();
        let hint = match nearest(name, names.iter().copied()) {
            Some(meant) => format!("did you mean {meant}?"),
            None if names.is_empty() => "there are none".to_owned(),
            None => format!("there are {}", names[..names.len().min(12)].join(", ")),
        };
        return Err(TryError::UnknownTarget { path: path.to_owned(), name: name.to_owned(), hint });
    };
    let began = clock::now();
    let (id, payload) = test_alert(target, began);
    let posted = post(&Outgoing::default(), target, &id, payload.into()).await;
    let millis = u64::try_from(clock::now().as_millis() - began.as_millis()).unwrap_or_default();
    let is_taken = posted.outcome == TryOutcome::Taken;
    Ok(TriedTarget {
        target: target.name.to_string(),
        place: target.place(),
        id,
        is_taken,
        status: posted.status.map(|status| status.as_u16()),
        why: (!is_taken).then(|| posted.outcome.why()),
        millis,
        said: shown(&posted.said),
    })
}

/// An alert of no batch: batches have positions from 1 on, so no real alert has its id.
fn test_alert(target: &WebhookTarget, now: Instant) -> (String, String) {
    let tenant = target.tenants.iter().flatten().next().cloned();
    let tenant = tenant.unwrap_or_else(|| TenantId::new(TEST_TENANT).expect("it is a name"));
    let id = alert_id(&tenant, LogSeq(0), u64::try_from(now.as_millis()).unwrap_or_default());
    let text = now.to_string();
    let day = text.split('T').next().unwrap_or_default();
    let payload = json!({"id": id, "alert": TEST_ALERT, "tenant": tenant, "generation": 0, "day": day, "at": text, "log": 0, "test": true});
    (id, payload.to_string())
}

/// A receiver's words for a terminal.
fn shown(said: &[u8]) -> String {
    let text = String::from_utf8_lossy(said);
    text.chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use daybook_contracts::alert::Alert;

    #[test]
    fn a_test_alert_reads_like_an_alert_and_says_what_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("webhooks.yaml");
        std::fs::write(folder.path().join("s"), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        for (tenants, tenant) in [("all", "test"), ("[zeta, acme]", "acme")] {
            let text = format!("targets: [{{ name: a, url: http://h, secret: {{ file: s }}, tenants: {tenants} }}]");
            std::fs::write(&path, text).unwrap();
            let target = targets::load(&path).unwrap().remove(0);
            let (id, payload) = test_alert(&target, "2026-12-01T00:30:00.250Z".parse().unwrap());
            let alert: Alert = serde_json::from_str(&payload).unwrap();
            assert_eq!((alert.id.as_str(), alert.tenant.as_str(), alert.alert.as_str()), (&*id, tenant, TEST_ALERT));
            assert_eq!(alert.day.to_string(), "2026-12-01");
            assert!(payload.contains(r#""test":true"#), "{payload}");
        }
    }

    #[test]
    fn what_a_receiver_says_harms_no_terminal() {
        assert_eq!(shown(b"\x1b[31mno\xff\r\nmore\n"), "[31mno\u{fffd} \nmore");
    }
}
