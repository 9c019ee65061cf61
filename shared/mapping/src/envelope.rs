//! An event in Daybook's envelope, as producers publish it.

use crate::record::MappedEvent;
use daybook_domain::catalogue::{Kind, Mode};
use daybook_domain::value::Number;
use std::io::Write;

/// The event as the JSON that is published on `daybook.in.<tenant>.<kind>`; reading it gives the event again. Columns that
/// are null are left out.
pub fn envelope(made: &MappedEvent, kind: &Kind) -> Vec<u8> {
    let MappedEvent { tenant, event, .. } = made;
    let mut json = Vec::with_capacity(256);
    write(&mut json, format_args!("{{\"tenant\":\"{tenant}\","));
    if let Some(id) = &event.id {
        json.extend(b"\"id\":");
        text(&mut json, id);
        json.push(b',');
    }
    if let Some(version) = event.version {
        write(&mut json, format_args!("\"version\":{version},"));
    }
    if kind.mode == Mode::Entity {
        write(&mut json, format_args!("\"status\":\"{}\",", event.status.as_str()));
    }
    write(&mut json, format_args!("\"at\":\"{}\"", event.at));
    let dims = || kind.dimensions.iter().zip(&event.dims).filter_map(|(d, value)| Some((d, value.as_deref()?)));
    for (dimension, value) in dims() {
        if let Some(field) = &dimension.field {
            write(&mut json, format_args!(",\"{field}\":"));
            text(&mut json, value);
        }
    }
    json.extend(b",\"dims\":{");
    let mut comma = "";
    for (dimension, value) in dims().filter(|(dimension, _)| dimension.field.is_none()) {
        write(&mut json, format_args!("{comma}\"{}\":", dimension.name));
        text(&mut json, value);
        comma = ",";
    }
    json.extend(b"},\"measures\":{");
    comma = "";
    for (measure, value) in kind.measures.iter().zip(&event.measures) {
        let Some(unscaled) = value else { continue };
        match measure.scale {
            0 => write(&mut json, format_args!("{comma}\"{}\":{unscaled}", measure.name)),
            scale => {
                let number = Number::new((*unscaled).into(), scale).trimmed();
                write(&mut json, format_args!("{comma}\"{}\":{number}", measure.name));
            }
        }
        comma = ",";
    }
    json.extend(b"}}");
    json
}

fn write(json: &mut Vec<u8>, what: std::fmt::Arguments<'_>) {
    json.write_fmt(what).expect("memory takes everything");
}

fn text(json: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(json, text).expect("memory takes everything");
}
