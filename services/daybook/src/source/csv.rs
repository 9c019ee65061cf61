//! Rows of text below a header: each becomes an event, by what the catalogue says about the names in the header.

use super::input::Text;
use super::line_number::LineNumber;
use super::{MAX_RECORD_BYTES, Record, detect};
use anyhow::{Context as _, bail, ensure};
use csv::{ByteRecord, Reader, ReaderBuilder};
use daybook_domain::catalogue::{Kind, Mode};
use daybook_domain::ids::Name;
use serde::ser::{Serialize, SerializeMap, Serializer};
use std::collections::{BTreeMap, VecDeque};
use std::io::Read;
use std::sync::{Arc, OnceLock};

/// Bytes that the reader of rows takes at a time, and so may have of the next rows.
const BUFFER_BYTES: usize = 64 << 10;
/// The fields of an event that are texts in a cell, too.
const TEXT_FIELDS: [&str; 5] = ["tenant", "kind", "id", "at", "status"];
const VERSION: &str = "version";

/// What the columns of a CSV file mean.
#[derive(Clone, Debug, Default)]
pub struct Columns {
    /// Whether rows stay objects of texts by the names in the header, for a mapping; an empty cell is null.
    pub as_they_are: bool,
    /// The kinds that there are.
    pub kinds: Vec<Kind>,
    /// The kind of all rows; `None` when a column `kind` says it.
    pub kind: Option<Name>,
    /// The column with the tenant; `None` when all rows are of one tenant.
    pub tenant: Option<String>,
    /// The column with the time that drives a clock.
    pub clock: Option<String>,
    /// Filled with the names of columns that mean nothing.
    pub ignored: Arc<OnceLock<Vec<String>>>,
}

/// The rows of a table as events.
pub(super) struct Rows {
    reader: Reader<Limited>,
    header: Vec<String>,
    columns: Columns,
    /// What each column is, for the events of each kind.
    places: BTreeMap<Name, Vec<CellTarget>>,
    /// For those of a kind that is not defined.
    unknown: Vec<CellTarget>,
    /// The line on which the newest row ends.
    last_line: u64,
    record: ByteRecord,
}

/// Where the cells of a column go in an event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct CellTarget {
    /// A field of the event itself.
    field: Option<String>,
    dimension: Option<Name>,
    measure: Option<Name>,
}

impl CellTarget {
    fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

impl Rows {
    /// Reads the header of a table that begins with `head`.
    ///
    /// # Errors
    /// When it cannot be read, or lacks a column without which no row is an event.
    pub(super) fn new(mut text: Text, head: &[u8], columns: Columns) -> anyhow::Result<Self> {
        let (delimiter, passed_over) = detect::table(head);
        std::io::copy(&mut (&mut text).take(passed_over as u64), &mut std::io::sink())?;
        let input = Limited { text, given: 0, read: 0, line: 1, starts: VecDeque::new(), is_after_return: false };
        let mut reader = ReaderBuilder::new()
            .delimiter(delimiter)
            .has_headers(false)
            .flexible(true)
            .buffer_capacity(BUFFER_BYTES)
            .from_reader(input);
        let mut record = ByteRecord::new();
        reader.read_byte_record(&mut record).context("cannot read the header")?;
        let last_line = last_line(&mut reader);
        let header = record
            .iter()
            .map(|name| {
                Ok(std::str::from_utf8(name).context("the header is not UTF-8; save the file as UTF-8")?.trim())
            })
            .map(|name| name.map(str::to_owned))
            .collect::<anyhow::Result<Vec<String>>>()?;
        if !columns.as_they_are {
            check(&header, &columns)?;
        }
        let mut rows =
            Self { reader, header, columns, places: BTreeMap::new(), unknown: Vec::new(), last_line, record };
        if !rows.columns.as_they_are {
            rows.find_places();
        }
        Ok(rows)
    }

