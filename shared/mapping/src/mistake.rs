//! What is wrong with a mapping, and where.

use std::fmt;

/// A mistake in a mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappingMistake {
    /// The field at fault, such as `measures.total.path` or `id[1].path`; empty for the mapping as a whole.
    pub field: String,
    /// Where in the field's text it is: bytes from its start.
    pub position: Option<usize>,
    pub message: String,
    /// What to write instead, where that can be guessed.
    pub hint: Option<String>,
}

impl MappingMistake {
    pub(crate) fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), position: None, message: message.into(), hint: None }
    }

    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    pub(crate) fn at(self, position: usize) -> Self {
        Self { position: Some(position), ..self }
    }
}

impl fmt::Display for MappingMistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for MappingMistake {}
