//! What processes tell of themselves. It is within its bounds or not heard, comes back as it was, contradicts
//! another where that contradicts it, and partitions can be shared out among whoever says to be there.

use daybook_contracts::members::{
    DIGEST_FORMAT, Foreign, Heartbeat, MAX_DIGESTS, MAX_NAME_BYTES, MAX_PARTS, Memory, Missing, Part, SourceStanding,
    StateDigest, WebhookRefusal, WebhookTries,
};
use daybook_domain::ids::{LogSeq, Partition};
use daybook_domain::time::Instant;
use daybook_runtime::membership::assignment::owners;

/// Lines, a heartbeat each.
pub fn run(data: &[u8]) {
    let heard: Vec<Heartbeat> = data.split(|byte| *byte == b'\n').filter_map(Heartbeat::decode).collect();
    for heartbeat in &heard {
        assert!(heartbeat.parts.len() <= MAX_PARTS);
        assert!(heartbeat.parts.values().all(|part| part.digests.len() <= MAX_DIGESTS));
        let texts = [&heartbeat.service, &heartbeat.instance, &heartbeat.version, &heartbeat.host];
        assert!(texts.iter().all(|text| text.len() <= MAX_NAME_BYTES) && !heartbeat.instance.is_empty());
        let bytes = serde_json::to_vec(heartbeat).expect("a heartbeat is plain values");
        assert_eq!(Heartbeat::decode(&bytes).as_ref(), Some(heartbeat));
    }
    for pair in heard.windows(2) {
        assert_eq!(pair[0].divergences(&pair[1]).next().is_some(), pair[1].divergences(&pair[0]).next().is_some());
    }
    let mut names: Vec<&str> = heard.iter().map(|heartbeat| heartbeat.instance.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    for replicas in [1, 2] {
        let owners = owners(&names, 8, replicas);
        assert!(owners.iter().all(|owners| owners.len() == replicas.min(names.len())));
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let heartbeat = |instance: &str, position: u64| {
        let digest = |log| StateDigest {
            log: LogSeq(log),
            format: DIGEST_FORMAT,
            state: format!("{position:032x}").into(),
            seasons: (log % 2 == 0).then(|| "0".into()),
        };
        let digests = (1..=MAX_DIGESTS as u64).map(digest).collect();
        let part = Part { digests, ready: true, log: LogSeq(position), lag: 3, lag_ms: 70, ..Part::default() };
        let heartbeat = Heartbeat {
            service: "aggregator-shard".into(),
            instance: instance.into(),
            version: "0.1.0".into(),
            host: "one".into(),
            pid: 17,
            started_at: Instant::from_millis(1_362_904_200_123),
            joining: false,
            leaving: false,
            gone: false,
            parts: [(Partition(0), part.clone()), (Partition(7), part)].into(),
            foreign: vec![Foreign {
                stream: "DAYBOOK_EVENTS".into(),
                messages: 2,
                sequence: position,
                subject: "daybook.events.3".into(),
                why: "it was not appended on a condition".into(),
            }],
            replicas: Some(2),
            missing: vec![Missing {
                service: "query".into(),
                instance: "b".into(),
                host: "two".into(),
                pid: 18,
                since: Instant::from_millis(1_362_904_300_456),
            }],
            memory: Some(Memory { used: position, limit: 1 << 30, is_full: false }),
            sources: vec![SourceStanding {
                lag: Some(position),
                trouble: Some("INBOX is full".into()),
                ..Default::default()
            }],
            sources_refused: Some("source shop: it is there twice".into()),
            webhooks: vec![WebhookTries {
                name: "pager".into(),
                failures: 3,
                failing_since: Some(Instant::from_millis(1_362_904_400_789)),
                taken_at: None,
                refusal: Some(WebhookRefusal {
                    at: Instant::from_millis(1_362_904_400_789),
                    why: "the receiver answered 500".into(),
                }),
            }],
        };
        serde_json::to_vec(&heartbeat).expect("plain values")
    };
    vec![heartbeat("a", 1), [heartbeat("a", 5), heartbeat("b", 5)].join(&b'\n')]
}
