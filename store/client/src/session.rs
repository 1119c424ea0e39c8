//! Reads, writes and transactions.

use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use etcd_client as etcd;
use skein_store_schema::{KeyRange, LeaseId};
use skein_store_table::{Entry, Snapshot};
use tokio::time::Instant;

use crate::config::SessionConfig;
use crate::connection::{Connection, Connector};
use crate::convert;
use crate::error::{self, ClientError};
use crate::txn::{Txn, TxnOutcome};

/// Keys read by one request. At 15 kB a value (a full slice) a page is 15 MB, at 300 B it is 300 kB; a
/// store answers either without stalling others.
const PAGE_KEYS: i64 = 1_000;
/// Times a read of several pages starts over because its revision was compacted away meanwhile.
const LIST_ATTEMPTS: usize = 5;
/// The first attempt of a read gets one part in so many of the request timeout, each further one twice as
/// much, so that a member that is frozen or cut off does not use up all the time, and a read that needs
/// long still gets half of it.
const READ_PATIENCE: u32 = 4;

/// What was read, and at which revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read<T> {
    /// The revision of the store at the time of reading.
    pub revision: i64,
    /// What was there.
    pub value: T,
}

/// How to read a range in one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RangeRequest {
    /// Read as of this revision; 0 for now.
    pub revision: i64,
    /// At most so many keys; 0 for all.
    pub limit: i64,
    /// Leave the values out.
    pub keys_only: bool,
    /// Leave keys and values out.
    pub count_only: bool,
    /// Let the member answer from what it has, possibly behind the others.
    pub serializable: bool,
}

impl RangeRequest {
    pub(crate) fn options(&self) -> etcd::GetOptions {
        let options = etcd::GetOptions::new().with_revision(self.revision).with_limit(self.limit);
        let options = if self.keys_only { options.with_keys_only() } else { options };
        let options = if self.count_only { options.with_count_only() } else { options };
        if self.serializable { options.with_serializable() } else { options }
    }
}

/// The answer to one range request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The store that was read.
    pub cluster_id: u64,
    /// The revision of the store, not of the reading where an older one was asked for.
    pub revision: i64,
    /// In order of keys.
    pub entries: Vec<Entry>,
    /// Keys in the whole range.
    pub count: i64,
    /// True when the limit cut the range.
    pub more: bool,
}

/// A session with the store. Clones share their connection.
#[derive(Clone)]
pub struct Session {
    connector: Arc<Connector>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("endpoints", &self.connector().config().endpoints).finish()
    }
}

/// Whether an operation may be repeated when nobody knows whether it was applied.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    Read,
    Write,
}

impl Session {
    /// A session that connects when first used.
    ///
    /// # Errors
    /// [`ClientError::Config`] for endpoints or certificates that cannot work.
    pub fn new(config: SessionConfig) -> Result<Self, ClientError> {
        Ok(Self { connector: Arc::new(Connector::new(config)?) })
    }

    /// A session that has reached the store, within the request timeout.
    pub async fn connect(config: SessionConfig) -> Result<Self, ClientError> {
        let session = Self::new(config)?;
        session.header().await?;
        Ok(session)
    }

    /// The endpoint in use, if there is one.
    pub async fn endpoint(&self) -> Result<String, ClientError> {
        Ok(self.connector.get("connect").await?.endpoint.clone())
    }

    /// The endpoints of the configuration.
    pub fn endpoints(&self) -> &[String] {
        &self.connector.config().endpoints
    }

    /// A session like this one with one endpoint alone.
    ///
    /// # Errors
    /// [`ClientError::Config`] when the endpoint cannot work.
    pub fn with_endpoint(&self, endpoint: &str) -> Result<Self, ClientError> {
        let endpoints = vec![endpoint.to_owned()];
        Self::new(SessionConfig { endpoints, ..self.connector.config().clone() })
    }

    /// Cluster id and revision of the store, linearizable.
    pub async fn header(&self) -> Result<(u64, i64), ClientError> {
        self.header_at(vec![0]).await
    }

    /// The same by asking for one key, which need not exist but must be one that may be read.
    pub(crate) async fn header_at(&self, key: Vec<u8>) -> Result<(u64, i64), ClientError> {
        let nothing = RangeRequest { count_only: true, ..RangeRequest::default() };
        let page = self.page(&KeyRange::single(key), nothing).await?;
        Ok((page.cluster_id, page.revision))
    }

