//! Keys, all made from one seed.
//!
//! The seed is the operator's key. The key of every account follows from it and the account's name, so that nothing else
//! needs to be stored or backed up: HMAC-SHA-256 of the name, with the seed as the key, is the account's Ed25519 seed.
//! Who holds the seed can make every account and every token.

use crate::services::Role;
use data_encoding::BASE32_NOPAD;
use daybook_domain::ids::TenantId;
pub use nkeys::KeyPair;
use nkeys::KeyPairType;
use ring::hmac;
use std::fmt;

/// Keeps these keys apart from whatever else is made from the seed one day.
const PURPOSE: &str = "daybook account 1 ";

/// A text that is no key of the wanted sort.
#[derive(Debug, thiserror::Error)]
#[error("this is no NATS {0} (58 characters that begin with {1}); nothing of it is shown because it may be a secret")]
pub struct KeyError(&'static str, &'static str);

/// The secret that every account's key is made from: an operator's NATS seed, `SO…`.
#[derive(Clone)]
pub struct AccessSeed([u8; 32]);

impl fmt::Debug for AccessSeed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("AccessSeed(…)")
    }
}

impl AccessSeed {
    /// A seed out of 32 random bytes.
    pub fn from_random(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Reads a seed as [`text`](Self::text) writes it; blanks and line ends around it do no harm.
    ///
    /// # Errors
    /// When it is no operator's seed.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let wrong = || KeyError("operator seed", "SO");
        let key = KeyPair::from_seed(text.trim()).map_err(|_| wrong())?;
        if key.key_pair_type() != KeyPairType::Operator {
            return Err(wrong());
        }
        let (_, bytes) = nkeys::decode_seed(text.trim()).map_err(|_| wrong())?;
        Ok(Self(bytes))
    }

    /// The seed as NATS tools read it. Secret.
    pub fn text(&self) -> String {
        self.operator().seed().expect("a key made from a seed has one")
    }

    /// The key that signs accounts.
    pub fn operator(&self) -> KeyPair {
        pair(KeyPairType::Operator, self.0)
    }

    /// The key of the account of JetStream and the services.
    pub fn services_account(&self) -> KeyPair {
        self.account("services")
    }

    /// The key that signs the users of one role of the services' account.
    pub fn role(&self, role: Role) -> KeyPair {
        self.account(&format!("role {}", role.name()))
    }

    /// The key of the account of whoever runs the servers.
    pub fn system_account(&self) -> KeyPair {
        self.account("system")
    }

    /// The key of a tenant's account.
    pub fn tenant_account(&self, tenant: &TenantId) -> KeyPair {
        self.account(&format!("tenant {tenant}"))
    }

    /// The first word of a name says what it is of, so that no tenant is called like another account.
    fn account(&self, name: &str) -> KeyPair {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.0);
        let tag = hmac::sign(&key, format!("{PURPOSE}{name}").as_bytes());
        let bytes = tag.as_ref().try_into().expect("SHA-256 has 32 bytes");
        pair(KeyPairType::Account, bytes)
    }
}

fn pair(sort: KeyPairType, bytes: [u8; 32]) -> KeyPair {
    KeyPair::new_from_raw(sort, bytes).expect("any 32 bytes are an Ed25519 seed")
}

/// A new seed. This and [`new_user`] and [`random_text`] take random numbers; all else here is a function of its arguments.
pub fn random_seed() -> AccessSeed {
    let key = KeyPair::new_operator();
    AccessSeed::parse(&key.seed().expect("a new key has a seed")).expect("an operator's seed is one")
}

/// A password that nobody guesses: 52 letters and digits.
pub fn random_text() -> String {
    let key = KeyPair::new_server();
    BASE32_NOPAD.encode(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, seed_of(&key).as_bytes()), b"password").as_ref())
}

/// A new user's key.
pub fn new_user() -> KeyPair {
    KeyPair::new_user()
}

/// Reads a user's seed, `SU…`.
///
/// # Errors
/// When it is no user's seed.
pub fn user_from_seed(text: &str) -> Result<KeyPair, KeyError> {
    let key = KeyPair::from_seed(text.trim()).ok().filter(|key| key.key_pair_type() == KeyPairType::User);
    key.ok_or(KeyError("user seed", "SU"))
}

/// The secret text of a user's key, for its file.
pub fn seed_of(user: &KeyPair) -> String {
    user.seed().expect("a key that was made or read from a seed has one")
}

/// Whether a text is a user's public key, `U…`.
pub fn is_user(text: &str) -> bool {
    nkeys::KeyPair::from_public_key(text).is_ok_and(|key| key.key_pair_type() == KeyPairType::User)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_follow_from_the_seed_and_the_name() {
        let seed = AccessSeed::from_random([7; 32]);
        let tenant = |id: &str| seed.tenant_account(&TenantId::new(id).unwrap()).public_key();
        // Golden: another derivation would make every token that was given out worthless.
        assert_eq!(tenant("acme"), ACME);
        assert_eq!(seed.operator().public_key(), OPERATOR);
        let keys = [
            tenant("acme"),
            tenant("a"),
            tenant("services"),
            seed.services_account().public_key(),
            seed.system_account().public_key(),
            tenant("query"),
            seed.role(Role::Query).public_key(),
            AccessSeed::from_random([8; 32]).services_account().public_key(),
        ];
        for (index, key) in keys.iter().enumerate() {
            assert!(key.starts_with('A') && !keys[..index].contains(key), "{key}");
        }
    }

    const ACME: &str = "ADQ4ODR3DL2PW2CDQ4S3NLSXEAESTXF3KR2MO34N2A7KKAW7J6GOYP2Q";
    const OPERATOR: &str = "ODVEU3DD4KOFECV66VIHWEZOYX4ZKR3WV27L464SIIPOU2IUI3JCZAW4";

    #[test]
    fn seeds_are_read_back_and_others_refused() {
        let seed = AccessSeed::from_random([7; 32]);
        let text = seed.text();
        assert!(text.starts_with("SO"));
        assert_eq!(AccessSeed::parse(&format!(" {text}\n")).unwrap().text(), text);
        let user = seed_of(&new_user());
        for bad in ["", "SO", &user, &text[..57], &text.replace('A', "B"), &"é".repeat(29)] {
            let error = AccessSeed::parse(bad).unwrap_err().to_string();
            assert!(bad.len() < 4 || !error.contains(bad), "{error}");
        }
        assert!(user_from_seed(&user).is_ok() && user_from_seed(&text).is_err());
        assert!(!format!("{seed:?}").contains(&text[4..20]));
    }

    #[test]
    fn public_keys_of_users_are_known() {
        let user = new_user().public_key();
        assert!(is_user(&user));
        let account = AccessSeed::from_random([7; 32]).services_account().public_key();
        for bad in ["", "*", &account, &user[..55], &user.to_lowercase()] {
            assert!(!is_user(bad), "{bad}");
        }
    }
}