    /// Says what each column is, for each kind.
    fn find_places(&mut self) {
        let kinds = self.columns.kinds.iter().filter(|kind| self.columns.kind.as_ref().is_none_or(|k| *k == kind.name));
        let kinds: Vec<&Kind> = kinds.collect();
        // A cell that only another kind has a place for is put there, so that it is rejected and not lost in silence.
        let elsewhere =
            |name: &str| kinds.iter().map(|kind| place(name, kind, &self.columns)).find(|p| !p.is_nothing());
        for kind in &kinds {
            let of_kind = self.header.iter().map(|name| match place(name, kind, &self.columns) {
                place if place.is_nothing() => elsewhere(name).unwrap_or_default(),
                place => place,
            });
            self.places.insert(kind.name.clone(), of_kind.collect());
        }
        self.unknown = self.header.iter().map(|name| own_field(name, &self.columns)).collect();
        let means_nothing = |index: usize| {
            self.unknown[index].is_nothing() && self.places.values().all(|places| places[index].is_nothing())
        };
        let names = self.header.iter().enumerate().filter(|(index, _)| means_nothing(*index));
        let ignored: Vec<String> = names.map(|(_, name)| name.clone()).filter(|name| !name.is_empty()).collect();
        // A second reader of the same file finds the same.
        let _ = self.columns.ignored.set(ignored);
    }

    /// The next row that holds anything.
    ///
    /// # Errors
    /// When the text cannot be read on, or a row does not end.
    pub(super) fn next(&mut self) -> anyhow::Result<Option<Record>> {
        loop {
            let is_there = self
                .reader
                .read_byte_record(&mut self.record)
                .with_context(|| format!("cannot read the row behind line {}", self.last_line))?;
            if !is_there {
                return Ok(None);
            }
            self.last_line = last_line(&mut self.reader);
            let mut within = LineNumber::new(0);
            within.pass(self.record.as_slice());
            let line = self.last_line.saturating_sub(within.now);
            if self.record.iter().all(|cell| cell.trim_ascii().is_empty()) {
                continue;
            }
            return Ok(Some(Record { line, content: self.event() }));
        }
    }

