//! Starting, embedding and stopping one member.

mod opened;
mod publish;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread::JoinHandle;

use skein_store_api::limits::GRPC_OVERHEAD_BYTES;
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::app::{ClientApp, MetricsApp};
use crate::auth::{Authenticator, KeyError};
use crate::cluster::ClusterError;
use crate::compactor;
use crate::config::{ConfigError, ListenUrl, MemberConfig};
use crate::core::{Core, Limits, MemberInfo, stopped};
use crate::data_dir::{DataDir, DataDirError, Identity};
use crate::driver::{Driver, DriverError};
use crate::gateway::GatewayError;
use crate::integrity;
use crate::net::admission::Admission;
use crate::net::tls::{Acceptor, TlsError};
use crate::net::{Http2, Listener};
use crate::overload::Overload;
use crate::peer::app::PeerApp;
use crate::quota::Quota;
use crate::replica::OpenError;
use crate::versions;
use opened::Opened;

/// A member could not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The configuration cannot work.
    #[error("the configuration cannot work")]
    Config(#[from] ConfigError),
    /// The flags describe no cluster for this member.
    #[error("the cluster cannot be set up")]
    Cluster(#[from] ClusterError),
    /// No member of the cluster to join answered.
    #[error("no member of the cluster answered")]
    Join(#[source] tonic::Status),
    /// The data directory cannot be used.
    #[error("the data directory cannot be used")]
    DataDir(#[from] DataDirError),
    /// What it holds cannot be used.
    #[error("the data cannot be used")]
    Open(#[from] OpenError),
    /// What the log holds cannot be applied.
    #[error("the log cannot be applied")]
    Driver(#[from] DriverError),
    /// A certificate cannot be used.
    #[error("TLS cannot be set up")]
    Tls(#[from] TlsError),
    /// A key of tokens cannot be used.
    #[error("--auth-token cannot work")]
    Key(#[from] KeyError),
    /// An address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// The JSON gateway does not fit the services.
    #[error(transparent)]
    Gateway(#[from] GatewayError),
    /// The operating system gave no thread.
    #[error("cannot start a thread")]
    Thread(#[source] std::io::Error),
}

/// A running member.
///
/// Dropping it stops it without waiting; [`Member::shutdown`] waits, and says how it went.
pub struct Member {
    core: Arc<Core>,
    clients: Vec<(ListenUrl, SocketAddr)>,
    metrics: Vec<SocketAddr>,
    peers: Vec<SocketAddr>,
    known: watch::Receiver<bool>,
    stop: watch::Sender<bool>,
    serving: JoinSet<()>,
    driver: Option<JoinHandle<Result<(), DriverError>>>,
    failed: watch::Receiver<bool>,
}

impl Member {
    /// Starts a member: locks and reads its data, finds its cluster, and serves. A member that votes
    /// alone leads already when this returns; of others [`Member::ready`] tells.
    ///
    /// # Errors
    /// See [`StartError`]; nothing is left running then.
    pub async fn start(config: MemberConfig) -> Result<Self, StartError> {
        config.check()?;
        let auth = Authenticator::new(&config.auth)?;
        let acceptor = config.tls.as_ref().map(Acceptor::new).transpose()?;
        let peer_acceptor = config.peer_tls.as_ref().map(Acceptor::new).transpose()?;
        let listeners = Listeners {
            clients: bind(&config.listen_client_urls, acceptor.as_ref()).await?,
            metrics: bind(&config.listen_metrics_urls, acceptor.as_ref()).await?,
            peers: bind(&config.listen_peer_urls, peer_acceptor.as_ref()).await?,
        };
        let dir = DataDir::lock(&config.data_dir)?;
        let identity = opened::identity(&config, &dir).await?;
        // Replaying a long log takes time that the runtime's threads do not have.
        let opened = {
            let (config, runtime) = (config.clone(), Handle::current());
            let open = move || Opened::open(&config, dir, identity, runtime);
            tokio::task::spawn_blocking(open).await
        };
        let opened = opened.map_err(|error| StartError::Thread(error.into()))??;
        serve(opened, auth, &config, listeners)
    }

    /// Returns once the cluster knows this member's addresses, for which it needs a leader; or when
    /// the member stopped before.
    pub async fn ready(&self) {
        let mut known = self.known.clone();
        // An error means that the member is gone.
        let _ = known.wait_for(|known| *known).await;
    }

    /// Where clients are served, with the ports really taken.
    pub fn client_addresses(&self) -> Vec<SocketAddr> {
        self.clients.iter().map(|(_, address)| *address).collect()
    }

    /// The same as URLs, for an etcd client's endpoints.
    pub fn client_urls(&self) -> Vec<String> {
        self.clients.iter().map(|(url, address)| url.url(*address)).collect()
    }

    /// Where `/metrics` and `/health` are served besides, with the ports really taken.
    pub fn metrics_addresses(&self) -> Vec<SocketAddr> {
        self.metrics.clone()
    }

    /// Where other members are served, with the ports really taken.
    pub fn peer_addresses(&self) -> Vec<SocketAddr> {
        self.peers.clone()
    }

    /// The cluster's id, the same in the header of every answer for ever.
    pub fn cluster_id(&self) -> u64 {
        self.core.member.cluster_id
    }

    /// This member's id.
    pub fn member_id(&self) -> u64 {
        self.core.member.id
    }

    /// The newest applied revision.
    pub fn revision(&self) -> i64 {
        self.core.state.revision()
    }

    /// Returns when the member has stopped by itself, because its disk failed or its data is
    /// damaged. [`Member::shutdown`] then says why.
    pub async fn failed(&self) {
        let mut failed = self.failed.clone();
        // An error means that the driver is gone, which is what is waited for.
        let _ = failed.wait_for(|failed| *failed).await;
    }

    /// Stops: ends streams, lets open requests finish for a short while, writes what is owed to
    /// the log and releases the data directory.
    ///
    /// # Errors
    /// Why the member had stopped by itself, or why the log could not be closed.
    pub async fn shutdown(mut self) -> Result<(), DriverError> {
        self.stop.send_replace(true);
        while self.serving.join_next().await.is_some() {}
        self.core.inbox.stop();
        let Some(driver) = self.driver.take() else { return Ok(()) };
        match tokio::task::spawn_blocking(move || driver.join()).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(panic)) => std::panic::resume_unwind(panic),
            // The runtime itself is going away.
            Err(_) => Ok(()),
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        self.core.inbox.stop();
    }
}

async fn bind(
    urls: &[ListenUrl],
    acceptor: Option<&Arc<Acceptor>>,
) -> Result<Vec<Listener>, StartError> {
    let mut bound = Vec::with_capacity(urls.len());
    for url in urls {
        let listener = Listener::bind(*url, acceptor).await;
        bound.push(listener.map_err(|source| StartError::Listen { address: url.address, source })?);
    }
    Ok(bound)
}

/// Addresses taken, nothing served yet.
struct Listeners {
    clients: Vec<Listener>,
    metrics: Vec<Listener>,
    peers: Vec<Listener>,
}

fn serve(
    opened: Opened,
    auth: Authenticator,
    config: &MemberConfig,
    listeners: Listeners,
) -> Result<Member, StartError> {
    let (stop, stopping) = watch::channel(false);
    let addresses: Vec<_> = listeners.clients.iter().map(|l| (l.url, l.address)).collect();
    let core = Arc::new(Core {
        member: member_info(config, &opened.identity, &addresses),
        limits: limits(config),
        metrics: Arc::clone(&opened.state.metrics),
        state: opened.state,
        inbox: opened.inbox,
        peers: opened.peers,
        scratch_dir: opened.dir.snapshots(),
        sequence: AtomicU64::new(opened.incarnation),
        auth,
        quota: Quota::new(config.quota_backend_bytes),
        overload: Overload::new(config.max_request_bytes + GRPC_OVERHEAD_BYTES),
        stopping: stopping.clone(),
    });
    let (driver, failed) = spawn_driver(opened.driver, opened.dir)?;
    let mut serving = JoinSet::new();
    let metrics = listeners.metrics.iter().map(|listener| listener.address).collect();
    let peers = listeners.peers.iter().map(|listener| listener.address).collect();
    let app = ClientApp::new(Arc::clone(&core))?;
    let places = Admission::of_clients();
    let http2 = Http2 {
        max_streams: config.max_concurrent_streams,
        keepalive_interval: config.keepalive_interval,
        keepalive_timeout: config.keepalive_timeout,
    };
    for listener in listeners.clients {
        let (stop, places) = (stopping.clone(), places.clone());
        serving.spawn(listener.serve(app.clone(), http2, places, stop));
    }
    for listener in listeners.metrics {
        let (app, stop) = (MetricsApp(Arc::clone(&core)), stopping.clone());
        let places = Admission::of_metrics();
        serving.spawn(listener.serve(app, http2, places, stop));
    }
    let peer_app = PeerApp::new(Arc::clone(&core), opened.place);
    for listener in listeners.peers {
        let (app, stop, places) = (peer_app.clone(), stopping.clone(), Admission::of_peers());
        serving.spawn(listener.serve(app, http2, places, stop));
    }
    for waker in core.state.wakers() {
        spawn_until_stopped(&mut serving, &stopping, async move { waker.run().await });
    }
    spawn_until_stopped(&mut serving, &stopping, Arc::clone(&core.peers).keep_company());
    serving.spawn(versions::run(Arc::clone(&core), stopping.clone()));
    let interval = config.hash_check_interval;
    serving.spawn(integrity::run(Arc::clone(&core), interval, stopping.clone()));
    serving.spawn(compactor::run(Arc::clone(&core), config.auto_compaction, stopping));
    let (tell, known) = watch::channel(false);
    let urls: Vec<_> = addresses.iter().map(|(url, address)| url.url(*address)).collect();
    serving.spawn(publish::run(Arc::clone(&core), urls.join(","), tell));
    Ok(Member {
        core,
        clients: addresses,
        metrics,
        peers,
        known,
        stop,
        serving,
        driver: Some(driver),
        failed,
    })
}

fn spawn_until_stopped(
    serving: &mut JoinSet<()>,
    stopping: &watch::Receiver<bool>,
    work: impl Future<Output = ()> + Send + 'static,
) {
    let mut stop = stopping.clone();
    serving.spawn(async move {
        tokio::select! {
            // Both arms may be dropped: neither holds anything.
            () = stopped(&mut stop) => {}
            () = work => {}
        }
    });
}

type DriverThread = JoinHandle<Result<(), DriverError>>;

/// Runs the driver on a thread of its own, which holds the directory's lock to its end.
fn spawn_driver(
    driver: Driver,
    dir: DataDir,
) -> Result<(DriverThread, watch::Receiver<bool>), StartError> {
    let (ended, failed) = watch::channel(false);
    let run = move || {
        // Told on every way out, a panic included.
        let _told = Told(ended);
        let outcome = driver.run();
        if let Err(error) = &outcome {
            tracing::error!(error = crate::chain(error), "the member stops");
        }
        drop(dir);
        outcome
    };
    let thread = std::thread::Builder::new().name("driver".into()).spawn(run);
    Ok((thread.map_err(StartError::Thread)?, failed))
}

struct Told(watch::Sender<bool>);

impl Drop for Told {
    fn drop(&mut self) {
        self.0.send_replace(true);
    }
}

fn member_info(
    config: &MemberConfig,
    identity: &Identity,
    bound: &[(ListenUrl, SocketAddr)],
) -> MemberInfo {
    let listened = || bound.iter().map(|(url, address)| url.url(*address)).collect();
    let advertised = Some(config.advertise_client_urls.clone()).filter(|urls| !urls.is_empty());
    MemberInfo {
        id: identity.member_id,
        cluster_id: identity.cluster_id,
        cluster_token: config.cluster_token.clone(),
        name: config.name.clone(),
        client_urls: advertised.unwrap_or_else(listened),
    }
}

fn limits(config: &MemberConfig) -> Limits {
    Limits {
        max_request_bytes: config.max_request_bytes,
        max_txn_ops: config.max_txn_ops,
        min_lease_ttl: config.min_lease_ttl(),
        request_timeout: config.request_timeout(),
        election_timeout: config.election_timeout,
        watch_progress_interval: config.watch_progress_interval,
        max_learners: config.max_learners,
        strict_reconfig_check: config.strict_reconfig_check,
    }
}
