//! Signed claims in the form that NATS reads: JWT with Ed25519 keys, version 2.

use data_encoding::{BASE32_NOPAD, BASE64URL_NOPAD};
use nkeys::KeyPair;
use ring::digest;
use serde_json::{Value, json};

/// A text that is no signed claim.
#[derive(Debug, thiserror::Error)]
pub enum JwtError {
    #[error("it has not three parts of base64 with JSON in them")]
    Form,
    #[error("its signature is not that of the key that it names")]
    Signature,
}

/// Signs `claims`, an object; adds who signed it (`iss`), and `jti`, a hash of everything else.
pub fn sign(mut claims: Value, signer: &KeyPair) -> String {
    claims["iss"] = json!(signer.public_key());
    // Keys of objects are sorted, so equal claims have equal bytes.
    let hash = digest::digest(&digest::SHA256, claims.to_string().as_bytes());
    claims["jti"] = json!(BASE32_NOPAD.encode(hash.as_ref()));
    let header = json!({ "alg": "ed25519-nkey", "typ": "JWT" });
    let part = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    let signed = format!("{}.{}", part(&header), part(&claims));
    let signature = signer.sign(signed.as_bytes()).expect("a key with a seed signs");
    format!("{signed}.{}", BASE64URL_NOPAD.encode(&signature))
}

/// The claims of a token, if it is signed by the key that it names as its issuer.
///
/// # Errors
/// When it is no token, or the signature is wrong.
pub fn read(token: &str) -> Result<Value, JwtError> {
    let (signed, signature) = token.rsplit_once('.').ok_or(JwtError::Form)?;
    let (_, claims) = signed.split_once('.').ok_or(JwtError::Form)?;
    let decode = |part: &str| BASE64URL_NOPAD.decode(part.as_bytes()).map_err(|_| JwtError::Form);
    let claims: Value = serde_json::from_slice(&decode(claims)?).map_err(|_| JwtError::Form)?;
    let issuer = claims["iss"].as_str().ok_or(JwtError::Form)?;
    let issuer = KeyPair::from_public_key(issuer).map_err(|_| JwtError::Form)?;
    issuer.verify(signed.as_bytes(), &decode(signature)?).map_err(|_| JwtError::Signature)?;
    Ok(claims)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::AccessSeed;

    #[test]
    fn what_is_signed_is_read_and_what_is_changed_refused() {
        let operator = AccessSeed::from_random([7; 32]).operator();
        let token = sign(json!({ "name": "x", "iat": 1 }), &operator);
        let claims = read(&token).unwrap();
        assert_eq!(claims["name"], "x");
        assert_eq!(claims["iss"], operator.public_key());
        assert_eq!(token, sign(json!({ "iat": 1, "name": "x" }), &operator), "the same claims are the same token");
        let mut changed = token.clone().into_bytes();
        let last = changed.len() - 20;
        changed[last] = if changed[last] == b'A' { b'B' } else { b'A' };
        assert!(read(std::str::from_utf8(&changed).unwrap()).is_err());
        for bad in ["", ".", "a.b.c", "..", &token[1..]] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
