//! Follows the file of sources. A change is checked as a whole, and taken or refused as a whole.

use crate::arrival::SourceTrouble;
use crate::sources::{self, SourceSpec, SourcesError};
use compact_str::ToCompactString;
use daybook_contracts::subjects::Subjects;
use daybook_runtime::followed_file::{LOOK, TwoLooks};
use daybook_runtime::membership::Board;
use daybook_runtime::process::heard;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::signal::unix::Signal;
use tokio::sync::watch;

/// The sources of the newest file that could be used, in the order of their names.
pub(crate) type Sources = Arc<Vec<Arc<SourceSpec>>>;

/// A file of sources, and what of it was judged.
pub(crate) struct SourcesFile {
    path: PathBuf,
    subjects: Subjects,
    looks: TwoLooks<Content>,
}

/// The text of the file, or why it cannot be read.
type Content = Result<String, String>;

impl SourcesFile {
    /// Reads the file for the first time.
    ///
    /// # Errors
    /// When it cannot be used.
    pub(crate) fn open(path: PathBuf, subjects: Subjects) -> Result<(Self, Sources), SourcesError> {
        let text = sources::read(&path)?;
        let first = sources::parse(&text, &path, &subjects)?;
        Ok((Self { path, subjects, looks: TwoLooks::new(Ok(text)) }, shared(first)))
    }

    /// What follows from a look at the file: nothing, the sources of a changed file, or why that is refused. With `at_once` a change
    /// need not have been there before.
    fn judge(&mut self, read: Result<String, SourcesError>, at_once: bool) -> Option<Result<Sources, SourcesError>> {
        let content = read.as_ref().map(String::clone).map_err(SourcesError::to_string);
        let parse = |text: String| sources::parse(&text, &self.path, &self.subjects).map(shared);
        self.looks.judge(content, at_once).map(|_| read.and_then(parse))
    }

    /// Looks at the file for ever, at each signal at once, and tells `newest` of sources that it can use.
    pub(crate) async fn follow(mut self, mut hangups: Option<Signal>, newest: watch::Sender<Sources>, board: Board) {
        loop {
            let at_once = tokio::select! {
                () = tokio::time::sleep(LOOK) => false,
                () = heard(&mut hangups) => true,
            };
            let path = self.path.clone();
            // Storage that hangs must not hold up the sources.
            let Ok(read) = tokio::task::spawn_blocking(move || sources::read(&path)).await else { continue };
            match self.judge(read, at_once) {
                None => {}
                Some(Ok(sources)) => {
                    tracing::info!(path = ?self.path, sources = sources.len(), "the file of sources has changed");
                    tell_refusal(&board, None);
                    newest.send_replace(sources);
                }
                Some(Err(error)) => {
                    tracing::warn!(%error, "the file of sources is refused; those of before are read on");
                    tell_refusal(&board, Some(&error));
                }
            }
        }
    }
}

fn shared(sources: Vec<SourceSpec>) -> Sources {
    Arc::new(sources.into_iter().map(Arc::new).collect())
}

fn tell_refusal(board: &Board, error: Option<&SourcesError>) {
    metrics::gauge!("daybook_connect_sources_refused").set(f64::from(u8::from(error.is_some())));
    board.refuse_sources(error.map(|error| SourceTrouble::told(error.reason()).to_compact_string()));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(names: &[&str]) -> String {
        let sources = names.iter().map(|name| format!("  - {{ name: {name}, stream: S, mapping: k/m }}\n"));
        format!("sources:\n{}", sources.collect::<String>())
    }

    fn told(judged: Option<Result<Sources, SourcesError>>) -> Option<Result<Vec<String>, String>> {
        judged.map(|judged| match judged {
            Ok(sources) => Ok(sources.iter().map(|source| source.name.to_string()).collect()),
            Err(error) => Err(error.reason()),
        })
    }

    #[test]
    fn a_change_is_taken_once_two_looks_find_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sources.yaml");
        let subjects = Subjects::new("daybook").unwrap();
        assert!(SourcesFile::open(path.clone(), subjects.clone()).is_err());
        std::fs::write(&path, text(&["a"])).unwrap();
        let (mut file, first) = SourcesFile::open(path, subjects).unwrap();
        assert_eq!(first.len(), 1);
        let mut look = |names: &[&str], at_once| told(file.judge(Ok(text(names)), at_once));
        let taken = |names: &[&str]| Some(Ok(names.iter().map(ToString::to_string).collect::<Vec<_>>()));
        assert_eq!(look(&["a"], false), None);
        assert_eq!(look(&["a", "b"], false), None, "it may be written just now");
        assert_eq!(look(&["a", "b", "c"], false), None, "it is");
        assert_eq!(look(&["a", "b", "c"], false), taken(&["a", "b", "c"]));
        assert_eq!(look(&["a", "b", "c"], false), None);
        assert_eq!(look(&["b"], true), taken(&["b"]));
        assert_eq!(look(&[], false), None);
        assert_eq!(look(&["b"], false), None);
        assert_eq!(look(&[], false), None, "it was not there without a break");
    }

    #[test]
    fn what_cannot_be_used_is_refused_once_and_the_file_of_before_can_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sources.yaml");
        std::fs::write(&path, text(&["a"])).unwrap();
        let (mut file, _) = SourcesFile::open(path.clone(), Subjects::new("daybook").unwrap()).unwrap();
        let why = told(file.judge(Ok(text(&["a", "a"])), true)).unwrap().unwrap_err();
        assert!(why.contains("source a") && why.contains("there twice"), "{why}");
        assert_eq!(told(file.judge(Ok(text(&["a", "a"])), true)), None);
        std::fs::remove_file(&path).unwrap();
        let gone = told(file.judge(sources::read(&path), true)).unwrap().unwrap_err();
        assert!(gone.contains("cannot be read"), "{gone}");
        assert_eq!(told(file.judge(Ok(text(&["a"])), true)), Some(Ok(vec!["a".to_owned()])));
    }
}
