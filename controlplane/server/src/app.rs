//! Putting the parts together: store, session, source, leadership, HTTP.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use skein_controlplane_core::Config;
use skein_controlplane_core::source::Snapshot;
use skein_store_client::{ClientError, KeyRange, LeaseId, Session, SessionConfig, TlsConfig};
use skein_store_schema::kinds::election::ElectionKey;
use skein_store_schema::{ElectionName, StoreKey};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::cli::Args;
use crate::embedded::Embedded;
use crate::folder::FolderSource;
use crate::http;
use crate::lead::{End, Term};
use crate::metrics::Metrics;
use crate::source::Source;
use crate::status::Board;

/// What the leader is elected for.
const ELECTION: &str = "controlplane";
/// Seconds without a sign of life after which another may lead. Short, since nothing is planned
/// meanwhile; long enough for a store that elects a leader of its own.
const LEASE_TTL_S: i64 = 5;
/// Between attempts to be elected while the store refuses or is away.
const CAMPAIGN_RETRY: Duration = Duration::from_millis(500);

/// A running control plane.
pub struct App {
    store: Option<Embedded>,
    tasks: JoinSet<Result<()>>,
    stop: CancellationToken,
    board: Arc<Board>,
    store_urls: Vec<String>,
    http_addr: SocketAddr,
}

impl App {
    /// Starts everything. Returns as soon as the store serves and the session is set up; syncing
    /// and leading go on in the background.
    ///
    /// # Errors
    /// Flags that cannot work, an address in use, a data directory in use or damaged.
    pub async fn start(args: &Args) -> Result<App> {
        let config = args.config()?;
        let listener = TcpListener::bind(args.metrics_addr)
            .await
            .with_context(|| format!("cannot listen on {}", args.metrics_addr))?;
        let http_addr = listener.local_addr().context("address of the listener")?;
        let source: Box<dyn Source> = Box::new(FolderSource::new(args.manifests.clone()));
        let board = Arc::new(Board::new(&config, source.name()));
        let metrics = Arc::new(Metrics::new());
        let stop = CancellationToken::new();
        let store = Embedded::start(args).await?;
        let store_urls = match &store {
            Some(store) => store.urls(),
            None => args.store_endpoints.clone(),
        };
        board.update(|status| {
            status.store.endpoints.clone_from(&store_urls);
            status.store.embedded = store.is_some();
        });
        let session = Session::new(session_config(args, &store_urls)?)
            .context("the store's endpoints cannot be used")?;
        let (sender, receiver) = watch::channel(None);
        let mut tasks = JoinSet::new();
        let (shared, counters) = (board.clone(), metrics.clone());
        let stopped = stop.clone();
        tasks.spawn(async move {
            http::serve(listener, shared, counters, stopped).await.context("HTTP server")
        });
        let running = source.run(sender, stop.clone());
        tasks.spawn(async move { running.await.context("source") });
        let candidate = Candidate {
            session,
            config,
            holder: holder(args),
            alone: store.is_some(),
            source: receiver,
            board: board.clone(),
            metrics,
            stop: stop.clone(),
        };
        tasks.spawn(candidate.run());
        info!(store = ?store_urls, http = %http_addr, "skein-controlplane started");
        Ok(App { store, tasks, stop, board, store_urls, http_addr })
    }

    /// Where clients reach the store.
    pub fn store_urls(&self) -> &[String] {
        &self.store_urls
    }

    /// Where `/metrics`, `/healthz` and `/status` are served.
    pub fn http_addr(&self) -> SocketAddr {
        self.http_addr
    }

    /// What the process is doing.
    pub fn board(&self) -> &Board {
        &self.board
    }

    /// Returns when a part has stopped that must not stop.
    ///
    /// # Errors
    /// Always: which part, and why.
    pub async fn failed(&mut self) -> Result<()> {
        let store = self.store.as_ref();
        tokio::select! {
            ended = self.tasks.join_next() => match ended {
                Some(Ok(Ok(()))) => bail!("a task ended before its time"),
                Some(Ok(Err(error))) => Err(error),
                Some(Err(error)) => Err(anyhow!(error)),
                None => bail!("no task is running"),
            },
            () = async {
                match store {
                    Some(store) => store.failed().await,
                    None => std::future::pending().await,
                }
            } => bail!("the embedded store stopped"),
        }
    }

