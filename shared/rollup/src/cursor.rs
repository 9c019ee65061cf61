//! Where a page ended, as the client keeps it: the sort key of its last row. The next page is what is behind that key,
//! also when figures have changed meanwhile, so that no row that stays where it is comes twice or is passed over.

use crate::order::SortKey;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use daybook_contracts::ask::{AskError, AskErrorCode, Asked, Query};
use daybook_contracts::report::Figure;
use daybook_domain::catalogue::View;
use daybook_domain::plan::Plan;
use serde::{Deserialize, Serialize};

/// Longest cursor that is read, in bytes: about twice what eight dimensions of the longest values take, every byte of
/// them escaped.
pub const MAX_CURSOR_BYTES: usize = 64 * 1024;
/// Bytes of a question's hash that its cursors carry: a slip is noticed, and cursors are no secrets.
const HASH_BYTES: usize = 8;

/// A place between two rows of a question's order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor(pub(crate) Box<[u8]>);

/// What a cursor says, in JSON, then in base64url.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Token {
    /// Of which question.
    of: String,
    /// The last row's sort key.
    behind: Vec<Figure>,
}

/// What tells a question from others: a hash of all of it that decides which rows there are and in what order.
pub(crate) fn question_hash(query: &Query, plan: &Plan) -> String {
    let view = View { revision: 0, tenants: None, alerts: Vec::new(), ..plan.view.clone() };
    let query = Query { cursor: None, limit: None, at_least: None, accept_stale: true, ..query.clone() };
    let text = serde_json::to_vec(&(view, query)).expect("views and queries are plain data");
    blake3::hash(&text).to_hex()[..2 * HASH_BYTES].to_owned()
}

/// The cursor behind a row whose sort key holds `behind`.
pub(crate) fn write(hash: &str, behind: Vec<Figure>) -> String {
    let token = Token { of: hash.to_owned(), behind };
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(&token).expect("figures can be written in JSON"))
}

/// # Errors
/// `cursor`, when the text is none of this question's cursors.
pub(crate) fn read(text: &str, hash: &str, order: &SortKey) -> Asked<Cursor> {
    let wrong = |message: &str| AskError::new(AskErrorCode::BadRequest, message).field("cursor");
    let no_cursor = || wrong("this is no cursor").hint("use the `next` of the page before, or begin without a cursor");
    if text.len() > MAX_CURSOR_BYTES {
        return Err(no_cursor());
    }
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| no_cursor())?;
    let token: Token = serde_json::from_slice(&bytes).map_err(|_| no_cursor())?;
    if token.of != hash {
        return Err(wrong("the cursor belongs to another question")
            .hint("ask what the page before was asked, or begin without a cursor"));
    }
    order.of_values(&token.behind).map(Cursor).ok_or_else(no_cursor)
}
