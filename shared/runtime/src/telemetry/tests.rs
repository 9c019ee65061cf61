use super::*;
use opentelemetry::trace::SpanKind;
use opentelemetry_sdk::trace::{SamplingDecision, ShouldSample};
use proptest::prelude::*;

const SOUND: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn headers(values: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    values.iter().for_each(|value| headers.append(TRACEPARENT, *value));
    headers
}

#[test]
fn a_sound_header_is_read_and_nothing_else_is() {
    let mut carried = headers(&[SOUND]);
    carried.insert("tracestate", "evil=payload");
    let context = context_of(&carried).unwrap();
    assert_eq!(context.trace_id().to_string(), &SOUND[3..35]);
    assert_eq!(context.span_id().to_string(), &SOUND[36..52]);
    assert!(context.is_sampled() && context.is_remote());
    assert_eq!(context.trace_state(), &TraceState::NONE, "tracestate is not taken");
    let later = SOUND.replacen("00", "cc", 1);
    for sound in [SOUND.replacen("-01", "-ff", 1), later.clone(), format!("{later}-what-will-be")] {
        assert!(context_of(&headers(&[&sound])).unwrap().is_sampled(), "{sound}");
    }
    assert!(!context_of(&headers(&[&SOUND.replacen("-01", "-02", 1)])).unwrap().is_sampled());
}

#[test]
fn hostile_headers_are_no_context() {
    for (from, to) in [
        ("00-", "ff-"),
        ("00-", "0-"),
        ("00-", "+0-"),
        ("00-", "00_"),
        ("0af7651916cd43dd8448eb211c80319c", "00000000000000000000000000000000"),
        ("b7ad6b7169203331", "0000000000000000"),
        ("0af7", "0AF7"),
        ("0af7", "0xf7"),
        ("0af7", "+af7"),
        ("0af7", "0a\u{e4}"),
        ("-01", "-01-"),
        ("-01", "-01 "),
        ("-01", "-1"),
        ("-01", "-0g"),
        ("00-", " 00-"),
        ("00-", "cc-0"),
    ] {
        let hostile = SOUND.replacen(from, to, 1);
        assert_ne!(hostile, SOUND);
        assert_eq!(context_of(&headers(&[&hostile])), None, "{hostile:?}");
    }
    assert_eq!(context_of(&headers(&["cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01x"])), None);
    assert_eq!(context_of(&headers(&[SOUND, SOUND])), None, "one of two is not chosen");
    assert_eq!(context_of(&headers(&["", SOUND])), None);
    assert_eq!(context_of(&headers(&[""])), None);
    assert_eq!(context_of(&HeaderMap::new()), None);
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        prop_assert_eq!(parse(&bytes), None, "random bytes have no dashes in the right places");
    }

    #[test]
    fn a_header_with_changed_bytes_is_read_as_it_stands_or_refused(place in 0..SOUND.len(), byte in any::<u8>()) {
        let mut bytes = SOUND.as_bytes().to_vec();
        bytes[place] = byte;
        if let Some(context) = parse(&bytes) {
            let read = format!("{}-{}", context.trace_id(), context.span_id());
            prop_assert_eq!(read.as_bytes(), &bytes[3..52]);
        }
    }
}

#[test]
fn the_ratio_alone_decides() {
    let sampled = parse(SOUND.as_bytes()).unwrap();
    let unsampled = parse(SOUND.replacen("-01", "-00", 1).as_bytes()).unwrap();
    let decide = |ratio: f64, parent: Option<&SpanContext>| {
        let parent = parent.map(|parent| Context::new().with_remote_span_context(parent.clone()));
        let trace = sampled.trace_id();
        sampler(ratio).should_sample(parent.as_ref(), trace, "ingest", &SpanKind::Internal, &[], &[]).decision
    };
    for parent in [None, Some(&sampled), Some(&unsampled)] {
        assert_eq!(decide(0.0, parent), SamplingDecision::Drop, "{parent:?}");
        assert_eq!(decide(-1.0, parent), SamplingDecision::Drop, "{parent:?}");
        assert_eq!(decide(1.0, parent), SamplingDecision::RecordAndSample, "{parent:?}");
        assert_eq!(decide(7.0, parent), SamplingDecision::RecordAndSample, "{parent:?}");
    }
}
