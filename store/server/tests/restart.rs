//! What a member keeps when it stops, by request or by force.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use common::{Process, contents, kv, put, start};
use skein_store_api::pb::etcdserverpb::{
    CompactionRequest, HashKvRequest, LeaseGrantRequest, LeaseTimeToLiveRequest, PutRequest,
};
use skein_store_rpc::etcdserverpb::kv_client::KvClient;
use skein_store_rpc::etcdserverpb::lease_client::LeaseClient;
use skein_store_rpc::etcdserverpb::maintenance_client::MaintenanceClient;
use skein_store_server::{Member, MemberConfig, StartError};

/// A member that snapshots often.
async fn start_snapshotting(dir: &Path) -> Member {
    let config = MemberConfig { snapshot_count: 20, ..MemberConfig::new("m", dir) };
    Member::start(config).await.expect("the member starts")
}

fn files(dir: &Path, part: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir.join("member").join(part)).expect("the directory exists");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("readable").path()).collect();
    paths.sort();
    paths
}

#[tokio::test(flavor = "multi_thread")]
async fn data_and_identity_survive_a_restart_from_the_log() {
    let dir = tempfile::tempdir().expect("a directory");
    let member = start(dir.path()).await;
    let ids = (member.cluster_id(), member.member_id());
    let mut client = kv(&member).await;
    for i in 0..50 {
        client.put(put(&format!("k{i:02}"), &i.to_string())).await.expect("a put");
    }
    client.compact(CompactionRequest { revision: 30, physical: true }).await.expect("compacts");
    let before = contents(&mut client).await;
    drop(client);
    member.shutdown().await.expect("a clean stop");
    assert!(files(dir.path(), "snap").is_empty());

    let member = start(dir.path()).await;
    assert_eq!((member.cluster_id(), member.member_id()), ids);
    assert_eq!(member.revision(), 51);
    let mut client = kv(&member).await;
    assert_eq!(contents(&mut client).await, before);
    let refused = client.compact(CompactionRequest { revision: 30, physical: false }).await;
    let text = refused.expect_err("compacted already").message().to_owned();
    assert_eq!(text, "etcdserver: mvcc: required revision has been compacted");
}

