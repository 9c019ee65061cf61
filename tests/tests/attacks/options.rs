//! Options of streams by which a message deletes, delays, replaces or copies others: off, whatever the broker has by default.

use crate::documented::Documented;
use daybook_tests::eventually;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Settings that a stream of these services may have. One that is not here is an option of a newer broker: look at what it lets
/// a publisher do, before it comes here.
const KNOWN: [&str; 31] = [
    "allow_atomic",
    "allow_batched",
    "allow_direct",
    "allow_msg_counter",
    "allow_msg_schedules",
    "allow_msg_ttl",
    "allow_rollup_hdrs",
    "compression",
    "consumer_limits",
    "deny_delete",
    "deny_purge",
    "discard",
    "discard_new_per_subject",
    "duplicate_window",
    "first_seq",
    "max_age",
    "max_bytes",
    "max_consumers",
    "max_msg_size",
    "max_msgs",
    "max_msgs_per_subject",
    "metadata",
    "mirror_direct",
    "name",
    "num_replicas",
    "retention",
    "sealed",
    "sources",
    "storage",
    "subject_transform",
    "subjects",
];

/// Settings that are on.
fn on<'a>(config: &'a Value, prefix: &str) -> BTreeSet<&'a str> {
    let settings = config.as_object().unwrap().iter();
    settings
        .filter(|(name, value)| name.starts_with(prefix) && **value == true)
        .map(|(name, _)| name.as_str())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn options_that_let_a_publisher_change_other_messages_are_off() {
    let daybook = Documented::start().await;
    let sight = &daybook.sight;
    // Shards make their bucket with the first snapshot, day-manager ACCESS before the first tenant.
    eventually("snapshots", || async { sight.stream("SNAPSHOTS").await }).await;
    let names = sight.names().await;
    let mut configs = BTreeMap::new();
    for stream in crate::sight::STREAMS {
        let config = sight.stream(stream).await.unwrap_or_else(|| panic!("there is no {stream}")).config;
        configs.insert(stream, config);
    }
    assert_eq!(names.len(), configs.len(), "a stream that nobody has looked at: {names:?}");
    for (stream, config) in &configs {
        let unknown: Vec<&String> =
            config.as_object().unwrap().keys().filter(|name| !KNOWN.contains(&name.as_str())).collect();
        assert_eq!(unknown, [""; 0], "{stream}: {config}");
        // Services say which message they wrote before by a condition, never by a header that rolls up. Only the broker's
        // clients do, where an object takes another's place: that is how an object store works.
        let expected = match *stream {
            "SNAPSHOTS" => BTreeSet::from(["allow_direct", "allow_rollup_hdrs"]),
            _ => BTreeSet::from(["allow_direct"]),
        };
        assert_eq!(on(config, "allow_"), expected, "{stream}: {config}");
        assert_eq!((config["sealed"] == true, config["mirror_direct"] == true), (false, false), "{stream}: {config}");
        let denied = on(config, "deny_");
        let record = BTreeSet::from(["deny_delete", "deny_purge"]);
        match *stream {
            "CATALOG" | "DAYS" => assert_eq!(denied, record, "{stream}"),
            // Shards trim the log, and carry out the removal of a tenant.
            "EVENTS" | "REPORTS" => assert_eq!(denied, BTreeSet::from(["deny_delete"]), "{stream}"),
            _ => assert_eq!(denied, BTreeSet::new(), "{stream}"),
        }
        assert_eq!(config.get("sources").is_some(), *stream == "INBOX", "{stream}: {config}");
    }
    let inbox = &configs["INBOX"];
    let absent = |name: &str| inbox.get(name).is_none_or(|value| *value == 0);
    assert!(absent("duplicate_window"), "INBOX remembers no message ids: {inbox}");
    assert_eq!((&inbox["discard"], &inbox["discard_new_per_subject"]), (&"new".into(), &true.into()));
    assert_eq!(inbox["max_msgs_per_subject"], 16_384);
    // A tenant that has many rejects loses its oldest, and nobody else loses any.
    let rejects = &configs["REJECTS"];
    let bound = rejects["max_msgs_per_subject"].as_i64().unwrap();
    assert!(rejects["discard"] == "old" && (64..=4_096).contains(&bound), "{rejects}");
    let alerts = &configs["ALERTS"];
    let bound = alerts["max_msgs_per_subject"].as_i64().unwrap();
    assert!(alerts["discard"] == "old" && (1_024..=65_536).contains(&bound), "{alerts}");
}

/// Nobody but a shard writes to the bucket, which needs roll-ups.
#[test]
fn only_shards_write_snapshots() {
    use daybook_access::services::Role;
    let subjects = daybook_contracts::subjects::Subjects::new("daybook").unwrap();
    for object in ["$O.DAYBOOK_CHECKPOINTS.C.piece", "$O.DAYBOOK_CHECKPOINTS.M.bmFtZQ"] {
        let writers = Role::ALL.into_iter().filter(|role| role.permissions(&subjects).may_publish(object));
        assert_eq!(writers.collect::<Vec<_>>(), [Role::AggregatorShard]);
    }
}
