//! One connection at a time, to one of the endpoints; the next one when it fails.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex as StdMutex, MutexGuard, PoisonError};

use arc_swap::ArcSwapOption;
use etcd_client::{Channel, Client, ConnectOptions};
use tokio::sync::{Mutex, watch};

use crate::config::SessionConfig;
use crate::endpoints::Endpoints;
use crate::error::{self, ClientError};

/// Largest answer that is taken. A watch that catches up gets up to 1,000 revisions in one frame, each up
/// to a transaction of 1.5 MiB; the client crate's 4 MiB would end such a watch for good.
const MESSAGE_BYTES_MAX: usize = 512 << 20;

/// The client calls of one connection.
pub(crate) struct Connection {
    pub(crate) client: Client,
    /// What `client` speaks over, for calls that it does not have.
    pub(crate) channel: tonic::transport::Channel,
    pub(crate) login: Login,
    pub(crate) endpoint: String,
    pub(crate) id: usize,
}

impl Connection {
    pub(crate) fn kv(&self) -> etcd_client::KvClient {
        self.client.kv_client().max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    pub(crate) fn watch(&self) -> etcd_client::WatchClient {
        self.client.watch_client().max_decoding_message_size(MESSAGE_BYTES_MAX)
    }
}

/// Whether the store asked who we are when we connected.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Login {
    Needed,
    NotNeeded,
}

/// Whether a member without a leader is asked to refuse instead of waiting or answering from the past.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Leader {
    Required,
    NotRequired,
}

/// Why an endpoint is not used.
enum Refusal {
    /// It cannot be reached or cannot serve: another may.
    Endpoint(String),
    /// The store does not want us: no other endpoint will.
    Store(ClientError),
}

impl Refusal {
    fn into_error(self, what: &'static str) -> ClientError {
        match self {
            Self::Endpoint(reason) => {
                ClientError::Unavailable { what, reason, maybe_applied: false }
            }
            Self::Store(error) => error,
        }
    }
}

/// Makes connections and remembers the one in use.
pub(crate) struct Connector {
    config: SessionConfig,
    endpoints: StdMutex<Endpoints>,
    current: ArcSwapOption<Connection>,
    /// Held while connecting, so that callers who find no connection make one and not many.
    connecting: Mutex<()>,
    ids: AtomicUsize,
    /// The id of the connection that the session last returned home with.
    moved: watch::Sender<usize>,
    /// True while a task waits to return home.
    pub(crate) away: AtomicBool,
    /// True once a task asks for the member list.
    pub(crate) learning: AtomicBool,
}

impl Connector {
    pub(crate) fn new(config: SessionConfig) -> Result<Self, ClientError> {
        config.check()?;
        let endpoints = Endpoints::new(config.endpoints.clone(), rand::random());
        Ok(Self {
            config,
            endpoints: StdMutex::new(endpoints),
            current: ArcSwapOption::empty(),
            connecting: Mutex::new(()),
            // 0 stands for no connection in `moved`.
            ids: AtomicUsize::new(1),
            moved: watch::Sender::new(0),
            away: AtomicBool::new(false),
            learning: AtomicBool::new(false),
        })
    }

    pub(crate) fn config(&self) -> &SessionConfig {
        &self.config
    }

    pub(crate) fn endpoints(&self) -> MutexGuard<'_, Endpoints> {
        // What it holds is valid after every single step.
        self.endpoints.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn current(&self) -> Option<Arc<Connection>> {
        self.current.load_full()
    }

    /// The connection in use, or a new one; every endpoint is tried once.
    pub(crate) async fn get(
        self: &Arc<Self>,
        what: &'static str,
    ) -> Result<Arc<Connection>, ClientError> {
        if let Some(connection) = self.current.load_full() {
            return Ok(connection);
        }
        let _alone = self.connecting.lock().await;
        if let Some(connection) = self.current.load_full() {
            return Ok(connection);
        }
        let mut reasons = Vec::new();
        let order = self.endpoints().order();
        for endpoint in order {
            match self.open(&endpoint, Leader::Required).await {
                Ok(connection) => {
                    let connection = Arc::new(connection);
                    self.current.store(Some(Arc::clone(&connection)));
                    crate::placement::look_after(self);
                    return Ok(connection);
                }
                Err(Refusal::Endpoint(reason)) => reasons.push(format!("{endpoint}: {reason}")),
                Err(refusal @ Refusal::Store(_)) => return Err(refusal.into_error(what)),
            }
            self.endpoints().failed(&endpoint);
        }
        Err(Refusal::Endpoint(reasons.join("; ")).into_error(what))
    }

