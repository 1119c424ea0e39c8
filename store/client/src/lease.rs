//! Leases, and a task that keeps one alive.

use std::time::Duration;

use etcd_client as etcd;
use skein_store_schema::LeaseId;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::error::ClientError;
use crate::session::{Effect, Session};

/// Keepalives in one time-to-live: two may be lost before the lease is in danger.
const KEEPALIVES_PER_TTL: u32 = 3;

/// What the store knows of a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseInfo {
    /// The lease.
    pub id: LeaseId,
    /// Seconds left.
    pub ttl_s: i64,
    /// Seconds it was granted for.
    pub granted_ttl_s: i64,
    /// Keys that die with it.
    pub keys: Vec<Vec<u8>>,
}

impl Session {
    /// Grants a lease that nobody keeps alive yet. Returns it with the seconds really granted.
    pub async fn lease_grant(&self, ttl_s: i64) -> Result<(LeaseId, i64), ClientError> {
        // A lease that was granted without our knowledge runs out by itself: repeating is harmless.
        let response = self
            .call("grant a lease", Effect::Read, |connection| async move {
                connection.client.lease_client().grant(ttl_s, None).await
            })
            .await?;
        let refused = || ClientError::Refused {
            what: "grant a lease",
            reason: "the store answered without a lease".to_owned(),
        };
        LeaseId::new(response.id()).map(|id| (id, response.ttl())).ok_or_else(refused)
    }

    /// Ends a lease; its keys are deleted.
    pub async fn lease_revoke(&self, lease: LeaseId) -> Result<(), ClientError> {
        self.call("revoke the lease", Effect::Write, |connection| async move {
            connection.client.lease_client().revoke(lease.get()).await
        })
        .await
        .map(|_| ())
    }

    /// What the store knows of a lease.
    ///
    /// # Errors
    /// [`ClientError::LeaseNotFound`] when it does not exist (any more).
    pub async fn lease_info(&self, lease: LeaseId) -> Result<LeaseInfo, ClientError> {
        let what = "look up the lease";
        let response = self
            .call(what, Effect::Read, |connection| async move {
                let options = etcd::LeaseTimeToLiveOptions::new().with_keys();
                connection.client.lease_client().time_to_live(lease.get(), Some(options)).await
            })
            .await?;
        if response.ttl() < 0 {
            return Err(ClientError::LeaseNotFound { what });
        }
        Ok(LeaseInfo {
            id: lease,
            ttl_s: response.ttl(),
            granted_ttl_s: response.granted_ttl(),
            keys: response.keys().to_vec(),
        })
    }

    /// Every lease that the member in use knows of.
    pub async fn leases(&self) -> Result<Vec<LeaseId>, ClientError> {
        let response = self
            .call("list leases", Effect::Read, |connection| async move {
                connection.client.lease_client().leases().await
            })
            .await?;
        Ok(response.leases().iter().filter_map(|lease| LeaseId::new(lease.id())).collect())
    }

    /// Renews a lease once. Returns the seconds that it lives on.
    ///
    /// # Errors
    /// [`ClientError::LeaseNotFound`] when it does not exist (any more).
    pub async fn lease_keep_alive_once(&self, lease: LeaseId) -> Result<i64, ClientError> {
        let what = "renew the lease";
        let renewed = self
            .call(what, Effect::Read, |connection| async move {
                let mut client = connection.client.lease_client();
                match client.keep_alive(lease.get()).await {
                    // The client crate takes the first answer and turns "no such lease" into this.
                    Err(etcd::Error::LeaseKeepAliveError(_)) => Ok(false),
                    Err(error) => Err(error),
                    Ok(_) => Ok(true),
                }
            })
            .await?;
        if !renewed {
            return Err(ClientError::LeaseNotFound { what });
        }
        Ok(self.lease_info(lease).await?.ttl_s)
    }

    /// Grants a lease and keeps it alive until the [`Lease`] is dropped.
    pub async fn lease(&self, ttl_s: i64) -> Result<Lease, ClientError> {
        let asked = Instant::now();
        let (id, ttl_s) = self.lease_grant(ttl_s).await?;
        let ttl = Duration::from_secs(ttl_s.max(1).unsigned_abs());
        let (alive, lost) = watch::channel(false);
        let task = tokio::spawn(keep_alive(self.clone(), id, ttl, asked + ttl, alive));
        Ok(Lease { id, lost, task })
    }
}

/// A lease that a task keeps alive. Dropping it stops the task and lets the lease run out; call
/// [`Session::lease_revoke`] to end it at once.
#[derive(Debug)]
pub struct Lease {
    id: LeaseId,
    lost: watch::Receiver<bool>,
    task: JoinHandle<()>,
}

impl Lease {
    /// The lease.
    pub fn id(&self) -> LeaseId {
        self.id
    }

    /// True once the lease can no longer be counted on: the store said so, or it could not be renewed in
    /// time. Never late: the time is counted from before the last renewal was sent.
    pub fn is_lost(&self) -> bool {
        *self.lost.borrow()
    }

    /// Returns when the lease can no longer be counted on. Cancel safe.
    pub async fn lost(&self) {
        let mut lost = self.lost.clone();
        // An error means that the task is gone, and with it the renewals.
        let _ = lost.wait_for(|lost| *lost).await;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Renews until the lease is gone. Gives up at the deadline, since the store may then have ended it.
async fn keep_alive(
    session: Session,
    id: LeaseId,
    ttl: Duration,
    mut deadline: Instant,
    lost: watch::Sender<bool>,
) {
    let pause = ttl / KEEPALIVES_PER_TTL;
    loop {
        tokio::time::sleep(pause).await;
        match tokio::time::timeout_at(deadline, renew(&session, id, pause)).await {
            Ok(Some(sent)) => deadline = sent + ttl,
            Ok(None) | Err(_) => break,
        }
    }
    tracing::warn!(lease = %id, "lease lost");
    lost.send_replace(true);
}

/// Renews once, trying until it succeeds and never longer than `patience` on one connection. Returns when
/// the successful renewal was sent; none when the store says that the lease is gone.
async fn renew(session: &Session, id: LeaseId, patience: Duration) -> Option<Instant> {
    let mut backoff = session.backoff();
    loop {
        let sent = Instant::now();
        if let Ok(connection) = session.connector().get("renew the lease").await {
            let mut client = connection.client.lease_client();
            match tokio::time::timeout(patience, client.keep_alive(id.get())).await {
                Ok(Ok(_)) => return Some(sent),
                Ok(Err(etcd::Error::LeaseKeepAliveError(_))) => return None,
                Ok(Err(error)) => tracing::debug!(lease = %id, %error, "renewal failed"),
                Err(_) => tracing::debug!(lease = %id, "renewal not answered"),
            }
            session.connector().failed(&connection);
        }
        // The backoff is without end; were it not, the lease would be as good as gone.
        tokio::time::sleep(backoff.next()?).await;
    }
}
