//! The `daybook` binary: the command line, and the four services with a private broker in one process.
//!
//! - [`cli`]: the commands and their flags;
//! - [`commands`]: a file for each;
//! - [`embedded`]: broker and services in this process, for `daybook up`, `daybook demo` and the tests;
//! - [`access`]: the folder with who may connect to the broker;
//! - [`asker`]: what commands ask of the query service, with no more than a tenant's permissions; [`sealed`]: a report;
//! - [`client`]: what an operator's commands ask of the services and read from the streams;
//! - [`mapped`]: foreign records through a mapping; [`samples`]: records of a file, to try one on; [`guess`]: one to begin with;
//! - [`source`]: recorded events out of files, in the formats that tools write; [`replayer`]: publishes them and drives a clock,
//!   with [`fact_ids`] so that facts count once; [`acknowledged`]: the place of each line in INBOX; [`rejected`]: those that
//!   were rejected;
//! - [`export`]: figures of sealed days as files;
//! - [`definitions`]: reads the YAML files of `daybook apply`; [`expected`]: checks the flights' reports;
//! - [`standing`]: how far views are in force; [`sizing`]: what an installation needs;
//! - [`verification`]: replays the log, to prove sealed reports and to tell the story of an entity;
//! - [`table`]: how lists are shown; [`websocket`]: which web pages may connect to the private broker.

pub mod access;
pub mod acknowledged;
pub mod asker;
pub mod cli;
pub mod client;
pub mod commands;
pub mod definitions;
pub mod embedded;
pub mod expected;
pub mod export;
pub mod fact_ids;
pub mod guess;
pub mod mapped;
pub mod own_files;
pub mod rejected;
pub mod replayer;
pub mod resend;
pub mod samples;
pub mod sealed;
pub mod sizing;
pub mod source;
pub mod standing;
pub mod table;
pub mod verification;
pub mod websocket;
