//! A client of the hunt's HTTP door that keeps its connection.

use anyhow::Context as _;
use axum::body::{Body, to_bytes};
use axum::http::{Request, header};
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::Instant;

/// How long a request may take.
const LIMIT: Duration = Duration::from_secs(15);
/// Largest answer that is read.
const MAX_ANSWER_BYTES: usize = 16 << 20;

/// How long a connection is kept without a request: doors close one after 20 s.
const IDLE: Duration = Duration::from_secs(10);

/// A client with one connection.
pub struct Http {
    /// Such as `127.0.0.1:8080`.
    address: String,
    pub token: Option<String>,
    connection: Option<SendRequest<Body>>,
    used_at: Instant,
}

impl Http {
    /// A client of the door at a URL such as `http://127.0.0.1:8080`.
    pub fn new(url: &str) -> Self {
        let address = url.trim_start_matches("http://").trim_end_matches('/').to_owned();
        Self { address, token: None, connection: None, used_at: Instant::now() }
    }

    /// Goes to another door from now on.
    pub fn turn_to(&mut self, url: &str) {
        self.address = url.trim_start_matches("http://").trim_end_matches('/').to_owned();
        self.connection = None;
    }

    /// Posts JSON; returns the status and the JSON that came back.
    ///
    /// # Errors
    /// When no complete answer came: the request may have been carried out or not.
    pub async fn post(&mut self, path: &str, body: &Value) -> anyhow::Result<(u16, Value)> {
        self.json("POST", path, Body::from(body.to_string())).await
    }

    /// Gets JSON.
    ///
    /// # Errors
    /// When no complete answer came.
    pub async fn get(&mut self, path: &str) -> anyhow::Result<(u16, Value)> {
        self.json("GET", path, Body::empty()).await
    }

    /// Gets a text.
    ///
    /// # Errors
    /// When no complete answer came.
    pub async fn text(&mut self, path: &str) -> anyhow::Result<(u16, String)> {
        let whole = self.whole("GET", path, Body::empty());
        let (status, text) = tokio::time::timeout(LIMIT, whole).await.context("no answer in time")??;
        Ok((status, String::from_utf8(text.to_vec())?))
    }

    async fn json(&mut self, method: &str, path: &str, body: Body) -> anyhow::Result<(u16, Value)> {
        let (status, text) =
            tokio::time::timeout(LIMIT, self.whole(method, path, body)).await.unwrap_or_else(|_| {
                self.connection = None;
                Err(anyhow::anyhow!("no answer within {LIMIT:?}"))
            })?;
        Ok((status, serde_json::from_slice(&text).unwrap_or(Value::Null)))
    }

    async fn whole(&mut self, method: &str, path: &str, body: Body) -> anyhow::Result<(u16, Bytes)> {
        let response = self.send(method, path, body).await?;
        let status = response.status().as_u16();
        let text = to_bytes(Body::new(response.into_body()), MAX_ANSWER_BYTES).await;
        if text.is_err() {
            self.connection = None;
        }
        Ok((status, text?))
    }

    /// Begins a request whose answer is a stream.
    ///
    /// # Errors
    /// When no answer began.
    pub async fn stream(&mut self, path: &str) -> anyhow::Result<axum::body::BodyDataStream> {
        let response =
            tokio::time::timeout(LIMIT, self.send("GET", path, Body::empty())).await.context("no answer")??;
        anyhow::ensure!(response.status().is_success(), "{path}: status {}", response.status());
        Ok(Body::new(response.into_body()).into_data_stream())
    }

    async fn send(&mut self, method: &str, path: &str, body: Body) -> anyhow::Result<axum::http::Response<Incoming>> {
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, &self.address);
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(body)?;
        let is_fresh = self.used_at.elapsed() < IDLE;
        let mut connection = match self.connection.take().filter(|connection| is_fresh && !connection.is_closed()) {
            Some(connection) => connection,
            None => connect(&self.address).await?,
        };
        connection.ready().await?;
        let response = connection.send_request(request).await?;
        self.connection = Some(connection);
        self.used_at = Instant::now();
        Ok(response)
    }
}

async fn connect(address: &str) -> anyhow::Result<SendRequest<Body>> {
    let socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(socket)).await?;
    // Ends with the connection; whoever sends hears of that.
    tokio::spawn(async move { drop(connection.await) });
    Ok(sender)
}
