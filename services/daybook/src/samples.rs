//! Records of a file, to try a mapping on: as `daybook replay` reads them, and JSON values of many lines besides.

use crate::source::{Columns, EventSource, Record};
use std::path::Path;

/// The first records of a file, `most` of them at most; those that are none say why.
///
/// # Errors
/// When the file cannot be read.
pub fn read(path: &Path, most: usize) -> anyhow::Result<Vec<Record>> {
    let columns = Columns { as_they_are: true, ..Columns::default() };
    let mut source = EventSource::open(path)?.with_columns(columns);
    let mut samples = Vec::new();
    while samples.len() < most
        && let Some(record) = source.next_record()?
    {
        samples.push(record);
    }
    Ok(samples)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(name: &str, text: &str) -> Vec<(u64, Result<String, String>)> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        let shown = |record: Record| (record.line, record.content.map(|body| String::from_utf8(body).unwrap()));
        read(&path, 5).unwrap().into_iter().map(shown).collect()
    }

    #[test]
    fn records_are_found_however_they_are_laid_out() {
        let one = |line, text: &str| (line, Ok(text.to_owned()));
        assert_eq!(samples("a.ndjson", "{\"a\":1}\n\n{\"a\":2}\r\n"), [one(1, "{\"a\":1}"), one(3, "{\"a\":2}")]);
        assert_eq!(samples("a.json", "[{\"a\":1},\n{\"a\":2}]"), [one(1, "{\"a\":1}"), one(2, "{\"a\":2}")]);
        assert_eq!(
            samples("a.csv", "id,total\n7,\"1,5\"\n8,\n"),
            [one(2, r#"{"id":"7","total":"1,5"}"#), one(3, r#"{"id":"8","total":null}"#)]
        );
        assert_eq!(samples("a.ndjson", &"{}\n".repeat(9)).len(), 5);
        let pretty = samples("a.json", "{\n \"a\": 1\n}\n");
        assert_eq!(pretty.len(), 1, "a value of many lines is one record: {pretty:?}");
    }
}
