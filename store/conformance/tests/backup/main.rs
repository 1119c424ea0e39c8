//! Backups: from etcd to Skein, from Skein to etcd, and round. Whatever the way, the store that is
//! restored answers as the one that was saved: content at every revision, events, leases.

#[path = "../differential/history.rs"]
mod history;
#[path = "../differential/operation.rs"]
mod operation;

mod damage;
mod moving;
mod status;
mod users;

use std::path::{Path, PathBuf};
use std::process::Command;

use operation::{Script, shown};
use skein_store_api::pb::etcdserverpb as pb;
use skein_store_conformance::ask;
use skein_store_conformance::endpoint::Endpoint;
use skein_store_conformance::peers::{self, Etcd};
use skein_store_conformance::process::{self, Process};
use skein_store_server::backup::{self, BackupError, RestoreConfig, Restored};
use tempfile::TempDir;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Random operations that a store is filled with: several hundred revisions, some compactions.
const OPERATIONS: usize = 500;

/// A lease that outlives the test, in seconds.
const TTL: i64 = 6_000;

/// etcd of the pinned version with its tools. These tests are about its files, so without it
/// there is nothing to test.
fn etcd() -> Result<PathBuf, Failure> {
    match peers::etcd()? {
        Etcd::Pinned(path) => Ok(path),
        Etcd::Debian(path) => {
            Err(format!("{} is not of the pinned version", path.display()).into())
        }
    }
}

/// Fills a store with random operations, and with what they leave out: values of several pages,
/// many keys in one transaction, a lease with keys, a tombstone as the newest change.
async fn fill(store: &dyn Endpoint, seed: u64) -> Result<(), Failure> {
    let mut script = Script::new(seed);
    for _ in 0..OPERATIONS {
        let operation = script.next();
        let answer = operation.answer(store).await;
        script.learn(&operation, &answer);
    }
    store.put(ask::put("large", &"v".repeat(50_000))).await?;
    let puts = (0..100).map(|n| ask::op_put(&format!("many/{n:03}"), "x")).collect();
    store.txn(ask::always(puts)).await?;
    store.lease_grant(ask::grant(-5, TTL)).await?;
    store.put(pb::PutRequest { lease: -5, ..ask::put("leased", "1") }).await?;
    store.put(ask::put("gone", "1")).await?;
    store.delete_range(ask::delete("gone")).await?;
    Ok(())
}

/// Saves a member's snapshot into `dir`.
async fn save(store: &dyn Endpoint, dir: &TempDir) -> Result<PathBuf, Failure> {
    let path = dir.path().join("saved.db");
    std::fs::write(&path, store.snapshot().await?)?;
    Ok(path)
}

/// That two stores answer alike: everything at every revision, all events, all leases.
async fn same(expected: &dyn Endpoint, found: &dyn Endpoint) -> Result<(), Failure> {
    history::compare_history(0, expected, found).await?;
    let head = expected.range(ask::everything()).await?.header.revision;
    for revision in 1..=head + 1 {
        let request = pb::RangeRequest { revision, ..ask::everything() };
        let expected = shown(expected.range(request.clone()).await);
        assert_eq!(shown(found.range(request).await), expected, "at revision {revision}");
    }
    let leases = leases(expected).await?;
    assert!(leases.iter().any(|lease| lease.contains("leased")), "{leases:?}");
    assert_eq!(self::leases(found).await?, leases);
    Ok(())
}

/// Every lease with its time and keys, in an order.
async fn leases(store: &dyn Endpoint) -> Result<Vec<String>, Failure> {
    let mut shown = Vec::new();
    let mut ids = store.lease_leases().await?.ids;
    ids.sort_unstable();
    for id in ids {
        let mut lease = store.lease_time_to_live(id, true).await?;
        lease.keys.sort();
        shown.push(format!("{id} {} {:?}", lease.granted_ttl, lease.keys));
    }
    Ok(shown)
}

fn config(snapshot: &Path, data_dir: PathBuf) -> RestoreConfig {
    RestoreConfig {
        snapshot: snapshot.to_owned(),
        data_dir,
        name: "default".into(),
        initial_cluster: vec!["default=http://localhost:2380".into()],
        peer_urls: vec!["http://localhost:2380".into()],
        cluster_token: "etcd-cluster".into(),
        skip_hash_check: false,
        bump_revision: 0,
        mark_compacted: false,
    }
}

/// `skein-store` on what Skein restores from the file.
async fn skein_from(
    snapshot: &Path,
    adapt: impl FnOnce(&mut RestoreConfig),
) -> Result<Process, Failure> {
    let directory = process::directory()?;
    let mut config = config(snapshot, process::data_dir(directory.path()));
    adapt(&mut config);
    backup::restore(&config)?;
    Ok(Process::start_in(&peers::skein_store()?, directory, &[]).await?)
}

/// Restores into nowhere; what must be refused.
fn refused(snapshot: &Path, adapt: impl FnOnce(&mut RestoreConfig)) -> Result<String, Failure> {
    let directory = process::directory()?;
    let mut config = config(snapshot, directory.path().join("data"));
    adapt(&mut config);
    let restored: Result<Restored, BackupError> = backup::restore(&config);
    let error = restored.err().ok_or("it was restored")?;
    assert!(!config.data_dir.join("member").exists(), "nothing may be left behind: {error}");
    let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
    Ok(format!("{error}{}", cause.unwrap_or_default()))
}

/// A real etcd on what the real `etcdutl` restores from the file.
async fn etcd_from(snapshot: &Path, flags: &[&str]) -> Result<Process, Failure> {
    let directory = process::directory()?;
    let data_dir = process::data_dir(directory.path());
    let data_dir = data_dir.to_str().ok_or("the directory's name is not text")?;
    let restore = ["snapshot", "restore", text(snapshot)?, "--data-dir", data_dir];
    etcdutl(&[&restore, flags].concat())?;
    Ok(Process::start_in(&etcd()?, directory, &[]).await?)
}

fn etcdutl(args: &[&str]) -> Result<String, Failure> {
    let output = Command::new(peers::tool("etcdutl")?).args(args).output()?;
    match output.status.success() {
        true => Ok(String::from_utf8(output.stdout)?),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned().into()),
    }
}

fn text(path: &Path) -> Result<&str, Failure> {
    path.to_str().ok_or_else(|| "the file's name is not text".into())
}
