//! NATS over WebSocket for pages in a browser: closed unless asked for, and then for named origins that know a token.
//!
//! A browser lets every page that its user visits connect to this machine. The broker of `daybook up` lets in whoever reaches
//! it, so without these two any web site could publish, ask and define.

use anyhow::{Context as _, bail, ensure};
use daybook_access::keys::random_text;
use daybook_broker::{Port, WebSocketOptions, WebSocketToken};
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// The file in the folder of `daybook up` with the token that was made for it.
const TOKEN_FILE: &str = "websocket.token";
/// Shortest token that is taken out of a file: what cannot be guessed has no fewer characters.
const MIN_TOKEN_CHARS: usize = 16;

#[derive(Clone, Debug, clap::Args)]
pub struct WebSocketArguments {
    /// Origins of web pages that may connect to the private broker by WebSocket, such as https://app.example, separated by commas.
    /// Without it no WebSocket is open
    #[arg(long, env = "DAYBOOK_WEBSOCKET_ORIGINS", value_name = "ORIGINS", value_delimiter = ',', value_parser = origin)]
    websocket_origins: Vec<String>,
    /// Port of the private broker for WebSocket clients
    #[arg(long, env = "DAYBOOK_WEBSOCKET_PORT", default_value_t = 4223)]
    websocket_port: u16,
    /// File with the token that WebSocket clients must give; by default one is made and kept in the data folder
    #[arg(long, env = "DAYBOOK_WEBSOCKET_TOKEN_FILE", value_name = "FILE")]
    websocket_token_file: Option<PathBuf>,
}

/// A WebSocket that is to be open.
#[derive(Debug)]
pub struct WebSocket {
    pub options: WebSocketOptions,
    /// Where its token is kept.
    pub token_file: PathBuf,
}

impl WebSocketArguments {
    /// Whether one is asked for.
    pub fn is_wanted(&self) -> bool {
        !self.websocket_origins.is_empty()
    }

    /// What is to be open; makes the token where there is none. `data` is the folder of `daybook up`.
    ///
    /// # Errors
    /// When the token cannot be read or written, or can be guessed.
    pub fn open(&self, data: &Path) -> anyhow::Result<Option<WebSocket>> {
        if !self.is_wanted() {
            ensure!(
                self.websocket_token_file.is_none(),
                "--websocket-token-file is of no use without --websocket-origins, which opens the WebSocket"
            );
            return Ok(None);
        }
        let (token, token_file) = match &self.websocket_token_file {
            Some(file) => (read(file)?, file.clone()),
            None => {
                let file = data.join(TOKEN_FILE);
                (made(&file)?, file)
            }
        };
        let options = WebSocketOptions {
            port: Port::Fixed(self.websocket_port),
            allowed_origins: self.websocket_origins.clone(),
            token: Some(WebSocketToken(token)),
        };
        Ok(Some(WebSocket { options, token_file }))
    }
}

/// Checks an origin: scheme, host and perhaps a port, as a browser sends it.
fn origin(text: &str) -> Result<String, String> {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let host = host.filter(|host| !host.is_empty() && !host.contains(['/', '*', '?', '#', '@', ' ']));
    match host {
        Some(_) => Ok(text.to_owned()),
        None => Err("an origin is a scheme and a host, such as https://app.example or http://localhost:8080, without a path or *".into()),
    }
}

/// Reads a token that an operator keeps.
fn read(file: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("cannot read the token of the WebSocket in {}", file.display()))?;
    let token = text.trim();
    if token.chars().count() < MIN_TOKEN_CHARS || token.contains(char::is_whitespace) {
        bail!(
            "the token in {} is shorter than {MIN_TOKEN_CHARS} characters or has blanks in it; remove the file to have one made, \
             or write a random text into it",
            file.display()
        );
    }
    Ok(token.to_owned())
}

/// The token in `file`, which is made when it is not there, readable by its owner alone.
fn made(file: &Path) -> anyhow::Result<String> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(file) {
        Ok(mut new) => {
            let token = random_text();
            new.write_all(format!("{token}\n").as_bytes())
                .with_context(|| format!("cannot write the token of the WebSocket into {}", file.display()))?;
            Ok(token)
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => read(file),
        Err(error) => Err(error).context(format!("cannot make the token of the WebSocket in {}", file.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn arguments(origins: &[&str], token_file: Option<PathBuf>) -> WebSocketArguments {
        WebSocketArguments {
            websocket_origins: origins.iter().map(|origin| (*origin).to_owned()).collect(),
            websocket_port: 4223,
            websocket_token_file: token_file,
        }
    }

    #[test]
    fn nothing_is_open_unless_origins_are_named() {
        let data = tempfile::tempdir().unwrap();
        assert!(arguments(&[], None).open(data.path()).unwrap().is_none());
        assert!(std::fs::read_dir(data.path()).unwrap().next().is_none());
        assert!(arguments(&[], Some("x".into())).open(data.path()).is_err());
    }

    #[test]
    fn a_token_is_made_once_and_kept_for_its_owner() {
        let data = tempfile::tempdir().unwrap();
        let open = || arguments(&["http://localhost:8080"], None).open(data.path()).unwrap().unwrap();
        let (first, again) = (open(), open());
        let token = |websocket: &WebSocket| websocket.options.token.clone().unwrap().0;
        assert_eq!(token(&first), token(&again));
        assert!(token(&first).len() >= MIN_TOKEN_CHARS && !format!("{first:?}").contains(&token(&first)), "{first:?}");
        let mode = std::fs::metadata(&first.token_file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let file = data.path().join("mine");
        std::fs::write(&file, "short\n").unwrap();
        assert!(arguments(&["http://a"], Some(file.clone())).open(data.path()).is_err());
        std::fs::write(&file, "a-token-of-an-operator\n").unwrap();
        let mine = arguments(&["http://a"], Some(file)).open(data.path()).unwrap().unwrap();
        assert_eq!(token(&mine), "a-token-of-an-operator");
    }

    #[test]
    fn an_origin_is_scheme_and_host() {
        for good in ["https://app.example", "http://localhost:8080", "http://[::1]:3000"] {
            assert_eq!(origin(good).unwrap(), good);
        }
        for bad in ["", "*", "https://*", "app.example", "https://app.example/", "https://", "null"] {
            assert!(origin(bad).is_err(), "{bad}");
        }
    }
}
