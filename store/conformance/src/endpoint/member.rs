//! A running member, reached over gRPC: Skein's, or a real etcd.

use std::future::Future;

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt};
use skein_store_api::pb::etcdserverpb as pb;
use skein_store_rpc::etcdserverpb::cluster_client::ClusterClient;
use skein_store_rpc::etcdserverpb::kv_client::KvClient;
use skein_store_rpc::etcdserverpb::lease_client::LeaseClient;
use skein_store_rpc::etcdserverpb::maintenance_client::MaintenanceClient;
use skein_store_rpc::etcdserverpb::watch_client::WatchClient;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Response, Status as GrpcStatus, Streaming};

use super::decode::{self, DecodeResult};
use super::{Answer, Refusal};
use super::{Endpoint, WatchStream, answer::*, answer_of};

/// Largest answer taken, in bytes: above what any case asks for, far below memory.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// Requests a case may have on their way into a watch stream.
const WATCH_REQUESTS_MAX: usize = 1024;

/// etcd's calls over one gRPC connection.
#[derive(Clone)]
pub struct MemberEndpoint {
    channel: Channel,
    kv: KvClient<Channel>,
    watch: WatchClient<Channel>,
    lease: LeaseClient<Channel>,
    cluster: ClusterClient<Channel>,
    maintenance: MaintenanceClient<Channel>,
}

impl MemberEndpoint {
    /// Clients over a connection that is made on first use, to `http://<address>`.
    ///
    /// # Errors
    /// The address is none.
    pub fn new(address: &str) -> Result<Self, tonic::transport::Error> {
        let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}"))?;
        Ok(Self::over(endpoint.connect_lazy()))
    }

    fn over(channel: Channel) -> Self {
        Self {
            kv: KvClient::new(channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX),
            watch: WatchClient::new(channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX),
            lease: LeaseClient::new(channel.clone()),
            cluster: ClusterClient::new(channel.clone()),
            maintenance: MaintenanceClient::new(channel.clone()),
            channel,
        }
    }
}

/// The body of an answer, or the refusal.
async fn body<T>(
    call: &'static str,
    answer: impl Future<Output = Result<Response<T>, GrpcStatus>>,
) -> Answer<T> {
    answer.await.map(Response::into_inner).map_err(|status| refusal(call, &status))
}

fn refusal(call: &'static str, status: &GrpcStatus) -> Refusal {
    Refusal { call, code: status.code(), message: status.message().to_owned() }
}

/// Every message of an answer that is a stream.
async fn all<T, U>(
    call: &'static str,
    mut stream: Streaming<T>,
    decode: impl Fn(T) -> DecodeResult<U>,
) -> Answer<Vec<U>> {
    let mut messages = Vec::new();
    while let Some(message) = stream.next().await {
        let message = message.map_err(|status| refusal(call, &status))?;
        messages.push(answer_of(call, decode(message))?);
    }
    Ok(messages)
}

#[async_trait]
impl Endpoint for MemberEndpoint {
    async fn range(&self, request: pb::RangeRequest) -> Answer<Ranged> {
        let answer = body("Range", self.kv.clone().range(request)).await?;
        answer_of("Range", decode::ranged(answer))
    }

    async fn range_stream(&self, request: pb::RangeRequest) -> Answer<Vec<Ranged>> {
        let stream = body("RangeStream", self.kv.clone().range_stream(request)).await?;
        let chunk = |chunk: pb::RangeStreamResponse| {
            decode::ranged(chunk.range_response.unwrap_or_default())
        };
        all("RangeStream", stream, chunk).await
    }

    async fn put(&self, request: pb::PutRequest) -> Answer<Written> {
        let answer = body("Put", self.kv.clone().put(request)).await?;
        answer_of("Put", decode::written(answer))
    }

    async fn delete_range(&self, request: pb::DeleteRangeRequest) -> Answer<Deleted> {
        let answer = body("DeleteRange", self.kv.clone().delete_range(request)).await?;
        answer_of("DeleteRange", decode::deleted(answer))
    }

    async fn txn(&self, request: pb::TxnRequest) -> Answer<Txned> {
        let answer = body("Txn", self.kv.clone().txn(request)).await?;
        answer_of("Txn", decode::txned(answer))
    }

    async fn compact(&self, request: pb::CompactionRequest) -> Answer<Header> {
        let answer = body("Compact", self.kv.clone().compact(request)).await?;
        Ok(decode::header(answer.header))
    }

