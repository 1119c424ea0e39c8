//! Leases: granting, living, ending.

use std::time::{Duration, Instant};

use super::{Case, cases};
use crate::ask;
use crate::check::{Failure, Verdict, holds, refused, same};
use crate::context::Context;

pub(super) const CASES: &[Case] = cases!(Members, "lease":
    grant_with_an_id,
    grant_picks_an_id,
    picked_ids_differ,
    short_ttl_is_raised_to_the_minimum,
    longest_ttl_is_granted,
    too_long_ttl_is_refused,
    existing_id_is_refused,
    revoked_id_may_be_granted_again,
    negative_id_is_an_id,
    grants_take_no_revision,
    revoke_of_an_unknown_lease_is_refused,
    revoke_twice_is_refused,
    revoke_without_keys_takes_no_revision,
    keep_alive_tells_the_granted_ttl,
    keep_alive_of_an_unknown_lease_tells_zero,
    keep_alive_of_a_revoked_lease_tells_zero,
    time_to_live_tells_both_times,
    time_to_live_of_an_unknown_lease,
    time_to_live_of_a_revoked_lease,
    leases_lists_the_living,
    leases_of_an_empty_store,
    expiry_is_never_early_and_comes,
    expiry_deletes_the_keys_in_one_revision,
    keep_alive_defers_expiry,
    remaining_time_goes_down,
);

/// etcd's minimum at its default election timeout of one second, in seconds.
const TTL_MIN: i64 = 2;

/// How much later than its time to live a lease may end. etcd looks every half second, revokes at
/// a bounded rate, and the machine may be busy.
const LATE_MAX: Duration = Duration::from_secs(8);

/// How often expiry is looked for.
const POLL: Duration = Duration::from_millis(20);

const NOT_FOUND: &str = "etcdserver: requested lease not found";

async fn grant_with_an_id(cx: Context) -> Verdict {
    let granted = cx.store.lease_grant(ask::grant(1234, 60)).await?;
    same!((granted.id, granted.ttl, granted.error.as_str()), (1234, 60, ""));
    Ok(())
}

async fn grant_picks_an_id(cx: Context) -> Verdict {
    let granted = cx.store.lease_grant(ask::grant(0, 60)).await?;
    holds!(granted.id > 0);
    same!(cx.store.lease_time_to_live(granted.id, false).await?.granted_ttl, 60);
    Ok(())
}

async fn picked_ids_differ(cx: Context) -> Verdict {
    let mut ids = Vec::new();
    for _ in 0..10 {
        ids.push(cx.store.lease_grant(ask::grant(0, 60)).await?.id);
    }
    ids.sort_unstable();
    ids.dedup();
    same!(ids.len(), 10);
    Ok(())
}

async fn short_ttl_is_raised_to_the_minimum(cx: Context) -> Verdict {
    for (id, ttl) in [(1, 1), (2, 0), (3, -5)] {
        let granted = cx.store.lease_grant(ask::grant(id, ttl)).await?;
        same!((id, granted.ttl), (id, TTL_MIN));
    }
    Ok(())
}

async fn longest_ttl_is_granted(cx: Context) -> Verdict {
    same!(cx.store.lease_grant(ask::grant(1, 9_000_000_000)).await?.ttl, 9_000_000_000);
    Ok(())
}

async fn too_long_ttl_is_refused(cx: Context) -> Verdict {
    let answer = cx.store.lease_grant(ask::grant(1, 9_000_000_001)).await;
    refused!(answer, OutOfRange, "etcdserver: too large lease TTL");
    Ok(())
}

async fn existing_id_is_refused(cx: Context) -> Verdict {
    cx.store.lease_grant(ask::grant(1, 60)).await?;
    let answer = cx.store.lease_grant(ask::grant(1, 90)).await;
    refused!(answer, FailedPrecondition, "etcdserver: lease already exists");
    same!(cx.store.lease_time_to_live(1, false).await?.granted_ttl, 60);
    Ok(())
}

async fn revoked_id_may_be_granted_again(cx: Context) -> Verdict {
    cx.store.lease_grant(ask::grant(1, 60)).await?;
    cx.store.lease_revoke(1).await?;
    same!(cx.store.lease_grant(ask::grant(1, 90)).await?.ttl, 90);
    Ok(())
}

async fn negative_id_is_an_id(cx: Context) -> Verdict {
    same!(cx.store.lease_grant(ask::grant(-9, 60)).await?.id, -9);
    cx.put_leased("a", -9).await?;
    same!(cx.kv("a").await?.lease, -9);
    cx.store.lease_revoke(-9).await?;
    same!(cx.get("a").await?, None);
    Ok(())
}

async fn grants_take_no_revision(cx: Context) -> Verdict {
    let before = cx.put("a", "1").await?;
    same!(cx.store.lease_grant(ask::grant(1, 60)).await?.header.revision, before);
    same!(cx.revision().await?, before);
    Ok(())
}

async fn revoke_of_an_unknown_lease_is_refused(cx: Context) -> Verdict {
    refused!(cx.store.lease_revoke(404).await, NotFound, NOT_FOUND);
    Ok(())
}

async fn revoke_twice_is_refused(cx: Context) -> Verdict {
    cx.store.lease_grant(ask::grant(1, 60)).await?;
    cx.store.lease_revoke(1).await?;
    refused!(cx.store.lease_revoke(1).await, NotFound, NOT_FOUND);
    Ok(())
}

