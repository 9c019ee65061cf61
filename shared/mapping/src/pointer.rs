//! Paths: JSON Pointers (RFC 6901) from the record, or from one of its items.

/// Most steps of a path: values are looked up by recursion.
pub(crate) const MAX_STEPS: usize = 32;
/// Longest path, in bytes: what a person still reads.
pub(crate) const MAX_PATH_BYTES: usize = 512;

/// Where a path begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Base {
    Record,
    /// The item of `explode`, or the row of `rows`.
    Item,
}

/// A path, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pointer {
    pub(crate) base: Base,
    /// Keys, or indices of arrays, from the base on.
    pub(crate) steps: Vec<String>,
}

/// Why a text is no path.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PathError {
    /// Bytes from the start of the text.
    pub(crate) position: usize,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

impl Pointer {
    /// Reads `/a/b`, `./b`, `.` (the whole item) and the empty text (the whole record).
    pub(crate) fn parse(text: &str) -> Result<Self, PathError> {
        let error = |position: usize, message: String, hint: Option<String>| PathError { position, message, hint };
        if text.len() > MAX_PATH_BYTES {
            let message = format!("the path is {} bytes long; at most {MAX_PATH_BYTES} are allowed", text.len());
            return Err(error(0, message, None));
        }
        let (base, rest, offset) = match text.strip_prefix('.') {
            Some(rest) => (Base::Item, rest, 1),
            None => (Base::Record, text, 0),
        };
        if rest.is_empty() {
            return Ok(Self { base, steps: Vec::new() });
        }
        let Some(steps) = rest.strip_prefix('/') else {
            let bare = text.trim_start_matches(['$', '.']).replace('.', "/");
            let hint = format!("a path begins with / (from the record) or ./ (from the item), such as /{bare}");
            return Err(error(0, format!("{text:?} is no path"), Some(hint)));
        };
        if base == Base::Item && steps.is_empty() {
            let hint = "the whole item is written \".\"".to_owned();
            return Err(error(1, "nothing follows ./".to_owned(), Some(hint)));
        }
        let mut position = offset + 1;
        let mut read = Vec::new();
        for step in steps.split('/') {
            if let Some(bad) = wrong_escape(step) {
                let hint = Some("in a path ~ is written ~0, and / within a key ~1".to_owned());
                return Err(error(position + bad, "a ~ that stands for nothing".to_owned(), hint));
            }
            if read.len() == MAX_STEPS {
                return Err(error(position, format!("a path has at most {MAX_STEPS} steps"), None));
            }
            read.push(step.replace("~1", "/").replace("~0", "~"));
            position += step.len() + 1;
        }
        Ok(Self { base, steps: read })
    }
}

/// The place of a `~` that neither `0` nor `1` follows.
fn wrong_escape(step: &str) -> Option<usize> {
    step.match_indices('~').map(|(at, _)| at).find(|at| !step[at + 1..].starts_with(['0', '1']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read() {
        for (text, base, steps) in [
            ("", Base::Record, &[][..]),
            ("/a/b", Base::Record, &["a", "b"]),
            ("/", Base::Record, &[""]),
            ("/a//0", Base::Record, &["a", "", "0"]),
            ("/~1a~0b/~01", Base::Record, &["/a~b", "~1"]),
            (".", Base::Item, &[]),
            ("./a/é", Base::Item, &["a", "é"]),
        ] {
            let steps = steps.iter().map(|step| (*step).to_owned()).collect();
            assert_eq!(Pointer::parse(text), Ok(Pointer { base, steps }), "{text:?}");
        }
    }

    #[test]
    fn mistakes_have_their_place() {
        for (text, position, hint) in [
            ("a.b", 0, "/a/b"),
            ("$.a", 0, "such as /a"),
            ("..", 0, "begins with"),
            ("./", 1, "\".\""),
            ("/a~", 2, "~0"),
            ("/é/b~2c", 5, "~0"),
            ("./a~2", 3, "~0"),
        ] {
            let error = Pointer::parse(text).unwrap_err();
            assert_eq!(error.position, position, "{text:?}");
            assert!(error.hint.is_some_and(|found| found.contains(hint)), "{text:?}");
        }
        assert!(Pointer::parse(&"/a".repeat(MAX_STEPS)).is_ok());
        assert!(Pointer::parse(&"/a".repeat(MAX_STEPS + 1)).is_err());
        assert!(Pointer::parse(&"/a".repeat(MAX_PATH_BYTES)).is_err());
    }
}
