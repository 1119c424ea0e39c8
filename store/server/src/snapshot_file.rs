//! Snapshot files: the state machine at one log index, as checksummed chunks. Little-endian.
//!
//! ```text
//!  0  magic "SKEINSNP"   8  version   12  CRC32C of the header with this field zero
//! 16  cluster id        24  member   32  index   40  term   48..64  zeros
//! 64  chunks: length (not 0), CRC32C, bytes
//!     end:    length 0, CRC32C over the checksums of all chunks in order
//! ```
//!
//! A file has its name only once it is complete and durable, so a named file that does not read
//! back is damaged, and the member refuses to start on it.

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use thiserror::Error;

use crate::disk::{Disk, DiskFile};
use crate::log::Owner;

const MAGIC: &[u8; 8] = b"SKEINSNP";
const VERSION: u32 = 1;
const HEADER: usize = 64;
const SUFFIX: &str = ".snap";
const UNFINISHED: &str = ".tmp";

/// Largest chunk read back, in bytes: far above what is written, so that a damaged length never
/// asks for all memory.
const MAX_CHUNK_BYTES: u32 = 256 << 20;

/// A snapshot cannot be written or read.
#[derive(Debug, Error)]
pub enum SnapshotError {
    /// A file operation failed.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The file is not as it was written.
    #[error("{} is damaged at offset {offset}: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Offset in bytes.
        offset: u64,
        /// What was expected and not found.
        what: &'static str,
    },
    /// Written by a version of Skein that this one does not understand.
    #[error("{} has format version {found}; this version reads {VERSION}", path.display())]
    UnknownVersion {
        /// The file.
        path: PathBuf,
        /// The version found.
        found: u32,
    },
    /// It belongs to another member or cluster.
    #[error(
        "{} belongs to member {found_member:x} of cluster {found_cluster:x}",
        path.display()
    )]
    OtherOwner {
        /// The file.
        path: PathBuf,
        /// Member in the file.
        found_member: u64,
        /// Cluster in the file.
        found_cluster: u64,
    },
}

/// The log position that a snapshot contains everything up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Index of the last entry contained.
    pub index: u64,
    /// Its term.
    pub term: u64,
}

/// Writes a snapshot and makes it durable under its final name; then removes older ones.
///
/// # Errors
/// An I/O error; no named file was left behind then, and older ones are untouched.
pub fn write(
    disk: &dyn Disk,
    dir: &Path,
    owner: Owner,
    position: Position,
    chunks: impl Iterator<Item = Bytes>,
) -> Result<(), SnapshotError> {
    let name = name(position);
    let unfinished = dir.join(format!("{name}{UNFINISHED}"));
    write_unfinished(disk, &unfinished, owner, position, chunks.map(Ok))?;
    publish(disk, dir, &unfinished, position)
}

/// Like [`write`], for chunks that come from elsewhere: gives the file its name only after `check`
/// read it back, and returns what that made of it.
///
/// # Errors
/// As [`write`], or `check` refused the file; nothing was left behind.
pub fn write_checked<T, E: From<SnapshotError>>(
    disk: &dyn Disk,
    dir: &Path,
    owner: Owner,
    position: Position,
    chunks: impl Iterator<Item = io::Result<Bytes>>,
    check: impl FnOnce(&mut SnapshotReader) -> Result<T, E>,
) -> Result<T, E> {
    // Its own name: the member may be writing a snapshot of its own up to the same index.
    let unfinished = dir.join(format!("{}.received{UNFINISHED}", name(position)));
    let checked = write_unfinished(disk, &unfinished, owner, position, chunks)
        .and_then(|()| SnapshotReader::open(disk, unfinished.clone(), owner, position))
        .map_err(E::from)
        .and_then(|mut reader| check(&mut reader));
    if checked.is_err() {
        // What stays behind here goes at the next start.
        let _ = disk.remove(&unfinished);
    }
    let checked = checked?;
    publish(disk, dir, &unfinished, position)?;
    Ok(checked)
}

