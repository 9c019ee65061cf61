//! What each service and the operator may do inside the services' account.
//!
//! The lists are short on purpose: a service that is taken over can do what its list says and no more. They are checked by
//! running a whole Daybook and counting the broker's violations, which must be none.

use crate::permissions::{JetStreamApi, Permissions, streams};
use daybook_contracts::subjects::Subjects;

/// A user of the services' account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    DayManager,
    Ingest,
    AggregatorShard,
    Query,
    Connect,
    /// Clients of all tenants, by HTTP.
    Gateway,
    /// Whoever uses the command line for all tenants: `daybook apply`, `status`, `verify`, `replay`.
    Operator,
}

impl Role {
    pub const ALL: [Self; 7] = [
        Self::DayManager,
        Self::Ingest,
        Self::AggregatorShard,
        Self::Query,
        Self::Connect,
        Self::Gateway,
        Self::Operator,
    ];

    /// The name of its binary, and of its credentials.
    pub fn name(self) -> &'static str {
        match self {
            Self::DayManager => "day-manager",
            Self::Ingest => "ingest",
            Self::AggregatorShard => "aggregator-shard",
            Self::Query => "query",
            Self::Connect => "connect",
            Self::Gateway => "gateway",
            Self::Operator => "operator",
        }
    }

    /// What it may do.
    pub fn permissions(self, subjects: &Subjects) -> Permissions {
        match self {
            Self::DayManager => day_manager(subjects),
            Self::Ingest => ingest(subjects),
            Self::AggregatorShard => aggregator_shard(subjects),
            Self::Query => query(subjects),
            Self::Connect => connect(subjects),
            Self::Gateway => gateway(subjects),
            Self::Operator => operator(subjects),
        }
    }
}

/// Publishes definitions, days and clocks; answers `daybook.admin.…`; asks shards about their backfills.
fn day_manager(subjects: &Subjects) -> Permissions {
    let service = service(subjects, Role::DayManager);
    let service = read(service, [subjects.catalog_stream(), subjects.days_stream(), subjects.clocks_stream()]);
    // To see that a definition or a marker has arrived, in INBOX or behind it.
    let service = get(service, [subjects.inbox_stream(), subjects.events_stream()]);
    // To have another server lead INBOX where its sources stand still.
    let service = service.publish(JetStreamApi { stream: &subjects.inbox_stream() }.elect());
    // Revoked tokens, where day-manager makes the tenants' accounts.
    let access = subjects.access_stream();
    let service = service.publish(JetStreamApi { stream: &access }.make());
    read(service, [access])
        .publish([
            subjects.every_catalog(),
            subjects.every_day(),
            subjects.clock("*"),
            subjects.every_access(),
            subjects.every_shard(),
        ])
        .subscribe([subjects.admin("*"), "$SRV.>".to_owned()])
        .respond()
}

/// Reads INBOX, appends to the log, trims INBOX.
fn ingest(subjects: &Subjects) -> Permissions {
    let service = service(subjects, Role::Ingest);
    let inbox = subjects.inbox_stream();
    let service = read(service, [inbox.clone(), subjects.events_stream(), subjects.catalog_stream()]);
    service
        // It keeps the bounds of all streams.
        .publish(streams(subjects).into_iter().flat_map(|stream| JetStreamApi { stream: &stream }.change()))
        // What the streams take, for its metrics.
        .publish(JetStreamApi { stream: &subjects.checkpoints_stream() }.look())
        .publish(JetStreamApi { stream: &inbox }.purge())
        .publish([subjects.every_events()])
}

