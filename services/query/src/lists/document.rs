//! A sealed report in its stream. It counts as a report only if its content fits its subject and its hash.

use bytes::Bytes;
use daybook_contracts::headers;
use daybook_contracts::lists::ReportEntry;
use daybook_contracts::report::{Account, Coverage, Supersedes};
use daybook_domain::calendar::BusinessDay;
use daybook_domain::ids::TenantId;
use daybook_domain::time::Date;
use daybook_runtime::append::{Stored, header_number};
use serde::Deserialize;

/// One version of a report.
#[derive(Clone, Debug)]
pub struct Document {
    /// Its sequence in the stream.
    pub sequence: u64,
    pub entry: ReportEntry,
    /// The bytes that were sealed.
    pub payload: Bytes,
}

/// The fields of a report that a list shows. Its figures are not read.
#[derive(Deserialize)]
struct Head {
    tenant: TenantId,
    date: Date,
    version: u32,
    day: BusinessDay,
    dispositions: Account,
    coverage: Coverage,
    supersedes: Option<Supersedes>,
}

impl Document {
    /// The report in a message; `None` when the message is no report of this tenant and day.
    pub fn read(tenant: &TenantId, message: &Stored) -> Option<Self> {
        let date: Date = message.subject.rsplit('.').next()?.parse().ok()?;
        let hash = message.headers.get(headers::HASH)?.as_str();
        let head: Head = serde_json::from_slice(&message.payload).ok()?;
        let position = header_number(&message.headers, headers::POSITION);
        let fits = head.tenant == *tenant
            && head.date == date
            && position == Some(u64::from(head.version))
            && blake3::hash(&message.payload).to_hex().as_str() == hash;
        fits.then(|| Self {
            sequence: message.sequence,
            entry: ReportEntry {
                date,
                version: head.version,
                day: head.day,
                dispositions: head.dispositions,
                coverage: head.coverage,
                supersedes: head.supersedes,
                hash: hash.to_owned(),
                bytes: message.payload.len() as u64,
            },
            payload: message.payload.clone(),
        })
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use async_nats::HeaderMap;
    use daybook_domain::time::Instant;

    /// A version of acme's report, as a shard writes it.
    pub fn stored(date: &str, version: u32) -> Stored {
        let payload = serde_json::json!({
            "tenant": "acme", "date": date, "version": version,
            "day": {"date": date, "opens_at": "2024-03-01T00:00:00Z", "closes_at": "2024-03-02T00:00:00Z"},
            "dispositions": {"published": 1, "counted": 1, "pending": 0, "duplicate": 0, "stale": 0, "carried": 0,
                "rejected": 0},
            "coverage": "complete", "views": {}, "supersedes": null,
        });
        let payload = Bytes::from(payload.to_string());
        let mut headers = HeaderMap::new();
        headers.insert(headers::HASH, blake3::hash(&payload).to_hex().as_str());
        headers.insert(headers::POSITION, version.to_string());
        let subject = format!("daybook.reports.acme.{date}");
        Stored { subject, sequence: 7, stored_at: Instant::from_millis(0), headers, payload }
    }

    #[test]
    fn what_does_not_fit_is_no_report() {
        let acme = TenantId::new("acme").unwrap();
        let good = stored("2024-03-01", 2);
        let document = Document::read(&acme, &good).unwrap();
        assert_eq!((document.entry.version, document.sequence), (2, 7));
        assert_eq!(document.entry.bytes, good.payload.len() as u64);

        assert!(Document::read(&TenantId::new("evil").unwrap(), &good).is_none(), "of another tenant");
        let elsewhere = Stored { subject: "daybook.reports.acme.2024-03-02".to_owned(), ..good.clone() };
        assert!(Document::read(&acme, &elsewhere).is_none(), "of another day");
        assert!(Document::read(&acme, &Stored { headers: HeaderMap::new(), ..good.clone() }).is_none(), "no hash");
        assert!(Document::read(&acme, &Stored { payload: Bytes::from("{}"), ..good.clone() }).is_none(), "no report");
        let mut other = stored("2024-03-01", 3);
        other.headers = good.headers;
        assert!(Document::read(&acme, &other).is_none(), "another report's headers");
    }
}
