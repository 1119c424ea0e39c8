//! One file: what readers see, and what a power cut leaves of it.

use std::collections::BTreeSet;
use std::io;
use std::ops::Range;

use skein_store_server::disk::DiskFile;

use super::{SECTOR, SimDisk, State, WRITE_US, stopped};
use crate::rng::Rng;

/// The contents of a file, whatever its name is.
pub(super) struct Inode {
    written: Vec<u8>,
    synced: Vec<u8>,
    /// Sectors that differ, or may.
    dirty: BTreeSet<usize>,
    /// From where on the last sync that had something to do changed the file.
    last_synced_from: usize,
}

impl Inode {
    pub(super) fn zeros(len: usize) -> Self {
        let dirty = (0..len.div_ceil(SECTOR)).collect();
        Self { written: vec![0; len], synced: Vec::new(), dirty, last_synced_from: 0 }
    }

    pub(super) fn len(&self) -> u64 {
        self.written.len() as u64
    }

    fn write(&mut self, bytes: &[u8], offset: usize) {
        let end = offset + bytes.len();
        if self.written.len() < end {
            self.written.resize(end, 0);
        }
        self.written[offset..end].copy_from_slice(bytes);
        self.dirty.extend(offset / SECTOR..end.div_ceil(SECTOR));
    }

    fn sector(&self, number: usize) -> Range<usize> {
        let from = (number * SECTOR).min(self.written.len());
        from..(from + SECTOR).min(self.written.len())
    }

    fn keep(&mut self, number: usize) {
        let range = self.sector(number);
        if self.synced.len() < range.end {
            self.synced.resize(range.end, 0);
        }
        self.synced[range.clone()].copy_from_slice(&self.written[range]);
    }

    fn sync(&mut self) {
        if let Some(&first) = self.dirty.first() {
            self.last_synced_from = first * SECTOR;
        }
        for number in std::mem::take(&mut self.dirty) {
            self.keep(number);
        }
        self.synced.resize(self.written.len(), 0);
    }

    /// The kernel drops what it could not write and forgets that it was dirty: a later sync says
    /// that all is well.
    fn fail_sync(&mut self, mut kept: impl FnMut() -> bool) {
        for number in std::mem::take(&mut self.dirty) {
            if kept() {
                self.keep(number);
            }
        }
    }

    pub(super) fn power_cut(&mut self, mut kept: impl FnMut() -> bool) {
        self.fail_sync(&mut kept);
        self.written.clone_from(&self.synced);
    }

    pub(super) fn flip_bit(&mut self, rng: &mut Rng) -> Option<usize> {
        let used = self.synced.iter().rposition(|&byte| byte != 0)? + 1;
        let bound = used.min(self.last_synced_from);
        if bound == 0 {
            return None;
        }
        let at = rng.below(bound as u64) as usize;
        let bit = 1 << rng.below(8);
        self.synced[at] ^= bit;
        self.written[at] ^= bit;
        Some(at)
    }
}

pub(super) struct SimFile {
    disk: SimDisk,
    inode: u64,
    start: u64,
}

impl SimFile {
    pub(super) fn new(disk: &SimDisk, inode: u64, start: u64) -> Self {
        Self { disk: disk.clone(), inode, start }
    }

    fn with<T>(&self, act: impl FnOnce(&mut State, u64) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.disk.lock();
        if state.start != self.start || !state.inodes.contains_key(&self.inode) {
            return Err(stopped());
        }
        act(&mut state, self.inode)
    }
}

impl State {
    /// The inode of an open file, which [`SimFile::with`] has looked up before.
    fn file(&mut self, inode: u64) -> io::Result<&mut Inode> {
        self.inodes.get_mut(&inode).ok_or_else(stopped)
    }
}

impl DiskFile for SimFile {
    fn size(&self) -> io::Result<u64> {
        self.with(|state, inode| Ok(state.file(inode)?.len()))
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.with(|state, inode| {
            let from = offset as usize;
            let bytes = state.file(inode)?.written.get(from..from + buf.len());
            buf.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        })
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.with(|state, inode| {
            let doing = state.operation()?;
            let grows = (offset + buf.len() as u64).saturating_sub(state.file(inode)?.len());
            if grows > state.faults.capacity.saturating_sub(state.used()) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            state.file(inode)?.write(buf, offset as usize);
            state.spent_us += WRITE_US;
            doing.then(())
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.with(|state, inode| {
            let doing = state.operation()?;
            state.sync_took();
            if std::mem::take(&mut state.faults.fail_sync) {
                let mut rng = state.rng.fork();
                state.file(inode)?.fail_sync(|| rng.one_in(2));
                return Err(io::Error::other("the disk did not take it"));
            }
            if !state.faults.sync_lies {
                state.file(inode)?.sync();
            }
            doing.then(())
        })
    }
}
