//! A client of an attacker's own making: it speaks the protocol itself, so nothing that it says is checked or completed on the
//! way to the broker, and it shows itself with whatever credentials it likes.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nkeys::KeyPair;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// How long the broker may take over anything.
const PATIENCE: Duration = Duration::from_secs(20);
/// Messages that are kept until somebody looks at them; further ones are dropped. No attack needs more.
const HEARD_LIMIT: usize = 10_000;

/// As whom to connect.
#[derive(Clone, Debug)]
pub enum Login {
    /// Without a word about it.
    Nobody,
    Password(String, String),
    /// A token, and the seed that signs the broker's challenge.
    Token {
        token: String,
        seed: String,
    },
    /// A user's public key, and the seed that signs.
    Nkey {
        public_key: String,
        seed: String,
    },
    /// A token that no signature comes with.
    Unsigned {
        token: String,
    },
}

impl Login {
    /// Reads a credentials file, as `daybook token create` writes it.
    pub fn credentials(text: &str) -> Self {
        let token = daybook_access::credentials::token_in(text).unwrap().to_owned();
        Self::Token { token, seed: daybook_access::credentials::seed_in(text).unwrap().to_owned() }
    }

    /// What the client says of itself, with the challenge answered.
    fn hello(&self, nonce: &str) -> Value {
        let mut hello = json!({
            "verbose": false, "pedantic": false, "headers": true, "no_responders": false, "protocol": 1, "lang": "raw",
            "version": "1"
        });
        let sign = |seed: &str| {
            let signature = KeyPair::from_seed(seed).unwrap().sign(nonce.as_bytes()).unwrap();
            Value::String(URL_SAFE_NO_PAD.encode(signature))
        };
        match self {
            Self::Nobody => {}
            Self::Password(user, password) => {
                hello["user"] = json!(user);
                hello["pass"] = json!(password);
            }
            Self::Token { token, seed } => {
                hello["jwt"] = json!(token);
                hello["sig"] = sign(seed);
            }
            Self::Nkey { public_key, seed } => {
                hello["nkey"] = json!(public_key);
                hello["sig"] = sign(seed);
            }
            Self::Unsigned { token } => hello["jwt"] = json!(token),
        }
        hello
    }
}

/// A message that arrived.
#[derive(Clone, Debug)]
pub struct Heard {
    pub subject: String,
    /// The subscription.
    pub id: u64,
    pub reply: Option<String>,
    /// Headers and payload, as they are.
    pub body: Vec<u8>,
}

impl Heard {
    /// Headers and payload as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A connection that says anything.
pub struct RawClient {
    stream: BufReader<TcpStream>,
    /// What has arrived and was not looked at.
    pub heard: Vec<Heard>,
    /// What the broker has complained about.
    pub errors: Vec<String>,
    /// Whether the broker has hung up.
    pub is_closed: bool,
    subscriptions: u64,
}

impl RawClient {
    /// Connects to `nats://HOST:PORT`.
    ///
    /// # Errors
    /// What the broker says when it does not let the client in.
    pub async fn connect(url: &str, login: &Login) -> Result<Self, String> {
        let address = url.strip_prefix("nats://").unwrap();
        let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
        stream.set_nodelay(true).unwrap();
        let mut stream = BufReader::new(stream);
        let mut info = String::new();
        stream.read_line(&mut info).await.map_err(|error| error.to_string())?;
        let info: Value = match info.strip_prefix("INFO ") {
            Some(info) => serde_json::from_str(info).unwrap(),
            None => return Err(format!("no greeting: {info}")),
        };
        let hello = login.hello(info["nonce"].as_str().unwrap_or_default());
        let mut client = Self { stream, heard: Vec::new(), errors: Vec::new(), is_closed: false, subscriptions: 0 };
        client.send(format!("CONNECT {hello}\r\n").as_bytes()).await;
        client.flush().await;
        if client.is_closed { Err(client.errors.join("; ")) } else { Ok(client) }
    }

