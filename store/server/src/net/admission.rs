//! How many connections there may be.
//!
//! Clients must not be able to take the last open file: the log needs one for its next segment,
//! and a member that cannot write its log stops.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::process;

/// Open files kept for the log, snapshots, probes and the runtime; as etcd keeps.
const RESERVED_FILES: usize = 150;

/// Connections of other members: each of at most a dozen has one for messages, one for single calls
/// and now and then one for a snapshot.
const PEER_CONNECTIONS: usize = 64;

/// Connections of `--listen-metrics-urls`, out of the reserve, so that probes are answered even
/// when clients have taken all they may.
const METRICS_CONNECTIONS: usize = 64;

/// A trouble that lasts is logged no more often than this.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Places for connections; clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Admission(Arc<Semaphore>);

impl Admission {
    /// As many clients as open files allow.
    pub(crate) fn of_clients() -> Self {
        Self::new(clients(process::max_open_files()))
    }

    /// For probes and dashboards.
    pub(crate) fn of_metrics() -> Self {
        Self::new(METRICS_CONNECTIONS)
    }

    /// For the other members.
    pub(crate) fn of_peers() -> Self {
        Self::new(PEER_CONNECTIONS)
    }

    fn new(places: usize) -> Self {
        Self(Arc::new(Semaphore::new(places.min(Semaphore::MAX_PERMITS))))
    }

    /// A place, held until dropped. Without one the kernel keeps new connections waiting.
    pub(super) async fn enter(&self, trouble: &mut Trouble) -> OwnedSemaphorePermit {
        loop {
            if let Ok(place) = Arc::clone(&self.0).try_acquire_owned() {
                return place;
            }
            trouble.log("new connections wait: there are as many as open files allow");
            if let Ok(place) = Arc::clone(&self.0).acquire_owned().await {
                return place;
            }
        }
    }
}

/// Half of few files, all but the reserve of many.
fn clients(files: usize) -> usize {
    files.saturating_sub(RESERVED_FILES).max(files / 2)
}

/// Keeps one trouble from filling the log.
#[derive(Default)]
pub(super) struct Trouble {
    logged: Option<Instant>,
}

impl Trouble {
    pub(super) fn log(&mut self, what: &str) {
        if self.logged.is_none_or(|logged| logged.elapsed() >= LOG_INTERVAL) {
            self.logged = Some(Instant::now());
            tracing::warn!("{what}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_files_are_always_left() {
        assert_eq!(clients(1024), 874);
        assert_eq!(clients(200), 100);
        assert_eq!(clients(usize::MAX), usize::MAX - RESERVED_FILES);
    }

    #[tokio::test]
    async fn who_leaves_makes_a_place() {
        let admission = Admission::new(1);
        let mut trouble = Trouble::default();
        let first = admission.enter(&mut trouble).await;
        assert!(trouble.logged.is_none());
        let (_, second) = tokio::join!(
            async { drop(first) },
            tokio::time::timeout(Duration::from_secs(5), admission.enter(&mut trouble)),
        );
        drop(second.expect("a place is free"));
    }
}
