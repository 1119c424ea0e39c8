//! Authentication over gRPC, held against a real etcd: the same calls to both, equal answers.
//!
//! Each test starts a store of its own of each kind, since users are in the way of other tests.

mod calls;
mod certificates;
mod client;
mod tokens;

use skein_store_conformance::peers;
use skein_store_conformance::process::Process;

/// Cheap hashes: what is compared is not how long they take.
const CHEAP: &str = "--bcrypt-cost=4";

/// Starts a real etcd and a `skein-store` with the same flags.
async fn pair(flags: &[&str]) -> [Process; 2] {
    let flags: Vec<&str> = flags.iter().copied().chain([CHEAP]).collect();
    let etcd = Process::start(&peers::tool("etcd").expect("etcd"), &flags).await;
    let skein = Process::start(&peers::skein_store().expect("builds"), &flags).await;
    [etcd.expect("etcd starts"), skein.expect("skein-store starts")]
}
