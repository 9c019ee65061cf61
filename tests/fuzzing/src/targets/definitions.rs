//! Definition files as the command line reads them. Every mistake has its place in the file; what is accepted survives
//! the way to day-manager, which refuses it or makes definitions that are in force without a failure.

use super::admin::check;
use crate::world::DEFINITIONS;
use daybook::definitions::load;

/// Most of a file that is looked at, in bytes: what is large is slow and nothing else.
const MAX_BYTES: usize = 64 << 10;

pub fn run(data: &[u8]) {
    if data.len() > MAX_BYTES {
        return;
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    match load(&[("a.yaml".into(), text.to_owned())], &[]) {
        Ok(definitions) => {
            let bytes = serde_json::to_vec(&definitions.apply).expect("definitions are plain values");
            assert_eq!(serde_json::from_slice(&bytes).ok().as_ref(), Some(&definitions.apply), "as it was sent");
            for refusal in check(&definitions.apply) {
                assert!(!definitions.refused(&refusal).to_string().is_empty());
            }
        }
        Err(mistakes) => {
            assert!(!mistakes.is_empty());
            let lines = text.split(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']).count() as u64;
            for mistake in mistakes {
                assert!(!mistake.to_string().is_empty());
                let Some(place) = &mistake.place else { continue };
                assert!((1..=lines + 1).contains(&place.line) && place.column >= 1, "{mistake}");
            }
        }
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> = [
        DEFINITIONS,
        include_str!("../../../../examples/flights/kind.yaml"),
        include_str!("../../../../examples/flights/views.yaml"),
        "kinds:\n  - { name: k, mode: fact, measures: [{ name: m, type: decimal, scale: 2 }] }\nviews:\n  - name: v\n    \
         kind: k\n    metrics:\n      - a: &a sum(m)\n      - { name: b, value: *a, where: \"m > 1\" }\n    ranking: a\n",
        "tenants:\n  - { id: A, zone: Pacific/Apia, cutoff: \"00:00\", first_day: 2011-12-25, clock: c }\n---\nkinds: []\n",
    ]
    .map(|text| text.as_bytes().to_vec())
    .into();
    // Each list by itself: small files are mutated to more avail.
    let lists = DEFINITIONS.split("\nviews:").collect::<Vec<_>>();
    seeds.push(lists[0].as_bytes().to_vec());
    let tenants = DEFINITIONS.split("\ntenants:").nth(1).unwrap_or_default();
    seeds.push(format!("tenants:{tenants}").into_bytes());
    seeds
}
