//! What the files of a tenant's view rest on, kept beside them, so that a repeated export writes only what is new.
//!
//! A file is replaced whole, and then noted in the ledger, which is stored now and then and at the end. An export that is killed in between
//! has written files that the ledger does not know, and the next one writes them again.

use super::columns::{Columns, Table};
use super::files::Format;
use crate::own_files;
use anyhow::Context as _;
use daybook_domain::time::Date;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

/// The ledger's name. It begins with a point, so that patterns for files pass it over.
const NAME: &str = ".daybook-export.json";

/// Days that are noted before the ledger is stored: it grows with the days, and is stored whole.
const DAYS_AT_ONCE: usize = 64;

/// The file that an export holds a lock on.
const LOCK: &str = ".daybook-export.lock";

/// What a day's file rests on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exported {
    /// Version of the report.
    pub report: u32,
    /// Hash of the report.
    pub hash: String,
    /// Revision of the view.
    pub definition: u64,
}

/// The ledger of a folder, which is locked for as long as this is there.
#[derive(Debug)]
pub struct Ledger {
    folder: PathBuf,
    content: Content,
    /// Days that were noted and are not stored.
    unstored: usize,
    _lock: File,
}

#[derive(Debug, Serialize, Deserialize)]
struct Content {
    format: Format,
    columns: Columns,
    days: BTreeMap<String, Exported>,
}

