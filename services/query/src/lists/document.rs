//! A sealed report in its stream. It counts as a report only if its content fits its subject and its hash.

use bytes::Bytes;
use daybook_contracts::headers;
use daybook_contracts::lists::ReportEntry;
use daybook_contracts::report::{Account, Coverage, Supersedes};
use daybook_contracts::subjects::Subjects;
use daybook_domain::calendar::BusinessDay;
use daybook_domain::time::Date;
use daybook_runtime::append::Stored;
use daybook_runtime::written::{self, NotWritten};
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
    date: Date,
    version: u32,
    day: BusinessDay,
    dispositions: Account,
    coverage: Coverage,
    supersedes: Option<Supersedes>,
    #[serde(default)]
    generation: u32,
}

impl Document {
    /// The report in a message.
    ///
    /// # Errors
    /// When no shard wrote it to its subject, or the bytes do not have the hash in its headers.
    pub fn read(subjects: &Subjects, message: &Stored) -> Result<Self, NotWritten> {
        let head: Head = written::report(subjects, message.into())?;
        let hash = message.headers.get(headers::HASH).map(|hash| hash.as_str());
        let found = blake3::hash(&message.payload).to_hex();
        if hash != Some(found.as_str()) {
            return Err(NotWritten::Foreign("its bytes do not have its hash".into()));
        }
        Ok(Self {
            sequence: message.sequence,
            entry: ReportEntry {
                date: head.date,
                version: head.version,
                day: head.day,
                dispositions: head.dispositions,
                coverage: head.coverage,
                supersedes: head.supersedes,
                hash: found.to_string(),
                bytes: message.payload.len() as u64,
                generation: head.generation,
            },
            payload: message.payload.clone(),
        })
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use async_nats::HeaderMap;
    use async_nats::header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE;
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
        headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, "6");
        headers.insert(headers::SUBJECT, subject.as_str());
        Stored { subject, sequence: 7, stored_at: Instant::from_millis(0), headers, payload }
    }

    #[test]
    fn what_does_not_fit_is_no_report() {
        let subjects = Subjects::new("daybook").unwrap();
        let is_none = |stored: Stored| matches!(Document::read(&subjects, &stored), Err(NotWritten::Foreign(_)));
        let good = stored("2024-03-01", 2);
        let document = Document::read(&subjects, &good).unwrap();
        assert_eq!((document.entry.version, document.sequence), (2, 7));
        assert_eq!(document.entry.bytes, good.payload.len() as u64);

        for (tenant, date) in [("evil", "2024-03-01"), ("acme", "2024-03-02")] {
            let subject = format!("daybook.reports.{tenant}.{date}");
            assert!(is_none(Stored { subject: subject.clone(), ..good.clone() }), "a copy");
            let mut named = Stored { subject: subject.clone(), ..good.clone() };
            named.headers.insert(headers::SUBJECT, subject);
            assert!(is_none(named), "of another tenant or day");
        }
        assert!(is_none(Stored { headers: HeaderMap::new(), ..good.clone() }), "nobody set a condition");
        let mut unhashed = good.clone();
        unhashed.headers.insert(headers::HASH, "00");
        assert!(is_none(unhashed));
        let mut other = stored("2024-03-01", 3);
        other.headers = good.headers;
        assert!(is_none(other), "another report's headers");
    }
}
