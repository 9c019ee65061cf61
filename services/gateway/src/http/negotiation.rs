//! Formats of answers, by `Accept`, and compression, by `Accept-Encoding`.

use crate::problem::{Code, PROBLEM_JSON, Problem};
use axum::http::{HeaderMap, header};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::Write as _;

/// Bodies below this length are sent as they are, in bytes.
const WORTH_COMPRESSING: usize = 1 << 10;
/// Bodies above this length are compressed on a thread of their own, in bytes.
const SHORT: usize = 64 << 10;
/// Most ranges of an Accept header that are read.
const MAX_RANGES: usize = 32;

/// A format of answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Json,
    Csv,
    Ndjson,
    EventStream,
    Html,
}

impl Format {
    /// With its charset, where it may be told otherwise.
    pub(crate) fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Csv => "text/csv; charset=utf-8",
            Self::Ndjson => "application/x-ndjson",
            Self::EventStream => "text/event-stream",
            Self::Html => "text/html; charset=utf-8",
        }
    }

    /// Without parameters.
    pub(crate) fn name(self) -> &'static str {
        self.media_type().split(';').next().unwrap_or_default()
    }

    /// The one of `offered` that the client likes best; the first where it likes all alike.
    ///
    /// # Errors
    /// [`Code::NotAcceptable`] when it likes none.
    pub(crate) fn choose(headers: &HeaderMap, offered: &[Self]) -> Result<Self, Problem> {
        let mut accepted = headers.get_all(header::ACCEPT).iter().peekable();
        let first = offered.first().copied().unwrap_or(Self::Json);
        if accepted.peek().is_none() {
            return Ok(first);
        }
        let ranges: Vec<(String, u16)> = accepted
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .take(MAX_RANGES)
            .map(range)
            .collect();
        let mut best = (0, first);
        for format in offered {
            let quality = quality(&ranges, format.name());
            if quality > best.0 {
                best = (quality, *format);
            }
        }
        // Whoever accepts problems alone is told one.
        match best {
            (0, _) => {
                let names: Vec<_> = offered.iter().map(|format| format.name()).collect();
                Err(Problem::new(Code::NotAcceptable, "the answer has none of the formats that the request accepts")
                    .field("header Accept")
                    .hint(format!("accept {} (and {PROBLEM_JSON} for errors)", names.join(", "))))
            }
            (_, format) => Ok(format),
        }
    }
}

/// A range of media types, and its quality in thousandths.
fn range(text: &str) -> (String, u16) {
    let mut parts = text.split(';');
    let name = parts.next().unwrap_or_default().trim().to_ascii_lowercase();
    let quality =
        parts.filter_map(|part| part.trim().strip_prefix("q=")).find_map(|value| value.trim().parse::<f32>().ok());
    // Between 0 and 1; what is no number counts as 1.
    (name, (quality.unwrap_or(1.0).clamp(0.0, 1.0) * 1_000.0) as u16)
}

/// The quality of the most specific range that has `name`; 0 when none has.
fn quality(ranges: &[(String, u16)], name: &str) -> u16 {
    let family = name.split('/').next().unwrap_or_default().to_owned() + "/*";
    // `application/ndjson` is what many call it.
    let other = if name == "application/x-ndjson" { "application/ndjson" } else { name };
    let of = |wanted: &str| ranges.iter().filter(|(range, _)| range == wanted).map(|(_, quality)| *quality).max();
    of(name).or(of(other)).or(of(&family)).or(of("*/*")).unwrap_or(0)
}

/// Whether the client takes gzip.
pub(super) fn takes_gzip(headers: &HeaderMap) -> bool {
    let ranges: Vec<_> = headers
        .get_all(header::ACCEPT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .take(MAX_RANGES)
        .map(range)
        .collect();
    let of = |wanted: &str| ranges.iter().find(|(range, _)| range == wanted).map(|(_, quality)| *quality);
    of("gzip").or(of("*")).unwrap_or(0) > 0
}

/// The body in gzip, where the client takes that and it is worth it.
pub(super) async fn compress(headers: &HeaderMap, body: &Bytes) -> Option<Bytes> {
    if !takes_gzip(headers) {
        return None;
    }
    if body.len() <= SHORT {
        return gzip(body);
    }
    let body = body.clone();
    tokio::task::spawn_blocking(move || gzip(&body)).await.ok().flatten()
}

/// The body in gzip, where it is worth it.
pub(super) fn gzip(body: &[u8]) -> Option<Bytes> {
    if body.len() < WORTH_COMPRESSING {
        return None;
    }
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    encoder.write_all(body).ok()?;
    Some(encoder.finish().ok()?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(accept: &str) -> Option<Format> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, accept.parse().unwrap());
        Format::choose(&headers, &[Format::Json, Format::Csv, Format::Ndjson]).ok()
    }

    #[test]
    fn the_format_that_is_liked_best_is_chosen() {
        for (accept, format) in [
            ("text/csv", Some(Format::Csv)),
            ("application/ndjson", Some(Format::Ndjson)),
            ("*/*", Some(Format::Json)),
            ("text/*", Some(Format::Csv)),
            ("TEXT/CSV;Q=1", Some(Format::Csv)),
            ("application/json;q=0.5, text/csv", Some(Format::Csv)),
            ("application/json;q=0, */*", Some(Format::Csv)),
            ("text/html, */*;q=0.1", Some(Format::Json)),
            ("text/html", None),
            ("application/json;q=0", None),
            (",,;;q=nan,", None),
        ] {
            assert_eq!(chosen(accept), format, "{accept}");
        }
        assert_eq!(Format::choose(&HeaderMap::new(), &[Format::Html]).ok(), Some(Format::Html));
    }

    #[tokio::test]
    async fn long_bodies_are_compressed_for_those_who_ask() {
        let mut headers = HeaderMap::new();
        let body = Bytes::from(vec![b'a'; 100_000]);
        assert!(compress(&headers, &body).await.is_none());
        headers.insert(header::ACCEPT_ENCODING, "br, gzip;q=0".parse().unwrap());
        assert!(compress(&headers, &body).await.is_none());
        headers.insert(header::ACCEPT_ENCODING, "deflate, gzip".parse().unwrap());
        assert!(compress(&headers, &body.slice(..100)).await.is_none());
        let packed = compress(&headers, &body).await.unwrap();
        let mut plain = Vec::new();
        std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&packed[..]), &mut plain).unwrap();
        assert!(packed.len() < 1_000 && plain == body);
    }
}
