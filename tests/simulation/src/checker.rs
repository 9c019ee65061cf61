//! What is checked whenever something is stored.

use crate::broker::{Broker, Stored, Stream};
use crate::model::figures::{Covered, difference};
use crate::model::{Item, Model, TenantModel, definition_text, key_of, marker_text};
use crate::producer::Message;
use crate::replica::Replica;
use crate::settings::{Invariant, Place, Reached, Violation, ensure};
use crate::snapshots::{is_complete, is_usable};
use daybook_contracts::alert::{Alert, alert_id, alert_position};
use daybook_contracts::ask::{DaySelector, DayState, Query};
use daybook_contracts::day::{DayMarker, Edge};
use daybook_contracts::headers;
use daybook_contracts::log::{Batch, Record};
use daybook_contracts::reject::Rejects;
use daybook_contracts::report::{Coverage, Report, Row};
use daybook_domain::calendar::{BusinessDay, CalendarTable};
use daybook_domain::catalogue::Definition;
use daybook_domain::ids::{LogSeq, Partition};
use daybook_domain::time::Date;
use daybook_runtime::append::Found;
use daybook_runtime::log::Logged;
use daybook_runtime::written;
use daybook_runtime::written::header_number;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

type Checked = Result<(), Violation>;

/// Remembers what it needs to judge what comes next.
pub struct Checker {
    models: Vec<Model>,
    partitions: Vec<PartitionLog>,
    /// By subject, version and hash of the last report.
    reports: BTreeMap<String, (u32, String)>,
    days: BTreeMap<String, TenantDays>,
    /// By subject, the newest table of each partition.
    tables: BTreeMap<String, CalendarTable>,
    /// Rejected events that were told: INBOX sequence and index.
    told: BTreeSet<(u64, u32)>,
    /// By subject, where the last alert stands.
    alerts: BTreeMap<String, u64>,
    /// How often what is rare was compared.
    pub reached: Reached,
}

#[derive(Default)]
struct PartitionLog {
    /// Before which batch the log was trimmed when that was checked last.
    trimmed: LogSeq,
    /// How far into INBOX the log reaches.
    through: u64,
    /// By position, how far into INBOX each batch reaches, and the one before it.
    batches: BTreeMap<u64, (u64, u64)>,
    tenants: BTreeSet<String>,
    /// Batches with a mark of a restatement, or the definition of a tenant.
    marked: BTreeSet<u64>,
    /// Batches that say that a mark is to come.
    to_come: BTreeSet<u64>,
    /// Tenants that had their days restated at once at some time.
    at_once: BTreeSet<String>,
    /// By position, what the first replica there said.
    said: BTreeMap<LogSeq, blake3::Hash>,
}

/// The markers of a tenant so far.
#[derive(Default)]
struct TenantDays {
    opened: Vec<BusinessDay>,
    /// How many of them are closed.
    closed: usize,
}

impl Checker {
    pub fn new(partitions: u16) -> Self {
        Self {
            models: Partition::all(partitions).map(Model::new).collect(),
            partitions: Partition::all(partitions).map(|_| PartitionLog::default()).collect(),
            reports: BTreeMap::new(),
            days: BTreeMap::new(),
            tables: BTreeMap::new(),
            told: BTreeSet::new(),
            alerts: BTreeMap::new(),
            reached: Reached::new(),
        }
    }

    /// Judges a message that was just stored.
    ///
    /// # Errors
    /// The invariant that does not hold.
    pub fn stored(&mut self, stream: Stream, message: &Rc<Stored>, producers: &[Message]) -> Checked {
        match stream {
            Stream::Inbox => self.models.iter_mut().for_each(|model| model.push(message)),
            Stream::Events => self.batch(message, producers)?,
            Stream::Days => self.marker(message)?,
            Stream::Catalog => self.definition(message)?,
            Stream::Reports => self.report(message)?,
            Stream::Rejects => self.rejects(message)?,
            Stream::Alerts => self.alert(message)?,
            Stream::Clocks | Stream::Figures => {}
        }
        Ok(())
    }