    /// Reads one key, linearizable.
    pub async fn get(&self, key: impl Into<Vec<u8>>) -> Result<Read<Option<Entry>>, ClientError> {
        let mut page = self.page(&KeyRange::single(key), RangeRequest::default()).await?;
        Ok(Read { revision: page.revision, value: page.entries.pop() })
    }

    /// Reads a whole range at one revision, in pages.
    pub async fn range(&self, range: &KeyRange) -> Result<Snapshot, ClientError> {
        self.ranges(std::slice::from_ref(range)).await
    }

    /// Reads several ranges at one revision, in pages.
    pub async fn ranges(&self, ranges: &[KeyRange]) -> Result<Snapshot, ClientError> {
        let mut attempts = 1;
        loop {
            match self.ranges_once(ranges).await {
                Err(ClientError::Compacted { .. }) if attempts < LIST_ATTEMPTS => attempts += 1,
                outcome => return outcome,
            }
        }
    }

    async fn ranges_once(&self, ranges: &[KeyRange]) -> Result<Snapshot, ClientError> {
        let mut snapshot = Snapshot::default();
        let mut request = RangeRequest { limit: PAGE_KEYS, ..RangeRequest::default() };
        for range in ranges {
            let mut rest = range.clone();
            loop {
                let page = self.page(&rest, request).await?;
                if request.revision == 0 {
                    request.revision = page.revision;
                    (snapshot.cluster_id, snapshot.revision) = (page.cluster_id, page.revision);
                }
                let last = page.entries.last().map(|entry| entry.key.clone());
                snapshot.entries.extend(page.entries);
                let Some(mut after) = last.filter(|_| page.more) else { break };
                after.push(0);
                rest = KeyRange::between(after, rest.end());
            }
        }
        Ok(snapshot)
    }

    /// Reads a range by one request.
    pub async fn page(&self, range: &KeyRange, request: RangeRequest) -> Result<Page, ClientError> {
        let options = request.options().with_range(range.end());
        let response = self
            .call("read", Effect::Read, |connection| {
                let options = options.clone();
                async move { connection.kv().get(range.start(), Some(options)).await }
            })
            .await?;
        Ok(convert::page(response))
    }

    /// Writes a key; with a lease it dies with that. Returns the revision of the write.
    pub async fn put(
        &self,
        key: impl Into<Vec<u8>>,
        value: impl Into<Vec<u8>>,
        lease: Option<LeaseId>,
    ) -> Result<i64, ClientError> {
        let (key, value) = (key.into(), value.into());
        let options = lease.map(|lease| etcd::PutOptions::new().with_lease(lease.get()));
        let response = self
            .call("write", Effect::Write, |connection| {
                let (key, value, options) = (key.clone(), value.clone(), options.clone());
                async move { connection.kv().put(key, value, options).await }
            })
            .await?;
        Ok(convert::header(response.header()).1)
    }

    /// Deletes a key; absent is fine. Returns how many keys were deleted, and the revision.
    pub async fn delete(&self, key: impl Into<Vec<u8>>) -> Result<Read<i64>, ClientError> {
        self.delete_range(&KeyRange::single(key)).await
    }

    /// Deletes a range. Returns how many keys were deleted, and the revision.
    pub async fn delete_range(&self, range: &KeyRange) -> Result<Read<i64>, ClientError> {
        let response = self
            .call("delete", Effect::Write, |connection| {
                let options = etcd::DeleteOptions::new().with_range(range.end());
                async move { connection.kv().delete(range.start(), Some(options)).await }
            })
            .await?;
        let (_, revision) = convert::header(response.header());
        Ok(Read { revision, value: response.deleted() })
    }

    /// Runs a transaction. A condition that does not hold is not an error.
    pub async fn txn(&self, txn: Txn) -> Result<TxnOutcome, ClientError> {
        let txn = txn.into_etcd();
        let response = self
            .call("run a transaction", Effect::Write, |connection| {
                let txn = txn.clone();
                async move { connection.kv().txn(txn).await }
            })
            .await?;
        Ok(TxnOutcome::from_etcd(&response))
    }

