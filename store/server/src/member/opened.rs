//! From a data directory to a driver that is ready to run.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::runtime::Handle;

use super::StartError;
use crate::cluster::{self, Known};
use crate::config::{ClusterState, MemberConfig};
use crate::data_dir::{DataDir, Identity};
use crate::disk::{Disk, OsDisk};
use crate::driver::Driver;
use crate::driver::inbox::Inbox;
use crate::log::SEGMENT_BYTES;
use crate::peer::Peers;
use crate::peer::app::SnapshotPlace;
use crate::peer::connect::{Caller, Dialer};
use crate::replica::{Replica, ReplicaConfig};
use crate::state::{State, system_clock};

/// Data opened, log replayed; nothing served yet.
pub(super) struct Opened {
    pub(super) dir: DataDir,
    pub(super) identity: Identity,
    pub(super) state: Arc<State>,
    pub(super) inbox: Arc<Inbox>,
    pub(super) peers: Arc<Peers>,
    pub(super) place: SnapshotPlace,
    pub(super) driver: Driver,
    /// Differs from that of every former start.
    pub(super) incarnation: u64,
}

impl Opened {
    /// Opens what is in the locked directory. Blocks for as long as the log takes to replay.
    pub(super) fn open(
        config: &MemberConfig,
        dir: DataDir,
        identity: Identity,
        runtime: Handle,
    ) -> Result<Self, StartError> {
        let owner = identity.owner();
        let disk: Arc<dyn Disk> = Arc::new(OsDisk);
        let incarnation = incarnation();
        let founders = if identity.founded { identity.members.as_slice() } else { &[] };
        let replica = ReplicaConfig {
            owner,
            log_dir: dir.log(),
            snapshot_dir: dir.snapshots(),
            segment_bytes: SEGMENT_BYTES,
            snapshot_count: config.snapshot_count,
            election_ticks: config.election_ticks(),
            seed: identity.member_id,
            incarnation,
            extend_leases: config.election_timeout,
            founders: founders.iter().map(Known::member).collect(),
            force_new_cluster: config.force_new_cluster,
        };
        let replica = Replica::open(&replica, Arc::clone(&disk), system_clock())?;
        let state = Arc::clone(replica.state());
        let inbox = Arc::new(Inbox::default());
        let caller = Caller::new(
            identity.cluster_id,
            identity.member_id,
            Dialer::new(config.peer_tls.clone()),
        );
        let introduced = identity.members.iter().map(|known| (known.id, known.peer_urls.clone()));
        let introduced = introduced.collect();
        let peers = Peers::new(caller, Arc::clone(&inbox), Arc::clone(&state), introduced, runtime);
        let place = SnapshotPlace { disk, dir: dir.snapshots(), owner };
        let tick = config.heartbeat_interval;
        let mut driver = Driver::new(replica, Arc::clone(&inbox), Arc::clone(&peers), tick);
        driver.start()?;
        Ok(Self { dir, identity, state, inbox, peers, place, driver, incarnation })
    }
}

/// Who this member is: as kept in the directory, or, on the first start, by the flags and, when it
/// joins, by what the cluster's members say. Kept from then on.
pub(super) async fn identity(config: &MemberConfig, dir: &DataDir) -> Result<Identity, StartError> {
    if let Some(kept) = dir.identity()? {
        return Ok(kept);
    }
    let identity = match config.cluster_state {
        ClusterState::New => {
            let (members, member_id) = cluster::founders(config)?;
            let cluster_id = cluster::cluster_id(&members, &config.cluster_token);
            Identity { cluster_id, member_id, founded: true, members }
        }
        ClusterState::Existing => join(config).await?,
    };
    dir.keep_identity(&identity)?;
    Ok(identity)
}

async fn join(config: &MemberConfig) -> Result<Identity, StartError> {
    let own: BTreeSet<_> = config.advertise_peer_urls.iter().collect();
    let others = config.initial_cluster.iter().map(|(_, url)| url);
    let others: Vec<_> = others.filter(|url| !own.contains(url)).cloned().collect();
    let dialer = Dialer::new(config.peer_tls.clone());
    let told = dialer.ask_members(&others).await.map_err(StartError::Join)?;
    let members = told.members.into_iter().map(|member| Known {
        id: member.id,
        name: member.name,
        peer_urls: member.peer_urls,
    });
    let members: Vec<_> = members.collect();
    let member_id = cluster::own_id(config, &members)?;
    Ok(Identity { cluster_id: told.cluster_id, member_id, founded: false, members })
}

/// Nanoseconds since 1970: only has to grow from one start to the next.
fn incarnation() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    now.as_nanos() as u64
}
