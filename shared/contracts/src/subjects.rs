//! Every subject and stream by name. The prefix is configurable, so that several Daybooks share a broker.

use daybook_domain::ids::{Partition, TenantId};
use daybook_domain::time::Date;

/// Names of subjects and streams under one prefix.
///
/// ```
/// use daybook_contracts::subjects::Subjects;
/// let subjects = Subjects::new("daybook").unwrap();
/// assert_eq!(subjects.input("ABQ", "flight"), "daybook.in.ABQ.flight");
/// assert_eq!(subjects.inbox_stream(), "DAYBOOK_INBOX");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subjects {
    prefix: String,
}

/// The prefix unless another is configured.
pub const DEFAULT_PREFIX: &str = "daybook";

/// Takes the place of the tenant in `daybook.rejects.<tenant>` when the tenant token is not a valid id: this and the
/// partition, as in `~invalid-3`, so that each subject has one writer.
pub const INVALID_TENANT: &str = "~invalid";

/// Takes the place of the tenant in `daybook.in.<tenant>.<kind>` and `daybook.rejects.<tenant>` for foreign records that a
/// mapping could not find a tenant for. All of them are in one partition, so that the subject has one writer.
pub const UNMAPPED_TENANT: &str = "~unmapped";

/// A prefix that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("prefix {0:?} must be 1 to 32 characters out of a-z 0-9 _ and start with a letter")]
pub struct PrefixError(String);

