//! Plays hunts, and checks what came of them.
//!
//! - [`generated`]: a hunt from a seed, with its key; [`mod@reference`]: a plain recomputation of the rules over a log;
//!   [`check`]: Daybook against that; [`served`]: a hunt that another program serves against that;
//! - [`http`]: a client; [`visitor`]: somebody who uses it; [`players`]: people at play; [`told`]: what they were told; [`watchers`]:
//!   people who watch the ranking;
//! - [`recording`]: an earlier hunt as something to play; [`profile`]: the log of a hunt that nobody played; [`replay`]: plays a
//!   recording; [`figures`]: what processes say of themselves; [`verdict`]: whether a set-up holds, and what bounds it;
//! - [`stage`]: Daybook and the engine as processes; [`demo`], [`load`], [`rehearse`]: the commands.

pub mod check;
pub mod demo;
pub mod figures;
pub mod generated;
pub mod http;
pub mod load;
pub mod players;
pub mod profile;
pub mod recording;
pub mod reference;
pub mod rehearse;
pub mod replay;
pub mod served;
pub mod stage;
pub mod told;
pub mod verdict;
pub mod visitor;
pub mod watchers;