impl Ledger {
    /// Reads a folder's ledger, or begins one. Days that were exported with other columns are exported again.
    ///
    /// # Errors
    /// The folder cannot be used, another export writes there, or its files are in another format.
    pub fn open(folder: &Path, format: Format, columns: &Columns) -> anyhow::Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
        let Some(lock) = own_files::lock(&folder.join(LOCK))? else {
            anyhow::bail!("another export writes to {}; wait until it has ended", folder.display())
        };
        let path = folder.join(NAME);
        let new = || Content { format, columns: columns.clone(), days: BTreeMap::new() };
        let content = match fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => new(),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
            Ok(bytes) => {
                let known: Content = serde_json::from_slice(&bytes).with_context(|| {
                    format!("{} cannot be read; remove it, and all days are exported again", path.display())
                })?;
                let other = known.format.extension();
                anyhow::ensure!(
                    known.format == format,
                    "{} has {other} files; export them with --format {other}, or elsewhere with --to",
                    folder.display()
                );
                if known.columns == *columns { known } else { new() }
            }
        };
        Ok(Self { folder: folder.to_owned(), content, unstored: 0, _lock: lock })
    }

    /// Whether the day's file is there and rests on this.
    pub fn has(&self, day: Date, exported: &Exported) -> bool {
        self.content.days.get(&day.to_string()) == Some(exported) && self.file(day).is_file()
    }

    /// Writes a day's file, and notes what it rests on.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn write(&mut self, day: Date, exported: Exported, table: &Table) -> anyhow::Result<()> {
        let format = self.content.format;
        own_files::replace(&self.file(day), own_files::SHARED, |file| format.write(table, file))?;
        self.content.days.insert(day.to_string(), exported);
        self.unstored += 1;
        if self.unstored == DAYS_AT_ONCE { self.store() } else { Ok(()) }
    }

    /// Stores what was noted since it was stored last. Without this, the next export writes those days again.
    ///
    /// # Errors
    /// The ledger cannot be written.
    pub fn store(&mut self) -> anyhow::Result<()> {
        if self.unstored == 0 {
            return Ok(());
        }
        let text = serde_json::to_vec(&self.content)?;
        own_files::replace(&self.folder.join(NAME), own_files::SHARED, |mut file| {
            file.write_all(&text)?;
            Ok(file.sync_all()?)
        })?;
        self.unstored = 0;
        Ok(())
    }

    fn file(&self, day: Date) -> PathBuf {
        self.folder.join(format!("{day}.{}", self.content.format.extension()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::columns::{Cells, Column, Kind, Values};
    use super::*;
    use daybook_domain::value::Number;

    fn columns() -> Columns {
        let column = |name: &str, kind| Column { name: name.to_owned(), kind };
        Columns(vec![
            column("tenant", Kind::Text),
            column("day", Kind::Date),
            column("n", Kind::Integer),
            column("total", Kind::Decimal(2)),
            column("spread", Kind::Float),
        ])
    }

    fn table(day: Date) -> Table {
        let values = [
            Values::Text(vec![Some("acme".into()), None]),
            Values::Date(vec![day; 2]),
            Values::Integer(vec![Some(-7), None]),
            Values::Decimal(2, vec![Some(-507_730), None]),
            Values::Float(vec![Some(Number::new(15, 1)), None]),
        ];
        let columns = columns().0.into_iter().zip(values).map(|(column, values)| Cells { column, values });
        Table { rows: 2, columns: columns.collect() }
    }

    fn exported(report: u32) -> Exported {
        Exported { report, hash: "ab".into(), definition: 1 }
    }

    #[test]
    fn each_format_is_written_once_for_what_it_rests_on() {
        let day: Date = "2026-01-01".parse().unwrap();
        for format in [Format::Parquet, Format::Csv, Format::Ndjson] {
            let folder = tempfile::tempdir().unwrap();
            let mut ledger = Ledger::open(folder.path(), format, &columns()).unwrap();
            assert!(!ledger.has(day, &exported(1)));
            ledger.write(day, exported(1), &table(day)).unwrap();
            ledger.store().unwrap();
            let error = Ledger::open(folder.path(), format, &columns()).unwrap_err().to_string();
            assert!(error.contains("another export writes to"), "{error}");
            drop(ledger);
            let ledger = Ledger::open(folder.path(), format, &columns()).unwrap();
            assert!(ledger.has(day, &exported(1)) && !ledger.has(day, &exported(2)));
            let bytes = fs::read(ledger.file(day)).unwrap();
            match format {
                Format::Parquet => assert_eq!(&bytes[..4], b"PAR1"),
                Format::Csv => assert_eq!(
                    String::from_utf8(bytes).unwrap(),
                    "tenant,day,n,total,spread\nacme,2026-01-01,-7,-5077.30,1.5\n,2026-01-01,,,\n"
                ),
                Format::Ndjson => assert_eq!(
                    String::from_utf8(bytes).unwrap(),
                    "{\"tenant\":\"acme\",\"day\":\"2026-01-01\",\"n\":-7,\"total\":-5077.30,\"spread\":1.5}\n\
                     {\"tenant\":null,\"day\":\"2026-01-01\",\"n\":null,\"total\":null,\"spread\":null}\n"
                ),
            }
            fs::remove_file(ledger.file(day)).unwrap();
            assert!(!ledger.has(day, &exported(1)), "a file that is gone is written again");
        }
    }

    #[test]
    fn other_columns_begin_anew_and_another_format_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let day: Date = "2026-01-01".parse().unwrap();
        let mut ledger = Ledger::open(folder.path(), Format::Csv, &columns()).unwrap();
        ledger.write(day, exported(1), &table(day)).unwrap();
        ledger.store().unwrap();
        drop(ledger);
        let fewer = Columns(columns().0[..3].to_vec());
        assert!(!Ledger::open(folder.path(), Format::Csv, &fewer).unwrap().has(day, &exported(1)));
        let error = Ledger::open(folder.path(), Format::Parquet, &columns()).unwrap_err().to_string();
        assert!(error.contains("has csv files; export them with --format csv"), "{error}");
        fs::write(folder.path().join(NAME), b"{").unwrap();
        let error = Ledger::open(folder.path(), Format::Csv, &columns()).unwrap_err().to_string();
        assert!(error.contains("remove it, and all days are exported again"), "{error}");
    }

    #[test]
    fn parquet_is_read_back_as_it_was_written() {
        use parquet::file::reader::{FileReader as _, SerializedFileReader};
        use parquet::record::RowAccessor as _;
        let folder = tempfile::tempdir().unwrap();
        let day: Date = "2026-01-01".parse().unwrap();
        let mut ledger = Ledger::open(folder.path(), Format::Parquet, &columns()).unwrap();
        ledger.write(day, exported(1), &table(day)).unwrap();
        let reader = SerializedFileReader::new(File::open(ledger.file(day)).unwrap()).unwrap();
        let rows: Vec<_> = reader.get_row_iter(None).unwrap().map(Result::unwrap).collect();
        assert_eq!(rows.len(), 2);
        assert_eq!((rows[0].get_string(0).unwrap().as_str(), rows[0].get_long(2).unwrap()), ("acme", -7));
        assert_eq!(rows[0].get_double(4).unwrap(), 1.5);
        assert!(rows[0].to_string().contains("-5077.30"), "{}", rows[0]);
        assert!(rows[1].to_string().contains("total: null"), "{}", rows[1]);
    }
}
