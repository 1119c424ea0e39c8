//! Snapshots as they go over the wire, and files that nobody wrote.

mod common;

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use common::{PATIENCE, channel, kv, put, start};
use proptest::prelude::*;
use prost::Message;
use sha2::{Digest, Sha256};
use skein_store_api::pb::etcdserverpb::{SnapshotRequest, SnapshotResponse};
use skein_store_api::pb::mvccpb::KeyValue;
use skein_store_bolt::Writer;
use skein_store_rpc::etcdserverpb::maintenance_client::MaintenanceClient;
use skein_store_server::Member;
use skein_store_server::backup::{self, RestoreConfig};
use tonic::Streaming;

/// Bytes of a part, as etcd sends them.
const PART: usize = 32 * 1024;

async fn filled(dir: &Path, keys: usize) -> Member {
    let member = start(dir).await;
    let mut kv = kv(&member).await;
    for n in 0..keys {
        kv.put(put(&format!("key/{n}"), &"v".repeat(10_000))).await.expect("put");
    }
    member
}

async fn snapshot(member: &Member) -> Streaming<SnapshotResponse> {
    let mut client = MaintenanceClient::new(channel(member).await);
    client.snapshot(SnapshotRequest {}).await.expect("a snapshot").into_inner()
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_count_down_and_the_last_is_the_hash() {
    let dir = tempfile::tempdir().expect("a directory");
    let member = filled(dir.path(), 30).await;
    let mut parts = Vec::new();
    let mut stream = snapshot(&member).await;
    while let Some(part) = stream.message().await.expect("a part") {
        let header = part.header.expect("a header");
        assert_eq!((header.cluster_id, header.revision), (member.cluster_id(), 31));
        assert_eq!(part.version, "3.7.0");
        parts.push((part.remaining_bytes, part.blob));
    }
    let (left, hash) = parts.pop().expect("a hash");
    let total: usize = parts.iter().map(|(_, blob)| blob.len()).sum();
    let mut sent = 0;
    for (left, blob) in &parts {
        sent += blob.len();
        assert!(blob.len() == PART || sent == total, "a part of {} bytes", blob.len());
        assert_eq!(*left, (total - sent) as u64);
    }
    assert!(parts.len() > 5, "{} parts", parts.len());
    assert_eq!(left, 0);
    let database: Vec<u8> = parts.into_iter().flat_map(|(_, blob)| blob).collect();
    assert_eq!(hash, Sha256::digest(&database).to_vec());
    let names = std::fs::read_dir(dir.path().join("member/snap")).expect("a directory");
    assert_eq!(names.count(), 0, "what is sent has no name");
}

/// A client that does not read gets no end that looks like one, and does not hold the member up.
#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_member_ends_snapshots_with_an_error() {
    let dir = tempfile::tempdir().expect("a directory");
    let member = filled(dir.path(), 2000).await;
    let mut stream = snapshot(&member).await;
    stream.message().await.expect("a part").expect("a part");
    let stopped = tokio::time::timeout(PATIENCE, member.shutdown()).await;
    stopped.expect("it stops").expect("it stops well");
    let end = loop {
        match stream.message().await {
            Ok(Some(_)) => {}
            end => break end,
        }
    };
    let error = end.expect_err("no hash has come");
    assert!(matches!(error.code(), tonic::Code::Unavailable | tonic::Code::Unknown), "{error}");
}

/// A key of a bucket with its value.
type Record = (Vec<u8>, Vec<u8>);

/// A file like one of etcd: two keys with a history, a lease, a compaction.
fn write_file(path: &Path, history: &[Record], compacted: &[u8], lease: &[u8]) {
    let out = BufWriter::new(File::create(path).expect("a file"));
    let mut file = Writer::new(out).expect("a file");
    file.bucket(b"key").expect("in order");
    for (revision, kv) in history {
        file.put(revision, kv).expect("in order");
    }
    file.bucket(b"lease").expect("in order");
    file.put(&7u64.to_be_bytes(), lease).expect("in order");
    file.bucket(b"meta").expect("in order");
    file.put(b"finishedCompactRev", compacted).expect("in order");
    file.finish().expect("a file");
}

fn revision(main: u64, sub: u64, end: &[u8]) -> Vec<u8> {
    [&main.to_be_bytes(), b"_".as_slice(), &sub.to_be_bytes(), end].concat()
}

