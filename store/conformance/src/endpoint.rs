//! The store under test as the suite sees it: etcd's calls, answered with decoded messages that
//! can be compared, or refused with a code and an exact message.

pub mod answer;
mod decode;
pub mod member;
pub mod memory;
mod watching;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use skein_store_api::pb::etcdserverpb as pb;
use tokio::sync::mpsc;

use crate::check::Failure;
pub use answer::*;

/// How long a case waits for a watch frame that must come.
///
/// Far above the slowest healthy delivery on a loaded two-core machine, below a case's own bound.
pub const FRAME_WAIT: Duration = Duration::from_secs(8);

/// A call that was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{call}: {code:?}: {message}")]
pub struct Refusal {
    /// Name of the call.
    pub call: &'static str,
    /// The gRPC status code.
    pub code: tonic::Code,
    /// The status message, which clients look up word for word.
    pub message: String,
}

/// An answer or a refusal.
pub type Answer<T> = Result<T, Refusal>;

/// The decoded answer; a record that cannot be decoded counts as data loss.
fn answer_of<T>(call: &'static str, decoded: Result<T, prost::DecodeError>) -> Answer<T> {
    decoded.map_err(|error| Refusal {
        call,
        code: tonic::Code::DataLoss,
        message: error.to_string(),
    })
}

/// etcd's v3 calls on one member.
#[async_trait]
pub trait Endpoint: Send + Sync {
    async fn range(&self, request: pb::RangeRequest) -> Answer<Ranged>;
    /// All chunks of a streamed range, in order.
    async fn range_stream(&self, request: pb::RangeRequest) -> Answer<Vec<Ranged>>;
    async fn put(&self, request: pb::PutRequest) -> Answer<Written>;
    async fn delete_range(&self, request: pb::DeleteRangeRequest) -> Answer<Deleted>;
    async fn txn(&self, request: pb::TxnRequest) -> Answer<Txned>;
    async fn compact(&self, request: pb::CompactionRequest) -> Answer<Header>;
    /// Opens a watch stream, with no watch on it yet.
    async fn watch(&self) -> Answer<WatchStream>;
    async fn lease_grant(&self, request: pb::LeaseGrantRequest) -> Answer<Granted>;
    async fn lease_revoke(&self, id: i64) -> Answer<Header>;
    /// Sends one keepalive and takes its answer.
    async fn lease_keep_alive(&self, id: i64) -> Answer<KeptAlive>;
    async fn lease_time_to_live(&self, id: i64, keys: bool) -> Answer<TimeToLive>;
    async fn lease_leases(&self) -> Answer<Leases>;
    async fn member_list(&self) -> Answer<Members>;
    async fn status(&self) -> Answer<Status>;
    async fn hash(&self) -> Answer<Hashed>;
    async fn hash_kv(&self, revision: i64) -> Answer<Hashed>;
    /// The alarms that are raised.
    async fn alarms(&self) -> Answer<Alarms>;
    async fn defragment(&self) -> Answer<Header>;
    /// The whole of a streamed snapshot, with the checksum at its end.
    async fn snapshot(&self) -> Answer<Vec<u8>>;
    /// The channel to the member, for calls that few cases make; none for the in-memory machine.
    fn channel(&self) -> Option<tonic::transport::Channel>;
}

/// One watch stream, as its client holds it.
pub struct WatchStream {
    requests: mpsc::Sender<pb::WatchRequest>,
    frames: BoxStream<'static, Answer<WatchFrame>>,
}

impl fmt::Debug for WatchStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WatchStream")
    }
}

impl WatchStream {
    /// A stream made of both its directions.
    pub fn new(
        requests: mpsc::Sender<pb::WatchRequest>,
        frames: BoxStream<'static, Answer<WatchFrame>>,
    ) -> Self {
        Self { requests, frames }
    }

    /// Sends any request.
    pub async fn send(&mut self, request: pb::WatchRequest) -> Result<(), Failure> {
        let sent = self.requests.send(request).await;
        sent.map_err(|_| Failure::new("the watch stream was closed by the store"))
    }

    /// Asks for a watch and returns the first frame that answers.
    pub async fn create(&mut self, request: pb::WatchCreateRequest) -> Result<WatchFrame, Failure> {
        self.send(crate::ask::watch_create(request)).await?;
        let frame = self.next().await?;
        match frame.created {
            true => Ok(frame),
            false => Err(Failure::new(format!("expected a created frame, got {frame:?}"))),
        }
    }

    /// The next frame, whatever it is.
    pub async fn next(&mut self) -> Result<WatchFrame, Failure> {
        match tokio::time::timeout(FRAME_WAIT, self.frames.next()).await {
            Ok(Some(frame)) => Ok(frame?),
            Ok(None) => Err(Failure::new("the watch stream ended")),
            Err(_) => Err(Failure::silent("watch frame", FRAME_WAIT)),
        }
    }

    /// Frames until `count` events of one watch have come, in order; the stream carries no others.
    pub async fn events(&mut self, watch_id: i64, count: usize) -> Result<Vec<Event>, Failure> {
        let mut events = Vec::new();
        while events.len() < count {
            let frame = self.next().await?;
            if frame.watch_id != watch_id || frame.canceled || frame.created {
                return Err(Failure::new(format!(
                    "expected events of watch {watch_id}, got {frame:?}"
                )));
            }
            events.extend(frame.events);
        }
        Ok(events)
    }

    /// Fails when a frame comes within `wait`.
    pub async fn quiet(&mut self, wait: Duration) -> Result<(), Failure> {
        match tokio::time::timeout(wait, self.frames.next()).await {
            Err(_) => Ok(()),
            Ok(frame) => Err(Failure::new(format!("expected no frame, got {frame:?}"))),
        }
    }
}
