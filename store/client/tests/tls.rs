//! TLS and client certificates against a real etcd.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use skein_store_client::testing::{StoreProcess, StoreTls};
use skein_store_client::{ClientError, Session, SessionConfig, TlsConfig};

struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    dir: tempfile::TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, dir }
    }

    fn ca(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// Issues a certificate; returns the paths of certificate and key.
    fn issue(&self, name: &str, usage: &[ExtendedKeyUsagePurpose]) -> (PathBuf, PathBuf) {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names).unwrap();
        params.extended_key_usages = usage.to_vec();
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        let file = |suffix: &str| self.dir.path().join(format!("{name}{suffix}"));
        fs::write(file(".pem"), cert.pem()).unwrap();
        fs::write(file(".key"), key.serialize_pem()).unwrap();
        (file(".pem"), file(".key"))
    }
}

fn config(store: &StoreProcess, tls: Option<TlsConfig>) -> SessionConfig {
    let mut config = SessionConfig::new([store.endpoint()]);
    config.tls = tls;
    config.request_timeout = std::time::Duration::from_secs(3);
    config
}

fn tls(ca: &Path, identity: Option<&(PathBuf, PathBuf)>) -> Option<TlsConfig> {
    let (cert, key) = (identity.map(|pair| &*pair.0), identity.map(|pair| &*pair.1));
    Some(TlsConfig::from_files(ca, cert, key).unwrap())
}

#[tokio::test]
async fn only_the_right_certificates_open_the_store() {
    use ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
    let authority = Authority::new();
    // etcd's own gateway connects to itself as a client.
    let (cert, key) = authority.issue("server", &[ServerAuth, ClientAuth]);
    let files = StoreTls { ca: authority.ca(), cert, key };
    let store = StoreProcess::etcd_with_tls(files).unwrap();
    let client = authority.issue("client", &[ClientAuth]);

    let session = Session::connect(config(&store, tls(&authority.ca(), Some(&client)))).await;
    session.unwrap().put("a/1", "1", None).await.unwrap();

    let stranger = Authority::new();
    for wrong in [
        None,
        tls(&authority.ca(), None),
        tls(&stranger.ca(), Some(&client)),
        tls(&authority.ca(), Some(&stranger.issue("client", &[ClientAuth]))),
    ] {
        let error = Session::connect(config(&store, wrong)).await.unwrap_err();
        assert!(matches!(error, ClientError::Unavailable { .. }), "{error}");
    }
}

#[test]
fn a_certificate_needs_its_key() {
    let authority = Authority::new();
    let error = TlsConfig::from_files(&authority.ca(), Some(&authority.ca()), None).unwrap_err();
    assert!(error.to_string().contains("needs its key"), "{error}");
    let error = TlsConfig::from_files(Path::new("/none.pem"), None, None).unwrap_err();
    assert!(error.to_string().contains("/none.pem"), "{error}");
}