fn sample() -> (Vec<Record>, Vec<u8>, Vec<u8>) {
    let kv = |key: &'static str, create_revision, mod_revision, version| KeyValue {
        key: key.into(),
        value: "value".into(),
        create_revision,
        mod_revision,
        version,
        lease: 7,
    };
    let gone = KeyValue { key: "b".into(), ..Default::default() };
    let history = vec![
        (revision(2, 0, b""), kv("a", 2, 2, 1).encode_to_vec()),
        (revision(3, 0, b""), kv("b", 3, 3, 1).encode_to_vec()),
        (revision(3, 1, b""), kv("a", 2, 3, 2).encode_to_vec()),
        (revision(4, 0, b"t"), gone.encode_to_vec()),
    ];
    (history, revision(2, 0, b""), vec![0x08, 7, 0x10, 60])
}

/// Restores without a look at the SHA-256; the revision, or what is wrong.
fn restore(file: &Path, data_dir: &Path) -> Result<i64, String> {
    let restored = backup::restore(&RestoreConfig {
        snapshot: file.to_owned(),
        data_dir: data_dir.to_owned(),
        name: "m".into(),
        initial_cluster: vec!["m=http://localhost:2380".into()],
        peer_urls: vec!["http://localhost:2380".into()],
        cluster_token: "t".into(),
        skip_hash_check: true,
        bump_revision: 0,
        mark_compacted: false,
    });
    restored.map(|restored| restored.revision).map_err(|error| {
        let first: &dyn std::error::Error = &error;
        let chain = std::iter::successors(Some(first), |error| error.source());
        chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
    })
}

#[test]
fn records_that_cannot_be_are_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("file.db");
    let (history, compacted, lease) = sample();
    let says = |expected: &str, history: &[_], compacted: &[u8], lease: &[u8]| {
        write_file(&file, history, compacted, lease);
        let text = restore(&file, &dir.path().join("data")).expect_err("it is wrong");
        assert!(text.contains("file.db") && text.contains(expected), "{text}");
    };
    let with = |at: usize, record: (Vec<u8>, Vec<u8>)| {
        let mut history = history.clone();
        history[at] = record;
        history
    };
    let kv = history[2].1.clone();
    let bad_key = with(0, (b"\0\0".to_vec(), kv.clone()));
    says("bucket key, key 0000: not a revision", &bad_key, &compacted, &lease);
    let bad_kv = with(2, (revision(3, 1, b""), b"\xff".to_vec()));
    says("revision 3.1 cannot be: it is not a KeyValue", &bad_kv, &compacted, &lease);
    let elsewhere = with(2, (revision(3, 2, b""), history[1].1.clone()));
    says("revision 3.2 cannot be: it does not follow", &elsewhere, &compacted, &lease);
    let tombstone = with(3, (revision(4, 0, b"t"), b"\xff".to_vec()));
    says("bucket key, key 00000000000000045f", &tombstone, &compacted, &lease);
    says("bucket meta, key finishedCompactRev: not a revision", &history, b"2", &lease);
    says("bucket lease, key 0000000000000007: not a lease", &history, &compacted, b"\xff");
    let other = [0x08, 8, 0x10, 60];
    says("the lease has another id than its key", &history, &compacted, &other);
    let long = [&[0x08, 7, 0x10][..], &[0xff; 8], &[0x7f]].concat();
    says("lease 7 cannot be: etcdserver: too large lease TTL", &history, &compacted, &long);

    write_file(&file, &history, &compacted, &lease);
    assert_eq!(restore(&file, &dir.path().join("data")), Ok(4));
}

/// The revision that a member has after its start on this directory.
fn started_at(data_dir: &Path) -> i64 {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let member = start(data_dir).await;
        let revision = member.revision();
        member.shutdown().await.expect("it stops well");
        revision
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// Whatever is in a file, it is restored into a store that starts, or refused with nothing left.
    #[test]
    fn mutated_files_are_restored_or_refused(
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
    ) {
        let dir = tempfile::tempdir().expect("a directory");
        let (file, data_dir) = (dir.path().join("file.db"), dir.path().join("data"));
        let (history, compacted, lease) = sample();
        write_file(&file, &history, &compacted, &lease);
        let mut bytes = std::fs::read(&file).expect("a file");
        for (at, byte) in edits {
            // Most of the file is empty: only the beginning of each page is changed.
            let at = at.index(bytes.len() / 16);
            let at = at / 256 * 4096 + at % 256;
            bytes[at] = byte;
        }
        std::fs::write(&file, bytes).expect("a file");
        let status = backup::status(&file);
        match restore(&file, &data_dir) {
            Ok(revision) => {
                prop_assert!(status.is_ok(), "{status:?}");
                prop_assert_eq!(started_at(&data_dir), revision);
            }
            Err(error) => {
                prop_assert!(error.contains("file.db"), "{error}");
                prop_assert!(!data_dir.join("member").exists());
            }
        }
    }
}
