//! What is known of tenants, kinds and revoked tokens, and the accounts that follow from it. Pure.

use daybook_access::claims::{EVERY_USER, FOR_GOOD, TenantAccount, tenant_account};
use daybook_access::keys::AccessSeed;
use daybook_access::limits::{InboxBounds, PayloadShare, TenantLimits};
use daybook_access::tenants::Publishable;
use daybook_contracts::access::RevokedTokens;
use daybook_contracts::subjects::Subjects;
use daybook_domain::ids::{Name, TenantId};
use daybook_domain::time::Instant;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Something that accounts are made of. The account of a removed tenant stays: its tokens are void, and its id may be used again.
#[derive(Clone, Debug)]
pub enum Fact {
    Tenant(TenantId),
    /// A group of tenants: its account asks, and publishes nothing.
    Group(TenantId),
    Kind(Name),
    KindRemoved(Name),
    Revoked(RevokedTokens),
    /// The settings, or what is made of them, are others than before.
    Settings,
}

/// Whose accounts are others now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Touched {
    Nobody,
    One(TenantId),
    Everybody,
}

/// The accounts of all tenants.
pub struct AccountBook {
    seed: AccessSeed,
    subjects: Subjects,
    bounds: InboxBounds,
    /// Takes the place of the share of INBOX.
    payload_bytes: Option<u64>,
    kinds: BTreeSet<Name>,
    /// When the newest fact came to be that concerns everybody.
    common_since: Instant,
    /// Groups, too.
    tenants: BTreeMap<TenantId, Instant>,
    groups: BTreeSet<TenantId>,
    /// By the public key of the account.
    by_key: HashMap<String, TenantId>,
    revoked: BTreeMap<TenantId, (RevokedTokens, Instant)>,
}

impl AccountBook {
    pub fn new(seed: AccessSeed, subjects: Subjects, bounds: InboxBounds, payload_bytes: Option<u64>) -> Self {
        Self {
            seed,
            subjects,
            bounds,
            payload_bytes,
            kinds: BTreeSet::new(),
            common_since: Instant::from_millis(0),
            tenants: BTreeMap::new(),
            groups: BTreeSet::new(),
            by_key: HashMap::new(),
            revoked: BTreeMap::new(),
        }
    }

    /// Takes note of a fact that was stored at an instant. What is known already touches nobody.
    pub fn learn(&mut self, fact: Fact, stored_at: Instant) -> Touched {
        match fact {
            Fact::Tenant(tenant) => self.learn_tenant(tenant, stored_at),
            Fact::Group(group) => {
                self.groups.insert(group.clone());
                self.learn_tenant(group, stored_at)
            }
            Fact::Kind(kind) => {
                if self.kinds.insert(kind) {
                    self.common(stored_at)
                } else {
                    Touched::Nobody
                }
            }
            Fact::KindRemoved(kind) => {
                if self.kinds.remove(&kind) {
                    self.common(stored_at)
                } else {
                    Touched::Nobody
                }
            }
            Fact::Settings => self.common(stored_at),
            Fact::Revoked(list) => {
                let tenant = list.tenant.clone();
                let is_known = self.revoked.get(&tenant).is_some_and(|(known, _)| *known == list);
                self.revoked.insert(tenant.clone(), (list, stored_at));
                if is_known || !self.tenants.contains_key(&tenant) { Touched::Nobody } else { Touched::One(tenant) }
            }
        }
    }

    fn learn_tenant(&mut self, tenant: TenantId, stored_at: Instant) -> Touched {
        // Later revisions change calendars and quotas, nothing of the account.
        if self.tenants.contains_key(&tenant) {
            return Touched::Nobody;
        }
        self.by_key.insert(self.seed.tenant_account(&tenant).public_key(), tenant.clone());
        self.tenants.insert(tenant.clone(), stored_at);
        Touched::One(tenant)
    }

    fn common(&mut self, stored_at: Instant) -> Touched {
        self.common_since = self.common_since.max(stored_at);
        Touched::Everybody
    }

    /// The tenant whose account has a public key.
    pub fn tenant_of(&self, key: &str) -> Option<&TenantId> {
        self.by_key.get(key)
    }

    pub fn tenants(&self) -> impl Iterator<Item = &TenantId> {
        self.tenants.keys()
    }

    /// Tenants with revoked tokens.
    pub fn revoked(&self) -> impl Iterator<Item = &TenantId> {
        self.revoked.keys().filter(|tenant| self.tenants.contains_key(*tenant))
    }

    /// How large a tenant's messages may be.
    pub fn share(&self) -> PayloadShare {
        let share = PayloadShare::of(self.bounds, self.kinds.len());
        PayloadShare { payload_bytes: self.payload_bytes.unwrap_or(share.payload_bytes), ..share }
    }

    /// A tenant's account, signed; `None` for one that is not defined. The same facts make the same bytes.
    pub fn account(&self, tenant: &TenantId) -> Option<String> {
        let defined_at = *self.tenants.get(tenant)?;
        let revoked = self.revoked.get(tenant);
        let newest = [Some(self.common_since), revoked.map(|(_, stored_at)| *stored_at)];
        let issued_at = newest.into_iter().flatten().fold(defined_at, Instant::max);
        Some(self.sign(tenant, revoked.map(|(list, _)| list), issued_at))
    }

    fn sign(&self, tenant: &TenantId, revoked: Option<&RevokedTokens>, issued_at: Instant) -> String {
        let account = TenantAccount {
            publishable: Publishable::Kinds(if self.groups.contains(tenant) {
                BTreeSet::new()
            } else {
                self.kinds.clone()
            }),
            limits: TenantLimits::with_payload(self.share().payload_bytes),
            revoked: revoked.map(revocations).unwrap_or_default(),
            issued_at: seconds(issued_at),
        };
        tenant_account(&self.seed, &self.subjects, tenant, &account)
    }

