//! Bodies of requests, in bounded time and memory.

use crate::problem::{Code, Problem};
use crate::room::HeldBytes;
use axum::body::Body;
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use std::time::Duration;
use tokio::time::Instant;

/// How long a body that is held as a whole may take.
const WHOLE: Duration = Duration::from_secs(60);
/// How long any body may bring nothing.
pub(super) const SILENCE: Duration = Duration::from_secs(30);

/// A body that is held as a whole, and its room.
pub(crate) struct Whole {
    pub bytes: Bytes,
    _place: HeldBytes,
}

/// Reads all of a body. It takes room as it arrives, not for the length that its headers tell.
///
/// # Errors
/// It is longer than `longest`, comes too slowly, breaks off, or there is no room for it.
pub(crate) async fn whole(
    mut place: HeldBytes,
    body: Body,
    headers: &HeaderMap,
    longest: usize,
) -> Result<Whole, Problem> {
    refuse_encodings(headers)?;
    let told = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if told.is_some_and(|told| told > longest) {
        return Err(too_large(longest));
    }
    let deadline = Instant::now() + WHOLE;
    let mut pieces = body.into_data_stream();
    let mut bytes = BytesMut::new();
    loop {
        let next = tokio::time::timeout_at(deadline.min(Instant::now() + SILENCE), pieces.next()).await;
        match next.map_err(|_| too_slow(format_args!("nothing for {SILENCE:?}, or not all in {WHOLE:?}")))? {
            None => return Ok(Whole { bytes: bytes.freeze(), _place: place }),
            Some(Err(_)) => return Err(broken_off()),
            Some(Ok(piece)) if bytes.len() + piece.len() > longest => return Err(too_large(longest)),
            Some(Ok(piece)) => {
                place.grow(piece.len()).await?;
                bytes.extend_from_slice(&piece);
            }
        }
    }
}

/// Refuses compressed bodies: a few kilobytes of them may be gigabytes.
///
/// # Errors
/// [`Code::UnsupportedMediaType`].
pub(super) fn refuse_encodings(headers: &HeaderMap) -> Result<(), Problem> {
    match headers.get(header::CONTENT_ENCODING) {
        Some(value) if !value.as_bytes().eq_ignore_ascii_case(b"identity") => {
            Err(Problem::new(Code::UnsupportedMediaType, "compressed bodies are not read")
                .field("header Content-Encoding")
                .hint("send the body as it is"))
        }
        _ => Ok(()),
    }
}

/// The media type of a body, in lower case and without parameters.
pub(crate) fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// The refusal of a media type that is none of `read`.
pub(crate) fn unsupported(found: &str, read: &str) -> Problem {
    let found =
        if found.is_empty() { "the request names no media type" } else { "the media type of the body is not read" };
    Problem::new(Code::UnsupportedMediaType, found).field("header Content-Type").hint(format!("send {read}"))
}

fn too_large(longest: usize) -> Problem {
    Problem::new(Code::TooLarge, format!("the body is longer than {longest} bytes"))
        .hint("send less at a time; events also go as NDJSON (application/x-ndjson), which is read as a stream")
}

/// The refusal of a stream that stops coming. All of it may take as long as it likes.
pub(super) fn silent() -> Problem {
    too_slow(format_args!("nothing for {SILENCE:?}"))
}

fn too_slow(what: std::fmt::Arguments<'_>) -> Problem {
    Problem::new(Code::Timeout, format!("the body came too slowly: {what}"))
}

/// The refusal of a body that ends before its end; its client seldom reads it.
pub(super) fn broken_off() -> Problem {
    Problem::new(Code::BadRequest, "the body broke off or is not encoded as its headers say")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::room::Room;
    use daybook_domain::ids::TenantId;

    #[tokio::test(start_paused = true)]
    async fn a_length_that_is_told_takes_no_room_and_bytes_that_came_do() {
        let (room, slow) = (Room::new(64 << 10), TenantId::new("slow").unwrap());
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_LENGTH, (16 << 10).into());
        let begin = |room: &Room, bytes: usize| {
            let sent = futures::stream::iter([Ok::<_, std::io::Error>(Bytes::from(vec![b' '; bytes]))]);
            let body = Body::from_stream(sent.chain(futures::stream::pending()));
            let (place, headers) = (room.place(Some(&slow)), headers.clone());
            tokio::spawn(
                async move { whole(place, body, &headers, 16 << 10).await.map(|_| ()).map_err(|why| why.code) },
            )
        };
        let waiting: Vec<_> = (0..16).map(|_| begin(&room, 512)).collect();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let quick = Body::from(vec![b' '; 16 << 10]);
        let other = TenantId::new("other").unwrap();
        assert!(whole(room.place(Some(&other)), quick, &headers, 16 << 10).await.is_ok());
        // The share of one tenant bounds what it sends.
        assert_eq!(begin(&room, 1 << 10).await.unwrap(), Err(Code::Busy));
        for body in waiting {
            assert_eq!(body.await.unwrap(), Err(Code::Timeout));
        }
    }
}