    /// What is left of the log can be read from a snapshot, and its last batch, the fence of ingest, stays. Every snapshot has all of
    /// its pieces, but one of which the broker was told too late. Tells whether the log begins later than when this was asked last.
    ///
    /// # Errors
    /// When that is not so.
    pub fn trimmed(&mut self, broker: &Broker, partition: Partition) -> Result<bool, Violation> {
        let end = broker.log_end(partition).position();
        let follows = broker.next_batch(partition, 1).map_or(LogSeq(0), |(_, first)| first.follows);
        let log = &mut self.partitions[usize::from(partition.0)];
        let last = log.batches.keys().next_back().copied().unwrap_or(0);
        ensure(end == LogSeq(last), Invariant::Snapshots, || {
            format!("the log of {partition} ends with {end}, not with {last}")
        })?;
        for (object, _) in broker.snapshots(partition).filter(|(object, _)| !object.is_late) {
            ensure(is_complete(broker, partition, &object.manifest), Invariant::Snapshots, || {
                format!("pieces of the snapshot of {partition} at {} are not there", object.position)
            })?;
        }
        let mut there = broker.snapshots(partition).map(|(object, _)| object.position);
        let is_held =
            there.any(|position| (follows..=end).contains(&position) && is_usable(broker, partition, position));
        ensure(is_held || follows == LogSeq(0), Invariant::Snapshots, || {
            format!("no snapshot of {partition} reaches to {follows}, where its log begins")
        })?;
        Ok(std::mem::replace(&mut log.trimmed, follows) < follows)
    }

    /// A batch holds what INBOX has between the last batch and its own mark, in that order, and nothing else.
    fn batch(&mut self, message: &Stored, producers: &[Message]) -> Checked {
        let index = usize::from(message.partition.0);
        let (log, model) = (&mut self.partitions[index], &mut self.models[index]);
        let batch = Batch::decode(&message.payload).expect("ingest appends batches");
        let (from, through) = (log.through, batch.through.inbox.0);
        ensure(batch.through.events == 0, Invariant::ExactlyOnce, || "a message in parts, though none is long".into())?;
        let logged = Logged::read(message.message());
        ensure(logged.is_ok(), Invariant::ExactlyOnce, || {
            format!("batch {} is not known again, or marked otherwise than it reaches", message.sequence)
        })?;
        if logged.is_ok_and(|logged| logged.marks.restating) {
            log.to_come.insert(message.sequence);
        }
        let (mut found, mut why) = (Vec::new(), String::new());
        for record in &batch.records {
            match record {
                Record::Events(events) => found.extend(events.events.iter().map(|event| Item::Event {
                    inbox: events.inbox.0,
                    index: event.index,
                    date: event.date,
                })),
                Record::Rejected(reject) => {
                    why = format!(" {}", reject.reason);
                    found.push(Item::Reject { inbox: reject.inbox.0, index: reject.index, events: reject.events() });
                }
                Record::Day(marker) => {
                    let key = key_of(marker.tenant.as_str(), marker.generation);
                    ensure(log.tenants.contains(&key), Invariant::Days, || {
                        format!("a day of {} is in the log before its tenant", marker.tenant)
                    })?;
                    found.push(Item::Marker(marker_text(marker)));
                }
                Record::Define(definition) => {
                    if let Definition::Tenant(tenant) = definition {
                        let key = key_of(tenant.id.as_str(), tenant.generation);
                        if log.tenants.insert(key.clone()) && tenant.generation > 0 {
                            *self.reached.entry(Place::Reborn).or_default() += 1;
                        }
                        log.marked.insert(message.sequence);
                        if tenant.restate_after_ms == Some(0) {
                            log.at_once.insert(key);
                        }
                    }
                    found.push(Item::Define(definition_text(definition)));
                }
                Record::Restate(_) => {
                    log.marked.insert(message.sequence);
                }
            }
        }
        let begun = message.tag.expect("owners say where they began") as u64;
        model.take_in(message.sequence, through, begun, producers);
        let (before, behind) = (model.upto(from), model.upto(through));
        let expected: Vec<Item> = model
            .entries
            .get(before..behind)
            .unwrap_or_default()
            .iter()
            .flat_map(|entry| entry.items.clone())
            .collect();
        // A mark alone covers nothing of INBOX.
        let is_mark = matches!(batch.records[..], [Record::Restate(_), ..]);
        let reaches = through > from || (through == from && is_mark);
        ensure(reaches && found == expected, Invariant::ExactlyOnce, || {
            format!(
                "batch {} of {}, INBOX {from} to {through}, should hold {expected:?}, but holds {found:?}{why}",
                message.sequence, message.partition
            )
        })?;
        log.batches.insert(message.sequence, (from, through));
        log.through = through;
        Ok(())
    }

