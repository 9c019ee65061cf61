//! Headers by which a client asks the broker for something, on events that it may publish.

use crate::attack::{Attack, FORGED, Message, Probe, Without, event, to};
use async_nats::jetstream::stream::{Config, DiscardPolicy};
use std::time::Duration;

/// An id that the victim is about to use.
const ID: &str = "counter-1";

fn header(
    name: &'static str,
    message: Message,
    probe: Probe,
    guard: &'static str,
    option: fn(&mut Config),
    effect: &'static str,
) -> Attack {
    let without = Without::Option("INBOX", option);
    Attack { name, steps: vec![message.publish()], probe, guard, without, effect }
}

/// INBOX as a stream by itself, for options that a stream with sources may not have.
fn alone(config: &mut Config) {
    config.sources = None;
    config.subject_transform = None;
    config.discard = DiscardPolicy::Old;
    config.discard_new_per_subject = false;
    config.max_messages_per_subject = -1;
    // A stream without sources takes none for two minutes.
    config.duplicate_window = Duration::from_secs(1);
}

pub(crate) fn attacks() -> Vec<Attack> {
    let marked = || event().header("Note", FORGED);
    let stored = Probe::Stored("INBOX", FORGED);
    let one_by_one = "is taken, with what it asks for";
    vec![
        header(
            "Nats-Msg-Id of another tenant",
            event().header("Nats-Msg-Id", ID),
            Probe::VictimDuplicate(ID),
            "INBOX remembers no message ids",
            |inbox| inbox.duplicate_window = Duration::from_secs(120),
            "the other's event is acknowledged and not stored",
        ),
        header(
            "Nats-Rollup: all",
            event().header("Nats-Rollup", "all"),
            Probe::Lost("INBOX"),
            "INBOX without allow_rollup",
            |inbox| inbox.allow_rollup = true,
            "events of all tenants are gone",
        ),
        header(
            "Nats-Rollup: sub",
            marked().header("Nats-Rollup", "sub"),
            stored.clone(),
            "INBOX without allow_rollup",
            |inbox| inbox.allow_rollup = true,
            "own events before it are gone, with no disposition",
        ),
        header(
            "Nats-TTL",
            marked().header("Nats-TTL", "1s"),
            stored.clone(),
            "INBOX without allow_msg_ttl",
            |inbox| inbox.allow_message_ttl = true,
            one_by_one,
        ),
        header(
            "Nats-TTL: never",
            marked().header("Nats-TTL", "never"),
            stored.clone(),
            "INBOX without allow_msg_ttl",
            |inbox| inbox.allow_message_ttl = true,
            one_by_one,
        ),
        header(
            "Nats-Schedule to another tenant",
            marked()
                .header("Nats-Schedule", "@at 2020-01-01T00:00:00Z")
                .header("Nats-Schedule-Target", "daybook.in.acme.order"),
            stored.clone(),
            "INBOX without allow_msg_schedules",
            |inbox| {
                alone(inbox);
                inbox.allow_message_schedules = true;
                inbox.allow_message_ttl = true;
            },
            one_by_one,
        ),
        header(
            "Nats-Incr",
            to("daybook.in.evil.order").header("Nats-Incr", "+1"),
            Probe::Stored("INBOX", r#""val":"1""#),
            "INBOX without allow_msg_counter",
            |inbox| {
                alone(inbox);
                inbox.allow_message_counter = true;
            },
            "the broker writes a number in place of the event",
        ),
        header(
            "Nats-Batch-Id, committed at once",
            marked().header("Nats-Batch-Id", "b").header("Nats-Batch-Sequence", "1").header("Nats-Batch-Commit", "1"),
            stored.clone(),
            "INBOX without allow_atomic",
            |inbox| inbox.allow_atomic_publish = true,
            one_by_one,
        ),
        Attack {
            name: "Nats-Trace-Dest into the log",
            steps: vec![event().header("Nats-Trace-Dest", "daybook.events.0").publish()],
            probe: Probe::Stored("EVENTS", "Nats-Trace-Dest"),
            guard: "account of its own, and permissions without the trace's subject",
            without: Without::Permissions,
            effect: "the broker writes its trace into the log",
        },
        Attack {
            name: "Nats-Trace-Dest to another tenant",
            steps: vec![event().header("Nats-Trace-Dest", "daybook.live.acme.orders").publish()],
            probe: Probe::Arrives("daybook.live.acme.orders", "Nats-Trace-Dest"),
            guard: "account of its own, and permissions without the trace's subject",
            without: Without::Permissions,
            effect: "the other's listeners hear the broker's trace",
        },
    ]
}
