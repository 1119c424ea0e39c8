//! Calling other members: connections, TLS, and the names that every call carries.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use skein_store_rpc::peer::peer_client::PeerClient;
use skein_store_rpc::peer::{MembersReply, MembersRequest};
use tokio::net::TcpStream;
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use super::lock;
use crate::config::TlsConfig;
use crate::net::tls;

/// Metadata of every call: the caller's cluster, the caller, and whom it means to call.
pub(crate) const CLUSTER: &str = "skein-cluster";
pub(crate) const FROM: &str = "skein-from";
pub(crate) const TO: &str = "skein-to";

/// Time for a connection, TLS included: well below an election timeout's worth of waiting would be
/// too short for a busy machine, and nothing else waits for it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Silence after which a connection is probed, and time for the answer: a peer that vanished is
/// given up within three seconds.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// Bytes in flight on one connection: several messages of the largest size.
const WINDOW_BYTES: u32 = 8 << 20;

/// Calls other members on behalf of this one.
pub(crate) struct Caller {
    cluster: u64,
    member: u64,
    dialer: Dialer,
    /// Connections for single calls, by member.
    channels: Mutex<HashMap<u64, Channel>>,
}

impl Caller {
    pub(crate) fn new(cluster: u64, member: u64, dialer: Dialer) -> Self {
        Self { cluster, member, dialer, channels: Mutex::default() }
    }

    /// This member.
    pub(super) fn member(&self) -> u64 {
        self.member
    }

    /// A request that names this member and the one it is for.
    pub(super) fn request<T>(&self, to: u64, body: T) -> Request<T> {
        let mut request = Request::new(body);
        for (name, id) in [(CLUSTER, self.cluster), (FROM, self.member), (TO, to)] {
            let value = AsciiMetadataValue::try_from(format!("{id:x}"));
            request.metadata_mut().insert(name, value.expect("hexadecimal digits are ASCII"));
        }
        request
    }

    /// A fresh connection to the first of the addresses that answers.
    pub(super) async fn connect(&self, urls: &[String]) -> Result<Channel, Status> {
        self.dialer.connect_any(urls).await
    }

    /// A connection that may have been used before.
    pub(super) async fn reach(&self, member: u64, urls: &[String]) -> Result<Channel, Status> {
        if let Some(channel) = lock(&self.channels).get(&member) {
            return Ok(channel.clone());
        }
        let channel = self.connect(urls).await?;
        lock(&self.channels).insert(member, channel.clone());
        Ok(channel)
    }

    /// The connection for single calls to that member broke.
    pub(super) fn forget(&self, member: u64) {
        lock(&self.channels).remove(&member);
    }
}

/// Opens connections to peer addresses. Certificates are read anew for each, so that a renewed one
/// is used without a restart.
#[derive(Clone)]
pub(crate) struct Dialer {
    tls: Option<TlsConfig>,
}

impl Dialer {
    pub(crate) fn new(tls: Option<TlsConfig>) -> Self {
        Self { tls }
    }

    /// Who the members are, from the first of the addresses that answers.
    ///
    /// # Errors
    /// The status of the last one that did not.
    pub(crate) async fn ask_members(&self, urls: &[String]) -> Result<MembersReply, Status> {
        let channel = self.connect_any(urls).await?;
        let reply = PeerClient::new(channel).members(MembersRequest {}).await?;
        Ok(reply.into_inner())
    }

    async fn connect_any(&self, urls: &[String]) -> Result<Channel, Status> {
        let mut last = Status::unavailable("the member has no peer address");
        for url in urls {
            match tokio::time::timeout(CONNECT_TIMEOUT, self.connect(url)).await {
                Ok(Ok(channel)) => return Ok(channel),
                Ok(Err(status)) => last = status,
                Err(_) => last = Status::unavailable(format!("{url}: no answer in time")),
            }
        }
        Err(last)
    }

    async fn connect(&self, url: &str) -> Result<Channel, Status> {
        let failed = |error: &dyn std::error::Error| {
            Status::unavailable(format!("{url}: {}", crate::chain(error)))
        };
        let uri: Uri = url.parse().map_err(|error: http::uri::InvalidUri| failed(&error))?;
        let authority = uri.authority().map(ToString::to_string).unwrap_or_default();
        // The connector speaks TLS by itself; to the channel above every connection is plain.
        let endpoint = Endpoint::from_shared(format!("http://{authority}"));
        let endpoint = endpoint
            .map_err(|error| failed(&error))?
            .http2_keep_alive_interval(PROBE_INTERVAL)
            .keep_alive_timeout(PROBE_TIMEOUT)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .tcp_nodelay(true);
        let dialer = self.clone();
        let connector = tower_service_fn(move || {
            let (dialer, uri) = (dialer.clone(), uri.clone());
            async move { dialer.dial(&uri).await.map(TokioIo::new) }
        });
        endpoint.connect_with_connector(connector).await.map_err(|error| failed(&error))
    }

    async fn dial(&self, uri: &Uri) -> io::Result<Box<dyn Io>> {
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let stream = TcpStream::connect((host, uri.port_u16().unwrap_or(0))).await?;
        stream.set_nodelay(true)?;
        match (uri.scheme_str(), &self.tls) {
            (Some("https"), Some(config)) => {
                let connector = tls::connector(config).map_err(io::Error::other)?;
                let name = rustls::pki_types::ServerName::try_from(host.to_owned());
                let name = name.map_err(io::Error::other)?;
                Ok(Box::new(connector.connect(name, stream).await?))
            }
            (Some("https"), None) => {
                Err(io::Error::other("an https peer address needs --peer-trusted-ca-file"))
            }
            _ => Ok(Box::new(stream)),
        }
    }
}

/// A connection, plain or encrypted.
pub(crate) trait Io: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin {}

impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin> Io for T {}

/// A connector out of a function; the address it is asked for is known to the function already.
fn tower_service_fn<F>(dial: F) -> Connector<F> {
    Connector(Arc::new(dial))
}

struct Connector<F>(Arc<F>);

impl<F, Fut, T> tower_service::Service<Uri> for Connector<F>
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output = io::Result<T>> + Send + 'static,
{
    type Response = T;
    type Error = io::Error;
    type Future = std::pin::Pin<Box<dyn Future<Output = io::Result<T>> + Send>>;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Self::Error>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let dial = Arc::clone(&self.0);
        Box::pin(async move { dial().await })
    }
}
