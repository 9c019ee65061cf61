//! Cursors of lists: the place at which the next page begins, with a hash of the request that it belongs to. JSON in
//! base64url. Clients keep them as they are. A forged one shows its tenant nothing but its own rows.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use daybook_contracts::ask::{AskError, AskErrorCode, Asked};
use daybook_domain::ids::TenantId;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Longest cursor that is read, in bytes: more than twice what any of them has.
const MAX_CURSOR_BYTES: usize = 512;
/// Bytes of a request's hash that its cursors carry: enough to notice a mistake, and cursors are no secrets.
const HASH_BYTES: usize = 8;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Token<P> {
    /// The hash of the request.
    of: String,
    at: P,
}

/// The requests that share their cursors: those of one tenant, for one list, with the same bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope(String);

impl Scope {
    /// `bounds` is what decides which rows the list has.
    pub fn new(tenant: &TenantId, list: &str, bounds: &impl Serialize) -> Self {
        let text = serde_json::to_vec(&(tenant, list, bounds)).expect("bounds are plain values");
        Self(blake3::hash(&text).to_hex()[..2 * HASH_BYTES].to_owned())
    }

    /// The cursor that goes on at a place.
    pub fn write<P: Serialize>(&self, at: P) -> String {
        let token = Token { of: self.0.clone(), at };
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(&token).expect("places are plain values"))
    }

    /// The place of a cursor.
    ///
    /// # Errors
    /// [`AskErrorCode::BadRequest`] for `cursor`, when the text is no cursor of these requests.
    pub fn read<P: DeserializeOwned>(&self, text: &str) -> Asked<P> {
        let wrong = |message: &str| AskError::new(AskErrorCode::BadRequest, message).field("cursor");
        let no_cursor = || wrong("this is no cursor").hint("use the `next` of the page before, or leave it out");
        if text.len() > MAX_CURSOR_BYTES {
            return Err(no_cursor());
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| no_cursor())?;
        let token: Token<P> = serde_json::from_slice(&bytes).map_err(|_| no_cursor())?;
        if token.of != self.0 {
            return Err(wrong("the cursor belongs to another request")
                .hint("repeat the request of the page before with it, or leave it out"));
        }
        Ok(token.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(tenant: &str, list: &str, bounds: u32) -> Scope {
        Scope::new(&TenantId::new(tenant).unwrap(), list, &bounds)
    }

    #[test]
    fn a_cursor_is_read_by_its_own_request_only() {
        let own = scope("acme", "~days", 1);
        let cursor = own.write((7_u64, "x"));
        assert_eq!(own.read::<(u64, String)>(&cursor).unwrap(), (7, "x".to_owned()));
        for other in [scope("evil", "~days", 1), scope("acme", "~reports", 1), scope("acme", "~days", 2)] {
            let error = other.read::<(u64, String)>(&cursor).unwrap_err();
            assert_eq!((error.code, error.field.as_deref()), (AskErrorCode::BadRequest, Some("cursor")));
            assert!(error.message.contains("another request"), "{error}");
        }
    }

    #[test]
    fn whatever_else_it_says_is_no_cursor() {
        let own = scope("acme", "~days", 1);
        let other_type = own.write("text");
        for text in ["", "e30", "%", "AAAA", &other_type, &"A".repeat(MAX_CURSOR_BYTES + 1)] {
            let error = own.read::<u64>(text).unwrap_err();
            assert_eq!((error.code, error.field.as_deref()), (AskErrorCode::BadRequest, Some("cursor")), "{text}");
        }
    }
}
