//! The style sheet, the script and the icon, as they are compiled in.

use super::Console;
use crate::http::{Fixed, Reply, finish, respond};
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::Response;
use axum::routing::any;
use bytes::Bytes;
use std::sync::Arc;

pub(super) const STYLE: &str = "/console.css";
pub(super) const SCRIPT: &str = "/console.js";
pub(super) const ICON: &str = "/console.svg";

/// The files that pages load: path, media type and content.
const FILES: [(&str, &str, &str); 3] = [
    (STYLE, "text/css; charset=utf-8", include_str!("console.css")),
    (SCRIPT, "text/javascript; charset=utf-8", include_str!("console.js")),
    (ICON, "image/svg+xml", include_str!("console.svg")),
];

/// Routes to the files.
pub(super) fn router() -> Router<Arc<Console>> {
    FILES.into_iter().fold(Router::new(), |router, (path, media_type, text)| {
        let file = Arc::new(Fixed::new(media_type, text));
        router.route(
            path,
            any(move |State(console): State<Arc<Console>>, request: Request| answer(console, file.clone(), request)),
        )
    })
}

async fn answer(console: Arc<Console>, file: Arc<Fixed>, request: Request) -> Response {
    let headers = request.headers();
    let reply = match *request.method() {
        Method::GET | Method::HEAD => file.reply(headers),
        _ => {
            let (status, headers) = (StatusCode::METHOD_NOT_ALLOWED, HeaderMap::new());
            Reply::Whole { status, headers, body: Bytes::new() }.with(header::ALLOW, "GET, HEAD")
        }
    };
    let response = respond(&console.gateway, reply, None, headers).await;
    finish(&console.gateway, headers, response)
}
