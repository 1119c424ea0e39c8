use std::path::PathBuf;
use std::time::Duration;

use skein_store_api::pb::etcdserverpb::{Member, PutRequest};
use skein_store_mvcc::{Command, Envelope, Origin};

use super::*;
use crate::disk::faulty::FaultyDisk;
use crate::log::{LogError, Owner};
use crate::state::system_clock;

const OWNER: Owner = Owner { cluster_id: 1, member_id: 2 };

/// Remembers what left the member.
#[derive(Default)]
struct Left {
    outcomes: Vec<(u64, Reply)>,
    reads: Vec<u64>,
}

impl Outlet for Left {
    fn send(&mut self, _: Message) {
        panic!("there is nobody to send to");
    }
    fn send_snapshot(&mut self, _: Message, _: SnapshotChunks) {
        panic!("there is nobody to send to");
    }
    fn forward(&mut self, _: u64, _: Vec<Proposal>) {
        panic!("there is nobody to pass on to");
    }
    fn refuse(&mut self, _: u64, _: Vec<u64>, _: ApiError) {
        panic!("nobody passed anything on");
    }
    fn outcome(&mut self, sequence: u64, outcome: Reply) {
        self.outcomes.push((sequence, outcome));
    }
    fn confirmed(&mut self, read: u64) {
        self.reads.push(read);
    }
}

impl Left {
    fn revisions(&self) -> Vec<Option<i64>> {
        let revision = |(_, outcome): &(u64, Reply)| Some(outcome.as_ref().ok()?.revision);
        self.outcomes.iter().map(revision).collect()
    }
}

fn config() -> ReplicaConfig {
    ReplicaConfig {
        owner: OWNER,
        log_dir: PathBuf::from("/log"),
        snapshot_dir: PathBuf::from("/snap"),
        segment_bytes: 1 << 16,
        snapshot_count: 100,
        election_ticks: 10,
        seed: 0,
        incarnation: 1,
        extend_leases: Duration::ZERO,
        founders: vec![Member { id: OWNER.member_id, ..Member::default() }],
        force_new_cluster: false,
    }
}

/// A sole voter on a disk of its own.
fn leading(disk: &FaultyDisk) -> Replica {
    let disk: Arc<dyn crate::disk::Disk> = Arc::new(disk.clone());
    let mut replica = Replica::open(&config(), disk, system_clock()).expect("an undamaged disk");
    replica.campaign_if_alone(&mut Left::default()).expect("it leads");
    replica
}

fn put(sequence: u64) -> Proposal {
    let key = format!("k{sequence}").into();
    let origin = Some(Origin { member: OWNER.member_id, sequence });
    let command = Command::Put(PutRequest { key, ..Default::default() });
    let command = command.encode_in(&Envelope { origin, author: None });
    Proposal { sequence, command, changes_members: false }
}

#[test]
fn a_failed_sync_stops_the_member_and_acknowledges_nothing() {
    let disk = FaultyDisk::default();
    let mut replica = leading(&disk);
    let mut left = Left::default();
    replica.propose(put(1), &mut left);
    replica.work(&mut left).expect("writes");
    assert_eq!(left.revisions(), [Some(2)]);
    disk.fail_syncs_after(0);
    replica.propose(put(2), &mut left);
    let failed = replica.work(&mut left);
    assert!(matches!(failed, Err(DriverError::Log(LogError::Io { action: "sync", .. }))));
    assert_eq!(left.outcomes.len(), 1, "acknowledged without being durable");
}

#[test]
fn what_was_acknowledged_is_there_after_a_power_cut() {
    let disk = FaultyDisk::default();
    let mut replica = leading(&disk);
    let mut left = Left::default();
    for sequence in 1..=50 {
        replica.propose(put(sequence), &mut left);
        replica.work(&mut left).expect("writes");
    }
    assert_eq!(left.outcomes.len(), 50);
    drop(replica);
    disk.power_cut(|_| false);
    let replica = leading(&disk);
    assert_eq!(replica.glance(|machine| machine.view().revision()), 51);
}

#[test]
fn one_round_takes_what_gathered_meanwhile() {
    let disk = FaultyDisk::default();
    let mut replica = leading(&disk);
    let mut left = Left::default();
    let before = replica.status().last;
    (1..=100).for_each(|sequence| replica.propose(put(sequence), &mut left));
    // One sync is all that the batch needs.
    disk.fail_syncs_after(1);
    replica.work(&mut left).expect("one sync for all");
    assert_eq!(replica.status().last, before + 100);
    assert_eq!(left.revisions(), (2..=101).map(Some).collect::<Vec<_>>());
}

#[test]
fn a_read_is_confirmed_and_snapshots_carry_the_members() {
    let disk = FaultyDisk::default();
    let mut replica = leading(&disk);
    let mut left = Left::default();
    replica.read(7);
    (1..=150).for_each(|sequence| replica.propose(put(sequence), &mut left));
    replica.work(&mut left).expect("works");
    assert_eq!(left.reads, [7]);
    let mut written = 0;
    replica.snapshot_if_due(|job| {
        job();
        written += 1;
        Ok(None)
    });
    assert_eq!(written, 1);
    replica.work(&mut left).expect("drops what the snapshot has");
    let at = replica.status().applied;
    drop(replica);
    let replica = leading(&disk);
    let members: Vec<_> = replica.glance(|machine| machine.members().iter().collect());
    assert_eq!(members.iter().map(|member| member.id).collect::<Vec<_>>(), [OWNER.member_id]);
    assert!(replica.status().applied >= at && replica.leads());
}
