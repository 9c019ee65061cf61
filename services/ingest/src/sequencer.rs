//! The pure core of ingest: messages of INBOX in, batches of EVENTS out. No clock, no I/O, no randomness.

mod customer;
mod refusals;
mod rejecting;
mod sourced;
mod stamping;

use self::customer::{Closed, Customer};
use self::refusals::Refusals;
use self::rejecting::Origin;
use self::sourced::{Sourced, Stream};
use self::stamping::Days;
use crate::quota::{Meter, Over, Rates};
use crate::restating::Restating;
use daybook_contracts::day::{DayMarker, Edge};
use daybook_contracts::event::{self, Encoding, Problem, ValidEvent};
use daybook_contracts::headers;
use daybook_contracts::log::{Batch, Event, Events, FORMAT, Marks, Record, Through};
use daybook_contracts::reject::{Alike, Code, Reject, Span};
use daybook_contracts::subjects::{InboxSubject, Subjects, UNMAPPED_TENANT};
use daybook_domain::calendar::CalendarTable;
use daybook_domain::catalogue::{Definition, Kind, Mode, Removal};
use daybook_domain::ids::{InboxSeq, Name, TenantId};
use daybook_domain::time::Instant;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

/// Size at which a batch is cut, in estimated bytes. With the largest record on top it stays below the broker's 1 MiB.
pub const BATCH_BYTES: usize = 384 * 1024;
/// What a mark of a restatement takes at most, with the longest id.
const RESTATE_BYTES: usize = 80;

/// A message of INBOX as the sequencer needs it.
#[derive(Clone, Copy, Debug)]
pub struct Inbound<'a> {
    pub sequence: u64,
    pub subject: &'a str,
    pub encoding: Encoding,
    /// Where the broker sourced it from; none for events.
    pub source: Option<headers::Source<'a>>,
    /// What it says in [`headers::UNMAPPED`].
    pub unmapped: Option<&'a str>,
    /// The subject that it names in [`headers::SUBJECT`].
    pub named: Option<&'a str>,
    /// When the broker stored it.
    pub stored_at: Instant,
    pub payload: &'a [u8],
}

/// A message that day-manager published, and that this version cannot read. Nothing behind it may be taken in: what it
/// defines would be missing for good.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the {what} at {sequence} of {stream} cannot be read, so this partition stands still: {reason}; a newer version of \
     Daybook published it: upgrade ingest"
)]
pub struct Stop {
    what: &'static str,
    stream: String,
    sequence: u64,
    reason: String,
}

/// A batch ready to be appended, and how far the log reaches with it.
#[derive(Debug)]
pub struct Cut {
    pub batch: Batch,
    pub marks: Marks,
}

/// A message of events, with whom and what it is for.
struct Addressed<'a> {
    tenant: TenantId,
    kind: Arc<Kind>,
    events: event::Message<'a>,
}

/// The sequencer of one partition.
///
/// # Invariants
/// Every INBOX message up to [`Marks::through`] is in a batch that was cut, in order, exactly once; a definition or a
/// day marker is taken in once however often the broker sources it.
pub struct Sequencer {
    subjects: Subjects,
    kinds: HashMap<Name, Arc<Kind>>,
    tables: HashMap<Name, Arc<CalendarTable>>,
    tenants: HashMap<TenantId, Customer>,
    /// For tenants that have no rates of their own.
    default_rates: Rates,
    /// What of the batch at hand stands for messages refused unread.
    refusals: Refusals,
    /// The rejects of the message at hand.
    alike: Alike,
    /// How far everything taken in reaches.
    marks: Marks,
    records: Vec<Record>,
    bytes: usize,
    /// Full batches that wait for [`Sequencer::cut`].
    ready: Vec<Cut>,
    /// Why the message taken last is foreign.
    passed_over: Option<&'static str>,
    /// Events rejected since this was asked for last.
    rejected: BTreeMap<Code, u64>,
    restating: Restating,
    /// Tenants with `restate_after` of whom a day closes in the batch at hand. Their next events begin another batch.
    closing: HashSet<TenantId>,
}

