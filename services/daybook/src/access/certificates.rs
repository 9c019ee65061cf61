//! A private authority and a certificate of the servers, for trying things out.

use super::folder::{AccessFolder, SERVERS};
use anyhow::Context as _;
use daybook_access::config::Tls;
use daybook_runtime::clock;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};
use std::path::Path;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);
/// How long the authority lasts.
const AUTHORITY_DAYS: u32 = 3_650;
/// How long a server's certificate lasts: what clients accept of public ones, too.
const SERVER_DAYS: u32 = 398;
const AUTHORITY_KEY: &str = "ca.key";

/// Makes a certificate for these host names and addresses, from the folder's own authority, which is made when it is not
/// there. Clients need `servers/tls/ca.pem`.
///
/// # Errors
/// When a name cannot stand in a certificate, or a file cannot be written.
pub fn make(folder: &AccessFolder, hosts: &[String], first: bool) -> anyhow::Result<Tls> {
    let folder_name = Path::new(SERVERS).join("tls");
    let [ca, cert, key] = ["ca.pem", "cert.pem", "key.pem"].map(|name| folder_name.join(name));
    let authority = match folder.read(AUTHORITY_KEY)? {
        Some(text) => KeyPair::from_pem(&text).with_context(|| folder.file(AUTHORITY_KEY).display().to_string())?,
        None => KeyPair::generate()?,
    };
    let mut params = CertificateParams::default();
    lasting(&mut params, AUTHORITY_DAYS);
    params.distinguished_name.push(DnType::CommonName, "Daybook private authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    // Repeated, it keeps the authority's certificate: clients have it.
    if folder.read(AUTHORITY_KEY)?.is_none() || folder.read(&ca)?.is_none() {
        folder.write(AUTHORITY_KEY, &authority.serialize_pem())?;
        folder.write(&ca, &params.self_signed(&authority)?.pem())?;
    }
    let issuer = Issuer::new(params, authority);
    let own = KeyPair::generate()?;
    let mut params = CertificateParams::new(hosts.to_vec()).context("a host name cannot stand in a certificate")?;
    lasting(&mut params, SERVER_DAYS);
    params.distinguished_name.push(DnType::CommonName, "Daybook NATS server");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    // Servers of a cluster are each other's clients.
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    folder.write(&cert, &params.signed_by(&own, &issuer)?.pem())?;
    folder.write(&key, &own.serialize_pem())?;
    let text = |name: &Path| folder.file(name).display().to_string();
    Ok(Tls { cert: text(&cert), key: text(&key), ca: text(&ca), first })
}

/// From yesterday, for clocks that differ, to so many days from now.
fn lasting(params: &mut CertificateParams, days: u32) {
    let now = u64::try_from(clock::now().as_millis()).unwrap_or_default();
    let now = date_time_ymd(1970, 1, 1) + Duration::from_millis(now);
    params.not_before = now - DAY;
    params.not_after = now + days * DAY;
}
