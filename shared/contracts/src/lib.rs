//! What services and clients say to each other: subjects, headers and the types that travel.
//!
//! Follow an event: [`event`] is what a producer publishes; [`log`] is what ingest records; [`day`] is how a day opens
//! and closes; [`reject`] is what becomes of bad input; [`alert`] is what a tenant wants to be told of; [`report`] is a sealed day, [`comparison`] the difference between two of
//! its versions; [`ask`] is a question and its
//! answer, [`bundle`] several of both in one message; [`lists`] is what a client reads besides figures; [`live`] is what is pushed to listeners; [`figures`] are
//! the groups behind a sealed day, [`totals`] those of several tenants; [`members`] is who is there; [`access`] is which tokens are void; [`admin`] is how
//! definitions and clocks are changed. [`subjects`] names every place on the broker; [`replies`] says where answers may
//! go.

pub mod access;
pub mod admin;
pub mod alert;
pub mod ask;
pub mod bundle;
pub mod comparison;
pub mod day;
pub mod event;
pub mod figures;
pub mod headers;
pub mod lists;
pub mod live;
pub mod log;
pub mod members;
pub mod reject;
pub mod replies;
pub mod report;
pub mod rows;
pub mod subjects;
pub mod totals;