    /// Days follow each other without a gap, each is opened once and closed once, behind its successor's opening.
    fn marker(&mut self, message: &Stored) -> Checked {
        let marker: DayMarker = serde_json::from_slice(&message.payload).expect("day-manager publishes markers");
        let days = self.days.entry(key_of(marker.tenant.as_str(), marker.generation)).or_default();
        let told = || {
            format!("{} of {marker:?} behind {:?}, {} closed", marker.edge.as_str(), days.opened.last(), days.closed)
        };
        let is_sound = match marker.edge {
            Edge::Opened => days.opened.last().is_none_or(|last| last.closes_at == marker.day.opens_at),
            Edge::Closed => days.opened.get(days.closed) == Some(&marker.day) && days.closed + 1 < days.opened.len(),
        };
        ensure(is_sound && marker.day.opens_at < marker.day.closes_at, Invariant::Days, told)?;
        match marker.edge {
            Edge::Opened => days.opened.push(marker.day),
            Edge::Closed => days.closed += 1,
        }
        Ok(())
    }

    /// A published interval is never rewritten.
    fn definition(&mut self, message: &Stored) -> Checked {
        let definition = serde_json::from_slice(&message.payload).expect("day-manager publishes definitions");
        let Definition::Calendar(table) = definition else { return Ok(()) };
        if let Some(known) = self.tables.get(&message.subject) {
            let offset = usize::try_from(known.first.days_since(table.first));
            let is_kept = offset.is_ok_and(|offset| table.cutoffs[offset..].starts_with(&known.cutoffs));
            ensure(is_kept && known.revision <= table.revision, Invariant::Days, || {
                format!("{} was published otherwise before", message.subject)
            })?;
        }
        self.tables.insert(message.subject.clone(), table);
        Ok(())
    }

    /// A report is one version after the last, names the one it supersedes, and says what the model says.
    fn report(&mut self, message: &Stored) -> Checked {
        let report: Report = serde_json::from_slice(&message.payload).expect("a shard publishes reports");
        let what = || format!("{} version {}", message.subject, report.version);
        let subject = key_of(&message.subject, report.generation);
        let before = self.reports.get(&subject);
        let version = before.map_or(0, |(version, _)| *version);
        let hash = blake3::hash(&message.payload).to_hex().to_string();
        let told = message.headers.get(headers::HASH).map(|hash| hash.as_str());
        ensure(report.version == version + 1 && told == Some(&*hash), Invariant::Reports, || {
            format!("{} behind version {version}", what())
        })?;
        let supersedes = report.supersedes.as_ref().map(|supersedes| (supersedes.version, supersedes.hash.clone()));
        ensure(supersedes.as_ref() == before, Invariant::Reports, || {
            format!("{} supersedes {supersedes:?}, not {before:?}", what())
        })?;
        self.reports.insert(subject, (report.version, hash));

        let index = usize::from(report.log.partition.0);
        let (model, log) = (&self.models[index], &self.partitions[index]);
        let id = key_of(report.tenant.as_str(), report.generation);
        let id = id.as_str();
        let tenant = &model.tenants[id];
        let (_, through) = log.batches[&report.log.through.0];
        // The first version is made where the day closes, others at the end of a batch, or where the day goes.
        let closed = |entry: &crate::model::Entry| match &entry.closed {
            Some((of, date, gone)) if of == id => {
                (report.version == 1 && *date == report.date) || (report.version > 1 && *gone > report.date)
            }
            _ => false,
        };
        let end = model.upto(through);
        let closed_at = model.entries[..end].iter().position(closed);
        let upto = closed_at.map_or(end, |index| index + 1);
        let is_gathered = report.version > 1 && closed_at.is_none() && !log.at_once.contains(id);
        ensure(!is_gathered || log.marked.contains(&report.log.through.0), Invariant::Reports, || {
            format!("{} without a mark", what())
        })?;
        ensure(tenant.there.contains(&upto), Invariant::Removals, || format!("{} of a removed tenant", what()))?;
        ensure(report.version > 1 || upto < end + 1, Invariant::Reports, || format!("{} of an open day", what()))?;
        let account = model.account(id, report.date, upto);
        ensure(report.dispositions == account && account.balances(), Invariant::Dispositions, || {
            format!("{}: {:?}, the model has {account:?}", what(), report.dispositions)
        })?;
        let views: BTreeMap<_, _> =
            model.views(&tenant.definition, upto).map(|each| (each.view.name.clone(), each)).collect();
        ensure(report.views.keys().eq(views.keys()), Invariant::Figures, || {
            format!("{} has the views {:?}, the model {:?}", what(), report.views.keys(), views.keys())
        })?;
        // The first view that does not cover everything is told.
        let mut coverage = Covered::All;
        for (name, view) in views {
            let found = cells(&report.views[&name].rows);
            let expected = model.figures(tenant, view, report.date, upto);
            ensure(found == expected.rows, Invariant::Figures, || {
                format!("{}, {name}: {}", what(), difference(&expected.rows, &found))
            })?;
            if coverage == Covered::All {
                coverage = expected.covered;
            }
        }
        ensure(coverage == covered(&report.coverage), Invariant::Figures, || {
            format!("{}: {coverage:?} by the model, coverage {:?}", what(), report.coverage)
        })
    }

