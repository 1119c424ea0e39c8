//! Waking watch streams without making the driver pay for each of them.
//!
//! The driver wakes one task for each shard; that task wakes the shard's streams.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// As many as cores are worth using for wake-ups.
const SHARDS: usize = 2;

#[derive(Default)]
struct Shard {
    /// From the driver to the shard's task; one pending wake-up is remembered.
    moved: Notify,
    /// From that task to every stream.
    streams: Arc<Notify>,
    sleepers: Arc<AtomicUsize>,
}

/// All shards.
#[derive(Default)]
pub(crate) struct Wake {
    shards: [Arc<Shard>; SHARDS],
    next: AtomicUsize,
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
    pub(crate) fn sleeper(&self) -> Sleeper {
        let shard = &self.shards[self.next.fetch_add(1, Ordering::Relaxed) % SHARDS];
        shard.sleepers.fetch_add(1, Ordering::AcqRel);
        Sleeper { moved: Arc::clone(&shard.streams), sleepers: Arc::clone(&shard.sleepers) }
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
            self.0.streams.notify_waiters();
        }
    }
}

/// One stream's place in its shard.
pub(crate) struct Sleeper {
    moved: Arc<Notify>,
    sleepers: Arc<AtomicUsize>,
}

impl Sleeper {
    /// Resolves when the revision moves after this call, whether it is polled by then or not.
    pub(crate) fn moved(&self) -> tokio::sync::futures::OwnedNotified {
        Arc::clone(&self.moved).notified_owned()
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        self.sleepers.fetch_sub(1, Ordering::AcqRel);
    }
}
