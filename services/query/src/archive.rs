//! What is left of sealed days in streams: the groups behind their figures, their reports, and which day is open.
//!
//! Figures and reports are read from any replica of their stream. One that is not up to date tells of the version before,
//! for a moment: so would one who asks a moment earlier, and each version is whole. What is concluded from is the leader's
//! word: that there is none of something, for a day that is left out makes a smaller sum, and which day is open, for the
//! whole range of an answer hangs on it.

use crate::cache::Cache;
use crate::generations::{Owner, Owners};
use crate::history::History;
use async_nats::jetstream::stream::DirectGetErrorKind;
use bytes::Bytes;
use daybook_contracts::ask::{AskError, AskErrorCode, Asked};
use daybook_contracts::figures::{Figures, GroupFigures};
use daybook_contracts::report::{Report, generation_at};
use daybook_contracts::subjects::Subjects;
use daybook_domain::catalogue::{Kind, View};
use daybook_domain::ids::{Name, TenantId};
use daybook_domain::plan::Plan;
use daybook_domain::time::{Date, Instant};
use daybook_runtime::append::{last_written_for_certain, stream_handle};
use daybook_runtime::clock;
use daybook_runtime::connection::Connection;
use daybook_runtime::written::{self, Message, NotWritten};
use std::borrow::Cow;
use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long a look at one message may take.
const LOOK_DEADLINE: Duration = Duration::from_secs(5);
/// How long a report may be on its way after its day has closed, when nothing else tells whether it was ever there: its
/// shard may be away, while others have written theirs.
const ON_ITS_WAY: Duration = Duration::from_secs(3_600);
/// Largest figures of one message when they are decompressed, in bytes: seventy times what the message may have.
const MAX_PLAIN_BYTES: u64 = 64 << 20;
/// Bytes in memory for a byte in MessagePack: a small number there is one byte or two, and its accumulator up to forty.
const BYTES_IN_MEMORY: usize = 8;
/// Most days whose figures are kept decoded.
const MAX_DECODED_DAYS: usize = 10_000;
/// Most bytes in memory of the figures that are kept decoded.
const MAX_DECODED_BYTES: usize = 128 << 20;

/// How Zstandard's frames begin (RFC 8878, section 3.1.1).
const ZSTANDARD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// A day's figures, ready to be merged.
#[derive(Debug)]
pub struct Decoded {
    pub figures: Figures,
    /// In memory, roughly.
    pub bytes: usize,
}

impl Decoded {
    fn read(message: &[u8]) -> Result<Self, String> {
        let plain = plain(message)?;
        let mut figures = Figures::decode(&plain).map_err(|error| error.to_string())?;
        check(&mut figures)?;
        Ok(Self { figures, bytes: plain.len() * BYTES_IN_MEMORY })
    }
}

/// Figures out of MessagePack, compressed or not.
///
/// # Errors
/// When that is not what the bytes are.
pub fn decode(message: &[u8]) -> Result<Figures, String> {
    Decoded::read(message).map(|decoded| decoded.figures)
}

fn check(figures: &mut Figures) -> Result<(), String> {
    let days = figures.days.iter_mut().map(|day| (day.day.date, &mut day.groups[..]));
    check_groups(&figures.view, &figures.kind, days)
}

/// Checks that the groups of these days are such as the definition makes, or made before, and brings them into the form that they
/// have now: merging relies on it.
///
/// # Errors
/// When they are not, with the first day.
pub fn check_groups<'g>(
    view: &View,
    kind: &Kind,
    days: impl Iterator<Item = (Date, &'g mut [GroupFigures])>,
) -> Result<(), String> {
    let plan = Plan::compile(view, kind).map_err(|error| format!("their definition: {error}"))?;
    for (date, groups) in days {
        for group in groups {
            plan.adopt(&mut group.cells);
            if !plan.fits(group.piece, &group.dims, &group.cells) {
                return Err(format!("the groups of {date} do not fit their definition"));
            }
        }
    }
    Ok(())
}

fn plain(message: &[u8]) -> Result<Cow<'_, [u8]>, String> {
    if !message.starts_with(&ZSTANDARD) {
        return Ok(Cow::Borrowed(message));
    }
    let mut plain = Vec::new();
    let decoder = zstd::stream::read::Decoder::new(message).map_err(|error| error.to_string())?;
    decoder.take(MAX_PLAIN_BYTES + 1).read_to_end(&mut plain).map_err(|error| error.to_string())?;
    match plain.len() as u64 > MAX_PLAIN_BYTES {
        true => Err(format!("they have more than {MAX_PLAIN_BYTES} bytes")),
        false => Ok(Cow::Owned(plain)),
    }
}

