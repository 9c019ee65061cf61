use super::*;
use daybook_domain::catalogue::{Dimension, Kind, Measure, Mode};
use daybook_domain::ids::Name;
use std::io::Write;
use std::time::{Duration, Instant};

const SOUND: &[u8] = b"{\"a\":1}\n\n  \n{\"a\":2}\r\n{\"a\":3}";

/// Lines, and what is on each.
type Lines = Vec<(u64, String)>;

/// The events of a text, and the lines of those that are none.
fn events(mut source: EventSource) -> (Lines, Lines) {
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    while let Some(Record { line, content }) = source.next_record().unwrap() {
        match content {
            Ok(text) => good.push((line, String::from_utf8(text).unwrap())),
            Err(reason) => bad.push((line, reason)),
        }
    }
    (good, bad)
}

fn good(text: impl Into<Vec<u8>>, name: &str) -> Lines {
    let (good, bad) = events(of(text, name));
    assert_eq!(bad, [], "{name}");
    good
}

fn of(text: impl Into<Vec<u8>>, name: &str) -> EventSource {
    EventSource::of_bytes(Vec::leak(text.into()), name)
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn zstd(text: &[u8]) -> Vec<u8> {
    zstd::encode_all(text, 1).unwrap()
}

fn why(text: impl Into<Vec<u8>>, name: &str) -> String {
    format!("{:#}", of(text, name).next_record().unwrap_err())
}

#[test]
fn plain_and_compressed_files_give_the_same_events_whatever_their_names() {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in [
        ("x.ndjson", SOUND.to_vec()),
        ("x.ndjson.gz", gzip(SOUND)),
        ("x.ndjson.zst", zstd(SOUND)),
        ("x.zst", [zstd(b"{\"a\":1}\n\n  \n"), zstd(b"{\"a\":2}\r\n{\"a\":3}")].concat()),
        ("gzip.ndjson", gzip(SOUND)),
        ("zstd", zstd(SOUND)),
    ] {
        let path = folder.path().join(name);
        std::fs::write(&path, &bytes).unwrap();
        let mut source = EventSource::open(&path).unwrap();
        let mut lines = Vec::new();
        while let Some((number, line)) = source.next_line().unwrap() {
            lines.push((number, String::from_utf8(line).unwrap()));
        }
        assert_eq!(lines, [(1, "{\"a\":1}".into()), (4, "{\"a\":2}".into()), (5, "{\"a\":3}".into())], "{name}");
        assert_eq!(Some(source.position()), source.length, "{name}");
        assert_eq!(source.content_hash().unwrap(), Some(*blake3::hash(&bytes).as_bytes()));
    }
}

#[test]
fn a_damaged_file_is_an_error_and_so_is_what_is_no_text() {
    assert!(why(*b"not zstd", "x.zst").contains("not compressed by zstd"));
    assert!(why(*b"not gzip", "x.gz").contains("not compressed by gzip"));
    let mut cut = zstd(&SOUND.repeat(1_000));
    cut.truncate(cut.len() / 2);
    let mut source = of(cut, "x.zst");
    let failed = (0..10_000).find_map(|_| source.next_record().err());
    assert!(failed.is_some());
    assert!(EventSource::open(Path::new("/nowhere/x")).is_err());
    let utf16 = |mark: &[u8], unit: fn(u16) -> [u8; 2]| {
        [mark.to_vec(), "{\"a\":1}\n".encode_utf16().flat_map(unit).collect()].concat()
    };
    for text in [utf16(b"\xff\xfe", u16::to_le_bytes), utf16(b"\xfe\xff", u16::to_be_bytes)] {
        assert!(why(text, "x.ndjson").contains("UTF-16; save it as UTF-8"));
    }
    assert!(why(utf16(b"", u16::to_le_bytes), "x.ndjson").contains("UTF-16 without a mark"));
    assert!(why(*b"PK\x03\x04\x14\x00", "x.csv").contains("workbook"));
    assert!(why(gzip(b"PAR1\x15\x04"), "x").contains("Parquet"));
}

#[test]
fn lines_end_as_any_system_ends_them() {
    let three = |ends: &str| good(["{\"a\":1}", "{\"a\":2}", "{\"a\":3}"].join(ends), "x.ndjson");
    let texts =
        |lines: [u64; 3]| lines.map(|line| line).into_iter().zip(1..).map(|(l, n)| (l, format!("{{\"a\":{n}}}")));
    for ends in ["\n", "\r\n", "\r"] {
        assert_eq!(three(ends), texts([1, 2, 3]).collect::<Vec<_>>(), "{ends:?}");
    }
    assert_eq!(three("\n\u{1e}"), texts([1, 2, 3]).collect::<Vec<_>>());
    assert_eq!(three("\u{1e}"), texts([1, 1, 1]).collect::<Vec<_>>());
    assert_eq!(three("\r\r\n"), texts([1, 3, 5]).collect::<Vec<_>>());
    assert_eq!(good("\u{feff}{\"a\":1}\n", "x.ndjson"), [(1, "{\"a\":1}".into())]);
    assert_eq!(good("", "x.ndjson"), []);
    assert_eq!(good("\u{feff}", "x.json"), []);
}

#[test]
fn arrays_and_events_over_several_lines_are_taken_apart() {
    let two = [(2, "{\"a\": \"]},{[\\\"\"}".to_owned()), (3, "{\"b\": [1, {}]}".to_owned())];
    assert_eq!(good("[\n{\"a\": \"]},{[\\\"\"},\n{\"b\": [1, {}]}\n]\n", "x.json"), two);
    assert_eq!(good("\u{feff}[\r\n{\"a\": \"]},{[\\\"\"}\r\n,{\"b\": [1, {}]}]", "x.json").len(), 2);
    assert_eq!(good("[]", "x.json"), []);
    assert_eq!(good("[{\"a\":1},{\"a\":2}]\n[{\"a\":3}]\n", "x.ndjson").len(), 3);
    assert_eq!(good("{\"a\":1}\n[{\"a\":2},{\"a\":3}]\n", "x.ndjson")[2], (2, "{\"a\":3}".into()));
    let pretty = good("{\n  \"a\": 1\n}\n{\n  \"a\": 2\n}\n", "x.json");
    assert_eq!(pretty, [(1, "{\n  \"a\": 1\n}".into()), (4, "{\n  \"a\": 2\n}".into())]);
    // What is no event is given on as it is, and refused by whoever reads it.
    let odd = good("[1, null, \"a,b\", {\"a\":1}] }", "x.json");
    assert_eq!(
        odd.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>(),
        ["1", "null", "\"a,b\"", "{\"a\":1}", "}"]
    );
}

#[test]
fn what_is_cut_off_is_told_and_what_came_before_is_kept() {
    let (kept, lost) = events(of("[{\"a\":1},\n{\"a\":2", "x.json"));
    assert_eq!((kept.len(), lost.len(), lost[0].0), (1, 1, 2), "{lost:?}");
    let (kept, lost) = events(of("[{\"a\":1},\n{\"a\":2}\n", "x.json"));
    assert_eq!((kept.len(), lost.len()), (2, 1), "{lost:?}");
    assert!(lost[0].1.contains("begins on line 1 is not closed"), "{lost:?}");
    // A broken line takes no other with it, wherever it is.
    for text in ["{\"a\":\n{\"a\":2}\n{\"a\":3}\n", "{\"a\":1}\n{\"a\":\n{\"a\":3}\n", "oops\n{\"a\":2}\n{\"a\":3}\n"] {
        assert_eq!(good(text, "x.ndjson").len(), 3, "{text}");
    }
}

#[test]
fn an_event_that_is_too_long_is_passed_over() {
    let long = format!("{{\"a\":\"{}\"}}", "x".repeat(3 * MAX_RECORD_BYTES));
    for (text, name, lines) in [
        (format!("{{\"a\":1}}\n{long}\n{{\"a\":3}}\n"), "x.ndjson", (1, 2, 3)),
        (format!("[{{\"a\":1}},\n{long},\n{{\"a\":3}}]"), "x.json", (1, 2, 3)),
    ] {
        let (kept, lost) = events(of(text, name));
        assert_eq!((kept[0].0, lost[0].0, kept[1].0), lines, "{name}");
        assert!(kept.len() == 2 && lost[0].1.contains("1048576"), "{lost:?}");
    }
    let row = format!("id,at,store\n1,x,\"{}\n", "x".repeat(3 * MAX_RECORD_BYTES));
    let mut source = of(row, "x.csv").with_columns(columns(Some("order")));
    let failed = source.next_record().unwrap_err();
    assert!(format!("{failed:#}").contains("behind line 1") && format!("{failed:#}").contains("quote"), "{failed:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_is_read_ahead_than_its_bound() {
    // 100 MiB that take some kilobytes as a file.
    let line = format!("{{\"a\":\"{}\"}}\n", "0".repeat(MAX_RECORD_BYTES - 16));
    let bomb = zstd(line.repeat(100).as_bytes());
    assert!(bomb.len() < 200_000, "{}", bomb.len());
    let mut records = of(bomb, "bomb.ndjson.zst").into_records();
    let began = Instant::now();
    while records.bytes_ahead() < BYTES_AHEAD - MAX_RECORD_BYTES {
        assert!(began.elapsed() < Duration::from_secs(60), "{} bytes ahead", records.bytes_ahead());
        tokio::task::yield_now().await;
    }
    let mut count = 0;
    while let Some(record) = records.next().await.unwrap() {
        assert!(records.bytes_ahead() <= BYTES_AHEAD);
        assert_eq!(record.content.unwrap().len(), line.len() - 1);
        count += 1;
    }
    assert_eq!((count, records.bytes_ahead()), (100, 0));
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn kinds() -> Vec<Kind> {
    let dimension = |text: &str| Dimension { name: name(text), field: None };
    let measure = |text: &str| Measure { name: name(text), scale: 2 };
    let event = Dimension { name: name("event"), field: Some(name("type")) };
    let order = Kind {
        name: name("order"),
        mode: Mode::Entity,
        dimensions: vec![dimension("store"), event],
        measures: vec![measure("total")],
        revision: 1,
        mappings: Vec::new(),
        remember: None,
    };
    let click = Kind {
        name: name("click"),
        mode: Mode::Fact,
        dimensions: vec![dimension("page")],
        measures: vec![measure("ms")],
        revision: 1,
        mappings: Vec::new(),
        remember: None,
    };
    vec![order, click]
}

fn columns(kind: Option<&str>) -> Columns {
    Columns { kinds: kinds(), kind: kind.map(name), ..Columns::default() }
}

fn rows(text: &str, columns: Columns) -> Vec<serde_json::Value> {
    let (good, bad) = events(of(text, "x.csv").with_columns(columns));
    assert_eq!(bad, [], "{text}");
    good.iter().map(|(_, text)| serde_json::from_str(text).unwrap()).collect()
}

#[test]
fn a_row_becomes_an_event_by_the_names_in_the_header() {
    let text = "\u{feff}id, at ,version,status,store,total,type,comment\r\n\
                o-1,2024-03-01T12:00:00Z,3,draft,\"east, \"\"old\"\"\n2\",0.10,sale,x\r\n\
                \r\n,,,,,,,\r\n\
                o-2,2024-03-01T12:00:00Z,,,,123456789012345.60,,\r\n";
    let asked = columns(Some("order"));
    let (good, bad) = events(of(text, "x.csv").with_columns(asked.clone()));
    assert_eq!((bad.len(), good[0].0, good[1].0), (0, 2, 6));
    let rows: Vec<serde_json::Value> = good.iter().map(|(_, text)| serde_json::from_str(text).unwrap()).collect();
    assert_eq!(
        rows,
        [
            serde_json::json!({"id": "o-1", "at": "2024-03-01T12:00:00Z", "version": 3, "status": "draft", "type": "sale",
                "dims": {"store": "east, \"old\"\n2"}, "measures": {"total": "0.10"}}),
            serde_json::json!({"id": "o-2", "at": "2024-03-01T12:00:00Z", "dims": {},
                "measures": {"total": "123456789012345.60"}}),
        ]
    );
    assert_eq!(asked.ignored.get().unwrap(), &["comment"]);
}

#[test]
fn rows_of_several_kinds_stand_in_one_file() {
    let text = "kind;id;at;store;dims.page;measures.ms;tenant\norder;o-1;T;east;;;acme\nclick;;T;;home;7;acme\nclick;;T;east;;;acme\n";
    let asked = Columns { tenant: Some("tenant".into()), ..columns(None) };
    let rows = rows(text, asked.clone());
    assert_eq!(rows[0]["dims"], serde_json::json!({"store": "east"}));
    assert_eq!((&rows[0]["kind"], &rows[0]["tenant"]), (&"order".into(), &"acme".into()));
    assert_eq!(rows[1]["dims"], serde_json::json!({"page": "home"}));
    assert_eq!(rows[1]["measures"], serde_json::json!({"ms": "7"}));
    // Clicks have no store: ingest is to say so.
    assert_eq!(rows[2]["dims"], serde_json::json!({"store": "east"}));
    assert_eq!(asked.ignored.get().unwrap(), &Vec::<String>::new());
}

#[test]
fn rows_end_and_are_separated_as_any_spreadsheet_does() {
    for text in [
        "id,at,total\no-1,T,1.5\no-2,T,2\n",
        "id;at;total\r\no-1;T;1.5\r\no-2;T;2",
        "id\tat\ttotal\ro-1\tT\t1.5\ro-2\tT\t2\r",
        "sep=;\r\nid;at;total\r\no-1;T;1.5\r\no-2;T;2\r\n",
        "\"id\",\"at\",\"total\"\n\"o-1\",\"T\",\"1.5\"\n\"o-2\",\"T\",\"2\",\n",
    ] {
        let rows = rows(text, columns(Some("order")));
        assert_eq!(rows.len(), 2, "{text:?}");
        assert_eq!((&rows[0]["measures"]["total"], &rows[1]["id"]), (&"1.5".into(), &"o-2".into()), "{text:?}");
    }
    let (_, bad) = events(of("id,at\ro-1\ro-2,T\r", "x.csv").with_columns(columns(Some("order"))));
    assert_eq!((bad.len(), bad[0].0), (1, 2), "{bad:?}");
    let (_, bad) = events(
        of("id,at\no-1,T,1\no-2,caf\u{e9}".replace('\u{e9}', "e"), "x.csv").with_columns(columns(Some("order"))),
    );
    assert_eq!((bad.len(), bad[0].0), (1, 2), "{bad:?}");
    let (good, bad) = events(of(*b"id,at\ncaf\xe9,T\no-2,T\n", "x.csv").with_columns(columns(Some("order"))));
    assert_eq!((good.len(), bad[0].0), (1, 2));
    assert!(bad[0].1.contains("id is not UTF-8"), "{bad:?}");
}

#[test]
fn a_header_that_no_row_can_be_an_event_by_is_refused() {
    let why = |text: &str, columns: Columns| {
        format!("{:#}", of(text, "x.csv").with_columns(columns).next_record().unwrap_err())
    };
    assert!(why("id,when\n1,T\n", columns(Some("order"))).contains("no column `at`"));
    assert!(why("at,store\nT,east\n", columns(Some("order"))).contains("no column `id`"));
    assert!(why("id,at\n1,T\n", columns(None)).contains("--kind"));
    assert!(why("id,at,id\n1,T,2\n", columns(Some("order"))).contains("two columns id"));
    let tenant = Columns { tenant: Some("shop".into()), ..columns(Some("order")) };
    assert!(why("id,at\n1,T\n", tenant).contains("no column `shop`"));
}
