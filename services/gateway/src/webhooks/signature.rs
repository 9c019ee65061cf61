//! Signs alerts by the Standard Webhooks specification: HMAC-SHA256 over `id.timestamp.payload`.

use axum::http::HeaderValue;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use std::fmt;

/// What a secret begins with.
const PREFIX: &str = "whsec_";
/// Fewest and most bytes of a secret, by the specification.
const SECRET_BYTES: [usize; 2] = [24, 64];
/// Most secrets of a target: the new one and some that its receiver may still have.
const MAX_SECRETS: usize = 4;

/// The secrets of a target. Each signs every alert, so that a receiver can change from one to the next. `Debug` hides them.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct SigningSecrets(Vec<Vec<u8>>);

impl SigningSecrets {
    /// Reads secrets, each `whsec_` and base64, with white space between them.
    ///
    /// # Errors
    /// What is wrong, without a character of any secret.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut secrets = Vec::new();
        for (index, written) in text.split_ascii_whitespace().enumerate() {
            let number = index + 1;
            let encoded =
                written.strip_prefix(PREFIX).ok_or(format!("secret {number} does not begin with {PREFIX}"))?;
            let secret =
                STANDARD.decode(encoded).map_err(|_| format!("secret {number} is not base64 behind {PREFIX}"))?;
            let [least, most] = SECRET_BYTES;
            if !(least..=most).contains(&secret.len()) {
                let found = secret.len();
                return Err(format!("secret {number} has {found} bytes; {least} to {most} are allowed"));
            }
            secrets.push(secret);
        }
        match secrets.len() {
            0 => Err(format!("it holds no secret; make one with `echo {PREFIX}$(openssl rand -base64 32)`")),
            1..=MAX_SECRETS => Ok(Self(secrets)),
            found => Err(format!("it holds {found} secrets; at most {MAX_SECRETS} are allowed")),
        }
    }

    /// The value of the header `webhook-signature`.
    pub(super) fn sign(&self, id: &str, timestamp: i64, payload: &[u8]) -> HeaderValue {
        let signed = |secret: &Vec<u8>| {
            let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
            let mut context = hmac::Context::with_key(&key);
            context.update(format!("{id}.{timestamp}.").as_bytes());
            context.update(payload);
            format!("v1,{}", STANDARD.encode(context.sign()))
        };
        let signatures: Vec<String> = self.0.iter().map(signed).collect();
        HeaderValue::try_from(signatures.join(" ")).expect("base64 fits a header")
    }
}

impl fmt::Debug for SigningSecrets {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SigningSecrets({} hidden)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    /// The vectors that the authors of the specification publish with their libraries and in their documentation.
    #[test]
    fn signatures_are_those_of_the_published_vectors() {
        let secrets = SigningSecrets::parse(SECRET).unwrap();
        let signature = secrets.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        // This one's secret is shorter than the specification allows.
        let secrets = SigningSecrets(vec![STANDARD.decode("plJ3nmyCDGBKInavdOK15jsl").unwrap()]);
        let payload = br#"{"event_type":"ping","data":{"success":true}}"#;
        let signature = secrets.sign("msg_loFOjxBNrRLzqYUf", 1_731_705_121, payload);
        assert_eq!(signature, "v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0=");
    }

    #[test]
    fn each_secret_signs_so_that_one_can_be_changed_for_the_next() {
        let other = format!("whsec_{}", STANDARD.encode([7; 32]));
        let sign = |text: &str| SigningSecrets::parse(text).unwrap().sign("a", 1, b"{}").to_str().unwrap().to_owned();
        assert_eq!(sign(&format!("{other}\n{SECRET}\n")), format!("{} {}", sign(&other), sign(SECRET)));
    }

    #[test]
    fn a_bad_secret_is_told_and_not_shown() {
        let many = format!("{SECRET} ").repeat(MAX_SECRETS + 1);
        let long = format!("whsec_{}", STANDARD.encode([7; 65]));
        for (text, told) in [
            ("", "holds no secret"),
            (" \n", "holds no secret"),
            ("hunter2", "secret 1 does not begin with whsec_"),
            ("whsec_hunter2!", "secret 1 is not base64"),
            ("whsec_aHVudGVyMg==", "secret 1 has 7 bytes; 24 to 64"),
            (&long, "secret 1 has 65 bytes"),
            (&many, "holds 5 secrets; at most 4"),
        ] {
            let why = SigningSecrets::parse(text).unwrap_err();
            assert!(why.contains(told) && !why.contains("hunter2") && !why.contains("aHVu"), "{why}");
        }
        assert_eq!(format!("{:?}", SigningSecrets::parse(SECRET).unwrap()), "SigningSecrets(1 hidden)");
    }
}