    /// A connection of its own to one endpoint, for questions to that member, with a leader or without.
    pub(crate) async fn dedicated(&self, endpoint: &str) -> Result<Connection, ClientError> {
        let opened = self.open(endpoint, Leader::NotRequired).await;
        opened.map_err(|refusal| refusal.into_error("reach the endpoint"))
    }

    /// A connection of its own to one endpoint, as good as the one in use.
    pub(crate) async fn second(&self, endpoint: &str) -> Result<Connection, ClientError> {
        let opened = self.open(endpoint, Leader::Required).await;
        opened.map_err(|refusal| refusal.into_error("return to the endpoint"))
    }

    /// Puts another connection in use and tells those who hold on to the former.
    pub(crate) fn move_to(&self, mut connection: Connection) {
        // A new id, since others may have connected while this one was tried.
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        connection.id = id;
        self.current.store(Some(Arc::new(connection)));
        self.moved.send_replace(id);
    }

    /// Returns when the session has moved on from this connection to its home. Cancel safe.
    pub(crate) async fn moved_from(&self, connection: &Connection) {
        let mut moved = self.moved.subscribe();
        // Ids grow: one that is greater belongs to a later connection. The sender lives in `self`.
        let _ = moved.wait_for(|id| *id > connection.id).await;
    }

    /// Puts a connection out of use; the next call goes to the next endpoint.
    pub(crate) fn failed(&self, connection: &Connection) {
        if self.discard(connection) {
            self.endpoints().failed(&connection.endpoint);
        }
    }

    /// Puts a connection out of use without blaming its endpoint. False when it was not in use.
    pub(crate) fn discard(&self, connection: &Connection) -> bool {
        let in_use = self.current.load_full();
        let discarded = in_use.is_some_and(|in_use| in_use.id == connection.id);
        if discarded {
            self.current.store(None);
        }
        discarded
    }

    async fn open(&self, endpoint: &str, leader: Leader) -> Result<Connection, Refusal> {
        let timeout = self.config.connect_timeout;
        match tokio::time::timeout(timeout, self.handshake(endpoint, leader)).await {
            Ok(opened) => opened,
            Err(_) => {
                Err(Refusal::Endpoint(format!("no answer within {} ms", timeout.as_millis())))
            }
        }
    }

    async fn handshake(&self, endpoint: &str, leader: Leader) -> Result<Connection, Refusal> {
        let channel = self
            .config
            .transport(endpoint)
            .map_err(Refusal::Store)?
            .connect()
            .await
            .map_err(|error| Refusal::Endpoint(error::chain(String::new(), Some(&error))))?;
        let anonymous = ConnectOptions::new().with_require_leader(leader == Leader::Required);
        let (client, login) = self.log_in(channel.clone(), anonymous).await.map_err(|failure| {
            let error = ClientError::from_etcd("log in", &failure);
            match error.is_transient() {
                true => Refusal::Endpoint(error::reason(&failure)),
                false => Refusal::Store(error),
            }
        })?;
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        Ok(Connection { client, channel, login, endpoint: endpoint.to_owned(), id })
    }

    async fn log_in(
        &self,
        channel: tonic::transport::Channel,
        anonymous: ConnectOptions,
    ) -> Result<(Client, Login), etcd_client::Error> {
        let channel = Channel::Tonic(channel);
        if let Some((name, password)) = &self.config.user {
            let options = anonymous.clone().with_user(name, password).with_auto_token_refresh(true);
            match Client::from_channel(channel.clone(), Some(options)).await {
                // A user that is given before the store knows users does no harm.
                Err(failure) if error::needs_no_login(&failure) => {}
                outcome => return Ok((outcome?, Login::Needed)),
            }
        }
        Ok((Client::from_channel(channel, Some(anonymous)).await?, Login::NotNeeded))
    }
}
