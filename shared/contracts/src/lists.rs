//! Lists that a tenant's client asks for: its days, sealed reports, rejects, alerts and views. Each has a reserved view name of
//! `daybook.query.<tenant>.<view>`, so a client needs no JetStream.
//!
//! | view | body | answer |
//! | --- | --- | --- |
//! | [`DAYS_VIEW`](crate::ask::DAYS_VIEW) | [`DatesQuery`] | [`Days`](crate::ask::Days) |
//! | [`REPORTS_VIEW`] | [`DatesQuery`] | [`ReportList`] |
//! | [`REPORT_VIEW`] | [`ReportQuery`] | the bytes of a report, its hash in the header `Daybook-Hash` |
//! | [`REJECTS_VIEW`] | [`RejectsQuery`] | [`RejectList`] |
//! | [`ALERTS_VIEW`] | [`AlertsQuery`] | [`AlertList`] |
//! | [`VIEWS_VIEW`] | none | [`ViewList`] |
//!
//! Lists come in pages. The first page holds the newest rows, and `next` leads to older ones. Within a page the oldest
//! row comes first.

use crate::alert::Alert;
use crate::reject::Reject;
use crate::report::{Account, Coverage, Supersedes};
use daybook_domain::calendar::BusinessDay;
use daybook_domain::catalogue::{Grain, LatePolicy};
use daybook_domain::ids::{Name, TenantId};
use daybook_domain::time::Date;
use serde::{Deserialize, Serialize};

/// The reserved view name for the list of a tenant's sealed reports.
pub const REPORTS_VIEW: &str = "~reports";
/// The reserved view name for one sealed report.
pub const REPORT_VIEW: &str = "~report";
/// The reserved view name for a tenant's rejected events.
pub const REJECTS_VIEW: &str = "~rejects";
/// The reserved view name for a tenant's alerts.
pub const ALERTS_VIEW: &str = "~alerts";
/// The reserved view name for the views that a tenant may ask for.
pub const VIEWS_VIEW: &str = "~views";

/// Most rows on one page of a list.
pub const MAX_LIST_ROWS: u32 = 1_000;
/// Days or reports on a page when the request names no limit: a year and a month.
pub const DEFAULT_DATES: u32 = 400;
/// Rejects on a page when the request names no limit. Each may hold an original of 64 KiB.
pub const DEFAULT_REJECTS: u32 = 100;
/// Alerts on a page when the request names no limit.
pub const DEFAULT_ALERTS: u32 = 100;

/// The body of a request for days or reports. An empty body asks for the newest page of all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DatesQuery {
    /// The first business day; absent for no bound.
    #[serde(skip_serializing_if = "Option::is_none", with = "date_text")]
    pub from: Option<Date>,
    /// The last business day; absent for no bound.
    #[serde(skip_serializing_if = "Option::is_none", with = "date_text")]
    pub to: Option<Date>,
    /// Most rows of this page, 1 to [`MAX_LIST_ROWS`]; [`DEFAULT_DATES`] when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// The `next` of the page before; `from` and `to` must be the same as there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// The body of a request for one sealed report.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReportQuery {
    /// The business day. Required.
    #[serde(skip_serializing_if = "Option::is_none", with = "date_text")]
    pub date: Option<Date>,
    /// The version; the newest when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
}

/// The body of a request for rejects. An empty body asks for the newest page.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RejectsQuery {
    /// Most rejects of this page, 1 to [`MAX_LIST_ROWS`]; [`DEFAULT_REJECTS`] when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// The `next` or the `newer` of another page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// The body of a request for alerts; [`DEFAULT_ALERTS`] when it names no limit.
pub type AlertsQuery = RejectsQuery;

/// One page of a tenant's sealed reports: the newest version of each day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportList {
    pub tenant: TenantId,
    /// Ordered by date.
    pub reports: Vec<ReportEntry>,
    /// The cursor of the page with earlier days, when there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A report without its figures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportEntry {
    pub date: Date,
    pub version: u32,
    pub day: BusinessDay,
    pub dispositions: Account,
    pub coverage: Coverage,
    pub supersedes: Option<Supersedes>,
    /// BLAKE3 of the report's bytes, in hex.
    pub hash: String,
    /// Length of the report, in bytes.
    pub bytes: u64,
    /// That of the tenant. Left out when it is 0.
    #[serde(default, skip_serializing_if = "crate::day::is_first")]
    pub generation: u32,
}

/// One page of a tenant's rejected events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectList {
    pub tenant: TenantId,
    /// Ordered as they were recorded.
    pub rejects: Vec<Reject>,
    /// The cursor of the following page, when there may be one: older rejects after the newest page, newer ones after a page
    /// that was asked for with a `newer` cursor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// The cursor of the rejects that are recorded after the last one of this page, now or later.
    pub newer: String,
    /// The stream, which is bounded, has dropped rejects between the cursor and this page.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub missed: bool,
}

/// One page of a tenant's alerts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertList {
    pub tenant: TenantId,
    /// In the order of the log.
    pub alerts: Vec<Alert>,
    /// As that of a [`RejectList`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// The cursor of the alerts that come after the last one of this page, now or later.
    pub newer: String,
    /// The stream, which is bounded, has dropped alerts between the cursor and this page.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub missed: bool,
}