/// What there is of a view's sealed day in FIGURES.
#[derive(Debug)]
pub enum Left {
    Figures(Arc<Decoded>),
    /// The word that they were too many for a message.
    TooMany,
    Nothing,
}

/// The streams, read message by message.
pub struct Archive {
    connection: Connection,
    pub owners: Owners,
    pub history: History,
    /// By sequence in FIGURES: a message never changes.
    decoded: Mutex<Cache<u64, Arc<Decoded>>>,
}

impl Archive {
    pub fn new(connection: Connection) -> Self {
        let (owners, history) = (Owners::new(connection.clone()), History::new(connection.clone()));
        Self { connection, owners, history, decoded: Mutex::new(Cache::new(MAX_DECODED_DAYS, MAX_DECODED_BYTES)) }
    }

    /// The newest figures of a view's sealed day, as any replica has them: that there is nothing is not certain.
    ///
    /// # Errors
    /// When the broker does not answer, or the message is no figures.
    pub async fn figures(&self, (tenant, owner): (&TenantId, Owner), date: Date, view: &Name) -> Asked<Left> {
        let subjects = &self.connection.subjects;
        let (stream, subject) = (subjects.figures_stream(), subjects.figures(tenant, date, view.as_str()));
        let found = self.of_any_replica(&stream, &subject, |message| packed(subjects, message)).await?;
        self.decode(date, view, owner, found).await
    }

    /// As [`figures`](Self::figures), as the stream's leader has them: where there is nothing of a day on which the view has
    /// groups, their retention has taken them.
    ///
    /// # Errors
    /// When the broker does not answer in time, or the message is no figures.
    pub async fn figures_for_certain(
        &self,
        (tenant, owner): (&TenantId, Owner),
        date: Date,
        view: &Name,
    ) -> Asked<Left> {
        let subjects = &self.connection.subjects;
        let (stream, subject) = (subjects.figures_stream(), subjects.figures(tenant, date, view.as_str()));
        let found = self.of_the_leader(&stream, &subject, |message| packed(subjects, message)).await?;
        self.decode(date, view, owner, found).await
    }

    async fn decode(&self, date: Date, view: &Name, owner: Owner, found: Option<(u64, (u32, Bytes))>) -> Asked<Left> {
        let found = found.filter(|(_, (generation, _))| owner.has(*generation));
        let Some((sequence, (_, payload))) = found else { return Ok(Left::Nothing) };
        if payload.is_empty() {
            return Ok(Left::TooMany);
        }
        if let Some(known) = self.kept().get(&sequence) {
            return Ok(Left::Figures(known));
        }
        // Large ones take a while to decode: not on a thread that answers others.
        let decoded = tokio::task::spawn_blocking(move || Decoded::read(&payload)).await;
        let decoded = decoded
            .map_err(|error| error.to_string())
            .flatten()
            .map_err(|error| internal(format!("the figures of {date} cannot be read: {error}")))?;
        if !is_of(&decoded.figures, date, view) {
            return Err(internal(format!("what stands for the figures of {view} on {date} is of something else")));
        }
        let decoded = Arc::new(decoded);
        self.kept().put(sequence, decoded.clone(), decoded.bytes);
        Ok(Left::Figures(decoded))
    }

    /// The newest version of a day's report; `None` when it is certain that there is none.
    ///
    /// # Errors
    /// When the broker does not answer, or the message is no report.
    pub async fn report(&self, (tenant, owner): (&TenantId, Owner), date: Date) -> Asked<Option<Report>> {
        let subjects = &self.connection.subjects;
        let (stream, subject) = (subjects.reports_stream(), subjects.report(tenant, date));
        let read = |message: Message<'_>| written::report::<Report>(subjects, message);
        let found = match self.of_any_replica(&stream, &subject, read).await? {
            None => self.of_the_leader(&stream, &subject, read).await?,
            found => found,
        };
        Ok(found.map(|(_, report)| report).filter(|report| owner.has(report.generation)))
    }