    async fn watch(&self) -> Answer<WatchStream> {
        let (requests, outgoing) = mpsc::channel(WATCH_REQUESTS_MAX);
        let mut watch = self.watch.clone();
        // etcd answers the call itself only with its first frame, which waits for a request: so
        // the call is made when the first frame is asked for.
        let opened = async move { watch.watch(ReceiverStream::new(outgoing)).await };
        let frames = futures::stream::once(opened).map_ok(Response::into_inner).try_flatten();
        let frames = frames.map(|frame| {
            let frame = frame.map_err(|status| refusal("Watch", &status))?;
            answer_of("Watch", decode::watch_frame(frame))
        });
        Ok(WatchStream::new(requests, frames.boxed()))
    }

    async fn lease_grant(&self, request: pb::LeaseGrantRequest) -> Answer<Granted> {
        let answer = body("LeaseGrant", self.lease.clone().lease_grant(request)).await?;
        Ok(decode::granted(answer))
    }

    async fn lease_revoke(&self, id: i64) -> Answer<Header> {
        let request = pb::LeaseRevokeRequest { id };
        let answer = body("LeaseRevoke", self.lease.clone().lease_revoke(request)).await?;
        Ok(decode::header(answer.header))
    }

    async fn lease_keep_alive(&self, id: i64) -> Answer<KeptAlive> {
        const CALL: &str = "LeaseKeepAlive";
        let requests = futures::stream::iter([pb::LeaseKeepAliveRequest { id }]);
        let mut answers = body(CALL, self.lease.clone().lease_keep_alive(requests)).await?;
        let answer = match answers.next().await {
            Some(answer) => answer.map_err(|status| refusal(CALL, &status))?,
            None => return Err(refusal(CALL, &GrpcStatus::unknown("the stream ended"))),
        };
        Ok(KeptAlive { header: decode::header(answer.header), id: answer.id, ttl: answer.ttl })
    }

    async fn lease_time_to_live(&self, id: i64, keys: bool) -> Answer<TimeToLive> {
        let request = pb::LeaseTimeToLiveRequest { id, keys };
        let mut lease = self.lease.clone();
        let answer = body("LeaseTimeToLive", lease.lease_time_to_live(request)).await?;
        Ok(decode::time_to_live(answer))
    }

    async fn lease_leases(&self) -> Answer<Leases> {
        let request = pb::LeaseLeasesRequest {};
        Ok(decode::leases(body("LeaseLeases", self.lease.clone().lease_leases(request)).await?))
    }

    async fn member_list(&self) -> Answer<Members> {
        let request = pb::MemberListRequest { linearizable: true };
        Ok(decode::members(body("MemberList", self.cluster.clone().member_list(request)).await?))
    }

    async fn status(&self) -> Answer<Status> {
        let request = pb::StatusRequest {};
        Ok(decode::status(body("Status", self.maintenance.clone().status(request)).await?))
    }

    async fn hash(&self) -> Answer<Hashed> {
        let answer = body("Hash", self.maintenance.clone().hash(pb::HashRequest {})).await?;
        let header = decode::header(answer.header);
        Ok(Hashed { header, hash: answer.hash, ..Default::default() })
    }

    async fn hash_kv(&self, revision: i64) -> Answer<Hashed> {
        let request = pb::HashKvRequest { revision };
        let answer = body("HashKV", self.maintenance.clone().hash_kv(request)).await?;
        Ok(Hashed {
            header: decode::header(answer.header),
            hash: answer.hash,
            compact_revision: answer.compact_revision,
            hash_revision: answer.hash_revision,
        })
    }

    async fn alarms(&self) -> Answer<Alarms> {
        let request = pb::AlarmRequest::default();
        let answer = body("Alarm", self.maintenance.clone().alarm(request)).await?;
        Ok(Alarms { header: decode::header(answer.header), count: answer.alarms.len() })
    }

    async fn defragment(&self) -> Answer<Header> {
        let request = pb::DefragmentRequest {};
        let answer = body("Defragment", self.maintenance.clone().defragment(request)).await?;
        Ok(decode::header(answer.header))
    }

    async fn snapshot(&self) -> Answer<Vec<u8>> {
        let request = pb::SnapshotRequest {};
        let stream = body("Snapshot", self.maintenance.clone().snapshot(request)).await?;
        Ok(all("Snapshot", stream, |chunk| Ok(chunk.blob)).await?.concat())
    }

    fn channel(&self) -> Option<Channel> {
        Some(self.channel.clone())
    }
}
