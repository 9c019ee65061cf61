use super::*;
use daybook_contracts::alert::{ReportAlert, ReportVersion};
use daybook_contracts::event::{self, Encoding};
use daybook_contracts::reject::{Code, MAX_ORIGINAL_BYTES, Original};
use daybook_contracts::report::Row;
use daybook_domain::catalogue::{Kind, Mode};
use daybook_domain::ids::{InboxSeq, Name};
use proptest::prelude::*;

/// What the broker takes.
const MAX_PAYLOAD_BYTES: usize = 1 << 20;
const POSITION: LogSeq = LogSeq(7);

/// The batch there.
fn batch() -> Recorded {
    Recorded { position: POSITION, stored_at: Instant::from_millis(1_764_500_000_000) }
}

fn subjects() -> Subjects {
    Subjects::new("daybook").unwrap()
}

fn reject(index: u32, reason: impl Into<String>, original: &[u8]) -> Reject {
    Reject {
        code: Code::Malformed,
        reason: reason.into(),
        tenant: "ABQ".into(),
        kind: "order".into(),
        inbox: InboxSeq(9),
        index,
        field: None,
        date: None,
        original: Original::new(original),
        span: None,
    }
}

fn written(tenant: &str, rejects: Vec<Reject>) -> Vec<Output> {
    Maker::default().outputs(&subjects(), batch(), Effect::Rejects { tenant: tenant.into(), rejects })
}

/// Each message fits the broker, positions increase, and all rejects are there, in order.
fn assert_whole_and_small(rejects: &[Reject]) -> Vec<Output> {
    let outputs = written("ABQ", rejects.to_vec());
    assert!(outputs.is_sorted_by(|one, next| one.position < next.position));
    let mut told = Vec::new();
    for output in &outputs {
        assert!(output.payload.len() < MAX_PAYLOAD_BYTES, "{} bytes", output.payload.len());
        assert_eq!((output.stream.as_str(), output.subject.as_str()), ("DAYBOOK_REJECTS", "daybook.rejects.ABQ"));
        let part: Rejects = serde_json::from_slice(&output.payload).unwrap();
        assert_eq!(part.log, POSITION);
        assert!(!part.rejects.is_empty());
        told.extend(part.rejects);
    }
    assert_eq!(told, rejects);
    outputs
}

/// The rejects that ingest makes of one message.
fn refused(payload: &[u8], encoding: Encoding) -> Vec<Reject> {
    let name = Name::new("order").unwrap();
    let kind = Kind {
        name,
        mode: Mode::Entity,
        dimensions: vec![],
        measures: vec![],
        revision: 1,
        mappings: vec![],
        remember: None,
    };
    let read = event::read(payload, encoding, "ABQ", &kind);
    let problem = |(index, read): (usize, event::Read<'_>)| {
        let problem = read.outcome.unwrap_err();
        let reject = reject(index as u32, problem.reason, read.original);
        Reject { code: problem.code, field: problem.field, ..reject }
    };
    read.into_iter().enumerate().map(problem).collect()
}

#[test]
fn a_few_rejects_are_one_message() {
    let outputs = assert_whole_and_small(&[reject(0, "bad", b"{}"), reject(1, "bad", b"{}")]);
    assert_eq!(outputs.len(), 1);
    assert!(!outputs[0].first, "others may have been told before");
}

#[test]
fn no_rejects_are_no_message() {
    assert!(written("ABQ", vec![]).is_empty());
}

#[test]
fn positions_increase_from_batch_to_batch() {
    let many: Vec<_> = (0..40).map(|index| reject(index, "", &[b'x'; MAX_ORIGINAL_BYTES])).collect();
    let last = assert_whole_and_small(&many).last().unwrap().position;
    let next = rejects_outputs(&subjects(), LogSeq(POSITION.0 + 1), "ABQ", vec![reject(0, "", b"")]);
    assert!(next[0].position > last);
}

#[test]
fn fields_of_control_characters_fit() {
    let long = |index| Reject { field: Some("\u{1}".repeat(64_000)), ..reject(index, "", b"") };
    assert_whole_and_small(&[long(0), long(1), long(2)]);
}

#[test]
fn originals_of_control_characters_fit() {
    let rejects: Vec<_> = (0..20).map(|index| reject(index, "bad", &[1; MAX_ORIGINAL_BYTES])).collect();
    assert!(assert_whole_and_small(&rejects).len() > 5, "some 64 KiB each");
}

#[test]
fn reasons_of_control_characters_fit() {
    let reason = "\u{1}".repeat(20_000);
    let rejects: Vec<_> = (0..30).map(|index| reject(index, reason.clone(), &[1; 10_000])).collect();
    assert_whole_and_small(&rejects);
}

#[test]
fn originals_that_are_no_text_fit() {
    let rejects: Vec<_> = (0..30).map(|index| reject(index, "bad", &[0xff; MAX_ORIGINAL_BYTES])).collect();
    assert_whole_and_small(&rejects);
}

#[test]
fn ten_thousand_small_rejects_fit() {
    let rejects: Vec<_> = (0..10_000).map(|index| reject(index, "not an event", b"1")).collect();
    let outputs = assert_whole_and_small(&rejects);
    assert!(outputs.iter().all(|output| output.payload.len() <= REJECTS_MESSAGE_BYTES + 1_000));
}

