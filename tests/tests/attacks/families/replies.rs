//! Forged replies. A broker never checks where a reply goes, so whoever answers writes there for the attacker.

use crate::attack::{Attack, FORGED, PUBACK, Probe, Without, event, to};

const GUARD: &str = "account of its own: a reply subject is one of that account";

/// The broker's acknowledgement of an event goes to the subject.
fn acknowledged(name: &'static str, reply: &str, probe: Probe, effect: &'static str) -> Attack {
    let steps = vec![event().reply(reply).publish()];
    Attack { name, steps, probe, guard: GUARD, without: Without::Accounts, effect }
}

/// The broker's answer to a direct get of the attacker's own report, or of none, goes to the subject.
fn got(name: &'static str, date: &str, reply: &str, probe: Probe, effect: &'static str) -> Attack {
    let own = format!("$JS.API.DIRECT.GET.DAYBOOK_REPORTS.daybook.reports.evil.{date}");
    let steps = vec![to(&own).reply(reply).publish()];
    Attack { name, steps, probe, guard: "no part of the JetStream API is imported", without: Without::Accounts, effect }
}

// Replies that the query service sends where a question says belong here too: `ask` with another `reply`, tried without
// accounts on `Without::OpenDaybook`.
pub(crate) fn attacks() -> Vec<Attack> {
    let stored = |stream| Probe::Stored(stream, PUBACK);
    let arrives = |subject| Probe::Arrives(subject, PUBACK);
    let in_log = "stands in the log, which denies deletion";
    let stands = "stands in the stream";
    let reaches = "reaches the service";
    vec![
        acknowledged("PubAck into EVENTS, own partition", "daybook.events.0", stored("EVENTS"), in_log),
        acknowledged("PubAck into EVENTS, the last partition", "daybook.events.3", stored("EVENTS"), in_log),
        acknowledged("PubAck as a kind", "daybook.catalog.0.kind.order", stored("CATALOG"), stands),
        acknowledged("PubAck as a tenant", "daybook.catalog.0.tenant.acme", stored("CATALOG"), stands),
        acknowledged("PubAck as an activation", "daybook.catalog.1.activation.orders", stored("CATALOG"), stands),
        acknowledged("PubAck as a day's end", "daybook.days.acme.closed", stored("DAYS"), stands),
        acknowledged("PubAck as a day's beginning", "daybook.days.acme.opened", stored("DAYS"), stands),
        acknowledged("PubAck as a clock", "daybook.clocks.shop", stored("CLOCKS"), stands),
        acknowledged("PubAck as a report", "daybook.reports.acme.2024-03-05", stored("REPORTS"), stands),
        acknowledged("PubAck as figures", "daybook.figures.acme.2024-03-05.orders", stored("FIGURES"), stands),
        acknowledged("PubAck as a reject", "daybook.rejects.acme", stored("REJECTS"), stands),
        acknowledged("PubAck as an alert", "daybook.alerts.acme", stored("ALERTS"), stands),
        acknowledged("PubAck as revoked tokens", "daybook.access.revoked.acme", stored("ACCESS"), stands),
        acknowledged("PubAck as the accounts' settings", "daybook.access.settings", stored("ACCESS"), stands),
        acknowledged("PubAck as a piece of a snapshot", "$O.DAYBOOK_CHECKPOINTS.C.piece", stored("SNAPSHOTS"), stands),
        acknowledged("PubAck as a snapshot's name", "$O.DAYBOOK_CHECKPOINTS.M.bmFtZQ", stored("SNAPSHOTS"), stands),
        acknowledged(
            "PubAck as an event of another tenant",
            "daybook.in.acme.order",
            arrives("daybook.in.acme.order"),
            "is counted among the other's rejects",
        ),
        acknowledged(
            "PubAck into a live feed",
            "daybook.live.acme.orders",
            arrives("daybook.live.acme.orders"),
            "is heard by the other's listeners",
        ),
        acknowledged(
            "PubAck as a question to query",
            "daybook.query.acme.orders",
            arrives("daybook.query.acme.orders"),
            reaches,
        ),
        acknowledged("PubAck as a question to a shard", "daybook.shard.0", arrives("daybook.shard.0"), reaches),
        acknowledged("PubAck as a heartbeat", "daybook.members.ingest", arrives("daybook.members.ingest"), reaches),
        acknowledged("PubAck as an operator's command", "daybook.admin.close", arrives("daybook.admin.close"), reaches),
        acknowledged(
            "PubAck into another's inbox",
            "_INBOX.victim.reply",
            arrives("_INBOX.victim.reply"),
            "is taken for its answer",
        ),
        got(
            "own report copied to another tenant",
            "2024-03-01",
            "daybook.reports.acme.2024-03-05",
            Probe::Stored("REPORTS", FORGED),
            "stands where the other's true report belongs, headers and all",
        ),
        got(
            "own report copied into the log",
            "2024-03-01",
            "daybook.events.2",
            Probe::Stored("EVENTS", FORGED),
            in_log,
        ),
        got(
            "empty answer deletes EVENTS",
            "1999-01-01",
            "$JS.API.STREAM.DELETE.DAYBOOK_EVENTS",
            Probe::Lost("EVENTS"),
            "the log is gone",
        ),
        got(
            "empty answer purges INBOX",
            "1999-01-01",
            "$JS.API.STREAM.PURGE.DAYBOOK_INBOX",
            Probe::Lost("INBOX"),
            "events of all tenants are gone",
        ),
        got(
            "empty answer deletes the accounts' facts",
            "1999-01-01",
            "$JS.API.STREAM.DELETE.DAYBOOK_ACCESS",
            Probe::Lost("ACCESS"),
            "revoked tokens are valid again",
        ),
    ]
}
