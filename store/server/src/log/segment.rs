//! One segment file: its header, its place on disk, and writing batches to it.
//!
//! ```text
//!  0  magic "SKEINLOG"   8  version   12  CRC32C of the header with this field zero
//! 16  cluster id        24  member   32  sequence number   40..64  zeros
//! ```

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Owner;
use super::error::LogError;
use super::frame::{u32_at, u64_at};
use crate::disk::{Disk, DiskFile};

/// Length of a segment's header in bytes.
pub(super) const HEADER: usize = 64;

/// Format version of segments.
pub(super) const VERSION: u32 = 1;

const MAGIC: &[u8; 8] = b"SKEINLOG";
const SUFFIX: &str = ".seg";
const UNPUBLISHED: &str = ".next";

/// Capacity of a segment that must hold `bytes` of batches.
pub(super) fn capacity_for(bytes: usize) -> u64 {
    (HEADER + bytes) as u64
}

/// Where segments of one log live.
pub(super) struct SegmentPlace {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) dir: PathBuf,
    pub(super) owner: Owner,
}

impl SegmentPlace {
    pub(super) fn path(&self, sequence: u64) -> PathBuf {
        self.dir.join(format!("{sequence:016x}{SUFFIX}"))
    }

    fn unpublished(&self, sequence: u64) -> PathBuf {
        self.dir.join(format!("{sequence:016x}{SUFFIX}{UNPUBLISHED}"))
    }

