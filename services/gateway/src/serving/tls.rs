//! TLS by certificate files.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Where certificate and key are.
#[derive(Clone, Debug)]
pub(crate) struct TlsFiles {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// Why TLS cannot be served. Nothing of the key is repeated.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot read the certificate {path:?} (--http-cert): {reason}")]
    Certificate { path: PathBuf, reason: String },
    #[error("cannot read the private key {path:?} (--http-key): {reason}")]
    Key { path: PathBuf, reason: String },
    #[error("certificate and private key do not fit together: {0}")]
    Pair(tokio_rustls::rustls::Error),
}

impl TlsFiles {
    /// Reads both.
    ///
    /// # Errors
    /// When one cannot be read, or they do not fit together.
    pub(crate) fn acceptor(&self) -> Result<TlsAcceptor, TlsError> {
        let chain = chain(&self.certificate)
            .map_err(|reason| TlsError::Certificate { path: self.certificate.clone(), reason })?;
        let key = PrivateKeyDer::from_pem_file(&self.key)
            .map_err(|error| TlsError::Key { path: self.key.clone(), reason: error.to_string() })?;
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
            .map_err(TlsError::Pair)?;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

fn chain(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(file).map_err(|error| error.to_string())?;
    let chain: Vec<_> = read.collect::<Result<_, _>>().map_err(|error| error.to_string())?;
    match chain.is_empty() {
        true => Err("it holds no certificate in PEM".to_owned()),
        false => Ok(chain),
    }
}
