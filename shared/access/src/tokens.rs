//! The ledger of tokens that were given out. It holds no secret: a token is named by its user's public key.

use crate::tenants::TokenScope;
use daybook_domain::ids::TenantId;
use daybook_domain::time::Instant;
use serde::{Deserialize, Serialize};

/// Shortest beginning of a public key that names a token.
const SHORTEST_NAME: usize = 4;

/// What is remembered of a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenRecord {
    /// The user's public key, `U…`.
    pub user: String,
    pub tenant: TenantId,
    pub made_at: Instant,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Instant>,
    #[serde(flatten)]
    pub scope: TokenScope,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Instant>,
}

/// Whether a token still opens the door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    Valid,
    Expired,
    Revoked,
}

impl TokenRecord {
    /// How it stands at `now`.
    pub fn validity(&self, now: Instant) -> Validity {
        match (self.revoked_at, self.expires_at) {
            (Some(_), _) => Validity::Revoked,
            (None, Some(expires_at)) if expires_at <= now => Validity::Expired,
            _ => Validity::Valid,
        }
    }
}

/// Every token of every tenant, in the order in which they were made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenLedger {
    #[serde(default)]
    pub tokens: Vec<TokenRecord>,
}

/// A name that does not name one token.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NamingError {
    #[error("no token is called {0}; `daybook token list` shows them")]
    None(String),
    #[error("{count} tokens begin with {name}; write more of it")]
    Several { name: String, count: usize },
    #[error("{0:?} is too short; write at least 4 characters of the token's name")]
    Short(String),
}

impl TokenLedger {
    /// The token whose public key is, or begins with, `name`.
    ///
    /// # Errors
    /// When there is none, or more than one.
    pub fn find(&mut self, name: &str) -> Result<&mut TokenRecord, NamingError> {
        if name.len() < SHORTEST_NAME {
            return Err(NamingError::Short(name.to_owned()));
        }
        let matches = |token: &TokenRecord| token.user.starts_with(name);
        match self.tokens.iter().filter(|token| matches(token)).count() {
            0 => Err(NamingError::None(name.to_owned())),
            1 => Ok(self.tokens.iter_mut().find(|token| matches(token)).expect("it was counted")),
            count => Err(NamingError::Several { name: name.to_owned(), count }),
        }
    }

    /// The tokens that open the door at `now`.
    pub fn valid(&self, now: Instant) -> impl Iterator<Item = &TokenRecord> {
        self.tokens.iter().filter(move |token| token.validity(now) == Validity::Valid)
    }

    /// The tenants of those tokens.
    pub fn valid_tenants(&self, now: Instant) -> impl Iterator<Item = &TenantId> {
        self.valid(now).map(|token| &token.tenant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(user: &str, tenant: &str) -> TokenRecord {
        TokenRecord {
            user: user.to_owned(),
            tenant: TenantId::new(tenant).unwrap(),
            made_at: Instant::from_millis(1_700_000_000_000),
            expires_at: None,
            scope: TokenScope::default(),
            revoked_at: None,
        }
    }

    #[test]
    fn the_ledger_has_stable_bytes() {
        let mut limited = token("UABCD", "acme");
        limited.scope = TokenScope { publish_only: true, kinds: Some(["order".parse().unwrap()].into()) };
        limited.expires_at = Some(Instant::from_millis(1_800_000_000_000));
        let ledger = TokenLedger { tokens: vec![token("UABCE", "acme"), limited] };
        let text = serde_json::to_string(&ledger).unwrap();
        assert_eq!(
            text,
            r#"{"tokens":[{"user":"UABCE","tenant":"acme","made_at":"2023-11-14T22:13:20Z"},{"user":"UABCD","tenant":"acme","made_at":"2023-11-14T22:13:20Z","expires_at":"2027-01-15T08:00:00Z","publish_only":true,"kinds":["order"]}]}"#
        );
        assert_eq!(serde_json::from_str::<TokenLedger>(&text).unwrap(), ledger);
    }

    #[test]
    fn a_token_is_named_by_its_beginning() {
        let mut ledger = TokenLedger { tokens: vec![token("UABCD", "a"), token("UABCE", "b")] };
        assert_eq!(ledger.find("UABCE").unwrap().tenant.as_str(), "b");
        assert_eq!(ledger.find("UABC"), Err(NamingError::Several { name: "UABC".into(), count: 2 }));
        assert_eq!(ledger.find("UXYZ"), Err(NamingError::None("UXYZ".into())));
        assert_eq!(ledger.find("UA"), Err(NamingError::Short("UA".into())));
    }

    #[test]
    fn a_token_ends_by_time_or_by_hand() {
        let now = Instant::from_millis(1_700_000_000_000);
        let mut one = token("UABCD", "a");
        assert_eq!(one.validity(now), Validity::Valid);
        one.expires_at = Some(now);
        assert_eq!(one.validity(now), Validity::Expired);
        one.revoked_at = Some(now);
        assert_eq!(one.validity(now), Validity::Revoked);
        let ledger = TokenLedger { tokens: vec![one, token("UABCE", "a"), token("UABCF", "b")] };
        assert_eq!(ledger.valid(now).map(|token| token.user.as_str()).collect::<Vec<_>>(), ["UABCE", "UABCF"]);
        assert_eq!(ledger.valid_tenants(now).map(TenantId::as_str).collect::<Vec<_>>(), ["a", "b"]);
    }
}
