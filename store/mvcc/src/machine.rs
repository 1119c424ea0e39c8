//! The machine: the only thing that changes the state.

use skein_store_api::ApiError;
use skein_store_api::pb::etcdserverpb::{
    CompactionRequest, CompactionResponse, DeleteRangeResponse, LeaseGrantRequest,
    LeaseGrantResponse, LeaseRevokeRequest, LeaseRevokeResponse, Member, PutRequest, PutResponse,
    TxnResponse,
};

use crate::command::Command;
use crate::events::EventLog;
use crate::history::Rev;
use crate::key::Key;
use crate::lease::Leases;
use crate::members::{MemberOp, Members};
use crate::usage::Usage;
use crate::view::View;
use crate::write::{Write, check_put};

/// Changes cleaned up behind a compaction with every command. More than one, so that cleaning
/// keeps ahead of writing even if nobody calls [`Machine::scavenge`]; few, so that no command
/// notices.
const SCAVENGE_PER_APPLY: usize = 16;

/// Default bound of the event log: at 500 bytes an event a quarter of a million events, several
/// minutes of a busy cluster for a watcher to reconnect in.
pub const DEFAULT_EVENT_LOG_BYTES: usize = 256 * 1024 * 1024;

/// What a machine is built with. Nothing here may change the outcome of a command.
#[derive(Clone, Debug)]
pub struct MachineConfig {
    /// Bytes of events kept for watchers beyond what the history holds anyway.
    pub event_log_bytes: usize,
}

impl Default for MachineConfig {
    fn default() -> Self {
        MachineConfig { event_log_bytes: DEFAULT_EVENT_LOG_BYTES }
    }
}

/// The replicated state machine. Two machines that applied the same commands hold the same state.
#[derive(Debug)]
pub struct Machine {
    pub(crate) view: View,
    pub(crate) leases: Leases,
    pub(crate) members: Members,
    pub(crate) usage: Usage,
    pub(crate) applied_index: u64,
    events: EventLog,
    /// The first change that the running clean-up has not looked at.
    scavenge_from: Rev,
}

/// The answer to a command, its header holding the revision only.
#[derive(Clone, Debug, PartialEq)]
pub enum Response {
    /// To [`Command::Put`].
    Put(PutResponse),
    /// To [`Command::DeleteRange`].
    DeleteRange(DeleteRangeResponse),
    /// To [`Command::Txn`].
    Txn(TxnResponse),
    /// To [`Command::Compact`].
    Compact(CompactionResponse),
    /// To [`Command::LeaseGrant`].
    LeaseGrant(LeaseGrantResponse),
    /// To [`Command::LeaseRevoke`].
    LeaseRevoke(LeaseRevokeResponse),
    /// To [`Command::Member`]: every member behind the change.
    Members(Vec<Member>),
}

/// What a command did to the leases, for the leader's [`crate::Lessor`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseChange {
    /// A lease exists from now on.
    Granted {
        /// Its id.
        id: i64,
        /// Its time to live in seconds.
        ttl_seconds: i64,
    },
    /// A lease is gone.
    Revoked {
        /// Its id.
        id: i64,
    },
}

/// What applying a command came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Applied {
    /// The answer for the client that proposed it.
    pub response: Response,
    /// The store's revision behind the command.
    pub revision: i64,
    /// What the leader's lessor must be told.
    pub lease: Option<LeaseChange>,
}

impl Machine {
    /// A store at revision 1 with nothing in it.
    pub fn new(config: &MachineConfig) -> Machine {
        let nobody = Members::default();
        Machine::with_state(View::fresh(), Leases::default(), nobody, Usage::default(), 0, config)
    }

    pub(crate) fn with_state(
        view: View,
        leases: Leases,
        members: Members,
        usage: Usage,
        applied_index: u64,
        config: &MachineConfig,
    ) -> Machine {
        let events = EventLog::new(view.revision, view.compact_revision, config.event_log_bytes);
        let scavenge_from = Rev::first_of(view.compact_revision);
        Machine { view, leases, members, usage, applied_index, events, scavenge_from }
    }

    /// Applies the command at `index` of the replicated log, atomically: an error changes nothing
    /// but the applied index.
    ///
    /// # Errors
    /// What the client is to be told. It is the same on every member.
    ///
    /// # Panics
    /// When `index` is not above [`Machine::applied_index`]: applying an entry twice would make
    /// this member differ from the others.
    pub fn apply(&mut self, index: u64, command: &Command) -> Result<Applied, ApiError> {
        self.pass(index);
        let applied = match command {
            Command::Put(request) => self.put(request).map(Response::Put).map(without_lease),
            Command::DeleteRange(request) => {
                let response = self.write(|write| Ok(write.delete_range(request)));
                response.map(Response::DeleteRange).map(without_lease)
            }
            Command::Txn(request) => {
                self.write(|write| write.txn(request)).map(Response::Txn).map(without_lease)
            }
            Command::Compact(request) => {
                self.compact(request).map(Response::Compact).map(without_lease)
            }
            Command::LeaseGrant(request) => self.lease_grant(request),
            Command::LeaseRevoke(request) => self.lease_revoke(request),
            Command::Member(op) => self.member(op).map(without_lease),
        };
        self.scavenge(SCAVENGE_PER_APPLY);
        let (response, lease) = applied?;
        Ok(Applied { response, revision: self.view.revision, lease })
    }

