//! The state machine alone, in this process: no log, no network, no clock.
//!
//! What needs a running member (keepalives, status, snapshots) is refused as unimplemented.

use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use skein_store_api::pb::etcdserverpb as pb;
use skein_store_api::{ApiError, limits};
use skein_store_mvcc::{Command, Machine, MachineConfig, Response, check, is_read_only};
use tokio::sync::watch;
use tonic::Code;

use super::watching;
use super::{Answer, Endpoint, Refusal, WatchStream, answer::*, answer_of, decode};

/// Lease ids picked by this endpoint start here, far from those that cases choose.
const FIRST_PICKED_LEASE: i64 = 1 << 40;

/// The least time to live that is granted, in seconds, as at etcd's default election timeout.
const LEASE_TTL_MIN: i64 = 2;

/// Size at which a streamed range starts its next chunk, in bytes.
const CHUNK_BYTES: usize = 64 << 10;

/// Changes freed at a time when a compaction waits for the memory to be free.
const SCAVENGE_BATCH: usize = 1024;

/// etcd's calls on a [`Machine`].
pub struct MemoryEndpoint {
    machine: Arc<RwLock<Machine>>,
    /// Says that the machine has moved, for the watches.
    moved: watch::Sender<()>,
}

impl Default for MemoryEndpoint {
    fn default() -> Self {
        let machine = Machine::new(&MachineConfig::default());
        Self { machine: Arc::new(RwLock::new(machine)), moved: watch::Sender::new(()) }
    }
}

