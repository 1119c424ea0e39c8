//! A disk in memory that forgets, tears, stalls, fills up and fails, all by seed.
//!
//! ```text
//!   write ──> page cache ──sync──> platter          names ──sync_dir──> durable names
//!                 └── power cut: each 512-byte sector that was not synced is kept or lost,
//!                     and so is each creation, renaming and removal, one by one
//! ```
//!
//! Time is not waited for but added up: [`SimDisk::take_spent_us`] says how long the operations
//! since the last call would have taken. Directories themselves are durable at once.

mod file;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use skein_store_server::disk::{Disk, DiskFile};

use crate::rng::Rng;
use file::{Inode, SimFile};

/// Unit in which a power cut keeps or loses what was not synced, in bytes.
pub const SECTOR: usize = 512;

/// Time of a write into the page cache, in microseconds.
const WRITE_US: u64 = 20;

/// What is wrong with a disk now.
#[derive(Clone, Debug)]
pub struct Faults {
    /// Time that a sync takes at least, in microseconds.
    pub sync_us: u64,
    /// By how much chance makes a sync slower, at most, in microseconds.
    pub jitter_us: u64,
    /// The next sync fails.
    pub fail_sync: bool,
    /// Syncs say that all is well and do nothing. No fault that a store must bear.
    pub sync_lies: bool,
    /// Bytes that fit.
    pub capacity: u64,
    /// Operations after which the member stops in the middle of one.
    pub stop_after: Option<u64>,
}

impl Default for Faults {
    /// A healthy disk as it is found in a server: a sync takes about a millisecond.
    fn default() -> Self {
        Self {
            sync_us: 800,
            jitter_us: 700,
            fail_sync: false,
            sync_lies: false,
            capacity: u64::MAX,
            stop_after: None,
        }
    }
}

/// A change of names that no sync has made durable.
#[derive(Clone, Debug)]
enum NameChange {
    Link(PathBuf, u64),
    Rename(PathBuf, PathBuf, u64),
    Unlink(PathBuf),
}

struct State {
    rng: Rng,
    faults: Faults,
    inodes: BTreeMap<u64, Inode>,
    next_inode: u64,
    names: BTreeMap<PathBuf, u64>,
    durable_names: BTreeMap<PathBuf, u64>,
    name_changes: Vec<NameChange>,
    spent_us: u64,
    /// Counts operations that change something.
    operations: u64,
    /// The member has stopped: nothing works until it is started again.
    stopped: bool,
    /// Handles of former starts do not work.
    start: u64,
}

/// Clones share one disk.
#[derive(Clone)]
pub struct SimDisk(Arc<Mutex<State>>);

impl SimDisk {
    /// An empty disk.
    pub fn new(rng: Rng) -> Self {
        Self(Arc::new(Mutex::new(State {
            rng,
            faults: Faults::default(),
            inodes: BTreeMap::new(),
            next_inode: 1,
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            name_changes: Vec::new(),
            spent_us: 0,
            operations: 0,
            stopped: false,
            start: 1,
        })))
    }

