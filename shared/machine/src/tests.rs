//! The state machine against a naive model, and rule by rule.
//!
//! [`fixtures`] defines kinds, views and tenants, [`specs`] tells what views mean, [`model`] recomputes everything from
//! the whole list of events, [`histories`] makes random logs, [`replica`] reads them with jobs under way, and
//! [`properties`] compares. [`rules`], [`late_rules`], [`restating`] and [`quota_rules`] have one small log per rule,
//! [`stored`] what is stored and what comes back, [`digests`] what replicas compare, [`residency`] pages that leave memory and come back, [`summaries`] what a restart reads in the place of pages, [`remembering`] ids of days that can no longer be corrected, [`removals`] what is left of what was removed, [`totals`] what is said of several tenants at once, [`alerting`] which alerts are raised and [`alerts_model`] that they are those of the model, [`plain_facts`] that it does not
//! matter which facts come together.

mod alerting;
mod alerts_model;
mod digests;
mod fixtures;
mod histories;
mod late_rules;
mod model;
mod plain_facts;
mod properties;
mod quota_rules;
mod remembering;
mod removals;
mod replica;
mod residency;
mod restating;
mod rules;
mod specs;
mod stored;
mod summaries;
mod totals;
mod trimmed;
