//! What a secured broker needs, made in the test: an authority, certificates, an operator, and credentials.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use daybook_broker::{ServerSettings, TlsOptions};
use nkeys::KeyPair;
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, date_time_ymd};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

/// An authority that signs certificates, and a folder for them.
pub struct Authority {
    issuer: Issuer<'static, rcgen::KeyPair>,
    folder: PathBuf,
    /// Its own certificate, for those who trust it.
    pub file: PathBuf,
}

/// A certificate and its private key.
#[derive(Clone, Debug)]
pub struct Certificate {
    pub file: PathBuf,
    pub key: PathBuf,
}

impl Authority {
    /// Makes an authority of this name, with its certificate in `folder`.
    pub fn new(folder: &Path, name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().unwrap();
        let file = folder.join(format!("{name}.pem"));
        fs::write(&file, params.self_signed(&key).unwrap().pem()).unwrap();
        Self { issuer: Issuer::new(params, key), folder: folder.to_owned(), file }
    }

    /// A certificate for these host names and addresses, for servers and clients alike.
    pub fn certificate(&self, name: &str, hosts: &[&str]) -> Certificate {
        self.certificate_with(name, hosts, |_| {})
    }

    /// A certificate that has expired.
    pub fn expired(&self, name: &str, hosts: &[&str]) -> Certificate {
        self.certificate_with(name, hosts, |params| params.not_after = date_time_ymd(2020, 1, 1))
    }

    fn certificate_with(&self, name: &str, hosts: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Certificate {
        let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(hosts).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let made =
            Certificate { file: self.folder.join(format!("{name}.pem")), key: self.folder.join(format!("{name}.key")) };
        fs::write(&made.file, certificate.pem()).unwrap();
        fs::write(&made.key, key.serialize_pem()).unwrap();
        made
    }
}

impl Certificate {
    /// TLS with this certificate, for a server.
    pub fn options(&self) -> TlsOptions {
        TlsOptions {
            certificate: self.file.clone(),
            key: self.key.clone(),
            client_authority: None,
            handshake_first: false,
        }
    }
}

/// An operator with one account, which has JetStream.
pub struct Operator {
    operator: KeyPair,
    account: KeyPair,
    system: KeyPair,
}

impl Default for Operator {
    fn default() -> Self {
        Self { operator: KeyPair::new_operator(), account: KeyPair::new_account(), system: KeyPair::new_account() }
    }
}

impl Operator {
    /// The settings of a server that belongs to it.
    pub fn settings(&self) -> ServerSettings {
        let operator = claims(&self.operator, &self.operator, None, json!({"type": "operator"}));
        let account = |key: &KeyPair, jetstream: bool| {
            let mut limits = json!({
                "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": -1
            });
            if jetstream {
                for name in ["mem_storage", "disk_storage", "streams", "consumer", "max_ack_pending"] {
                    limits[name] = json!(-1);
                }
            }
            claims(&self.operator, key, None, json!({"type": "account", "limits": limits}))
        };
        let (services, system) = (self.account.public_key(), self.system.public_key());
        ServerSettings(format!(
            "operator: {operator}\nsystem_account: {system}\nresolver: MEMORY\nresolver_preload: {{\n  {services}: {}\n  \
             {system}: {}\n}}\n",
            account(&self.account, true),
            account(&self.system, false)
        ))
    }

    /// Writes credentials of a new user, which expire at `expires`, in seconds since 1970.
    pub fn write_credentials(&self, file: &Path, expires: Option<u64>) {
        let user = KeyPair::new_user();
        let jwt = claims(&self.account, &user, expires, json!({"type": "user", "subs": -1, "data": -1, "payload": -1}));
        let seed = user.seed().unwrap();
        let text = format!(
            "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n-----BEGIN USER NKEY SEED-----\n{seed}\n\
             ------END USER NKEY SEED------\n"
        );
        // In one step: a process may be reading the file.
        let beside = file.with_extension("new");
        fs::write(&beside, text).unwrap();
        fs::rename(beside, file).unwrap();
    }
}

/// A signed statement of `issuer` about `subject`.
fn claims(issuer: &KeyPair, subject: &KeyPair, expires: Option<u64>, mut nats: Value) -> String {
    nats["version"] = json!(2);
    let mut claims = json!({
        "iat": 1_700_000_000, "iss": issuer.public_key(), "sub": subject.public_key(), "name": "test", "jti": subject.public_key(),
        "nats": nats
    });
    if let Some(expires) = expires {
        claims["exp"] = json!(expires);
    }
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let text = format!("{}.{}", encode(&json!({"typ": "JWT", "alg": "ed25519-nkey"})), encode(&claims));
    let signature = issuer.sign(text.as_bytes()).unwrap();
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
}
