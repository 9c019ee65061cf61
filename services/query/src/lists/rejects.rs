//! A tenant's rejected events, page by page: from the newest one back, or from a place on.

use super::cursor::Scope;
use super::reject_page::{ALL, Page, Place, read};
use super::subject::{Link, SubjectReader};
use super::{Budget, row_limit};
use crate::answers::Answers;
use daybook_contracts::ask::{Asked, MAX_ANSWER_BYTES};
use daybook_contracts::lists::{DEFAULT_REJECTS, REJECTS_VIEW, RejectList, RejectsQuery};
use daybook_domain::ids::TenantId;
use daybook_runtime::append::Stored;

/// Most messages that one page reads: each holds at least one reject, unless no service wrote it.
const MAX_MESSAGES: usize = 256;

/// The ends of a page.
struct Ended {
    next: Option<Place>,
    newer: Place,
    missed: bool,
}

/// One page of the tenant's rejects.
///
/// # Errors
/// A wrong request.
pub async fn rejects(answers: &Answers, tenant: &TenantId, query: &RejectsQuery) -> Asked<RejectList> {
    let connection = &answers.lists.connection;
    let scope = Scope::new(tenant, REJECTS_VIEW, &());
    let place = query.cursor.as_deref().map(|cursor| scope.read::<Place>(cursor)).transpose()?;
    // A broker that takes smaller messages has smaller rejects, too.
    let bytes = MAX_ANSWER_BYTES.min(answers.lists.max_payload() / 4 * 3);
    let mut page = Page::new(row_limit(query.limit, DEFAULT_REJECTS)?, bytes);
    let subjects = &connection.subjects;
    let reader = SubjectReader::new(connection, subjects.rejects_stream(), subjects.rejects(tenant.as_str()));
    let ended = match place {
        None => match reader.last().await {
            Some(last) => older(&reader, &mut page, last, ALL).await,
            None => Ended { next: None, newer: Place::Behind(0, ALL), missed: false },
        },
        Some(Place::Before(sequence, count)) => {
            match reader.next(sequence).await.filter(|message| message.sequence == sequence) {
                Some(message) => older(&reader, &mut page, message, count).await,
                // The stream has dropped it, and everything older too.
                None => Ended { next: None, newer: Place::Behind(sequence, count), missed: false },
            }
        }
        Some(Place::Behind(sequence, count)) => newer(&reader, &mut page, sequence, count).await,
    };
    Ok(RejectList {
        tenant: tenant.clone(),
        rejects: page.rejects.into(),
        next: ended.next.map(|place| scope.write(place)),
        newer: scope.write(ended.newer),
        missed: ended.missed,
    })
}

/// Fills the page from the first `count` rejects of a message, and from messages before it.
async fn older(reader: &SubjectReader<'_>, page: &mut Page, mut message: Stored, mut count: u32) -> Ended {
    let newer = Place::Behind(message.sequence, count);
    let mut budget = Budget::new();
    for looked in 1.. {
        budget.spend(message.payload.len());
        let left = page.take_last(&mut reader.read(&message, read).unwrap_or_default(), count);
        if left > 0 {
            return Ended { next: Some(Place::Before(message.sequence, left)), newer, missed: false };
        }
        if page.is_full() || looked == MAX_MESSAGES || budget.is_spent() {
            let may_follow = Link::of(&message.headers, message.sequence) != Link::First;
            let next = may_follow.then_some(Place::Before(message.sequence, 0));
            return Ended { next, newer, missed: false };
        }
        match reader.before(&message).await {
            Some(before) => (message, count) = (before, ALL),
            None => break,
        }
    }
    Ended { next: None, newer, missed: false }
}

/// Fills the page with the rejects after the first `count` ones of the message at `sequence`.
async fn newer(reader: &SubjectReader<'_>, page: &mut Page, sequence: u64, mut count: u32) -> Ended {
    let mut place = Place::Behind(sequence, count);
    let mut missed = false;
    let mut budget = Budget::new();
    let mut from = if count == ALL { sequence.saturating_add(1) } else { sequence };
    for looked in 1..=MAX_MESSAGES {
        let Some(message) = reader.next(from).await else { return Ended { next: None, newer: place, missed } };
        if message.sequence != sequence {
            if looked == 1 {
                missed = were_dropped(&message, sequence, count);
            }
            count = 0;
        }
        budget.spend(message.payload.len());
        let taken = page.take_first(reader.read(&message, read).unwrap_or_default(), count);
        place = Place::Behind(message.sequence, taken);
        if page.is_full() || budget.is_spent() {
            break;
        }
        from = message.sequence + 1;
    }
    Ended { next: Some(place), newer: place, missed }
}

/// Returns true if the stream may have dropped rejects between the first `count` ones of the message at `sequence` and
/// `first`, the next message that is left.
fn were_dropped(first: &Stored, sequence: u64, count: u32) -> bool {
    match Link::of(&first.headers, first.sequence) {
        Link::To(before) => before != sequence || count != ALL,
        Link::First => sequence > 0,
        Link::Unknown => false,
    }
}
