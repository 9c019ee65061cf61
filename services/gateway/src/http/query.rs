//! The query of a URL, or a form: the same for the API and the console.

use crate::problem::{Code, Problem};
use percent_encoding::percent_decode_str;

/// Most pieces of a query. The head of a request, and so their length, is bounded.
pub(super) const MAX_PIECES: usize = 64;

/// The pieces of a query, each a name and a text, in their order. `+` is a blank, as in forms.
///
/// # Errors
/// It has too many pieces, or is not UTF-8.
pub(crate) fn pieces(query: &str) -> Result<Vec<(String, String)>, Problem> {
    let mut pieces = Vec::new();
    for piece in query.split('&').filter(|piece| !piece.is_empty()) {
        if pieces.len() >= MAX_PIECES {
            return Err(Problem::new(Code::BadRequest, format!("the query has more than {MAX_PIECES} pieces")));
        }
        let (name, text) = piece.split_once('=').unwrap_or((piece, ""));
        pieces.push((decode(name)?, decode(text)?));
    }
    Ok(pieces)
}

fn decode(text: &str) -> Result<String, Problem> {
    let text = text.replace('+', " ");
    match percent_decode_str(&text).decode_utf8() {
        Ok(text) => Ok(text.into_owned()),
        Err(_) => Err(Problem::new(Code::BadRequest, "the query is not UTF-8 in percent encoding")),
    }
}
