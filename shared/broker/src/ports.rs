//! The ports file: how the server tells which addresses it listens on, once it does.

use std::fs;
use std::path::Path;

use serde::Deserialize;

use crate::config::Port;

/// What `--ports_file_dir` makes the server write: the URLs of each listener, the loopback one first.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct Ports {
    #[serde(default)]
    pub(crate) nats: Vec<String>,
    #[serde(default)]
    pub(crate) websocket: Vec<String>,
    #[serde(default)]
    pub(crate) monitoring: Vec<String>,
}

impl Ports {
    /// The file of process `pid`, if it is there and complete: it is not written in one step.
    pub(crate) fn read(directory: &Path, pid: u32) -> Option<Self> {
        let suffix = format!("_{pid}.ports");
        let path = fs::read_dir(directory)
            .ok()?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .find(|path| path.to_str().is_some_and(|path| path.ends_with(&suffix)))?;
        let ports: Self = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
        (!ports.nats.is_empty()).then_some(ports)
    }
}

/// The port in a listener's first URL, to ask for the same one again.
pub(crate) fn same_port(urls: &[String]) -> Option<Port> {
    let (_host, port) = urls.first()?.rsplit_once(':')?;
    port.parse().ok().map(Port::Fixed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_complete_files_of_the_process_only() {
        let root = tempfile::tempdir().unwrap();
        let text = r#"{"nats":["nats://127.0.0.1:33991","nats://[::1]:33991"],"websocket":["ws://127.0.0.1:34543"]}"#;
        let path = root.path().join("nats-server_77.ports");
        assert_eq!(Ports::read(root.path(), 77), None);
        fs::write(&path, &text[..30]).unwrap();
        assert_eq!(Ports::read(root.path(), 77), None);
        fs::write(&path, text).unwrap();
        let ports = Ports::read(root.path(), 77).unwrap();
        assert_eq!(same_port(&ports.nats), Some(Port::Fixed(33991)));
        assert_eq!(same_port(&ports.websocket), Some(Port::Fixed(34543)));
        assert_eq!(same_port(&ports.monitoring), None);
        assert_eq!(Ports::read(root.path(), 7), None);
    }
}
