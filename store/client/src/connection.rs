//! One connection at a time, to one of the endpoints; the next one when it fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwapOption;
use etcd_client::{Channel, Client, ConnectOptions};
use tokio::sync::Mutex;
use tonic::transport::Endpoint;

use crate::config::SessionConfig;
use crate::error::{self, ClientError};

/// Largest answer that is taken. A watch that catches up gets up to 1,000 revisions in one frame, each up
/// to a transaction of 1.5 MiB; the client crate's 4 MiB would end such a watch for good.
const MESSAGE_BYTES_MAX: usize = 512 << 20;

/// The client calls of one connection.
pub(crate) struct Connection {
    pub(crate) client: Client,
    pub(crate) endpoint: String,
    id: usize,
}

impl Connection {
    pub(crate) fn kv(&self) -> etcd_client::KvClient {
        self.client.kv_client().max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    pub(crate) fn watch(&self) -> etcd_client::WatchClient {
        self.client.watch_client().max_decoding_message_size(MESSAGE_BYTES_MAX)
    }
}

/// Makes connections and remembers the one in use.
pub(crate) struct Connector {
    config: SessionConfig,
    transports: Vec<Endpoint>,
    current: ArcSwapOption<Connection>,
    /// Held while connecting, so that callers who find no connection make one and not many.
    connecting: Mutex<()>,
    /// The endpoint to try next. Starts anywhere, so that many clients spread over the members.
    next: AtomicUsize,
    ids: AtomicUsize,
}

impl Connector {
    pub(crate) fn new(config: SessionConfig) -> Result<Self, ClientError> {
        let transports = config.transports()?;
        let next = AtomicUsize::new(rand::random_range(0..transports.len()));
        let (current, connecting) = (ArcSwapOption::empty(), Mutex::new(()));
        Ok(Self { config, transports, current, connecting, next, ids: AtomicUsize::new(0) })
    }

    pub(crate) fn config(&self) -> &SessionConfig {
        &self.config
    }

    /// The connection in use, or a new one; every endpoint is tried once.
    pub(crate) async fn get(&self, what: &'static str) -> Result<Arc<Connection>, ClientError> {
        if let Some(connection) = self.current.load_full() {
            return Ok(connection);
        }
        let _alone = self.connecting.lock().await;
        if let Some(connection) = self.current.load_full() {
            return Ok(connection);
        }
        let mut reasons = Vec::new();
        for _ in &self.transports {
            let index = self.next.load(Ordering::Relaxed) % self.transports.len();
            match self.open(index).await {
                Ok(connection) => {
                    let connection = Arc::new(connection);
                    self.current.store(Some(Arc::clone(&connection)));
                    return Ok(connection);
                }
                Err(reason) => reasons.push(format!("{}: {reason}", self.config.endpoints[index])),
            }
            self.next.store(index + 1, Ordering::Relaxed);
        }
        Err(ClientError::Unavailable { what, reason: reasons.join("; "), maybe_applied: false })
    }

    /// A connection of its own to one endpoint, for questions to that member.
    pub(crate) async fn dedicated(&self, index: usize) -> Result<Connection, ClientError> {
        let what = "reach the endpoint";
        let unavailable = |reason| ClientError::Unavailable { what, reason, maybe_applied: false };
        self.open(index).await.map_err(unavailable)
    }

    /// Puts a connection out of use; the next call goes to the next endpoint.
    pub(crate) fn failed(&self, connection: &Connection) {
        let in_use = self.current.load_full();
        if in_use.is_some_and(|in_use| in_use.id == connection.id) {
            self.current.store(None);
            self.next.fetch_add(1, Ordering::Relaxed);
        }
    }

    async fn open(&self, index: usize) -> Result<Connection, String> {
        let timeout = self.config.connect_timeout;
        match tokio::time::timeout(timeout, self.handshake(index)).await {
            Ok(opened) => opened,
            Err(_) => Err(format!("no answer within {} ms", timeout.as_millis())),
        }
    }

    async fn handshake(&self, index: usize) -> Result<Connection, String> {
        let channel = self.transports[index]
            .connect()
            .await
            .map_err(|error| error::chain(String::new(), Some(&error)))?;
        let mut options = ConnectOptions::new().with_require_leader(true);
        if let Some((name, password)) = &self.config.user {
            options = options.with_user(name, password).with_auto_token_refresh(true);
        }
        let client = Client::from_channel(Channel::Tonic(channel), Some(options))
            .await
            .map_err(|error| error::reason(&error))?;
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        Ok(Connection { client, endpoint: self.config.endpoints[index].clone(), id })
    }
}
