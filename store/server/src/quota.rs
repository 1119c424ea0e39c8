//! How large the store may become.
//!
//! A member looks before it proposes: what would take it over its quota raises the NOSPACE alarm
//! through the log instead, and from there on every member refuses to grow. The quota covers what
//! the state holds in memory: keys, history and leases. What waits to be applied is counted with
//! it, so that many writers at once cannot overshoot.

use std::sync::atomic::{AtomicU64, Ordering};

use skein_store_api::pb::etcdserverpb::request_op::Request;
use skein_store_api::pb::etcdserverpb::{PutRequest, RequestOp};
use skein_store_mvcc::Command;

/// What a key version or a lease takes beside key and value, in bytes, judged before it exists:
/// above what the state machine counts for it, and etcd's figure.
const OVERHEAD_BYTES: u64 = 256;

/// A member's quota, with what is reserved for changes on their way.
pub(crate) struct Quota {
    limit: Option<u64>,
    reserved: AtomicU64,
}

/// There is no room for the change.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// Room for one change on its way, given back when dropped.
pub(crate) struct Reserved<'a> {
    quota: &'a Quota,
    bytes: u64,
}

impl Quota {
    /// `limit` in bytes; nothing means that only memory bounds the store.
    pub(crate) fn new(limit: Option<u64>) -> Self {
        Self { limit, reserved: AtomicU64::new(0) }
    }

    /// As Status tells it: -1 when there is none.
    pub(crate) fn told(&self) -> i64 {
        self.limit.map_or(-1, |bytes| bytes.try_into().unwrap_or(i64::MAX))
    }

    /// Takes room for `command` beside the `used` bytes of the state.
    pub(crate) fn reserve(&self, used: u64, command: &Command) -> Result<Reserved<'_>, Full> {
        let bytes = cost(command);
        let before = self.reserved.fetch_add(bytes, Ordering::Relaxed);
        // Given back on the way out when there is no room.
        let reserved = Reserved { quota: self, bytes };
        let full = self.limit.is_some_and(|limit| used + before + bytes > limit);
        if bytes > 0 && full { Err(Full) } else { Ok(reserved) }
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        self.quota.reserved.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Bytes that a command may add; of a transaction's branches the dearer one.
fn cost(command: &Command) -> u64 {
    match command {
        Command::Put(request) => put(request),
        Command::Txn(request) => branch(&request.success).max(branch(&request.failure)),
        Command::LeaseGrant(_) => OVERHEAD_BYTES,
        Command::DeleteRange(_)
        | Command::Compact(_)
        | Command::LeaseRevoke(_)
        | Command::Alarm(_)
        | Command::Version(_)
        | Command::Member(_)
        | Command::Auth(_) => 0,
    }
}

fn put(request: &PutRequest) -> u64 {
    OVERHEAD_BYTES + (request.key.len() + request.value.len()) as u64
}

fn branch(ops: &[RequestOp]) -> u64 {
    let cost = |op: &RequestOp| match &op.request {
        Some(Request::RequestPut(request)) => put(request),
        Some(Request::RequestTxn(nested)) => branch(&nested.success).max(branch(&nested.failure)),
        Some(Request::RequestRange(_) | Request::RequestDeleteRange(_)) | None => 0,
    };
    ops.iter().map(cost).sum()
}

#[cfg(test)]
mod tests {
    use skein_store_api::pb::etcdserverpb::{DeleteRangeRequest, TxnRequest};

    use super::*;

    fn put_of(bytes: usize) -> PutRequest {
        PutRequest { value: vec![0; bytes].into(), ..Default::default() }
    }

    fn op(request: Request) -> RequestOp {
        RequestOp { request: Some(request) }
    }

    #[test]
    fn changes_on_their_way_count() {
        let quota = Quota::new(Some(1000));
        let command = Command::Put(put_of(44));
        let first = quota.reserve(300, &command).expect("300 + 300");
        let second = quota.reserve(300, &command).expect("300 + 600");
        assert_eq!(quota.reserve(300, &command).err(), Some(Full));
        drop(first);
        let third = quota.reserve(300, &command).expect("one has arrived");
        drop((second, third));
        assert_eq!(quota.reserved.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn what_frees_space_is_never_refused() {
        let quota = Quota::new(Some(1));
        let delete = Command::DeleteRange(DeleteRangeRequest::default());
        assert!(quota.reserve(u64::MAX / 2, &delete).is_ok());
        assert!(Quota::new(None).reserve(u64::MAX / 2, &Command::Put(put_of(9))).is_ok());
    }

    #[test]
    fn the_dearer_branch_counts() {
        let nested = TxnRequest {
            success: vec![op(Request::RequestPut(put_of(10)))],
            failure: vec![op(Request::RequestPut(put_of(20)))],
            ..Default::default()
        };
        let txn = TxnRequest {
            success: vec![op(Request::RequestPut(put_of(100)))],
            failure: vec![op(Request::RequestTxn(nested)), op(Request::RequestPut(put_of(100)))],
            ..Default::default()
        };
        assert_eq!(cost(&Command::Txn(txn)), 2 * OVERHEAD_BYTES + 120);
    }
}
