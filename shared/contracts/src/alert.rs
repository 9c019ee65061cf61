//! An alert: something in a tenant's figures or reports that somebody wants to be told of. Published as JSON on
//! `daybook.alerts.<tenant>`, one message an alert.
//!
//! An alert of a view has `view`, `group` and `figures`; one of a report has `report`. The shard that reads the batch at `log`
//! writes it, in that batch's place in the order of the tenant's alerts.

use crate::report::Row;
pub use daybook_domain::alerts::ReportAlert;
use daybook_domain::ids::{LogSeq, Name, TenantId};
use daybook_domain::time::{Date, Instant};
use serde::{Deserialize, Serialize};

/// Places for the alerts that one batch of the log makes for a tenant, in the order of the tenant's alerts.
pub const MAX_ALERTS_OF_BATCH: u64 = 1 << 16;
/// Most alerts of groups that one batch of the log makes for a tenant. Each is a message, and they are written one after another.
pub const MAX_GROUP_ALERTS_OF_BATCH: usize = 4_096;
/// Most groups that fire for one alert of a view on one business day.
pub const MAX_FIRED_GROUPS: usize = 1_000;
/// Most bytes of the keys of those groups: what has fired is hashed and stored as a whole with each change.
pub const MAX_FIRED_BYTES: usize = 256 << 10;

/// One alert.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// No other alert of this Daybook has it, and a repetition of this one has: see [`alert_id`].
    pub id: String,
    /// The name that the view gives it, or the text of a [`ReportAlert`].
    pub alert: Name,
    pub tenant: TenantId,
    /// That of the tenant.
    pub generation: u32,
    /// The business day.
    pub day: Date,
    /// When the broker stored the batch that caused it.
    pub at: Instant,
    /// The position of that batch in EVENTS.
    pub log: LogSeq,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub view: Option<Name>,
    /// The dimensions that the view groups by, and `time` where its grain is finer than the day. Absent when `more_groups` is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<Row>,
    /// The group's metrics behind the batch, as an answer shows them. Absent when `more_groups` is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub figures: Option<Row>,
    /// The last one of this alert for the day: [`MAX_FIRED_GROUPS`] have fired, or groups with [`MAX_FIRED_BYTES`], and further groups fire no more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more_groups: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<ReportVersion>,
}

/// The report that an alert is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportVersion {
    pub version: u32,
    /// BLAKE3 of the report's bytes, in hex.
    pub hash: String,
}

/// The id of an alert: tenant, position of the batch in EVENTS, and the alert's number in that batch, from 0. Positions never come
/// twice, so a later tenant of the same id has other ids.
pub fn alert_id(tenant: &TenantId, log: LogSeq, number: u64) -> String {
    format!("{tenant}-{log}-{number}")
}

/// Where an alert stands in the order of its subject.
///
/// # Panics
/// When `number` is not below [`MAX_ALERTS_OF_BATCH`].
pub fn alert_position(log: LogSeq, number: u64) -> u64 {
    assert!(number < MAX_ALERTS_OF_BATCH, "a batch makes fewer alerts");
    log.0 * MAX_ALERTS_OF_BATCH + number
}

#[cfg(test)]
mod tests {
    use super::*;
    use daybook_domain::alerts::ViewAlert;
    use daybook_domain::catalogue::View;
    use serde_json::json;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    fn alert() -> Alert {
        let (tenant, log) = (TenantId::new("acme").unwrap(), LogSeq(4711));
        Alert {
            id: alert_id(&tenant, log, 0),
            alert: name("low_revenue"),
            tenant,
            generation: 0,
            day: "2026-11-30".parse().unwrap(),
            at: "2026-11-30T10:00:00Z".parse().unwrap(),
            log,
            view: None,
            group: None,
            figures: None,
            more_groups: false,
            report: None,
        }
    }

    /// Clients in other languages read these bytes.
    #[test]
    fn alerts_have_these_bytes() {
        let read = |json: &str| serde_json::from_str::<Row>(json).ok();
        let (group, figures) = (read(r#"{"store":"S1"}"#), read(r#"{"revenue":-3.20}"#));
        let of_view = Alert { view: Some(name("revenue")), group, figures, ..alert() };
        let expected = concat!(
            r#"{"id":"acme-4711-0","alert":"low_revenue","tenant":"acme","generation":0,"day":"2026-11-30","#,
            r#""at":"2026-11-30T10:00:00Z","log":4711,"view":"revenue","group":{"store":"S1"},"figures":{"revenue":-3.20}}"#
        );
        assert_eq!(serde_json::to_string(&of_view).unwrap(), expected);
        assert_eq!(serde_json::from_str::<Alert>(expected).unwrap(), of_view);

        let report = Some(ReportVersion { version: 2, hash: "ab".to_owned() });
        let of_report = Alert { alert: name(ReportAlert::ReportRestated.as_str()), report, ..alert() };
        let expected = json!({"id": "acme-4711-0", "alert": "report_restated", "tenant": "acme", "generation": 0,
            "day": "2026-11-30", "at": "2026-11-30T10:00:00Z", "log": 4711, "report": {"version": 2, "hash": "ab"}});
        assert_eq!(serde_json::to_value(&of_report).unwrap(), expected);
        assert_eq!(serde_json::from_value::<Alert>(expected).unwrap(), of_report);

        let last = Alert { view: Some(name("revenue")), more_groups: true, ..alert() };
        assert_eq!(serde_json::to_value(&last).unwrap()["more_groups"], true);
        for alert in ReportAlert::ALL {
            assert_eq!(serde_json::to_value(alert).unwrap(), alert.as_str());
        }
    }

    #[test]
    fn later_alerts_have_later_positions() {
        let places = [(1, 0), (1, MAX_ALERTS_OF_BATCH - 1), (2, 0), (2, 1)];
        assert!(places.map(|(log, number)| alert_position(LogSeq(log), number)).is_sorted_by(|one, next| one < next));
    }

    /// By position, a field is there whenever one behind it is.
    #[test]
    fn definitions_with_alerts_survive_both_encodings() {
        let alert = ViewAlert { name: name("low"), when: "n < 2".to_owned() };
        let plain = View::new(name("v"), name("k"), Vec::new(), Vec::new());
        let view = View { alerts: vec![alert], ..plain.clone() };
        let packed = |view: &View| rmp_serde::to_vec(view).unwrap();
        assert_eq!([packed(&plain)[0], packed(&view)[0]], [0x99, 0x9b], "nine fields, and eleven");
        for view in [plain, view] {
            assert_eq!(rmp_serde::from_slice::<View>(&packed(&view)).unwrap(), view);
            let json = serde_json::to_value(&view).unwrap();
            assert_eq!((json.get("alerts").is_some(), json.get("late_changes")), (!view.alerts.is_empty(), None));
            assert_eq!(serde_json::from_value::<View>(json).unwrap(), view);
        }
    }
}
