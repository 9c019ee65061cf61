//! A permission for something that lasts: its token may expire or be revoked meanwhile.

use super::doorkeeper::Doorkeeper;
use super::grant::{Grant, Scope};
use crate::problem::{Code, Problem};
use axum::http::{HeaderMap, header};
use daybook_domain::ids::TenantId;
use daybook_domain::time::Instant;
use std::sync::Arc;

/// What a request may do, and whether it still may.
pub(crate) struct Permit {
    door: Arc<Doorkeeper>,
    /// The header that has the token.
    token: HeaderMap,
    scope: Scope,
    tenant: Option<TenantId>,
    grant: Grant,
    /// The generation of keys by which the grant was found.
    generation: u64,
}

impl Permit {
    /// The permission of a request for a tenant at `now`.
    ///
    /// # Errors
    /// [`Code::Unauthorized`] without a valid token, [`Code::Forbidden`] when it is not for this.
    pub(crate) fn ask(
        door: &Arc<Doorkeeper>,
        headers: &HeaderMap,
        scope: Scope,
        tenant: Option<TenantId>,
        now: Instant,
    ) -> Result<Self, Problem> {
        // Read first: keys that change meanwhile make the next check ask again.
        let generation = door.generation();
        let grant = door.grant(headers, now)?;
        grant.allow(scope, tenant.as_ref())?;
        let values = headers.get_all(header::AUTHORIZATION).iter();
        let token = values.map(|value| (header::AUTHORIZATION, value.clone())).collect();
        Ok(Self { door: door.clone(), token, scope, tenant, grant, generation })
    }

    /// What the token allows, as of the last check.
    pub(crate) fn grant(&self) -> &Grant {
        &self.grant
    }

    /// Checks that the token is still valid at `now`. Asks for the grant again only when keys were read since the last time.
    ///
    /// # Errors
    /// [`Code::Unauthorized`] when it has expired or is revoked, [`Code::Forbidden`] when it may do less than before.
    pub(crate) fn check(&mut self, now: Instant) -> Result<(), Problem> {
        if self.generation != self.door.generation() {
            let (door, tenant) = (self.door.clone(), self.tenant.clone());
            *self = Self::ask(&door, &self.token, self.scope, tenant, now)?;
        }
        match self.grant.expires_at {
            Some(end) if now >= end => {
                Err(Problem::new(Code::Unauthorized, "the token has expired").hint("begin again with a valid token"))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::keys::{KeyFile, new_key};
    use crate::access::{Scope, Tenants, watching};
    use crate::options::DoorOptions;
    use crate::outgoing::Outgoing;
    use tokio_util::sync::CancellationToken;

    #[tokio::test]
    async fn what_has_begun_ends_when_its_key_is_revoked_or_expires() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.json");
        let acme = TenantId::new("acme").unwrap();
        let (now, end): (Instant, Instant) =
            ("2026-01-01T00:00:00Z".parse().unwrap(), "2026-02-01T00:00:00Z".parse().unwrap());
        let tenants = Tenants::These([acme.clone()].into());
        let (text, stored) = new_key(None, tenants, Scope::ALL.into(), now, Some(end)).unwrap();
        KeyFile { keys: vec![stored.clone()] }.write(&path).unwrap();
        let options = DoorOptions { api_keys: Some(path.clone()), ..DoorOptions::default() };
        let stop = CancellationToken::new();
        let door = watching::load(&options, Outgoing::default(), stop.clone()).await.unwrap();
        stop.cancel();
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, format!("Bearer {text}").parse().unwrap());
        let ask = || Permit::ask(&door, &headers, Scope::Publish, Some(acme.clone()), now);
        let (mut permit, mut narrowed) = (ask().unwrap(), ask().unwrap());
        assert!(permit.check(now).is_ok());
        assert_eq!(permit.check(end).unwrap_err().code, Code::Unauthorized);
        let mut less = stored.clone();
        less.scopes.remove(&Scope::Publish);
        for (keys, code) in [(vec![less], Code::Forbidden), (Vec::new(), Code::Unauthorized)] {
            KeyFile { keys }.write(&path).unwrap();
            assert!(permit.check(now).is_ok(), "not read yet");
            door.read_api_keys().await.unwrap();
            assert_eq!(narrowed.check(now).unwrap_err().code, code);
            narrowed = match code {
                Code::Forbidden => Permit::ask(&door, &headers, Scope::Query, Some(acme.clone()), now).unwrap(),
                _ => break,
            };
            KeyFile { keys: vec![stored.clone()] }.write(&path).unwrap();
            door.read_api_keys().await.unwrap();
            assert!(permit.check(now).is_ok(), "as it was");
        }
        assert!(permit.check(now).is_err());
    }
}
