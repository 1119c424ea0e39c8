//! A machine from the chunks of a snapshot file.

use std::io::{self, Read};

use bytes::{Buf, Bytes};
use skein_store_mvcc::{Machine, MachineConfig};
use thiserror::Error;

use crate::snapshot_file::SnapshotReader;

/// A snapshot file does not hold a state that can be used.
#[derive(Debug, Error)]
pub enum RestoreError {
    /// The state machine does not understand it, or the file is damaged.
    #[error("it does not hold a readable state")]
    State(#[from] skein_store_mvcc::SnapshotError),
    /// File and state disagree.
    #[error("the file says it ends at log entry {file}, the state in it at {state}")]
    Index {
        /// According to the file.
        file: u64,
        /// According to the state.
        state: u64,
    },
}

/// Reads the whole snapshot.
pub(crate) fn restore(reader: &mut SnapshotReader) -> Result<Machine, RestoreError> {
    let file = reader.ends_at().index;
    let chunks = Chunks { reader, current: Bytes::new() };
    let machine = skein_store_mvcc::restore(chunks, &MachineConfig::default())?;
    // Reads the end mark, so that a file that goes on is noticed.
    match reader.next() {
        None => {}
        Some(rest) => {
            let cause = rest.err().map_or_else(|| io::Error::other("it goes on"), io::Error::other);
            let source = skein_store_mvcc::SnapshotError::Read { chunk: 0, source: cause };
            return Err(source.into());
        }
    }
    let state = machine.applied_index();
    if state != file {
        return Err(RestoreError::Index { file, state });
    }
    Ok(machine)
}

/// The chunks as one stream of bytes.
struct Chunks<'a> {
    reader: &'a mut SnapshotReader,
    current: Bytes,
}

impl Read for Chunks<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.reader.next() {
                None => return Ok(0),
                Some(chunk) => self.current = chunk.map_err(io::Error::other)?,
            }
        }
        let length = buf.len().min(self.current.len());
        self.current.copy_to_slice(&mut buf[..length]);
        Ok(length)
    }
}
