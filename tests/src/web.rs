//! HTTP as the tests speak it: by hand, so that they can also speak it wrongly.

use crate::PATIENCE;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A client of a gateway.
#[derive(Clone, Debug)]
pub struct Web {
    pub address: SocketAddr,
    pub token: Option<String>,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Response {
    /// The body as a text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// A header, or an empty text.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// The code of a problem; panics when it is none.
    pub fn code(&self) -> String {
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        let json = self.json();
        assert_eq!(json["status"], self.status);
        for member in ["type", "title", "detail"] {
            assert!(json[member].is_string(), "{json}");
        }
        json["code"].as_str().unwrap().to_owned()
    }
}

impl Web {
    /// A client of the gateway at a URL such as `http://127.0.0.1:8080`.
    pub fn at(url: &str) -> Self {
        Self { address: url.trim_start_matches("http://").parse().unwrap(), token: None }
    }

    /// The same with a token.
    pub fn with_token(&self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..self.clone() }
    }

    pub async fn get(&self, path: &str) -> Response {
        self.request("GET", path, &[], b"").await
    }

    pub async fn post(&self, path: &str, media_type: &str, body: impl AsRef<[u8]>) -> Response {
        self.request("POST", path, &[("Content-Type", media_type)], body.as_ref()).await
    }

    /// Sends a request on a connection of its own and reads the response.
    pub async fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
        let mut head = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            head += &format!("Host: {}\r\n", self.address);
        }
        if let Some(token) = &self.token {
            head += &format!("Authorization: Bearer {token}\r\n");
        }
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        if !body.is_empty() || method == "POST" {
            head += &format!("Content-Length: {}\r\n", body.len());
        }
        let mut bytes = (head + "\r\n").into_bytes();
        bytes.extend_from_slice(body);
        self.raw(&bytes).await.unwrap_or_else(|| panic!("no response to {method} {path}"))
    }

    /// Sends these bytes, reads until the end, and takes what came for a response; `None` when nothing came.
    pub async fn raw(&self, bytes: &[u8]) -> Option<Response> {
        let mut stream = self.connect().await;
        // The other side may have closed already: what it said counts.
        let _ = stream.write_all(bytes).await;
        let mut received = Vec::new();
        let reading = stream.read_to_end(&mut received);
        let _ = tokio::time::timeout(PATIENCE, reading).await.expect("an end");
        parse(&received)
    }

    /// Opens a connection and says nothing.
    pub async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Follows server-sent events.
    pub async fn follow(&self, path: &str, headers: &[(&str, &str)]) -> Events {
        let mut stream = self.connect().await;
        let mut head = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n", self.address);
        if let Some(token) = &self.token {
            head += &format!("Authorization: Bearer {token}\r\n");
        }
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        stream.write_all((head + "\r\n").as_bytes()).await.unwrap();
        Events { stream, raw: Vec::new(), is_body: false, received: Vec::new() }
    }
}

/// A stream of server-sent events.
pub struct Events {
    pub stream: TcpStream,
    /// What has come and is not decoded yet: the head, or a part of a chunk.
    raw: Vec<u8>,
    is_body: bool,
    received: Vec<u8>,
}

/// One event: its name, its identifier and its data, which is a text where it is not JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub name: String,
    pub id: String,
    pub data: Value,
}

impl Events {
    /// The next event, or `None` at the end.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.take() {
                return Some(event);
            }
            let mut buffer = vec![0; 64 << 10];
            let read = tokio::time::timeout(PATIENCE, self.stream.read(&mut buffer)).await.expect("an event");
            match read {
                Ok(0) | Err(_) => return None,
                Ok(count) => self.raw.extend_from_slice(&buffer[..count]),
            }
            self.decode();
        }
    }

    /// Takes the chunks that are complete out of what has come.
    fn decode(&mut self) {
        let find = |raw: &[u8], end: &[u8]| raw.windows(end.len()).position(|window| window == end);
        if !self.is_body {
            let Some(end) = find(&self.raw, b"\r\n\r\n") else { return };
            self.raw.drain(..end + 4);
            self.is_body = true;
        }
        while let Some(end) = find(&self.raw, b"\r\n") {
            let size = std::str::from_utf8(&self.raw[..end]).ok().and_then(|size| usize::from_str_radix(size, 16).ok());
            let Some(size) = size.filter(|size| self.raw.len() >= end + 2 + size + 2) else { return };
            self.received.extend_from_slice(&self.raw[end + 2..end + 2 + size]);
            self.raw.drain(..end + 2 + size + 2);
        }
    }

    fn take(&mut self) -> Option<Event> {
        loop {
            let end = self.received.windows(2).position(|pair| pair == b"\n\n")?;
            let block: Vec<u8> = self.received.drain(..end + 2).collect();
            let text = String::from_utf8_lossy(&block);
            let field =
                |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().to_owned();
            let name = field("event: ");
            if !name.is_empty() {
                let data = field("data: ");
                let data = serde_json::from_str(&data).unwrap_or(Value::String(data));
                return Some(Event { name, id: field("id: "), data });
            }
        }
    }
}

/// Reads a response whose connection has ended.
fn parse(bytes: &[u8]) -> Option<Response> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let mut headers = BTreeMap::new();
    for line in lines {
        let (name, value) = line.split_once(':')?;
        let value = value.trim();
        let joined = headers.entry(name.to_ascii_lowercase()).or_insert_with(String::new);
        *joined = if joined.is_empty() { value.to_owned() } else { format!("{joined}, {value}") };
    }
    let body = bytes[end + 4..].to_vec();
    Some(Response { status, headers, body })
}

/// How long a connection stays open while nothing is sent on it.
pub async fn closed_within(stream: &mut TcpStream, limit: Duration) -> bool {
    let mut buffer = vec![0; 4 << 10];
    let closing = async { while matches!(stream.read(&mut buffer).await, Ok(count) if count > 0) {} };
    tokio::time::timeout(limit, closing).await.is_ok()
}
