//! The only way to a write: fenced by leadership, bound to what the plan was based on.
//!
//! Every transaction compares the create revision of the leadership key and, for each key that it
//! writes, the revision of the key's last change. A leader that was replaced writes nothing; a plan
//! based on an outdated copy writes nothing it should not. Both are told apart: the first ends the
//! leadership, the second the round.

use std::sync::Arc;

use futures::future::join_all;
use skein_controlplane_core::Plan;
use skein_controlplane_core::plan::{Op, Reason, Write};
use skein_store_client::{ClientError, Compare, Fence, LeaseId, Op as StoreOp, Session, Txn};
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

/// Writes in one transaction. Stores take 128 operations and as many compares by default, of which
/// the fence needs some; values are at most a few hundred KiB, and few are.
const BATCH_WRITES_MAX: usize = 100;
/// Bytes of values in one transaction: well under the 1.5 MiB that a store takes for a request.
const BATCH_BYTES_MAX: usize = 1 << 20;
/// Claims on the way at one time. They are independent; more would only queue in the store.
const CLAIMS_AT_ONCE: usize = 32;

/// Why a plan was not written to its end.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error("not the leader any more")]
    Fenced,
    #[error("{key} was changed by someone else, or is not up to date here")]
    Conflict { key: String },
    #[error("asked to stop before everything was written")]
    Stopped,
    #[error(transparent)]
    Store(ClientError),
}

/// Writes plans under one leadership.
#[derive(Clone, Debug)]
pub struct Writer {
    pub session: Session,
    pub fence: Fence,
    pub lease: LeaseId,
    pub metrics: Arc<Metrics>,
    /// Ends a long plan after the transaction that is on its way.
    pub stop: CancellationToken,
}

/// Where the keys of a plan were written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Keys with the revision of their change.
    pub keys: Vec<(String, i64)>,
    /// The latest of these revisions.
    pub revision: i64,
}

impl Writer {
    /// Writes a plan in its order: claims, puts, removals. What was written before an error is
    /// added to `written` too.
    ///
    /// # Errors
    /// See [`WriteError`]; later parts of the plan were not tried.
    pub async fn write(&self, plan: &Plan, written: &mut Written) -> Result<(), WriteError> {
        for claims in plan.claims.chunks(CLAIMS_AT_ONCE) {
            self.go_on()?;
            let sent: Vec<_> = claims.iter().map(|claim| self.transact(vec![claim])).collect();
            // All of them are waited for, so that none is given up half-way for another's failure.
            for part in join_all(sent).await {
                written.add(part?);
            }
        }
        for writes in [&plan.puts, &plan.deletes] {
            let batches: Vec<_> = batches(writes).collect();
            for batch in batches {
                self.go_on()?;
                written.add(self.transact(batch).await?);
            }
        }
        Ok(())
    }

    fn go_on(&self) -> Result<(), WriteError> {
        if self.stop.is_cancelled() { Err(WriteError::Stopped) } else { Ok(()) }
    }

    async fn transact(&self, writes: Vec<&Write>) -> Result<Written, WriteError> {
        let mut txn = Txn::new();
        for write in &writes {
            let key = write.key.as_str();
            txn = txn.when(match write.expect {
                0 => Compare::absent(key),
                revision => Compare::mod_revision(key, revision),
            });
            txn = txn.then(match &write.op {
                Op::Put(value) if write.reason == Reason::Heartbeat => {
                    StoreOp::put_leased(key, value.clone(), self.lease)
                }
                Op::Put(value) => StoreOp::put(key, value.clone()),
                Op::Delete => StoreOp::delete(key),
            });
        }
        let result = match self.session.fenced(&self.fence, txn).await {
            Ok(outcome) if outcome.succeeded => Ok(outcome.revision),
            Ok(_) => Err(WriteError::Conflict { key: writes[0].key.clone() }),
            Err(ClientError::Fenced { .. }) => Err(WriteError::Fenced),
            Err(error) => Err(WriteError::Store(error)),
        };
        let outcome = match &result {
            Ok(_) => "ok",
            Err(WriteError::Conflict { .. }) => "conflict",
            Err(WriteError::Fenced) => "fenced",
            Err(WriteError::Stopped | WriteError::Store(_)) => "error",
        };
        self.metrics.transaction(outcome, &writes);
        let revision = result?;
        let keys = writes.iter().map(|w| (w.key.clone(), revision)).collect();
        Ok(Written { keys, revision })
    }
}

impl Written {
    fn add(&mut self, part: Written) {
        self.keys.extend(part.keys);
        self.revision = self.revision.max(part.revision);
    }
}

/// Cuts writes into transactions, in order.
fn batches(writes: &[Write]) -> impl Iterator<Item = Vec<&Write>> {
    let mut rest = writes.iter().peekable();
    std::iter::from_fn(move || {
        let mut batch = vec![rest.next()?];
        let mut bytes = size(batch[0]);
        while let Some(next) = rest.peek() {
            bytes += size(next);
            if batch.len() == BATCH_WRITES_MAX || bytes > BATCH_BYTES_MAX {
                break;
            }
            batch.extend(rest.next());
        }
        Some(batch)
    })
}

fn size(write: &Write) -> usize {
    // The key stands in the compare and in the operation.
    let value = match &write.op {
        Op::Put(value) => value.len(),
        Op::Delete => 0,
    };
    2 * write.key.len() + value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(key: &str, bytes: usize) -> Write {
        let op = Op::Put(vec![0; bytes]);
        Write { key: key.to_owned(), op, expect: 0, reason: Reason::New }
    }

    #[test]
    fn batches_keep_order_and_bounds() {
        let many: Vec<Write> = (0..250).map(|n| write(&format!("k{n}"), 10)).collect();
        let cut: Vec<usize> = batches(&many).map(|b| b.len()).collect();
        assert_eq!(cut, [100, 100, 50]);
        assert!(batches(&many).flatten().eq(many.iter()));
        let large = [write("a", 900_000), write("b", 900_000), write("c", 10)];
        let cut: Vec<usize> = batches(&large).map(|b| b.len()).collect();
        assert_eq!(cut, [1, 2]);
        assert_eq!(batches(&[]).count(), 0);
    }
}
