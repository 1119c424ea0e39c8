//! Opening a replica: snapshot, log, and the founding of a new cluster.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use skein_store_api::pb::etcdserverpb::Member;
use skein_store_mvcc::{Command, Machine, MachineConfig, MemberOp};
use skein_store_raft::{
    Change, ConfChange, ConfChangeError, Entry, EntryKind, HardState, Node, NodeConfig, RaftError,
    Restored,
};
use thiserror::Error;

use super::{Changes, Reads, Replica, SlowDisk, apply, force};
use crate::ETCD_VERSION;
use crate::disk::Disk;
use crate::driver::snapshotter::Snapshotter;
use crate::log::{Log, LogError, LogOptions, Owner, Recovered};
use crate::metrics::Metrics;
use crate::snapshot_file::{self, Position, SnapshotError};
use crate::state::{Clock, RestoreError, State};

/// Term of the entries with which a cluster is founded. Every founder writes the same ones.
const FOUNDING_TERM: u64 = 1;

/// What a replica is told at its start.
#[derive(Clone, Debug)]
pub struct ReplicaConfig {
    /// Whose files these are.
    pub owner: Owner,
    /// The log's directory.
    pub log_dir: PathBuf,
    /// The directory of snapshots.
    pub snapshot_dir: PathBuf,
    /// Size of one log segment in bytes.
    pub segment_bytes: u64,
    /// Log entries between snapshots.
    pub snapshot_count: u64,
    /// Ticks without a leader before an election.
    pub election_ticks: usize,
    /// Source of this member's election timeout.
    pub seed: u64,
    /// Different at every start.
    pub incarnation: u64,
    /// Added to every lease when this member becomes leader.
    pub extend_leases: Duration,
    /// The members of a new cluster, the same on all of them; none on a member that joins.
    pub founders: Vec<Member>,
    /// Go on alone with the data that is here, as if all other members had been removed: the way
    /// out when a majority is lost for ever.
    pub force_new_cluster: bool,
}

/// A replica could not be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The log cannot be used.
    #[error("the log cannot be used")]
    Log(#[from] LogError),
    /// The newest snapshot cannot be used.
    #[error("the snapshot cannot be used")]
    Snapshot(#[from] SnapshotError),
    /// The newest snapshot does not hold a state that this version understands.
    #[error("the snapshot {} cannot be restored", path.display())]
    Restore {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: RestoreError,
    },
    /// The snapshot's record of who votes cannot be read.
    #[error("the snapshot's record of who votes cannot be read")]
    Configuration(#[source] prost::DecodeError),
    /// A configuration change in the log cannot be read.
    #[error("a configuration change in the log cannot be read")]
    ConfChange(#[from] ConfChangeError),
    /// Consensus cannot go on from what is there.
    #[error("consensus cannot start")]
    Raft(#[from] RaftError),
}

impl Replica {
    /// Reads snapshot and log. Nothing is applied and nobody is told anything before
    /// [`Replica::work`].
    ///
    /// # Errors
    /// See [`OpenError`]; the files are left as they were found.
    pub fn open(
        config: &ReplicaConfig,
        disk: Arc<dyn Disk>,
        clock: Clock,
    ) -> Result<Self, OpenError> {
        let begun = Instant::now();
        let (owner, id) = (config.owner, config.owner.member_id);
        let (machine, base) = restore(&*disk, config)?;
        let dir = config.log_dir.clone();
        let options = LogOptions { dir, owner, segment_bytes: config.segment_bytes };
        let at = (base.index, base.term);
        let (mut log, mut recovered) = Log::open(Arc::clone(&disk), &options, at)?;
        if base.index == 0 && is_fresh(&recovered) {
            found(&mut log, &mut recovered, &config.founders)?;
        }
        let (replayed, cut_bytes) = (recovered.entries.len(), recovered.cut_bytes);
        if cut_bytes > 0 {
            tracing::warn!(cut_bytes, "cut a write that a crash had left unfinished");
        }
        let record = machine.members().configuration();
        let configuration = apply::configuration(record).map_err(OpenError::Configuration)?;
        if config.force_new_cluster {
            force::alone(&mut log, &mut recovered, at, &configuration, id)?;
        }
        let Recovered { hard_state, entries, .. } = recovered;
        let restored = Restored { hard_state, base: at, configuration, entries };
        let node = Node::new(&node_config(config), restored)?;
        let metrics = Arc::new(Metrics::new(id, ETCD_VERSION));
        let state = Arc::new(State::new(machine, config.extend_leases, clock, metrics));
        let dir = config.snapshot_dir.clone();
        let snapshotter = Snapshotter::new(disk, dir, owner, config.snapshot_count, base);
        tracing::info!(
            snapshot_index = base.index,
            replayed,
            revision = state.revision(),
            took_ms = begun.elapsed().as_millis() as u64,
            "restored data"
        );
        Ok(Self {
            id,
            node,
            log,
            state,
            snapshotter,
            backlog: Default::default(),
            backlog_bytes: 0,
            changes: Changes::default(),
            reads: Reads::default(),
            received: None,
            slow_disk: SlowDisk::default(),
            removed: false,
        })
    }
}

/// The newest snapshot's state, or a fresh one.
fn restore(disk: &dyn Disk, config: &ReplicaConfig) -> Result<(Machine, Position), OpenError> {
    let newest = snapshot_file::open_newest(disk, &config.snapshot_dir, config.owner)?;
    let Some(mut reader) = newest else {
        return Ok((Machine::new(&MachineConfig::default()), Position::default()));
    };
    let position = reader.ends_at();
    let path = reader.path().to_owned();
    let machine =
        crate::state::restore(&mut reader).map_err(|source| OpenError::Restore { path, source })?;
    Ok((machine, position))
}

fn is_fresh(recovered: &Recovered) -> bool {
    recovered.entries.is_empty() && recovered.hard_state == HardState::default()
}

/// Begins the log with the founders, as committed entries: whoever reads the log from its start
/// learns of them like of any later member.
fn found(log: &mut Log, recovered: &mut Recovered, founders: &[Member]) -> Result<(), LogError> {
    if founders.is_empty() {
        return Ok(());
    }
    let entries = founders.iter().zip(1..).map(|(member, index)| {
        let context = Command::Member(MemberOp::Add(member.clone())).encode();
        let change = ConfChange { changes: vec![Change::AddVoter(member.id)], context };
        let kind = EntryKind::ConfChange;
        Entry { index, term: FOUNDING_TERM, kind, data: change.encode() }
    });
    recovered.entries = entries.collect();
    let commit = recovered.entries.len() as u64;
    recovered.hard_state = HardState { term: FOUNDING_TERM, vote: 0, commit };
    log.note(recovered.hard_state);
    log.append(&recovered.entries).map(drop)
}

fn node_config(config: &ReplicaConfig) -> NodeConfig {
    NodeConfig {
        id: config.owner.member_id,
        election_ticks: config.election_ticks,
        heartbeat_ticks: 1,
        seed: config.seed,
        incarnation: config.incarnation,
    }
}