impl Subjects {
    /// # Errors
    /// When the prefix is not 1 to 32 characters out of `a-z 0-9 _`, starting with a letter.
    pub fn new(prefix: &str) -> Result<Self, PrefixError> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let starts = prefix.starts_with(|c: char| c.is_ascii_lowercase());
        if !starts || prefix.len() > 32 || !prefix.chars().all(plain) {
            return Err(PrefixError(prefix.chars().take(64).collect()));
        }
        Ok(Self { prefix: prefix.to_owned() })
    }

    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    fn stream(&self, name: &str) -> String {
        format!("{}_{name}", self.prefix.to_ascii_uppercase())
    }

    // --- streams ---

    /// Whether a stream is one of this Daybook's, whichever version made it.
    pub fn has_stream(&self, name: &str) -> bool {
        name.starts_with(&self.stream("")) || name == self.checkpoints_stream()
    }
    pub fn inbox_stream(&self) -> String {
        self.stream("INBOX")
    }
    pub fn events_stream(&self) -> String {
        self.stream("EVENTS")
    }
    pub fn days_stream(&self) -> String {
        self.stream("DAYS")
    }
    pub fn catalog_stream(&self) -> String {
        self.stream("CATALOG")
    }
    pub fn clocks_stream(&self) -> String {
        self.stream("CLOCKS")
    }
    pub fn reports_stream(&self) -> String {
        self.stream("REPORTS")
    }
    pub fn figures_stream(&self) -> String {
        self.stream("FIGURES")
    }
    /// Which tokens of tenants are revoked, where day-manager makes the tenants' accounts.
    pub fn access_stream(&self) -> String {
        self.stream("ACCESS")
    }
    /// The bucket of the broker's object store for the shards' checkpoints.
    pub fn checkpoints_bucket(&self) -> String {
        self.stream("CHECKPOINTS")
    }
    /// The stream behind that bucket: the broker's clients prefix a bucket's name so.
    pub fn checkpoints_stream(&self) -> String {
        format!("OBJ_{}", self.checkpoints_bucket())
    }
    /// The subject of that stream on which an object is told of.
    pub fn checkpoint_object(&self, encoded_name: &str) -> String {
        format!("$O.{}.M.{encoded_name}", self.checkpoints_bucket())
    }
    /// The subjects of that stream on which everything is stored that objects are made of; the pieces of snapshots are there too.
    pub fn checkpoint_contents(&self) -> String {
        format!("$O.{}.C.", self.checkpoints_bucket())
    }
    /// The subject of that stream on which a piece of a partition's snapshots is stored; with `*` for its id, those of all pieces.
    pub fn checkpoint_piece(&self, partition: Partition, piece: impl std::fmt::Display) -> String {
        format!("{}pieces.{partition}.{piece}", self.checkpoint_contents())
    }
    /// The partition and the id of a piece.
    pub fn parse_checkpoint_piece<'s>(&self, subject: &'s str) -> Option<(Partition, &'s str)> {
        let (partition, piece) =
            subject.strip_prefix(&self.checkpoint_contents())?.strip_prefix("pieces.")?.split_once('.')?;
        Some((Partition(partition.parse().ok()?), piece))
    }
    pub fn rejects_stream(&self) -> String {
        self.stream("REJECTS")
    }
    pub fn alerts_stream(&self) -> String {
        self.stream("ALERTS")
    }

    // --- public subjects ---

    /// Where applications publish events.
    pub fn input(&self, tenant: &str, kind: &str) -> String {
        format!("{}.in.{tenant}.{kind}", self.prefix)
    }
    /// What the broker could not put into a partition: subjects with wildcards in them. The first partition takes it.
    pub fn untransformed(&self) -> String {
        format!("{}.in.>", self.prefix)
    }
    pub fn every_input(&self) -> String {
        self.input("*", "*")
    }
    /// Where rejected events of a tenant appear; `tenant` may be [`INVALID_TENANT`] or `*`.
    pub fn rejects(&self, tenant: &str) -> String {
        format!("{}.rejects.{tenant}", self.prefix)
    }
    /// The durable consumer of ALERTS for a webhook; `name` is that of the webhook.
    pub fn webhook_consumer(&self, name: &str) -> String {
        format!("{}-webhook-{name}", self.prefix)
    }

    /// The name of the webhook of such a consumer.
    pub fn parse_webhook_consumer<'c>(&self, consumer: &'c str) -> Option<&'c str> {
        consumer.strip_prefix(&self.prefix)?.strip_prefix("-webhook-")
    }

    /// Where alerts of a tenant appear; `tenant` may be `*`.
    pub fn alerts(&self, tenant: &str) -> String {
        format!("{}.alerts.{tenant}", self.prefix)
    }
    /// Where rejected events of `partition` appear whose tenant is not a valid id.
    pub fn invalid_tenant(partition: Partition) -> String {
        format!("{INVALID_TENANT}-{partition}")
    }
    pub fn day_opened(&self, tenant: &str) -> String {
        format!("{}.days.{tenant}.opened", self.prefix)
    }
    pub fn day_closed(&self, tenant: &str) -> String {
        format!("{}.days.{tenant}.closed", self.prefix)
    }
    /// Both edges of a tenant's days.
    pub fn days_of(&self, tenant: &str) -> String {
        format!("{}.days.{tenant}.*", self.prefix)
    }
    pub fn every_day(&self) -> String {
        self.days_of("*")
    }
    pub fn report(&self, tenant: &TenantId, date: Date) -> String {
        format!("{}.reports.{tenant}.{date}", self.prefix)
    }
    pub fn reports_of(&self, tenant: &str) -> String {
        format!("{}.reports.{tenant}.*", self.prefix)
    }
    /// The groups behind a sealed day's figures; `view` may be `*`.
    pub fn figures(&self, tenant: &TenantId, date: Date, view: &str) -> String {
        format!("{}.figures.{tenant}.{date}.{view}", self.prefix)
    }
    /// All figures of a tenant.
    pub fn figures_of(&self, tenant: &str) -> String {
        format!("{}.figures.{tenant}.*.*", self.prefix)
    }
    pub fn every_figures(&self) -> String {
        self.figures_of("*")
    }
    /// Changed rows, while someone listens.
    pub fn live(&self, tenant: &str, view: &str) -> String {
        format!("{}.live.{tenant}.{view}", self.prefix)
    }
    /// Request–reply; `tenant` and `view` may be `*`.
    pub fn query(&self, tenant: &str, view: &str) -> String {
        format!("{}.query.{tenant}.{view}", self.prefix)
    }
    pub fn admin(&self, command: &str) -> String {
        format!("{}.admin.{command}", self.prefix)
    }

    // --- between services ---

    /// Everything of one partition, in its one order.
    pub fn inbox_of(&self, partition: Partition) -> Vec<String> {
        let own = format!("{}.inbox.{partition}.>", self.prefix);
        if partition.0 == 0 { vec![own, self.untransformed()] } else { vec![own] }
    }
    /// The partition that reads a stored subject of INBOX; what is in no partition is read by the first one.
    pub fn inbox_partition(&self, subject: &str) -> Partition {
        let rest = subject.strip_prefix(self.prefix.as_str()).and_then(|rest| rest.strip_prefix(".inbox."));
        let partition = rest.and_then(|rest| rest.split('.').next()?.parse().ok());
        Partition(partition.unwrap_or(0))
    }
    /// The stored subjects of a tenant's events.
    pub fn inbox_events(&self, partition: Partition, tenant: &str) -> String {
        format!("{}.inbox.{partition}.{tenant}.event.>", self.prefix)
    }
    /// The stored subject of a day marker, for seeing that it has arrived.
    pub fn inbox_day(&self, partition: Partition, tenant: &str, what: &str) -> String {
        format!("{}.inbox.{partition}.{tenant}.day.{what}", self.prefix)
    }
    /// The stored subject of a definition, for seeing that it has arrived.
    pub fn inbox_catalog(&self, partition: Partition, what: &str, name: &str) -> String {
        format!("{}.inbox.{partition}.{name}.catalog.{what}", self.prefix)
    }
    pub fn events(&self, partition: Partition) -> String {
        format!("{}.events.{partition}", self.prefix)
    }
    pub fn every_events(&self) -> String {
        format!("{}.events.*", self.prefix)
    }
    /// A definition as one partition sees it; `what` is `kind`, `view`, `calendar`, `tenant` or `activation`.
    pub fn catalog(&self, partition: Partition, what: &str, name: &str) -> String {
        format!("{}.catalog.{partition}.{what}.{name}", self.prefix)
    }
    /// One copy of a definition that every one of so many partitions gets; `name` may be `*`. It is that of the last partition, which
    /// is written last: whoever reads it knows that every partition has the definition.
    pub fn catalog_of_all(&self, partitions: u16, what: &str, name: &str) -> String {
        self.catalog(Partition(partitions.saturating_sub(1)), what, name)
    }
    pub fn catalog_of(&self, partition: Partition) -> String {
        format!("{}.catalog.{partition}.>", self.prefix)
    }
    pub fn every_catalog(&self) -> String {
        format!("{}.catalog.*.*.*", self.prefix)
    }
    pub fn every_tenant(&self) -> String {
        format!("{}.catalog.*.tenant.*", self.prefix)
    }
    pub fn clock(&self, name: &str) -> String {
        format!("{}.clocks.{name}", self.prefix)
    }
    /// The newest list of a tenant's revoked tokens.
    pub fn revoked(&self, tenant: &str) -> String {
        format!("{}.access.revoked.{tenant}", self.prefix)
    }
    /// The settings that the tenants' accounts are made with.
    pub fn access_settings(&self) -> String {
        format!("{}.access.settings", self.prefix)
    }
    pub fn every_access(&self) -> String {
        format!("{}.access.>", self.prefix)
    }
    /// Where the processes of a service tell that they live; `service` may be `*`.
    pub fn members(&self, service: &str) -> String {
        format!("{}.members.{service}", self.prefix)
    }
    /// Where one process of aggregator-shard answers for a partition.
    pub fn shard_at(&self, partition: Partition, instance: &str) -> String {
        format!("{}.shard.{partition}.{instance}", self.prefix)
    }
    /// Where every shard answers for any partition.
    pub fn every_shard(&self) -> String {
        format!("{}.shard.>", self.prefix)
    }
    /// Where the shard that runs a partition answers.
    pub fn shard(&self, partition: Partition) -> String {
        format!("{}.shard.{partition}", self.prefix)
    }

    /// How the broker turns the subjects of INBOX and its sources into `…inbox.<partition>.<tenant>.<what>.<detail>`:
    /// pairs of source and destination for events, days and catalogue.
    pub fn inbox_transforms(&self, partitions: u16) -> [(String, String); 3] {
        let p = &self.prefix;
        [
            (
                self.every_input(),
                format!("{p}.inbox.{{{{partition({partitions},1)}}}}.{{{{wildcard(1)}}}}.event.{{{{wildcard(2)}}}}"),
            ),
            (
                self.every_day(),
                format!("{p}.inbox.{{{{partition({partitions},1)}}}}.{{{{wildcard(1)}}}}.day.{{{{wildcard(2)}}}}"),
            ),
            (
                self.every_catalog(),
                format!("{p}.inbox.{{{{wildcard(1)}}}}.{{{{wildcard(3)}}}}.catalog.{{{{wildcard(2)}}}}"),
            ),
        ]
    }

    /// The tokens behind `<prefix>.<first>.`.
    fn tokens<'a, const N: usize>(&self, subject: &'a str, first: &str) -> Option<[&'a str; N]> {
        let rest = subject.strip_prefix(self.prefix.as_str())?.strip_prefix('.')?;
        let rest = rest.strip_prefix(first)?.strip_prefix('.')?;
        let mut tokens = rest.split('.');
        let mut found = [""; N];
        for token in &mut found {
            *token = tokens.next()?;
        }
        tokens.next().is_none().then_some(found)
    }

    /// Tenant and edge of a subject of DAYS.
    pub fn parse_day<'a>(&self, subject: &'a str) -> Option<[&'a str; 2]> {
        self.tokens(subject, "days")
    }

    /// Partition, what is defined, and its name, of a subject of CATALOG.
    pub fn parse_catalog<'a>(&self, subject: &'a str) -> Option<(Partition, [&'a str; 2])> {
        let [partition, what, name] = self.tokens(subject, "catalog")?;
        Some((Partition(partition.parse().ok()?), [what, name]))
    }

    /// Tenant and date of a subject of REPORTS.
    pub fn parse_report(&self, subject: &str) -> Option<(TenantId, Date)> {
        let [tenant, date] = self.tokens(subject, "reports")?;
        Some((TenantId::new(tenant).ok()?, date.parse().ok()?))
    }

    /// Tenant, date and view of a subject of FIGURES.
    pub fn parse_figures<'a>(&self, subject: &'a str) -> Option<(TenantId, Date, &'a str)> {
        let [tenant, date, view] = self.tokens(subject, "figures")?;
        Some((TenantId::new(tenant).ok()?, date.parse().ok()?, view))
    }

    /// The tenant's token of a subject of REJECTS.
    pub fn parse_rejects<'a>(&self, subject: &'a str) -> Option<&'a str> {
        self.tokens(subject, "rejects").map(|[tenant]: [_; 1]| tenant)
    }

    /// The tenant of a subject of ALERTS.
    pub fn parse_alerts(&self, subject: &str) -> Option<TenantId> {
        let [tenant] = self.tokens(subject, "alerts")?;
        TenantId::new(tenant).ok()
    }

    /// The name of a clock.
    pub fn parse_clock<'a>(&self, subject: &'a str) -> Option<&'a str> {
        self.tokens(subject, "clocks").map(|[name]: [_; 1]| name)
    }

    /// Reads a subject of INBOX back.
    pub fn parse_inbox<'a>(&self, subject: &'a str) -> Option<InboxSubject<'a>> {
        let rest = subject.strip_prefix(self.prefix.as_str())?;
        if let Some(tokens) = rest.strip_prefix(".in.") {
            return Some(InboxSubject::Wildcard { tokens });
        }
        let rest = rest.strip_prefix(".inbox.")?;
        let mut tokens = rest.split('.');
        let (_partition, name, what, detail) = (tokens.next()?, tokens.next()?, tokens.next()?, tokens.next()?);
        match (what, tokens.next()) {
            ("event", None) => Some(InboxSubject::Event { tenant: name, kind: detail }),
            ("day", None) => Some(InboxSubject::Day { tenant: name, edge: detail }),
            ("catalog", None) => Some(InboxSubject::Catalog { what: detail, name }),
            _ => None,
        }
    }
}