impl Sequencer {
    /// A sequencer whose log reaches `marks`, with the definitions that stand in CATALOG up to `marks.catalog`.
    pub fn new(subjects: Subjects, marks: Marks, definitions: impl IntoIterator<Item = Definition>) -> Self {
        let mut sequencer = Self {
            subjects,
            kinds: HashMap::new(),
            tables: HashMap::new(),
            tenants: HashMap::new(),
            default_rates: Rates::default(),
            refusals: Refusals::default(),
            alike: Alike::of(0),
            marks,
            records: Vec::new(),
            bytes: 0,
            ready: Vec::new(),
            passed_over: None,
            rejected: BTreeMap::new(),
            restating: Restating::behind(marks.restating),
            closing: HashSet::new(),
        };
        // Behind the beginning of the log, days may have closed.
        let closed = if marks.through == Through::default() { Closed::None } else { Closed::Unknown };
        for definition in definitions.into_iter().filter_map(Definition::for_log) {
            sequencer.define(definition, closed);
        }
        sequencer
    }

    /// The same, with rates for tenants that have none of their own.
    pub fn with_default_rates(self, default_rates: Rates) -> Self {
        Self { default_rates, ..self }
    }

    /// How far everything taken in so far reaches, whether it was cut or not.
    pub fn marks(&self) -> Marks {
        self.marks
    }

    /// Whether a batch of full size waits.
    pub fn is_full(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Whether there is anything to cut.
    pub fn is_empty(&self) -> bool {
        self.ready.is_empty() && self.records.is_empty() && self.bytes == 0
    }

    /// Records the restatements that are due at `now`, by a clock of its owner that never goes back.
    pub fn restate(&mut self, now: Duration) {
        let Self { restating, tenants, .. } = self;
        let interval = |tenant: &TenantId| tenants.get(tenant).and_then(|customer| customer.tenant.restate_after());
        for mark in restating.due(now, interval) {
            self.push(Record::Restate(mark), RESTATE_BYTES);
            self.cut_when_full();
        }
    }

    /// The next batch, full or not.
    pub fn cut(&mut self) -> Option<Cut> {
        if self.ready.is_empty() && !self.is_empty() {
            self.close_batch(self.marks);
        }
        (!self.ready.is_empty()).then(|| self.ready.remove(0))
    }

    /// Why the message that was taken last was passed over, if no service wrote it though one should have.
    pub fn passed_over(&mut self) -> Option<&'static str> {
        self.passed_over.take()
    }

    /// The events rejected since this was asked for last, by code.
    pub fn take_rejected(&mut self) -> BTreeMap<Code, u64> {
        std::mem::take(&mut self.rejected)
    }

    /// Takes the next message in. Messages come in the order of their sequences; one that is covered already is
    /// passed over.
    ///
    /// # Errors
    /// When it cannot be read and must not be passed over; then nothing has changed.
    pub fn take(&mut self, message: Inbound<'_>) -> Result<(), Stop> {
        if message.sequence < self.marks.through.next() {
            return Ok(());
        }
        let subject = self.subjects.parse_inbox(message.subject);
        let sourced = match subject {
            Some(InboxSubject::Day { .. } | InboxSubject::Catalog { .. }) => Some(self.sourced(message, subject)?),
            _ => None,
        };
        // Events make room for themselves, once it is known that they are not refused unread.
        if !matches!(subject, Some(InboxSubject::Event { .. })) {
            self.make_room(message.payload);
        }
        match subject {
            Some(InboxSubject::Event { tenant, kind }) => {
                let (tenant, kind) = (tenant.to_owned(), kind.to_owned());
                self.take_events(message, &tenant, &kind);
                return Ok(());
            }
            Some(InboxSubject::Wildcard { tokens }) => {
                let reason =
                    "the subject has a wildcard in it; publish to <prefix>.in.<tenant>.<kind> with an id and a name";
                let problem = Problem::new(Code::InvalidTenant, Some("subject"), reason);
                // The whole subject stands for the tenant: it is no id, whichever tenant was meant.
                let origin = Origin { tenant: tokens, kind: "", inbox: InboxSeq(message.sequence) };
                self.push_reject(origin.reject(0, message.payload, problem));
            }
            Some(InboxSubject::Day { .. } | InboxSubject::Catalog { .. }) => self.take_sourced(sourced, message),
            None => self.passed_over = Some("its subject is none of INBOX's"),
        }
        self.marks.through = Through { inbox: InboxSeq(message.sequence), events: 0 };
        self.cut_when_full();
        Ok(())
    }

