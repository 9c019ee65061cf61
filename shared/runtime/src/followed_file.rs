//! Files of settings that a service follows while it runs.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

/// How often such a file is looked at.
pub const LOOK: Duration = Duration::from_secs(1);

/// Judges what looks at a file find: a change counts once two looks find the same, so that a file that is being written is not taken
/// in half.
pub struct TwoLooks<C> {
    /// What counted last, whether it was taken or refused.
    judged: C,
    /// Another content, that was found by the last look.
    found: Option<C>,
}

impl<C: Clone + PartialEq> TwoLooks<C> {
    /// `first` is what the file held when it was opened.
    pub fn new(first: C) -> Self {
        Self { judged: first, found: None }
    }

    /// Returns the content if it is another one than that which counted last, and counts now. With `at_once` it need not have been
    /// there before.
    pub fn judge(&mut self, read: C, at_once: bool) -> Option<C> {
        if read == self.judged {
            self.found = None;
            return None;
        }
        if !at_once && self.found.as_ref() != Some(&read) {
            self.found = Some(read);
            return None;
        }
        (self.judged, self.found) = (read.clone(), None);
        Some(read)
    }
}

/// The text of a file; `None` when it is longer than `most` bytes. Reads one byte more at most.
///
/// # Errors
/// When it cannot be read, or is not text.
pub fn read_at_most(path: &Path, most: u64) -> std::io::Result<Option<String>> {
    let mut text = String::new();
    File::open(path)?.take(most.saturating_add(1)).read_to_string(&mut text)?;
    Ok((text.len() as u64 <= most).then_some(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_counts_once_two_looks_find_it() {
        let mut looks = TwoLooks::new("a");
        assert_eq!(looks.judge("a", false), None);
        assert_eq!(looks.judge("b", false), None, "it may be written just now");
        assert_eq!(looks.judge("c", false), None, "it is");
        assert_eq!(looks.judge("c", false), Some("c"));
        assert_eq!(looks.judge("c", false), None, "it is told once");
        assert_eq!(looks.judge("b", true), Some("b"));
        assert_eq!(looks.judge("d", false), None);
        assert_eq!(looks.judge("b", false), None);
        assert_eq!(looks.judge("d", false), None, "it was not there without a break");
    }

    #[test]
    fn a_long_file_is_not_read_to_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "four").unwrap();
        assert_eq!(read_at_most(&path, 4).unwrap().as_deref(), Some("four"));
        assert_eq!(read_at_most(&path, 3).unwrap(), None);
        std::fs::write(&path, [0xff]).unwrap();
        assert!(read_at_most(&path, 3).is_err() && read_at_most(folder.path(), 3).is_err());
    }
}
