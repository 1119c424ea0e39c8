//! Members compare their histories: the leader asks the others for hashes after a compaction, when
//! all have the same to tell, and raises CORRUPT for those that differ from the majority.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use skein_store_api::pb::etcdserverpb::alarm_request::AlarmAction;
use skein_store_api::pb::etcdserverpb::{AlarmRequest, AlarmType};
use skein_store_mvcc::{Command, HashKv};
use tokio::sync::watch;

use crate::core::{Core, stopped};

/// Time for one member's answer: hashing reads everything that it holds.
const PATIENCE: Duration = Duration::from_secs(60);

/// Stands for "one of them, unknown which" in an alarm, as in etcd.
const NOBODY: u64 = 0;

/// Members by what they hold that differs from what most hold. Without a majority nobody can be
/// named.
fn deviating(hashes: &BTreeMap<u64, u32>) -> Vec<u64> {
    let holders = |hash: u32| hashes.values().filter(|other| **other == hash).count();
    let majority = hashes.values().find(|hash| holders(**hash) > hashes.len() / 2);
    match majority {
        Some(majority) => {
            let others = hashes.iter().filter(|(_, hash)| *hash != majority);
            others.map(|(member, _)| *member).collect()
        }
        None => vec![NOBODY],
    }
}

/// Looks until the member stops, once for each compaction. Only the leader asks.
pub(crate) async fn run(core: Arc<Core>, interval: Duration, mut stop: watch::Receiver<bool>) {
    let mut compared = 0;
    loop {
        tokio::select! {
            // Both arms may be dropped: neither holds anything.
            () = stopped(&mut stop) => return,
            () = tokio::time::sleep(interval) => {}
        }
        let compacted = core.state.events().compact_revision();
        if core.state.leads() && compacted > compared && compare(&core, compacted).await {
            compared = compacted;
        }
    }
}

/// Compares histories up to the last compaction; whether every member could tell.
async fn compare(core: &Core, revision: i64) -> bool {
    let view = core.state.view();
    let own = tokio::task::spawn_blocking(move || view.hash_kv(revision)).await;
    let Ok(Ok(HashKv { hash, compact_revision, .. })) = own else { return false };
    let mut hashes = BTreeMap::from([(core.member.id, hash)]);
    let members: Vec<_> = core.state.glance(|machine| machine.members().iter().collect());
    for member in members.iter().filter(|member| member.id != core.member.id) {
        if let Ok(reply) = core.peers.hash(member.id, revision, PATIENCE).await
            && reply.compact_revision == compact_revision
        {
            hashes.insert(member.id, reply.hash);
        }
    }
    for member in deviating(&hashes) {
        raise(core, member, revision).await;
    }
    tracing::info!(revision, members = hashes.len(), "finished compaction hash check");
    hashes.len() == members.len()
}

async fn raise(core: &Core, member_id: u64, revision: i64) {
    let member = format!("{member_id:x}");
    tracing::error!(member, revision, "members hold different histories, raising CORRUPT");
    let (action, alarm) = (AlarmAction::Activate.into(), AlarmType::Corrupt.into());
    let request = AlarmRequest { action, member_id, alarm };
    if let Err(error) = core.propose(Command::Alarm(request)).await {
        tracing::warn!(%error, "cannot raise CORRUPT");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_majority_is_right() {
        let of = |hashes: &[(u64, u32)]| deviating(&hashes.iter().copied().collect());
        assert!(of(&[(1, 7), (2, 7), (3, 7)]).is_empty());
        assert!(of(&[(1, 7)]).is_empty());
        assert_eq!(of(&[(1, 7), (2, 8), (3, 7)]), [2]);
        assert_eq!(of(&[(1, 8), (2, 7), (3, 7)]), [1]);
        assert_eq!(of(&[(1, 7), (2, 8)]), [NOBODY]);
        assert_eq!(of(&[(1, 7), (2, 8), (3, 9)]), [NOBODY]);
    }
}
