//! TLS from certificate files, which may be renewed while the member runs.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoClientAuth, WebPkiClientVerifier, danger::ClientCertVerifier};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use thiserror::Error;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::config::TlsConfig;

/// The certificates cannot be used.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file does not hold what it should.
    #[error("cannot read {what} from {}", path.display())]
    Pem {
        /// What was looked for.
        what: &'static str,
        /// In which file.
        path: PathBuf,
        /// Why not.
        source: rustls::pki_types::pem::Error,
    },
    /// Certificate and key do not fit together, or cannot be used at all.
    #[error("the certificate and key cannot be used")]
    Unusable(#[source] rustls::Error),
    /// No client can be verified against the trusted authorities.
    #[error("the trusted authorities cannot be used")]
    Authorities(#[source] rustls::server::VerifierBuilderError),
}

/// Least time between two looks at the files' dates.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// An acceptor that follows its files: a renewed certificate, or authority, counts for every
/// connection from then on. Files that cannot be used leave the former ones in force.
pub(crate) struct Acceptor {
    config: TlsConfig,
    current: Mutex<Current>,
}

struct Current {
    acceptor: TlsAcceptor,
    dates: Vec<Option<SystemTime>>,
    looked: Instant,
}

impl Acceptor {
    pub(crate) fn new(config: &TlsConfig) -> Result<Arc<Self>, TlsError> {
        let dates = dates(config);
        let current = Current { acceptor: acceptor(config)?, dates, looked: Instant::now() };
        Ok(Arc::new(Self { config: config.clone(), current: Mutex::new(current) }))
    }

    /// For the next connection.
    pub(crate) fn current(&self) -> TlsAcceptor {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.looked.elapsed() >= LOOK_INTERVAL {
            current.looked = Instant::now();
            let dates = dates(&self.config);
            if dates != current.dates {
                match acceptor(&self.config) {
                    Ok(fresh) => {
                        tracing::info!("certificates were renewed");
                        (current.acceptor, current.dates) = (fresh, dates);
                    }
                    Err(error) => {
                        let error = crate::chain(&error);
                        tracing::warn!(error, "renewed certificates cannot be used yet");
                    }
                }
            }
        }
        current.acceptor.clone()
    }
}

fn dates(config: &TlsConfig) -> Vec<Option<SystemTime>> {
    let files = [Some(&config.cert_file), Some(&config.key_file), config.trusted_ca_file.as_ref()];
    let changed = |path: &PathBuf| std::fs::metadata(path).and_then(|meta| meta.modified()).ok();
    files.into_iter().flatten().map(changed).collect()
}

/// A connector towards peers: trusts the given authorities alone, shows the given certificate.
pub(crate) fn connector(config: &TlsConfig) -> Result<TlsConnector, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Unusable)?
        .with_root_certificates(authorities(config.trusted_ca_file.as_deref())?)
        .with_client_auth_cert(certificates(&config.cert_file)?, private_key(config)?)
        .map_err(TlsError::Unusable)?;
    client.alpn_protocols = vec![b"h2".to_vec()];
    Ok(TlsConnector::from(Arc::new(client)))
}

fn private_key(config: &TlsConfig) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(&config.key_file).map_err(pem("a private key", &config.key_file))
}

fn authorities(file: Option<&Path>) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in file.map(certificates).transpose()?.into_iter().flatten() {
        roots.add(certificate).map_err(TlsError::Unusable)?;
    }
    Ok(roots)
}

/// An acceptor that offers HTTP/2 and HTTP/1.1, and demands client certificates when authorities
/// are given.
fn acceptor(config: &TlsConfig) -> Result<TlsAcceptor, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Unusable)?
        .with_client_cert_verifier(client_verifier(config, provider)?)
        .with_single_cert(certificates(&config.cert_file)?, private_key(config)?)
        .map_err(TlsError::Unusable)?;
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(server)))
}

fn client_verifier(
    config: &TlsConfig,
    provider: Arc<rustls::crypto::CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    if config.trusted_ca_file.is_none() {
        return Ok(Arc::new(NoClientAuth));
    }
    let roots = Arc::new(authorities(config.trusted_ca_file.as_deref())?);
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
    verifier.build().map_err(TlsError::Authorities)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found =
        CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match found {
        Ok(found) if found.is_empty() => {
            Err(pem("a certificate", path)(rustls::pki_types::pem::Error::NoItemsFound))
        }
        other => other.map_err(pem("a certificate", path)),
    }
}

fn pem(what: &'static str, path: &Path) -> impl FnOnce(rustls::pki_types::pem::Error) -> TlsError {
    let path = path.to_owned();
    move |source| TlsError::Pem { what, path, source }
}
