//! What the agent keeps on the node's disk: its lock, its endpoints, its checkpoint.
//!
//! ```text
//! <state-dir>/lock              held while the agent runs
//! <state-dir>/agent.sock        its socket
//! <state-dir>/endpoints/*.json  one file for each endpoint
//! <state-dir>/deletions/*.json  DELs that came while it was away
//! <state-dir>/checkpoint        the store's values at a revision
//! <state-dir>/block             this node's block of addresses
//! ```
//!
//! Files are written beside their place, synced and renamed, so a reader finds the old or the new.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ipnet::Ipv4Net;
use nix::fcntl::{Flock, FlockArg};
use skein_nodeagent_cni::messages::DelRequest;
use skein_nodeagent_cni::plugin::DELETIONS_DIR;
use skein_nodeagent_core::checkpoint::{Checkpoint, CheckpointError};
use skein_nodeagent_core::endpoint::{AttachmentKey, Endpoint};

/// What went wrong on disk.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Another agent runs here.
    #[error("{0} is in use by another agent")]
    Locked(PathBuf),
    /// A file.
    #[error("cannot {what} {path}")]
    Io {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// An endpoint's file that this build cannot read: it is not guessed at, since its address may
    /// be in use.
    #[error("endpoint file {path}: {reason}")]
    Endpoint { path: PathBuf, reason: String },
}

fn io(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> StateError {
    let path = path.to_owned();
    move |source| StateError::Io { what, path, source }
}

/// The directory, locked until dropped.
pub struct StateDir {
    dir: PathBuf,
    _lock: Flock<File>,
    /// One checkpoint is written at a time: the last of a stopping agent may meet a regular one.
    keeping: Mutex<()>,
}

impl StateDir {
    /// Opens (or makes) the directory and locks it.
    pub fn open(dir: &Path) -> Result<StateDir, StateError> {
        for folder in [dir.to_owned(), dir.join("endpoints"), dir.join(DELETIONS_DIR)] {
            fs::create_dir_all(&folder).map_err(io("create", &folder))?;
        }
        let path = dir.join("lock");
        let file = File::create(&path).map_err(io("open", &path))?;
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock)
            .map_err(|_| StateError::Locked(dir.to_owned()))?;
        Ok(StateDir { dir: dir.to_owned(), _lock: lock, keeping: Mutex::new(()) })
    }

    /// The default place of the socket.
    pub fn socket(&self) -> PathBuf {
        self.dir.join("agent.sock")
    }

    /// Every endpoint on disk.
    pub fn endpoints(&self) -> Result<Vec<Endpoint>, StateError> {
        let read = |path: PathBuf| {
            let bytes = fs::read(&path).map_err(io("read", &path))?;
            Endpoint::decode(&bytes)
                .map_err(|error| StateError::Endpoint { path, reason: error.to_string() })
        };
        self.json_files("endpoints")?.into_iter().map(read).collect()
    }

    /// Keeps an endpoint; on return it is on disk.
    pub fn keep_endpoint(&self, endpoint: &Endpoint) -> Result<(), StateError> {
        let path = self.endpoint_path(&endpoint.attachment);
        let bytes = serde_json::to_vec_pretty(endpoint)
            .map_err(|error| io("encode", &path)(std::io::Error::other(error)))?;
        self.replace(&path, &bytes)
    }

    /// Forgets an endpoint. Absent is fine.
    pub fn forget_endpoint(&self, key: &AttachmentKey) -> Result<(), StateError> {
        remove(&self.endpoint_path(key))
    }

    /// Deletions that the plugin left while no agent ran, with their files.
    pub fn deletions(&self) -> Result<Vec<(PathBuf, Option<DelRequest>)>, StateError> {
        let read = |path: PathBuf| {
            let bytes = fs::read(&path).map_err(io("read", &path))?;
            let request = serde_json::from_slice(&bytes).ok();
            Ok((path, request))
        };
        self.json_files(DELETIONS_DIR)?.into_iter().map(read).collect()
    }

    /// A deletion is done.
    pub fn forget_deletion(&self, path: &Path) -> Result<(), StateError> {
        remove(path)
    }

    /// The block of an earlier run.
    pub fn block(&self) -> Option<Ipv4Net> {
        fs::read_to_string(self.dir.join("block")).ok()?.trim().parse().ok()
    }

    /// Keeps the block.
    pub fn keep_block(&self, block: Ipv4Net) -> Result<(), StateError> {
        self.replace(&self.dir.join("block"), format!("{block}\n").as_bytes())
    }

    /// The checkpoint, if there is a usable one.
    pub fn checkpoint(&self) -> Result<Option<Checkpoint>, CheckpointError> {
        match fs::read(self.dir.join("checkpoint")) {
            Ok(bytes) => Checkpoint::decode(&bytes).map(Some),
            Err(_) => Ok(None),
        }
    }

    /// Keeps a checkpoint, encoded.
    pub fn keep_checkpoint(&self, checkpoint: &[u8]) -> Result<(), StateError> {
        let _alone = self.keeping.lock().unwrap_or_else(PoisonError::into_inner);
        self.replace(&self.dir.join("checkpoint"), checkpoint)
    }

    fn endpoint_path(&self, key: &AttachmentKey) -> PathBuf {
        self.dir.join("endpoints").join(key.file_name())
    }

    fn json_files(&self, folder: &str) -> Result<Vec<PathBuf>, StateError> {
        let folder = self.dir.join(folder);
        let listed = fs::read_dir(&folder).map_err(io("list", &folder))?;
        let is_json = |path: &PathBuf| {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
            name.is_some_and(|name| name.ends_with(".json") && !name.starts_with('.'))
        };
        let mut files: Vec<PathBuf> =
            listed.flatten().map(|entry| entry.path()).filter(is_json).collect();
        files.sort();
        Ok(files)
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> Result<(), StateError> {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        let partial = path.with_file_name(format!(".{}", name.unwrap_or_default()));
        let write = || {
            let mut file = File::create(&partial)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&partial, path)?;
            match path.parent() {
                Some(parent) => File::open(parent)?.sync_all(),
                None => Ok(()),
            }
        };
        write().map_err(io("write", path))
    }
}

fn remove(path: &Path) -> Result<(), StateError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(io("remove", path)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_one_agent() {
        let dir = std::env::temp_dir().join(format!("skein-state-{}", std::process::id()));
        let first = StateDir::open(&dir).unwrap();
        assert!(matches!(StateDir::open(&dir), Err(StateError::Locked(_))));
        assert_eq!(first.checkpoint(), Ok(None));
        let checkpoint = Checkpoint { cluster_id: 9, revision: 7, ..Checkpoint::default() };
        first.keep_checkpoint(&checkpoint.encode()).unwrap();
        drop(first);
        let again = StateDir::open(&dir).unwrap();
        assert_eq!(again.checkpoint(), Ok(Some(checkpoint)));
        drop(again);
        fs::remove_dir_all(&dir).unwrap();
    }
}
