//! Stores which tokens are void in ACCESS, one message for each tenant, each behind the one that its writer knew.

use async_nats::HeaderMap;
use async_nats::jetstream::stream::{Config, DiscardPolicy, StorageType};
use daybook_access::keys::is_user;
use daybook_contracts::access::RevokedTokens;
use daybook_contracts::admin::RevokeTokens;
use daybook_domain::ids::TenantId;
use daybook_domain::time::Instant;
use daybook_runtime::append::{Appended, Stored, append, last_message};
use daybook_runtime::clock;
use daybook_runtime::connection::Connection;

/// How often a revocation is tried while others are stored in between.
const MAX_ATTEMPTS: usize = 4;

/// Why a token is not revoked.
#[derive(Debug, thiserror::Error)]
pub enum RevokeError {
    #[error("{0:?} is not the public key of a token, which begins with U and has 56 characters")]
    Key(String),
    #[error("there is no tenant {0}, so there are no tokens of it")]
    Tenant(TenantId),
    #[error(transparent)]
    Full(#[from] daybook_contracts::access::TooManyRevoked),
    #[error("the broker did not confirm that the revocation is stored; ask again, which is safe")]
    Unclear,
    #[error("the list of revoked tokens of {0} cannot be read; see the stream ACCESS")]
    Unreadable(TenantId),
}

impl RevokeError {
    /// Whether the same request may succeed later.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unclear)
    }
}

/// Makes the stream when it is not there.
///
/// # Errors
/// When the broker does not make it.
pub async fn ensure(connection: &Connection) -> Result<(), async_nats::Error> {
    let subjects = &connection.subjects;
    let config = Config {
        name: subjects.access_stream(),
        subjects: vec![subjects.every_access()],
        storage: StorageType::File,
        num_replicas: connection.stream_replicas,
        max_messages_per_subject: 1,
        discard: DiscardPolicy::Old,
        allow_direct: true,
        ..Config::default()
    };
    connection.jetstream.get_or_create_stream(config).await?;
    Ok(())
}

/// Stores a revocation. Returns the tenant's list and when it was stored.
///
/// # Errors
/// As [`RevokeError`] tells.
pub async fn revoke(connection: &Connection, request: &RevokeTokens) -> Result<(RevokedTokens, Instant), RevokeError> {
    if let Some(user) = request.user.as_ref().filter(|user| !is_user(user)) {
        return Err(RevokeError::Key(user.chars().take(64).collect()));
    }
    let subject = connection.subjects.revoked(request.tenant.as_str());
    for _ in 0..MAX_ATTEMPTS {
        let last = last_message(connection, &connection.subjects.access_stream(), &subject).await;
        let (mut list, expected) = match &last {
            Some(stored) => (read(stored, &request.tenant)?, stored.sequence),
            None => (RevokedTokens::none(request.tenant.clone()), 0),
        };
        match &request.user {
            Some(user) if list.users.contains_key(user) => {
                // A repeated request: it is stored already.
                let stored_at = last.map_or_else(clock::now, |stored| stored.stored_at);
                return Ok((list, stored_at));
            }
            Some(user) => list.revoke(user, request.expires_at, clock::now())?,
            None => list.revoke_all(clock::now()),
        }
        let payload = serde_json::to_vec(&list).expect("a list is plain values");
        if let Appended::At(_) = append(connection, &subject, expected, HeaderMap::new(), payload.into()).await
            && let Some(stored) = last_message(connection, &connection.subjects.access_stream(), &subject).await
        {
            return Ok((read(&stored, &request.tenant)?, stored.stored_at));
        }
    }
    Err(RevokeError::Unclear)
}

fn read(stored: &Stored, tenant: &TenantId) -> Result<RevokedTokens, RevokeError> {
    let list = serde_json::from_slice::<RevokedTokens>(&stored.payload).ok().filter(|list| list.tenant == *tenant);
    list.ok_or_else(|| RevokeError::Unreadable(tenant.clone()))
}
