//! The targets, one a file. Each has `run`, which panics when something does not hold, and `seeds`.

pub mod admin;
pub mod batches;
pub mod checkpoints;
pub mod cursors;
pub mod definitions;
pub mod events;
pub mod expressions;
pub mod figures;
pub mod heartbeats;
pub mod lists;
pub mod live;
pub mod mappings;
pub mod queries;
pub mod questions;
pub mod snapshots;
pub mod sources;
pub mod subjects;

use crate::Target;

macro_rules! target {
    ($name:ident) => {
        Target { name: stringify!($name), run: $name::run, seeds: $name::seeds }
    };
}

/// All of them, in the order of an event's way through the services.
pub const ALL: [Target; 17] = [
    target!(mappings),
    target!(sources),
    target!(events),
    target!(batches),
    target!(subjects),
    target!(definitions),
    target!(admin),
    target!(expressions),
    target!(queries),
    target!(cursors),
    target!(questions),
    target!(lists),
    target!(live),
    target!(figures),
    target!(checkpoints),
    target!(snapshots),
    target!(heartbeats),
];

/// The first byte, which chooses what the others are.
fn choice(data: &[u8]) -> Option<(u8, &[u8])> {
    data.split_first().map(|(choice, rest)| (*choice, rest))
}

/// `choice` before `bytes`.
fn chosen(choice: u8, bytes: &[u8]) -> Vec<u8> {
    [&[choice], bytes].concat()
}

/// The JSON text as MessagePack, maps with their names.
fn packed(json: &str) -> Vec<u8> {
    let value: serde_json::Value = serde_json::from_str(json).expect("seeds are JSON");
    rmp_serde::to_vec_named(&value).expect("JSON can be packed")
}