#[test]
fn what_hostile_messages_are_refused_with_fits() {
    let del = format!("[{}]", vec![format!("\"{}\"", "\u{7f}".repeat(60_000)); 4].join(","));
    assert_whole_and_small(&refused(del.as_bytes(), Encoding::Json));
    let column = format!(r#"{{"dims": {{"{}": 1}}}}"#, "\\u0001".repeat(10_000));
    assert_whole_and_small(&refused(format!("[{}]", vec![column; 20].join(",")).as_bytes(), Encoding::Json));
    // In MessagePack control characters need no escape.
    for text in [1_u8, 0x7f, b'"', b'\\'] {
        let text = String::from_utf8(vec![text; 64_000]).unwrap();
        let texts = rmp_serde::to_vec(&vec![text.clone(); 5]).unwrap();
        assert_whole_and_small(&refused(&texts, Encoding::MessagePack));
        let column = serde_json::json!({"dims": {text: 1}});
        assert_whole_and_small(&refused(&rmp_serde::to_vec(&vec![column; 5]).unwrap(), Encoding::MessagePack));
    }
}

#[test]
fn a_report_stands_at_its_version_with_its_hash() {
    let tenant = TenantId::new("ABQ").unwrap();
    let date = Date::from_days(1);
    for version in [1, 2] {
        let report = SealedReport {
            generation: 0,
            tenant: tenant.clone(),
            date,
            version,
            hash: "abc".into(),
            payload: b"{}".to_vec(),
            figures: vec![],
        };
        let outputs = Maker::default().outputs(&subjects(), batch(), Effect::Report(report));
        let [output] = outputs.as_slice() else { panic!("{outputs:?}") };
        assert_eq!(
            (output.stream.as_str(), output.subject.as_str()),
            ("DAYBOOK_REPORTS", "daybook.reports.ABQ.1970-01-02")
        );
        assert_eq!((output.position, output.first), (u64::from(version), version == 1));
        assert_eq!(output.headers.get(headers::HASH).unwrap().as_str(), "abc");
        assert_eq!(output.payload.as_ref(), b"{}");
    }
}

#[test]
fn alerts_stand_behind_each_other_at_their_batch() {
    let (tenant, view, day) = (TenantId::new("ABQ").unwrap(), Name::new("sales").unwrap(), Date::from_days(1));
    let row = |json: &str| serde_json::from_str::<Row>(json).unwrap();
    let low = Name::new("low").unwrap();
    let report = ReportVersion { version: 1, hash: "ab".into() };
    let raised = [
        About::Group {
            view: view.clone(),
            alert: low.clone(),
            group: row(r#"{"shop":"S1"}"#),
            figures: row(r#"{"sum":-1.50}"#),
        },
        About::MoreGroups { view: view.clone(), alert: low.clone() },
        About::Report { alert: ReportAlert::DaySealed, report: report.clone() },
    ];
    let alerts = raised.map(|about| Raised { day, generation: 2, about }).into();
    let outputs = Maker::default().outputs(&subjects(), batch(), Effect::Alerts { tenant: tenant.clone(), alerts });
    let read: Vec<Alert> =
        outputs.iter().map(|output| serde_json::from_slice(&output.payload).expect("an alert")).collect();
    for (number, (output, alert)) in (0..).zip(outputs.iter().zip(&read)) {
        assert_eq!((output.stream.as_str(), output.subject.as_str()), ("DAYBOOK_ALERTS", "daybook.alerts.ABQ"));
        assert_eq!((output.position, output.first), ((POSITION.0 << 16) + number, false));
        assert_eq!(alert.id, format!("ABQ-7-{number}"));
        assert_eq!((&alert.tenant, alert.day, alert.generation, alert.log), (&tenant, day, 2, POSITION));
        assert_eq!(alert.at, batch().stored_at, "the same on each replica");
    }
    let [group, more, sealed] = &read[..] else { panic!("{read:?}") };
    assert_eq!((&group.alert, group.view.as_ref(), group.more_groups), (&low, Some(&view), false));
    assert_eq!(group.figures.as_ref().unwrap(), &row(r#"{"sum":-1.50}"#));
    assert_eq!((&more.alert, more.more_groups, &more.group), (&low, true, &None));
    assert_eq!((sealed.alert.as_str(), sealed.report.as_ref()), ("day_sealed", Some(&report)));
}

#[test]
fn a_purge_takes_alerts_of_earlier_batches_along() {
    let purge = Purge { tenant: TenantId::new("ABQ").unwrap(), generation: 0, before: POSITION };
    let tasks = Maker::default().tasks(&subjects(), batch(), Effect::Purge(purge));
    let deletions = tasks.into_iter().map(|task| match task {
        Task::Delete(Deletion { filter, below, .. }) => (filter, below),
        Task::Write(output) => panic!("{output:?}"),
    });
    assert!(deletions.collect::<Vec<_>>().contains(&("daybook.alerts.ABQ".to_owned(), POSITION.0 << 16)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_rejects_fit(
        sizes in prop::collection::vec((0_usize..20_000, 0_usize..70_000, prop::sample::select(vec![1_u8, b'a', b'"', 0x7f, 0xff])), 0..20),
    ) {
        let rejects: Vec<_> = sizes
            .into_iter()
            .zip(0..)
            .map(|((reason, original, byte), index)| {
                let text = if byte.is_ascii() { byte as char } else { 'é' };
                reject(index, text.to_string().repeat(reason), &vec![byte; original])
            })
            .collect();
        assert_whole_and_small(&rejects);
    }
}
