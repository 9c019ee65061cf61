//! Works out what an installation needs, for `daybook size`. Arithmetic with what was measured: good to a factor of two.
//!
//! [`rules`] has what each thing takes, with its source; [`load`] is how much of each there is, as definitions and flags say;
//! [`estimate`] multiplies and adds.

pub mod estimate;
pub mod load;
pub mod rules;
