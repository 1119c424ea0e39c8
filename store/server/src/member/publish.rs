//! Telling the cluster this member's name and where clients reach it.

use std::sync::Arc;
use std::time::Duration;

use skein_store_api::pb::etcdserverpb::Member;
use skein_store_mvcc::{Command, MemberOp};
use tokio::sync::watch;

use crate::core::{Core, stopped};

/// Pause before another attempt. An attempt itself waits for a leader.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// Tells it until the cluster knows, and sets `known` then: from then on this member serves, and is
/// counted as started.
pub(super) async fn run(core: Arc<Core>, served_at: String, known: watch::Sender<bool>) {
    let mut stopping = core.stopping.clone();
    while !is_known(&core) {
        tokio::select! {
            // Both arms may be dropped: a proposal on its way may as well be applied.
            () = stopped(&mut stopping) => return,
            () = tell(&core) => {}
        }
    }
    known.send_replace(true);
    tracing::info!(
        name = core.member.name,
        member = format_args!("{:x}", core.member.id),
        cluster = format_args!("{:x}", core.member.cluster_id),
        urls = served_at,
        "ready to serve client requests"
    );
}

async fn tell(core: &Core) {
    let me = Member {
        id: core.member.id,
        name: core.member.name.clone(),
        client_ur_ls: core.member.client_urls.clone(),
        ..Member::default()
    };
    if let Err(error) = core.propose(Command::Member(MemberOp::Publish(me))).await {
        tracing::debug!(%error, "the cluster does not know this member's addresses yet");
        tokio::time::sleep(RETRY_PAUSE).await;
    }
}

fn is_known(core: &Core) -> bool {
    let member = core.state.glance(|machine| machine.members().get(core.member.id));
    member.is_some_and(|known| {
        known.name == core.member.name && known.client_ur_ls == core.member.client_urls
    })
}