    /// Drops history before a revision.
    pub async fn compact(&self, revision: i64) -> Result<(), ClientError> {
        self.compact_with(revision, etcd::CompactionOptions::new()).await
    }

    /// Drops history before a revision; returns once the member in use has removed it from its disk.
    pub async fn compact_physically(&self, revision: i64) -> Result<(), ClientError> {
        self.compact_with(revision, etcd::CompactionOptions::new().with_physical()).await
    }

    async fn compact_with(
        &self,
        revision: i64,
        options: etcd::CompactionOptions,
    ) -> Result<(), ClientError> {
        self.call("compact", Effect::Write, |connection| {
            let options = options.clone();
            async move { connection.kv().compact(revision, Some(options)).await }
        })
        .await
        .map(|_| ())
    }

    pub(crate) fn connector(&self) -> &Arc<Connector> {
        &self.connector
    }

    /// Jittered, doubling waits without end.
    pub(crate) fn backoff(&self) -> ExponentialBackoff {
        let (min, max) = self.connector.config().reconnect;
        ExponentialBuilder::default()
            .with_min_delay(min)
            .with_max_delay(max)
            .with_jitter()
            // Without a seed, and without its feature for `std`, the crate jitters all clients alike.
            .with_jitter_seed(rand::random())
            .without_max_times()
            .build()
    }

    /// Runs one request, on other connections again where that is harmless, within the request timeout.
    pub(crate) async fn call<T, F, Fut>(
        &self,
        what: &'static str,
        effect: Effect,
        request: F,
    ) -> Result<T, ClientError>
    where
        F: Fn(Arc<Connection>) -> Fut,
        Fut: Future<Output = Result<T, etcd::Error>>,
    {
        let deadline = Instant::now() + self.connector.config().request_timeout;
        let mut patience = self.connector.config().request_timeout / READ_PATIENCE;
        let mut backoff = self.backoff();
        loop {
            let until = match effect {
                Effect::Read => deadline.min(Instant::now() + patience),
                Effect::Write => deadline,
            };
            let failure = match self.attempt(what, until, &request).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            let harmless = effect == Effect::Read || !failure.maybe_applied();
            let wait = backoff.next().unwrap_or(Duration::MAX);
            if !failure.is_transient() || !harmless || Instant::now() + wait >= deadline {
                return Err(failure);
            }
            patience *= 2;
            tokio::time::sleep(wait).await;
        }
    }

    /// Runs one request, after a new login again if the store wants one.
    async fn attempt<T, F, Fut>(
        &self,
        what: &'static str,
        until: Instant,
        request: &F,
    ) -> Result<T, ClientError>
    where
        F: Fn(Arc<Connection>) -> Fut,
        Fut: Future<Output = Result<T, etcd::Error>>,
    {
        let begun = Instant::now();
        let mut may_log_in = self.connector.config().user.is_some();
        loop {
            let connection = self.connector.get(what).await?;
            match tokio::time::timeout_at(until, request(Arc::clone(&connection))).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(failure)) if may_log_in && error::wants_login(&failure) => {
                    may_log_in = false;
                    self.connector.discard(&connection);
                }
                Ok(Err(failure)) => {
                    if error::is_worth_retrying(&failure) {
                        self.connector.failed(&connection);
                    }
                    return Err(ClientError::from_etcd(what, &failure));
                }
                Err(_) => {
                    self.connector.failed(&connection);
                    let waited = begun.elapsed().as_millis();
                    let reason = format!("{}: no answer within {waited} ms", connection.endpoint);
                    return Err(ClientError::Unavailable { what, reason, maybe_applied: true });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_within_their_bounds_and_differ_between_sessions() {
        let mut config = SessionConfig::new(["127.0.0.1:1"]);
        config.reconnect = (Duration::from_millis(10), Duration::from_millis(100));
        let (min, max) = config.reconnect;
        let waits = |session: Session| session.backoff().take(8).collect::<Vec<_>>();
        let first = waits(Session::new(config.clone()).unwrap());
        assert!((min..2 * min).contains(&first[0]), "{first:?}");
        assert!(first.iter().all(|wait| (min..=2 * max).contains(wait)), "{first:?}");
        assert!(first[7] >= max, "{first:?}");
        assert_ne!(first, waits(Session::new(config).unwrap()));
    }
}
