//! Figures of sealed days, compressed or not. What is decoded is written so that it decodes to the same, and can be
//! rolled up. Memory stays within the bound of decompression: the fuzzer watches over it.

use super::{choice, chosen};
use crate::world::{tenant, world};
use daybook_contracts::ask::{Pieces, Query};
use daybook_contracts::figures::Figures;
use daybook_domain::time::Date;
use query::archive::decode;
use query::merge::roll_up;

/// With bit 0 of the first byte the rest is compressed first, so that the fuzzer gets past the checksum of the frame.
pub fn run(data: &[u8]) {
    let Some((choice, bytes)) = choice(data) else { return };
    let compressed = (choice & 1 == 1).then(|| zstd::encode_all(bytes, 1).expect("memory is no broken pipe"));
    let Ok(figures) = decode(compressed.as_deref().unwrap_or(bytes)) else { return };
    let again = Figures::decode(&figures.encode()).unwrap_or_else(|error| panic!("cannot be read back: {error}"));
    assert_eq!(again, figures);
    for query in [
        Query::default(),
        Query { grain: figures.view.grain.into(), ..Query::default() },
        Query { grain: Pieces::Day, dimensions: Some(Vec::new()), ..Query::default() },
    ] {
        let _ = roll_up(&query, &[&figures, &again]);
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let state = world().state();
    let mut seeds = Vec::new();
    for view in world().views() {
        let figures = state.figures(&tenant(), &view.name, Date::MIN, Date::MAX).expect("they are there").encode();
        seeds.push(chosen(0, &figures));
        seeds.push(chosen(1, &figures));
        seeds.push(chosen(0, &zstd::encode_all(&figures[..], 3).expect("memory is no broken pipe")));
    }
    seeds
}