    /// The row as an event.
    fn event(&self) -> Result<Vec<u8>, String> {
        let (cells, names) = (self.record.len(), self.header.len());
        let more = self.record.iter().skip(names).any(|cell| !cell.trim_ascii().is_empty());
        if cells < names || more {
            return Err(format!(
                "the row has {cells} cells and the header {names}: a quote or a delimiter is missing, or one too many"
            ));
        }
        let mut texts = Vec::with_capacity(names);
        for (name, cell) in self.header.iter().zip(self.record.iter()) {
            let text =
                std::str::from_utf8(cell).map_err(|_| format!("column {name} is not UTF-8; save the file as UTF-8"))?;
            texts.push(text);
        }
        if self.columns.as_they_are {
            let text = |text: &&str| if text.is_empty() { serde_json::Value::Null } else { (*text).into() };
            let cells = self.header.iter().cloned().zip(texts.iter().map(text));
            let object: serde_json::Map<String, serde_json::Value> = cells.collect();
            return Ok(serde_json::to_vec(&object).expect("texts are JSON"));
        }
        let kind = match &self.columns.kind {
            Some(kind) => Some(kind.as_str()),
            None => self.header.iter().position(|name| name == "kind").map(|index| texts[index].trim()),
        };
        let places = kind.and_then(|kind| self.places.get(kind)).unwrap_or(&self.unknown);
        Ok(serde_json::to_vec(&Row { places, texts: &texts }).expect("texts are JSON"))
    }
}

/// The line on which the row ends that was read last.
fn last_line(reader: &mut Reader<Limited>) -> u64 {
    let behind = reader.position().byte();
    let input = reader.get_mut();
    input.given = 0;
    input.line_of(behind.saturating_sub(1))
}

/// Refuses a header without which no row can be an event.
fn check(header: &[String], columns: &Columns) -> anyhow::Result<()> {
    let has = |name: &str| header.iter().any(|column| column == name);
    let found = || header.join(", ");
    for (index, name) in header.iter().enumerate() {
        ensure!(
            name.is_empty() || !header[..index].contains(name),
            "the header has two columns {name}; rename or remove one of them"
        );
    }
    ensure!(has("at"), "the header has no column `at`, the time of an event; it has: {}", found());
    match &columns.kind {
        None => ensure!(has("kind"), "the header has no column `kind`: add one, or give --kind; it has: {}", found()),
        Some(name) => {
            let kind = columns.kinds.iter().find(|kind| kind.name == *name);
            if kind.is_some_and(|kind| kind.mode == Mode::Entity) && !has("id") {
                bail!("the header has no column `id`, by which each {name} is known; it has: {}", found());
            }
        }
    }
    if let Some(tenant) = &columns.tenant {
        ensure!(
            has(tenant),
            "the header has no column `{tenant}`: give --tenant or --tenant-field; it has: {}",
            found()
        );
    }
    if let Some(clock) = &columns.clock {
        ensure!(has(clock), "the header has no column `{clock}`, which is to drive the clock; it has: {}", found());
    }
    Ok(())
}

/// Where a column goes that is a field of the event whatever its kind.
fn own_field(name: &str, columns: &Columns) -> CellTarget {
    let is_asked = |asked: &Option<String>| asked.as_deref() == Some(name);
    let is_field = TEXT_FIELDS.contains(&name) || name == VERSION;
    let is_field = is_field || is_asked(&columns.tenant) || is_asked(&columns.clock);
    CellTarget { field: is_field.then(|| name.to_owned()), ..CellTarget::default() }
}

/// Where a column goes in the events of a kind. `dims.` and `measures.` may stand before a name.
fn place(name: &str, kind: &Kind, columns: &Columns) -> CellTarget {
    let mut place = own_field(name, columns);
    if TEXT_FIELDS.contains(&name) || name == VERSION {
        return place;
    }
    let bare = |object: &str| name.strip_prefix(object).unwrap_or(name);
    let is_of_field = |field: &Option<Name>| field.as_ref().is_some_and(|field| field.as_str() == name);
    if let Some(dimension) = kind.dimensions.iter().find(|d| is_of_field(&d.field)) {
        place.field = dimension.field.as_ref().map(|field| field.as_str().to_owned());
    } else if let Some(index) = kind.dimension(bare("dims.")) {
        match &kind.dimensions[index].field {
            Some(field) => place.field = Some(field.as_str().to_owned()),
            None => place.dimension = Some(kind.dimensions[index].name.clone()),
        }
    } else if let Some(index) = kind.measure(bare("measures.")) {
        place.measure = Some(kind.measures[index].name.clone());
    }
    place
}

/// A row, written as an event. Empty cells are absent. Numbers stay texts, so that no digit is lost.
struct Row<'r> {
    places: &'r [CellTarget],
    texts: &'r [&'r str],
}

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let cells = || self.places.iter().zip(self.texts).filter(|(_, text)| !text.trim().is_empty());
        let mut event = serializer.serialize_map(None)?;
        for (place, text) in cells() {
            match place.field.as_deref() {
                None => {}
                Some(VERSION) => match text.trim().parse::<u64>() {
                    Ok(version) => event.serialize_entry(VERSION, &version)?,
                    // A reject says what is wrong with it.
                    Err(_) => event.serialize_entry(VERSION, text)?,
                },
                Some(field) => event.serialize_entry(field, text)?,
            }
        }
        let dims: BTreeMap<&str, &str> =
            cells().filter_map(|(place, text)| Some((place.dimension.as_ref()?.as_str(), *text))).collect();
        let measures: BTreeMap<&str, &str> =
            cells().filter_map(|(place, text)| Some((place.measure.as_ref()?.as_str(), text.trim()))).collect();
        event.serialize_entry("dims", &dims)?;
        event.serialize_entry("measures", &measures)?;
        event.end()
    }
}

/// Bounds how much is read for one row: a quote that is not closed would make one of the rest of the file. It also knows on
/// which line a byte stands, however lines end.
struct Limited {
    text: Text,
    /// Bytes given since the last row.
    given: usize,
    /// Bytes given in all.
    read: u64,
    /// The line of the newest byte that was asked for.
    line: u64,
    /// Where the lines behind it begin, as far as they are read.
    starts: VecDeque<u64>,
    is_after_return: bool,
}

impl Limited {
    /// The line of a byte; must not be before one that was asked for.
    fn line_of(&mut self, byte: u64) -> u64 {
        while self.starts.front().is_some_and(|start| *start <= byte) {
            self.starts.pop_front();
            self.line += 1;
        }
        self.line
    }

    fn note_lines(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if self.is_after_return && *byte != b'\n' {
                self.starts.push_back(self.read);
            }
            self.read += 1;
            if *byte == b'\n' {
                self.starts.push_back(self.read);
            }
            self.is_after_return = *byte == b'\r';
        }
    }
}

impl Read for Limited {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.given > MAX_RECORD_BYTES {
            let why = format!("the row is longer than {MAX_RECORD_BYTES} bytes: a quote is not closed");
            return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, why));
        }
        let count = self.text.read(buffer)?;
        self.given += count;
        self.note_lines(&buffer[..count]);
        Ok(count)
    }
}
