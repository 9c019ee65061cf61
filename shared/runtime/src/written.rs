//! Tells what a service wrote from what anyone else put into a stream.
//!
//! NATS does not check the reply subject of a message against the permissions of its sender. So whatever answers a hostile
//! request, the broker included, can be made to publish its answer to any subject. A message is a service's only if
//!
//! 1. the broker has checked its condition: services store everything by [`crate::append`];
//! 2. it names the subject that it stands on ([`headers::SUBJECT`]): a copy of another message does not. Earlier builds did not
//!    name it;
//! 3. its content fits its subject.
//!
//! Every reader passes over what is foreign, and notes it in the connection's [`crate::foreign::Ledger`].

use async_nats::HeaderMap;
use async_nats::header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE;
use daybook_contracts::access::RevokedTokens;
use daybook_contracts::alert::{Alert, alert_id, alert_position};
use daybook_contracts::day::DayMarker;
use daybook_contracts::headers;
use daybook_contracts::reject::Rejects;
use daybook_contracts::report::{Report, report_position};
use daybook_contracts::subjects::Subjects;
use daybook_domain::catalogue::Definition;
use daybook_domain::ids::{Name, Partition, TenantId};
use daybook_domain::time::{Date, Instant};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::borrow::Cow;

/// Moves the condition of an append to another subject; no service sets it.
const EXPECTED_LAST_SUBJECT: &str = "Nats-Expected-Last-Subject-Sequence-Subject";

/// A message as it stands in a stream.
#[derive(Clone, Copy, Debug)]
pub struct Message<'m> {
    pub subject: &'m str,
    pub headers: &'m HeaderMap,
    pub payload: &'m [u8],
}

/// Positions of the log at which alerts may be, in number.
const MAX_ALERT_LOG: u64 = 1 << 48;
/// Every build that writes alerts names their subject.
const NAMELESS_ALERT: NotWritten = NotWritten::Foreign(Cow::Borrowed("it does not name its subject"));

/// Why a message is not taken for what should stand on its subject.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotWritten {
    /// No service wrote it. Readers pass over it.
    #[error("{0}")]
    Foreign(Cow<'static, str>),
    /// A service wrote it, in a form that this version cannot read. To pass over it would lose something.
    #[error("{0}; a newer version of Daybook may have written it: upgrade this service")]
    Unreadable(String),
}

impl NotWritten {
    fn foreign(why: &'static str) -> Self {
        Self::Foreign(Cow::Borrowed(why))
    }
}

/// A number in a header.
pub fn header_number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.as_str().parse().ok()
}

/// How a message shows that a service appended it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// It names its subject, which only services do.
    Named,
    /// It has a condition, as those of earlier builds have.
    Conditional,
}

impl Origin {
    /// Reads the headers of a message.
    ///
    /// # Errors
    /// [`NotWritten::Foreign`] when no service appends such a message to its subject.
    pub(crate) fn of(message: Message<'_>) -> Result<Self, NotWritten> {
        let Message { subject, headers, .. } = message;
        let condition = header_number(headers, NATS_EXPECTED_LAST_SUBJECT_SEQUENCE.as_ref());
        if condition.is_none() || headers.get(EXPECTED_LAST_SUBJECT).is_some() {
            return Err(NotWritten::foreign("it was not appended on a condition"));
        }
        match headers.get(headers::SUBJECT) {
            Some(named) if named.as_str() == subject => Ok(Self::Named),
            Some(_) => Err(NotWritten::foreign("it is a copy of a message on another subject")),
            None => Ok(Self::Conditional),
        }
    }

    /// What content that cannot be read makes of the message.
    pub(crate) fn unreadable(self, error: impl std::fmt::Display) -> NotWritten {
        match self {
            Self::Named => NotWritten::Unreadable(format!("its content cannot be read: {error}")),
            Self::Conditional => NotWritten::Foreign(format!("its content cannot be read: {error}").into()),
        }
    }

    fn json<T: DeserializeOwned>(self, payload: &[u8]) -> Result<T, NotWritten> {
        serde_json::from_slice(payload).map_err(|error| self.unreadable(error))
    }
}

fn fits(is_fit: bool) -> Result<(), NotWritten> {
    if is_fit { Ok(()) } else { Err(NotWritten::foreign("its content does not fit its subject")) }
}

/// A day marker of DAYS.
///
/// # Errors
/// When it is not one that day-manager wrote there.
pub fn marker(subjects: &Subjects, message: Message<'_>) -> Result<DayMarker, NotWritten> {
    let marker: DayMarker = Origin::of(message)?.json(message.payload)?;
    let place = subjects.parse_day(message.subject);
    fits(place == Some([marker.tenant.as_str(), marker.edge.as_str()]))?;
    Ok(marker)
}

/// A definition of CATALOG, and the partition that it is for.
///
/// # Errors
/// When it is not one that day-manager wrote there.
pub fn definition(subjects: &Subjects, message: Message<'_>) -> Result<(Partition, Definition), NotWritten> {
    let definition: Definition = Origin::of(message)?.json(message.payload)?;
    match subjects.parse_catalog(message.subject) {
        Some((partition, place)) if place == [definition.what(), definition.name()] => Ok((partition, definition)),
        _ => Err(NotWritten::foreign("its content does not fit its subject")),
    }
}