fn write_unfinished(
    disk: &dyn Disk,
    path: &Path,
    owner: Owner,
    position: Position,
    chunks: impl Iterator<Item = io::Result<Bytes>>,
) -> Result<(), SnapshotError> {
    let fail = |action| io_error(action, path);
    let file = disk.create(path, 0).map_err(fail("create"))?;
    file.write_at(&header(owner, position), 0).map_err(fail("write"))?;
    let mut offset = HEADER as u64;
    let mut sums = 0u32;
    for chunk in chunks {
        let chunk = chunk.map_err(fail("receive the contents of"))?;
        if chunk.is_empty() {
            continue;
        }
        let sum = crc32c::crc32c(&chunk);
        sums = crc32c::crc32c_append(sums, &sum.to_le_bytes());
        file.write_at(&frame(chunk.len() as u32, sum), offset).map_err(fail("write"))?;
        file.write_at(&chunk, offset + FRAME as u64).map_err(fail("write"))?;
        offset += (FRAME + chunk.len()) as u64;
    }
    file.write_at(&frame(0, sums), offset).map_err(fail("write"))?;
    file.sync().map_err(fail("sync"))
}

/// Gives a durable file its name, then removes older snapshots.
fn publish(
    disk: &dyn Disk,
    dir: &Path,
    unfinished: &Path,
    position: Position,
) -> Result<(), SnapshotError> {
    let path = dir.join(name(position));
    disk.rename(unfinished, &path).map_err(io_error("rename", unfinished))?;
    disk.sync_dir(dir).map_err(io_error("sync", dir))?;
    for (older, path) in list(disk, dir)? {
        if older < position {
            disk.remove(&path).map_err(io_error("remove", &path))?;
        }
    }
    Ok(())
}

/// Opens the newest snapshot, if there is one, after removing unfinished ones.
///
/// # Errors
/// It cannot be read, is of another version, or belongs to someone else.
pub fn open_newest(
    disk: &dyn Disk,
    dir: &Path,
    owner: Owner,
) -> Result<Option<SnapshotReader>, SnapshotError> {
    disk.create_dir(dir).map_err(io_error("create", dir))?;
    remove_unfinished(disk, dir)?;
    let newest = list(disk, dir)?.into_iter().max();
    // The member may have stopped before its name was durable, and the log goes on behind it now.
    disk.sync_dir(dir).map_err(io_error("sync", dir))?;
    newest.map(|(position, path)| SnapshotReader::open(disk, path, owner, position)).transpose()
}

fn names(disk: &dyn Disk, dir: &Path) -> Result<Vec<String>, SnapshotError> {
    disk.list(dir).map_err(io_error("list", dir))
}

fn remove_unfinished(disk: &dyn Disk, dir: &Path) -> Result<(), SnapshotError> {
    for name in names(disk, dir)?.iter().filter(|name| name.ends_with(UNFINISHED)) {
        let path = dir.join(name);
        disk.remove(&path).map_err(io_error("remove", &path))?;
    }
    Ok(())
}

fn list(disk: &dyn Disk, dir: &Path) -> Result<Vec<(Position, PathBuf)>, SnapshotError> {
    let names = names(disk, dir)?;
    let named = names.iter().filter_map(|name| Some((parse_name(name)?, dir.join(name))));
    Ok(named.collect())
}

/// Yields the chunks of a snapshot, each checked, ending in an error when the file is damaged.
pub struct SnapshotReader {
    path: PathBuf,
    position: Position,
    file: Box<dyn DiskFile>,
    size: u64,
    offset: u64,
    sums: u32,
    ended: bool,
}

impl std::fmt::Debug for SnapshotReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SnapshotReader").field("path", &self.path).finish_non_exhaustive()
    }
}

impl SnapshotReader {
    /// What the snapshot contains.
    pub fn ends_at(&self) -> Position {
        self.position
    }

