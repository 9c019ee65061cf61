//! The body of an answer, in pieces. The connection takes a whole frame at once, however slowly its client reads. So a long frame is
//! cut, and whatever belongs to the answer, such as its room and its turn, is held until nearly all of it is sent.

use axum::body::{Body, HttpBody};
use bytes::{Buf as _, Bytes};
use hyper::body::{Frame, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll};

/// Longest piece, in bytes.
const PIECE: usize = 32 << 10;

/// A body with something that is dropped once it is sent.
pub(super) struct Sending<H> {
    body: Body,
    /// What is left of the frame that was begun.
    rest: Bytes,
    /// Whether there is nothing to send, or all was.
    has_ended: bool,
    _held: H,
}

impl<H> Sending<H> {
    pub(super) fn new(body: Body, held: H) -> Self {
        let has_ended = body.is_end_stream();
        Self { body, rest: Bytes::new(), has_ended, _held: held }
    }

    fn piece(&mut self) -> Bytes {
        // A copy: a part of the frame would keep all of it in memory after the answer's end.
        let piece = Bytes::copy_from_slice(&self.rest[..self.rest.len().min(PIECE)]);
        self.rest.advance(piece.len());
        piece
    }
}

impl<H: Unpin> HttpBody for Sending<H> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        if this.rest.is_empty() {
            let frame = std::task::ready!(Pin::new(&mut this.body).poll_frame(context));
            match frame.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) if data.len() <= PIECE => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Some(Ok(Ok(data))) => this.rest = data,
                Some(Ok(Err(trailers))) => return Poll::Ready(Some(Ok(trailers))),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => {
                    this.has_ended = true;
                    return Poll::Ready(None);
                }
            }
        }
        Poll::Ready(Some(Ok(Frame::data(this.piece()))))
    }

    /// Not before the end was asked for: who asks drops the body with its last frame otherwise.
    fn is_end_stream(&self) -> bool {
        self.has_ended
    }

    fn size_hint(&self) -> SizeHint {
        let (inner, rest) = (self.body.size_hint(), self.rest.len() as u64);
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower() + rest);
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper + rest);
        }
        hint
    }
}