    fn rejects(&mut self, message: &Stored) -> Checked {
        let rejects: Rejects = serde_json::from_slice(&message.payload).expect("a shard publishes rejects");
        for reject in rejects.rejects {
            ensure(self.told.insert((reject.inbox.0, reject.index)), Invariant::Rejects, || {
                format!("event {} of {} is told twice as rejected", reject.index, reject.inbox)
            })?;
        }
        Ok(())
    }

    /// Each alert stands behind the one before, at the place that its id names.
    fn alert(&mut self, message: &Stored) -> Checked {
        if message.is_foreign {
            return Ok(());
        }
        let alert: Alert = serde_json::from_slice(&message.payload).expect("a shard publishes alerts");
        let position = header_number(&message.headers, headers::POSITION).unwrap_or_default();
        let number = position.checked_sub(alert_position(alert.log, 0));
        let is_named = number.is_some_and(|number| alert.id == alert_id(&alert.tenant, alert.log, number));
        let before = self.alerts.insert(message.subject.clone(), position);
        ensure(is_named && before.is_none_or(|before| before < position), Invariant::Alerts, || {
            format!("{} at {position} of {} is told behind {before:?}", alert.id, message.subject)
        })?;
        *self.reached.entry(Place::Alerted).or_default() += 1;
        Ok(())
    }

