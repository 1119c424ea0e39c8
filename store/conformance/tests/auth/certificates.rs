//! Client certificates whose common names are users.

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use skein_store_conformance::peers;
use skein_store_conformance::process::Process;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use super::CHEAP;
use super::client::Caller;

const DENIED: &str = "etcdserver: permission denied";

struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// A certificate and its key, for 127.0.0.1 and with this common name.
    fn issue(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("parameters");
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "root");
        if !name.is_empty() {
            params.distinguished_name.push(DnType::CommonName, name);
        }
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        (certificate.pem(), key.serialize_pem())
    }

    fn connect(&self, store: &Process, name: &str) -> Channel {
        let (certificate, key) = self.issue(name);
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(&self.pem))
            .identity(Identity::from_pem(certificate, key));
        let url = format!("https://{}", store.secure_address().expect("listens with TLS"));
        let endpoint = Endpoint::from_shared(url).expect("a URL").tls_config(tls);
        endpoint.expect("certificates").connect_lazy()
    }
}

fn write(dir: &Path, name: &str, text: &str) -> String {
    let path = dir.join(name);
    std::fs::write(&path, text).expect("writable");
    path.to_str().expect("UTF-8").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_common_name_is_a_user_unless_a_token_says_otherwise() {
    let dir = tempfile::tempdir().expect("a directory");
    let authority = Authority::new();
    let (certificate, key) = authority.issue("server");
    let flags = [
        CHEAP.to_owned(),
        format!("--cert-file={}", write(dir.path(), "server.pem", &certificate)),
        format!("--key-file={}", write(dir.path(), "server.key", &key)),
        format!("--trusted-ca-file={}", write(dir.path(), "ca.pem", &authority.pem)),
    ];
    let etcd = peers::tool("etcd").expect("etcd");
    let skein = peers::skein_store().expect("builds");
    for program in [&etcd, &skein] {
        for names_count in [true, false] {
            let asked = format!("--client-cert-auth={names_count}");
            let flags: Vec<&str> = flags.iter().chain([&asked]).map(String::as_str).collect();
            let store = Process::start_secure(program, &flags).await.expect("starts");
            let caller = |name: &str| Caller::over(authority.connect(&store, name));
            caller("root").enable().await.expect("nobody is asked yet");
            if !names_count {
                let empty = Err("etcdserver: user name is empty".to_owned());
                assert_eq!(caller("alice").get("a").await, empty, "{program:?}");
                continue;
            }
            caller("alice").put("a", 0).await.expect("alice may");
            assert_eq!(caller("alice").get("a").await, Ok(1), "{program:?}");
            assert_eq!(caller("alice").get("x").await, Err(DENIED.into()), "{program:?}");
            assert_eq!(caller("root").get("x").await, Ok(0), "{program:?}");
            assert_eq!(caller("stranger").get("a").await, Err(DENIED.into()), "{program:?}");
            assert_eq!(caller("").get("a").await, Err(DENIED.into()), "{program:?}");
            let token = caller("").authenticate("alice", "alice").await.expect("right");
            let both = caller("root").with_token(&token);
            assert_eq!(both.get("x").await, Err(DENIED.into()), "{program:?}");
            let invalid = Err("etcdserver: invalid auth token".to_owned());
            assert_eq!(caller("root").with_token("wrong.1").get("x").await, invalid, "{program:?}");
        }
    }
}
