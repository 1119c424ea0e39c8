//! Starting, embedding and stopping one member.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use skein_store_mvcc::{Machine, MachineConfig};
use skein_store_raft::{Node, NodeConfig, RaftError, Restored};
use thiserror::Error;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::ETCD_VERSION;
use crate::app::{ClientApp, MetricsApp};
use crate::auth::{Authenticator, KeyError};
use crate::compactor;
use crate::config::{ConfigError, ListenUrl, MemberConfig};
use crate::core::{Core, Limits, MemberInfo, stopped};
use crate::data_dir::{DataDir, DataDirError, Identity};
use crate::disk::{Disk, OsDisk};
use crate::driver::inbox::Inbox;
use crate::driver::{Driver, DriverError, Snapshotter};
use crate::log::{Log, LogError, LogOptions, SEGMENT_BYTES};
use crate::metrics::Metrics;
use crate::net::admission::Admission;
use crate::net::tls::TlsError;
use crate::net::{Listener, tls};
use crate::snapshot_file::{self, Position, SnapshotError};
use crate::state::{RestoreError, State};

/// A member could not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The configuration cannot work.
    #[error("the configuration cannot work")]
    Config(#[from] ConfigError),
    /// The data directory cannot be used.
    #[error("the data directory cannot be used")]
    DataDir(#[from] DataDirError),
    /// The log cannot be used.
    #[error("the log cannot be used")]
    Log(#[from] LogError),
    /// The newest snapshot cannot be used.
    #[error("the snapshot cannot be used")]
    Snapshot(#[from] SnapshotError),
    /// The newest snapshot does not hold a state that this version understands.
    #[error("the snapshot {} cannot be restored", path.display())]
    Restore {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: RestoreError,
    },
    /// Consensus cannot go on from what is there.
    #[error("consensus cannot start")]
    Raft(#[from] RaftError),
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
    stop: watch::Sender<bool>,
    serving: JoinSet<()>,
    driver: Option<JoinHandle<Result<(), DriverError>>>,
    failed: watch::Receiver<bool>,
}

impl Member {
    /// Starts a member: locks and reads its data, becomes leader, and serves.
    ///
    /// # Errors
    /// See [`StartError`]; nothing is left running then.
    pub async fn start(config: MemberConfig) -> Result<Self, StartError> {
        config.check()?;
        let acceptor = config.tls.as_ref().map(tls::acceptor).transpose()?;
        let auth = Authenticator::new(&config.auth)?;
        let clients = bind(&config.listen_client_urls, acceptor.as_ref()).await?;
        let metrics = bind(&config.listen_metrics_urls, acceptor.as_ref()).await?;
        // Replaying a long log takes time that the runtime's threads do not have.
        let opened = {
            let config = config.clone();
            tokio::task::spawn_blocking(move || Opened::open(&config)).await
        };
        let opened = opened.map_err(|error| StartError::Thread(error.into()))??;
        opened.serve(&config, auth, clients, metrics)
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
    acceptor: Option<&tokio_rustls::TlsAcceptor>,
) -> Result<Vec<Listener>, StartError> {
    let mut bound = Vec::with_capacity(urls.len());
    for url in urls {
        let listener = Listener::bind(*url, acceptor).await;
        bound.push(listener.map_err(|source| StartError::Listen { address: url.address, source })?);
    }
    Ok(bound)
}

/// Data opened, log replayed, leader elected; nothing served yet.
struct Opened {
    dir: DataDir,
    identity: Identity,
    state: Arc<State>,
    inbox: Arc<Inbox>,
    metrics: Arc<Metrics>,
    driver: Driver,
}

impl Opened {
    fn open(config: &MemberConfig) -> Result<Self, StartError> {
        let begun = Instant::now();
        let dir = DataDir::lock(&config.data_dir)?;
        let fresh = Identity::derive(&config.advertise_peer_urls, &config.cluster_token);
        let identity = dir.identity(fresh)?;
        let owner = identity.owner();
        let disk: Arc<dyn Disk> = Arc::new(OsDisk);
        let (machine, base) = restore(&*disk, &dir, &identity)?;
        let options = LogOptions { dir: dir.log(), owner, segment_bytes: SEGMENT_BYTES };
        let (log, recovered) = Log::open(Arc::clone(&disk), &options, base.index)?;
        let replayed = recovered.entries.len();
        let cut_bytes = recovered.cut_bytes;
        if cut_bytes > 0 {
            tracing::warn!(cut_bytes, "cut a write that a crash had left unfinished");
        }
        let restored = Restored {
            hard_state: recovered.hard_state,
            base: (base.index, base.term),
            entries: recovered.entries,
        };
        let node = Node::new(&node_config(config, &identity), restored)?;
        let metrics = Arc::new(Metrics::new(identity.member_id, ETCD_VERSION));
        let state = State::new(machine, config.election_timeout, Arc::clone(&metrics));
        let state = Arc::new(state.with_token_ttl(config.auth.simple_token_ttl));
        let inbox = Arc::new(Inbox::default());
        let snapshotter = Snapshotter::new(disk, dir.snapshots(), owner, config.snapshot_count);
        let tick = config.heartbeat_interval;
        let mut driver =
            Driver::new(node, log, Arc::clone(&state), Arc::clone(&inbox), tick, snapshotter);
        driver.start()?;
        tracing::info!(
            snapshot_index = base.index,
            replayed,
            revision = state.revision(),
            took_ms = begun.elapsed().as_millis() as u64,
            "restored data"
        );
        Ok(Self { dir, identity, state, inbox, metrics, driver })
    }

    fn serve(
        self,
        config: &MemberConfig,
        auth: Authenticator,
        clients: Vec<Listener>,
        metrics: Vec<Listener>,
    ) -> Result<Member, StartError> {
        let (stop, stopping) = watch::channel(false);
        let addresses: Vec<_> = clients.iter().map(|l| (l.url, l.address)).collect();
        let core = Arc::new(Core {
            member: member_info(config, &self.identity, &addresses),
            limits: limits(config),
            state: self.state,
            inbox: self.inbox,
            metrics: self.metrics,
            auth,
            stopping: stopping.clone(),
        });
        let (driver, failed) = spawn_driver(self.driver, self.dir)?;
        let mut serving = JoinSet::new();
        let metrics_addresses = metrics.iter().map(|listener| listener.address).collect();
        let app = ClientApp::new(Arc::clone(&core));
        let places = Admission::of_clients();
        for listener in clients {
            let (stop, places) = (stopping.clone(), places.clone());
            let streams = config.max_concurrent_streams;
            serving.spawn(listener.serve(app.clone(), streams, places, stop));
        }
        for listener in metrics {
            let app = MetricsApp(Arc::clone(&core));
            let (stop, places) = (stopping.clone(), Admission::of_metrics());
            serving.spawn(listener.serve(app, config.max_concurrent_streams, places, stop));
        }
        for waker in core.state.wakers() {
            let mut stop = stopping.clone();
            serving.spawn(async move {
                tokio::select! {
                    // Both arms may be dropped: neither holds anything.
                    () = stopped(&mut stop) => {}
                    () = waker.run() => {}
                }
            });
        }
        serving.spawn(compactor::run(Arc::clone(&core), config.auto_compaction, stopping));
        let urls: Vec<_> = addresses.iter().map(|(url, address)| url.url(*address)).collect();
        tracing::info!(
            name = config.name,
            member = format_args!("{:x}", core.member.id),
            cluster = format_args!("{:x}", core.member.cluster_id),
            urls = urls.join(","),
            "ready to serve client requests"
        );
        Ok(Member {
            core,
            clients: addresses,
            metrics: metrics_addresses,
            stop,
            serving,
            driver: Some(driver),
            failed,
        })
    }
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

/// The newest snapshot's state, or a fresh one.
fn restore(
    disk: &dyn Disk,
    dir: &DataDir,
    identity: &Identity,
) -> Result<(Machine, Position), StartError> {
    let newest = snapshot_file::open_newest(disk, &dir.snapshots(), identity.owner())?;
    let Some(mut reader) = newest else {
        return Ok((Machine::new(&MachineConfig::default()), Position::default()));
    };
    let position = reader.ends_at();
    let path = reader.path().to_owned();
    let machine = crate::state::restore(&mut reader)
        .map_err(|source| StartError::Restore { path, source })?;
    Ok((machine, position))
}

fn node_config(config: &MemberConfig, identity: &Identity) -> NodeConfig {
    // Only has to differ from one start to the next.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    NodeConfig {
        id: identity.member_id,
        voters: vec![identity.member_id],
        election_ticks: config.election_ticks(),
        heartbeat_ticks: 1,
        seed: identity.member_id,
        incarnation: now.as_nanos() as u64,
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
        name: config.name.clone(),
        peer_urls: config.advertise_peer_urls.clone(),
        client_urls: advertised.unwrap_or_else(listened),
    }
}

fn limits(config: &MemberConfig) -> Limits {
    Limits {
        max_request_bytes: config.max_request_bytes,
        max_txn_ops: config.max_txn_ops,
        min_lease_ttl: config.min_lease_ttl(),
        request_timeout: config.request_timeout(),
        watch_progress_interval: config.watch_progress_interval,
        quota_bytes: config.quota_backend_bytes,
    }
}
