//! The order of rows, as a text.

use daybook_domain::catalogue::Direction;
use daybook_domain::ids::{Name, NameError};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::str::FromStr;

/// A column to order by: `flights`, `flights desc`, `carrier asc`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Order {
    pub by: Name,
    pub direction: Direction,
}

/// A text that is no order.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    #[error("the column to order by {0}")]
    Column(NameError),
    #[error("{0:?} is no direction; use asc or desc")]
    Direction(String),
    #[error("{0:?} is too much; write a column and asc or desc")]
    TooMuch(String),
}

impl FromStr for Order {
    type Err = OrderError;
    fn from_str(text: &str) -> Result<Self, OrderError> {
        let mut words = text.split_ascii_whitespace();
        let by = Name::new(words.next().unwrap_or_default()).map_err(OrderError::Column)?;
        let direction = match words.next().map(str::to_ascii_lowercase).as_deref() {
            None | Some("asc") => Direction::Asc,
            Some("desc") => Direction::Desc,
            Some(other) => return Err(OrderError::Direction(other.to_owned())),
        };
        match words.next() {
            None => Ok(Self { by, direction }),
            Some(more) => Err(OrderError::TooMuch(more.to_owned())),
        }
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let direction = if self.direction == Direction::Desc { " desc" } else { "" };
        write!(f, "{}{direction}", self.by)
    }
}

impl Serialize for Order {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Order {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}
