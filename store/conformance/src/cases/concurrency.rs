//! Many clients at once.

use std::collections::HashSet;

use futures::future::try_join_all;

use super::watch::watching;
use super::{Case, cases};
use crate::ask::{self, CompareResult, TargetUnion};
use crate::check::{Failure, Verdict, holds, same};
use crate::context::Context;

pub(super) const CASES: &[Case] = cases!(Everywhere, "concurrency":
    of_racing_creators_one_wins,
    of_racing_updates_one_wins,
    counter_loses_no_increment,
    puts_have_revisions_of_their_own,
    acknowledged_write_is_read_by_all,
    txns_are_seen_whole,
    watch_sees_every_concurrent_write_in_order,
    granted_ids_race,
);

const CLIENTS: usize = 16;

async fn of_racing_creators_one_wins(cx: Context) -> Verdict {
    for round in 0..20 {
        let key = format!("lock{round}");
        let attempts = (0..CLIENTS).map(|client| {
            let absent = ask::compare(&key, CompareResult::Equal, TargetUnion::CreateRevision(0));
            let put = ask::op_put(&key, &client.to_string());
            let (store, request) = (cx.store.clone(), ask::when(vec![absent], vec![put], vec![]));
            async move { store.txn(request).await.map(|answer| (client, answer.succeeded)) }
        });
        let outcomes = try_join_all(attempts).await?;
        let winners: Vec<usize> =
            outcomes.into_iter().filter(|(_, won)| *won).map(|(client, _)| client).collect();
        same!(winners.len(), 1);
        same!(cx.kv(&key).await?.value, winners[0].to_string().as_str());
        same!(cx.kv(&key).await?.version, 1);
    }
    Ok(())
}

async fn of_racing_updates_one_wins(cx: Context) -> Verdict {
    let mut revision = cx.put("a", "start").await?;
    for _ in 0..20 {
        let attempts = (0..CLIENTS).map(|client| {
            let unchanged =
                ask::compare("a", CompareResult::Equal, TargetUnion::ModRevision(revision));
            let put = ask::op_put("a", &client.to_string());
            let (store, request) =
                (cx.store.clone(), ask::when(vec![unchanged], vec![put], vec![]));
            async move { store.txn(request).await }
        });
        let answers = try_join_all(attempts).await?;
        let wins: Vec<i64> = answers
            .iter()
            .filter(|answer| answer.succeeded)
            .map(|answer| answer.header.revision)
            .collect();
        same!(wins.len(), 1);
        revision = wins[0];
        same!(cx.kv("a").await?.mod_revision, revision);
    }
    Ok(())
}

/// Adds one by compare-and-set, as often as it takes.
async fn increment(cx: Context) -> Verdict {
    loop {
        let kv = cx.kv("counter").await?;
        let count: u64 = String::from_utf8_lossy(&kv.value.0)
            .parse()
            .map_err(|_| Failure::new("the counter is no number"))?;
        let unchanged = ask::compare(
            "counter",
            CompareResult::Equal,
            TargetUnion::ModRevision(kv.mod_revision),
        );
        let put = ask::op_put("counter", &(count + 1).to_string());
        if cx.store.txn(ask::when(vec![unchanged], vec![put], vec![])).await?.succeeded {
            return Ok(());
        }
    }
}

async fn counter_loses_no_increment(cx: Context) -> Verdict {
    cx.put("counter", "0").await?;
    let clients = (0..CLIENTS).map(|_| {
        let cx = cx.clone();
        async move {
            for _ in 0..5 {
                increment(cx.clone()).await?;
            }
            Ok::<(), Failure>(())
        }
    });
    try_join_all(clients).await?;
    same!(cx.kv("counter").await?.value, (CLIENTS * 5).to_string().as_str());
    same!(cx.kv("counter").await?.version, (CLIENTS * 5 + 1) as i64);
    Ok(())
}

async fn puts_have_revisions_of_their_own(cx: Context) -> Verdict {
    let before = cx.revision().await?;
    let puts = (0..200).map(|i| {
        let cx = cx.clone();
        async move { cx.put(&format!("k{}", i % 13), "v").await }
    });
    let revisions: HashSet<i64> = try_join_all(puts).await?.into_iter().collect();
    same!(revisions.len(), 200);
    same!(revisions.iter().max(), Some(&(before + 200)));
    Ok(())
}

async fn acknowledged_write_is_read_by_all(cx: Context) -> Verdict {
    for i in 0..30 {
        let revision = cx.put("a", &i.to_string()).await?;
        let reads = (0..CLIENTS).map(|_| {
            let cx = cx.clone();
            async move { cx.kv("a").await }
        });
        for kv in try_join_all(reads).await? {
            holds!(kv.mod_revision == revision);
        }
    }
    Ok(())
}

async fn txns_are_seen_whole(cx: Context) -> Verdict {
    let writer = cx.clone();
    let writes = tokio::spawn(async move {
        for i in 0..100 {
            let ops = ["a", "b", "c"].map(|key| ask::op_put(key, &i.to_string())).to_vec();
            writer.store.txn(ask::always(ops)).await?;
        }
        Ok::<(), Failure>(())
    });
    while !writes.is_finished() {
        let seen = cx.everything().await?.kvs;
        let values: HashSet<&[u8]> = seen.iter().map(|kv| kv.value.0.as_slice()).collect();
        holds!(values.len() <= 1 && (seen.is_empty() || seen.len() == 3));
        tokio::task::yield_now().await;
    }
    writes.await.map_err(|error| Failure::new(error.to_string()))?
}

async fn watch_sees_every_concurrent_write_in_order(cx: Context) -> Verdict {
    const WRITES: usize = 500;
    let mut stream = watching(&cx, ask::watch_everything()).await?;
    let before = cx.revision().await?;
    let puts = (0..WRITES).map(|i| {
        let cx = cx.clone();
        async move { cx.put(&format!("k{}", i % 13), &i.to_string()).await }
    });
    let writes = tokio::spawn(try_join_all(puts));
    let events = stream.events(0, WRITES).await?;
    for (i, event) in events.iter().enumerate() {
        same!(event.kv.mod_revision, before + 1 + i as i64);
    }
    writes.await.map_err(|error| Failure::new(error.to_string()))??;
    Ok(())
}

async fn granted_ids_race(cx: Context) -> Verdict {
    let grants = (0..CLIENTS).map(|_| cx.store.lease_grant(ask::grant(7, 60)));
    let answers = futures::future::join_all(grants).await;
    same!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
    for refusal in answers.into_iter().filter_map(Result::err) {
        same!(refusal.message, "etcdserver: lease already exists");
    }
    Ok(())
}
