//! Folders of manifests, watched.
//!
//! A thread of its own owns the folders: file reads and stats block. Kernel notifications say
//! which path to look at again; what is there is then read from the disk, so a lost, doubled or
//! reordered notification does no harm, and a full scan every [`RESCAN_EVERY`] finds what was
//! missed altogether.
//!
//! Editors and tools either replace a file by a rename or write it in place. A rename, a removal
//! and the closing of a written file are final: they are looked at after [`SETTLE_FINAL`]. A write
//! that may go on waits [`SETTLE_WRITING`], so that a half-written file is not taken for an edit.
//!
//! Files are those ending in `.yaml`, `.yml` and `.json`, in the folder and its subfolders; hidden
//! ones (a name that starts with a dot) are skipped. Links to files are followed, links to folders
//! below the given one are not. A mounted ConfigMap swaps a hidden link: the folder's change is
//! noticed and its files are read again.

mod scan;
mod watcher;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use skein_controlplane_core::manifest::ManifestSet;
use skein_controlplane_core::source::Snapshot;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::source::{Source, SourceError, SourceTask};
use scan::Scanner;
use watcher::{Notice, Watcher};

/// After a rename, a removal, a closed write: long enough to take the other half of a pair along.
const SETTLE_FINAL: Duration = Duration::from_millis(2);
/// After a write that was not closed yet: editors write and close within a few milliseconds.
const SETTLE_WRITING: Duration = Duration::from_millis(50);
/// Files may be created in a new folder before the kernel watches it: it is looked at twice.
const SETTLE_NEW_FOLDER: Duration = Duration::from_millis(100);
/// Full scan, for filesystems that do not notify and for lost notifications.
const RESCAN_EVERY: Duration = Duration::from_secs(30);
/// Full scan while a folder is missing or unreadable: it should be taken up soon after it appears.
const RESCAN_UNREADABLE: Duration = Duration::from_secs(1);

/// Folders of manifests as a [`Source`].
#[derive(Debug)]
pub struct FolderSource {
    roots: Vec<PathBuf>,
}

impl FolderSource {
    /// Of several folders the first has precedence where one object stands in both.
    pub fn new(roots: Vec<PathBuf>) -> FolderSource {
        FolderSource { roots }
    }
}

impl Source for FolderSource {
    fn name(&self) -> String {
        let roots: Vec<_> = self.roots.iter().map(|r| r.display().to_string()).collect();
        format!("folder {}", roots.join(", "))
    }

    fn run(
        self: Box<Self>,
        out: watch::Sender<Option<Snapshot>>,
        stop: CancellationToken,
    ) -> SourceTask {
        Box::pin(async move {
            let watcher = Watcher::new()?;
            let (waker, stopped) = (watcher.waker(), stop.clone());
            let mut thread =
                tokio::task::spawn_blocking(move || follow(watcher, self.roots, &out, &stop));
            tokio::select! {
                // Neither arm holds anything: the thread is waited for below.
                ended = &mut thread => return ended.map_err(|_| SourceError::Panicked)?,
                () = stopped.cancelled() => waker.wake(),
            }
            thread.await.map_err(|_| SourceError::Panicked)?
        })
    }
}

fn follow(
    mut watcher: Watcher,
    roots: Vec<PathBuf>,
    out: &watch::Sender<Option<Snapshot>>,
    stop: &CancellationToken,
) -> Result<(), SourceError> {
    let mut agenda = Agenda::new(Instant::now());
    let mut scanner = Scanner::new(roots, stop.clone());
    let mut set = ManifestSet::default();
    while !stop.is_cancelled() {
        let now = Instant::now();
        let mut looked = false;
        for path in agenda.take_due(now) {
            if scanner.roots().contains(&path) {
                // The folder itself was moved, removed or replaced: it has to be watched anew.
                agenda.next_rescan = now;
            } else {
                scanner.look_at(&mut set, &path);
            }
            looked = true;
        }
        if agenda.rescan_due(now) {
            watcher.watch(scanner.roots());
            scanner.scan_all(&mut set);
            agenda.next_rescan = now + RESCAN_EVERY;
            looked = true;
        }
        if stop.is_cancelled() {
            // A scan that was cut short has not seen everything.
            break;
        }
        if looked {
            if set.unreadable_folders().next().is_some() {
                agenda.next_rescan = agenda.next_rescan.min(now + RESCAN_UNREADABLE);
            }
            publish(out, set.snapshot());
        }
        if let Some(notice) = watcher.next(agenda.sleep(Instant::now())) {
            agenda.note(notice, Instant::now());
        }
    }
    Ok(())
}

/// Publishes only what differs, so that readers are not woken for nothing.
fn publish(out: &watch::Sender<Option<Snapshot>>, new: Snapshot) {
    out.send_if_modified(|current| {
        let same = current.as_ref().is_some_and(|old| same(old, &new));
        if !same {
            debug!(objects = new.objects.len(), problems = new.problems.len(), "manifests read");
            *current = Some(new);
        }
        !same
    });
}

fn same(old: &Snapshot, new: &Snapshot) -> bool {
    old.objects.same(&new.objects)
        && old.held == new.held
        && old.complete == new.complete
        && old.problems == new.problems
        && old.foreign == new.foreign
}

/// What is to be looked at, and when.
#[derive(Debug)]
struct Agenda {
    due: BTreeMap<PathBuf, Instant>,
    next_rescan: Instant,
}

impl Agenda {
    fn new(now: Instant) -> Agenda {
        Agenda { due: BTreeMap::new(), next_rescan: now }
    }

    fn note(&mut self, notice: Notice, now: Instant) {
        match notice {
            Notice::Final(path) => self.set(path, now + SETTLE_FINAL),
            Notice::Writing(path) => self.set(path, now + SETTLE_WRITING),
            Notice::NewFolder(path) => self.set(path, now + SETTLE_NEW_FOLDER),
            Notice::Lost => self.next_rescan = now,
            Notice::Wake => {}
        }
    }

    /// The last notice about a path decides when it is looked at.
    fn set(&mut self, path: PathBuf, at: Instant) {
        self.due.insert(path, at);
    }

    fn rescan_due(&self, now: Instant) -> bool {
        self.next_rescan <= now
    }

    fn take_due(&mut self, now: Instant) -> Vec<PathBuf> {
        let due: Vec<PathBuf> =
            self.due.iter().filter(|(_, at)| **at <= now).map(|(path, _)| path.clone()).collect();
        for path in &due {
            self.due.remove(path);
        }
        due
    }

    fn sleep(&self, now: Instant) -> Duration {
        let next = self
            .due
            .values()
            .min()
            .copied()
            .map_or(self.next_rescan, |at| at.min(self.next_rescan));
        next.saturating_duration_since(now)
    }
}

/// Whether a name counts as hidden.
fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|n| n.as_encoded_bytes().starts_with(b"."))
}
