//! Requests to day-manager. What it does not refuse can be published, sequenced and put into force.

use super::{choice, chosen};
use crate::world::{PARTITION, now, world};
use day_manager::registry::Registry;
use day_manager::schedule::change::Counted;
use daybook_contracts::admin::{Apply, ClockAdvance, CloseDay, Refusal};
use daybook_contracts::log::{Batch, FORMAT, Record, Through};
use daybook_domain::catalogue::Definition;
use daybook_domain::ids::{InboxSeq, LogSeq};
use daybook_machine::PartitionState;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The first byte chooses the request.
pub fn run(data: &[u8]) {
    let Some((choice, body)) = choice(data) else { return };
    match choice % 3 {
        0 => {
            if let Some(apply) = comes_back::<Apply>(body) {
                check(&apply);
            }
        }
        1 => drop(comes_back::<ClockAdvance>(body)),
        _ => drop(comes_back::<CloseDay>(body)),
    }
}

/// What the body is, if it can be read; written, it reads the same.
fn comes_back<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(body: &[u8]) -> Option<T> {
    let request: T = serde_json::from_slice(body).ok()?;
    let bytes = serde_json::to_vec(&request).expect("requests are plain values");
    assert_eq!(serde_json::from_slice(&bytes).ok().as_ref(), Some(&request));
    Some(request)
}

/// Applies to nothing, and to what is there already. Returns the refusals.
pub fn check(apply: &Apply) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    let mut known = Registry::default();
    world().definitions.iter().cloned().for_each(|definition| known.adopt(definition).expect("a sound world"));
    for mut registry in [Registry::default(), known] {
        // No event was counted: as much may change as ever may.
        let counted = registry.to_be_moved(apply).into_iter().map(|tenant| (tenant, Counted::Nothing)).collect();
        match registry.check(apply, &counted, now()) {
            Ok(change) => put_into_force(&mut registry, change.definitions),
            Err(refused) => {
                assert!(!refused.is_empty() && refused.iter().all(|refusal| !refusal.reason.is_empty()));
                refusals.extend(refused);
            }
        }
    }
    refusals
}

fn put_into_force(registry: &mut Registry, definitions: Vec<Definition>) {
    let before: Vec<Definition> = registry.kinds.values().cloned().map(Definition::Kind).collect();
    let mut state = PartitionState::new(PARTITION);
    for (index, definition) in before.into_iter().chain(definitions.iter().cloned()).enumerate() {
        let through = Through { inbox: InboxSeq(index as u64 + 1), events: 0 };
        let batch = Batch { format: FORMAT, through, records: vec![Record::Define(definition)] };
        assert_eq!(Batch::decode(&batch.encode()).ok().as_ref(), Some(&batch));
        state.apply(LogSeq(index as u64 + 1), batch);
    }
    let known = state.views(0);
    for definition in definitions {
        if let Definition::View(view) = &definition {
            assert!(known.iter().any(|known| known.view == view.name && known.active == view.revision), "{view:?}");
        }
        let bytes = serde_json::to_vec(&definition).expect("definitions are plain values");
        assert_eq!(serde_json::from_slice(&bytes).ok().as_ref(), Some(&definition), "as CATALOG has it");
        registry.adopt(definition).expect("day-manager takes in what it has checked");
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let apply = &world().apply;
    let some = |apply: &Apply| chosen(0, &serde_json::to_vec(apply).expect("plain values"));
    let mut seeds = vec![
        some(apply),
        some(&Apply { views: Vec::new(), tenants: Vec::new(), ..apply.clone() }),
        some(&Apply { kinds: Vec::new(), views: Vec::new(), dry_run: true, ..apply.clone() }),
        chosen(0, b"{}"),
        chosen(1, br#"{"clock":"replay","advance_to":"2013-03-10T11:00:00Z"}"#),
        chosen(2, br#"{"tenant":"ABQ","date":"2013-03-10"}"#),
    ];
    for view in world().views() {
        let kinds = vec![world().kind(&view.kind).clone()];
        seeds.push(some(&Apply { kinds, views: vec![view.clone()], ..Apply::default() }));
    }
    seeds
}