/// Reads the log, writes reports, figures, rejects, alerts and live rows, keeps snapshots, trims the log.
fn aggregator_shard(subjects: &Subjects) -> Permissions {
    let service = service(subjects, Role::AggregatorShard);
    let (events, snapshots) = (subjects.events_stream(), subjects.checkpoints_stream());
    let outputs =
        [subjects.reports_stream(), subjects.figures_stream(), subjects.rejects_stream(), subjects.alerts_stream()];
    let service = get(read(service, [events.clone(), snapshots.clone()]), outputs.clone());
    let bucket = JetStreamApi { stream: &snapshots };
    let [reports, figures, ..] = &outputs;
    // How long they are kept.
    let kept = [reports, figures].into_iter().flat_map(|stream| JetStreamApi { stream }.change());
    service
        .publish(kept)
        .publish(bucket.make())
        .publish(bucket.purge())
        .publish(JetStreamApi { stream: &events }.purge())
        // What is left of removed tenants.
        .publish(outputs.iter().flat_map(|stream| JetStreamApi { stream }.purge()))
        .publish([
            format!("$O.{}.>", subjects.checkpoints_bucket()),
            // An object is read by a consumer with flow control.
            format!("$JS.FC.{snapshots}.>"),
            subjects.reports_of("*"),
            subjects.every_figures(),
            subjects.rejects("*"),
            subjects.alerts("*"),
            subjects.live("*", "*"),
        ])
        .subscribe([subjects.every_shard()])
        .respond()
}

/// Answers questions out of the shards, reports and figures.
fn query(subjects: &Subjects) -> Permissions {
    let service = service(subjects, Role::Query);
    let written = [subjects.rejects_stream(), subjects.alerts_stream()];
    let sealed = [subjects.days_stream(), subjects.reports_stream(), subjects.figures_stream()];
    // To see whose message a sequence of INBOX is that an asker waits for.
    let service = get(service, [subjects.inbox_stream(), subjects.events_stream()]);
    // To tell a tenant's reports from those of a removed one.
    let service = get(service, [subjects.catalog_stream()]);
    read(service, sealed.into_iter().chain(written))
        .publish([subjects.every_shard()])
        .subscribe([subjects.query("*", "*"), "$SRV.>".to_owned()])
        .respond()
}

/// Reads definitions and publishes events. Foreign streams are none of these permissions: a source that reads one in a secured
/// account connects there as a user of its own.
fn connect(subjects: &Subjects) -> Permissions {
    read(service(subjects, Role::Connect), [subjects.catalog_stream()]).publish([subjects.every_input()])
}

/// Publishes events, asks and follows live views for clients of every tenant, and sends alerts on. It reads definitions, and
/// answers no request.
fn gateway(subjects: &Subjects) -> Permissions {
    read(service(subjects, Role::Gateway), [subjects.catalog_stream()])
        // Alerts are sent on, each until its receiver has it.
        .publish(JetStreamApi { stream: &subjects.alerts_stream() }.consume())
        // What the streams take and what waits for webhooks, for the console.
        .publish(JetStreamApi { stream: &subjects.checkpoints_stream() }.look())
        .publish(JetStreamApi { stream: &subjects.alerts_stream() }.list())
        .publish([subjects.every_input(), subjects.query("*", "*")])
        .subscribe([subjects.live("*", "*")])
}

/// Asks for everything and reads every stream; publishes events, and changes definitions and days through day-manager. It
/// writes no stream but INBOX, and removes nothing.
fn operator(subjects: &Subjects) -> Permissions {
    let snapshots = subjects.checkpoints_stream();
    let everything = streams(subjects).into_iter().chain([snapshots.clone(), subjects.access_stream()]);
    let look = |stream: &str| JetStreamApi { stream }.look();
    // Over a trimmed log, `verify` begins with a snapshot.
    let operator = read(Permissions::with_inbox(), streams(subjects).into_iter().chain([snapshots.clone()]));
    operator
        .publish(everything.flat_map(|stream| look(&stream)))
        // What waits for webhooks.
        .publish(JetStreamApi { stream: &subjects.alerts_stream() }.list())
        .publish(["$JS.API.INFO", "$JS.API.STREAM.NAMES", "$JS.API.STREAM.LIST", "$SRV.>"].map(str::to_owned))
        .publish([
            subjects.every_input(),
            subjects.admin("*"),
            subjects.query("*", "*"),
            subjects.every_shard(),
            format!("$JS.FC.{snapshots}.>"),
        ])
        .subscribe([
            subjects.members("*"),
            subjects.live("*", "*"),
            subjects.every_day(),
            subjects.reports_of("*"),
            subjects.rejects("*"),
            subjects.alerts("*"),
        ])
}

