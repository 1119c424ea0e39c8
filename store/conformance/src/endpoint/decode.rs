//! From wire messages to comparable answers.
//!
//! Both kinds of endpoint answer with the same messages, so both decode here.

use skein_store_api::pb::{etcdserverpb as pb, mvccpb};
use skein_store_api::wire;

use super::answer::*;

/// A record in an answer that is not the message it should be.
pub(super) type DecodeResult<T> = Result<T, prost::DecodeError>;

pub(super) fn header(header: Option<pb::ResponseHeader>) -> Header {
    let header = header.unwrap_or_default();
    Header {
        cluster_id: header.cluster_id,
        member_id: header.member_id,
        revision: header.revision,
        raft_term: header.raft_term,
    }
}

pub(super) fn ranged(answer: pb::RangeResponse) -> DecodeResult<Ranged> {
    Ok(Ranged {
        kvs: wire::key_values(&answer.kvs)?.into_iter().map(kv).collect(),
        header: header(answer.header),
        more: answer.more,
        count: answer.count,
    })
}

pub(super) fn written(answer: pb::PutResponse) -> DecodeResult<Written> {
    let prev_kv = answer.prev_kv.as_slice();
    Ok(Written { prev_kv: wire::key_values(prev_kv)?.pop().map(kv), header: header(answer.header) })
}

pub(super) fn deleted(answer: pb::DeleteRangeResponse) -> DecodeResult<Deleted> {
    Ok(Deleted {
        prev_kvs: wire::key_values(&answer.prev_kvs)?.into_iter().map(kv).collect(),
        header: header(answer.header),
        deleted: answer.deleted,
    })
}

pub(super) fn txned(answer: pb::TxnResponse) -> DecodeResult<Txned> {
    Ok(Txned {
        header: header(answer.header),
        succeeded: answer.succeeded,
        ops: answer.responses.into_iter().map(op).collect::<Result<_, _>>()?,
    })
}

fn op(op: pb::ResponseOp) -> DecodeResult<Op> {
    use pb::response_op::Response;
    Ok(match op.response {
        Some(Response::ResponseRange(answer)) => Op::Range(ranged(answer)?),
        Some(Response::ResponsePut(answer)) => Op::Put(written(answer)?),
        Some(Response::ResponseDeleteRange(answer)) => Op::Delete(deleted(answer)?),
        Some(Response::ResponseTxn(answer)) => Op::Txn(txned(answer)?),
        None => Op::Nothing,
    })
}

pub(super) fn watch_frame(frame: pb::WatchResponse) -> DecodeResult<WatchFrame> {
    Ok(WatchFrame {
        events: wire::watch_events(&frame.events)?.into_iter().map(event).collect(),
        header: header(frame.header),
        watch_id: frame.watch_id,
        created: frame.created,
        canceled: frame.canceled,
        compact_revision: frame.compact_revision,
        cancel_reason: frame.cancel_reason,
        fragment: frame.fragment,
    })
}

pub(super) fn event(event: wire::WatchEvent) -> Event {
    let kind = match event.kind {
        mvccpb::event::EventType::Put => EventKind::Put,
        mvccpb::event::EventType::Delete => EventKind::Delete,
    };
    Event { kind, kv: kv(event.kv), prev_kv: event.prev_kv.map(kv) }
}

pub(super) fn kv(kv: mvccpb::KeyValue) -> Kv {
    Kv {
        key: Text(kv.key.to_vec()),
        value: Text(kv.value.to_vec()),
        create_revision: kv.create_revision,
        mod_revision: kv.mod_revision,
        version: kv.version,
        lease: kv.lease,
    }
}

pub(super) fn granted(answer: pb::LeaseGrantResponse) -> Granted {
    Granted { header: header(answer.header), id: answer.id, ttl: answer.ttl, error: answer.error }
}

pub(super) fn time_to_live(answer: pb::LeaseTimeToLiveResponse) -> TimeToLive {
    TimeToLive {
        header: header(answer.header),
        id: answer.id,
        ttl: answer.ttl,
        granted_ttl: answer.granted_ttl,
        keys: answer.keys.into_iter().map(|key| Text(key.to_vec())).collect(),
    }
}

pub(super) fn leases(answer: pb::LeaseLeasesResponse) -> Leases {
    Leases {
        header: header(answer.header),
        ids: answer.leases.into_iter().map(|lease| lease.id).collect(),
    }
}

pub(super) fn members(answer: pb::MemberListResponse) -> Members {
    let member = |member: pb::Member| Member {
        id: member.id,
        name: member.name,
        peer_urls: member.peer_ur_ls,
        client_urls: member.client_ur_ls,
        is_learner: member.is_learner,
    };
    Members {
        header: header(answer.header),
        members: answer.members.into_iter().map(member).collect(),
    }
}

pub(super) fn status(answer: pb::StatusResponse) -> Status {
    Status {
        header: header(answer.header),
        version: answer.version,
        db_size: answer.db_size,
        db_size_in_use: answer.db_size_in_use,
        leader: answer.leader,
        raft_index: answer.raft_index,
        raft_term: answer.raft_term,
        raft_applied_index: answer.raft_applied_index,
        errors: answer.errors,
        is_learner: answer.is_learner,
        storage_version: answer.storage_version,
    }
}
