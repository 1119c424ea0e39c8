//! The same random operations on a real etcd and on Skein: every answer equal, field by field.
//!
//! Cluster, member and term of the headers aside, which differ between any two clusters. A failing
//! seed is told; `SKEIN_SEED=n cargo test -p skein-store-conformance --test differential` runs it
//! alone.

#[path = "differential/operation.rs"]
mod operation;

use std::sync::Arc;

use operation::{Operation, Script};
use skein_store_conformance::ask;
use skein_store_conformance::endpoint::memory::MemoryEndpoint;
use skein_store_conformance::endpoint::{Endpoint, Event};
use skein_store_conformance::peers::{self, Etcd};
use skein_store_conformance::process::Process;

/// Operations of one seed.
const OPERATIONS: usize = 600;

/// Seeds run when none is named.
const SEEDS: [u64; 4] = [1, 2, 3, 20_261_123];

/// Revisions in the past from which each store replays its events at the end.
const REPLAYS: i64 = 8;

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::test(flavor = "multi_thread")]
async fn skein_answers_as_etcd() -> Result<(), Failure> {
    let Some(etcd) = pinned_etcd()? else { return Ok(()) };
    let program = peers::skein_store()?;
    for seed in seeds()? {
        let oracle = Process::start(&etcd, &[]).await?;
        let subject = Process::start(&program, &[]).await?;
        compare(seed, Arc::new(oracle.connect()?), Arc::new(subject.connect()?)).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_machine_in_memory_answers_as_etcd() -> Result<(), Failure> {
    let Some(etcd) = pinned_etcd()? else { return Ok(()) };
    for seed in seeds()? {
        let oracle = Process::start(&etcd, &[]).await?;
        compare(seed, Arc::new(oracle.connect()?), Arc::new(MemoryEndpoint::default())).await?;
    }
    Ok(())
}

/// The etcd to compare with; none is a failure where peers are required, and said elsewhere.
fn pinned_etcd() -> Result<Option<std::path::PathBuf>, Failure> {
    match peers::etcd() {
        Ok(Etcd::Pinned(path)) => Ok(Some(path)),
        other if peers::required() => {
            Err(format!("no etcd of the pinned version: {other:?}").into())
        }
        other => {
            eprintln!("LEFT OUT: no etcd of the pinned version to compare with: {other:?}");
            Ok(None)
        }
    }
}

fn seeds() -> Result<Vec<u64>, Failure> {
    match std::env::var("SKEIN_SEED") {
        Ok(seed) => Ok(vec![seed.parse()?]),
        Err(_) => Ok(SEEDS.to_vec()),
    }
}

async fn compare(
    seed: u64,
    oracle: Arc<dyn Endpoint>,
    subject: Arc<dyn Endpoint>,
) -> Result<(), Failure> {
    let mut script = Script::new(seed);
    for step in 0..OPERATIONS {
        let operation = script.next();
        let (expected, found) =
            tokio::join!(operation.answer(&*oracle), operation.answer(&*subject));
        if expected != found {
            return Err(format!(
                "seed {seed}, step {step}: {operation:?}\n  etcd:  {expected}\n  Skein: {found}"
            )
            .into());
        }
        script.learn(&operation, &expected);
    }
    compare_history(seed, &*oracle, &*subject).await
}

/// What is there at the end, and every replay of how it came about, must be equal.
async fn compare_history(
    seed: u64,
    oracle: &dyn Endpoint,
    subject: &dyn Endpoint,
) -> Result<(), Failure> {
    let (expected, found) =
        (oracle.range(ask::everything()).await?, subject.range(ask::everything()).await?);
    assert_eq!(expected.kvs, found.kvs, "seed {seed}: the final content differs");
    let head = expected.header.revision;
    assert_eq!(head, found.header.revision, "seed {seed}: the final revision differs");
    let compacted = oracle.hash_kv(0).await?.compact_revision.max(1);
    assert_eq!(compacted, subject.hash_kv(0).await?.compact_revision.max(1), "seed {seed}");
    for replay in 0..REPLAYS {
        let start = compacted + (head - compacted) * replay / REPLAYS;
        let (expected, found) =
            (events(oracle, start, head).await?, events(subject, start, head).await?);
        assert_eq!(expected, found, "seed {seed}: the replay from revision {start} differs");
    }
    Ok(())
}

/// Every event from `start` to `head`.
async fn events(store: &dyn Endpoint, start: i64, head: i64) -> Result<Vec<Event>, Failure> {
    let mut stream = store.watch().await?;
    let request = skein_store_api::pb::etcdserverpb::WatchCreateRequest {
        start_revision: start,
        ..ask::watch_everything()
    };
    let text = |failure: skein_store_conformance::check::Failure| failure.to_string();
    stream.create(request).await.map_err(text)?;
    let mut events: Vec<Event> = Vec::new();
    while events.last().is_none_or(|event| event.kv.mod_revision < head) {
        events.extend(stream.next().await.map_err(text)?.events);
    }
    Ok(events)
}

impl Operation {
    /// What a store says, as comparable text.
    async fn answer(&self, store: &dyn Endpoint) -> String {
        use operation::shown;
        match self {
            Self::Range(request) => shown(store.range(request.clone()).await),
            Self::Put(request) => shown(store.put(request.clone()).await),
            Self::Delete(request) => shown(store.delete_range(request.clone()).await),
            Self::Txn(request) => shown(store.txn(request.clone()).await),
            Self::Compact(request) => shown(store.compact(*request).await),
            Self::Grant(request) => shown(store.lease_grant(*request).await),
            Self::Revoke(id) => shown(store.lease_revoke(*id).await),
            Self::Keys(id) => {
                let mut answer = store.lease_time_to_live(*id, true).await;
                if let Ok(answer) = &mut answer {
                    answer.keys.sort();
                    // Time passes for one store and not for the other.
                    answer.ttl = answer.ttl.min(0);
                }
                shown(answer)
            }
        }
    }
}