/// A clock of CLOCKS, and where it stands.
///
/// # Errors
/// When it is not one that day-manager wrote there.
pub fn clock(subjects: &Subjects, message: Message<'_>) -> Result<(Name, Instant), NotWritten> {
    let origin = Origin::of(message)?;
    let name = subjects.parse_clock(message.subject).and_then(|name| Name::new(name).ok());
    let text = std::str::from_utf8(message.payload).map_err(|error| origin.unreadable(error))?;
    let instant = text.parse().map_err(|error| origin.unreadable(error))?;
    name.map(|name| (name, instant)).ok_or(NotWritten::foreign("its subject is no clock's"))
}

/// What a report says of itself.
#[derive(Clone, Debug, Deserialize)]
struct Head {
    tenant: TenantId,
    date: Date,
    version: u32,
    #[serde(default)]
    generation: u32,
}

/// A sealed report of REPORTS, of which `H` is read.
///
/// # Errors
/// When it is not one that a shard wrote there.
pub fn report<H: DeserializeOwned>(subjects: &Subjects, message: Message<'_>) -> Result<H, NotWritten> {
    let origin = Origin::of(message)?;
    let Head { tenant, date, version, generation } = origin.json(message.payload)?;
    fits(subjects.parse_report(message.subject) == Some((tenant, date)))?;
    fits(header_number(message.headers, headers::POSITION) == Some(report_position(generation, version)))?;
    origin.json(message.payload)
}

/// A message of REJECTS.
///
/// # Errors
/// When it is not one that a shard wrote there.
pub fn rejects(subjects: &Subjects, message: Message<'_>) -> Result<Rejects, NotWritten> {
    let rejects: Rejects = Origin::of(message)?.json(message.payload)?;
    fits(subjects.parse_rejects(message.subject).is_some())?;
    Ok(rejects)
}

/// An alert of ALERTS.
///
/// # Errors
/// When it is not one that a shard wrote there.
pub fn alert(subjects: &Subjects, message: Message<'_>) -> Result<Alert, NotWritten> {
    let origin = Origin::of(message)?;
    if origin != Origin::Named {
        return Err(NAMELESS_ALERT);
    }
    let alert: Alert = origin.json(message.payload)?;
    fits(subjects.parse_alerts(message.subject).as_ref() == Some(&alert.tenant))?;
    let position =
        header_number(message.headers, headers::POSITION).ok_or(NotWritten::foreign("it has no position"))?;
    // Positions of the log beyond that have no place among those of alerts.
    fits(alert.log.0 < MAX_ALERT_LOG)?;
    let number = position.checked_sub(alert_position(alert.log, 0));
    fits(number.is_some_and(|number| alert.id == alert_id(&alert.tenant, alert.log, number)))?;
    Ok(alert)
}

/// A tenant's revoked tokens, of ACCESS.
///
/// # Errors
/// When it is not what day-manager wrote there.
pub fn revoked_tokens(subjects: &Subjects, message: Message<'_>) -> Result<RevokedTokens, NotWritten> {
    let list: RevokedTokens = Origin::of(message)?.json(message.payload)?;
    fits(message.subject == subjects.revoked(list.tenant.as_str()))?;
    Ok(list)
}

/// The mark of the settings that tenants' accounts are made with, of ACCESS.
///
/// # Errors
/// When it is not what day-manager wrote there.
pub fn access_settings(subjects: &Subjects, message: Message<'_>) -> Result<String, NotWritten> {
    let origin = Origin::of(message)?;
    fits(message.subject == subjects.access_settings())?;
    let mark = std::str::from_utf8(message.payload).map_err(|error| origin.unreadable(error))?;
    Ok(mark.to_owned())
}

/// Where an output stands in its subject's order, whichever stream it is in. What one subject's position says is not believed
/// of another's: the message names its subject, or its content fits.
///
/// # Errors
/// When it is not an output that a shard wrote there.
pub fn position(subjects: &Subjects, message: Message<'_>) -> Result<u64, NotWritten> {
    let position = header_number(message.headers, headers::POSITION);
    let position = position.ok_or(NotWritten::foreign("it has no position"))?;
    if Origin::of(message)? == Origin::Conditional {
        if subjects.parse_report(message.subject).is_some() {
            let hash = message.headers.get(headers::HASH).map(|hash| hash.as_str().to_owned());
            report::<Report>(subjects, message)?;
            fits(hash.as_deref() == Some(blake3::hash(message.payload).to_hex().as_str()))?;
        } else if subjects.parse_rejects(message.subject).is_some() {
            rejects(subjects, message)?;
        } else if subjects.parse_alerts(message.subject).is_some() {
            return Err(NAMELESS_ALERT);
        }
    }
    Ok(position)
}

#[cfg(test)]
mod tests;
