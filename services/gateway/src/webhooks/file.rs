//! Follows the file of webhooks and the secrets that it names. A change is checked as a whole, and taken or refused as a whole.

use super::targets::{self, WebhookTarget, WebhooksError};
use daybook_runtime::followed_file::{LOOK, TwoLooks};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::watch;

/// The targets of the newest file that could be used, in the order of their names.
pub(super) type Targets = Arc<Vec<Arc<WebhookTarget>>>;

/// A file of webhooks, and what of it was judged.
pub(crate) struct WebhooksFile {
    path: PathBuf,
    looks: TwoLooks<Content>,
    first: Targets,
}

/// What the files say, or why they cannot be used.
type Content = Result<Targets, String>;

impl WebhooksFile {
    /// Reads the file for the first time.
    ///
    /// # Errors
    /// When it cannot be used.
    pub(crate) async fn open(path: PathBuf) -> Result<Self, WebhooksError> {
        let first = shared(load(path.clone()).await?);
        Ok(Self { path, looks: TwoLooks::new(Ok(first.clone())), first })
    }

    /// The targets that it had when it was opened.
    pub(super) fn first(&self) -> Targets {
        self.first.clone()
    }

    /// Looks at the files for ever, and tells `newest` of targets that it can use.
    pub(super) async fn follow(mut self, newest: watch::Sender<Targets>) {
        loop {
            tokio::time::sleep(LOOK).await;
            let read = load(self.path.clone()).await.map(shared).map_err(|error| told(&error));
            // Nothing, other targets, or why they are refused.
            match self.looks.judge(read, false) {
                None => {}
                Some(Ok(targets)) => {
                    tracing::info!(path = ?self.path, targets = targets.len(), "the file of webhooks has changed");
                    tell_refusal(false);
                    newest.send_replace(targets);
                }
                Some(Err(error)) => {
                    tracing::warn!(error, "the file of webhooks is refused; alerts go on to the targets of before");
                    tell_refusal(true);
                }
            }
        }
    }
}

/// Storage that hangs must not hold up anything else.
async fn load(path: PathBuf) -> Result<Vec<WebhookTarget>, WebhooksError> {
    tokio::task::spawn_blocking(move || targets::load(&path)).await.expect("reading does not panic")
}

fn shared(targets: Vec<WebhookTarget>) -> Targets {
    Arc::new(targets.into_iter().map(Arc::new).collect())
}

fn told(error: &WebhooksError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

pub(super) fn tell_refusal(is_refused: bool) {
    metrics::gauge!("daybook_webhook_file_refused").set(f64::from(u8::from(is_refused)));
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRETS: [&str; 2] = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"];

    fn write(folder: &tempfile::TempDir, names: &[&str]) {
        let target =
            |name: &&str| format!("  - {{ name: {name}, url: http://h, secret: {{ file: s }}, tenants: all }}\n");
        let text = format!("targets:\n{}", names.iter().map(target).collect::<String>());
        std::fs::write(folder.path().join("webhooks.yaml"), text).unwrap();
    }

    /// What a look at the files says: the names of other targets, or why they are refused.
    async fn look(file: &mut WebhooksFile) -> Option<Result<Vec<String>, String>> {
        let read = load(file.path.clone()).await.map(shared).map_err(|error| told(&error));
        let names = |targets: Targets| targets.iter().map(|target| target.name.to_string()).collect();
        file.looks.judge(read, false).map(|judged| judged.map(names))
    }

    #[tokio::test]
    async fn a_change_is_taken_once_two_looks_find_it_and_a_broken_file_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (path, secret) = (folder.path().join("webhooks.yaml"), folder.path().join("s"));
        assert!(WebhooksFile::open(path.clone()).await.is_err());
        std::fs::write(&secret, SECRETS[0]).unwrap();
        write(&folder, &["a"]);
        let mut file = WebhooksFile::open(path.clone()).await.unwrap();
        assert_eq!(file.first().len(), 1);
        assert_eq!(look(&mut file).await, None);
        write(&folder, &["a", "b"]);
        assert_eq!(look(&mut file).await, None, "it may be written just now");
        write(&folder, &["a", "c"]);
        assert_eq!(look(&mut file).await, None, "it is");
        let names = |names: &[&str]| Some(Ok(names.iter().map(ToString::to_string).collect::<Vec<_>>()));
        assert_eq!(look(&mut file).await, names(&["a", "c"]));
        assert_eq!(look(&mut file).await, None);
        // For a moment the file is not there, then it is broken, then it is as before.
        std::fs::remove_file(&path).unwrap();
        assert_eq!(look(&mut file).await, None);
        write(&folder, &["a", "a"]);
        assert_eq!(look(&mut file).await, None);
        let why = look(&mut file).await.unwrap().unwrap_err();
        assert!(why.contains("target a: it is there twice"), "{why}");
        assert_eq!(look(&mut file).await, None, "it is told once");
        write(&folder, &["a", "c"]);
        assert_eq!(look(&mut file).await, None);
        assert_eq!(look(&mut file).await, names(&["a", "c"]));
        // Another secret is a change.
        std::fs::write(&secret, SECRETS[1]).unwrap();
        assert_eq!(look(&mut file).await, None);
        assert_eq!(look(&mut file).await, names(&["a", "c"]));
    }
}
