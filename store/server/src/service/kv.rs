//! KV: ranges from views, changes through the log.

use std::pin::Pin;
use std::sync::Arc;

use prost::Message;
use skein_store_api::ApiError;
use skein_store_api::pb::etcdserverpb::*;
use skein_store_mvcc::{Author, Command, Permit, Response as Outcome, check};
use skein_store_rpc::etcdserverpb::kv_server::Kv;
use skein_store_rpc::status;
use tokio_stream::Stream;
use tonic::{Request, Response, Status};

use crate::app::{KeptBytes, too_much};
use crate::auth::Sender;
use crate::core::Core;

/// Records that are collected on the spot; a range that may hold more moves to a thread that may
/// take its time, so that other requests go on.
const RECORDS_ON_THE_SPOT: i64 = 1_000;

/// Records of an answer that is not worth counting while it waits to be sent: single keys.
const RECORDS_UNCOUNTED: usize = 1;

/// Size of one piece of a streamed range in bytes: large enough to amortize the frame, small
/// enough for clients that limit messages to 4 MiB.
const STREAM_PIECE_BYTES: usize = 1 << 20;

pub(crate) struct KvService {
    core: Arc<Core>,
}

impl KvService {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self { core }
    }

    async fn read(
        &self,
        sender: &Sender,
        request: RangeRequest,
    ) -> Result<RangeResponse, ApiError> {
        check::range(&request)?;
        let author = self.reader(sender, &request).await?;
        let response = self.answer(request).await?;
        self.core.still_permitted(author.as_ref())?;
        Ok(response)
    }

    /// Waits until the range may be read here, and tells by whom.
    async fn reader(
        &self,
        sender: &Sender,
        request: &RangeRequest,
    ) -> Result<Option<Author>, ApiError> {
        self.core.metrics.ranges.inc();
        if !request.serializable {
            self.core.linearizable().await?;
        }
        let author = self.core.author(sender).await?;
        let judge = |permit: &Permit<'_>| permit.read(&request.key, &request.range_end);
        self.core.permitted(author.as_ref(), judge)?;
        Ok(author)
    }

    async fn answer(&self, request: RangeRequest) -> Result<RangeResponse, ApiError> {
        let state = &self.core.state;
        let newest_count = request.count_only && request.revision == 0;
        if request.range_end.is_empty() || newest_count {
            return state.glance(|machine| machine.view().range(&request));
        }
        let view = state.view();
        let limited = (1..=RECORDS_ON_THE_SPOT).contains(&request.limit);
        if limited && request.sort_order == 0 {
            return view.range(&request);
        }
        let newest = RangeRequest {
            key: request.key.clone(),
            range_end: request.range_end.clone(),
            count_only: true,
            ..RangeRequest::default()
        };
        if view.range(&newest)?.count <= RECORDS_ON_THE_SPOT && request.revision == 0 {
            return view.range(&request);
        }
        let read = tokio::task::spawn_blocking(move || view.range(&request));
        // The task is not aborted; it ends early only with the runtime.
        read.await.unwrap_or(Err(ApiError::Stopped))
    }

    async fn change_txn(
        &self,
        sender: &Sender,
        request: TxnRequest,
    ) -> Result<TxnResponse, ApiError> {
        check::txn(&request, self.core.limits.max_txn_ops)?;
        if !skein_store_mvcc::is_read_only(&request) {
            let author = self.core.author(sender).await?;
            return match self.core.propose_for(author, Command::Txn(request)).await?.response {
                Outcome::Txn(response) => Ok(response),
                _ => Err(ApiError::Corrupt),
            };
        }
        self.core.metrics.txns.inc();
        if !skein_store_mvcc::is_serializable(&request) {
            self.core.linearizable().await?;
        }
        let author = self.core.author(sender).await?;
        self.core.permitted(author.as_ref(), |permit| permit.txn(&request))?;
        let response = self.core.state.view().txn(&request)?;
        self.core.still_permitted(author.as_ref())?;
        Ok(response)
    }

    async fn change_put(
        &self,
        sender: &Sender,
        request: PutRequest,
    ) -> Result<PutResponse, ApiError> {
        check::put(&request)?;
        let author = self.core.author(sender).await?;
        match self.core.propose_for(author, Command::Put(request)).await?.response {
            Outcome::Put(response) => Ok(response),
            _ => Err(ApiError::Corrupt),
        }
    }

    async fn change_delete(
        &self,
        sender: &Sender,
        request: DeleteRangeRequest,
    ) -> Result<DeleteRangeResponse, ApiError> {
        check::delete_range(&request)?;
        let author = self.core.author(sender).await?;
        match self.core.propose_for(author, Command::DeleteRange(request)).await?.response {
            Outcome::DeleteRange(response) => Ok(response),
            _ => Err(ApiError::Corrupt),
        }
    }

    async fn change_compact(
        &self,
        sender: &Sender,
        request: CompactionRequest,
    ) -> Result<CompactionResponse, ApiError> {
        let author = self.core.admin(sender).await?;
        let physical = request.physical;
        let outcome = self.core.propose_for(author, Command::Compact(request)).await?;
        if physical {
            self.core.state.scavenged().await;
        }
        match outcome.response {
            Outcome::Compact(response) => Ok(response),
            _ => Err(ApiError::Corrupt),
        }
    }
}