impl MemoryEndpoint {
    fn read<T>(&self, read: impl FnOnce(&Machine) -> T) -> T {
        read(&self.machine.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn apply(&self, call: &'static str, command: &Command) -> Answer<Response> {
        let mut machine = self.machine.write().unwrap_or_else(PoisonError::into_inner);
        let index = machine.applied_index() + 1;
        let applied = machine.apply(index, command);
        drop(machine);
        self.moved.send_replace(());
        applied.map(|applied| applied.response).map_err(|error| refusal(call, error))
    }

    fn header(&self) -> Header {
        named(Header {
            revision: self.read(|machine| machine.view().revision()),
            ..Default::default()
        })
    }
}

/// The header with the ids of this one-member cluster.
pub(super) fn named(header: Header) -> Header {
    Header { cluster_id: 1, member_id: 1, raft_term: 1, ..header }
}

fn refusal(call: &'static str, error: ApiError) -> Refusal {
    let code = Code::from_i32(error.code() as i32);
    Refusal { call, code, message: error.message().to_owned() }
}

/// What only a running member answers.
fn unimplemented<T>(call: &'static str) -> Answer<T> {
    let message = "needs a running member".to_owned();
    Err(Refusal { call, code: Code::Unimplemented, message })
}

/// The machine answered a command with another command's answer.
fn mismatched(call: &'static str, response: &Response) -> Refusal {
    Refusal { call, code: Code::Internal, message: format!("answered {response:?}") }
}

fn checked(call: &'static str, check: Result<(), ApiError>) -> Answer<()> {
    check.map_err(|error| refusal(call, error))
}

#[async_trait]
impl Endpoint for MemoryEndpoint {
    async fn range(&self, request: pb::RangeRequest) -> Answer<Ranged> {
        const CALL: &str = "Range";
        checked(CALL, check::range(&request))?;
        let answer = self.read(|machine| machine.view().range(&request));
        let answer = answer.map_err(|error| refusal(CALL, error))?;
        let ranged = answer_of(CALL, decode::ranged(answer))?;
        Ok(Ranged { header: named(ranged.header), ..ranged })
    }

    async fn range_stream(&self, request: pb::RangeRequest) -> Answer<Vec<Ranged>> {
        const CALL: &str = "RangeStream";
        checked(CALL, check::range_stream(&request))?;
        let pieces = self.read(|machine| machine.view().range_stream(request, CHUNK_BYTES));
        let pieces = pieces.map_err(|error| refusal(CALL, error))?;
        let chunk = |piece| {
            let mut chunk = answer_of(CALL, decode::ranged(piece))?;
            if chunk.header != Header::default() {
                chunk.header = named(chunk.header);
            }
            Ok(chunk)
        };
        pieces.map(chunk).collect()
    }

    async fn put(&self, request: pb::PutRequest) -> Answer<Written> {
        const CALL: &str = "Put";
        checked(CALL, check::put(&request))?;
        match self.apply(CALL, &Command::Put(request))? {
            Response::Put(answer) => {
                let written = answer_of(CALL, decode::written(answer))?;
                Ok(Written { header: named(written.header), ..written })
            }
            other => Err(mismatched(CALL, &other)),
        }
    }

    async fn delete_range(&self, request: pb::DeleteRangeRequest) -> Answer<Deleted> {
        const CALL: &str = "DeleteRange";
        checked(CALL, check::delete_range(&request))?;
        match self.apply(CALL, &Command::DeleteRange(request))? {
            Response::DeleteRange(answer) => {
                let deleted = answer_of(CALL, decode::deleted(answer))?;
                Ok(Deleted { header: named(deleted.header), ..deleted })
            }
            other => Err(mismatched(CALL, &other)),
        }
    }

    async fn txn(&self, request: pb::TxnRequest) -> Answer<Txned> {
        const CALL: &str = "Txn";
        checked(CALL, check::txn(&request, limits::MAX_TXN_OPS))?;
        let answer = if is_read_only(&request) {
            let answer = self.read(|machine| machine.view().txn(&request));
            answer.map_err(|error| refusal(CALL, error))?
        } else {
            match self.apply(CALL, &Command::Txn(request))? {
                Response::Txn(answer) => answer,
                other => return Err(mismatched(CALL, &other)),
            }
        };
        let txned = answer_of(CALL, decode::txned(answer))?;
        Ok(Txned { header: named(txned.header), ..txned })
    }

    async fn compact(&self, request: pb::CompactionRequest) -> Answer<Header> {
        const CALL: &str = "Compact";
        let physical = request.physical;
        let Response::Compact(answer) = self.apply(CALL, &Command::Compact(request))? else {
            return unimplemented(CALL);
        };
        let mut machine = self.machine.write().unwrap_or_else(PoisonError::into_inner);
        while physical && machine.scavenge(SCAVENGE_BATCH) {}
        Ok(named(decode::header(answer.header)))
    }

    async fn watch(&self) -> Answer<WatchStream> {
        Ok(watching::open(Arc::clone(&self.machine), self.moved.subscribe()))
    }

    async fn lease_grant(&self, mut request: pb::LeaseGrantRequest) -> Answer<Granted> {
        const CALL: &str = "LeaseGrant";
        checked(CALL, check::lease_grant(&mut request, LEASE_TTL_MIN))?;
        if request.id == 0 {
            let count = self.read(|machine| machine.applied_index()) as i64;
            request.id = FIRST_PICKED_LEASE + count;
        }
        match self.apply(CALL, &Command::LeaseGrant(request))? {
            Response::LeaseGrant(answer) => {
                let granted = decode::granted(answer);
                Ok(Granted { header: named(granted.header), ..granted })
            }
            other => Err(mismatched(CALL, &other)),
        }
    }

    async fn lease_revoke(&self, id: i64) -> Answer<Header> {
        const CALL: &str = "LeaseRevoke";
        match self.apply(CALL, &Command::LeaseRevoke(pb::LeaseRevokeRequest { id }))? {
            Response::LeaseRevoke(answer) => Ok(named(decode::header(answer.header))),
            other => Err(mismatched(CALL, &other)),
        }
    }

    async fn lease_keep_alive(&self, _: i64) -> Answer<KeptAlive> {
        unimplemented("LeaseKeepAlive")
    }

    /// No time passes here: the remaining time is the granted one.
    async fn lease_time_to_live(&self, id: i64, keys: bool) -> Answer<TimeToLive> {
        let header = self.header();
        Ok(self.read(|machine| match machine.leases().get(id) {
            None => TimeToLive { header, id, ttl: -1, ..Default::default() },
            Some(lease) => TimeToLive {
                header,
                id,
                ttl: lease.granted_ttl(),
                granted_ttl: lease.granted_ttl(),
                keys: lease.keys().filter(|_| keys).map(|key| Text(key.to_vec())).collect(),
            },
        }))
    }

    async fn lease_leases(&self) -> Answer<Leases> {
        let ids = self.read(|machine| machine.leases().iter().map(|(id, _)| id).collect());
        Ok(Leases { header: self.header(), ids })
    }

    async fn member_list(&self) -> Answer<Members> {
        unimplemented("MemberList")
    }

    async fn status(&self) -> Answer<Status> {
        unimplemented("Status")
    }

    async fn hash(&self) -> Answer<Hashed> {
        let hash = self.read(Machine::hash);
        Ok(Hashed { header: self.header(), hash, ..Default::default() })
    }

    async fn hash_kv(&self, revision: i64) -> Answer<Hashed> {
        let hashed = self.read(|machine| machine.view().hash_kv(revision));
        let hashed = hashed.map_err(|error| refusal("HashKV", error))?;
        Ok(Hashed {
            header: self.header(),
            hash: hashed.hash,
            compact_revision: hashed.compact_revision,
            hash_revision: hashed.revision,
        })
    }

    async fn alarms(&self) -> Answer<Alarms> {
        unimplemented("Alarm")
    }

    async fn defragment(&self) -> Answer<Header> {
        unimplemented("Defragment")
    }

    async fn snapshot(&self) -> Answer<Vec<u8>> {
        unimplemented("Snapshot")
    }

    fn channel(&self) -> Option<tonic::transport::Channel> {
        None
    }
}