    /// The newest day of the tenant that has opened, if any has, for certain.
    ///
    /// # Errors
    /// When the broker does not answer, or the message is no marker.
    pub async fn today(&self, (tenant, owner): (&TenantId, Owner)) -> Asked<Option<Date>> {
        let subjects = &self.connection.subjects;
        let read = |message: Message<'_>| written::marker(subjects, message);
        let opened = self.of_the_leader(&subjects.days_stream(), &subjects.day_opened(tenant.as_str()), read).await?;
        Ok(opened.filter(|(_, marker)| owner.has(marker.generation)).map(|(_, marker)| marker.day.date))
    }

    /// The first of these days whose report there was and is no more, if there is one; `dates` are in order, and have no
    /// report now. A date that does not exist, or is not closed, is none.
    ///
    /// # Errors
    /// [`AskErrorCode::Unavailable`] when the broker does not answer, or a closed day's report is yet to be written.
    pub async fn deleted(&self, (tenant, owner): (&TenantId, Owner), dates: &[Date]) -> Asked<Option<Date>> {
        let subjects = &self.connection.subjects;
        let name = subjects.reports_stream();
        let failed = |error: &dyn std::fmt::Display| {
            AskError::new(AskErrorCode::Unavailable, format!("{name} cannot be looked at: {error}"))
        };
        let stream = self.connection.jetstream.get_stream(&name).await.map_err(|error| failed(&error))?;
        let info = stream.cached_info();
        // Its retention takes messages out of it, and the purge of a removed tenant, whose own days nobody asks for any more.
        if info.state.first_sequence <= 1 {
            return Ok(None);
        }
        let closed = self.history.closed(tenant).await?;
        let mut closed = closed.iter().filter(|day| owner.has(day.generation));
        let Some(day) = closed.find(|day| dates.binary_search(&day.date).is_ok()) else { return Ok(None) };
        // Where nothing is left, the last one was stored then.
        let left = if info.state.messages == 0 { info.state.last_timestamp } else { info.state.first_timestamp };
        let left_from = clock::from_nanos(left.unix_timestamp_nanos());
        if may_come(day.stored_at, left_from, info.config.max_age, clock::now()) {
            return Err(failed(&format!("the report of {} is not written yet", day.date)));
        }
        Ok(Some(day.date))
    }

