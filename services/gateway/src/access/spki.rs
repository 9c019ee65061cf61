//! Public keys in PEM (`-----BEGIN PUBLIC KEY-----`), taken apart as far as is needed.

/// A public key that a JWT can be signed by.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PublicKey<'d> {
    /// 32 bytes.
    Ed25519(&'d [u8]),
    /// `RSAPublicKey` of PKCS #1, in DER.
    Rsa(&'d [u8]),
}

/// DER of the algorithms' object identifiers, 1.3.101.112 and 1.2.840.113549.1.1.1.
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];

const SEQUENCE: u8 = 0x30;
const OBJECT_IDENTIFIER: u8 = 0x06;
const BIT_STRING: u8 = 0x03;

/// The key of a `SubjectPublicKeyInfo` in DER; `None` when it is none, or of another algorithm.
pub(super) fn public_key(der: &[u8]) -> Option<PublicKey<'_>> {
    let (info, rest) = value(der, SEQUENCE)?;
    let (algorithm, key) = value(info, SEQUENCE)?;
    let (identifier, _) = value(algorithm, OBJECT_IDENTIFIER)?;
    let (bits, behind) = value(key, BIT_STRING)?;
    // The first byte counts unused bits.
    let key = bits.strip_prefix(&[0])?;
    if !rest.is_empty() || !behind.is_empty() {
        return None;
    }
    match identifier {
        ED25519 if key.len() == 32 => Some(PublicKey::Ed25519(key)),
        RSA => Some(PublicKey::Rsa(key)),
        _ => None,
    }
}

/// The content of the value that begins `der`, if it has that tag, and what follows it.
fn value(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81 => (usize::from(*rest.first()?), rest.get(1..)?),
        0x82 => (usize::from(*rest.first()?) << 8 | usize::from(*rest.get(1)?), rest.get(2..)?),
        _ => return None,
    };
    (found == tag && length <= rest.len()).then(|| rest.split_at(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ed25519_key_is_found_and_what_is_cut_short_is_not() {
        let mut der = vec![0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
        der.extend([7; 32]);
        assert_eq!(public_key(&der), Some(PublicKey::Ed25519(&[7; 32])));
        for length in 0..der.len() {
            assert_eq!(public_key(&der[..length]), None, "{length}");
        }
        der.push(0);
        assert_eq!(public_key(&der), None);
    }
}
