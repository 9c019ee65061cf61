//! Keys that sign JWTs, out of a JWKS (RFC 7517) or a public key in PEM.

use super::jwt::{Algorithm, Verifier};
use super::spki::{PublicKey, public_key};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use tokio_rustls::rustls::pki_types::SubjectPublicKeyInfoDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;

/// Largest set of keys, in bytes.
pub(super) const MAX_KEYS_BYTES: usize = 256 << 10;
/// Most keys of a set. A token without `kid` is tried with each of its algorithm.
const MAX_KEYS: usize = 64;
/// Shortest secret for HS256, in bytes: that of its hash (RFC 7518, 3.2).
const MIN_SECRET_BYTES: usize = 32;

/// A set that cannot be used. No key is repeated.
#[derive(Debug, thiserror::Error)]
pub enum KeySetError {
    #[error("they are neither a JWKS in JSON nor a public key in PEM")]
    Form,
    #[error("they have {0} bytes; at most {MAX_KEYS_BYTES} are read")]
    TooLarge(usize),
    #[error("the PEM holds no Ed25519 or RSA public key")]
    Pem,
    #[error("they have {0} keys; at most {MAX_KEYS} are taken")]
    TooMany(usize),
    #[error("key {0} (from 0) of the set is wrong: {1}")]
    Key(usize, &'static str),
    #[error("none of the keys is for EdDSA (Ed25519), RS256 or HS256")]
    None,
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<Jwk>,
}

/// A key as RFC 7517 writes it; members for other purposes are not read.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    n: Option<String>,
    e: Option<String>,
    k: Option<String>,
}

/// The keys of a JWKS or a PEM. Keys for other algorithms are left out.
///
/// # Errors
/// When the text is neither, a key is unsound, or none is left.
pub(super) fn read(text: &[u8]) -> Result<Vec<Verifier>, KeySetError> {
    if text.len() > MAX_KEYS_BYTES {
        return Err(KeySetError::TooLarge(text.len()));
    }
    if text.trim_ascii_start().starts_with(b"-----BEGIN") {
        let der = SubjectPublicKeyInfoDer::from_pem_slice(text).map_err(|_| KeySetError::Pem)?;
        return match public_key(&der).ok_or(KeySetError::Pem)? {
            PublicKey::Ed25519(key) => Ok(vec![Verifier::ed25519(None, key)]),
            PublicKey::Rsa(key) => Ok(vec![Verifier::rsa_pkcs1(None, key)]),
        };
    }
    let set: Set = serde_json::from_slice(text).map_err(|_| KeySetError::Form)?;
    if set.keys.len() > MAX_KEYS {
        return Err(KeySetError::TooMany(set.keys.len()));
    }
    let mut verifiers = Vec::new();
    for (place, key) in set.keys.into_iter().enumerate() {
        verifiers.extend(verifier(key).map_err(|why| KeySetError::Key(place, why))?);
    }
    match verifiers.is_empty() {
        true => Err(KeySetError::None),
        false => Ok(verifiers),
    }
}

/// The key, if it is for one of the algorithms. The type of a key decides its algorithm, never the token.
fn verifier(key: Jwk) -> Result<Option<Verifier>, &'static str> {
    if key.purpose.as_deref().is_some_and(|purpose| purpose != "sig") {
        return Ok(None);
    }
    let verifier = match (key.kty.as_str(), key.crv.as_deref()) {
        ("OKP", Some("Ed25519")) => {
            let x = bytes(key.x.as_deref())?;
            if x.len() != 32 {
                return Err("x of an Ed25519 key has 32 bytes");
            }
            Verifier::ed25519(key.kid, &x)
        }
        ("RSA", _) => Verifier::rsa(key.kid, bytes(key.n.as_deref())?, bytes(key.e.as_deref())?),
        ("oct", _) => {
            let secret = bytes(key.k.as_deref())?;
            if secret.len() < MIN_SECRET_BYTES {
                return Err("the secret k is shorter than 32 bytes");
            }
            Verifier::hmac(key.kid, &secret)
        }
        _ => return Ok(None),
    };
    let is_named = match key.alg.as_deref() {
        None => true,
        Some("Ed25519") => verifier.algorithm == Algorithm::EdDsa,
        Some(name) => name == verifier.algorithm.name(),
    };
    Ok(is_named.then_some(verifier))
}

fn bytes(text: Option<&str>) -> Result<Vec<u8>, &'static str> {
    let text = text.ok_or("a member of the key is missing")?;
    URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).map_err(|_| "a member of the key is not base64url")
}