    /// Stands for everything but facts that an account is made of: settings, permissions, the seed. Another one means that all
    /// accounts are others.
    pub fn fingerprint(&self) -> String {
        let sample = TenantId::new("sample").expect("a valid id");
        let unkinded = Self {
            kinds: BTreeSet::new(),
            tenants: BTreeMap::new(),
            groups: BTreeSet::new(),
            by_key: HashMap::new(),
            revoked: BTreeMap::new(),
            seed: self.seed.clone(),
            subjects: self.subjects.clone(),
            ..*self
        };
        let token = unkinded.sign(&sample, None, Instant::from_millis(0));
        blake3::hash(token.as_bytes()).to_hex().to_string()
    }
}

/// A list of revoked tokens as claims have it.
fn revocations(list: &RevokedTokens) -> BTreeMap<String, i64> {
    let users = list.users.keys().map(|user| (user.clone(), FOR_GOOD));
    let all = list.all_until.map(|until| (EVERY_USER.to_owned(), seconds(until)));
    users.chain(all).collect()
}

fn seconds(instant: Instant) -> i64 {
    instant.as_millis().div_euclid(1_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use daybook_access::jwt;
    use serde_json::{Value, json};

    fn at(seconds: i64) -> Instant {
        Instant::from_millis(seconds * 1_000)
    }

    fn id(text: &str) -> TenantId {
        TenantId::new(text).unwrap()
    }

    fn book() -> AccountBook {
        let seed = AccessSeed::from_random([7; 32]);
        AccountBook::new(seed, Subjects::new("daybook").unwrap(), InboxBounds::default(), None)
    }

    fn kind(name: &str) -> Fact {
        Fact::Kind(name.parse().unwrap())
    }

    fn claims(book: &AccountBook, tenant: &str) -> Value {
        jwt::read(&book.account(&id(tenant)).unwrap()).unwrap()
    }

    #[test]
    fn an_account_is_a_function_of_the_facts() {
        let mut one = book();
        assert_eq!(one.learn(Fact::Tenant(id("acme")), at(10)), Touched::One(id("acme")));
        assert_eq!(one.learn(kind("order"), at(20)), Touched::Everybody);
        assert_eq!(one.learn(kind("order"), at(30)), Touched::Nobody);
        let mut other = book();
        other.learn(kind("order"), at(20));
        other.learn(Fact::Tenant(id("acme")), at(10));
        other.learn(Fact::Tenant(id("acme")), at(99));
        assert_eq!(one.account(&id("acme")), other.account(&id("acme")));
        assert_eq!(claims(&one, "acme")["iat"], 20);
        assert_eq!(one.account(&id("other")), None);
    }

    #[test]
    fn kinds_are_named_and_share_the_buffer() {
        let mut book = book();
        book.learn(Fact::Tenant(id("acme")), at(10));
        let publishable = |book: &AccountBook| {
            let list = claims(book, "acme")["nats"]["default_permissions"]["pub"]["allow"].clone();
            let inputs: Vec<String> = serde_json::from_value(list).unwrap();
            inputs.into_iter().filter(|subject| subject.starts_with("daybook.in.")).collect::<Vec<_>>()
        };
        assert_eq!(publishable(&book), [""; 0], "no kind is defined");
        book.learn(kind("order"), at(11));
        book.learn(kind("refund"), at(12));
        assert_eq!(publishable(&book), ["daybook.in.acme.order", "daybook.in.acme.refund"]);
        assert_eq!(claims(&book, "acme")["nats"]["limits"]["payload"], 64 * 1024 - 256);
        assert_eq!(book.learn(Fact::Group(id("north")), at(13)), Touched::One(id("north")));
        let of_group = claims(&book, "north")["nats"]["default_permissions"]["pub"]["allow"].to_string();
        assert!(of_group.contains("daybook.query.north.") && !of_group.contains("daybook.in."), "{of_group}");
    }

    #[test]
    fn accounts_are_found_by_key_and_tokens_revoked() {
        let mut book = book();
        book.learn(Fact::Tenant(id("acme")), at(10));
        let key = claims(&book, "acme")["sub"].as_str().unwrap().to_owned();
        assert_eq!(book.tenant_of(&key), Some(&id("acme")));
        assert_eq!(book.tenant_of("A"), None);
        let mut list = RevokedTokens::none(id("acme"));
        list.revoke("UONE", None, at(11)).unwrap();
        assert_eq!(book.learn(Fact::Revoked(list.clone()), at(12)), Touched::One(id("acme")));
        assert_eq!(book.learn(Fact::Revoked(list.clone()), at(12)), Touched::Nobody);
        assert_eq!(claims(&book, "acme")["nats"]["revocations"], json!({ "UONE": FOR_GOOD }));
        assert_eq!(claims(&book, "acme")["iat"], 12);
        list.revoke_all(at(13));
        book.learn(Fact::Revoked(list), at(13));
        assert_eq!(claims(&book, "acme")["nats"]["revocations"], json!({ "*": 13 }));
        assert_eq!(book.revoked().collect::<Vec<_>>(), [&id("acme")]);
        assert_eq!(book.learn(Fact::Revoked(RevokedTokens::none(id("later"))), at(14)), Touched::Nobody);
    }

    #[test]
    fn other_settings_are_another_fingerprint() {
        let mut one = book();
        one.learn(Fact::Tenant(id("acme")), at(10));
        one.learn(kind("order"), at(11));
        assert_eq!(one.fingerprint(), book().fingerprint(), "facts do not count");
        let larger = AccountBook { payload_bytes: Some(4_096), ..book() };
        assert_ne!(larger.fingerprint(), book().fingerprint());
    }
}
