//! What the operator says about accounts, and accounts about users, as NATS reads it.

use crate::jwt::sign;
use crate::keys::AccessSeed;
use crate::limits::TenantLimits;
use crate::permissions::Permissions;
use crate::services::Role;
use crate::sharing::{Crossing, REPLY_THRESHOLD, Shared, exports, imports};
use crate::tenants::{self, Publishable};
use daybook_contracts::subjects::Subjects;
use daybook_domain::ids::TenantId;
use nkeys::KeyPair;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long after a request its answerer may still reply to it.
const RESPONSE_TTL: Duration = Duration::from_secs(120);
/// What a revocation says about the tokens of a user: all that were made up to then. A user's key belongs to one token, so
/// this is the last second of the year 9999, whatever the clock of who made the token says.
pub const FOR_GOOD: i64 = 253_402_300_799;
/// Limits of a user, none of which is used: the account has limits.
const USER_LIMITS: [&str; 3] = ["subs", "data", "payload"];
/// Longest token that a client can connect with, in bytes: a server takes 4,096 bytes for the whole first line.
pub const MAX_TOKEN_BYTES: usize = 3_072;
/// Names every user in a list of revocations.
pub const EVERY_USER: &str = "*";

/// Signs what all servers need to know: whose accounts they trust, and which one is the system account.
pub fn operator(seed: &AccessSeed, issued_at: i64) -> String {
    let operator = seed.operator();
    let nats = json!({ "system_account": seed.system_account().public_key() });
    sign(claims("operator", "daybook", &operator, issued_at, nats), &operator)
}

/// Signs the account of whoever runs the servers.
pub fn system_account(seed: &AccessSeed, issued_at: i64) -> String {
    let nats = json!({ "limits": unlimited() });
    sign(claims("account", "SYS", &seed.system_account(), issued_at, nats), &seed.operator())
}

/// Signs the account of JetStream and the services. What each role may do stands here, beside the key that signs its users: so
/// their credentials stay short, and need not be made again when a permission changes.
pub fn services_account(seed: &AccessSeed, subjects: &Subjects, issued_at: i64) -> String {
    let mut limits = unlimited();
    for name in ["mem_storage", "disk_storage", "streams", "consumer", "max_ack_pending"] {
        limits[name] = json!(-1);
    }
    let exports: Vec<Value> = exports(subjects).iter().map(export).collect();
    let roles: Vec<Value> = Role::ALL.into_iter().map(|role| scope(seed, subjects, role)).collect();
    let name = subjects.prefix().to_ascii_uppercase();
    let nats = json!({ "limits": limits, "exports": exports, "signing_keys": roles });
    sign(claims("account", &name, &seed.services_account(), issued_at, nats), &seed.operator())
}

fn scope(seed: &AccessSeed, subjects: &Subjects, role: Role) -> Value {
    let mut template = Value::Object(lists(&role.permissions(subjects)));
    for name in USER_LIMITS {
        template[name] = json!(-1);
    }
    json!({ "kind": "user_scope", "key": seed.role(role).public_key(), "role": role.name(), "template": template })
}

/// What a tenant's account is made of, beside its id.
#[derive(Clone, Debug)]
pub struct TenantAccount {
    pub publishable: Publishable,
    pub limits: TenantLimits,
    /// Public keys of users whose tokens are void, or [`EVERY_USER`], with the second up to which they are.
    pub revoked: BTreeMap<String, i64>,
    /// When the newest of these facts came to be, in seconds since 1970. Servers keep the account that is issued last.
    pub issued_at: i64,
}

/// Signs a tenant's account. The same facts make the same bytes.
pub fn tenant_account(seed: &AccessSeed, subjects: &Subjects, tenant: &TenantId, account: &TenantAccount) -> String {
    let services = seed.services_account().public_key();
    let imports: Vec<Value> = imports(subjects, tenant).iter().map(|shared| import(shared, &services)).collect();
    let mut limits = unlimited();
    for (name, value) in [
        ("conn", account.limits.connections),
        ("subs", account.limits.subscriptions),
        ("payload", i64::try_from(account.limits.payload_bytes).unwrap_or(i64::MAX)),
        ("imports", imports.len() as i64),
        ("leaf", 0),
        ("exports", 0),
    ] {
        limits[name] = json!(value);
    }
    limits["disallow_bearer"] = json!(true);
    let permissions = tenants::permissions(subjects, tenant, &account.publishable);
    let mut nats = json!({
        "limits": limits,
        "imports": imports,
        "default_permissions": Value::Object(lists(&permissions)),
    });
    if !account.revoked.is_empty() {
        nats["revocations"] = json!(account.revoked);
    }
    let key = seed.tenant_account(tenant);
    sign(claims("account", &format!("tenant-{tenant}"), &key, account.issued_at, nats), &seed.operator())
}

/// A user of an account.
#[derive(Clone, Debug)]
pub struct User<'a> {
    /// Appears in the servers' lists of connections and in their logs.
    pub name: &'a str,
    /// `U…`.
    pub public_key: &'a str,
    /// Those of the account when absent.
    pub permissions: Option<&'a Permissions>,
    /// In seconds since 1970.
    pub issued_at: i64,
    /// In seconds since 1970; never when absent.
    pub expires_at: Option<i64>,
}

/// Signs a user of a role of the services' account.
pub fn role_user(seed: &AccessSeed, role: Role, public_key: &str, issued_at: i64) -> String {
    let account = seed.services_account().public_key();
    // The role's key stands for permissions and limits: a user that has any of its own is refused.
    let nats = json!({ "pub": {}, "sub": {}, "issuer_account": account });
    sign(claims_of("user", role.name(), public_key, issued_at, nats), &seed.role(role))
}

