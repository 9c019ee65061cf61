//! The formats in which tools write events.

use clap::ValueEnum;

/// How the events of a file are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Told by the file's name and its first line
    #[default]
    Auto,
    /// One JSON object a line
    Ndjson,
    /// One JSON array, or objects one after the other, over any number of lines
    Json,
    /// Rows of text below a header with the names of the columns
    Csv,
}