    /// Passes an entry of the log that holds no command.
    ///
    /// # Panics
    /// As [`Machine::apply`].
    pub fn pass(&mut self, index: u64) {
        assert!(
            index > self.applied_index,
            "entry {index} was applied already: the machine is at {}",
            self.applied_index
        );
        self.applied_index = index;
    }

    /// Index of the last entry that was applied or passed.
    pub fn applied_index(&self) -> u64 {
        self.applied_index
    }

    /// The state for readers. Clone it to read without keeping the machine from going on.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// The leases.
    pub fn leases(&self) -> &Leases {
        &self.leases
    }

    /// The members of the cluster.
    pub fn members(&self) -> &Members {
        &self.members
    }

    /// Keeps consensus' record of who votes, as of the entry applied last. The same on every member.
    pub fn set_configuration(&mut self, record: bytes::Bytes) {
        self.members.set_configuration(record);
    }

    /// The event log. The handle stays valid for the machine's life, and beyond it when another
    /// machine takes over with [`Machine::succeed`].
    pub fn events(&self) -> &EventLog {
        &self.events
    }

    /// Memory that the state takes, the event log apart.
    pub fn usage(&self) -> Usage {
        self.usage
    }

    /// Takes over from another machine, as after installing a snapshot from the leader: watchers
    /// keep their positions and read on from this machine's history.
    pub fn succeed(&mut self, former: &Machine) {
        self.events = former.events.clone();
        self.events.reset(self.view.revision, self.view.compact_revision);
    }

    /// Frees up to `most` changes that compaction has made unreachable and returns whether more
    /// are left. Reads never see the difference; call it when there is time.
    pub fn scavenge(&mut self, most: usize) -> bool {
        let compacted = self.view.compact_revision;
        let batch: Vec<(Rev, Key)> = self
            .view
            .changes
            .iter_from(&self.scavenge_from)
            .take_while(|(rev, _)| rev.main <= compacted)
            .take(most)
            .map(|(rev, change)| (*rev, change.key.clone()))
            .collect();
        for (rev, key) in &batch {
            self.trim(key, compacted);
            // A change of the compact revision itself can still be watched.
            if rev.main < compacted {
                self.view.changes.remove(rev);
            }
            self.scavenge_from = rev.after();
        }
        batch.len() == most
    }

    fn put(&mut self, request: &PutRequest) -> Result<PutResponse, ApiError> {
        check_put(&self.view, &self.leases, request)?;
        self.write(|write| Ok(write.put(request)))
    }

    fn write<R>(
        &mut self,
        change: impl FnOnce(&mut Write<'_>) -> Result<R, ApiError>,
    ) -> Result<R, ApiError> {
        let mut write = Write {
            view: &mut self.view,
            leases: &mut self.leases,
            usage: &mut self.usage,
            records: Vec::new(),
        };
        let result = change(&mut write)?;
        let records = write.records;
        if !records.is_empty() {
            self.events.append(self.view.revision, records);
        }
        Ok(result)
    }

    fn compact(&mut self, request: &CompactionRequest) -> Result<CompactionResponse, ApiError> {
        if request.revision <= self.view.compact_revision {
            return Err(ApiError::Compacted);
        }
        if request.revision > self.view.revision {
            return Err(ApiError::FutureRevision);
        }
        // Changes of the former compact revision were kept for watchers; look at them again.
        self.scavenge_from = self.scavenge_from.min(Rev::first_of(self.view.compact_revision));
        self.view.compact_revision = request.revision;
        self.events.compacted(request.revision);
        Ok(CompactionResponse { header: self.view.header() })
    }

    fn lease_grant(
        &mut self,
        request: &LeaseGrantRequest,
    ) -> Result<(Response, Option<LeaseChange>), ApiError> {
        self.leases.grant(request.id, request.ttl)?;
        let response = LeaseGrantResponse {
            header: self.view.header(),
            id: request.id,
            ttl: request.ttl,
            error: String::new(),
        };
        let change = LeaseChange::Granted { id: request.id, ttl_seconds: request.ttl };
        Ok((Response::LeaseGrant(response), Some(change)))
    }

    fn lease_revoke(
        &mut self,
        request: &LeaseRevokeRequest,
    ) -> Result<(Response, Option<LeaseChange>), ApiError> {
        let keys = self.leases.remove(request.id)?;
        self.write(|write| {
            for key in &keys {
                write.delete(key);
            }
            Ok(())
        })?;
        let response = LeaseRevokeResponse { header: self.view.header() };
        Ok((Response::LeaseRevoke(response), Some(LeaseChange::Revoked { id: request.id })))
    }

    fn member(&mut self, op: &MemberOp) -> Result<Response, ApiError> {
        self.members.apply(op)?;
        Ok(Response::Members(self.members.iter().collect()))
    }

    fn trim(&mut self, key: &Key, compacted: i64) {
        let Some(history) = self.view.index.get(&**key) else { return };
        if history.is_garbage(compacted) {
            if let Some(history) = self.view.index.remove(&**key) {
                for version in history.versions() {
                    self.usage.version_removed(key, version);
                }
            }
        } else if history.has_garbage(compacted) {
            let removed = self.view.index.upsert(&**key, |found| {
                let removed =
                    found.map(|(_, history)| std::sync::Arc::make_mut(history).trim(compacted));
                (None, removed.unwrap_or_default())
            });
            for version in &removed {
                self.usage.version_removed(key, version);
            }
        }
    }
}

fn without_lease(response: Response) -> (Response, Option<LeaseChange>) {
    (response, None)
}