/// Signs a user, with the key of its account.
pub fn user(account: &KeyPair, user: &User<'_>) -> String {
    let mut nats = Value::Object(user.permissions.map(lists).unwrap_or_default());
    for name in USER_LIMITS {
        nats[name] = json!(-1);
    }
    for side in ["pub", "sub"] {
        if nats.get(side).is_none() {
            nats[side] = json!({});
        }
    }
    let mut claims = claims_of("user", user.name, user.public_key, user.issued_at, nats);
    if let Some(expires_at) = user.expires_at {
        claims["exp"] = json!(expires_at);
    }
    sign(claims, account)
}

/// The system user of day-manager where that makes the tenants' accounts: it answers servers that ask for one, and sends
/// those that have changed. It sees and does nothing else.
pub fn account_keeper() -> Permissions {
    Permissions::with_inbox()
        .publish(["$SYS.REQ.CLAIMS.UPDATE", "$SYS.REQ.CLAIMS.LIST"].map(str::to_owned))
        .subscribe(["$SYS.REQ.ACCOUNT.*.CLAIMS.LOOKUP".to_owned()])
        .respond()
}

fn claims(sort: &str, name: &str, subject: &KeyPair, issued_at: i64, nats: Value) -> Value {
    claims_of(sort, name, &subject.public_key(), issued_at, nats)
}

fn claims_of(sort: &str, name: &str, subject: &str, issued_at: i64, mut nats: Value) -> Value {
    nats["type"] = json!(sort);
    nats["version"] = json!(2);
    json!({ "iat": issued_at, "name": name, "sub": subject, "nats": nats })
}

fn unlimited() -> Value {
    json!({ "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": -1 })
}

fn export(shared: &Shared) -> Value {
    let mut export = json!({ "name": shared.subject, "subject": shared.subject, "type": shared.crossing.as_str() });
    if shared.crossing == Crossing::Service {
        export["response_type"] = json!("Singleton");
        export["response_threshold"] = json!(nanoseconds(REPLY_THRESHOLD));
    }
    export
}

fn import(shared: &Shared, account: &str) -> Value {
    json!({ "name": shared.subject, "subject": shared.subject, "account": account, "type": shared.crossing.as_str() })
}

/// The lists of a user or an account. A list without entries would allow everything, so it refuses everything.
fn lists(permissions: &Permissions) -> Map<String, Value> {
    let list = |subjects: &[String]| match subjects {
        [] => json!({ "deny": [">"] }),
        subjects => json!({ "allow": subjects }),
    };
    let mut lists = Map::new();
    lists.insert("pub".to_owned(), list(&permissions.publish));
    lists.insert("sub".to_owned(), list(&permissions.subscribe));
    if permissions.may_respond {
        lists.insert("resp".to_owned(), json!({ "max": 1, "ttl": nanoseconds(RESPONSE_TTL) }));
    }
    lists
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).expect("minutes in nanoseconds fit")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jwt;
    use std::collections::BTreeSet;

    const NOW: i64 = 1_700_000_000;

    fn seed() -> AccessSeed {
        AccessSeed::from_random([7; 32])
    }

    fn subjects() -> Subjects {
        Subjects::new("daybook").unwrap()
    }

    fn acme(revoked: &[&str]) -> String {
        let kinds: BTreeSet<_> = ["order".parse().unwrap(), "refund".parse().unwrap()].into();
        let account = TenantAccount {
            publishable: Publishable::Kinds(kinds),
            limits: TenantLimits::with_payload(65_280),
            revoked: revoked.iter().map(|user| ((*user).to_owned(), FOR_GOOD)).collect(),
            issued_at: NOW,
        };
        tenant_account(&seed(), &subjects(), &TenantId::new("acme").unwrap(), &account)
    }

    fn query(permissions: &Permissions) -> String {
        let key = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4";
        let query = User {
            name: "query",
            public_key: key,
            permissions: Some(permissions),
            issued_at: NOW,
            expires_at: Some(NOW + 60),
        };
        user(&seed().services_account(), &query)
    }

    /// Every sort of claim, as the broker is sent it.
    #[test]
    fn claims_have_stable_bytes() {
        let tokens = [
            operator(&seed(), NOW),
            system_account(&seed(), NOW),
            services_account(&seed(), &subjects(), NOW),
            acme(&["UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4"]),
            query(&Permissions::with_inbox().respond()),
            role_user(&seed(), Role::Query, "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4", NOW),
        ];
        let claims: Vec<Value> = tokens.iter().map(|token| jwt::read(token).unwrap()).collect();
        let text = format!("{}\n", serde_json::to_string_pretty(&claims).unwrap());
        assert_eq!(text, include_str!("claims.golden.json"));
    }

    #[test]
    fn the_same_facts_are_the_same_bytes() {
        assert_eq!(acme(&[]), acme(&[]));
        assert_ne!(acme(&[]), acme(&["*"]));
    }

    #[test]
    fn an_empty_list_allows_nothing_and_no_list_is_the_accounts() {
        let none = jwt::read(&query(&Permissions::default())).unwrap();
        assert_eq!(none["nats"]["pub"], json!({ "deny": [">"] }));
        assert_eq!(none["nats"]["sub"], json!({ "deny": [">"] }));
        let whole = User { name: "acme", public_key: "U", permissions: None, issued_at: NOW, expires_at: None };
        let whole = jwt::read(&user(&seed().services_account(), &whole)).unwrap();
        assert_eq!((&whole["nats"]["pub"], &whole["nats"]["sub"]), (&json!({}), &json!({})));
        assert_eq!(whole.get("exp"), None);
    }
}
