//! Requests to JetStream itself.

use crate::attack::{Attack, INBOX, Probe, Step, Without, ask, to};

const GUARD: &str = "no part of the JetStream API is exported, imported or permitted";

fn request(name: &'static str, verb: &str, payload: &str, probe: Probe, effect: &'static str) -> Attack {
    let steps = ask(&format!("$JS.API.{verb}"), payload);
    Attack { name, steps, probe, guard: GUARD, without: Without::Permissions, effect }
}

fn reading() -> Vec<Attack> {
    let told = |text| Probe::Told(text);
    let reads = "reads what others have";
    vec![
        request("reads the account's state", "INFO", "", told("streams"), "learns of all streams"),
        request("reads the names of streams", "STREAM.NAMES", "", told("DAYBOOK_EVENTS"), "learns of all streams"),
        request("reads the list of streams", "STREAM.LIST", "", told("DAYBOOK_EVENTS"), "learns of all streams"),
        request(
            "reads the subjects of a stream",
            "STREAM.INFO.DAYBOOK_REPORTS",
            r#"{"subjects_filter":">"}"#,
            told("daybook.reports.acme"),
            "learns of all tenants",
        ),
        request(
            "reads a report of another tenant",
            "STREAM.MSG.GET.DAYBOOK_REPORTS",
            r#"{"last_by_subj":"daybook.reports.acme.2024-03-01"}"#,
            told("daybook.reports.acme"),
            reads,
        ),
        request(
            "gets a report of another tenant directly",
            "DIRECT.GET.DAYBOOK_REPORTS.daybook.reports.acme.2024-03-01",
            "",
            told("daybook.reports.acme"),
            reads,
        ),
        request(
            "gets the last of every tenant's rejects",
            "DIRECT.GET.DAYBOOK_REJECTS",
            r#"{"multi_last":["daybook.rejects.*"]}"#,
            told("daybook.rejects.acme"),
            reads,
        ),
        request("gets a batch of the log", "DIRECT.GET.DAYBOOK_EVENTS", r#"{"seq":1}"#, told("daybook.events"), reads),
        request(
            "reads the names of consumers",
            "CONSUMER.NAMES.DAYBOOK_REPORTS",
            "",
            told("consumers"),
            "learns who reads",
        ),
        Attack {
            name: "has all reports delivered",
            steps: ask(
                "$JS.API.CONSUMER.CREATE.DAYBOOK_REPORTS.spy.daybook.reports.acme.*",
                &format!(
                    r#"{{"stream_name":"DAYBOOK_REPORTS","config":{{"name":"spy","deliver_subject":"{INBOX}","deliver_policy":"all",
                    "ack_policy":"none","filter_subject":"daybook.reports.acme.*"}}}}"#
                ),
            ),
            probe: told("spy"),
            guard: GUARD,
            without: Without::Permissions,
            effect: reads,
        },
        Attack {
            name: "takes a snapshot of the log",
            steps: ask(
                "$JS.API.STREAM.SNAPSHOT.DAYBOOK_EVENTS",
                &format!(r#"{{"deliver_subject":"{INBOX}","no_consumers":true}}"#),
            ),
            probe: told("\"config\""),
            guard: GUARD,
            without: Without::Permissions,
            effect: "is sent all events of all tenants",
        },
        Attack {
            name: "mirrors the reports",
            steps: ask(
                "$JS.API.STREAM.CREATE.SPY",
                r#"{"name":"SPY","storage":"memory","num_replicas":1,"retention":"limits","mirror":{"name":"DAYBOOK_REPORTS"}}"#,
            ),
            probe: Probe::NewStream("SPY"),
            guard: GUARD,
            without: Without::Permissions,
            effect: "has a copy of all reports",
        },
    ]
}

fn writing() -> Vec<Attack> {
    let gone = "messages of all tenants are gone";
    vec![
        request("deletes the log", "STREAM.DELETE.DAYBOOK_EVENTS", "", Probe::Lost("EVENTS"), gone),
        request("deletes the reports", "STREAM.DELETE.DAYBOOK_REPORTS", "", Probe::Lost("REPORTS"), gone),
        request("purges INBOX", "STREAM.PURGE.DAYBOOK_INBOX", "", Probe::Lost("INBOX"), gone),
        request(
            "purges another's rejects",
            "STREAM.PURGE.DAYBOOK_REJECTS",
            r#"{"filter":"daybook.rejects.acme"}"#,
            Probe::Lost("REJECTS"),
            "the other's rejects are gone",
        ),
        request("deletes a clock's position", "STREAM.MSG.DELETE.DAYBOOK_CLOCKS", r#"{"seq":1}"#, Probe::Lost("CLOCKS"), "a clock is lost"),
        request("deletes figures", "STREAM.MSG.DELETE.DAYBOOK_FIGURES", r#"{"seq":1}"#, Probe::Lost("FIGURES"), "a day's groups are lost"),
        request(
            "gives INBOX other options",
            "STREAM.UPDATE.DAYBOOK_REJECTS",
            r#"{"name":"DAYBOOK_REJECTS","subjects":["daybook.rejects.*"],"retention":"limits","storage":"file","num_replicas":1,
            "max_msgs":1,"allow_direct":true}"#,
            Probe::Changed("REJECTS"),
            "rejects are dropped at once",
        ),
        request(
            "makes a stream of its own",
            "STREAM.CREATE.EVIL",
            r#"{"name":"EVIL","subjects":["daybook.query.>"],"storage":"memory","num_replicas":1,"retention":"limits"}"#,
            Probe::NewStream("EVIL"),
            "acknowledges and keeps all tenants' questions",
        ),
        request("deletes a reader", "CONSUMER.DELETE.DAYBOOK_REPORTS.reader", "", Probe::ConsumerGone("REPORTS"), "a service loses its place"),
        Attack {
            name: "has its events delivered into the log",
            steps: vec![
                // The broker delivers where somebody listens.
                Step::Listen("daybook.events.3", None),
                to("$JS.API.CONSUMER.CREATE.DAYBOOK_REPORTS.writer.daybook.reports.evil.*")
                    .payload(
                        r#"{"stream_name":"DAYBOOK_REPORTS","config":{"name":"writer","deliver_subject":"daybook.events.3",
                        "deliver_policy":"all","ack_policy":"none","filter_subject":"daybook.reports.evil.*"}}"#,
                    )
                    .reply(INBOX)
                    .publish(),
            ],
            probe: Probe::Stored("EVENTS", crate::attack::FORGED),
            guard: GUARD,
            without: Without::Permissions,
            effect: "the log has what no service wrote",
        },
        request(
            "takes the place of a stream that is not there yet",
            "STREAM.CREATE.DAYBOOK_OTHER",
            r#"{"name":"DAYBOOK_OTHER","subjects":["daybook.other.>"],"storage":"memory","num_replicas":1,"retention":"limits"}"#,
            Probe::NewStream("DAYBOOK_OTHER"),
            "a stream's name is taken",
        ),
    ]
}

pub(crate) fn attacks() -> Vec<Attack> {
    reading().into_iter().chain(writing()).collect()
}
