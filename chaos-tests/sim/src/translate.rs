//! Between the words of the history and those of the store.

use skein_chaos_model::history::{Compare, Event, Kv, Op, OpAnswer, Refusal, Span};
use skein_chaos_model::{Answer, Request};
use skein_store_api::pb::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use skein_store_api::pb::etcdserverpb::request_op::Request as OpRequest;
use skein_store_api::pb::etcdserverpb::response_op::Response as OpResponse;
use skein_store_api::pb::etcdserverpb::{
    CompactionRequest, Compare as StoreCompare, DeleteRangeRequest, LeaseGrantRequest,
    LeaseRevokeRequest, PutRequest, RangeRequest, RangeResponse, RequestOp, ResponseOp, TxnRequest,
};
use skein_store_api::pb::mvccpb::KeyValue;
use skein_store_api::pb::mvccpb::event::EventType;
use skein_store_api::{ApiError, wire};
use skein_store_mvcc::{Applied, Batch, Command, Response};

/// The command that a request becomes; none for what is not replicated.
pub(crate) fn command(request: &Request) -> Option<Command> {
    Some(match request {
        Request::Range { .. } | Request::KeepAlive { .. } => return None,
        Request::Put { key, value, lease } => Command::Put(put(key, value, *lease)),
        Request::Delete(span) => Command::DeleteRange(delete(span)),
        Request::Txn { compares, then, otherwise } => Command::Txn(TxnRequest {
            compare: compares.iter().map(compare).collect(),
            success: then.iter().map(op).collect(),
            failure: otherwise.iter().map(op).collect(),
        }),
        Request::Grant { id, ttl } => Command::LeaseGrant(LeaseGrantRequest { id: *id, ttl: *ttl }),
        Request::Revoke { id } => Command::LeaseRevoke(LeaseRevokeRequest { id: *id }),
        Request::Compact { revision } => {
            Command::Compact(CompactionRequest { revision: *revision, physical: false })
        }
    })
}

fn put(key: &str, value: &str, lease: i64) -> PutRequest {
    let (key, value) = (key.to_owned().into(), value.to_owned().into());
    PutRequest { key, value, lease, ..Default::default() }
}

fn delete(span: &Span) -> DeleteRangeRequest {
    let (key, range_end) = bounds(span);
    DeleteRangeRequest { key, range_end, ..Default::default() }
}

fn bounds(span: &Span) -> (bytes::Bytes, bytes::Bytes) {
    (span.key.clone().into(), span.end.clone().unwrap_or_default().into())
}

/// A read of the store.
pub(crate) fn range(span: &Span, revision: i64, serializable: bool) -> RangeRequest {
    let (key, range_end) = bounds(span);
    RangeRequest { key, range_end, revision, serializable, ..Default::default() }
}

fn compare(compare: &Compare) -> StoreCompare {
    let (key, target, union) = match compare {
        Compare::Modified(key, revision) => {
            (key, CompareTarget::Mod, TargetUnion::ModRevision(*revision))
        }
        Compare::Value(key, value) => {
            (key, CompareTarget::Value, TargetUnion::Value(value.clone().into()))
        }
    };
    StoreCompare {
        result: CompareResult::Equal as i32,
        target: target as i32,
        key: key.clone().into(),
        target_union: Some(union),
        ..Default::default()
    }
}

fn op(op: &Op) -> RequestOp {
    let request = match op {
        Op::Put { key, value } => OpRequest::RequestPut(put(key, value, 0)),
        Op::Delete(span) => OpRequest::RequestDeleteRange(delete(span)),
        Op::Get(span) => OpRequest::RequestRange(range(span, 0, false)),
    };
    RequestOp { request: Some(request) }
}

/// What the store says, in the history's words; `None` when it says nothing of the state, but that
/// the request found no way.
pub(crate) fn outcome(reply: Result<Applied, ApiError>) -> Option<Answer> {
    let applied = match reply {
        Ok(applied) => applied,
        Err(error) => return refusal(error).map(Answer::Refused),
    };
    let revision = applied.revision;
    Some(match applied.response {
        Response::Put(_) => Answer::Put { revision },
        Response::DeleteRange(response) => Answer::Delete { revision, deleted: response.deleted },
        Response::Txn(response) => {
            let answers = response.responses.iter().map(op_answer).collect();
            Answer::Txn { revision, succeeded: response.succeeded, answers }
        }
        Response::Compact(_) => Answer::Compacted { revision },
        Response::LeaseGrant(_) => Answer::Granted { revision },
        Response::LeaseRevoke(_) => Answer::Revoked { revision },
        Response::Members(_) | Response::Alarm(_) | Response::Version | Response::Auth(_) => {
            return None;
        }
    })
}

/// The answer to a read.
pub(crate) fn range_outcome(reply: Result<RangeResponse, ApiError>) -> Option<Answer> {
    match reply {
        Ok(response) => {
            let revision = response.header.as_ref().map_or(0, |header| header.revision);
            Some(Answer::Range { revision, kvs: kvs(&response.kvs) })
        }
        Err(error) => refusal(error).map(Answer::Refused),
    }
}

fn refusal(error: ApiError) -> Option<Refusal> {
    Some(match error {
        ApiError::LeaseNotFound => Refusal::LeaseNotFound,
        ApiError::LeaseExists => Refusal::LeaseExists,
        ApiError::Compacted => Refusal::Compacted,
        ApiError::FutureRevision => Refusal::FutureRevision,
        _ => return None,
    })
}

fn op_answer(response: &ResponseOp) -> OpAnswer {
    match &response.response {
        Some(OpResponse::ResponseDeleteRange(response)) => OpAnswer::Deleted(response.deleted),
        Some(OpResponse::ResponseRange(response)) => OpAnswer::Got(kvs(&response.kvs)),
        _ => OpAnswer::Put,
    }
}

/// Records of the machine, which encoded them itself.
fn kvs(records: &[bytes::Bytes]) -> Vec<Kv> {
    wire::key_values(records).expect("the machine's own records").iter().map(kv).collect()
}

fn kv(kv: &KeyValue) -> Kv {
    Kv {
        key: text(&kv.key),
        value: text(&kv.value),
        create: kv.create_revision,
        modified: kv.mod_revision,
        version: kv.version,
        lease: kv.lease,
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The events of a watch's batch.
pub(crate) fn events(batch: &Batch) -> Vec<Event> {
    let events = wire::watch_events(&batch.events).expect("the machine's own events");
    let event = |event: wire::WatchEvent| Event {
        revision: event.kv.mod_revision,
        key: text(&event.kv.key),
        kv: (event.kind == EventType::Put).then(|| kv(&event.kv)),
        prev: event.prev_kv.as_ref().map(kv),
    };
    events.into_iter().map(event).collect()
}
