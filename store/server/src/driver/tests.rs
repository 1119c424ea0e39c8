use std::path::PathBuf;

use skein_store_api::pb::etcdserverpb::PutRequest;
use skein_store_mvcc::{Command, Machine, MachineConfig};
use skein_store_raft::{NodeConfig, Restored};

use super::*;
use crate::disk::Disk;
use crate::disk::faulty::FaultyDisk;
use crate::log::{LogError, LogOptions, Owner};
use crate::metrics::Metrics;

const OWNER: Owner = Owner { cluster_id: 1, member_id: 2 };
const TICK: Duration = Duration::from_millis(10);

/// A leading driver on a disk of its own, and the inbox that it reads.
fn leading(disk: &FaultyDisk) -> (Driver, Arc<Inbox>) {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let options = LogOptions { dir: "/log".into(), owner: OWNER, segment_bytes: 1 << 16 };
    let (log, recovered) = Log::open(Arc::clone(&disk), &options, 0).expect("an undamaged log");
    let config = NodeConfig {
        id: OWNER.member_id,
        voters: vec![OWNER.member_id],
        election_ticks: 10,
        heartbeat_ticks: 1,
        seed: 0,
        incarnation: 1,
    };
    let restored =
        Restored { hard_state: recovered.hard_state, base: (0, 0), entries: recovered.entries };
    let node = Node::new(&config, restored).expect("a valid configuration");
    let machine = Machine::new(&MachineConfig::default());
    let metrics = Arc::new(Metrics::new(OWNER.member_id, "test"));
    let state = Arc::new(State::new(machine, Duration::ZERO, metrics));
    let inbox = Arc::new(Inbox::default());
    let snapshotter = Snapshotter::new(disk, PathBuf::from("/snap"), OWNER, u64::MAX);
    let mut driver = Driver::new(node, log, state, Arc::clone(&inbox), TICK, snapshotter);
    driver.start().expect("it leads");
    (driver, inbox)
}

fn put(inbox: &Inbox, key: &str) -> Result<oneshot::Receiver<Reply>, ApiError> {
    let request = PutRequest { key: key.to_owned().into(), ..Default::default() };
    let (reply, answer) = oneshot::channel();
    let command = Command::Put(request).encode();
    inbox.propose(Proposal { command, reply: Some(reply) })?;
    Ok(answer)
}

#[test]
fn a_failed_sync_stops_the_member_and_acknowledges_nothing() {
    let disk = FaultyDisk::default();
    let (driver, inbox) = leading(&disk);
    let running = std::thread::spawn(move || driver.run());
    let first = put(&inbox, "a").expect("room").blocking_recv().expect("an answer");
    assert_eq!(first.map(|applied| applied.revision), Ok(2));
    disk.fail_syncs_after(0);
    let second = put(&inbox, "b").expect("room").blocking_recv();
    assert!(!matches!(second, Ok(Ok(_))), "acknowledged without being durable");
    let outcome = running.join().expect("no panic");
    assert!(matches!(outcome, Err(DriverError::Log(LogError::Io { action: "sync", .. }))));
    assert_eq!(put(&inbox, "c").err(), Some(ApiError::Stopped));
}

#[test]
fn what_was_acknowledged_is_there_after_a_power_cut() {
    let disk = FaultyDisk::default();
    let (driver, inbox) = leading(&disk);
    let running = std::thread::spawn(move || driver.run());
    for i in 0..50 {
        let answer = put(&inbox, &format!("k{i}")).expect("room").blocking_recv();
        answer.expect("an answer").expect("applied");
    }
    disk.fail_syncs_after(0);
    drop(put(&inbox, "late"));
    running.join().expect("no panic").expect_err("the disk failed");
    disk.power_cut(|_| false);
    let (driver, _) = leading(&disk);
    assert_eq!(driver.state.revision(), 51);
}

#[test]
fn one_round_takes_what_gathered_meanwhile() {
    let disk = FaultyDisk::default();
    let (mut driver, inbox) = leading(&disk);
    let answers: Vec<_> = (0..100).map(|i| put(&inbox, &format!("k{i}")).expect("room")).collect();
    let before = driver.node.status().last;
    let work = inbox.take(Instant::now());
    driver.take(work);
    // One sync is all that the batch needs.
    disk.fail_syncs_after(1);
    driver.perform().expect("one sync for all");
    assert_eq!(driver.node.status().last, before + 100);
    for answer in answers {
        answer.blocking_recv().expect("an answer").expect("applied");
    }
}
