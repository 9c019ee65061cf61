//! Live views by HTTP: server-sent events.
//!
//! - [`Hub`]: one upstream for each view that somebody follows, however many do; [`followed`]: what that is;
//! - [`stream`]: what the listeners of one upstream share; [`ring`]: the events that some of them have yet to read, and
//!   [`watched`]: what they get of a feed, both pure;
//! - [`upstream`]: follows a feed, and takes a new snapshot after a gap; [`asking`]: repeats a question that has no feed;
//! - [`listen`]: the request, and the stream of one listener; [`frames`]: how events are written.

mod asking;
mod followed;
pub(crate) mod frames;
mod hub;
pub(crate) mod listen;
mod ring;
mod stream;
mod upstream;
mod watched;

pub(crate) use hub::Hub;
