//! A tenant's rejected events and its alerts, page by page.

use super::cursor::Scope;
use super::reject_page::{Page, PageEdge, read};
use super::row_limit;
use super::subject::SubjectReader;
use super::walk::{Ended, Walk};
use crate::answers::Answers;
use daybook_contracts::alert::Alert;
use daybook_contracts::ask::{Asked, MAX_ANSWER_BYTES};
use daybook_contracts::lists::{
    ALERTS_VIEW, AlertList, AlertsQuery, DEFAULT_ALERTS, DEFAULT_REJECTS, REJECTS_VIEW, RejectList, RejectsQuery,
};
use daybook_domain::ids::TenantId;
use daybook_runtime::written;
use serde::Serialize;
use std::collections::VecDeque;

/// One page of the tenant's rejects.
///
/// # Errors
/// A wrong request.
pub async fn rejects(answers: &Answers, tenant: &TenantId, query: &RejectsQuery) -> Asked<RejectList> {
    let connection = &answers.lists.connection;
    let subjects = &connection.subjects;
    let reader = SubjectReader::new(connection, subjects.rejects_stream(), subjects.rejects(tenant.as_str()));
    let scope = Scope::new(tenant, REJECTS_VIEW, &());
    let (rows, ended) = page(answers, &scope, query, DEFAULT_REJECTS, Walk { reader, read }).await?;
    Ok(RejectList {
        tenant: tenant.clone(),
        rejects: rows.into(),
        next: ended.next.map(|place| scope.write(place)),
        newer: scope.write(ended.newer),
        missed: ended.missed,
    })
}

/// One page of the tenant's alerts.
///
/// # Errors
/// A wrong request.
pub async fn alerts(answers: &Answers, tenant: &TenantId, query: &AlertsQuery) -> Asked<AlertList> {
    let connection = &answers.lists.connection;
    let subjects = &connection.subjects;
    let reader = SubjectReader::new(connection, subjects.alerts_stream(), subjects.alerts(tenant.as_str()));
    let scope = Scope::new(tenant, ALERTS_VIEW, &());
    let walk: Walk<'_, Alert> =
        Walk { reader, read: |subjects, message| Ok(vec![written::alert(subjects, message.into())?]) };
    let (rows, ended) = page(answers, &scope, query, DEFAULT_ALERTS, walk).await?;
    Ok(AlertList {
        tenant: tenant.clone(),
        alerts: rows.into(),
        next: ended.next.map(|place| scope.write(place)),
        newer: scope.write(ended.newer),
        missed: ended.missed,
    })
}

/// The rows of a page, and its ends.
async fn page<T: Serialize>(
    answers: &Answers,
    scope: &Scope,
    query: &RejectsQuery,
    default: u32,
    walk: Walk<'_, T>,
) -> Asked<(VecDeque<T>, Ended)> {
    let place = query.cursor.as_deref().map(|cursor| scope.read::<PageEdge>(cursor)).transpose()?;
    // A broker that takes smaller messages has smaller rows, too.
    let bytes = MAX_ANSWER_BYTES.min(answers.lists.max_payload() / 4 * 3);
    let mut page = Page::new(row_limit(query.limit, default)?, bytes);
    let ended = walk.fill(&mut page, place).await;
    Ok((page.rows, ended))
}
