//! Questions of every sort against a model that recomputes everything, and every mistake that can be asked.

mod answers;
mod fixtures;
mod mistakes;
mod model;
mod properties;
