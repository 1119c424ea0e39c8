//! Listening: TCP, TLS, HTTP/1.1 and HTTP/2 on one port.

pub(crate) mod admission;
mod first_bytes;
mod gather;
pub(crate) mod tls;
mod together;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use nix::sys::socket::{setsockopt, sockopt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio_rustls::TlsAcceptor;

use crate::config::ListenUrl;
use crate::state::ConnectionId;
use admission::{Admission, Trouble};
use first_bytes::FirstBytes;
use gather::Gather;
use together::{Begun, Together};

/// Time for a TLS handshake, so that silent peers do not gather.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Time for open requests to end after a stop was asked for.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// Pause after an accept failed, most often for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Idle time after which a connection is probed, and time for the answer; as etcd.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2 * 60 * 60);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// Silence after which the kernel probes a connection and time between probes, in seconds, and how
/// many may stay unanswered: a peer that vanished is noticed within three minutes, as by etcd.
const TCP_KEEPALIVE_SECONDS: u32 = 15;
const TCP_KEEPALIVE_PROBES: u32 = 9;

/// Bytes that one HTTP/2 stream may have in flight towards this server: a whole request of the
/// default size limit in one go.
const STREAM_WINDOW_BYTES: u32 = 2 << 20;

/// The same for all streams of one connection.
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;

/// Bytes that wait for one stream's reader before its producer is paused.
const SEND_BUFFER_BYTES: usize = 256 << 10;

/// Metadata of one request, in bytes.
const MAX_HEADER_BYTES: u32 = 16 << 10;

/// What answers requests. Cloned for each connection.
pub(crate) trait App: Clone + Send + Sync + 'static {
    /// Answers one request; errors are answers too.
    fn answer(
        &self,
        request: Request<Incoming>,
    ) -> impl Future<Output = Response<tonic::body::Body>> + Send;
}

/// A bound address.
pub(crate) struct Listener {
    socket: TcpListener,
    tls: Option<Arc<tls::Acceptor>>,
    /// What was asked for.
    pub(crate) url: ListenUrl,
    /// What was taken.
    pub(crate) address: SocketAddr,
}

impl Listener {
    /// Takes the address.
    pub(crate) async fn bind(url: ListenUrl, tls: Option<&Arc<tls::Acceptor>>) -> io::Result<Self> {
        let socket = TcpListener::bind(url.address).await?;
        let address = socket.local_addr()?;
        let tls = if url.tls { tls.cloned() } else { None };
        Ok(Self { socket, tls, url, address })
    }

    /// Serves until `stop` becomes true, then lets open requests end for a short while.
    pub(crate) async fn serve<A: App>(
        self,
        app: A,
        max_streams: u32,
        admission: Admission,
        mut stop: watch::Receiver<bool>,
    ) {
        let connections = GracefulShutdown::new();
        let (mut crowded, mut refused) = (Trouble::default(), Trouble::default());
        loop {
            let (place, accepted) = tokio::select! {
                // Dropping an accept loses no connection: the kernel keeps it queued.
                _ = stop.wait_for(|stop| *stop) => break,
                next = self.next(&admission, &mut crowded) => next,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    refused.log(&format!("cannot accept connections: {error}"));
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let watcher = connections.watcher();
            let tls = self.tls.as_ref().map(|tls| tls.current());
            let app = app.clone();
            tokio::spawn(async move {
                // A connection that breaks is its client's business.
                drop(connection(stream, tls, max_streams, app, watcher).await);
                drop(place);
            });
        }
        drop(tokio::time::timeout(DRAIN_TIMEOUT, connections.shutdown()).await);
    }

    /// The next connection, with its place.
    async fn next(
        &self,
        admission: &Admission,
        crowded: &mut Trouble,
    ) -> (OwnedSemaphorePermit, io::Result<(TcpStream, SocketAddr)>) {
        let place = admission.enter(crowded).await;
        (place, self.socket.accept().await)
    }
}

async fn connection<A: App>(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    max_streams: u32,
    app: A,
    watcher: hyper_util::server::graceful::Watcher,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    stream.set_nodelay(true)?;
    keep_alive(&stream)?;
    let id = ConnectionId::fresh();
    let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(id);
        let app = app.clone();
        async move { Ok::<_, Infallible>(app.answer(request).await) }
    });
    let begun = Begun::default();
    let server = http_server(max_streams, begun.clone());
    match tls {
        None => {
            let stream = Gather::new(FirstBytes::new(stream));
            let serving = server.serve_connection(TokioIo::new(stream.clone()), service);
            Together::new(watcher.watch(serving.into_owned()), begun, stream).await
        }
        Some(tls) => {
            let stream = tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await??;
            let stream = Gather::new(FirstBytes::new(stream));
            let serving = server.serve_connection(TokioIo::new(stream.clone()), service);
            Together::new(watcher.watch(serving.into_owned()), begun, stream).await
        }
    }
}

fn keep_alive(stream: &TcpStream) -> nix::Result<()> {
    setsockopt(stream, sockopt::KeepAlive, &true)?;
    setsockopt(stream, sockopt::TcpKeepIdle, &TCP_KEEPALIVE_SECONDS)?;
    setsockopt(stream, sockopt::TcpKeepInterval, &TCP_KEEPALIVE_SECONDS)?;
    setsockopt(stream, sockopt::TcpKeepCount, &TCP_KEEPALIVE_PROBES)
}

fn http_server(max_streams: u32, begun: Begun) -> auto::Builder<Begun> {
    let mut server = auto::Builder::new(begun);
    server.http1().timer(TokioTimer::new());
    server
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(max_streams)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .max_header_list_size(MAX_HEADER_BYTES)
        .keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT);
    server
}