    /// Judges what a replica says at its position: against the model, if it is the first there, else against the first.
    /// `everything` of it, or the days only that the last batch touched.
    ///
    /// # Errors
    /// The invariant that does not hold.
    pub fn applied(&mut self, replica: &mut Replica, everything: bool) -> Checked {
        let (partition, number) = (replica.partition, replica.number);
        let index = usize::from(partition.0);
        let (log, model) = (&mut self.partitions[index], &self.models[index]);
        let raised = replica.raised();
        let Some(state) = replica.state() else { return Ok(()) };
        let position = state.position();
        let Some((from, through)) = log.batches.get(&position.0).copied() else { return Ok(()) };
        let what = || format!("replica {partition}/{number} at batch {position}");
        let upto = model.upto(through);
        let mut said = blake3::Hasher::new();
        let is_first = everything || !log.said.contains_key(&position);
        for (id, tenant) in &model.tenants {
            let is_there = tenant.there.contains(&upto);
            let others = || model.tenants.values().filter(|other| other.definition.id == tenant.definition.id);
            let days = state.days(&tenant.definition.id);
            ensure(days.is_ok() == others().any(|other| other.there.contains(&upto)), Invariant::Removals, || {
                format!("{}: {id} is there: {is_there}, but {days:?}", what())
            })?;
            let Ok(days) = days else { continue };
            if !is_there {
                continue;
            }
            said.update(&serde_json::to_vec(&days).expect("a plain value"));
            for day in days.days.iter().filter(|day| day.restating) {
                ensure(log.to_come.contains(&position.0), Invariant::Reports, || {
                    format!("{}: {id} {} waits for a mark, and none is to come", what(), day.date)
                })?;
            }
            let mut expected = if is_first { model.days(tenant, upto) } else { BTreeMap::new() };
            for day in days.days.iter().filter(|_| is_first) {
                let account = model.account(id, day.date, upto);
                let is_closed = expected.remove(&day.date).unwrap_or(false);
                ensure(account == day.account && account.balances(), Invariant::Dispositions, || {
                    format!("{}: {id} {}: {:?}, the model has {account:?}", what(), day.date, day.account)
                })?;
                ensure(is_closed == (day.day == DayState::Closed), Invariant::Days, || {
                    format!("{}: {id} {} is {:?}", what(), day.date, day.day)
                })?;
            }
            ensure(expected.is_empty(), Invariant::Dispositions, || format!("{}: {id} lacks {expected:?}", what()))?;
            let touched = touched(model, tenant, model.upto(from)..upto);
            let kept: Vec<Date> = days.days.iter().map(|day| day.date).collect();
            for in_force in model.views(&tenant.definition, upto) {
                let view = &in_force.view;
                for date in kept.iter().filter(|date| everything || touched.contains(date)) {
                    let query = Query { grain: view.grain.into(), ..Query::days(DaySelector::Date(*date)) };
                    let answer = state.view(&tenant.definition.id, &view.name, &query);
                    let answer = answer.map_err(|error| Violation {
                        invariant: Invariant::Figures,
                        what: format!("{}: {id} {date} {}: {error:?}", what(), view.name),
                    })?;
                    said.update(&serde_json::to_vec(&answer).expect("a plain value"));
                    if is_first {
                        let (found, expected) = (cells(&answer.rows), model.figures(tenant, in_force, *date, upto));
                        ensure(found == expected.rows, Invariant::Figures, || {
                            format!("{}: {id} {date} {}: {}", what(), view.name, difference(&expected.rows, &found))
                        })?;
                        if in_force.made_of.contains_key(id) {
                            let is_partial = matches!(expected.covered, Covered::Since(_));
                            let place = if is_partial { Place::Partial } else { Place::WholeAllTheSame };
                            *self.reached.entry(place).or_default() += 1;
                        }
                        let is_told = covered(&answer.coverage);
                        ensure(expected.covered == is_told, Invariant::Figures, || {
                            format!(
                                "{}: {id} {date} {}: {:?} by the model, {:?}",
                                what(),
                                view.name,
                                expected.covered,
                                answer.coverage
                            )
                        })?;
                    }
                }
            }
        }
        if !everything {
            // All of the state, whatever the batch touched.
            let digest = state.digest().expect("replicas keep digests");
            said.update(digest.state.as_bytes());
            if let Some(raised) = raised {
                said.update(raised.as_bytes());
            }
            let said = said.finalize();
            let first = *log.said.entry(position).or_insert(said);
            ensure(first == said, Invariant::Replicas, || format!("{} says something else than another", what()))?;
        }
        Ok(())
    }

    /// What must be so when everything has come to rest.
    ///
    /// # Errors
    /// The invariant that does not hold.
    pub fn at_rest(&mut self, broker: &Broker, replicas: &mut [Replica]) -> Checked {
        for replica in replicas.iter_mut() {
            self.applied(replica, true)?;
            let model = &self.models[usize::from(replica.partition.0)];
            let Some(state) = replica.state() else { continue };
            for tenant in model.tenants.values().filter(|tenant| tenant.there.end == usize::MAX) {
                let id = &tenant.definition.id;
                for day in state.days(id).map(|days| days.days).unwrap_or_default() {
                    let subject = key_of(&broker.subjects.report(id, day.date), tenant.definition.generation);
                    let version = self.reports.get(&subject).map(|(version, _)| *version);
                    ensure(version == day.report, Invariant::Reports, || {
                        format!("{subject} has version {version:?}, the state {:?}", day.report)
                    })?;
                    let read = |message: written::Message<'_>| written::report::<Report>(&broker.subjects, message);
                    let newest =
                        broker.last_written(Stream::Reports, &broker.subjects.report(id, day.date), read).found;
                    let generation = newest.map(|newest| newest.value.generation);
                    let is_its_own = version.is_none() || generation == Some(tenant.definition.generation);
                    ensure(is_its_own, Invariant::Reports, || format!("{subject} is of generation {generation:?}"))?;
                    ensure(!day.restating, Invariant::Reports, || format!("{subject} waits for a mark"))?;
                    ensure((day.day == DayState::Closed) == version.is_some(), Invariant::Reports, || {
                        format!("{subject} is {:?} with version {version:?}", day.day)
                    })?;
                }
            }
        }
        self.definitions_agree(broker)?;
        for model in &self.models {
            for entry in &model.entries {
                for fate in &entry.fates {
                    let is_told = self.told.contains(&(entry.inbox, fate.index));
                    ensure(fate.is_told == is_told, Invariant::Rejects, || {
                        format!("event {} of {}: {fate:?} told {is_told}", fate.index, entry.inbox)
                    })?;
                }
            }
            self.newest_reports(broker, model)?;
        }
        Ok(())
    }

