//! What becomes of an event, seen against what is known of its entity.

use super::entity::Entity;
use daybook_contracts::log::Event;
use daybook_domain::catalogue::Mode;

/// The outcome.
pub(super) enum Verdict {
    Accept { version: u64 },
    Duplicate,
    Stale { known: u64 },
    Conflict { version: u64 },
}

/// Judges an event by the newest version of its entity, if one is known.
pub(super) fn judge(mode: Mode, known: Option<&Entity>, event: &Event) -> Verdict {
    let Some(known) = known else {
        return Verdict::Accept { version: event.version.unwrap_or(0) };
    };
    let same = known.says_the_same(event);
    match (mode, event.version) {
        // A fact happens once; its id only tells repetitions apart.
        (Mode::Fact, _) if same => Verdict::Duplicate,
        (Mode::Fact, _) => Verdict::Conflict { version: known.version },
        (Mode::Entity, None) if same => Verdict::Duplicate,
        (Mode::Entity, None) => Verdict::Accept { version: known.version.saturating_add(1) },
        (Mode::Entity, Some(version)) if version > known.version => Verdict::Accept { version },
        (Mode::Entity, Some(version)) if version < known.version => Verdict::Stale { known: known.version },
        (Mode::Entity, Some(_)) if same => Verdict::Duplicate,
        (Mode::Entity, Some(version)) => Verdict::Conflict { version },
    }
}

/// The reason of a reject for [`Verdict::Conflict`], with what to do.
pub(super) fn conflict(mode: Mode, id: &str, version: u64) -> String {
    match mode {
        Mode::Entity => {
            format!(
                "version {version} of {id:?} is known with other content; publish a correction with a higher version"
            )
        }
        Mode::Fact => format!(
            "{id:?} is known with other content, and a fact stays as it is; publish another fact under an id of its own"
        ),
    }
}
