//! Kernel notifications, reduced to what is worth a look.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, CreateKind, EventKind, ModifyKind, RenameMode};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher as _};
use tracing::warn;

use crate::source::SourceError;

/// Notices kept for the thread; beyond them a full scan replaces them all.
const NOTICES_MAX: usize = 4096;

/// Why a path is worth a look.
#[derive(Debug)]
pub(super) enum Notice {
    /// Renamed, removed, or closed after a write.
    Final(PathBuf),
    /// Created or written, and perhaps still open.
    Writing(PathBuf),
    /// A new folder.
    NewFolder(PathBuf),
    /// Notifications were lost.
    Lost,
    /// Nothing happened, but the thread is wanted.
    Wake,
}

/// Wakes the thread.
pub(super) struct Waker(SyncSender<Notice>);

impl Waker {
    pub(super) fn wake(&self) {
        // A full queue keeps the thread awake anyway, and a closed one has no thread.
        let _ = self.0.try_send(Notice::Wake);
    }
}

/// The kernel's watches on the given folders.
pub(super) struct Watcher {
    inner: RecommendedWatcher,
    notices: Receiver<Notice>,
    sender: SyncSender<Notice>,
    lost: Arc<AtomicBool>,
    /// By name: device and inode of the folder that is watched.
    watched: BTreeMap<PathBuf, (u64, u64)>,
}

impl Watcher {
    pub(super) fn new() -> Result<Watcher, SourceError> {
        let (sender, notices) = sync_channel(NOTICES_MAX);
        let lost = Arc::new(AtomicBool::new(false));
        let (flag, own) = (lost.clone(), sender.clone());
        let inner = notify::recommended_watcher(move |event| pass_on(event, &sender, &flag))
            .map_err(|source| SourceError::Watch { source })?;
        Ok(Watcher { inner, notices, sender: own, lost, watched: BTreeMap::new() })
    }

    /// Wakes whoever waits for the next notice.
    pub(super) fn waker(&self) -> Waker {
        Waker(self.sender.clone())
    }

    /// Watches the folders that are there. One that was replaced by another of its name is watched
    /// anew: the kernel watches the folder, not the name.
    pub(super) fn watch(&mut self, roots: &[PathBuf]) {
        for root in roots {
            let inode = std::fs::metadata(root).ok().filter(|m| m.is_dir());
            let inode = inode.map(|m| (m.dev(), m.ino()));
            if self.watched.get(root) == inode.as_ref() {
                continue;
            }
            if self.watched.remove(root).is_some() {
                // Fails when the kernel dropped the watch together with the folder.
                let _ = self.inner.unwatch(root);
            }
            let Some(inode) = inode else { continue };
            match self.inner.watch(root, RecursiveMode::Recursive) {
                Ok(()) => {
                    self.watched.insert(root.clone(), inode);
                }
                Err(error) => {
                    let folder = root.display();
                    warn!(%folder, %error, "folder cannot be watched: it is scanned periodically");
                }
            }
        }
    }

    /// `None` when nothing happened in that time.
    pub(super) fn next(&self, timeout: Duration) -> Option<Notice> {
        if self.lost.swap(false, Ordering::AcqRel) {
            return Some(Notice::Lost);
        }
        // Cannot be disconnected: one sender is kept here.
        self.notices.recv_timeout(timeout).ok()
    }
}

fn pass_on(event: notify::Result<Event>, sender: &SyncSender<Notice>, lost: &AtomicBool) {
    let lose = || {
        lost.store(true, Ordering::Release);
        // A full queue wakes the thread as well.
        let _ = sender.try_send(Notice::Wake);
    };
    let Ok(event) = event else { return lose() };
    if event.need_rescan() {
        lose();
    }
    for path in event.paths {
        let notice = match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => Notice::Final(path),
            EventKind::Access(_) => continue,
            EventKind::Create(CreateKind::Folder) => Notice::NewFolder(path),
            EventKind::Create(_) => Notice::Writing(path),
            EventKind::Modify(ModifyKind::Name(RenameMode::Any | RenameMode::Both))
            | EventKind::Modify(ModifyKind::Name(_))
            | EventKind::Modify(ModifyKind::Metadata(_))
            | EventKind::Remove(_) => Notice::Final(path),
            EventKind::Modify(_) | EventKind::Any | EventKind::Other => Notice::Writing(path),
        };
        if sender.try_send(notice).is_err() {
            lose();
        }
    }
}