/// Pieces of a streamed range.
type Pieces = Pin<Box<dyn Stream<Item = Result<RangeStreamResponse, Status>> + Send>>;

#[tonic::async_trait]
impl Kv for KvService {
    type RangeStreamStream = Pieces;

    async fn range(
        &self,
        request: Request<RangeRequest>,
    ) -> Result<Response<RangeResponse>, Status> {
        let (sender, request) = Sender::of(request);
        let mut response = self.read(&sender, request).await.map_err(status)?;
        self.core.fill(&mut response.header);
        if response.kvs.len() <= RECORDS_UNCOUNTED {
            return Ok(Response::new(response));
        }
        let bytes = self.core.overload.range_bytes.take_or_alone(response.encoded_len());
        let bytes = KeptBytes::new(bytes.ok_or_else(too_much)?);
        let mut response = Response::new(response);
        response.extensions_mut().insert(bytes);
        Ok(response)
    }

    async fn range_stream(
        &self,
        request: Request<RangeRequest>,
    ) -> Result<Response<Pieces>, Status> {
        let (sender, request) = Sender::of(request);
        check::range_stream(&request).map_err(status)?;
        self.reader(&sender, &request).await.map_err(status)?;
        let view = self.core.state.view();
        let pieces = view.range_stream(request, STREAM_PIECE_BYTES).map_err(status)?;
        let core = Arc::clone(&self.core);
        let stream = tokio_stream::iter(pieces.map(move |mut piece| {
            if piece.header.is_some() {
                core.fill(&mut piece.header);
            }
            Ok(RangeStreamResponse { range_response: Some(piece) })
        }));
        Ok(Response::new(Box::pin(stream)))
    }

    async fn put(&self, request: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        let (sender, request) = Sender::of(request);
        let mut response = self.change_put(&sender, request).await.map_err(status)?;
        self.core.fill(&mut response.header);
        Ok(Response::new(response))
    }

    async fn delete_range(
        &self,
        request: Request<DeleteRangeRequest>,
    ) -> Result<Response<DeleteRangeResponse>, Status> {
        let (sender, request) = Sender::of(request);
        let mut response = self.change_delete(&sender, request).await.map_err(status)?;
        self.core.fill(&mut response.header);
        Ok(Response::new(response))
    }

    async fn txn(&self, request: Request<TxnRequest>) -> Result<Response<TxnResponse>, Status> {
        let (sender, request) = Sender::of(request);
        let mut response = self.change_txn(&sender, request).await.map_err(status)?;
        self.core.fill(&mut response.header);
        Ok(Response::new(response))
    }

    async fn compact(
        &self,
        request: Request<CompactionRequest>,
    ) -> Result<Response<CompactionResponse>, Status> {
        let (sender, request) = Sender::of(request);
        let mut response = self.change_compact(&sender, request).await.map_err(status)?;
        self.core.fill(&mut response.header);
        Ok(Response::new(response))
    }
}
