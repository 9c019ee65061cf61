//! Stores which tokens are void in ACCESS, one message for each tenant, each behind the one that its writer knew.

use async_nats::HeaderMap;
use async_nats::jetstream::stream::{Config, DiscardPolicy, StorageType};
use daybook_access::keys::is_user;
use daybook_contracts::access::RevokedTokens;
use daybook_contracts::admin::RevokeTokens;
use daybook_domain::ids::TenantId;
use daybook_domain::time::Instant;
use daybook_runtime::append::{Appended, Newest, append, last_written};
use daybook_runtime::clock;
use daybook_runtime::connection::Connection;
use daybook_runtime::written::{NotWritten, revoked_tokens};

/// Messages that the stream keeps of a tenant: its list is not lost with what someone else writes there.
const KEPT_LISTS: i64 = 16;
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
    #[error("the list of revoked tokens cannot be read")]
    Unreadable(#[from] NotWritten),
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
        max_messages_per_subject: KEPT_LISTS,
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
    for _ in 0..MAX_ATTEMPTS {
        let Newest { end, found } = newest(connection, &request.tenant).await?;
        let mut list = match found {
            Some(found) if request.user.as_ref().is_some_and(|user| found.value.users.contains_key(user)) => {
                // A repeated request: it is stored already.
                return Ok((found.value, found.stored_at));
            }
            Some(found) => found.value,
            None => RevokedTokens::none(request.tenant.clone()),
        };
        match &request.user {
            Some(user) => list.revoke(user, request.expires_at, clock::now())?,
            None => list.revoke_all(clock::now()),
        }
        let payload = serde_json::to_vec(&list).expect("a list is plain values");
        let subject = connection.subjects.revoked(request.tenant.as_str());
        if let Appended::At(_) = append(connection, &subject, end, HeaderMap::new(), payload.into()).await
            && let Some(stored) = newest(connection, &request.tenant).await?.found
        {
            return Ok((stored.value, stored.stored_at));
        }
    }
    Err(RevokeError::Unclear)
}

/// The newest list of a tenant.
async fn newest(connection: &Connection, tenant: &TenantId) -> Result<Newest<RevokedTokens>, NotWritten> {
    let subjects = &connection.subjects;
    let (stream, subject) = (subjects.access_stream(), subjects.revoked(tenant.as_str()));
    last_written(connection, &stream, &subject, |message| revoked_tokens(subjects, message)).await
}
