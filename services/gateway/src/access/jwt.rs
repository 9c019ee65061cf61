//! Signed tokens: JWTs (RFC 7519) in the compact form, by EdDSA (Ed25519), RS256 or HS256.
//!
//! The key decides the algorithm, and a token that names another is refused. So `alg: none`, and HS256 with the text of a
//! public key as the secret, are no way in. Unlike a general library this reads three algorithms and no encryption.

use super::grant::{Grant, Scope, Tenants};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use daybook_domain::time::Instant;
use ring::{hmac, signature};
use serde::Deserialize;
use std::collections::BTreeSet;

/// Longest token, in bytes.
pub(super) const MAX_TOKEN_BYTES: usize = 8 << 10;
/// How far clocks may differ, in milliseconds.
const LEEWAY_MS: i64 = 30_000;
/// Longest `sub` that is kept, in characters.
const MAX_SUBJECT_CHARS: usize = 128;

/// How a token is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    EdDsa,
    Rs256,
    Hs256,
}

impl Algorithm {
    /// The value of `alg`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::EdDsa => "EdDSA",
            Self::Rs256 => "RS256",
            Self::Hs256 => "HS256",
        }
    }
}

enum Key {
    Public(signature::UnparsedPublicKey<Vec<u8>>),
    Rsa(signature::RsaPublicKeyComponents<Vec<u8>>),
    Secret(hmac::Key),
}

/// A key that tokens are checked with.
pub(super) struct Verifier {
    kid: Option<String>,
    pub algorithm: Algorithm,
    key: Key,
}

/// Shows no key: HS256's is a secret.
impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifier").field("kid", &self.kid).field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

impl Verifier {
    /// An Ed25519 public key of 32 bytes.
    pub(super) fn ed25519(kid: Option<String>, key: &[u8]) -> Self {
        let key = Key::Public(signature::UnparsedPublicKey::new(&signature::ED25519, key.to_vec()));
        Self { kid, algorithm: Algorithm::EdDsa, key }
    }

    /// An RSA public key of 2,048 to 8,192 bits in DER (PKCS #1).
    pub(super) fn rsa_pkcs1(kid: Option<String>, key: &[u8]) -> Self {
        let key = signature::UnparsedPublicKey::new(&signature::RSA_PKCS1_2048_8192_SHA256, key.to_vec());
        Self { kid, algorithm: Algorithm::Rs256, key: Key::Public(key) }
    }

    /// An RSA public key of 2,048 to 8,192 bits by modulus and exponent, big-endian.
    pub(super) fn rsa(kid: Option<String>, n: Vec<u8>, e: Vec<u8>) -> Self {
        let key = Key::Rsa(signature::RsaPublicKeyComponents { n, e });
        Self { kid, algorithm: Algorithm::Rs256, key }
    }

    /// A secret of at least 32 bytes.
    pub(super) fn hmac(kid: Option<String>, secret: &[u8]) -> Self {
        let key = Key::Secret(hmac::Key::new(hmac::HMAC_SHA256, secret));
        Self { kid, algorithm: Algorithm::Hs256, key }
    }

    fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.key {
            Key::Public(key) => key.verify(message, signature).is_ok(),
            Key::Rsa(key) => key.verify(&signature::RSA_PKCS1_2048_8192_SHA256, message, signature).is_ok(),
            // In constant time.
            Key::Secret(key) => hmac::verify(key, message, signature).is_ok(),
        }
    }
}

/// What every token must say.
#[derive(Clone, Debug, Default)]
pub(super) struct Expected {
    pub issuer: Option<String>,
    pub audience: Option<String>,
}

