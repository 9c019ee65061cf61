//! The state machine against a naive model, and rule by rule.
//!
//! [`fixtures`] defines kinds, views and tenants, [`model`] recomputes everything from the whole list of events,
//! [`histories`] makes random logs, and [`properties`] compares. [`rules`] has one small log per rule, [`stored`] what
//! is stored and what comes back.

mod fixtures;
mod histories;
mod model;
mod properties;
mod rules;
mod stored;