/// The views that a tenant may ask for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewList {
    pub tenant: TenantId,
    /// Ordered by name.
    pub views: Vec<ViewEntry>,
}

/// One view that a tenant may ask for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewEntry {
    pub name: Name,
    pub kind: Name,
    pub grain: Grain,
    pub late: LatePolicy,
    /// Its rows are ranked: they have the columns `position` and `rank`.
    pub ranked: bool,
    /// The columns to group and filter by.
    pub dimensions: Vec<Name>,
    /// The columns of figures.
    pub metrics: Vec<Name>,
    /// Of each of these, the most digits after the point; `null` where figures have as many as it takes, as variances do.
    /// Empty from shards of earlier builds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub digits: Vec<Option<u8>>,
    /// Revision of the definition in force.
    pub definition: u64,
}

/// Writes a date as text in every encoding, as the days of a [`Query`](crate::ask::Query) are.
mod date_text {
    use daybook_domain::time::Date;
    use serde::{Deserialize, Deserializer, Serializer, de};
    use std::borrow::Cow;

    pub(super) fn serialize<S: Serializer>(date: &Option<Date>, serializer: S) -> Result<S::Ok, S::Error> {
        match date {
            Some(date) => serializer.collect_str(date),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Date>, D::Error> {
        let text = Option::<Cow<'_, str>>::deserialize(deserializer)?;
        text.map(|text| text.parse().map_err(de::Error::custom)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_empty_body_asks_for_the_newest_page() {
        assert_eq!(serde_json::from_str::<DatesQuery>("{}").unwrap(), DatesQuery::default());
        assert_eq!(serde_json::to_string(&RejectsQuery::default()).unwrap(), "{}");
        assert!(serde_json::from_str::<ReportQuery>(r#"{"day":"2013-03-10"}"#).is_err());
    }

    #[test]
    fn dates_of_requests_are_texts_in_every_encoding() {
        let query = DatesQuery { from: Some("2013-03-10".parse().unwrap()), ..DatesQuery::default() };
        assert_eq!(serde_json::to_value(&query).unwrap(), json!({"from": "2013-03-10"}));
        let packed = rmp_serde::to_vec_named(&json!({"from": "2013-03-10"})).unwrap();
        assert_eq!(rmp_serde::to_vec_named(&query).unwrap(), packed);
        assert_eq!(rmp_serde::from_slice::<DatesQuery>(&packed).unwrap(), query);
        assert!(serde_json::from_value::<DatesQuery>(json!({"to": "2013-02-30"})).is_err());
    }

    /// Clients in other languages read these bytes.
    #[test]
    fn lists_have_these_bytes() {
        let date: Date = "2013-03-10".parse().unwrap();
        let entry = ReportEntry {
            generation: 0,
            date,
            version: 2,
            day: BusinessDay {
                date,
                opens_at: "2013-03-10T05:00:00Z".parse().unwrap(),
                closes_at: "2013-03-11T04:00:00Z".parse().unwrap(),
            },
            dispositions: Account { published: 3, counted: 2, rejected: 1, ..Account::default() },
            coverage: Coverage::Complete,
            supersedes: Some(Supersedes { version: 1, hash: "ab".into() }),
            hash: "cd".into(),
            bytes: 900,
        };
        let list = ReportList { tenant: TenantId::new("ATL").unwrap(), reports: vec![entry], next: None };
        let expected = json!({
            "tenant": "ATL",
            "reports": [{
                "date": "2013-03-10",
                "version": 2,
                "day": {"date": "2013-03-10", "opens_at": "2013-03-10T05:00:00Z", "closes_at": "2013-03-11T04:00:00Z"},
                "dispositions": {"published": 3, "counted": 2, "pending": 0, "duplicate": 0, "stale": 0, "carried": 0,
                    "rejected": 1},
                "coverage": "complete",
                "supersedes": {"version": 1, "hash": "ab"},
                "hash": "cd",
                "bytes": 900,
            }],
        });
        assert_eq!(serde_json::to_value(&list).unwrap(), expected);
        assert_eq!(serde_json::from_value::<ReportList>(expected).unwrap(), list);

        let name = |text: &str| Name::new(text).unwrap();
        let view = ViewEntry {
            name: name("carriers"),
            kind: name("flight"),
            grain: Grain::Day,
            late: LatePolicy::Restate,
            ranked: true,
            dimensions: vec![name("carrier")],
            metrics: vec![name("flights")],
            digits: vec![Some(0)],
            definition: 3,
        };
        let views = ViewList { tenant: TenantId::new("ATL").unwrap(), views: vec![view] };
        let expected = json!({"tenant": "ATL", "views": [{"name": "carriers", "kind": "flight", "grain": "day",
            "late": "restate", "ranked": true, "dimensions": ["carrier"], "metrics": ["flights"], "digits": [0], "definition": 3}]});
        assert_eq!(serde_json::to_value(&views).unwrap(), expected);

        let rejects = RejectList {
            tenant: TenantId::new("ATL").unwrap(),
            rejects: Vec::new(),
            next: Some("n".into()),
            newer: "w".into(),
            missed: true,
        };
        let expected = json!({"tenant": "ATL", "rejects": [], "next": "n", "newer": "w", "missed": true});
        assert_eq!(serde_json::to_value(&rejects).unwrap(), expected);
    }
}
