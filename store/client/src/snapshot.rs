//! A copy of the whole store, as a stream of bytes.

use std::time::Duration;

use crate::error::ClientError;
use crate::session::Session;

/// How long the member may send nothing: it writes the whole file before it sends the first part.
const STALL: Duration = Duration::from_secs(300);

const WHAT: &str = "take a snapshot";

/// The parts of a snapshot file in order; the last is the SHA-256 of the others.
pub struct SnapshotStream {
    answers: etcd_client::SnapshotStreaming,
    endpoint: String,
}

/// A part of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotPart {
    /// The bytes that follow those of the part before.
    pub bytes: Vec<u8>,
    /// Version of etcd's storage format; empty from an etcd older than 3.6.
    pub version: String,
}

impl Session {
    /// Asks one member for its whole state. Not repeated on another one: parts of two members do
    /// not fit together.
    pub async fn snapshot(&self) -> Result<SnapshotStream, ClientError> {
        let connection = self.connector().get(WHAT).await?;
        let mut client = connection.client.maintenance_client();
        let endpoint = connection.endpoint.clone();
        let answers = within(&endpoint, client.snapshot()).await?;
        Ok(SnapshotStream { answers, endpoint })
    }
}

impl SnapshotStream {
    /// The next part; `None` behind the last one.
    pub async fn next(&mut self) -> Result<Option<SnapshotPart>, ClientError> {
        let answer = within(&self.endpoint, self.answers.message()).await?;
        Ok(answer.map(|answer| SnapshotPart {
            bytes: answer.blob().to_vec(),
            version: answer.version().to_owned(),
        }))
    }
}

async fn within<T>(
    endpoint: &str,
    answer: impl Future<Output = Result<T, etcd_client::Error>>,
) -> Result<T, ClientError> {
    match tokio::time::timeout(STALL, answer).await {
        Ok(answer) => answer.map_err(|error| ClientError::from_etcd(WHAT, &error)),
        Err(_) => {
            let reason = format!("{endpoint}: no answer within {} s", STALL.as_secs());
            Err(ClientError::Unavailable { what: WHAT, reason, maybe_applied: false })
        }
    }
}
