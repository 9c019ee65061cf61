//! Files of TLS, looked at before the first connection: what is wrong with them is told by name then.

use super::files::{FileError, FileProblem, read_file};
use super::plan::TlsPlan;
use async_nats::ConnectOptions;
use async_nats::rustls::pki_types::pem::PemObject;
use async_nats::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use async_nats::rustls::{ClientConfig, Error as TlsError, RootCertStore};

/// Checks that the files of `plan` hold what they should.
///
/// # Errors
/// The first file that does not.
pub(super) async fn check(plan: &TlsPlan) -> Result<(), FileError> {
    let mut authorities = RootCertStore::empty();
    if let Some(path) = &plan.authorities {
        let problem = FileError { setting: "--nats-ca", path: path.clone(), problem: FileProblem::NoCertificate };
        let certificates = certificates(&read_file("--nats-ca", path).await?);
        for certificate in certificates.ok_or_else(|| problem.clone())? {
            authorities.add(certificate).map_err(|_| problem.clone())?;
        }
    }
    let Some((certificate, key)) = &plan.client else { return Ok(()) };
    let chain = certificates(&read_file("--nats-cert", certificate).await?).ok_or_else(|| FileError {
        setting: "--nats-cert",
        path: certificate.clone(),
        problem: FileProblem::NoCertificate,
    })?;
    let key_error = |problem| FileError { setting: "--nats-key", path: key.clone(), problem };
    let private = PrivateKeyDer::from_pem_slice(&read_file("--nats-key", key).await?)
        .map_err(|_| key_error(FileProblem::NoKey))?;
    match ClientConfig::builder().with_root_certificates(authorities).with_client_auth_cert(chain, private) {
        Ok(_) => Ok(()),
        Err(TlsError::InconsistentKeys(_)) => {
            Err(key_error(FileProblem::OtherKey { certificate: certificate.clone() }))
        }
        Err(_) => Err(key_error(FileProblem::NoKey)),
    }
}

/// The certificates of a PEM file; none when it has none, or one that cannot be read.
fn certificates(pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    certificates.ok().filter(|certificates| !certificates.is_empty())
}

/// Has the client library use TLS as `plan` says. It reads the files again at every connection.
pub(super) fn apply(mut connect: ConnectOptions, plan: &TlsPlan) -> ConnectOptions {
    connect = connect.require_tls(plan.required);
    if plan.first {
        connect = connect.tls_first();
    }
    if let Some(authorities) = &plan.authorities {
        // The library then leaves out the system's authorities, and needs none of them.
        connect = connect.add_root_certificates(authorities.clone());
    }
    if let Some((certificate, key)) = &plan.client {
        connect = connect.add_client_certificate(certificate.clone(), key.clone());
    }
    if !plan.trusts_discovered_servers() {
        connect = connect.ignore_discovered_servers();
    }
    connect
}
