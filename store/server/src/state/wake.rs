//! Waking watch streams without making the driver pay for each of them.
//!
//! The driver wakes one task for each shard; that task wakes the shard's streams, one connection
//! after the other: what the streams of one connection answer then goes out in one write.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// As many as cores are worth using for wake-ups.
const SHARDS: usize = 2;

/// A connection, for as long as the process runs. What waits inside of the member itself, without
/// a connection, is the default one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ConnectionId(u64);

impl ConnectionId {
    /// One that no other connection has.
    pub(crate) fn fresh() -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Self(LAST.fetch_add(1, Ordering::Relaxed) + 1)
    }
}

#[derive(Default)]
struct Shard {
    /// From the driver to the shard's task; one pending wake-up is remembered.
    moved: Notify,
    /// From that task to every stream of a connection.
    connections: Mutex<BTreeMap<ConnectionId, Streams>>,
    sleepers: AtomicUsize,
}

/// The streams of one connection.
#[derive(Default)]
struct Streams {
    moved: Arc<Notify>,
    count: usize,
}

impl Shard {
    /// The map is whole at every point where a holder could panic.
    fn connections(&self) -> MutexGuard<'_, BTreeMap<ConnectionId, Streams>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All shards.
#[derive(Default)]
pub(crate) struct Wake {
    shards: [Arc<Shard>; SHARDS],
}

impl Wake {
    /// The revision moved.
    pub(crate) fn wake(&self) {
        for shard in &self.shards {
            if shard.sleepers.load(Ordering::Acquire) > 0 {
                shard.moved.notify_one();
            }
        }
    }

    /// A new stream's place.
    pub(crate) fn sleeper(&self, connection: ConnectionId) -> Sleeper {
        let shard = Arc::clone(&self.shards[connection.0 as usize % SHARDS]);
        shard.sleepers.fetch_add(1, Ordering::AcqRel);
        let moved = {
            let mut connections = shard.connections();
            let streams = connections.entry(connection).or_default();
            streams.count += 1;
            Arc::clone(&streams.moved)
        };
        Sleeper { shard, connection, moved }
    }

    /// The tasks to run.
    pub(crate) fn wakers(&self) -> Vec<Waker> {
        self.shards.iter().map(|shard| Waker(Arc::clone(shard))).collect()
    }
}

/// One shard's task.
pub(crate) struct Waker(Arc<Shard>);

impl Waker {
    /// Passes wake-ups on until dropped.
    pub(crate) async fn run(self) {
        loop {
            self.0.moved.notified().await;
            // Not under the lock: streams may come and go meanwhile.
            let streams: Vec<_> =
                self.0.connections().values().map(|streams| Arc::clone(&streams.moved)).collect();
            streams.iter().for_each(|moved| moved.notify_waiters());
        }
    }
}

/// One stream's place in its shard.
pub(crate) struct Sleeper {
    shard: Arc<Shard>,
    connection: ConnectionId,
    moved: Arc<Notify>,
}

impl Sleeper {
    /// Resolves when the revision moves after this call, whether it is polled by then or not.
    pub(crate) fn moved(&self) -> tokio::sync::futures::OwnedNotified {
        Arc::clone(&self.moved).notified_owned()
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        self.shard.sleepers.fetch_sub(1, Ordering::AcqRel);
        let mut connections = self.shard.connections();
        if let Some(streams) = connections.get_mut(&self.connection) {
            streams.count -= 1;
            if streams.count == 0 {
                connections.remove(&self.connection);
            }
        }
    }
}
