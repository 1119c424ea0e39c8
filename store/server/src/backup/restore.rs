//! A new data directory from a snapshot file.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use skein_store_mvcc::{Command, Machine, MemberOp};
use skein_store_raft::Configuration;

use super::file::SnapshotFile;
use super::{BackupError, import};
use crate::cluster::{self, Known};
use crate::config::MemberConfig;
use crate::data_dir::{DataDir, Identity};
use crate::disk::{Disk, OsDisk};
use crate::replica::configuration_record;
use crate::snapshot_file::{self, Position};

/// Term of the log entry behind which a restored member's log begins.
const TERM: u64 = 1;

/// Inside of the new data directory, where it is prepared.
const PREPARED: &str = "restoring";

/// How to restore; the fields are `etcdutl`'s flags.
#[derive(Clone, Debug)]
pub struct RestoreConfig {
    /// The snapshot, or the `member/snap/db` of an etcd that is not running.
    pub snapshot: PathBuf,
    /// The data directory, which must be empty or not there.
    pub data_dir: PathBuf,
    /// Name of the member.
    pub name: String,
    /// The members of the new cluster, as `name=url` pairs.
    pub initial_cluster: Vec<String>,
    /// The peer addresses of this member.
    pub peer_urls: Vec<String>,
    /// Hashed into the ids of cluster and member.
    pub cluster_token: String,
    /// Take a file without SHA-256, or with another one.
    pub skip_hash_check: bool,
    /// How much greater the revision becomes, so that it is never less than one that clients saw.
    pub bump_revision: u64,
    /// Nothing before the new revision can be read; needed with a bump.
    pub mark_compacted: bool,
}

/// What was restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restored {
    /// The newest revision.
    pub revision: i64,
    /// The last compaction; -1 when there was none.
    pub compact_revision: i64,
    /// Number of keys.
    pub keys: usize,
    /// Number of leases.
    pub leases: usize,
}

/// Makes a data directory on which a member starts with what the snapshot holds.
///
/// # Errors
/// The snapshot cannot be used or the directory not be made, which is then left empty.
pub fn restore(config: &RestoreConfig) -> Result<Restored, BackupError> {
    if config.mark_compacted != (config.bump_revision > 0) {
        return Err(BackupError::BumpWithoutMark);
    }
    check_cluster(config)?;
    check_empty(&config.data_dir)?;
    let file = SnapshotFile::open(&config.snapshot)?;
    if !config.skip_hash_check {
        file.check_hash()?;
    }
    file.bolt.check().map_err(file.structure())?;
    let (founders, member_id) = cluster::founders(&member_config(config))
        .map_err(|error| BackupError::Cluster(error.to_string()))?;
    let mut machine = import::read(&file, config, 0)?;
    found(&mut machine, &founders);
    let cluster_id = cluster::cluster_id(&founders, &config.cluster_token);
    let identity = Identity { cluster_id, member_id, founded: true, members: founders };
    prepare(config, &identity, &machine)?;
    let view = machine.view();
    Ok(Restored {
        revision: view.revision(),
        compact_revision: view.compact_revision(),
        keys: view.len(),
        leases: machine.leases().len(),
    })
}

/// The flags of the member that will run on the directory, as far as they say who it is.
fn member_config(config: &RestoreConfig) -> MemberConfig {
    let pairs = config.initial_cluster.iter().filter_map(|pair| pair.split_once('='));
    MemberConfig {
        advertise_peer_urls: config.peer_urls.clone(),
        initial_cluster: pairs.map(|(name, url)| (name.to_owned(), url.to_owned())).collect(),
        cluster_token: config.cluster_token.clone(),
        ..MemberConfig::new(config.name.clone(), config.data_dir.clone())
    }
}

/// Begins the cluster with its members as the first changes, the same on all that restore the file.
fn found(machine: &mut Machine, founders: &[Known]) {
    for (founder, index) in founders.iter().zip(1..) {
        // Ids and addresses were found to differ.
        let _ = machine.apply(index, &Command::Member(MemberOp::Add(founder.member())));
    }
    let voters = founders.iter().map(|founder| founder.id).collect();
    let configuration = Configuration { voters, ..Configuration::default() };
    machine.set_configuration(configuration_record(&configuration));
}

/// Lays the directory out beside its final place and moves it there in one step, so that no
/// member can start on half of it.
fn prepare(
    config: &RestoreConfig,
    identity: &Identity,
    machine: &Machine,
) -> Result<(), BackupError> {
    let prepared = config.data_dir.join(PREPARED);
    let made = lay_out(&prepared, identity, machine).and_then(|()| {
        let member = config.data_dir.join("member");
        fs::rename(prepared.join("member"), &member).map_err(io_error("rename", &member))?;
        OsDisk.sync_dir(&config.data_dir).map_err(io_error("sync", &config.data_dir))
    });
    match (made, fs::remove_dir_all(&prepared)) {
        (Ok(()), Err(source)) => Err(io_error("remove", &prepared)(source)),
        // The first error is the one to tell.
        (made, _) => made,
    }
}

/// The layout of a data directory: who the member is, and its first snapshot.
fn lay_out(root: &Path, identity: &Identity, machine: &Machine) -> Result<(), BackupError> {
    let dir = DataDir::lock(root)?;
    dir.keep_identity(identity)?;
    let snapshots = dir.snapshots();
    OsDisk.create_dir(&snapshots).map_err(io_error("create", &snapshots))?;
    let begin = Position { index: machine.applied_index(), term: TERM };
    snapshot_file::write(&OsDisk, &snapshots, identity.owner(), begin, machine.snapshot())?;
    OsDisk.sync_dir(&root.join("member")).map_err(io_error("sync", root))
}

/// That the member is in the cluster by the addresses that it will tell others.
fn check_cluster(config: &RestoreConfig) -> Result<(), BackupError> {
    let refused = |text| Err(BackupError::Cluster(text));
    let mut own = Vec::new();
    let mut all = Vec::new();
    for pair in &config.initial_cluster {
        let Some((name, url)) = pair.split_once('=') else {
            return refused(format!("--initial-cluster: {pair:?} is not name=url"));
        };
        if all.contains(&url) {
            let cluster = config.initial_cluster.join(",");
            return refused(format!("initial cluster {cluster} has duplicate url"));
        }
        all.push(url);
        if name == config.name {
            own.push(url);
        }
    }
    if own.is_empty() {
        let name = &config.name;
        return refused(format!(
            "couldn't find local name {name:?} in the initial cluster configuration"
        ));
    }
    let mut told: Vec<_> = config.peer_urls.iter().map(String::as_str).collect();
    told.sort_unstable();
    own.sort_unstable();
    if told != own {
        let (own, told) = (own.join(","), told.join(","));
        let name = &config.name;
        return refused(format!(
            "--initial-cluster has {name}={own} but --initial-advertise-peer-urls={told}"
        ));
    }
    Ok(())
}

fn check_empty(dir: &Path) -> Result<(), BackupError> {
    let empty = match fs::read_dir(dir) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    };
    match empty {
        true => Ok(()),
        false => Err(BackupError::NotEmpty { path: dir.to_owned() }),
    }
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BackupError {
    let path = path.to_owned();
    move |source| BackupError::Io { action, path, source }
}
