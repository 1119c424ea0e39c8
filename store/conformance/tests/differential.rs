//! The same random operations on a real etcd and on Skein: every answer equal, field by field.
//!
//! Cluster, member and term of the headers aside, which differ between any two clusters. A failing
//! seed is told; `SKEIN_SEED=n cargo test -p skein-store-conformance --test differential` runs it
//! alone.

#[path = "differential/history.rs"]
mod history;
#[path = "differential/operation.rs"]
mod operation;

use std::sync::Arc;

use history::compare_history;
use operation::Script;
use skein_store_conformance::endpoint::Endpoint;
use skein_store_conformance::endpoint::memory::MemoryEndpoint;
use skein_store_conformance::peers::{self, Etcd};
use skein_store_conformance::process::Process;

/// Operations of one seed.
const OPERATIONS: usize = 600;

/// Seeds run when none is named.
const SEEDS: [u64; 4] = [1, 2, 3, 20_261_123];

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
