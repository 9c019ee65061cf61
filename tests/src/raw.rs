//! A publisher that says anything: subjects and headers that client libraries refuse, but a broker takes.

use std::collections::VecDeque;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// Where the broker sends its answers to this publisher.
const REPLY: &str = "raw.reply";

/// A connection that speaks the protocol itself.
pub struct RawPublisher {
    stream: BufReader<TcpStream>,
    errors: VecDeque<String>,
}

/// What the broker said to a message.
#[derive(Debug, PartialEq, Eq)]
pub enum Said {
    /// Stored at this sequence.
    Stored(u64),
    /// Nobody takes messages on that subject.
    NoStream,
    /// JetStream's own error, or the server's.
    Refused(String),
}

impl RawPublisher {
    /// Connects to `nats://HOST:PORT`.
    pub async fn connect(url: &str) -> Self {
        let address = url.strip_prefix("nats://").unwrap();
        let mut stream = BufReader::new(TcpStream::connect(address).await.unwrap());
        let mut info = String::new();
        stream.read_line(&mut info).await.unwrap();
        assert!(info.starts_with("INFO "), "{info}");
        let hello = format!(
            "CONNECT {{\"verbose\":false,\"pedantic\":false,\"headers\":true,\"no_responders\":true}}\r\nSUB {REPLY} 1\r\n"
        );
        stream.get_mut().write_all(hello.as_bytes()).await.unwrap();
        Self { stream, errors: VecDeque::new() }
    }

    /// Publishes `payload` on `subject`, both as they are, and waits for the answer.
    pub async fn publish(&mut self, subject: &[u8], payload: &[u8]) -> Said {
        let mut message = [b"PUB ", subject, format!(" {REPLY} {}\r\n", payload.len()).as_bytes()].concat();
        message.extend_from_slice(payload);
        self.send(message).await
    }

    /// Publishes with a header block, which should begin with `NATS/1.0\r\n` and end with an empty line.
    pub async fn publish_with_headers(&mut self, subject: &[u8], headers: &[u8], payload: &[u8]) -> Said {
        let lengths = format!(" {REPLY} {} {}\r\n", headers.len(), headers.len() + payload.len());
        let mut message = [b"HPUB ", subject, lengths.as_bytes(), headers].concat();
        message.extend_from_slice(payload);
        self.send(message).await
    }

    /// Says that `bytes` bytes are to follow on `subject`, sends none of them, and waits for the answer.
    ///
    /// A broker that refuses the length closes the connection. Bytes still on their way would then reset it, and take
    /// the broker's reason along.
    pub async fn announce(&mut self, subject: &[u8], bytes: usize) -> Said {
        self.send([b"PUB ", subject, format!(" {REPLY} {bytes}").as_bytes()].concat()).await
    }

    async fn send(&mut self, mut message: Vec<u8>) -> Said {
        message.extend_from_slice(b"\r\n");
        self.stream.get_mut().write_all(&message).await.unwrap();
        tokio::time::timeout(Duration::from_secs(10), self.answer()).await.expect("the broker says nothing")
    }

    async fn answer(&mut self) -> Said {
        loop {
            if let Some(error) = self.errors.pop_front() {
                return Said::Refused(error);
            }
            let mut line = String::new();
            if self.stream.read_line(&mut line).await.unwrap() == 0 {
                return Said::Refused("the connection was closed".to_owned());
            }
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                ["PING"] => self.stream.get_mut().write_all(b"PONG\r\n").await.unwrap(),
                ["-ERR", rest @ ..] => self.errors.push_back(rest.join(" ")),
                ["MSG" | "HMSG", .., total] => {
                    let mut body = vec![0; total.parse::<usize>().unwrap() + 2];
                    self.stream.read_exact(&mut body).await.unwrap();
                    return read_answer(&String::from_utf8_lossy(&body));
                }
                _ => {}
            }
        }
    }
}

fn read_answer(body: &str) -> Said {
    if body.starts_with("NATS/1.0 503") {
        return Said::NoStream;
    }
    let ack: serde_json::Value = serde_json::from_str(body.trim()).unwrap();
    match ack["error"]["description"].as_str() {
        Some(error) => Said::Refused(error.to_owned()),
        None => Said::Stored(ack["seq"].as_u64().unwrap()),
    }
}
