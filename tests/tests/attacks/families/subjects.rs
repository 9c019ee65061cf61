//! Subjects of others, published to directly.

use crate::attack::{Attack, FORGED, Probe, Without, to};
use daybook_tests::orders::order;

const GUARD: &str = "permissions and imports: a tenant's own subjects";

fn published(name: &'static str, subject: &str, probe: Probe, effect: &'static str) -> Attack {
    let steps = vec![to(subject).payload(FORGED).publish()];
    Attack { name, steps, probe, guard: GUARD, without: Without::Permissions, effect }
}

pub(crate) fn attacks() -> Vec<Attack> {
    let stored = |stream| Probe::Stored(stream, FORGED);
    let arrives = |subject| Probe::Arrives(subject, FORGED);
    let stands = "stands in the stream";
    let reaches = "reaches whoever listens";
    let mut attacks = vec![
        published("batch in EVENTS", "daybook.events.1", stored("EVENTS"), "stands in the log"),
        published("definition of a kind", "daybook.catalog.0.kind.order", stored("CATALOG"), stands),
        published("definition of a tenant", "daybook.catalog.0.tenant.acme", stored("CATALOG"), stands),
        published("marker of a day", "daybook.days.acme.closed", stored("DAYS"), stands),
        published("position of a clock", "daybook.clocks.shop", stored("CLOCKS"), stands),
        published("report of another tenant", "daybook.reports.acme.2024-03-05", stored("REPORTS"), stands),
        published("report of its own", "daybook.reports.evil.2024-03-05", stored("REPORTS"), stands),
        published("figures of another tenant", "daybook.figures.acme.2024-03-05.orders", stored("FIGURES"), stands),
        published("rejects of another tenant", "daybook.rejects.acme", stored("REJECTS"), stands),
        published("alert of another tenant", "daybook.alerts.acme", stored("ALERTS"), stands),
        published("revocation of another's tokens", "daybook.access.revoked.acme", stored("ACCESS"), stands),
        published("piece of a snapshot", "$O.DAYBOOK_CHECKPOINTS.C.piece", stored("SNAPSHOTS"), stands),
        published(
            "live row of another tenant",
            "daybook.live.acme.orders",
            arrives("daybook.live.acme.orders"),
            reaches,
        ),
        published("live row of its own", "daybook.live.evil.orders", arrives("daybook.live.evil.orders"), reaches),
        published(
            "heartbeat",
            "daybook.members.aggregator-shard",
            arrives("daybook.members.aggregator-shard"),
            reaches,
        ),
        published("question to a shard", "daybook.shard.0", arrives("daybook.shard.0"), reaches),
        published("answer into another's inbox", "_INBOX.victim.reply", arrives("_INBOX.victim.reply"), reaches),
    ];
    let mut events = vec![
        published(
            "event of another tenant",
            "daybook.in.acme.order",
            arrives("daybook.in.acme.order"),
            "is counted for it",
        ),
        published(
            "event of every tenant",
            "daybook.in.*.order",
            arrives("daybook.in.*.order"),
            "stands in INBOX, for the first partition to judge",
        ),
        published(
            "event of a kind that is not defined",
            "daybook.in.evil.invented",
            arrives("daybook.in.evil.invented"),
            "has a share of INBOX of its own",
        ),
    ];
    for event in &mut events {
        event.steps = vec![to(&subject_of(event)).payload(format!("{} {FORGED}", order("evil-1"))).publish()];
    }
    attacks.append(&mut events);
    attacks
}

fn subject_of(attack: &Attack) -> String {
    match &attack.probe {
        Probe::Arrives(subject, _) => (*subject).to_owned(),
        _ => unreachable!("an event is known by its arrival"),
    }
}