    /// Cuts before a message that might not fit: a record is never apart from the mark that covers it.
    fn make_room(&mut self, payload: &[u8]) {
        if !self.records.is_empty() && self.bytes + payload.len() > BATCH_BYTES {
            self.close_batch(self.marks);
        }
        // Even a message that adds no record moves the mark, so that it is not read again.
        self.bytes += 1;
    }

    /// Takes in what was sourced, or passes over what is foreign.
    fn take_sourced(&mut self, sourced: Option<Sourced>, message: Inbound<'_>) {
        let source = message.source.map_or(0, |source| source.sequence);
        match sourced {
            Some(Sourced::Marker(marker)) => {
                self.marks.days = source;
                self.note_closed(&marker);
                self.push(Record::Day(marker), 300);
            }
            Some(Sourced::Definition(definition)) => {
                let definition = *definition;
                self.marks.catalog = source;
                if let Some(definition) = definition.for_log() {
                    self.define(definition.clone(), Closed::None);
                    self.push(Record::Define(definition), message.payload.len() + 100);
                }
            }
            Some(Sourced::Foreign(stream, why)) => {
                match stream {
                    Some(Stream::Days) => self.marks.days = source,
                    Some(Stream::Catalog) => self.marks.catalog = source,
                    None => {}
                }
                self.passed_over = Some(why);
            }
            Some(Sourced::Again) | None => {}
        }
    }

    fn note_closed(&mut self, marker: &DayMarker) {
        if marker.edge != Edge::Closed {
            return;
        }
        // One of a removed tenant may come late.
        let customer = self.tenants.get_mut(&marker.tenant);
        if let Some(customer) = customer.filter(|customer| customer.tenant.generation == marker.generation) {
            if customer.tenant.restate_after().is_some() {
                self.closing.insert(marker.tenant.clone());
            }
            customer.closed = match customer.closed {
                Closed::Through(known) => Closed::Through(known.max(marker.day.date)),
                Closed::None | Closed::Unknown => Closed::Through(marker.day.date),
            };
        }
    }

    /// Takes a definition in. `closed` is what is known of the days of a tenant that is new.
    fn define(&mut self, definition: Definition, closed: Closed) {
        match definition {
            Definition::Kind(kind) => {
                self.kinds.insert(kind.name.clone(), Arc::new(kind));
            }
            Definition::View(_) | Definition::Activation(_) | Definition::Group(_) => {}
            Definition::Calendar(table) => {
                let table = Arc::new(table);
                for customer in self.tenants.values_mut().filter(|c| c.tenant.table.as_ref() == Some(&table.name)) {
                    customer.table = Some(table.clone());
                }
                self.tables.insert(table.name.clone(), table);
            }
            Definition::Tenant(tenant) => {
                let table = tenant.table.as_ref().and_then(|name| self.tables.get(name)).cloned();
                // A new revision with the same rates goes on with what is left.
                let (meter, closed) = match self.tenants.remove(&tenant.id) {
                    Some(customer) => (customer.meter, customer.closed),
                    None => (None, closed),
                };
                let tenant = Arc::new(tenant);
                self.tenants.insert(tenant.id.clone(), Customer { tenant, table, meter, closed });
            }
            Definition::Removal(Removal::Tenant { id, .. }) => {
                self.tenants.remove(&id);
                self.restating.forget(&id);
                // The next tenant of the id has rejects of its own.
                self.refusals.end(&id);
            }
            Definition::Removal(Removal::Kind { name, .. }) => {
                self.kinds.remove(&name);
            }
            Definition::Removal(Removal::View { .. } | Removal::Group { .. }) => {}
        }
    }

