//! Listening to what others say, and answering in their place.

use crate::attack::{Attack, Probe, Step, Without, ask};

const GUARD: &str = "account of its own: nothing of others is heard there; permissions name what may be listened to";

fn heard(name: &'static str, subject: &'static str, queue: Option<&'static str>, effect: &'static str) -> Attack {
    let steps = vec![Step::Listen(subject, queue), Step::Wait];
    Attack { name, steps, probe: Probe::Heard, guard: GUARD, without: Without::OpenDaybook, effect }
}

fn asked(name: &'static str, view: &str, text: &'static str) -> Attack {
    let steps = ask(&format!("daybook.query.acme.{view}"), "{}");
    let guard = "imports: a tenant asks for itself only";
    let effect = "is told another tenant's figures";
    Attack { name, steps, probe: Probe::Told(text), guard, without: Without::OpenDaybook, effect }
}

pub(crate) fn attacks() -> Vec<Attack> {
    let hears = "hears what is another's";
    vec![
        heard("listens to another's events", "daybook.in.acme.*", None, hears),
        heard("listens to another's live rows", "daybook.live.acme.*", None, hears),
        heard("listens to another's days", "daybook.days.acme.*", None, hears),
        heard("listens to another's reports", "daybook.reports.acme.*", None, hears),
        heard("listens to another's rejects", "daybook.rejects.acme", None, hears),
        heard("listens to another's alerts", "daybook.alerts.acme", None, hears),
        heard("listens to another's questions", "daybook.query.acme.*", None, hears),
        heard("listens to the log", "daybook.events.*", None, hears),
        heard("listens to operators' commands", "daybook.admin.*", None, hears),
        heard("listens to what shards are asked", "daybook.shard.>", None, hears),
        heard("listens to heartbeats", "daybook.members.*", None, hears),
        heard("listens to all inboxes", "_INBOX.>", None, "hears answers to others"),
        heard("listens to everything", ">", None, hears),
        heard("listens to everything of Daybook", "daybook.>", None, hears),
        heard("listens to requests to JetStream", "$JS.API.>", None, hears),
        heard(
            "takes questions out of query's group",
            "daybook.query.*.*",
            Some("q"),
            "takes questions that query is to answer",
        ),
        asked("asks for another's figures", "orders", "rows"),
        asked("asks for another's days", "~days", "days"),
        asked("asks for another's reports", "~reports", "reports"),
        asked("asks for another's rejects", "~rejects", "rejects"),
        asked("asks for another's alerts", "~alerts", "alerts"),
        asked("asks for another's views", "~views", "views"),
        Attack {
            name: "answers another's question in query's place",
            steps: vec![Step::Listen("daybook.query.*.*", None)],
            probe: Probe::VictimDeceived,
            guard: GUARD,
            without: Without::Permissions,
            effect: "the other believes forged figures",
        },
    ]
}
