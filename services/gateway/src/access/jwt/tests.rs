use super::*;
use crate::access::jwks;
use ring::signature::{Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use serde_json::{Value, json};

/// `rsa.test.der` and `rsa.test.pem` are a pair of keys that was made for these tests and protects nothing.
const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

fn now() -> Instant {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

fn seconds(offset: i64) -> i64 {
    now().as_millis() / 1_000 + offset
}

fn claims() -> Value {
    json!({"exp": seconds(600), "sub": "till 7", "tenants": ["acme"], "scope": "openid publish"})
}

fn encode(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

/// A token whose signature is made by `sign`.
fn token(header: &Value, claims: &Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let message = format!("{}.{}", encode(header), encode(claims));
    let signature = URL_SAFE_NO_PAD.encode(sign(message.as_bytes()));
    format!("{message}.{signature}")
}

fn hmac_with(secret: &[u8]) -> impl Fn(&[u8]) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    move |message| hmac::sign(&key, message).as_ref().to_vec()
}

fn hs256(claims: &Value) -> String {
    token(&json!({"alg": "HS256", "typ": "JWT"}), claims, hmac_with(SECRET))
}

fn judge(token: &str, keys: &[Verifier]) -> Result<Grant, JwtError> {
    grant(token, keys, &Expected::default(), now())
}

#[test]
fn each_algorithm_is_verified_by_its_own_kind_of_key() {
    let ed = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let rsa = RsaKeyPair::from_der(include_bytes!("rsa.test.der")).unwrap();
    let sign_rsa = |message: &[u8]| {
        let mut signature = vec![0; rsa.public().modulus_len()];
        rsa.sign(&RSA_PKCS1_SHA256, &ring::rand::SystemRandom::new(), message, &mut signature).unwrap();
        signature
    };
    let parts = ring::rsa::PublicKeyComponents::<Vec<u8>>::from(rsa.public());
    let b64 = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let set = json!({"keys": [
        {"kty": "OKP", "crv": "Ed25519", "kid": "e", "x": b64(ed.public_key().as_ref())},
        {"kty": "RSA", "kid": "r", "use": "sig", "alg": "RS256", "n": b64(&parts.n), "e": b64(&parts.e)},
        {"kty": "oct", "kid": "h", "k": b64(SECRET)},
        {"kty": "EC", "crv": "P-256", "kid": "other"},
        {"kty": "RSA", "kid": "enc", "use": "enc", "n": "AQAB", "e": "AQAB"},
    ]});
    let keys = jwks::read(set.to_string().as_bytes()).unwrap();
    assert_eq!(keys.len(), 3);
    let sign_ed = |message: &[u8]| ed.sign(message).as_ref().to_vec();
    let good = [
        token(&json!({"alg": "EdDSA", "kid": "e"}), &claims(), sign_ed),
        token(&json!({"alg": "RS256", "kid": "r"}), &claims(), sign_rsa),
        token(&json!({"alg": "HS256", "kid": "h"}), &claims(), hmac_with(SECRET)),
        token(&json!({"alg": "EdDSA"}), &claims(), sign_ed),
    ];
    for token in &good {
        let grant = judge(token, &keys).unwrap();
        assert_eq!((grant.holder.as_str(), grant.scopes.len()), ("jwt  till 7", 1));
        assert!(grant.tenants.contain(&"acme".parse().unwrap()) && !grant.tenants.contain(&"other".parse().unwrap()));
        // One changed byte anywhere is one too many.
        for at in [0, token.len() / 2, token.len() - 5] {
            let mut bytes = token.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            assert!(judge(&String::from_utf8(bytes).unwrap(), &keys).is_err(), "{at}");
        }
    }
    // A key of one kind verifies nothing of another.
    let wrong = [
        (token(&json!({"alg": "RS256", "kid": "e"}), &claims(), sign_ed), JwtError::UnknownKey),
        (token(&json!({"alg": "HS256", "kid": "r"}), &claims(), hmac_with(SECRET)), JwtError::UnknownKey),
        (token(&json!({"alg": "HS256", "kid": "x"}), &claims(), hmac_with(SECRET)), JwtError::UnknownKey),
        (
            token(&json!({"alg": "HS256"}), &claims(), hmac_with(b"another secret of thirty-two bytes")),
            JwtError::Signature,
        ),
        (token(&json!({"alg": "none"}), &claims(), |_| Vec::new()), JwtError::Algorithm),
        (token(&json!({"alg": "None"}), &claims(), |_| Vec::new()), JwtError::Algorithm),
        (token(&json!({"alg": "HS384"}), &claims(), hmac_with(SECRET)), JwtError::Algorithm),
        (token(&json!({"alg": "HS256", "crit": ["exp"]}), &claims(), hmac_with(SECRET)), JwtError::Algorithm),
    ];
    for (token, why) in wrong {
        assert_eq!(judge(&token, &keys).unwrap_err(), why);
    }
}

#[test]
fn a_public_key_is_no_secret() {
    let pem = include_bytes!("rsa.test.pem");
    let keys = jwks::read(pem).unwrap();
    let rsa = RsaKeyPair::from_der(include_bytes!("rsa.test.der")).unwrap();
    let sign = |message: &[u8]| {
        let mut signature = vec![0; rsa.public().modulus_len()];
        rsa.sign(&RSA_PKCS1_SHA256, &ring::rand::SystemRandom::new(), message, &mut signature).unwrap();
        signature
    };
    assert!(judge(&token(&json!({"alg": "RS256"}), &claims(), sign), &keys).is_ok());
    for secret in [&pem[..], pem.trim_ascii_end(), rsa.public().as_ref()] {
        let forged = token(&json!({"alg": "HS256"}), &claims(), hmac_with(secret));
        assert_eq!(judge(&forged, &keys).unwrap_err(), JwtError::UnknownKey);
    }
}

#[test]
fn claims_are_checked() {
    let keys = [Verifier::hmac(None, SECRET)];
    let with = |name: &str, value: Value| {
        let mut claims = claims();
        claims[name] = value;
        hs256(&claims)
    };
    let without = |name: &str| {
        let mut claims = claims();
        claims.as_object_mut().unwrap().remove(name);
        hs256(&claims)
    };
    for (token, outcome) in [
        (with("exp", seconds(-31).into()), Err(JwtError::Expired)),
        (with("exp", seconds(-29).into()), Ok(())),
        (with("exp", json!(1e300)), Ok(())),
        (with("exp", json!(-1e300)), Err(JwtError::Expired)),
        (with("exp", "tomorrow".into()), Err(JwtError::Claims)),
        (without("exp"), Err(JwtError::Claims)),
        (with("nbf", seconds(60).into()), Err(JwtError::NotYet)),
        (with("nbf", seconds(20).into()), Ok(())),
        (with("aud", "elsewhere".into()), Err(JwtError::Elsewhere)),
        (with("tenants", json!([])), Err(JwtError::Claims)),
        (with("tenants", json!(["a b"])), Err(JwtError::Claims)),
        (with("tenants", "acme".into()), Err(JwtError::Claims)),
        (with("tenants", "*".into()), Ok(())),
        (without("tenants"), Err(JwtError::Claims)),
        (without("scope"), Err(JwtError::Claims)),
    ] {
        assert_eq!(judge(&token, &keys).map(|_| ()), outcome, "{token}");
    }
    let expected = Expected { issuer: Some("https://id.example".into()), audience: Some("daybook".into()) };
    let mut own = claims();
    (own["iss"], own["aud"]) = ("https://id.example".into(), json!(["other", "daybook"]));
    assert!(grant(&hs256(&own), &keys, &expected, now()).is_ok());
    own["aud"] = "other".into();
    assert_eq!(grant(&hs256(&own), &keys, &expected, now()).unwrap_err(), JwtError::Elsewhere);
    assert_eq!(grant(&hs256(&claims()), &keys, &expected, now()).unwrap_err(), JwtError::Elsewhere);
}

#[test]
fn tokens_without_a_subject_count_by_their_tenants() {
    let keys = [Verifier::hmac(None, SECRET)];
    let holder = |tenants: Value| {
        let mut claims = claims();
        claims["sub"] = "".into();
        claims["tenants"] = tenants;
        judge(&hs256(&claims), &keys).unwrap().holder
    };
    assert_eq!(holder(json!(["a", "b"])), holder(json!(["b", "a"])));
    assert_ne!(holder(json!(["a"])), holder(json!(["b"])));
    assert_ne!(holder(json!(["a"])), holder(json!("*")));
    let mut without = claims();
    without.as_object_mut().unwrap().remove("sub");
    assert_eq!(judge(&hs256(&without), &keys).unwrap().holder, holder(json!(["acme"])));
}

#[test]
fn what_is_no_token_is_refused() {
    let keys = [Verifier::hmac(None, SECRET)];
    let good = hs256(&claims());
    for text in
        ["", ".", "..", "...", "a.b.c", &good[1..], &format!("{good}."), &format!("{good}=="), &"a.".repeat(9_000)]
    {
        assert!(judge(text, &keys).is_err(), "{text}");
    }
    let debug = format!("{keys:?}");
    assert!(debug.contains("Hs256") && !debug.contains("0123"), "{debug}");
}

#[test]
fn sets_of_keys_are_checked() {
    for (set, is_good) in [
        (json!({"keys": []}), false),
        (json!({"keys": [{"kty": "oct", "k": URL_SAFE_NO_PAD.encode(&SECRET[1..])}]}), false),
        (json!({"keys": [{"kty": "oct", "k": URL_SAFE_NO_PAD.encode(SECRET)}]}), true),
        (json!({"keys": [{"kty": "oct", "alg": "HS512", "k": URL_SAFE_NO_PAD.encode(SECRET)}]}), false),
        (json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "AAAA"}]}), false),
        (json!({"keys": [{"kty": "OKP", "crv": "Ed448", "x": "AAAA"}]}), false),
        (json!({"keys": "x"}), false),
        (json!([]), false),
    ] {
        assert_eq!(jwks::read(set.to_string().as_bytes()).is_ok(), is_good, "{set}");
    }
    assert!(jwks::read(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").is_err());
    assert!(jwks::read(&vec![b' '; jwks::MAX_KEYS_BYTES + 1]).is_err());
}
