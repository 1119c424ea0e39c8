//! Sending a snapshot to a client.
//!
//! The file is written whole before the first byte is sent: a client must be told how much is to
//! come, the first page of a bbolt file points to its end, and a slow client must not make the
//! machine keep what it would free otherwise. It has no name in the data directory, so it goes
//! with the stream that it is read by, and with the process.

use std::fs::File;
use std::io::BufWriter;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use skein_store_api::ApiError;
use skein_store_api::pb::etcdserverpb::SnapshotResponse;
use skein_store_rpc::status;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_stream::Stream;
use tonic::Status;

use super::BackupError;
use super::export::Contents;
use crate::core::{Core, stopped};

/// Bytes in one answer, as etcd sends them.
const BLOB_BYTES: u64 = 32 * 1024;

/// Bytes written to the file at once.
const WRITE_BYTES: usize = 256 * 1024;

/// Snapshots written and sent at the same time; more wait. Each takes as much room on disk as the
/// state.
const AT_ONCE: usize = 2;

/// How long a client may take for [`QUEUED`] answers before it loses its place to those that wait.
const STALL: Duration = Duration::from_secs(60);

/// Answers that wait for the connection.
const QUEUED: usize = 4;

/// Makes snapshots, a few at a time.
pub(crate) struct Sender {
    dir: PathBuf,
    places: Arc<Semaphore>,
}

impl Sender {
    /// `dir` is a directory of this member's own.
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self { dir, places: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// A place among those that may be made now.
    pub(crate) async fn place(&self) -> Option<OwnedSemaphorePermit> {
        // Fails only when it is closed, which nobody does.
        Arc::clone(&self.places).acquire_owned().await.ok()
    }

    /// Writes the state as of now; takes as long as the disk needs for it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn write(
        &self,
        core: &Core,
        place: OwnedSemaphorePermit,
    ) -> Result<Outgoing, BackupError> {
        let failed = |source| BackupError::Write { dir: self.dir.clone(), source };
        let file = self.nameless_file()?;
        let contents = Contents::now(core);
        let out = BufWriter::with_capacity(WRITE_BYTES, &file);
        let (_, size) = contents.write(out).map_err(failed)?;
        let (version, hash) = (core.versions().cluster.to_string(), Sha256::new());
        Ok(Outgoing { file, size, version, sent: 0, hash, ended: false, _place: place })
    }

    fn nameless_file(&self) -> Result<File, BackupError> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        // A name that is cleaned away at the next start, should the process die right here.
        let path = self.dir.join(format!("outgoing-{number}.tmp"));
        let fail = |action| {
            let path = path.clone();
            move |source| BackupError::Io { action, path, source }
        };
        std::fs::create_dir_all(&self.dir).map_err(fail("create the directory of"))?;
        let file = File::options().read(true).write(true).create(true).truncate(true).open(&path);
        let file = file.map_err(fail("create"))?;
        match std::fs::remove_file(&path) {
            // Whoever cleans up unfinished files may have been faster.
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(fail("remove")(error))
            }
            _ => Ok(file),
        }
    }
}

/// A snapshot on its way to a client.
pub(crate) struct Outgoing {
    file: File,
    size: u64,
    /// Of the storage, as the cluster has agreed.
    version: String,
    sent: u64,
    hash: Sha256,
    ended: bool,
    _place: OwnedSemaphorePermit,
}

impl Outgoing {
    /// Bytes of the database.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// The answers, as fast as the client takes them. What ends early ends with an error.
    pub(crate) fn answers(
        self,
        core: Arc<Core>,
    ) -> impl Stream<Item = Result<SnapshotResponse, Status>> {
        let (queue, mut answers) = mpsc::channel(QUEUED);
        let mut stopping = core.stopping.clone();
        tokio::spawn(self.feed(core, queue));
        async_stream::stream! {
            loop {
                // Both arms may be dropped: neither has taken anything when it is not chosen.
                let answer = tokio::select! {
                    answer = answers.recv() => answer,
                    () = stopped(&mut stopping) => Some(Err(status(ApiError::Stopped))),
                };
                match answer {
                    Some(Ok(Some(answer))) => yield Ok(answer),
                    Some(Ok(None)) => return,
                    Some(Err(error)) => {
                        yield Err(error);
                        return;
                    }
                    None => {
                        let text = format!("the snapshot was not taken for {} s", STALL.as_secs());
                        yield Err(Status::deadline_exceeded(text));
                        return;
                    }
                }
            }
        }
    }

    /// Puts answers into the queue, `None` behind the last one, until the client is gone or stalls.
    async fn feed(
        mut self,
        core: Arc<Core>,
        queue: mpsc::Sender<Result<Option<SnapshotResponse>, Status>>,
    ) {
        loop {
            // 32 KiB that were just written, so most likely from memory.
            let answer = self.next().map_err(|error| Status::internal(error.to_string()));
            let last = !matches!(answer, Ok(Some(_)));
            let answer = answer.map(|answer| {
                answer.map(|answer| SnapshotResponse { header: core.header(), ..answer })
            });
            match tokio::time::timeout(STALL, queue.send(answer)).await {
                Ok(Ok(())) if !last => {}
                _ => return,
            }
        }
    }

    /// The next answer without its header: pieces of the file, and at last the SHA-256 of them.
    ///
    /// # Errors
    /// The file cannot be read.
    fn next(&mut self) -> std::io::Result<Option<SnapshotResponse>> {
        if self.ended {
            return Ok(None);
        }
        let length = BLOB_BYTES.min(self.size - self.sent);
        let blob = if length > 0 {
            let mut blob = vec![0; length as usize];
            self.file.read_exact_at(&mut blob, self.sent)?;
            self.hash.update(&blob);
            self.sent += length;
            blob
        } else {
            self.ended = true;
            self.hash.finalize_reset().to_vec()
        };
        Ok(Some(SnapshotResponse {
            header: None,
            remaining_bytes: self.size - self.sent,
            blob: Bytes::from(blob),
            version: self.version.clone(),
        }))
    }
}
