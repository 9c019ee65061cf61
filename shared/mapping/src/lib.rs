//! Mappings: events of a kind made out of JSON of any shape, by paths. Pure: no I/O, no clock.
//!
//! A [`Mapping`](daybook_domain::mapping::Mapping) is plain data and a part of its kind. [`Mapper::compile`] checks it and
//! gives every mistake with its place; [`Mapper::map`] makes outcomes of a [`Record`]: events, why something is none, and
//! what need not be one. [`envelope`] writes an event as it is published. [`RecordMapper`] is all of this for doors that reject.
//!
//! A [`Preset`] is a mapping to begin with. A record is read once: `pointer` takes paths apart, `shape` and `scan` find
//! their values in the text and check the rest to be JSON, `rule` says what stands for them, `amount` and `moment` read
//! numbers and times exactly, `reading` applies them, `mapper` puts it together, `outcomes` bounds what comes of it.
//!
//! ```
//! use daybook_domain::catalogue::{Dimension, Kind, Measure, Mode};
//! use daybook_domain::ids::Name;
//! use daybook_domain::mapping::{Mapping, Pick};
//! use daybook_mapping::{Mapper, Outcome, Record, Zones};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let kind = Kind {
//!     name: Name::new("order")?,
//!     mode: Mode::Entity,
//!     dimensions: vec![Dimension { name: Name::new("store")?, field: None }],
//!     measures: vec![Measure { name: Name::new("total")?, scale: 2 }],
//!     revision: 0,
//!     mappings: Vec::new(), remember: None,
//! };
//! let mapping = Mapping {
//!     tenant: Some(Pick { constant: Some("acme".into()), ..Pick::default() }),
//!     id: vec![Pick::path("/number")],
//!     at: Some(Pick { form: vec!["epoch_s".into()], ..Pick::path("/created") }),
//!     dims: [(Name::new("store")?, Pick::path("/shop/city"))].into(),
//!     measures: [(Name::new("total")?, Pick { shift: Some(-2), ..Pick::path("/cents") })].into(),
//!     ..Mapping::new(Name::new("shop")?)
//! };
//! let mapper = Mapper::compile(&mapping, &kind).map_err(|mistakes| mistakes[0].to_string())?;
//! let body = br#"{"number": 17, "created": 1709287386, "shop": {"city": "Oslo"}, "cents": 12990}"#;
//! let outcomes = mapper.map(&Record::of(body), &Zones::default());
//! let Outcome::Event(made) = &outcomes[0] else { panic!("{outcomes:?}") };
//! assert_eq!(
//!     String::from_utf8(daybook_mapping::envelope(made, &kind))?,
//!     concat!(
//!         r#"{"tenant":"acme","id":"17","status":"final","at":"2024-03-01T10:03:06Z","#,
//!         r#""dims":{"store":"Oslo"},"measures":{"total":129.9}}"#
//!     )
//! );
//! # Ok(())
//! # }
//! ```

mod amount;
mod compile;
mod door;
mod envelope;
mod found;
mod mapper;
mod mistake;
mod moment;
mod outcomes;
mod picks;
mod pointer;
mod presets;
mod reading;
mod record;
mod rule;
mod scan;
mod shape;
#[cfg(test)]
mod tests;
mod wanted;
mod zones;

pub use compile::{MAX_FORMS, MAX_PARTS};
pub use door::{FindMappingError, MappingName, MappingNameError, Originals, RecordMapper, Refused};
pub use envelope::envelope;
pub use mapper::Mapper;
pub use mistake::MappingMistake;
pub use presets::Preset;
pub use record::{MAX_OUTCOMES, MAX_RECORD_BYTES, MAX_SPARE_BYTES, MappedEvent, Outcome, PassedOver, Record, Unmapped};
pub use zones::Zones;
