//! Every message of a member carries a header with the same cluster.

use super::{Case, cases};
use crate::ask;
use crate::check::{Failure, Verdict, holds, same};
use crate::context::Context;
use crate::endpoint::{Header, Op};

pub(super) const CASES: &[Case] = cases!(Members, "headers":
    kv_calls,
    watch_frames,
    lease_calls,
    maintenance_calls,
    streamed_range,
    operations_of_a_txn_carry_only_the_revision,
    revision_never_goes_back,
);

/// The header all others must agree with.
async fn reference(cx: &Context) -> Verdict<Header> {
    let header = cx.store.range(ask::get("a")).await?.header;
    holds!(header.cluster_id != 0);
    holds!(header.member_id != 0);
    holds!(header.raft_term > 0);
    holds!(header.revision > 0);
    Ok(header)
}

fn agrees(call: &str, header: Header, reference: Header) -> Verdict {
    let ids = |header: Header| (header.cluster_id, header.member_id, header.raft_term);
    match ids(header) == ids(reference) && header.revision >= reference.revision {
        true => Ok(()),
        false => Err(Failure::new(format!("{call}: {header:?}, elsewhere {reference:?}"))),
    }
}

async fn kv_calls(cx: Context) -> Verdict {
    let reference = reference(&cx).await?;
    let store = &cx.store;
    agrees("Put", store.put(ask::put("a", "1")).await?.header, reference)?;
    agrees("Range", store.range(ask::everything()).await?.header, reference)?;
    agrees("DeleteRange", store.delete_range(ask::delete("a")).await?.header, reference)?;
    agrees("Txn", store.txn(ask::always(vec![ask::op_put("a", "1")])).await?.header, reference)?;
    agrees("read-only Txn", store.txn(ask::always(vec![])).await?.header, reference)?;
    let revision = cx.revision().await?;
    agrees("Compact", store.compact(ask::compact(revision)).await?, reference)
}

async fn watch_frames(cx: Context) -> Verdict {
    let reference = reference(&cx).await?;
    let mut stream = cx.watch().await?;
    agrees("created", stream.create(ask::watch("a")).await?.header, reference)?;
    cx.put("a", "1").await?;
    agrees("events", stream.next().await?.header, reference)?;
    stream.send(ask::watch_progress()).await?;
    agrees("progress", stream.next().await?.header, reference)?;
    stream.send(ask::watch_cancel(0)).await?;
    agrees("canceled", stream.next().await?.header, reference)?;
    let revision = cx.put("a", "2").await?;
    cx.store.compact(ask::compact(revision)).await?;
    let compacted = skein_store_api::pb::etcdserverpb::WatchCreateRequest {
        start_revision: 1,
        ..ask::watch("a")
    };
    agrees("created late", stream.create(compacted).await?.header, reference)?;
    // etcd leaves the revision of this one frame at zero.
    let compacted = stream.next().await?.header;
    agrees("compacted", Header { revision: reference.revision, ..compacted }, reference)
}

async fn lease_calls(cx: Context) -> Verdict {
    let reference = reference(&cx).await?;
    let store = &cx.store;
    agrees("LeaseGrant", store.lease_grant(ask::grant(1, 60)).await?.header, reference)?;
    agrees("LeaseKeepAlive", store.lease_keep_alive(1).await?.header, reference)?;
    agrees("LeaseKeepAlive, unknown", store.lease_keep_alive(404).await?.header, reference)?;
    agrees("LeaseTimeToLive", store.lease_time_to_live(1, true).await?.header, reference)?;
    let unknown = store.lease_time_to_live(404, true).await?.header;
    agrees("LeaseTimeToLive, unknown", unknown, reference)?;
    agrees("LeaseLeases", store.lease_leases().await?.header, reference)?;
    agrees("LeaseRevoke", store.lease_revoke(1).await?, reference)
}

async fn maintenance_calls(cx: Context) -> Verdict {
    let reference = reference(&cx).await?;
    let store = &cx.store;
    agrees("Status", store.status().await?.header, reference)?;
    agrees("Hash", store.hash().await?.header, reference)?;
    agrees("HashKV", store.hash_kv(0).await?.header, reference)?;
    agrees("Alarm", store.alarms().await?.header, reference)?;
    let members = store.member_list().await?.header;
    same!((members.cluster_id, members.member_id), (reference.cluster_id, reference.member_id));
    same!(members.raft_term, reference.raft_term);
    Ok(())
}

async fn streamed_range(cx: Context) -> Verdict {
    let reference = reference(&cx).await?;
    let chunks = cx.store.range_stream(ask::everything()).await?;
    match chunks.last() {
        Some(last) => agrees("RangeStream", last.header, reference),
        None => Err(Failure::new("a streamed range had no chunk")),
    }
}

async fn operations_of_a_txn_carry_only_the_revision(cx: Context) -> Verdict {
    let ops = vec![
        ask::op_put("a", "1"),
        ask::op_range(ask::get("a")),
        ask::op_delete(ask::delete("b")),
        ask::op_txn(ask::always(vec![])),
    ];
    let answer = cx.store.txn(ask::always(ops)).await?;
    for op in &answer.ops {
        let header = match op {
            Op::Put(answer) => answer.header,
            Op::Range(answer) => answer.header,
            Op::Delete(answer) => answer.header,
            Op::Txn(answer) => {
                same!(answer.header, Header::default());
                continue;
            }
            Op::Nothing => return Err(Failure::new("an operation had no answer")),
        };
        same!(header, Header { revision: answer.header.revision, ..Default::default() });
    }
    Ok(())
}

async fn revision_never_goes_back(cx: Context) -> Verdict {
    let mut last = 0;
    for i in 0..50 {
        let written = cx.put(&format!("k{}", i % 3), "v").await?;
        let read = cx.revision().await?;
        holds!(written > last && read >= written);
        last = read;
    }
    Ok(())
}