async fn revoke_without_keys_takes_no_revision(cx: Context) -> Verdict {
    let before = cx.put("a", "1").await?;
    cx.store.lease_grant(ask::grant(1, 60)).await?;
    same!(cx.store.lease_revoke(1).await?.revision, before);
    same!(cx.revision().await?, before);
    Ok(())
}

async fn keep_alive_tells_the_granted_ttl(cx: Context) -> Verdict {
    cx.store.lease_grant(ask::grant(1, 60)).await?;
    let kept = cx.store.lease_keep_alive(1).await?;
    same!((kept.id, kept.ttl), (1, 60));
    Ok(())
}

async fn keep_alive_of_an_unknown_lease_tells_zero(cx: Context) -> Verdict {
    let kept = cx.store.lease_keep_alive(404).await?;
    same!((kept.id, kept.ttl), (404, 0));
    Ok(())
}

async fn keep_alive_of_a_revoked_lease_tells_zero(cx: Context) -> Verdict {
    cx.store.lease_grant(ask::grant(1, 60)).await?;
    cx.store.lease_revoke(1).await?;
    same!(cx.store.lease_keep_alive(1).await?.ttl, 0);
    Ok(())
}

async fn time_to_live_tells_both_times(cx: Context) -> Verdict {
    cx.store.lease_grant(ask::grant(1, 60)).await?;
    let left = cx.store.lease_time_to_live(1, false).await?;
    same!((left.id, left.granted_ttl), (1, 60));
    holds!((58..=60).contains(&left.ttl));
    Ok(())
}

async fn time_to_live_of_an_unknown_lease(cx: Context) -> Verdict {
    let left = cx.store.lease_time_to_live(404, true).await?;
    same!((left.id, left.ttl, left.granted_ttl), (404, -1, 0));
    holds!(left.keys.is_empty());
    Ok(())
}

async fn time_to_live_of_a_revoked_lease(cx: Context) -> Verdict {
    cx.store.lease_grant(ask::grant(1, 60)).await?;
    cx.store.lease_revoke(1).await?;
    same!(cx.store.lease_time_to_live(1, false).await?.ttl, -1);
    Ok(())
}

async fn leases_lists_the_living(cx: Context) -> Verdict {
    for id in [30, 10, 20] {
        cx.store.lease_grant(ask::grant(id, 60)).await?;
    }
    cx.store.lease_revoke(20).await?;
    let mut ids = cx.store.lease_leases().await?.ids;
    ids.sort_unstable();
    same!(ids, [10, 30]);
    Ok(())
}

async fn leases_of_an_empty_store(cx: Context) -> Verdict {
    holds!(cx.store.lease_leases().await?.ids.is_empty());
    Ok(())
}

/// Waits until the key is gone and says how long after `since` it was still seen, and gone.
async fn gone(
    cx: &Context,
    key: &str,
    since: Instant,
    ttl: Duration,
) -> Verdict<(Duration, Duration)> {
    let mut seen = Duration::ZERO;
    while since.elapsed() < ttl + LATE_MAX {
        let asked = since.elapsed();
        match cx.get(key).await? {
            Some(_) => seen = asked,
            None => return Ok((seen, since.elapsed())),
        }
        tokio::time::sleep(POLL).await;
    }
    Err(Failure::silent("end of the lease", ttl + LATE_MAX))
}

async fn expiry_is_never_early_and_comes(cx: Context) -> Verdict {
    let before_grant = Instant::now();
    cx.store.lease_grant(ask::grant(1, TTL_MIN)).await?;
    cx.put_leased("a", 1).await?;
    let ttl = Duration::from_secs(TTL_MIN as u64);
    let (_, gone) = gone(&cx, "a", before_grant, ttl).await?;
    holds!(gone >= ttl);
    same!(cx.store.lease_time_to_live(1, false).await?.ttl, -1);
    Ok(())
}

async fn expiry_deletes_the_keys_in_one_revision(cx: Context) -> Verdict {
    let mut stream = super::watch::watching(&cx, ask::watch_everything()).await?;
    cx.store.lease_grant(ask::grant(1, TTL_MIN)).await?;
    cx.put_leased("b", 1).await?;
    let last = cx.put_leased("a", 1).await?;
    stream.events(0, 2).await?;
    let deletes = stream.next().await?.events;
    same!(super::watch::brief(&deletes), ["delete a", "delete b"]);
    holds!(deletes.iter().all(|event| event.kv.mod_revision == last + 1));
    Ok(())
}

async fn keep_alive_defers_expiry(cx: Context) -> Verdict {
    let ttl = Duration::from_secs(TTL_MIN as u64);
    let start = Instant::now();
    cx.store.lease_grant(ask::grant(1, TTL_MIN)).await?;
    cx.put_leased("a", 1).await?;
    let mut renewed = start;
    while start.elapsed() < 2 * ttl {
        tokio::time::sleep(ttl / 4).await;
        let asked = Instant::now();
        same!(cx.store.lease_keep_alive(1).await?.ttl, TTL_MIN);
        renewed = asked;
    }
    holds!(cx.get("a").await?.is_some());
    let (_, gone) = gone(&cx, "a", renewed, ttl).await?;
    holds!(gone >= ttl);
    Ok(())
}

async fn remaining_time_goes_down(cx: Context) -> Verdict {
    cx.store.lease_grant(ask::grant(1, 60)).await?;
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    let left = cx.store.lease_time_to_live(1, false).await?;
    holds!(left.ttl < 60 && left.ttl >= 50);
    same!(left.granted_ttl, 60);
    cx.store.lease_keep_alive(1).await?;
    holds!(cx.store.lease_time_to_live(1, false).await?.ttl > left.ttl);
    Ok(())
}