    /// The file, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn open(
        disk: &dyn Disk,
        path: PathBuf,
        owner: Owner,
        position: Position,
    ) -> Result<Self, SnapshotError> {
        let file = disk.open(&path).map_err(io_error("open", &path))?;
        let size = file.size().map_err(io_error("read", &path))?;
        let mut reader = Self { path, position, file, size, offset: 0, sums: 0, ended: false };
        let header = reader.read_exact(HEADER)?;
        reader.check_header(&header, owner)?;
        Ok(reader)
    }

    fn check_header(&self, header: &[u8], owner: Owner) -> Result<(), SnapshotError> {
        let damaged = |what| SnapshotError::Damaged { path: self.path.clone(), offset: 0, what };
        if &header[..8] != MAGIC {
            return Err(damaged("a snapshot header was expected"));
        }
        let mut unsummed = header.to_vec();
        unsummed[12..16].fill(0);
        if crc32c::crc32c(&unsummed) != u32_at(header, 12) {
            return Err(damaged("the header fails its checksum"));
        }
        let found = u32_at(header, 8);
        if found != VERSION {
            return Err(SnapshotError::UnknownVersion { path: self.path.clone(), found });
        }
        let (found_cluster, found_member) = (u64_at(header, 16), u64_at(header, 24));
        if (found_cluster, found_member) != (owner.cluster_id, owner.member_id) {
            let path = self.path.clone();
            return Err(SnapshotError::OtherOwner { path, found_member, found_cluster });
        }
        if (Position { index: u64_at(header, 32), term: u64_at(header, 40) }) != self.position {
            return Err(damaged("the position is not that of the file's name"));
        }
        Ok(())
    }

    fn read_chunk(&mut self) -> Result<Option<Bytes>, SnapshotError> {
        let begin = self.offset;
        let head = self.read_exact(FRAME)?;
        let (length, sum) = (u32_at(&head, 0), u32_at(&head, 4));
        if length == 0 {
            return if sum == self.sums && self.offset == self.size {
                Ok(None)
            } else {
                Err(self.damaged(begin, "the end does not match the chunks"))
            };
        }
        if length > MAX_CHUNK_BYTES {
            return Err(self.damaged(begin, "a chunk's length is impossible"));
        }
        let chunk = self.read_exact(length as usize)?;
        if crc32c::crc32c(&chunk) != sum {
            return Err(self.damaged(begin, "a chunk fails its checksum"));
        }
        self.sums = crc32c::crc32c_append(self.sums, &sum.to_le_bytes());
        Ok(Some(chunk.into()))
    }

    fn read_exact(&mut self, length: usize) -> Result<Vec<u8>, SnapshotError> {
        if self.offset + length as u64 > self.size {
            return Err(self.damaged(self.offset, "the file is cut off"));
        }
        let mut bytes = vec![0; length];
        self.file.read_at(&mut bytes, self.offset).map_err(io_error("read", &self.path))?;
        self.offset += length as u64;
        Ok(bytes)
    }

    fn damaged(&self, offset: u64, what: &'static str) -> SnapshotError {
        SnapshotError::Damaged { path: self.path.clone(), offset, what }
    }
}

impl Iterator for SnapshotReader {
    type Item = Result<Bytes, SnapshotError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let chunk = self.read_chunk().transpose();
        self.ended = !matches!(chunk, Some(Ok(_)));
        chunk
    }
}

/// Length and checksum before a chunk, in bytes.
const FRAME: usize = 8;

fn frame(length: u32, sum: u32) -> [u8; FRAME] {
    let mut frame = [0; FRAME];
    frame[..4].copy_from_slice(&length.to_le_bytes());
    frame[4..].copy_from_slice(&sum.to_le_bytes());
    frame
}

