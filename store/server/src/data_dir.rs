//! The data directory: its lock, its layout, and who it belongs to.
//!
//! ```text
//!   <data-dir>/lock               held by the running member
//!   <data-dir>/member/identity    cluster and member, JSON, written once
//!   <data-dir>/member/log/        segments
//!   <data-dir>/member/snap/       snapshots
//! ```

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::cluster::Known;
use crate::log::Owner;

/// Format version of the identity file.
const IDENTITY_VERSION: u32 = 2;

/// The data directory cannot be used.
#[derive(Debug, Error)]
pub enum DataDirError {
    /// Another process has it.
    #[error("the data directory {} is in use by another process", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
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
    /// The identity file is not what this version writes.
    #[error("{} cannot be read", path.display())]
    Identity {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// The identity file has another format version.
    #[error("{} has format version {found}; this version reads {IDENTITY_VERSION}", path.display())]
    IdentityVersion {
        /// The file.
        path: PathBuf,
        /// The version found.
        found: u32,
    },
    /// There is data, but no identity that says whose it is.
    #[error("{} holds data but no identity file", path.display())]
    IdentityMissing {
        /// The member's directory.
        path: PathBuf,
    },
}

/// A locked data directory. Dropping it releases the lock.
#[derive(Debug)]
pub(crate) struct DataDir {
    root: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Creates the directory where missing, readable by its owner only, and locks it.
    ///
    /// # Errors
    /// Another process holds the lock, or a file operation failed.
    pub(crate) fn lock(root: &Path) -> Result<Self, DataDirError> {
        for dir in [root.to_owned(), root.join("member")] {
            create_private(&dir).map_err(io_error("create", &dir))?;
        }
        let path = root.join("lock");
        let lock = File::options().create(true).write(true).truncate(false).open(&path);
        let lock = lock.map_err(io_error("open", &path))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { root: root.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(DataDirError::InUse { path: root.to_owned() }),
            Err(TryLockError::Error(source)) => {
                Err(DataDirError::Io { action: "lock", path, source })
            }
        }
    }

    /// Directory of the log's segments.
    pub(crate) fn log(&self) -> PathBuf {
        self.root.join("member/log")
    }

    /// Directory of the snapshots.
    pub(crate) fn snapshots(&self) -> PathBuf {
        self.root.join("member/snap")
    }

    /// The identity kept here; `None` on the first start.
    ///
    /// # Errors
    /// The file is damaged or of another version, or data is here without it.
    pub(crate) fn identity(&self) -> Result<Option<Identity>, DataDirError> {
        let path = self.identity_file();
        match fs::read(&path) {
            Ok(bytes) => parse_identity(&path, &bytes).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if self.log().exists() {
                    return Err(DataDirError::IdentityMissing { path: self.root.join("member") });
                }
                Ok(None)
            }
            Err(source) => Err(DataDirError::Io { action: "read", path, source }),
        }
    }

    /// Keeps the identity from now on.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn keep_identity(&self, identity: &Identity) -> Result<(), DataDirError> {
        let path = self.identity_file();
        let text = serde_json::to_vec_pretty(&Stored { v: IDENTITY_VERSION, id: identity });
        let text = text.map_err(|source| DataDirError::Identity { path: path.clone(), source })?;
        write_durably(&path, &text).map_err(io_error("write", &path))
    }

    fn identity_file(&self) -> PathBuf {
        self.root.join("member/identity")
    }
}

/// Who a member is; chosen at the first start and never changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    /// The cluster, not 0.
    pub(crate) cluster_id: u64,
    /// The member, not 0.
    pub(crate) member_id: u64,
    /// Whether this member founded the cluster, with all of `members`.
    pub(crate) founded: bool,
    /// The members as they were known at the first start. From the log on they are what it says.
    pub(crate) members: Vec<Known>,
}

impl Identity {
    /// The owner of this member's files.
    pub(crate) fn owner(&self) -> Owner {
        Owner { cluster_id: self.cluster_id, member_id: self.member_id }
    }
}

#[derive(Serialize)]
struct Stored<'a> {
    v: u32,
    #[serde(flatten)]
    id: &'a Identity,
}

fn parse_identity(path: &Path, bytes: &[u8]) -> Result<Identity, DataDirError> {
    #[derive(Deserialize)]
    struct Version {
        v: u32,
    }
    let wrong = |source| DataDirError::Identity { path: path.to_owned(), source };
    let Version { v: found } = serde_json::from_slice(bytes).map_err(wrong)?;
    if found != IDENTITY_VERSION {
        return Err(DataDirError::IdentityVersion { path: path.to_owned(), found });
    }
    serde_json::from_slice(bytes).map_err(wrong)
}

/// Writes a file so that after a power cut it is there completely or not at all.
fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    match path.parent() {
        Some(dir) => File::open(dir)?.sync_all(),
        None => Ok(()),
    }
}

fn create_private(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DataDirError {
    let path = path.to_owned();
    move |source| DataDirError::Io { action, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(member_id: u64) -> Identity {
        let peer_urls = vec!["http://a:2380".into()];
        let members = vec![Known { id: member_id, name: "a".into(), peer_urls }];
        Identity { cluster_id: 7, member_id, founded: true, members }
    }

    #[test]
    fn a_second_member_is_kept_out() {
        let root = tempfile::tempdir().expect("a temporary directory");
        let held = DataDir::lock(root.path()).expect("nobody has it");
        let text = DataDir::lock(root.path()).expect_err("it is held").to_string();
        assert!(text.contains("in use by another process"), "{text}");
        drop(held);
        DataDir::lock(root.path()).expect("it was released");
    }

    #[test]
    fn the_identity_is_kept() {
        let root = tempfile::tempdir().expect("a temporary directory");
        let dir = DataDir::lock(root.path()).expect("nobody has it");
        assert_eq!(dir.identity().expect("a new directory"), None);
        dir.keep_identity(&identity(5)).expect("writable");
        assert_eq!(dir.identity().expect("readable"), Some(identity(5)));
    }

    #[test]
    fn another_version_or_a_missing_file_is_refused() {
        let root = tempfile::tempdir().expect("a temporary directory");
        let dir = DataDir::lock(root.path()).expect("nobody has it");
        let path = root.path().join("member/identity");
        fs::write(&path, br#"{"v":9,"whoever":true}"#).expect("writable");
        let refused = dir.identity().expect_err("unknown version");
        assert!(matches!(refused, DataDirError::IdentityVersion { found: 9, .. }));
        fs::remove_file(&path).expect("present");
        fs::create_dir(dir.log()).expect("writable");
        let refused = dir.identity().expect_err("data without owner");
        assert!(matches!(refused, DataDirError::IdentityMissing { .. }));
    }
}