    /// Changes what is wrong with it.
    pub fn set_faults(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.lock().faults);
    }

    /// Time that the operations since the last call took, in microseconds.
    pub fn take_spent_us(&self) -> u64 {
        std::mem::take(&mut self.lock().spent_us)
    }

    /// Whether it stopped in the middle of an operation, as [`Faults::stop_after`] asks.
    pub fn is_stopped(&self) -> bool {
        self.lock().stopped
    }

    /// Operations so far that change something.
    pub fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// The process ends and starts again; the operating system goes on.
    pub fn restart(&self) {
        let mut state = self.lock();
        state.start += 1;
        state.stopped = false;
        state.faults.stop_after = None;
    }

    /// Power is lost, and comes back. What is lost is drawn: everything, nothing, or each by itself.
    pub fn power_cut(&self) {
        self.restart();
        let mut state = self.lock();
        let keep_percent = [0, 100, 50, 90][state.rng.below(4) as usize];
        let State { rng, inodes, names, durable_names, name_changes, .. } = &mut *state;
        for change in std::mem::take(name_changes) {
            if rng.percent(keep_percent) {
                change.apply(durable_names);
            }
        }
        *names = durable_names.clone();
        inodes.retain(|inode, _| names.values().any(|named| named == inode));
        inodes.values_mut().for_each(|inode| inode.power_cut(|| rng.percent(keep_percent)));
    }

    /// Flips one bit of something that was synced, but not of what each file synced last: damage
    /// there cannot be told from a torn write. Says where, if there was anything to flip.
    pub fn flip_bit(&self) -> Option<(PathBuf, usize)> {
        let mut state = self.lock();
        let State { rng, inodes, names, .. } = &mut *state;
        let named: Vec<_> = names.iter().map(|(path, inode)| (path.clone(), *inode)).collect();
        let (path, inode) = rng.pick(&named)?.clone();
        let at = inodes.get_mut(&inode)?.flip_bit(rng)?;
        Some((path, at))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl NameChange {
    fn apply(self, names: &mut BTreeMap<PathBuf, u64>) {
        match self {
            NameChange::Link(path, inode) => {
                names.insert(path, inode);
            }
            NameChange::Rename(from, to, inode) => {
                if names.get(&from) == Some(&inode) {
                    names.remove(&from);
                }
                names.insert(to, inode);
            }
            NameChange::Unlink(path) => {
                names.remove(&path);
            }
        }
    }

    fn touches(&self, dir: &Path) -> bool {
        let (NameChange::Link(path, _) | NameChange::Rename(path, _, _) | NameChange::Unlink(path)) =
            self;
        path.parent() == Some(dir)
    }
}

fn stopped() -> io::Error {
    io::Error::other("the member stopped in the middle of this")
}

impl State {
    /// Counts an operation, and stops the member when its time has come. The operation itself is
    /// done or not by chance then.
    fn operation(&mut self) -> io::Result<Doing> {
        if self.stopped {
            return Err(stopped());
        }
        self.operations += 1;
        match &mut self.faults.stop_after {
            Some(0) => {
                self.stopped = true;
                Ok(if self.rng.one_in(2) { Doing::Last } else { return Err(stopped()) })
            }
            Some(left) => {
                *left -= 1;
                Ok(Doing::One)
            }
            None => Ok(Doing::One),
        }
    }

    fn sync_took(&mut self) {
        let jitter = self.faults.jitter_us;
        self.spent_us += self.faults.sync_us + self.rng.below(jitter + 1);
    }

    fn used(&self) -> u64 {
        self.inodes.values().map(Inode::len).sum()
    }

    fn change(&mut self, change: NameChange) {
        change.clone().apply(&mut self.names);
        self.name_changes.push(change);
    }

    fn found(&self, path: &Path) -> io::Result<u64> {
        self.names.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// Whether the member goes on after an operation.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Doing {
    One,
    Last,
}

impl Doing {
    /// The caller never hears that its last operation was done.
    fn then<T>(self, done: T) -> io::Result<T> {
        if self == Doing::Last { Err(stopped()) } else { Ok(done) }
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let state = self.lock();
        if state.stopped {
            return Err(stopped());
        }
        let inode = state.found(path)?;
        Ok(Box::new(SimFile::new(self, inode, state.start)))
    }

    fn create(&self, path: &Path, len: u64) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.lock();
        let doing = state.operation()?;
        if len > state.faults.capacity.saturating_sub(state.used()) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let inode = state.next_inode;
        state.next_inode += 1;
        state.inodes.insert(inode, Inode::zeros(len as usize));
        state.change(NameChange::Link(path.to_owned(), inode));
        state.spent_us += WRITE_US;
        doing.then(Box::new(SimFile::new(self, inode, state.start)))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.lock();
        let inside = state.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside.filter_map(|p| Some(p.file_name()?.to_string_lossy().into_owned())).collect())
    }

    fn create_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.lock();
        let doing = state.operation()?;
        let inode = state.found(from)?;
        state.change(NameChange::Rename(from.to_owned(), to.to_owned(), inode));
        doing.then(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        let doing = state.operation()?;
        if state.names.contains_key(path) {
            state.change(NameChange::Unlink(path.to_owned()));
        }
        doing.then(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.lock();
        let doing = state.operation()?;
        let (synced, left): (Vec<_>, Vec<_>) =
            std::mem::take(&mut state.name_changes).into_iter().partition(|c| c.touches(dir));
        state.name_changes = left;
        synced.into_iter().for_each(|change| change.apply(&mut state.durable_names));
        state.sync_took();
        doing.then(())
    }

    fn takes_threads(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests;
