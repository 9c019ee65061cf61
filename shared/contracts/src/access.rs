//! Which tokens of a tenant are void: the messages of the stream ACCESS, one for each tenant that has any. JSON.

use daybook_domain::ids::TenantId;
use daybook_domain::time::Instant;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// Most void tokens that are remembered of a tenant: each takes 80 bytes of what every server is sent.
pub const MAX_REVOKED: usize = 1_000;
/// How long a void token is remembered after it would have ended by itself, for clocks that differ.
const REMEMBERED: Duration = Duration::from_secs(86_400);

/// A tenant's void tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevokedTokens {
    pub tenant: TenantId,
    /// By the user's public key.
    pub users: BTreeMap<String, RevokedToken>,
    /// Every token that was made up to this instant is void.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub all_until: Option<Instant>,
}

/// What is remembered of a void token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevokedToken {
    pub revoked_at: Instant,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Instant>,
}

/// No further token can be remembered.
#[derive(Debug, thiserror::Error)]
#[error(
    "{MAX_REVOKED} tokens of {0} are revoked already, which is as many as servers are sent; \
     revoke all of them (`daybook token revoke {0} --all`) and make new ones"
)]
pub struct TooManyRevoked(pub TenantId);

impl RevokedTokens {
    pub fn none(tenant: TenantId) -> Self {
        Self { tenant, users: BTreeMap::new(), all_until: None }
    }

    /// Makes a token void at `now`, and forgets those that have ended by themselves.
    ///
    /// # Errors
    /// When [`MAX_REVOKED`] others are void.
    pub fn revoke(&mut self, user: &str, expires_at: Option<Instant>, now: Instant) -> Result<(), TooManyRevoked> {
        self.users.retain(|_, token| token.expires_at.is_none_or(|ends| now.since(ends) < REMEMBERED));
        if self.users.len() >= MAX_REVOKED && !self.users.contains_key(user) {
            return Err(TooManyRevoked(self.tenant.clone()));
        }
        self.users.entry(user.to_owned()).or_insert(RevokedToken { revoked_at: now, expires_at });
        Ok(())
    }

    /// Makes every token void that was made up to `now`, and so forgets the single ones.
    pub fn revoke_all(&mut self, now: Instant) {
        self.users.clear();
        self.all_until = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Instant {
        Instant::from_millis(seconds * 1_000)
    }

    fn none() -> RevokedTokens {
        RevokedTokens::none(TenantId::new("acme").unwrap())
    }

    #[test]
    fn the_list_has_stable_bytes() {
        let mut list = none();
        list.revoke("UONE", None, at(60)).unwrap();
        list.revoke("UTWO", Some(at(3_600)), at(61)).unwrap();
        let text = serde_json::to_string(&list).unwrap();
        assert_eq!(
            text,
            r#"{"tenant":"acme","users":{"UONE":{"revoked_at":"1970-01-01T00:01:00Z"},"UTWO":{"revoked_at":"1970-01-01T00:01:01Z","expires_at":"1970-01-01T01:00:00Z"}}}"#
        );
        assert_eq!(serde_json::from_str::<RevokedTokens>(&text).unwrap(), list);
        list.revoke_all(at(62));
        assert_eq!(
            serde_json::to_string(&list).unwrap(),
            r#"{"tenant":"acme","users":{},"all_until":"1970-01-01T00:01:02Z"}"#
        );
    }

    #[test]
    fn what_has_ended_by_itself_is_forgotten_a_day_later() {
        let mut list = none();
        list.revoke("UONE", Some(at(100)), at(1)).unwrap();
        list.revoke("UTWO", None, at(100 + 86_399)).unwrap();
        assert_eq!(list.users.len(), 2);
        list.revoke("UTWO", None, at(100 + 86_400)).unwrap();
        assert_eq!(list.users.keys().collect::<Vec<_>>(), ["UTWO"]);
    }

    #[test]
    fn the_list_is_bounded() {
        let mut list = none();
        for number in 0..MAX_REVOKED {
            list.revoke(&format!("U{number}"), None, at(1)).unwrap();
        }
        assert!(list.revoke("U0", None, at(2)).is_ok(), "it is void already");
        let error = list.revoke("UMORE", None, at(2)).unwrap_err().to_string();
        assert!(error.contains("daybook token revoke acme --all"), "{error}");
        list.revoke_all(at(3));
        assert!(list.revoke("UMORE", None, at(4)).is_ok());
    }
}