fn header(owner: Owner, position: Position) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..8].copy_from_slice(MAGIC);
    header[8..12].copy_from_slice(&VERSION.to_le_bytes());
    header[16..24].copy_from_slice(&owner.cluster_id.to_le_bytes());
    header[24..32].copy_from_slice(&owner.member_id.to_le_bytes());
    header[32..40].copy_from_slice(&position.index.to_le_bytes());
    header[40..48].copy_from_slice(&position.term.to_le_bytes());
    let sum = crc32c::crc32c(&header);
    header[12..16].copy_from_slice(&sum.to_le_bytes());
    header
}

fn name(position: Position) -> String {
    format!("{:016x}-{:016x}{SUFFIX}", position.index, position.term)
}

fn parse_name(name: &str) -> Option<Position> {
    let (index, term) = name.strip_suffix(SUFFIX)?.split_once('-')?;
    let number = |text| u64::from_str_radix(text, 16).ok();
    Some(Position { index: number(index)?, term: number(term)? })
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SnapshotError {
    let path = path.to_owned();
    move |source| SnapshotError::Io { action, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::faulty::FaultyDisk;

    const OWNER: Owner = Owner { cluster_id: 5, member_id: 6 };
    const AT: Position = Position { index: 77, term: 3 };

    fn chunks() -> Vec<Bytes> {
        (1..6u8).map(|i| Bytes::from(vec![i; 10 * i as usize])).collect()
    }

    fn written() -> (FaultyDisk, PathBuf) {
        let disk = FaultyDisk::default();
        write(&disk, Path::new("/s"), OWNER, AT, chunks().into_iter()).expect("writes");
        let path = Path::new("/s").join(name(AT));
        (disk, path)
    }

    fn read(disk: &FaultyDisk) -> Result<Vec<Bytes>, SnapshotError> {
        open_newest(disk, Path::new("/s"), OWNER)?.into_iter().flatten().collect()
    }

    #[test]
    fn what_was_written_is_read_back() {
        let (disk, _) = written();
        assert_eq!(read(&disk).expect("undamaged"), chunks());
        let newest = open_newest(&disk, Path::new("/s"), OWNER).expect("undamaged");
        assert_eq!(newest.map(|reader| reader.ends_at()), Some(AT));
    }

    #[test]
    fn every_flipped_byte_is_noticed() {
        let (disk, path) = written();
        let intact = disk.read(&path);
        for at in 0..intact.len() {
            let mut bytes = intact.clone();
            bytes[at] ^= 0x20;
            disk.write(&path, bytes);
            assert!(read(&disk).is_err(), "flip at {at}");
        }
    }

    #[test]
    fn every_cut_is_noticed() {
        let (disk, path) = written();
        let intact = disk.read(&path);
        for len in 0..intact.len() {
            disk.write(&path, intact[..len].to_vec());
            assert!(read(&disk).is_err(), "cut to {len}");
        }
    }

    #[test]
    fn an_unknown_version_is_named() {
        let (disk, path) = written();
        let mut bytes = disk.read(&path);
        bytes[8] = 4;
        bytes[12..16].fill(0);
        let sum = crc32c::crc32c(&bytes[..HEADER]);
        bytes[12..16].copy_from_slice(&sum.to_le_bytes());
        disk.write(&path, bytes);
        let refused = read(&disk).expect_err("unknown");
        assert!(matches!(refused, SnapshotError::UnknownVersion { found: 4, .. }));
    }

    #[test]
    fn the_newest_complete_one_counts_and_older_ones_go() {
        let (disk, older) = written();
        disk.fail_syncs_after(0);
        let next = Position { index: 90, term: 3 };
        write(&disk, Path::new("/s"), OWNER, next, chunks().into_iter()).expect_err("no sync");
        disk.power_cut(|_| true);
        assert_eq!(read(&disk).expect("the older one"), chunks());
        write(&disk, Path::new("/s"), OWNER, next, chunks().into_iter().take(1)).expect("writes");
        assert_eq!(read(&disk).expect("the newer one").len(), 1);
        assert!(!disk.paths().contains(&older));
    }
}
