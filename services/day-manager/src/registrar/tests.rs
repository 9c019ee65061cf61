use super::*;
use crate::failure::PublishError;
use async_nats::jetstream::context::PublishErrorKind;
use daybook_contracts::admin;
use daybook_domain::catalogue::{Clocks, Kind, Mode};
use daybook_runtime::append::{Found, Newest};

const NOW: Instant = Instant::MIN;

fn kind(revision: u64) -> Kind {
    Kind {
        name: Name::new("order").unwrap(),
        mode: Mode::Fact,
        dimensions: vec![],
        measures: vec![],
        revision,
        mappings: Vec::new(),
        remember: Some(35),
    }
}

fn apply() -> Request {
    Request::Apply(Apply { kinds: vec![kind(0)], ..Apply::default() })
}

fn streams(catalog: Read<(Partition, Definition)>) -> Heard {
    Heard::Read(Streams { catalog, days: Vec::new(), clocks: Vec::new() })
}

/// The kind in CATALOG, of each partition at one of the sequences.
fn stored(sequences: [u64; 2]) -> Heard {
    let of = |(number, sequence): (usize, u64)| {
        let partition = Partition(number as u16);
        let value = (partition, Definition::Kind(kind(1)));
        let found = Some(Found { sequence, stored_at: NOW, value });
        (format!("daybook.catalog.{partition}.kind.order"), Newest { end: sequence, found })
    };
    streams(sequences.into_iter().enumerate().map(of).collect())
}

/// Of two partitions, in which nothing is defined.
fn registrar() -> Registrar {
    let mut registrar = Registrar::new(Subjects::new("daybook").unwrap(), 2, 10);
    assert!(matches!(registrar.ask(Request::Begin, NOW), Action::Read));
    assert!(matches!(registrar.heard(streams(Vec::new()), NOW), Action::Done(Reply::Begun)));
    registrar
}

/// Asks, and says that nobody else has published. Returns the messages that are to be published then.
fn published(registrar: &mut Registrar, request: Request) -> Vec<Outgoing> {
    assert!(matches!(registrar.ask(request, NOW), Action::Look { clocks: true }));
    match registrar.heard(Heard::Ends { catalog: 0, days: 0, clocks: Some(0) }, NOW) {
        Action::Publish(messages, Purpose::Definitions) => messages,
        action => panic!("{action:?}"),
    }
}

fn silence() -> Heard {
    Heard::Failed(Failure::Look { stream: "DAYS".to_owned(), source: "no route".into() })
}

fn unclear() -> Heard {
    let source = PublishErrorKind::TimedOut.into();
    Heard::Failed(PublishError::Unclear { subject: "daybook.catalog.0.kind.order".to_owned(), source }.into())
}

#[test]
fn an_answer_waits_until_what_was_published_has_arrived() {
    let mut registrar = registrar();
    let messages = published(&mut registrar, apply());
    assert_eq!(messages.iter().map(|message| message.expected).collect::<Vec<_>>(), [0, 0]);
    let Action::Await(arrival) = registrar.heard(Heard::Published(vec![2, 1]), NOW) else { panic!() };
    assert_eq!((arrival.sequence, arrival.inbox_subject.as_str()), (2, "daybook.inbox.0.order.catalog.kind"));
    let Action::Done(Reply::Applied(ApplyReply::Applied(lines))) = registrar.heard(Heard::Arrived, NOW) else {
        panic!()
    };
    assert_eq!(lines[0].action, admin::Action::Created);
    // Nobody else has published since.
    registrar.ask(Request::Catalogue, NOW);
    let done = registrar.heard(Heard::Ends { catalog: 2, days: 0, clocks: Some(0) }, NOW);
    assert!(matches!(done, Action::Done(Reply::Catalogue(reply)) if reply.kinds == [kind(1)]));
}

