//! Alarms and the agreed version: what they refuse, and that snapshots carry them.

use skein_store_api::ApiError;
use skein_store_api::pb::etcdserverpb::request_op::Request;
use skein_store_api::pb::etcdserverpb::*;
use skein_store_mvcc::{
    ClusterVersion, Command, Downgrade, Machine, MachineConfig, Response, VersionRequest, restore,
};

const ACTIVATE: i32 = 1;
const DEACTIVATE: i32 = 2;

struct Store(Machine);

impl Store {
    fn new() -> Self {
        Store(Machine::new(&MachineConfig::default()))
    }

    fn apply(&mut self, command: Command) -> Result<Response, ApiError> {
        let index = self.0.applied_index() + 1;
        self.0.apply(index, &command).map(|applied| applied.response)
    }

    fn alarm(&mut self, action: i32, member_id: u64, kind: AlarmType) -> Vec<AlarmMember> {
        let request = AlarmRequest { action, member_id, alarm: kind.into() };
        match self.apply(Command::Alarm(request)) {
            Ok(Response::Alarm(response)) => response.alarms,
            other => panic!("{other:?}"),
        }
    }
}

fn put() -> Command {
    Command::Put(PutRequest { key: "k".into(), ..Default::default() })
}

fn delete() -> Command {
    Command::DeleteRange(DeleteRangeRequest { key: "k".into(), ..Default::default() })
}

fn op(request: Request) -> RequestOp {
    RequestOp { request: Some(request) }
}

fn otherwise(request: Request) -> TxnRequest {
    TxnRequest { failure: vec![op(request)], ..Default::default() }
}

fn compact(revision: i64) -> Command {
    Command::Compact(CompactionRequest { revision, physical: false })
}

fn grant(id: i64) -> Command {
    Command::LeaseGrant(LeaseGrantRequest { ttl: 9, id })
}

fn revoke(id: i64) -> Command {
    Command::LeaseRevoke(LeaseRevokeRequest { id })
}

#[test]
fn without_space_nothing_grows_and_all_else_goes_on() {
    let mut store = Store::new();
    for command in [put(), put(), grant(1), grant(2)] {
        store.apply(command).unwrap();
    }
    let raised = AlarmMember { member_id: 7, alarm: AlarmType::Nospace.into() };
    assert_eq!(store.alarm(ACTIVATE, 7, AlarmType::Nospace), [raised]);
    assert_eq!(store.alarm(ACTIVATE, 7, AlarmType::Nospace), [raised], "twice is as once");
    let Command::Put(request) = put() else { unreachable!() };
    // Neither the branch taken nor the depth matters.
    let branch = otherwise(Request::RequestPut(request));
    let nested = otherwise(Request::RequestTxn(branch.clone()));
    for command in [put(), Command::Txn(branch), Command::Txn(nested), grant(3)] {
        assert_eq!(store.apply(command), Err(ApiError::NoSpace));
    }
    let Command::DeleteRange(request) = delete() else { unreachable!() };
    let deleting = Command::Txn(otherwise(Request::RequestDeleteRange(request)));
    for command in [deleting, delete(), compact(3), revoke(1)] {
        store.apply(command).unwrap();
    }
    assert_eq!(store.alarm(DEACTIVATE, 8, AlarmType::Nospace), [], "another member's");
    assert_eq!(store.apply(put()), Err(ApiError::NoSpace));
    assert_eq!(store.alarm(DEACTIVATE, 7, AlarmType::Nospace), [raised]);
    store.apply(put()).unwrap();
}

#[test]
fn a_corrupt_cluster_changes_nothing_but_its_alarms() {
    let mut store = Store::new();
    store.apply(put()).unwrap();
    store.apply(grant(1)).unwrap();
    store.alarm(ACTIVATE, 7, AlarmType::Nospace);
    store.alarm(ACTIVATE, 0, AlarmType::Corrupt);
    let before = store.0.view().hash_kv(0).unwrap();
    let txn = Command::Txn(TxnRequest::default());
    for command in [put(), delete(), txn, compact(1), grant(2), revoke(1)] {
        assert_eq!(store.apply(command), Err(ApiError::Corrupt));
    }
    assert_eq!(store.0.view().hash_kv(0), Ok(before));
    assert_eq!(store.alarm(DEACTIVATE, 0, AlarmType::Corrupt).len(), 1);
    assert_eq!(store.apply(put()), Err(ApiError::NoSpace), "the other alarm is still there");
}

fn with_everything() -> Store {
    let mut store = Store::new();
    store.apply(put()).unwrap();
    store.alarm(ACTIVATE, u64::MAX, AlarmType::Nospace);
    let target = ClusterVersion::OWN.one_below();
    let downgrade = Some(Downgrade { target });
    store.apply(Command::Version(VersionRequest { set: None, downgrade })).unwrap();
    store
}

#[test]
fn snapshots_carry_alarms_and_version() {
    let Store(machine) = with_everything();
    let stream: Vec<u8> = machine.snapshot().flatten().collect();
    let restored = restore(&stream[..], &MachineConfig::default()).unwrap();
    assert_eq!(restored.cluster(), machine.cluster());
    assert_eq!(restored.hash(), machine.hash());
    let mut disarmed = Store(restored);
    disarmed.alarm(DEACTIVATE, u64::MAX, AlarmType::Nospace);
    assert_ne!(disarmed.0.hash(), machine.hash(), "members must notice that they differ");
}

/// The chunks of a stream: kind, and the whole chunk.
fn chunks(machine: &Machine) -> Vec<(u8, Vec<u8>)> {
    machine.snapshot().map(|chunk| (chunk[8], chunk.to_vec())).collect()
}

#[test]
fn only_the_first_format_may_lack_them() {
    const CLUSTER: u8 = 6;
    let Store(machine) = with_everything();
    let mut without = chunks(&machine);
    without.retain(|(kind, _)| *kind != CLUSTER);
    let stream = |chunks: &[(u8, Vec<u8>)]| -> Vec<u8> {
        chunks.iter().flat_map(|(_, chunk)| chunk.clone()).collect()
    };
    let lost = restore(&stream(&without)[..], &MachineConfig::default()).unwrap_err();
    assert!(lost.to_string().contains("no cluster chunk"), "{lost}");
    // The header's first field is the format version: tag, number.
    let header = &mut without[0].1;
    assert_eq!(header[9..11], [0x08, 2]);
    header[10] = 1;
    let checksum = crc32c::crc32c(&header[8..]);
    header[4..8].copy_from_slice(&checksum.to_le_bytes());
    let old = restore(&stream(&without)[..], &MachineConfig::default()).unwrap();
    assert_eq!(old.cluster(), &Default::default());
    assert_eq!(old.view().hash_kv(0), machine.view().hash_kv(0));
}