    /// Sequence numbers of the segments present, ascending. Leftovers of an interrupted creation
    /// are removed.
    pub(super) fn list(&self) -> Result<Vec<u64>, LogError> {
        let names = self.disk.list(&self.dir).map_err(io_error("list", &self.dir))?;
        let mut found = Vec::new();
        for name in names {
            if name.ends_with(UNPUBLISHED) {
                let path = self.dir.join(&name);
                self.disk.remove(&path).map_err(io_error("remove", &path))?;
            } else if let Some(sequence) = name.strip_suffix(SUFFIX) {
                found.extend(u64::from_str_radix(sequence, 16).ok());
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    pub(super) fn read(&self, sequence: u64) -> Result<Vec<u8>, LogError> {
        let path = self.path(sequence);
        let read = || -> io::Result<Vec<u8>> {
            let file = self.disk.open(&path)?;
            let mut bytes = vec![0; file.size()? as usize];
            file.read_at(&mut bytes, 0)?;
            Ok(bytes)
        };
        read().map_err(io_error("read", &path))
    }

    pub(super) fn remove(&self, sequence: u64) -> Result<(), LogError> {
        let path = self.path(sequence);
        self.disk.remove(&path).map_err(io_error("remove", &path))
    }

    pub(super) fn sync_dir(&self) -> Result<(), LogError> {
        self.disk.sync_dir(&self.dir).map_err(io_error("sync", &self.dir))
    }

    /// Checks a segment's header against this place.
    pub(super) fn check_header(&self, sequence: u64, bytes: &[u8]) -> Result<(), LogError> {
        let path = self.path(sequence);
        let damaged = |what| LogError::Damaged { path: path.clone(), offset: 0, what };
        let header =
            bytes.first_chunk::<HEADER>().ok_or(damaged("the segment header is cut off"))?;
        if &header[..8] != MAGIC {
            return Err(damaged("a segment header was expected"));
        }
        let mut unsummed = *header;
        unsummed[12..16].fill(0);
        if crc32c::crc32c(&unsummed) != u32_at(header, 12) {
            return Err(damaged("the segment header fails its checksum"));
        }
        let found = u32_at(header, 8);
        if found != VERSION {
            return Err(LogError::UnknownVersion { path, offset: 0, found, known: VERSION });
        }
        let owner = Owner { cluster_id: u64_at(header, 16), member_id: u64_at(header, 24) };
        if owner != self.owner {
            return Err(LogError::OtherOwner {
                path,
                found_member: owner.member_id,
                found_cluster: owner.cluster_id,
                member: self.owner.member_id,
                cluster: self.owner.cluster_id,
            });
        }
        if u64_at(header, 32) != sequence {
            return Err(damaged("the segment's number is not that of its name"));
        }
        Ok(())
    }

    pub(super) fn header(&self, sequence: u64) -> [u8; HEADER] {
        let mut header = [0u8; HEADER];
        header[..8].copy_from_slice(MAGIC);
        header[8..12].copy_from_slice(&VERSION.to_le_bytes());
        header[16..24].copy_from_slice(&self.owner.cluster_id.to_le_bytes());
        header[24..32].copy_from_slice(&self.owner.member_id.to_le_bytes());
        header[32..40].copy_from_slice(&sequence.to_le_bytes());
        let sum = crc32c::crc32c(&header);
        header[12..16].copy_from_slice(&sum.to_le_bytes());
        header
    }
}

/// Where the next batch of a reopened segment goes, and how far its torn tail reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tail {
    /// Where the last complete batch begins.
    pub(super) last_batch: u64,
    /// End of the last complete batch.
    pub(super) end: u64,
    /// End of the last byte that is not zero; more than `end` when a tail was torn.
    pub(super) dirty_until: u64,
}

/// A created segment that does not have its name yet.
pub(super) struct Created {
    sequence: u64,
    capacity: u64,
    file: Box<dyn DiskFile>,
}

impl Created {
    pub(super) fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Gives the segment its name, durably: from here on recovery sees it.
    pub(super) fn publish(self, place: &SegmentPlace) -> Result<Segment, LogError> {
        let (from, to) = (place.unpublished(self.sequence), place.path(self.sequence));
        place.disk.rename(&from, &to).map_err(io_error("rename", &from))?;
        place.sync_dir()?;
        Ok(Segment {
            sequence: self.sequence,
            capacity: self.capacity,
            end: HEADER as u64,
            file: self.file,
        })
    }
}

/// The segment that is being written.
pub(super) struct Segment {
    sequence: u64,
    capacity: u64,
    end: u64,
    file: Box<dyn DiskFile>,
}

impl Segment {
    /// A new segment full of zeros behind a durable header.
    pub(super) fn create(
        place: &SegmentPlace,
        sequence: u64,
        capacity: u64,
    ) -> Result<Created, LogError> {
        let path = place.unpublished(sequence);
        let create = || -> io::Result<Created> {
            let file = place.disk.create(&path, capacity)?;
            file.write_at(&place.header(sequence), 0)?;
            file.sync()?;
            Ok(Created { sequence, capacity, file })
        };
        create().map_err(io_error("create", &path))
    }

    /// Opens the last segment for appending, erasing its torn tail.
    ///
    /// What was read back may not be durable: the process may have stopped before its sync, or the
    /// sync failed, after which the cache holds what the disk does not. Only the last batch can be
    /// in doubt, and the segment's name; both are made durable before anything is built on them.
    pub(super) fn reopen(
        place: &SegmentPlace,
        sequence: u64,
        tail: Tail,
    ) -> Result<Self, LogError> {
        let path = place.path(sequence);
        let reopen = || -> io::Result<Self> {
            let file = place.disk.open(&path)?;
            let mut last = vec![0; (tail.end - tail.last_batch) as usize];
            file.read_at(&mut last, tail.last_batch)?;
            file.write_at(&last, tail.last_batch)?;
            if tail.dirty_until > tail.end {
                file.write_at(&vec![0; (tail.dirty_until - tail.end) as usize], tail.end)?;
            }
            file.sync()?;
            Ok(Self { sequence, capacity: file.size()?, end: tail.end, file })
        };
        let segment = reopen().map_err(io_error("open", &path))?;
        place.sync_dir()?;
        Ok(segment)
    }

    pub(super) fn sequence(&self) -> u64 {
        self.sequence
    }

    pub(super) fn capacity(&self) -> u64 {
        self.capacity
    }

    pub(super) fn fits(&self, bytes: usize) -> bool {
        self.end + bytes as u64 <= self.capacity
    }

    pub(super) fn half_full(&self) -> bool {
        self.end >= self.capacity / 2
    }

    /// Writes and syncs; returns the time of the sync.
    pub(super) fn write_batch(
        &mut self,
        place: &SegmentPlace,
        bytes: &[u8],
    ) -> Result<Duration, LogError> {
        let path = || place.path(self.sequence);
        self.file.write_at(bytes, self.end).map_err(|e| io_error("write", &path())(e))?;
        let begun = Instant::now();
        self.file.sync().map_err(|e| io_error("sync", &path())(e))?;
        self.end += bytes.len() as u64;
        Ok(begun.elapsed())
    }
}

pub(super) fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LogError {
    let path = path.to_owned();
    move |source| LogError::Io { action, path, source }
}