#[test]
fn a_request_is_begun_again_where_another_day_manager_comes_in_between() {
    let mut registrar = registrar();
    published(&mut registrar, apply());
    // Theirs is at 2.
    let again = registrar.heard(Heard::Published(vec![1, 3]), NOW);
    assert!(matches!(again, Action::Pause(pause, Failure::Publish(PublishError::Conflict(_))) if pause == FIRST_PAUSE));
    assert!(matches!(registrar.heard(Heard::Paused, NOW), Action::Read));
    let Action::Await(arrival) = registrar.heard(stored([1, 3]), NOW) else { panic!() };
    assert_eq!(arrival.sequence, 3);
    let done = registrar.heard(Heard::Arrived, NOW);
    let Action::Done(Reply::Applied(ApplyReply::Applied(lines))) = done else { panic!("{done:?}") };
    assert_eq!(lines[0].action, admin::Action::Unchanged);
}

#[test]
fn a_request_that_is_always_overtaken_fails() {
    let mut registrar = registrar();
    published(&mut registrar, apply());
    for attempt in 1..=MAX_ATTEMPTS {
        let conflict = Heard::Failed(PublishError::Conflict("daybook.catalog.0.kind.order".to_owned()).into());
        let action = registrar.heard(conflict, NOW);
        if attempt == MAX_ATTEMPTS {
            assert!(matches!(action, Action::Failed(_)), "{action:?}");
        } else {
            assert!(matches!(action, Action::Pause(pause, _) if pause <= LONGEST_PAUSE), "{action:?}");
            registrar.heard(Heard::Paused, NOW);
            assert!(matches!(registrar.heard(streams(Vec::new()), NOW), Action::Publish(..)));
        }
    }
}

#[test]
fn where_the_fate_of_a_message_is_unclear_everything_is_read_before_the_next_request() {
    let mut registrar = registrar();
    published(&mut registrar, apply());
    assert!(matches!(registrar.heard(unclear(), NOW), Action::Failed(_)));
    assert!(matches!(registrar.ask(Request::Look, NOW), Action::Read));
    // It reached one partition: that is repaired.
    let mut one = stored([1, 0]);
    if let Heard::Read(streams) = &mut one {
        streams.catalog.pop();
    }
    let Action::Publish(messages, Purpose::Repairs) = registrar.heard(one, NOW) else { panic!() };
    assert_eq!(messages[0].subject, "daybook.catalog.1.kind.order");
    assert_eq!((messages.len(), messages[0].expected), (1, 0));
}

#[test]
fn a_tick_does_not_wait_for_a_broker_that_is_silent_but_an_asker_is_told() {
    let mut registrar = registrar();
    assert!(matches!(registrar.ask(Request::Look, NOW), Action::Look { clocks: false }));
    assert!(matches!(registrar.heard(silence(), NOW), Action::Done(Reply::Looked(0))));
    assert!(matches!(registrar.ask(Request::Catalogue, NOW), Action::Look { clocks: true }));
    assert!(matches!(registrar.heard(silence(), NOW), Action::Failed(Failure::Look { .. })));
}

#[test]
fn a_clock_never_goes_back_whatever_is_written_in_its_place() {
    let mut registrar = registrar();
    let (name, stands) = (Name::new("shop").unwrap(), Instant::from_millis(5_000));
    let mut clocks = |end, found: Option<Instant>| {
        registrar.ask(Request::Catalogue, NOW);
        let asked = registrar.heard(Heard::Ends { catalog: 0, days: 0, clocks: Some(end) }, NOW);
        assert!(matches!(asked, Action::ReadClocks), "{asked:?}");
        let found = found.map(|time| Found { sequence: end, stored_at: NOW, value: (name.clone(), time) });
        let read = Heard::Clocks(vec![("daybook.clocks.shop".to_owned(), Newest { end, found })]);
        match registrar.heard(read, NOW) {
            Action::Done(Reply::Catalogue(reply)) => reply.clocks,
            action => panic!("{action:?}"),
        }
    };
    let standing: Clocks = [(name.clone(), stands)].into();
    assert_eq!(clocks(1, Some(stands)), standing);
    // Foreign messages have taken the place of it, and then one that repeats an earlier time.
    assert_eq!(clocks(17, None), standing);
    assert_eq!(clocks(18, Some(Instant::from_millis(4_000))), standing);
    assert_eq!(clocks(19, Some(Instant::from_millis(6_000)))[&name], Instant::from_millis(6_000));
}