    /// Stops in order: leadership is given up, then the store is closed.
    ///
    /// # Errors
    /// What went wrong while stopping, or had before.
    pub async fn shutdown(mut self) -> Result<()> {
        self.stop.cancel();
        let mut first = Ok(());
        while let Some(ended) = self.tasks.join_next().await {
            let ended = ended.map_err(anyhow::Error::new).and_then(|result| result);
            if first.is_ok() {
                first = ended;
            }
        }
        if let Some(store) = self.store.take() {
            store.shutdown().await?;
        }
        first
    }
}

fn session_config(args: &Args, urls: &[String]) -> Result<SessionConfig> {
    let mut config = SessionConfig::new(urls);
    if let Some(ca) = &args.store_cacert {
        let (cert, key) = (args.store_cert.as_deref(), args.store_key.as_deref());
        let mut tls = TlsConfig::from_files(ca, cert, key).context("TLS for the store")?;
        // The embedded store is reached by address; its certificate may hold its name alone.
        let advertised = args.advertise_client_urls.iter().find_map(|url| host_of(url));
        tls.server_name = advertised.filter(|_| args.store_endpoints.is_empty());
        config.tls = Some(tls);
    }
    Ok(config)
}

/// The host of an https URL.
fn host_of(url: &str) -> Option<String> {
    let authority = url.strip_prefix("https://")?.split('/').next()?;
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    Some(host.trim_start_matches('[').trim_end_matches(']').to_owned())
}

/// Names the process in the election. With an embedded store the name stays over restarts: the
/// lock on the data directory tells that a predecessor is gone.
fn holder(args: &Args) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match &args.data_dir {
        Some(dir) => format!("{}/{}/{}", host.trim(), args.name, dir.display()),
        None => format!("{}/{}", host.trim(), std::process::id()),
    }
}

/// Someone who would lead.
struct Candidate {
    session: Session,
    config: Config,
    holder: String,
    /// Nobody else can have this holder's name.
    alone: bool,
    source: watch::Receiver<Option<Snapshot>>,
    board: Arc<Board>,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
}

impl Candidate {
    async fn run(mut self) -> Result<()> {
        let election: ElectionName = ELECTION.parse().context("name of the election")?;
        while !self.stop.is_cancelled() {
            self.phase("standby");
            let leadership = tokio::select! {
                () = self.stop.cancelled() => return Ok(()),
                leadership = self.campaign(&election) => leadership,
            };
            let leadership = match leadership {
                Ok(leadership) => leadership,
                Err(error) => {
                    warn!(%error, "cannot be elected yet");
                    self.board.update(|status| status.error = error.to_string());
                    tokio::time::sleep(CAMPAIGN_RETRY).await;
                    continue;
                }
            };
            info!(fence = leadership.fence().key, "leading");
            self.board.update(|status| {
                status.leader = true;
                status.error.clear();
            });
            self.phase("leading");
            let term = Term {
                session: &self.session,
                config: &self.config,
                source: &mut self.source,
                board: &self.board,
                metrics: &self.metrics,
                stop: &self.stop,
            };
            match term.lead(leadership).await.context("leading")? {
                End::Stopped => return Ok(()),
                End::Lost => warn!("leadership was lost"),
                End::SourceGone => bail!("the source of objects ended"),
            }
        }
        Ok(())
    }

    fn phase(&self, phase: &'static str) {
        self.board.update(|status| status.phase = phase);
    }

    async fn campaign(
        &self,
        election: &ElectionName,
    ) -> Result<skein_store_client::Leadership, ClientError> {
        if self.alone {
            self.retire_predecessor(election).await?;
        }
        self.session.campaign(election, &self.holder, LEASE_TTL_S).await
    }

    /// Ends the lease that a killed predecessor of this very process left behind, so that a restart
    /// does not wait for it to run out.
    async fn retire_predecessor(&self, election: &ElectionName) -> Result<(), ClientError> {
        let range = KeyRange::prefix(ElectionKey::election_prefix(election));
        for entry in self.session.range(&range).await?.entries {
            let Ok((key, candidate)) = ElectionKey::decode_entry(&entry.key, &entry.value) else {
                continue;
            };
            if candidate.holder == self.holder {
                info!(lease = %key.lease, "ending the leadership of a predecessor");
                self.end_lease(key.lease).await?;
            }
        }
        Ok(())
    }

    async fn end_lease(&self, lease: LeaseId) -> Result<(), ClientError> {
        match self.session.lease_revoke(lease).await {
            Err(ClientError::LeaseNotFound { .. }) => Ok(()),
            outcome => outcome,
        }
    }
}