    /// What is defined for everyone is the same in every partition.
    fn definitions_agree(&self, broker: &Broker) -> Checked {
        let mut known: BTreeMap<String, Vec<Definition>> = BTreeMap::new();
        let read = |message: written::Message<'_>| written::definition(&broker.subjects, message);
        for (_, newest) in broker.newest_written(Stream::Catalog, read) {
            let Some(Found { value: (_, definition), .. }) = newest.found else { continue };
            let (what, name) = (definition.what(), definition.name());
            if definition.tenant().is_none() && !matches!(definition, Definition::Activation(_)) {
                known.entry(format!("{what} {name}")).or_default().push(definition);
            }
        }
        for (what, definitions) in known {
            let is_everywhere = definitions.len() == self.models.len();
            let agree = is_everywhere && definitions.iter().all(|each| *each == definitions[0]);
            ensure(agree, Invariant::Definitions, || format!("{what} differs between partitions: {definitions:?}"))?;
        }
        Ok(())
    }

    /// What restating views say in the newest report of a day is what they hold now.
    fn newest_reports(&self, broker: &Broker, model: &Model) -> Checked {
        let end = model.entries.len();
        for (id, tenant) in model.tenants.iter().filter(|(_, tenant)| tenant.there.end == usize::MAX) {
            let kept = model.days(tenant, end);
            for date in kept.into_iter().filter(|(_, closed)| *closed).map(|(date, _)| date) {
                let subject = broker.subjects.report(&tenant.definition.id, date);
                let read = |message: written::Message<'_>| written::report::<Report>(&broker.subjects, message);
                let Some(newest) = broker.last_written(Stream::Reports, &subject, read).found else { continue };
                let report = newest.value;
                for in_force in model.views(&tenant.definition, end) {
                    let view = &in_force.view;
                    let is_restated = view.late_on(date) == daybook_domain::catalogue::LatePolicy::Restate;
                    let revision = report.definitions.views.get(&view.name);
                    if !is_restated || revision != Some(&view.revision) {
                        continue;
                    }
                    let found = cells(&report.views[&view.name].rows);
                    let expected = model.figures(tenant, in_force, date, end).rows;
                    ensure(found == expected, Invariant::Reports, || {
                        format!("{id} {date} {} was not restated: {}", view.name, difference(&expected, &found))
                    })?;
                }
            }
        }
        Ok(())
    }
}

/// The days of a tenant that entries touched.
fn touched(model: &Model, tenant: &TenantModel, entries: std::ops::Range<usize>) -> BTreeSet<Date> {
    let id = tenant.key.as_str();
    let entries = model.entries.get(entries).unwrap_or_default();
    let fates = entries.iter().flat_map(|entry| &entry.fates).filter(|fate| fate.tenant == id);
    let dates = fates.flat_map(|fate| fate.booked.into_iter().chain(fate.carried.iter().map(|posting| posting.date)));
    let opened = entries.iter().filter_map(|entry| entry.opened.as_ref()).filter(|(of, _)| of == id);
    dates.chain(opened.map(|(_, date)| *date)).collect()
}

/// A coverage as the model has it.
fn covered(coverage: &Coverage) -> Covered {
    match coverage {
        Coverage::Complete => Covered::All,
        Coverage::Partial { from, .. } => Covered::Since(*from),
        Coverage::Capped { .. } => Covered::Capped,
        Coverage::Missing { .. } => unreachable!("only answers about groups of tenants have it"),
    }
}

fn cells(rows: &[Row]) -> Vec<Vec<String>> {
    let mut rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.0.iter().map(|(_, figure)| figure.to_string()).collect()).collect();
    rows.sort();
    rows
}
