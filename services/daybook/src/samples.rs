//! Records of a file, to try a mapping on: JSON values one after the other, each on one line or many, or CSV with a header.

use crate::source::Source;
use anyhow::{Context as _, ensure};
use serde_json::value::RawValue;
use std::path::Path;

/// Longest file of samples, in bytes when decompressed: what a person may look through.
pub const MAX_SAMPLE_BYTES: usize = 64 << 20;

/// A record of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The line on which it begins.
    pub line: u64,
    pub body: Vec<u8>,
}

/// The first records of a file, `most` of them at most. What is not JSON is a record of one line, for the mapping to refuse.
///
/// # Errors
/// When the file cannot be read, or is longer than [`MAX_SAMPLE_BYTES`].
pub fn read(path: &Path, most: usize) -> anyhow::Result<Vec<Sample>> {
    let plain = path.with_extension("");
    let endings = [path, &plain].map(|path| path.extension().and_then(|ending| ending.to_str()).map(str::to_owned));
    let is_csv = match &endings {
        [Some(ending), _] if ending == "csv" => true,
        [Some(ending), Some(inner)] => matches!(ending.as_str(), "gz" | "zst") && inner == "csv",
        _ => false,
    };
    let mut source = Source::open(path)?;
    // Every line at its number, so that a record is found again.
    let mut text = Vec::new();
    let mut lines = 1;
    while let Some((number, line)) = source.next_line()? {
        text.extend(std::iter::repeat_n(b'\n', usize::try_from(number - lines)?));
        lines = number;
        text.extend(line);
        ensure!(
            text.len() <= MAX_SAMPLE_BYTES,
            "the file is longer than {MAX_SAMPLE_BYTES} bytes; cut a piece out of it"
        );
    }
    if text.starts_with(b"\xef\xbb\xbf") {
        text.drain(..3);
    }
    if is_csv { of_csv(&text, most) } else { Ok(of_json(&text, most)) }
}

fn of_json(text: &[u8], most: usize) -> Vec<Sample> {
    let Ok(text) = std::str::from_utf8(text) else { return of_lines(text, 1, most) };
    let mut samples = Vec::new();
    let mut at = 0;
    let mut line = 1;
    while samples.len() < most {
        let rest = &text[at..];
        let begin = rest.len() - rest.trim_start_matches([' ', '\t', '\n', '\r', '\u{1e}']).len();
        line += newlines(&rest[..begin]);
        at += begin;
        let rest = &text[at..];
        if rest.is_empty() {
            break;
        }
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<&RawValue>();
        let taken = match values.next() {
            Some(Ok(value)) => value.get(),
            // Up to the end of the line it is no JSON; the next line may be again.
            _ => rest.lines().next().unwrap_or(rest),
        };
        samples.push(Sample { line, body: taken.as_bytes().to_vec() });
        line += newlines(taken);
        at += taken.len();
    }
    samples
}

fn of_lines(text: &[u8], first: u64, most: usize) -> Vec<Sample> {
    let lines = (first..).zip(text.split(|byte| *byte == b'\n')).filter(|(_, line)| !line.is_empty());
    lines.take(most).map(|(line, body)| Sample { line, body: body.to_vec() }).collect()
}

fn newlines(text: &str) -> u64 {
    text.bytes().filter(|byte| *byte == b'\n').count() as u64
}

/// Rows as objects of texts by the names in the header; an empty cell is null.
fn of_csv(text: &[u8], most: usize) -> anyhow::Result<Vec<Sample>> {
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(text);
    let header = reader.headers().context("the header of the CSV file cannot be read")?.clone();
    let mut samples = Vec::new();
    for row in reader.records().take(most) {
        let row = row.context("the CSV file cannot be read")?;
        let line = row.position().map_or(0, |position| position.line());
        let cells = header.iter().zip(&row);
        let object: serde_json::Map<String, serde_json::Value> = cells
            .map(|(name, cell)| (name.to_owned(), if cell.is_empty() { serde_json::Value::Null } else { cell.into() }))
            .collect();
        samples.push(Sample { line, body: serde_json::to_vec(&object)? });
    }
    Ok(samples)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(name: &str, text: &str) -> Vec<(u64, String)> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        let shown = |sample: Sample| (sample.line, String::from_utf8(sample.body).unwrap());
        read(&path, 5).unwrap().into_iter().map(shown).collect()
    }

    #[test]
    fn records_are_found_however_they_are_laid_out() {
        let one = |line, text: &str| (line, text.to_owned());
        assert_eq!(samples("a.ndjson", "{\"a\":1}\n\n{\"a\":2}\r\n"), [one(1, "{\"a\":1}"), one(3, "{\"a\":2}")]);
        assert_eq!(
            samples("a.json", "\u{feff}{\n \"a\": 1\n}\n{\"b\":2}"),
            [one(1, "{\n \"a\": 1\n}"), one(4, "{\"b\":2}")]
        );
        assert_eq!(samples("a.json", "[1,\n2]"), [one(1, "[1,\n2]")]);
        assert_eq!(
            samples("a.ndjson", "{\"a\":1}\n{\"a\":\n oops\n{\"a\":3}"),
            [one(1, "{\"a\":1}"), one(2, "{\"a\":"), one(3, "oops"), one(4, "{\"a\":3}")]
        );
        assert_eq!(
            samples("a.csv", "id,total\n7,\"1,5\"\n8,\n"),
            [one(2, r#"{"id":"7","total":"1,5"}"#), one(3, r#"{"id":"8","total":null}"#)]
        );
        assert_eq!(samples("a.ndjson", &"{}\n".repeat(9)).len(), 5);
        assert_eq!(samples("a.json", ""), []);
    }
}
