//! etcd's own Go client, with everything it builds on the store, against a real etcd and against
//! `skein-store`: locks, elections, caches, Kubernetes' calls, watches and leases over restarts.
//!
//! `cargo test -p skein-store-conformance --test go_client [-- PART-OF-A-NAME]`. The scenarios are
//! in `chaos-tests/peers/goclient`.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use skein_store_conformance::peers::{self, PeerError};

fn main() -> anyhow::Result<ExitCode> {
    let filter = std::env::args().skip(1).find(|arg| !arg.starts_with('-')).unwrap_or_default();
    println!("Go client, what it reports of skein-store compared with what it reports of etcd");
    let (client, etcd) = match programs() {
        Ok(programs) => programs,
        Err(missing) => {
            println!("  LEFT OUT: no Go client or etcd of the pinned version: {missing}");
            let required = peers::required();
            return Ok(if required { ExitCode::FAILURE } else { ExitCode::SUCCESS });
        }
    };
    let mut run = Command::new(client);
    run.arg("-etcd").arg(etcd).arg("-skein").arg(peers::skein_store()?).args(["-run", &filter]);
    Ok(if run.status()?.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn programs() -> Result<(PathBuf, PathBuf), PeerError> {
    Ok((peers::tool("goclient")?, peers::tool("etcd")?))
}
