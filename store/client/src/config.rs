//! Where the store is and how long to wait for it.

use std::path::Path;
use std::time::Duration;

use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

use crate::error::ClientError;

/// Time for one TCP and TLS handshake. A host that is up answers within a round trip; a black hole must
/// not hold back the next endpoint for long.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Time for one request with all its repeats. Above etcd's own 7 s for a request that waits for a leader,
/// so that the server's answer is what callers usually see.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(8);
/// Between HTTP/2 pings on a connection; etcd closes connections that ping more often than every 5 s.
const PING_INTERVAL: Duration = Duration::from_secs(10);
/// How long a ping may stay unanswered before the connection counts as dead.
const PING_TIMEOUT: Duration = Duration::from_secs(5);
/// The first wait before connecting again, before jitter.
const RECONNECT_MIN: Duration = Duration::from_millis(50);
/// The longest wait before connecting again, before jitter, which makes each wait one to two times as
/// long: a herd of 10,000 agents is then some 2,000 attempts a second.
const RECONNECT_MAX: Duration = Duration::from_secs(3);
/// About how long a session stays away from its home endpoint before it tries to return: half to one and a
/// half times this. Longer than a member's restart, so that a rolling restart moves a session once, and
/// long enough that the 3,300 sessions of one member in three of 10,000 return as 55 a second.
const REBALANCE: Duration = Duration::from_secs(60);

/// Certificates, all PEM.
#[derive(Debug, Clone, Default)]
pub struct TlsConfig {
    /// Authorities that may have signed the server's certificate.
    pub ca: Vec<u8>,
    /// Our certificate and its key, where the server asks for one.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
    /// The name to expect in the server's certificate instead of the endpoint's host.
    pub server_name: Option<String>,
}

impl TlsConfig {
    /// Reads the files that `--cacert`, `--cert` and `--key` name.
    ///
    /// # Errors
    /// [`ClientError::Config`] when a file cannot be read or only one of certificate and key is given.
    pub fn from_files(
        ca: &Path,
        cert: Option<&Path>,
        key: Option<&Path>,
    ) -> Result<Self, ClientError> {
        let read = |path: &Path| {
            let refused = |error| ClientError::config(format!("{}: {error}", path.display()));
            std::fs::read(path).map_err(refused)
        };
        let identity = match (cert, key) {
            (Some(cert), Some(key)) => Some((read(cert)?, read(key)?)),
            (None, None) => None,
            _ => {
                return Err(ClientError::config(
                    "a certificate needs its key, and a key its certificate",
                ));
            }
        };
        Ok(Self { ca: read(ca)?, identity, server_name: None })
    }
}

/// Where the store is and how long to wait for it. Times have defaults that fit a data centre.
#[derive(Debug, Clone)]
pub struct SessionConfig {
    /// `host:port`, `http://host:port` or `https://host:port`, each a member of the same store.
    pub endpoints: Vec<String>,
    /// TLS; endpoints without a scheme then mean `https`.
    pub tls: Option<TlsConfig>,
    /// User and password, where the store has authentication enabled.
    pub user: Option<(String, String)>,
    /// Time for one handshake.
    pub connect_timeout: Duration,
    /// Time for one request with all its repeats.
    pub request_timeout: Duration,
    /// Bounds of the doubling wait before connecting again; jitter makes it one to two times as long.
    pub reconnect: (Duration, Duration),
    /// About how long to stay with another endpoint before returning to the session's own; half to one
    /// and a half times this.
    pub rebalance: Duration,
    /// How often to ask the store for its member list and use what it says instead of `endpoints`, which
    /// then are tried last; none for never.
    pub member_refresh: Option<Duration>,
}

impl SessionConfig {
    /// The defaults for some endpoints.
    pub fn new<E: Into<String>>(endpoints: impl IntoIterator<Item = E>) -> Self {
        Self {
            endpoints: endpoints.into_iter().map(Into::into).collect(),
            tls: None,
            user: None,
            connect_timeout: CONNECT_TIMEOUT,
            request_timeout: REQUEST_TIMEOUT,
            reconnect: (RECONNECT_MIN, RECONNECT_MAX),
            rebalance: REBALANCE,
            member_refresh: None,
        }
    }

    /// Finds what cannot work in any endpoint.
    pub(crate) fn check(&self) -> Result<(), ClientError> {
        if self.endpoints.is_empty() {
            return Err(ClientError::config("no endpoint given"));
        }
        self.endpoints.iter().try_for_each(|endpoint| self.transport(endpoint).map(|_| ()))
    }

    /// The endpoint with its scheme, by which two spellings of one are known as the same.
    pub(crate) fn url(&self, endpoint: &str) -> String {
        let endpoint = endpoint.trim().trim_end_matches('/');
        match (endpoint.contains("://"), &self.tls) {
            (true, _) => endpoint.to_owned(),
            (false, Some(_)) => format!("https://{endpoint}"),
            (false, None) => format!("http://{endpoint}"),
        }
    }

    /// How to reach an endpoint.
    pub(crate) fn transport(&self, endpoint: &str) -> Result<Endpoint, ClientError> {
        let refused = |why: &str| ClientError::config(format!("endpoint {endpoint:?}: {why}"));
        let url = self.url(endpoint);
        let secure = url.starts_with("https://");
        if !secure && !url.starts_with("http://") {
            return Err(refused("only http:// and https:// are known"));
        }
        if !secure && self.tls.is_some() {
            return Err(refused("certificates were given, but it says http://"));
        }
        let transport = Endpoint::from_shared(url)
            .map_err(|error| refused(&error.to_string()))?
            .connect_timeout(self.connect_timeout)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .keep_alive_while_idle(true);
        if !secure {
            return Ok(transport);
        }
        let tls = self.tls.as_ref().ok_or_else(|| refused("https:// needs certificates"))?;
        transport.tls_config(tls_config(tls)).map_err(|error| refused(&error.to_string()))
    }
}

fn tls_config(tls: &TlsConfig) -> ClientTlsConfig {
    let mut config = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&tls.ca));
    if let Some((cert, key)) = &tls.identity {
        config = config.identity(Identity::from_pem(cert, key));
    }
    match &tls.server_name {
        Some(name) => config.domain_name(name),
        None => config,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_checked_before_use() {
        let refused = |config: SessionConfig| config.check().unwrap_err().to_string();
        assert!(refused(SessionConfig::new(Vec::<String>::new())).contains("no endpoint"));
        assert!(refused(SessionConfig::new(["ftp://a:1"])).contains("only http"));
        assert!(refused(SessionConfig::new(["https://a:1"])).contains("needs certificates"));
        assert!(refused(SessionConfig::new(["a b:1"])).contains("a b:1"));
        let mut tls = SessionConfig::new(["http://a:1"]);
        tls.tls = Some(TlsConfig::default());
        assert!(refused(tls).contains("says http"));
        assert!(SessionConfig::new(["a:1", "http://b:2"]).check().is_ok());
    }

    #[test]
    fn an_endpoint_is_known_by_its_url() {
        let config = SessionConfig::new(["a:1"]);
        assert_eq!(config.url(" a:1"), config.url("http://a:1/"));
    }
}
