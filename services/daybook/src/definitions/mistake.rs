//! What is wrong in a definition file, and where.

pub use daybook_yaml::Place;
use std::fmt;

/// Why the files are refused. Its text is a line, and two more under it where an expression is at fault:
///
/// ```text
/// views.yaml:9:44: unknown field "arr_dela"; did you mean "arr_delay"?
///     arr_dela <= 15
///     ^^^^^^^^
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Unknown only for what day-manager refuses without the files having named it.
    pub place: Option<Place>,
    pub message: String,
    /// What to write instead, where that can be guessed.
    pub hint: Option<String>,
    /// The line of an expression, and carets under what is wrong in it.
    pub caret: Option<String>,
}

impl Mistake {
    pub fn new(place: Option<Place>, message: impl Into<String>) -> Self {
        Self { place, message: message.into(), hint: None, caret: None }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        f.write_str(&self.message)?;
        if let Some(hint) = &self.hint {
            write!(f, "; {hint}")?;
        }
        for line in self.caret.iter().flat_map(|caret| caret.lines()) {
            write!(f, "\n    {line}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistake {}