/// Why a token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum JwtError {
    #[error("the token is no JWT of three parts")]
    Form,
    #[error("the token's `alg` is not EdDSA, RS256 or HS256, or it has critical extensions")]
    Algorithm,
    #[error("no key of that `kid` and `alg` is known")]
    UnknownKey,
    #[error("the token's signature does not verify")]
    Signature,
    #[error(
        "the token's claims cannot be read: exp is a number, tenants a list of ids or \"*\", scope a text such as \"publish query\""
    )]
    Claims,
    #[error("the token has expired")]
    Expired,
    #[error("the token is not valid yet")]
    NotYet,
    #[error("the token is of another issuer, or for another audience")]
    Elsewhere,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Claims {
    exp: f64,
    nbf: Option<f64>,
    iss: Option<String>,
    aud: Option<Audience>,
    sub: Option<String>,
    tenants: Tenants,
    scope: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

/// What a token allows at `now`.
///
/// # Errors
/// The first reason why it allows nothing.
pub(super) fn grant(token: &str, keys: &[Verifier], expected: &Expected, now: Instant) -> Result<Grant, JwtError> {
    if token.len() > MAX_TOKEN_BYTES {
        return Err(JwtError::Form);
    }
    let (message, signature) = token.rsplit_once('.').ok_or(JwtError::Form)?;
    let (header, claims) = message.split_once('.').ok_or(JwtError::Form)?;
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| JwtError::Form);
    let (header, signature) = (decode(header)?, decode(signature)?);
    let header: Header = serde_json::from_slice(&header).map_err(|_| JwtError::Form)?;
    let known = [Algorithm::EdDsa, Algorithm::Rs256, Algorithm::Hs256];
    let algorithm = known.into_iter().find(|known| known.name() == header.alg).ok_or(JwtError::Algorithm)?;
    if header.crit.is_some() {
        return Err(JwtError::Algorithm);
    }
    let is_meant = |key: &&Verifier| {
        key.algorithm == algorithm
            && match (&header.kid, &key.kid) {
                (Some(wanted), Some(kid)) => wanted == kid,
                _ => true,
            }
    };
    let mut meant = keys.iter().filter(is_meant).peekable();
    if meant.peek().is_none() {
        return Err(JwtError::UnknownKey);
    }
    if !meant.any(|key| key.verifies(message.as_bytes(), &signature)) {
        return Err(JwtError::Signature);
    }
    // Only now is anything believed.
    let claims: Claims = serde_json::from_slice(&decode(claims)?).map_err(|_| JwtError::Claims)?;
    check(claims, expected, now)
}

/// The grant of signed claims.
fn check(claims: Claims, expected: &Expected, now: Instant) -> Result<Grant, JwtError> {
    // Seconds, perhaps with a fraction; a number without bounds is clamped.
    let millis = |seconds: f64| (seconds * 1_000.0) as i64;
    if now.as_millis() - LEEWAY_MS >= millis(claims.exp) {
        return Err(JwtError::Expired);
    }
    if claims.nbf.is_some_and(|from| now.as_millis() + LEEWAY_MS < millis(from)) {
        return Err(JwtError::NotYet);
    }
    let is_issued = expected.issuer.is_none() || expected.issuer == claims.iss;
    let is_addressed = match (&expected.audience, &claims.aud) {
        (None, None) => true,
        (Some(own), Some(Audience::One(audience))) => own == audience,
        (Some(own), Some(Audience::Many(audiences))) => audiences.contains(own),
        _ => false,
    };
    if !is_issued || !is_addressed {
        return Err(JwtError::Elsewhere);
    }
    // Scopes of other services may stand beside ours.
    let scopes: BTreeSet<Scope> = claims.scope.split_ascii_whitespace().filter_map(Scope::named).collect();
    // Without `sub` it is not known who asks, so tokens for the same tenants count together.
    let subject = claims.sub.filter(|subject| !subject.is_empty()).unwrap_or_else(|| {
        let tenants = serde_json::to_vec(&claims.tenants).expect("tenants are plain values");
        format!("of tenants {}", &blake3::hash(&tenants).to_hex()[..16])
    });
    let subject: String = subject.chars().take(MAX_SUBJECT_CHARS).collect();
    let issuer: String = claims.iss.unwrap_or_default().chars().take(MAX_SUBJECT_CHARS).collect();
    Ok(Grant {
        holder: format!("jwt {issuer} {subject}"),
        tenants: claims.tenants,
        scopes,
        expires_at: Some(Instant::from_millis(millis(claims.exp).saturating_add(LEEWAY_MS))),
    })
}

#[cfg(test)]
mod tests;