    fn take_events(&mut self, message: Inbound<'_>, tenant_token: &str, kind_token: &str) {
        let sequence = InboxSeq(message.sequence);
        // The part of this message that an earlier batch covers.
        let through = self.marks.through;
        let covered = if through.inbox == sequence { through.events } else { 0 };
        let origin = Origin { tenant: tenant_token, kind: kind_token, inbox: sequence };
        let addressed = self.address(&message, &origin, covered > 0);
        // A report rests on all of its batch: what its tenant sends after the close goes into the next one.
        if let Ok(Some(Addressed { tenant, .. })) = &addressed
            && self.closing.contains(tenant)
        {
            self.close_batch(self.marks);
        }
        match addressed {
            // What was refused unread is in the batch at hand by now: that must not be closed before the mark is moved.
            Ok(None) => self.bytes += 1,
            _ => self.make_room(message.payload),
        }
        match addressed {
            Ok(Some(addressed)) => self.take_addressed(&message, &origin, covered, addressed),
            refused => {
                if let Err(problem) = refused {
                    self.push_reject(origin.reject(0, message.payload, problem));
                }
                self.marks.through = Through { inbox: sequence, events: 0 };
                self.cut_when_full();
            }
        }
    }

    /// Finds out whose events they are; none when the tenant is over its quota. A message that is begun was let in before.
    fn address<'a>(
        &mut self,
        message: &Inbound<'a>,
        origin: &Origin<'_>,
        is_begun: bool,
    ) -> Result<Option<Addressed<'a>>, Problem> {
        let split = || match message.unmapped {
            Some(why) => event::Message::unmapped(message.payload, why),
            None => event::Message::split(message.payload, message.encoding),
        };
        let tenant = self.tenant(origin.tenant).map_err(|problem| match message.unmapped {
            // Nobody could tell whose it is: the door's reason says more.
            Some(_) if origin.tenant == UNMAPPED_TENANT => split().problem().cloned().unwrap_or(problem),
            _ => problem,
        })?;
        let events = split();
        if !is_begun && self.refuses(&tenant, origin, events.events(), message) {
            return Ok(None);
        }
        Ok(Some(Addressed { tenant, kind: self.kind(origin.kind)?, events }))
    }

    /// Takes in the events of a message but for the first ones, which an earlier batch covers.
    fn take_addressed(&mut self, message: &Inbound<'_>, origin: &Origin<'_>, covered: u32, addressed: Addressed<'_>) {
        let Addressed { tenant, kind, events } = addressed;
        let customer = &self.tenants[&tenant];
        let days = Days::of(customer, message.stored_at);
        let (closed, is_gathered) = (customer.closed, customer.tenant.restate_after().is_some());
        let count = events.events() as usize;
        self.alike = Alike::of(message.payload.len());
        let mut read = events.read(origin.tenant, &kind).zip(0_u32..);
        // What an earlier batch covers is told there, and which rejects are told together hangs on it.
        for (event, index) in read.by_ref().take(covered as usize) {
            let stamped = event.outcome.and_then(|valid| days.stamp(valid.at));
            if let Err(problem) = stamped {
                self.alike.tell(origin.reject(index, event.original, problem), 0);
            }
        }
        self.alike.forget_places();
        for (event, index) in read {
            // The events of most messages stay together: their list need not grow. It may be cut short by a reject.
            let room = if index == 0 { count } else { 0 };
            let stamped = event.outcome.and_then(|valid| Ok((days.stamp(valid.at)?, valid)));
            match stamped {
                Ok((date, valid)) => {
                    let ValidEvent { at, id, version, status, dims, measures } = valid;
                    if is_gathered && closed.may_change(date, kind.mode == Mode::Entity) {
                        self.restating.note(&tenant);
                    }
                    let event = Event { index, date, at, id, version, status, dims, measures };
                    self.push_event(origin.inbox, &tenant, &kind.name, event, room);
                }
                Err(problem) => self.push_alike(origin.reject(index, event.original, problem)),
            }
            self.marks.through = Through { inbox: origin.inbox, events: index + 1 };
            self.cut_when_full();
        }
        self.marks.through = Through { inbox: origin.inbox, events: 0 };
        // A cut right behind the last event left the mark inside the message; the next batch moves it on.
        if self.records.is_empty() {
            self.bytes = self.bytes.max(1);
        }
    }

    /// The tenant that events are for.
    fn tenant(&self, tenant_token: &str) -> Result<TenantId, Problem> {
        let tenant = TenantId::new(tenant_token).map_err(|error| {
            Problem::new(Code::InvalidTenant, Some("subject"), format!("the tenant in the subject {error}"))
        })?;
        if !self.tenants.contains_key(&tenant) {
            let reason = format!("there is no tenant {tenant}; define it with `daybook apply` and publish again");
            return Err(Problem::new(Code::UnknownTenant, Some("subject"), reason));
        }
        Ok(tenant)
    }

    /// Whether the message is over the tenant's quota; then it is recorded as refused.
    fn refuses(&mut self, tenant: &TenantId, origin: &Origin<'_>, events: u64, message: &Inbound<'_>) -> bool {
        let customer = self.tenants.get_mut(tenant).expect("its tenant was looked up");
        let rates = Rates::of(&customer.tenant.quotas, self.default_rates);
        // Another rate begins with a full bucket.
        customer.meter.take_if(|meter| meter.rates != rates);
        let meter =
            (!rates.is_none()).then(|| customer.meter.get_or_insert_with(|| Meter::new(rates, message.stored_at)));
        let bytes = message.payload.len() as u64;
        let over = meter.map_or(Ok(()), |meter| meter.take(events, bytes, message.stored_at));
        let Err(over) = over else {
            self.refusals.end(tenant);
            return false;
        };
        let (code, reason) = match over {
            Over::Events(rate) => (Code::QuotaEvents, format!("over the quota of {rate} events a second")),
            Over::Bytes(rate) => (Code::QuotaBytes, format!("over the quota of {rate} bytes a second")),
        };
        *self.rejected.entry(code).or_default() += events;
        if self.refusals.extend(&mut self.records, tenant, origin.inbox, events) {
            return true;
        }
        let reason = format!("{reason}; publish these messages again more slowly, or have the tenant's quota raised");
        let span = Some(Span { events, last: origin.inbox });
        let reject = Reject { span, ..origin.reject(0, b"", Problem::new(code, None, reason)) };
        self.refusals.begin(tenant, self.records.len());
        self.record_reject(reject);
        true
    }

    fn kind(&self, kind_token: &str) -> Result<Arc<Kind>, Problem> {
        self.kinds.get(kind_token).cloned().ok_or_else(|| {
            let mut known: Vec<_> = self.kinds.keys().map(Name::as_str).collect();
            known.sort_unstable();
            known.truncate(16);
            let shown: String = kind_token.chars().take(64).collect();
            let reason = format!("there is no kind {shown:?}; the kinds are [{}]", known.join(", "));
            Problem::new(Code::UnknownKind, Some("subject"), reason)
        })
    }

    /// `room` is for how many events a new list has room.
    fn push_event(&mut self, inbox: InboxSeq, tenant: &TenantId, kind: &Name, event: Event, room: usize) {
        let bytes = 40
            + event.id.as_ref().map_or(1, |id| id.len() + 3)
            + event.dims.iter().map(|dim| dim.as_ref().map_or(1, |text| text.len() + 3)).sum::<usize>()
            + event.measures.len() * 9;
        match self.records.last_mut() {
            Some(Record::Events(events)) if events.inbox == inbox => {
                events.events.push(event);
                self.bytes += bytes;
            }
            _ => {
                let mut events = Vec::with_capacity(room);
                events.push(event);
                let events = Events { inbox, tenant: tenant.clone(), kind: kind.clone(), events };
                self.push(Record::Events(events), bytes + 40 + tenant.as_str().len() + kind.as_str().len());
            }
        }
    }

    fn push(&mut self, record: Record, bytes: usize) {
        self.records.push(record);
        self.bytes += bytes;
    }

    fn cut_when_full(&mut self) {
        if self.bytes >= BATCH_BYTES {
            self.close_batch(self.marks);
        }
    }

    fn close_batch(&mut self, marks: Marks) {
        let marks = Marks { restating: self.restating.is_waiting(), ..marks };
        let records = std::mem::take(&mut self.records);
        self.refusals = Refusals::default();
        self.alike.forget_places();
        self.closing.clear();
        self.bytes = 0;
        self.ready.push(Cut { batch: Batch { format: FORMAT, through: marks.through, records }, marks });
    }
}

#[cfg(test)]
mod tests;
