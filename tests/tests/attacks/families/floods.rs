//! More than a fair share of what all tenants share.

use crate::attack::{Attack, Message, Probe, Step, Without, event, to};
use async_nats::jetstream::stream::Config;
use daybook_tests::orders::order;

/// Messages of a flood: with eight kilobytes each, several times what the small INBOX of these tests holds.
const FLOOD: u32 = 300;

/// An event of eight kilobytes.
fn large(subject: &str) -> Message {
    let mut order = order("flood-#");
    order["note"] = "x".repeat(8_000).into();
    to(subject).payload(order.to_string())
}

pub(crate) fn attacks() -> Vec<Attack> {
    let unbounded: fn(&mut Config) = |inbox| {
        inbox.discard_new_per_subject = false;
        inbox.max_messages_per_subject = -1;
    };
    let refused = "the other's event is refused: INBOX is full";
    vec![
        Attack {
            name: "floods INBOX with large events",
            steps: vec![Step::Flood(FLOOD, large("daybook.in.evil.order"))],
            probe: Probe::VictimRefused,
            guard: "INBOX has a share for each tenant and kind",
            without: Without::Option("INBOX", unbounded),
            effect: refused,
        },
        Attack {
            name: "floods INBOX with small events",
            steps: vec![Step::Flood(4_000, to("daybook.in.evil.order").payload("x".repeat(300)))],
            probe: Probe::VictimRefused,
            guard: "INBOX has a share for each tenant and kind",
            without: Without::Option("INBOX", unbounded),
            effect: refused,
        },
        Attack {
            name: "floods INBOX through kinds that it invents",
            steps: vec![Step::Flood(FLOOD, large("daybook.in.evil.kind-#"))],
            probe: Probe::VictimRefused,
            guard: "a tenant's permissions name the kinds",
            without: Without::Permissions,
            effect: refused,
        },
        Attack {
            name: "sends a message larger than its share allows",
            steps: vec![event().payload(format!("{}{}", crate::attack::FORGED, " ".repeat(200_000))).publish()],
            probe: Probe::Arrives("daybook.in.evil.order", crate::attack::FORGED),
            guard: "the account's largest message",
            without: Without::Accounts,
            effect: "takes more bytes of INBOX than were reckoned with",
        },
    ]
}