/// What a message of INBOX is, by its subject. Tokens are as the publisher wrote them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InboxSubject<'a> {
    Event {
        tenant: &'a str,
        kind: &'a str,
    },
    Day {
        tenant: &'a str,
        edge: &'a str,
    },
    Catalog {
        what: &'a str,
        name: &'a str,
    },
    /// An event published to a subject with wildcards, which the broker stores as it is.
    Wildcard {
        tokens: &'a str,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inbox_subjects_read_back() {
        let subjects = Subjects::new("daybook").unwrap();
        assert_eq!(
            subjects.parse_inbox("daybook.inbox.3.ABQ.event.flight"),
            Some(InboxSubject::Event { tenant: "ABQ", kind: "flight" })
        );
        assert_eq!(
            subjects.parse_inbox(&subjects.inbox_day(Partition(1), "ABQ", "closed")),
            Some(InboxSubject::Day { tenant: "ABQ", edge: "closed" })
        );
        assert_eq!(subjects.parse_inbox("daybook.inbox.3.ABQ.event.a.b"), None);
        assert_eq!(subjects.parse_inbox("other.inbox.3.ABQ.event.a"), None);
    }

    #[test]
    fn stored_subjects_read_back() {
        let subjects = Subjects::new("d").unwrap();
        let (tenant, date) = (TenantId::new("ABQ").unwrap(), Date::from_days(15_774));
        assert_eq!(subjects.parse_day(&subjects.day_closed("ABQ")), Some(["ABQ", "closed"]));
        assert_eq!(subjects.parse_report(&subjects.report(&tenant, date)), Some((tenant.clone(), date)));
        assert_eq!(subjects.parse_figures(&subjects.figures(&tenant, date, "v")), Some((tenant, date, "v")));
        let catalog = subjects.catalog(Partition(3), "kind", "order");
        assert_eq!(subjects.parse_catalog(&catalog), Some((Partition(3), ["kind", "order"])));
        assert_eq!(subjects.parse_rejects("d.rejects.~invalid-1"), Some("~invalid-1"));
        assert_eq!(subjects.parse_alerts(&subjects.alerts("ABQ")), TenantId::new("ABQ").ok());
        assert_eq!(subjects.parse_alerts("d.alerts.~invalid"), None);
        assert_eq!(subjects.parse_webhook_consumer(&subjects.webhook_consumer("pager")), Some("pager"));
        assert_eq!(subjects.parse_webhook_consumer("other-webhook-pager"), None);
        assert_eq!(subjects.parse_clock("d.clocks.year"), Some("year"));
        for other in ["days.ABQ.closed", "d.days.ABQ", "d.days.ABQ.closed.x", "dd.days.ABQ.closed", "d.daysABQ.closed"]
        {
            assert_eq!(subjects.parse_day(other), None, "{other}");
        }
        assert_eq!(subjects.parse_report("d.reports.A B.2013-03-10"), None);
    }

    #[test]
    fn pieces_of_snapshots_read_back() {
        let subjects = Subjects::new("d").unwrap();
        let piece = subjects.checkpoint_piece(Partition(3), "abc");
        assert_eq!(piece, "$O.D_CHECKPOINTS.C.pieces.3.abc");
        assert_eq!(subjects.parse_checkpoint_piece(&piece), Some((Partition(3), "abc")));
        for other in ["$O.D_CHECKPOINTS.C.abc", "$O.D_CHECKPOINTS.C.pieces.abc", "$O.DD_CHECKPOINTS.C.pieces.3.abc"] {
            assert_eq!(subjects.parse_checkpoint_piece(other), None, "{other}");
        }
    }

    #[test]
    fn prefixes_are_checked() {
        for bad in ["", "Day", "a.b", "1a", "a*", &"a".repeat(33)] {
            assert!(Subjects::new(bad).is_err(), "{bad}");
        }
    }
}
