//! One CNI request at a time for each attachment.
//!
//! The specification forbids runtimes to run two for one container at once, but one that lost
//! patience with an ADD sends DEL and the next ADD while the first still works here. Requests for
//! different attachments do not wait for each other.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use skein_nodeagent_core::endpoint::AttachmentKey;
use tokio::sync::OwnedMutexGuard;

/// The attachments somebody works on.
#[derive(Debug, Default)]
pub struct AttachmentLocks {
    busy: Mutex<BTreeMap<AttachmentKey, Arc<tokio::sync::Mutex<()>>>>,
}

impl AttachmentLocks {
    /// Waits until nobody else works on the attachment; it is free again when the guard is dropped.
    /// Those who wait come in the order in which they asked.
    pub async fn lock(&self, key: &AttachmentKey) -> OwnedMutexGuard<()> {
        let lock = {
            let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
            // Whoever holds or awaits a lock has a clone of it; new ones are made here only.
            busy.retain(|_, lock| Arc::strong_count(lock) > 1);
            Arc::clone(busy.entry(key.clone()).or_default())
        };
        lock.lock_owned().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(container_id: &str) -> AttachmentKey {
        AttachmentKey { container_id: container_id.to_owned(), ifname: "eth0".to_owned() }
    }

    #[tokio::test]
    async fn one_attachment_waits_others_do_not_and_nothing_is_left() {
        let locks = Arc::new(AttachmentLocks::default());
        let first = locks.lock(&key("a")).await;
        drop(locks.lock(&key("b")).await);
        let waiting = tokio::spawn({
            let locks = Arc::clone(&locks);
            async move { drop(locks.lock(&key("a")).await) }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(first);
        waiting.await.unwrap();
        drop(locks.lock(&key("c")).await);
        assert_eq!(locks.busy.lock().unwrap().len(), 1, "only the last one asked for");
    }
}
