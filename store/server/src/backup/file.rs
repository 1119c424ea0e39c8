//! A snapshot file on disk, with its SHA-256 or without.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use skein_store_bolt::{Bolt, BoltError, ReadAt};

use super::BackupError;

/// Bytes of a SHA-256.
pub(crate) const HASH_BYTES: u64 = 32;

/// A database consists of whole disk sectors of this many bytes, so that what is longer by a
/// SHA-256 has one.
const SECTOR_BYTES: u64 = 512;

/// Bytes read at once for the hash.
const READ_BYTES: usize = 256 * 1024;

/// A file that is read at any place.
#[derive(Debug)]
pub(crate) struct DiskSource(File);

impl ReadAt for DiskSource {
    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(buf, offset)
    }
}

/// An open snapshot file.
#[derive(Debug)]
pub(crate) struct SnapshotFile {
    path: PathBuf,
    pub(crate) bolt: Bolt<DiskSource>,
    size: u64,
}

impl SnapshotFile {
    /// # Errors
    /// It cannot be opened, or is no such file.
    pub(crate) fn open(path: &Path) -> Result<Self, BackupError> {
        let fail = |action| move |source| BackupError::Io { action, path: path.to_owned(), source };
        let file = File::open(path).map_err(fail("open"))?;
        let size = file.metadata().map_err(fail("read"))?.len();
        let bolt = Bolt::open(DiskSource(file)).map_err(structure(path))?;
        Ok(Self { path: path.to_owned(), bolt, size })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether a SHA-256 follows the database.
    pub(crate) fn has_hash(&self) -> bool {
        self.size % SECTOR_BYTES == HASH_BYTES
    }

    /// Compares the SHA-256 at the end with what is before it.
    ///
    /// # Errors
    /// There is none, or it differs.
    pub(crate) fn check_hash(&self) -> Result<(), BackupError> {
        if !self.has_hash() {
            return Err(BackupError::NoHash { path: self.path.clone() });
        }
        let fail = |source| BackupError::Io { action: "read", path: self.path.clone(), source };
        let file = File::open(&self.path).map_err(fail)?;
        let mut reader = BufReader::with_capacity(READ_BYTES, file);
        let found = hash(&mut (&mut reader).take(self.size - HASH_BYTES)).map_err(fail)?;
        let mut expected = [0; HASH_BYTES as usize];
        reader.read_exact(&mut expected).map_err(fail)?;
        if found != expected {
            let (expected, found) = (hex(&expected), hex(&found));
            return Err(BackupError::Hash { path: self.path.clone(), expected, found });
        }
        Ok(())
    }

    /// Says of an error of the format in which file it is.
    pub(crate) fn structure(&self) -> impl Fn(BoltError) -> BackupError {
        structure(&self.path)
    }
}

fn structure(path: &Path) -> impl Fn(BoltError) -> BackupError {
    let path = path.to_owned();
    move |source| BackupError::Structure { path: path.clone(), source }
}

fn hash(from: &mut impl Read) -> io::Result<[u8; HASH_BYTES as usize]> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; READ_BYTES];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(hash.finalize().into()),
            Ok(length) => hash.update(&buffer[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