    /// Listens. Returns the number of the subscription.
    pub async fn subscribe(&mut self, subject: &str, queue: Option<&str>) -> u64 {
        self.subscriptions += 1;
        let (id, queue) = (self.subscriptions, queue.map(|queue| format!("{queue} ")).unwrap_or_default());
        self.send(format!("SUB {subject} {queue}{id}\r\n").as_bytes()).await;
        id
    }

    /// Publishes all of this as it is. Header blocks should begin with `NATS/1.0\r\n` and end with an empty line.
    pub async fn publish(&mut self, subject: &[u8], reply: Option<&[u8]>, headers: Option<&[u8]>, payload: &[u8]) {
        let mut message = if headers.is_some() { b"HPUB ".to_vec() } else { b"PUB ".to_vec() };
        message.extend_from_slice(subject);
        if let Some(reply) = reply {
            message.push(b' ');
            message.extend_from_slice(reply);
        }
        let headers = headers.inspect(|headers| message.extend_from_slice(format!(" {}", headers.len()).as_bytes()));
        let headers = headers.unwrap_or_default();
        message.extend_from_slice(format!(" {}\r\n", headers.len() + payload.len()).as_bytes());
        message.extend_from_slice(headers);
        message.extend_from_slice(payload);
        message.extend_from_slice(b"\r\n");
        self.send(&message).await;
    }

    /// Waits until the broker has read everything that was said so far, or has hung up.
    pub async fn flush(&mut self) {
        self.send(b"PING\r\n").await;
        if tokio::time::timeout(PATIENCE, self.read_until_pong()).await.is_err() {
            self.errors.push(format!("the broker does not answer a PING within {PATIENCE:?}"));
            self.is_closed = true;
        }
    }

    /// Sends bytes; a broker that hangs up is noted.
    pub async fn send(&mut self, bytes: &[u8]) {
        if !self.is_closed && self.stream.get_mut().write_all(bytes).await.is_err() {
            // What the broker said before stands in the socket still.
            let _ = tokio::time::timeout(PATIENCE, self.read_until_pong()).await;
            self.is_closed = true;
        }
    }

    async fn read_until_pong(&mut self) {
        while !self.is_closed {
            let mut line = Vec::new();
            match self.stream.read_until(b'\n', &mut line).await {
                Ok(0) | Err(_) => self.is_closed = true,
                Ok(_) => {
                    let line = String::from_utf8_lossy(&line).into_owned();
                    let words: Vec<&str> = line.split_whitespace().collect();
                    match words.as_slice() {
                        ["PONG"] => return,
                        ["PING"] => self.send_pong().await,
                        ["-ERR", rest @ ..] => self.errors.push(rest.join(" ")),
                        ["MSG", subject, id, reply @ .., length] => self.take(subject, id, reply.first(), length).await,
                        ["HMSG", subject, id, rest @ .., length] => {
                            // The length of the headers comes last of the rest.
                            let reply = if rest.len() == 2 { rest.first() } else { None };
                            self.take(subject, id, reply, length).await;
                        }
                        _ => {}
                    }
                }
            }
        }
    }

    async fn send_pong(&mut self) {
        self.is_closed |= self.stream.get_mut().write_all(b"PONG\r\n").await.is_err();
    }

    async fn take(&mut self, subject: &str, id: &str, reply: Option<&&str>, length: &str) {
        let mut body = vec![0; length.parse::<usize>().unwrap() + 2];
        if self.stream.read_exact(&mut body).await.is_err() {
            self.is_closed = true;
            return;
        }
        body.truncate(body.len() - 2);
        if self.heard.len() < HEARD_LIMIT {
            let (subject, reply) = (subject.to_owned(), reply.map(|reply| (*reply).to_owned()));
            self.heard.push(Heard { subject, id: id.parse().unwrap(), reply, body });
        }
    }
}