/// What every service does: make the streams, tell the others of its kind that it lives, hear that of the shards.
fn service(subjects: &Subjects, role: Role) -> Permissions {
    let make = streams(subjects).into_iter().flat_map(|stream| JetStreamApi { stream: &stream }.make());
    Permissions::with_inbox()
        .publish(make)
        // A service sends itself a message to see that the broker has done what it was told before.
        .publish([crate::permissions::INBOXES.to_owned(), subjects.members(role.name())])
        .subscribe([subjects.members("*")])
}

fn read(permissions: Permissions, streams: impl IntoIterator<Item = String>) -> Permissions {
    permissions.publish(streams.into_iter().flat_map(|stream| JetStreamApi { stream: &stream }.read()))
}

fn get(permissions: Permissions, streams: impl IntoIterator<Item = String>) -> Permissions {
    permissions.publish(streams.into_iter().flat_map(|stream| JetStreamApi { stream: &stream }.get()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(role: Role) -> Permissions {
        role.permissions(&Subjects::new("shop").unwrap())
    }

    #[test]
    fn one_service_writes_each_stream() {
        let writers = |subject: &str| -> Vec<&str> {
            let may = Role::ALL.into_iter().filter(|role| of(*role).may_publish(subject));
            may.map(Role::name).collect()
        };
        assert_eq!(writers("shop.events.3"), ["ingest"]);
        assert_eq!(writers("shop.reports.acme.2024-03-01"), ["aggregator-shard"]);
        assert_eq!(writers("shop.figures.acme.2024-03-01.orders"), ["aggregator-shard"]);
        assert_eq!(writers("shop.rejects.acme"), ["aggregator-shard"]);
        assert_eq!(writers("shop.alerts.acme"), ["aggregator-shard"]);
        assert_eq!(writers("shop.live.acme.orders"), ["aggregator-shard"]);
        assert_eq!(writers("shop.days.acme.closed"), ["day-manager"]);
        assert_eq!(writers("shop.catalog.0.tenant.acme"), ["day-manager"]);
        assert_eq!(writers("shop.clocks.shop"), ["day-manager"]);
        assert_eq!(writers("shop.access.revoked.acme"), ["day-manager"]);
        assert_eq!(writers("shop.in.acme.order"), ["connect", "gateway", "operator"]);
        assert_eq!(writers("shop.inbox.3.acme.event.order"), [""; 0]);
    }

    #[test]
    fn nobody_deletes_a_stream_and_two_purge() {
        for role in Role::ALL {
            for verb in ["STREAM.DELETE", "STREAM.MSG.DELETE", "STREAM.SNAPSHOT", "STREAM.RESTORE"] {
                assert!(!of(role).may_publish(&format!("$JS.API.{verb}.SHOP_EVENTS")), "{role:?} {verb}");
            }
            let purges = ["INBOX", "EVENTS", "REPORTS", "ALERTS", "DAYS", "CATALOG"];
            let purges = purges.map(|stream| of(role).may_publish(&format!("$JS.API.STREAM.PURGE.SHOP_{stream}")));
            let expected = match role {
                Role::Ingest => [true, false, false, false, false, false],
                Role::AggregatorShard => [false, true, true, true, false, false],
                _ => [false; 6],
            };
            assert_eq!(purges, expected, "{role:?}");
            let changes = of(role).may_publish("$JS.API.STREAM.UPDATE.SHOP_EVENTS");
            assert_eq!(changes, role == Role::Ingest, "{role:?}");
        }
    }

    #[test]
    fn one_service_asks_for_elections_of_one_stream() {
        for role in Role::ALL {
            let may = |stream: &str| of(role).may_publish(&format!("$JS.API.STREAM.LEADER.STEPDOWN.SHOP_{stream}"));
            let elected: Vec<_> =
                ["INBOX", "EVENTS", "DAYS", "CATALOG"].into_iter().filter(|stream| may(stream)).collect();
            let expected: &[&str] = if role == Role::DayManager { &["INBOX"] } else { &[] };
            assert_eq!(elected, expected, "{role:?}");
        }
    }

    #[test]
    fn another_prefix_is_another_daybook() {
        for role in Role::ALL {
            let foreign = |subject: &String| subject.contains("daybook") || subject.contains("DAYBOOK");
            assert!(!of(role).publish.iter().chain(&of(role).subscribe).any(foreign), "{role:?}");
        }
    }
}
