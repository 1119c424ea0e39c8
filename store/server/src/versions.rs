//! The task that takes the cluster to the version it should behave as.

use std::sync::Arc;
use std::time::Duration;

use skein_store_api::ApiError;
use skein_store_mvcc::{ClusterVersion, Command, VersionRequest};
use tokio::sync::watch;

use crate::core::{Core, stopped};

/// How often the leader looks, as etcd.
const INTERVAL: Duration = Duration::from_secs(5);

/// Looks until the member stops. Only the leader proposes.
pub(crate) async fn run(core: Arc<Core>, mut stop: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            // Both arms may be dropped: neither holds anything.
            () = stopped(&mut stop) => return,
            () = tokio::time::sleep(INTERVAL) => {}
        }
        let versions = core.versions();
        let wanted = versions.wanted(ClusterVersion::OWN);
        if wanted == versions.cluster || !core.state.leads() {
            continue;
        }
        let request = VersionRequest { set: Some(wanted), downgrade: None };
        match core.propose(Command::Version(request)).await {
            Ok(_) => {
                tracing::info!(from = %versions.cluster, to = %wanted, "cluster version changed");
            }
            // It is looked at again.
            Err(ApiError::NoLeader | ApiError::LeaderChanged | ApiError::Stopped) => {}
            Err(error) => tracing::warn!(%error, "cannot change the cluster version"),
        }
    }
}
