//! Members, status, hashes, alarms, snapshots.

use skein_store_api::pb::etcdserverpb as pb;
use skein_store_rpc::etcdserverpb::auth_client::AuthClient;
use tonic::transport::Channel;

use super::{Case, cases};
use crate::ask;
use crate::check::{Failure, Verdict, holds, same};
use crate::context::Context;

pub(super) const CASES: &[Case] = cases!(Members, "maintenance":
    member_list_names_the_member,
    status_tells_the_leader_and_the_log,
    status_version_is_a_semantic_version,
    status_index_grows_with_writes,
    hash_kv_is_repeatable,
    hash_kv_follows_the_content,
    hash_kv_of_an_old_revision_is_stable,
    hash_kv_tells_its_revisions,
    hash_kv_of_the_future_is_refused,
    hash_kv_of_the_compacted_is_refused,
    no_alarms,
    defragment_keeps_everything,
    snapshot_ends_with_its_checksum,
    auth_is_off,
);

async fn member_list_names_the_member(cx: Context) -> Verdict {
    let answer = cx.store.member_list().await?;
    same!(answer.members.len(), 1);
    let member = &answer.members[0];
    same!(member.id, answer.header.member_id);
    same!(member.name, "default");
    same!(member.is_learner, false);
    same!((member.peer_urls.len(), member.client_urls.len()), (1, 1));
    Ok(())
}

async fn status_tells_the_leader_and_the_log(cx: Context) -> Verdict {
    let status = cx.store.status().await?;
    same!(status.leader, status.header.member_id);
    same!(status.raft_term, status.header.raft_term);
    holds!(status.raft_index > 0 && status.raft_applied_index > 0);
    holds!(status.raft_applied_index <= status.raft_index);
    holds!(status.db_size > 0 && status.db_size_in_use > 0);
    holds!(status.db_size_in_use <= status.db_size);
    same!(status.errors, Vec::<String>::new());
    same!(status.is_learner, false);
    Ok(())
}

/// kube-apiserver reads it as one and switches features by it.
async fn status_version_is_a_semantic_version(cx: Context) -> Verdict {
    let status = cx.store.status().await?;
    let parts: Vec<u32> = status.version.split('.').filter_map(|part| part.parse().ok()).collect();
    same!(parts.len(), 3);
    holds!((parts[0], parts[1]) >= (3, 6));
    holds!(status.storage_version.starts_with("3."));
    Ok(())
}

async fn status_index_grows_with_writes(cx: Context) -> Verdict {
    let before = cx.store.status().await?.raft_index;
    cx.fill(&["a", "b", "c"]).await?;
    holds!(cx.store.status().await?.raft_index >= before + 3);
    Ok(())
}

async fn hash_kv_is_repeatable(cx: Context) -> Verdict {
    cx.fill(&["a", "b"]).await?;
    same!(cx.store.hash_kv(0).await?.hash, cx.store.hash_kv(0).await?.hash);
    Ok(())
}

async fn hash_kv_follows_the_content(cx: Context) -> Verdict {
    cx.fill(&["a", "b"]).await?;
    let before = cx.store.hash_kv(0).await?.hash;
    cx.put("a", "other").await?;
    holds!(cx.store.hash_kv(0).await?.hash != before);
    Ok(())
}

async fn hash_kv_of_an_old_revision_is_stable(cx: Context) -> Verdict {
    let then = cx.fill(&["a", "b"]).await?;
    let before = cx.store.hash_kv(then).await?.hash;
    cx.fill(&["a", "c"]).await?;
    same!(cx.store.hash_kv(then).await?.hash, before);
    same!(cx.store.hash_kv(0).await?.hash, cx.store.hash_kv(then + 2).await?.hash);
    Ok(())
}

async fn hash_kv_tells_its_revisions(cx: Context) -> Verdict {
    let then = cx.fill(&["a", "b"]).await?;
    let now = cx.fill(&["c"]).await?;
    cx.store.compact(ask::compact(then)).await?;
    let answer = cx.store.hash_kv(0).await?;
    same!((answer.compact_revision, answer.hash_revision), (then, now));
    same!(answer.header.revision, now);
    Ok(())
}

async fn hash_kv_of_the_future_is_refused(cx: Context) -> Verdict {
    let now = cx.fill(&["a"]).await?;
    let answer = cx.store.hash_kv(now + 1).await;
    crate::check::refused!(
        answer,
        OutOfRange,
        "etcdserver: mvcc: required revision is a future revision"
    );
    Ok(())
}

async fn hash_kv_of_the_compacted_is_refused(cx: Context) -> Verdict {
    let now = cx.fill(&["a", "b"]).await?;
    cx.store.compact(ask::compact(now)).await?;
    let answer = cx.store.hash_kv(now - 1).await;
    crate::check::refused!(
        answer,
        OutOfRange,
        "etcdserver: mvcc: required revision has been compacted"
    );
    Ok(())
}

async fn no_alarms(cx: Context) -> Verdict {
    same!(cx.store.alarms().await?.count, 0);
    Ok(())
}

async fn defragment_keeps_everything(cx: Context) -> Verdict {
    cx.fill(&["a", "b", "a"]).await?;
    let before = cx.everything().await?.kvs;
    cx.store.defragment().await?;
    same!(cx.everything().await?.kvs, before);
    Ok(())
}

async fn snapshot_ends_with_its_checksum(cx: Context) -> Verdict {
    use sha2::{Digest, Sha256};
    const CHECKSUM: usize = 32;
    cx.fill(&["a", "b"]).await?;
    let bytes = cx.store.snapshot().await?;
    holds!(bytes.len() > CHECKSUM);
    let (body, checksum) = bytes.split_at(bytes.len() - CHECKSUM);
    same!(Sha256::digest(body).as_slice(), checksum);
    Ok(())
}

fn channel(cx: &Context) -> Verdict<Channel> {
    cx.store.channel().ok_or_else(|| Failure::new("the store has no channel"))
}

async fn auth_is_off(cx: Context) -> Verdict {
    let mut auth = AuthClient::new(channel(&cx)?);
    let status = match auth.auth_status(pb::AuthStatusRequest {}).await {
        Ok(answer) => answer.into_inner(),
        Err(status) => return Err(Failure::new(format!("AuthStatus: {status}"))),
    };
    same!(status.enabled, false);
    let request = pb::AuthenticateRequest { name: "root".into(), password: "x".into() };
    match auth.authenticate(request).await {
        Ok(_) => Err(Failure::new("authenticated without authentication")),
        Err(status) => {
            same!(status.code(), tonic::Code::FailedPrecondition);
            same!(status.message(), "etcdserver: authentication is not enabled");
            Ok(())
        }
    }
}