    /// What `read` makes of the newest message of a subject, and its sequence, as some replica of the stream has it, which may
    /// lack the newest of all.
    async fn of_any_replica<T>(
        &self,
        stream: &str,
        subject: &str,
        read: impl Fn(Message<'_>) -> Result<T, NotWritten>,
    ) -> Asked<Option<(u64, T)>> {
        let failed =
            |error: String| AskError::new(AskErrorCode::Unavailable, format!("{stream} cannot be read: {error}"));
        let handle = stream_handle(&self.connection, stream).await.map_err(|error| failed(error.to_string()))?;
        let newest = match handle.direct_get_last_for_subject(subject).await {
            Ok(newest) => newest,
            Err(error) if error.kind() == DirectGetErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error.to_string())),
        };
        match read(Message { subject, headers: &newest.headers, payload: &newest.payload }) {
            Ok(value) => Ok(Some((newest.sequence, value))),
            // What stands before it is found more slowly.
            Err(NotWritten::Foreign(_)) => self.of_the_leader(stream, subject, read).await,
            Err(why) => Err(internal(format!("{subject}: {why}"))),
        }
    }

    async fn of_the_leader<T>(
        &self,
        stream: &str,
        subject: &str,
        read: impl Fn(Message<'_>) -> Result<T, NotWritten>,
    ) -> Asked<Option<(u64, T)>> {
        let look = last_written_for_certain(&self.connection, stream, subject, read);
        match tokio::time::timeout(LOOK_DEADLINE, look).await {
            Ok(Ok(newest)) => Ok(newest.found.map(|found| (found.sequence, found.value))),
            Ok(Err(why)) => Err(internal(format!("{subject}: {why}"))),
            Err(_) => Err(AskError::new(AskErrorCode::Unavailable, format!("{stream} cannot be read in time"))),
        }
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Cache<u64, Arc<Decoded>>> {
        self.decoded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Figures as their message has them, with the generation of their tenant.
fn packed(subjects: &Subjects, message: Message<'_>) -> Result<(u32, Bytes), NotWritten> {
    let generation = generation_at(written::position(subjects, message)?);
    Ok((generation, Bytes::copy_from_slice(message.payload)))
}

/// Whether figures are what their subject says.
fn is_of(figures: &Figures, date: Date, view: &Name) -> bool {
    figures.view.name == *view && figures.days.iter().all(|day| day.day.date == date)
}

/// Whether the report of a day that closed then, and has none in REPORTS, is yet to be written. It would stand behind the
/// close, and a retention takes the oldest first, whatever it was before: what is left is from `left_from` on.
fn may_come(closed_at: Instant, left_from: Instant, max_age: Duration, now: Instant) -> bool {
    let is_for_ever = max_age.is_zero();
    let young = if is_for_ever { ON_ITS_WAY } else { max_age.min(ON_ITS_WAY) };
    closed_at >= left_from || now.since(closed_at) < young
}

fn internal(message: String) -> AskError {
    AskError::new(AskErrorCode::Internal, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sealed::tests::figures;
    use daybook_domain::accumulator::Accumulator;
    use daybook_domain::catalogue::{Kind, Mode};

    #[test]
    fn what_is_left_tells_a_late_report_from_a_deleted_one() {
        let days = |days: u64| Duration::from_secs(days * 86_400);
        let now = Instant::from_millis(0).after(days(1_000));
        let ago = |age: Duration| Instant::from_millis(now.as_millis() - age.as_millis() as i64);
        let may_come = |closed, left_from, max_age| super::may_come(ago(closed), ago(left_from), max_age, now);
        let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
        // The retention is what it was.
        assert!(!may_come(days(40), days(30), days(30)));
        assert!(may_come(days(2), days(30), days(30)));
        // It was raised, and it was lifted.
        assert!(!may_come(days(40), days(30), days(90)));
        assert!(may_come(days(2), days(30), Duration::ZERO));
        assert!(!may_come(days(40), days(30), Duration::ZERO));
        // All others are gone, or those that are there have just been written.
        assert!(may_come(days(2), days(60), days(30)));
        assert!(may_come(minutes(2), minutes(1), days(30)) && may_come(minutes(2), minutes(1), Duration::ZERO));
        assert!(!may_come(minutes(2), minutes(1), minutes(1)));
    }

    #[test]
    fn figures_are_read_compressed_or_not() {
        let figures = figures("2013-03-10", 1);
        let plain = figures.encode();
        assert_eq!(decode(&plain).unwrap(), figures);
        let compressed = zstd::encode_all(&plain[..], 3).unwrap();
        let decoded = Decoded::read(&compressed).unwrap();
        assert_eq!((decoded.bytes, decoded.figures), (plain.len() * BYTES_IN_MEMORY, figures));
    }

    /// Versions before this one kept every value of facts, as of entities.
    #[test]
    fn figures_of_facts_as_they_were_before_are_read() {
        let flights =
            Figures { kind: Kind { mode: Mode::Fact, ..figures("2013-03-10", 1).kind }, ..figures("2013-03-10", 1) };
        let figures = |cell: Accumulator| {
            let mut figures = flights.clone();
            figures.view.metrics[0].value = "max(delay)".to_owned();
            figures.days[0].groups[0].cells = Box::new([cell]);
            figures
        };
        let before: Accumulator = rmp_serde::from_slice(b"\x81\xa1m\x92\x82\x05\x01\x09\x02\x03").unwrap();
        let extremes: Accumulator = rmp_serde::from_slice(b"\x81\xa1e\x92\x05\x09").unwrap();
        assert_eq!(decode(&figures(before).encode()).unwrap(), figures(extremes));
    }

    #[test]
    fn what_is_no_figures_is_refused() {
        assert!(decode(b"").is_err());
        assert!(decode(b"{\"Err\":{}}").is_err());
        assert!(decode(&[&ZSTANDARD[..], b"nonsense"].concat()).is_err());
        let compressed = zstd::encode_all(&figures("2013-03-10", 1).encode()[..], 3).unwrap();
        assert!(decode(&compressed[..compressed.len() - 1]).is_err());
        let mut misfit = figures("2013-03-10", 1);
        misfit.days[0].groups[0].cells = Box::new([Accumulator::Sum { n: 1, sum: 1.into() }]);
        assert!(decode(&misfit.encode()).unwrap_err().contains("2013-03-10"), "a count is no sum");
        assert!(decode(&figures("2013-03-10", i64::MAX).encode()).is_err(), "it could not be merged");
        let bomb = zstd::encode_all(std::io::repeat(0).take(MAX_PLAIN_BYTES + 1), 1).unwrap();
        assert!(bomb.len() < 1 << 20 && decode(&bomb).unwrap_err().contains("more than"));
    }
}
