//! The table of attacks, by family. To add one, put it into the list of its file.

mod floods;
mod headers;
mod listening;
mod operating;
mod replies;
mod streams_api;
mod subjects;

use crate::attack::Attack;

/// Every attack that is made of messages.
pub(crate) fn all() -> Vec<Attack> {
    let families: [fn() -> Vec<Attack>; 7] = [
        replies::attacks,
        subjects::attacks,
        headers::attacks,
        streams_api::attacks,
        floods::attacks,
        listening::attacks,
        operating::attacks,
    ];
    families.into_iter().flat_map(|family| family()).collect()
}
