//! Tables as files: Parquet, CSV and NDJSON.

use super::columns::{Cells, Column, DECIMAL_DIGITS, Kind, Table, Values};
use daybook_domain::value::Number;
use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, DataType, DoubleType, FixedLenByteArray, FixedLenByteArrayType};
use parquet::data_type::{Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::sync::Arc;

/// How a table is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Decimals are decimals, days are dates
    Parquet,
    /// With a line of column names; empty for nothing
    Csv,
    /// An object a line
    Ndjson,
}

impl Format {
    pub fn extension(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Csv => "csv",
            Self::Ndjson => "ndjson",
        }
    }

    /// Writes a table to a new file, down to the disk.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(self, table: &Table, file: File) -> anyhow::Result<()> {
        let file = match self {
            Self::Parquet => parquet(table, file)?,
            Self::Csv => csv(table, file)?,
            Self::Ndjson => ndjson(table, file)?,
        };
        file.sync_all()?;
        Ok(())
    }
}

/// Bytes of an unscaled decimal.
const DECIMAL_BYTES: usize = 16;

fn parquet(table: &Table, file: File) -> Result<File, ParquetError> {
    let columns = table.columns.iter().map(|cells| declaration(&cells.column)).collect::<Vec<_>>().join(" ");
    let schema = Arc::new(parse_message_type(&format!("message daybook {{ {columns} }}"))?);
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let mut writer = SerializedFileWriter::new(file, schema, Arc::new(properties))?;
    let mut group = writer.next_row_group()?;
    for cells in &table.columns {
        column(&mut group, cells)?;
    }
    group.close()?;
    writer.into_inner()
}

fn declaration(Column { name, kind }: &Column) -> String {
    match kind {
        Kind::Text => format!("OPTIONAL BYTE_ARRAY {name} (STRING);"),
        Kind::Date => format!("REQUIRED INT32 {name} (DATE);"),
        Kind::Integer => format!("OPTIONAL INT64 {name};"),
        Kind::Decimal(scale) => {
            format!("OPTIONAL FIXED_LEN_BYTE_ARRAY ({DECIMAL_BYTES}) {name} (DECIMAL({DECIMAL_DIGITS},{scale}));")
        }
        Kind::Float => format!("OPTIONAL DOUBLE {name};"),
    }
}

fn column(group: &mut SerializedRowGroupWriter<'_, File>, cells: &Cells) -> Result<(), ParquetError> {
    match &cells.values {
        Values::Text(texts) => {
            let bytes = |text: &String| ByteArray::from(text.as_bytes().to_vec());
            optional::<ByteArrayType>(group, texts.iter().map(|text| text.as_ref().map(bytes)))
        }
        Values::Date(dates) => {
            let days: Vec<i32> = dates.iter().map(|date| date.as_days()).collect();
            let mut writer = group.next_column()?.expect("the schema has the table's columns");
            writer.typed::<Int32Type>().write_batch(&days, None, None)?;
            writer.close()
        }
        Values::Integer(integers) => optional::<Int64Type>(group, integers.iter().copied()),
        Values::Decimal(_, unscaled) => {
            let bytes = |value: i128| FixedLenByteArray::from(value.to_be_bytes().to_vec());
            optional::<FixedLenByteArrayType>(group, unscaled.iter().map(|value| value.map(bytes)))
        }
        Values::Float(numbers) => {
            optional::<DoubleType>(group, numbers.iter().map(|number| number.map(Number::to_f64)))
        }
    }
}

/// Writes a column in which some cells hold nothing.
fn optional<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, File>,
    cells: impl Iterator<Item = Option<T::T>>,
) -> Result<(), ParquetError> {
    let (mut values, mut levels) = (Vec::new(), Vec::new());
    for cell in cells {
        levels.push(i16::from(cell.is_some()));
        values.extend(cell);
    }
    let mut writer = group.next_column()?.expect("the schema has the table's columns");
    writer.typed::<T>().write_batch(&values, Some(&levels), None)?;
    writer.close()
}

fn csv(table: &Table, file: File) -> anyhow::Result<File> {
    let mut writer = csv::Writer::from_writer(BufWriter::new(file));
    writer.write_record(table.columns.iter().map(|cells| &cells.column.name))?;
    for row in 0..table.rows {
        writer.write_record(table.columns.iter().map(|cells| cells.values.text(row).unwrap_or_default()))?;
    }
    Ok(writer.into_inner().map_err(|error| error.into_error())?.into_inner().map_err(|error| error.into_error())?)
}

fn ndjson(table: &Table, file: File) -> anyhow::Result<File> {
    let mut writer = BufWriter::new(file);
    for row in 0..table.rows {
        let mut before = "{";
        for cells in &table.columns {
            let name = serde_json::to_string(&cells.column.name)?;
            write!(writer, "{before}{name}:{}", json(&cells.values, row)?)?;
            before = ",";
        }
        writer.write_all(b"}\n")?;
    }
    Ok(writer.into_inner().map_err(|error| error.into_error())?)
}

/// A cell as JSON. Numbers are written with all their digits.
fn json(values: &Values, row: usize) -> serde_json::Result<String> {
    match values.text(row) {
        None => Ok("null".to_owned()),
        Some(number) if values.is_number() => Ok(number),
        Some(text) => serde_json::to_string(&text),
    }
}
