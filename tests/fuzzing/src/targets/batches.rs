//! Batches of the log. One that can be read is written so that it reads the same.

use crate::world::world;
use daybook_contracts::log::Batch;

pub fn run(data: &[u8]) {
    let Ok(batch) = Batch::decode(data) else { return };
    let bytes = batch.encode();
    let again = Batch::decode(&bytes).unwrap_or_else(|error| panic!("{batch:?} cannot be read back: {error}"));
    assert_eq!(again, batch);
    assert_eq!(again.encode(), bytes);
    // Where reading goes on is told of any batch.
    assert!(batch.through.whole() <= batch.through.inbox);
}

pub fn seeds() -> Vec<Vec<u8>> {
    world().log.iter().map(|(_, batch)| batch.encode()).collect()
}