#[tokio::test(flavor = "multi_thread")]
async fn data_survives_from_snapshot_and_log_together() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut expected = None;
    for round in 0..4 {
        let member = start_snapshotting(dir.path()).await;
        let mut client = kv(&member).await;
        let mut maintenance = MaintenanceClient::new(common::channel(&member).await);
        let hash = maintenance.hash_kv(HashKvRequest::default()).await.expect("a hash");
        let hash = hash.into_inner();
        if let Some(expected) = expected {
            assert_eq!((hash.hash, hash.hash_revision), expected, "round {round}");
        }
        for i in 0..45 {
            client.put(put(&format!("k{round}{i}"), "v")).await.expect("a put");
        }
        let hash = maintenance.hash_kv(HashKvRequest::default()).await.expect("a hash");
        let hash = hash.into_inner();
        expected = Some((hash.hash, hash.hash_revision));
        member.shutdown().await.expect("a clean stop");
        assert_eq!(files(dir.path(), "snap").len(), 1, "one snapshot is kept");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_survive_with_their_full_time() {
    let dir = tempfile::tempdir().expect("a directory");
    let member = start(dir.path()).await;
    let mut leases = LeaseClient::new(common::channel(&member).await);
    leases.lease_grant(LeaseGrantRequest { ttl: 100, id: 7 }).await.expect("a lease");
    let attached = PutRequest { lease: 7, ..put("k", "v") };
    kv(&member).await.put(attached).await.expect("a put");
    member.shutdown().await.expect("a clean stop");

    let member = start(dir.path()).await;
    let mut leases = LeaseClient::new(common::channel(&member).await);
    let asked = LeaseTimeToLiveRequest { id: 7, keys: true };
    let found = leases.lease_time_to_live(asked).await.expect("an answer").into_inner();
    assert_eq!((found.granted_ttl, found.keys), (100, vec!["k".into()]));
    assert!(found.ttl >= 99, "{}", found.ttl);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_in_use_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let member = start(dir.path()).await;
    let second = Member::start(MemberConfig::new("m", dir.path())).await;
    assert!(matches!(second.err(), Some(StartError::DataDir(_))));
    let (code, text) = Process::refuse(dir.path(), &[]);
    assert_eq!(code, Some(1));
    assert!(text.contains("in use by another process"), "{text}");
    member.shutdown().await.expect("a clean stop");
    start(dir.path()).await.shutdown().await.expect("it was released");
}

/// Every acknowledged put is there after kill -9, again and again in the same directory.
#[tokio::test(flavor = "multi_thread")]
async fn every_acknowledged_write_survives_kill_9_under_load() {
    const ROUNDS: u32 = 5;
    const WRITERS: u32 = 16;
    let dir = tempfile::tempdir().expect("a directory");
    let mut acknowledged: BTreeMap<String, u64> = BTreeMap::new();
    for round in 0..ROUNDS {
        let mut process = Process::start(dir.path(), &["--snapshot-count", "300"]);
        let channel = process.channel().await;
        let mut check = KvClient::new(channel.clone()).max_decoding_message_size(64 << 20);
        let found: BTreeMap<_, _> = contents(&mut check).await.into_iter().collect();
        for (key, &value) in &acknowledged {
            let kept: u64 = found.get(key).and_then(|kept| kept.parse().ok()).unwrap_or(0);
            // A write that was under way when the member was killed may be there as well.
            assert!(kept >= value, "round {round}: {key} was {value}, is {kept}");
        }
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let mut client = KvClient::new(channel.clone());
                let first = u64::from(round) * 1_000_000;
                tokio::spawn(async move {
                    let mut last = BTreeMap::new();
                    for i in 0u64.. {
                        let key = format!("{writer}/{}", i % 50);
                        let value = first + i + 1;
                        match client.put(put(&key, &value.to_string())).await {
                            Ok(_) => drop(last.insert(key, value)),
                            Err(_) => break,
                        }
                    }
                    last
                })
            })
            .collect();
        tokio::time::sleep(std::time::Duration::from_millis(400)).await;
        process.kill();
        let before = acknowledged.len();
        for writer in writers {
            acknowledged.extend(writer.await.expect("a writer ends"));
        }
        assert!(round > 0 || acknowledged.len() > before, "nothing was written");
    }
    let process = Process::start(dir.path(), &[]);
    let mut check = KvClient::new(process.channel().await).max_decoding_message_size(64 << 20);
    let found: BTreeMap<_, _> = contents(&mut check).await.into_iter().collect();
    for (key, value) in acknowledged {
        let kept: u64 = found.get(&key).and_then(|kept| kept.parse().ok()).unwrap_or(0);
        assert!(kept >= value, "{key} was {value}, is {kept}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_is_a_clean_stop() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut process = Process::start(dir.path(), &[]);
    let mut client = KvClient::new(process.channel().await);
    client.put(put("k", "v")).await.expect("a put");
    let mut watch = common::Watching::open(process.channel().await).await;
    watch.create(common::watch_everything()).await;
    assert_eq!(process.terminate(), Some(0));
    let process = Process::start(dir.path(), &[]);
    let mut client = KvClient::new(process.channel().await);
    assert_eq!(contents(&mut client).await, [("k".to_owned(), "v".to_owned())]);
}

/// A log of three puts, written by a process that was killed.
async fn killed_log(dir: &Path) -> PathBuf {
    let mut process = Process::start(dir, &[]);
    let mut client = KvClient::new(process.channel().await);
    for i in 0..3 {
        client.put(put("k", &i.to_string())).await.expect("a put");
    }
    process.kill();
    files(dir, "log").remove(0)
}

fn end_of_data(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|&byte| byte != 0).map_or(0, |at| at + 1)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torn_tail_is_cut_and_the_rest_is_served() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = killed_log(dir.path()).await;
    let mut bytes = fs::read(&path).expect("readable");
    let end = end_of_data(&bytes);
    bytes[end - 10..end].fill(0);
    fs::write(&path, bytes).expect("writable");
    let process = Process::start(dir.path(), &[]);
    let mut client = KvClient::new(process.channel().await);
    assert_eq!(contents(&mut client).await, [("k".to_owned(), "1".to_owned())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_inside_refuses_and_says_where() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = killed_log(dir.path()).await;
    let mut bytes = fs::read(&path).expect("readable");
    bytes[100] ^= 1;
    fs::write(&path, bytes).expect("writable");
    let (code, text) = Process::refuse(dir.path(), &[]);
    assert_eq!(code, Some(1));
    let name = path.file_name().expect("a name").to_string_lossy().into_owned();
    assert!(text.contains(&name) && text.contains("damaged at offset 64"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_version_stops_with_a_clear_message() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = killed_log(dir.path()).await;
    let mut bytes = fs::read(&path).expect("readable");
    bytes[8] = 3;
    bytes[12..16].fill(0);
    let sum = crc32c::crc32c(&bytes[..64]);
    bytes[12..16].copy_from_slice(&sum.to_le_bytes());
    fs::write(&path, bytes).expect("writable");
    let (code, text) = Process::refuse(dir.path(), &[]);
    assert_eq!(code, Some(1));
    assert!(text.contains("format version 3") && text.contains("this version reads 1"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_snapshot_refuses_and_says_where() {
    let dir = tempfile::tempdir().expect("a directory");
    let member = start_snapshotting(dir.path()).await;
    let mut client = kv(&member).await;
    for i in 0..60 {
        client.put(put(&format!("k{i}"), "v")).await.expect("a put");
    }
    member.shutdown().await.expect("a clean stop");
    let path = files(dir.path(), "snap").remove(0);
    let mut bytes = fs::read(&path).expect("readable");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, bytes).expect("writable");
    let (code, text) = Process::refuse(dir.path(), &[]);
    assert_eq!(code, Some(1));
    assert!(text.contains(".snap") && text.contains("damaged at offset"), "{text}");
}
