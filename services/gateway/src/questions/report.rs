//! One sealed report, byte for byte as it was sealed: `GET /v1/tenants/{tenant}/reports/{date}`; and the difference between
//! two of its versions: `GET /v1/tenants/{tenant}/reports/{date}/diff`.

use crate::asker::{Asker, decode};
use crate::http::{Call, Reply};
use crate::problem::{Code, Problem};
use axum::http::{HeaderName, StatusCode};
use bytes::Bytes;
use daybook_contracts::comparison::{self, earlier_version};
use daybook_contracts::headers;
use daybook_contracts::lists::{REPORT_VIEW, ReportQuery};
use daybook_contracts::report::Report;
use daybook_domain::ids::TenantId;
use daybook_domain::time::Date;

/// Answers with the report: the newest version, or the one that `version` names.
///
/// # Errors
/// Those of the query service.
pub(crate) async fn get(call: Call) -> Result<Reply, Problem> {
    let tenant = call.tenant()?;
    let sealed = sealed(&call.state.asker, &tenant, call.date()?, version(&call, "version")).await?;
    let Sealed { payload, hash, is_restating } = sealed;
    let mut reply = Reply::json(StatusCode::OK, payload).with(HeaderName::from_static("daybook-hash"), &hash);
    if is_restating {
        reply = reply.with(HeaderName::from_static("daybook-restatement-pending"), "1");
    }
    // That a further version is to come is news as well.
    let tag = format!("W/\"{hash}{}\"", if is_restating { "-restating" } else { "" });
    Ok(reply.tagged(&tag, &call.headers))
}

/// Answers with what the version `to` (the newest) says differently from the version `from` (the one before it).
///
/// # Errors
/// Those of the query service; [`Code::UnknownDay`] when there is no version before; [`Code::BadRequest`] when `from` is not
/// the earlier one.
pub(crate) async fn compare(call: Call) -> Result<Reply, Problem> {
    let tenant = call.tenant()?;
    let (date, asker) = (call.date()?, &call.state.asker);
    let (named, to) = (version(&call, "from"), version(&call, "to"));
    let after = sealed(asker, &tenant, date, to).await?.report()?;
    let from = earlier_version(&after, named).map_err(|error| {
        let code = if named.is_some() { Code::BadRequest } else { Code::UnknownDay };
        Problem::new(code, error.to_string()).field("from")
    })?;
    let before = sealed(asker, &tenant, date, Some(from)).await?.report()?;
    let body = serde_json::to_string(&comparison::compare(&before, &after)).expect("a comparison is plain values");
    Ok(Reply::json(StatusCode::OK, body))
}

fn version(call: &Call, name: &str) -> Option<u32> {
    call.parameters.whole(name).and_then(|version| u32::try_from(version).ok())
}

/// A sealed report as it is kept, and what its stream says of it.
pub(crate) struct Sealed {
    pub(crate) payload: Bytes,
    /// The hash that the stream names.
    pub(crate) hash: String,
    /// A further version is to come.
    pub(crate) is_restating: bool,
}

impl Sealed {
    /// The report.
    ///
    /// # Errors
    /// [`Code::Internal`] when it has another form.
    pub(crate) fn report(&self) -> Result<Report, Problem> {
        decode(&self.payload)
    }
}

/// A version of a report, the newest when none is named.
///
/// # Errors
/// Those of the query service.
pub(crate) async fn sealed(
    asker: &Asker,
    tenant: &TenantId,
    date: Date,
    version: Option<u32>,
) -> Result<Sealed, Problem> {
    let question = ReportQuery { date: Some(date), version };
    let body = serde_json::to_vec(&question).expect("a question is plain values");
    let reply = asker.ask(tenant, REPORT_VIEW, body.into()).await?;
    let header = |name: &str| reply.headers.as_ref()?.get(name).map(|value| value.as_str().to_owned());
    let (hash, is_restating) =
        (header(headers::HASH).unwrap_or_default(), header(headers::RESTATEMENT_PENDING).is_some());
    Ok(Sealed { payload: reply.payload, hash, is_restating })
}
