//! Histories as files: one JSON object a line.

use std::io::{self, BufRead, Write};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::history::{Commit, Dump, HashSeen, Healed, History, Operation, Watch};

/// A history cannot be read or written.
#[derive(Debug, Error)]
pub enum HistoryError {
    /// The file cannot be read or written.
    #[error("the history cannot be read or written")]
    Io(#[from] io::Error),
    /// A line is not a record.
    #[error("line {line} of the history is not a record")]
    Line {
        /// From 1.
        line: usize,
        /// Why not.
        source: serde_json::Error,
    },
}

#[derive(Serialize, Deserialize)]
enum Record {
    Operation(Operation),
    Watch(Watch),
    Hash(HashSeen),
    Commit(Commit),
    Dump(Dump),
    Healed(Healed),
}

impl History {
    /// Writes it, one record a line.
    ///
    /// # Errors
    /// [`HistoryError::Io`].
    pub fn write(&self, mut out: impl Write) -> Result<(), HistoryError> {
        let operations = self.operations.iter().cloned().map(Record::Operation);
        let watches = self.watches.iter().cloned().map(Record::Watch);
        let hashes = self.hashes.iter().cloned().map(Record::Hash);
        let commits = self.commits.iter().cloned().map(Record::Commit);
        let dumps = self.dumps.iter().cloned().map(Record::Dump);
        let healed = self.healed.iter().copied().map(Record::Healed);
        for record in
            operations.chain(watches).chain(hashes).chain(commits).chain(dumps).chain(healed)
        {
            serde_json::to_writer(&mut out, &record).map_err(io::Error::from)?;
            out.write_all(b"\n")?;
        }
        Ok(())
    }

    /// Reads what [`History::write`] wrote.
    ///
    /// # Errors
    /// See [`HistoryError`].
    pub fn read(input: impl BufRead) -> Result<Self, HistoryError> {
        let mut history = Self::default();
        for (number, line) in input.lines().enumerate() {
            let record = serde_json::from_str(&line?)
                .map_err(|source| HistoryError::Line { line: number + 1, source })?;
            match record {
                Record::Operation(operation) => history.operations.push(operation),
                Record::Watch(watch) => history.watches.push(watch),
                Record::Hash(hash) => history.hashes.push(hash),
                Record::Commit(commit) => history.commits.push(commit),
                Record::Dump(dump) => history.dumps.push(dump),
                Record::Healed(healed) => history.healed = Some(healed),
            }
        }
        Ok(history)
    }
}
