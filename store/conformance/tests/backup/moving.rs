//! From one kind of store to the other.

use std::sync::Arc;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn from_etcd_to_skein_and_back() -> Result<(), Failure> {
    let dir = process::directory()?;
    let source = Process::start(&etcd()?, &[]).await?;
    let store = source.connect()?;
    fill(&store, 11).await?;
    let file = save(&store, &dir).await?;
    let restored = skein_from(&file, |_| ()).await?;
    same(&store, &restored.connect()?).await?;

    // etcd's own hash of the history: not one byte of it has changed on the way.
    let back = etcd_from(&save(&restored.connect()?, &dir).await?, &[]).await?;
    let (expected, found) = (store.hash_kv(0).await?, back.connect()?.hash_kv(0).await?);
    assert_eq!(found.compact_revision, expected.compact_revision);
    assert_eq!(found.hash, expected.hash, "HashKV");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn from_skein_to_etcd() -> Result<(), Failure> {
    let dir = process::directory()?;
    let source = Process::start(&peers::skein_store()?, &[]).await?;
    let store = source.connect()?;
    fill(&store, 12).await?;
    let file = save(&store, &dir).await?;
    let restored = etcd_from(&file, &[]).await?;
    same(&store, &restored.connect()?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn from_skein_to_etcd_and_back() -> Result<(), Failure> {
    let dir = process::directory()?;
    let source = Process::start(&peers::skein_store()?, &[]).await?;
    let store = source.connect()?;
    fill(&store, 13).await?;
    let etcd = etcd_from(&save(&store, &dir).await?, &[]).await?;
    let mut back = skein_from(&save(&etcd.connect()?, &dir).await?, |_| ()).await?;
    same(&store, &back.connect()?).await?;
    let hash = store.hash_kv(0).await?.hash;
    assert_eq!(back.connect()?.hash_kv(0).await?.hash, hash, "HashKV");

    // What is restored is durable, and is written on.
    back.kill_and_restart().await?;
    let again = back.connect()?;
    same(&store, &again).await?;
    let revision = again.put(ask::put("after", "1")).await?.header.revision;
    back.kill_and_restart().await?;
    let kept = back.connect()?.range(ask::get("after")).await?;
    assert_eq!(kept.kvs.first().map(|kv| kv.mod_revision), Some(revision));
    Ok(())
}

/// The file of an etcd that was killed has no SHA-256, pages that are free, and lacks what etcd
/// had only in its log: what `etcdutl` makes of it is the measure.
#[tokio::test(flavor = "multi_thread")]
async fn from_the_data_directory_of_an_etcd() -> Result<(), Failure> {
    let mut source = Process::start(&etcd()?, &[]).await?;
    fill(&source.connect()?, 14).await?;
    // etcd writes its file every 100 ms.
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    source.kill();
    let file = source.data_dir().join("member/snap/db");
    let text = refused(&file, |_| ())?;
    assert!(text.ends_with("snapshot missing hash but --skip-hash-check=false"), "{text}");
    let expected = etcd_from(&file, &["--skip-hash-check"]).await?;
    let found = skein_from(&file, |config| config.skip_hash_check = true).await?;
    same(&expected.connect()?, &found.connect()?).await
}

/// After a bump nothing before it can be read, by etcd's restore as by ours, and a snapshot of
/// either can be restored by the other.
#[tokio::test(flavor = "multi_thread")]
async fn a_bump_means_what_it_means_to_etcdutl() -> Result<(), Failure> {
    let dir = process::directory()?;
    let source = Process::start(&etcd()?, &[]).await?;
    fill(&source.connect()?, 15).await?;
    let file = save(&source.connect()?, &dir).await?;
    let head = source.connect()?.range(ask::everything()).await?.header.revision;
    let flags = ["--bump-revision", "1000", "--mark-compacted"];
    let etcd = etcd_from(&file, &flags).await?;
    let bump = |config: &mut RestoreConfig| {
        (config.bump_revision, config.mark_compacted) = (1000, true);
    };
    let skein = skein_from(&file, bump).await?;
    bumped(&etcd.connect()?, &skein.connect()?, head + 1000).await?;

    let crossed = skein_from(&save(&etcd.connect()?, &dir).await?, |_| ()).await?;
    bumped(&etcd.connect()?, &crossed.connect()?, head + 1000).await?;
    let crossed = etcd_from(&save(&skein.connect()?, &dir).await?, &[]).await?;
    bumped(&etcd.connect()?, &crossed.connect()?, head + 1000).await?;

    for store in [etcd.connect()?, skein.connect()?] {
        assert_eq!(store.put(ask::put("next", "1")).await?.header.revision, head + 1001);
    }
    Ok(())
}

/// The two stores are at `revision` with the same content, and refuse the same.
async fn bumped(
    expected: &dyn Endpoint,
    found: &dyn Endpoint,
    revision: i64,
) -> Result<(), Failure> {
    for asked in [0, revision, revision - 1, revision - 1000, 2] {
        let request = pb::RangeRequest { revision: asked, ..ask::everything() };
        let expected = expected.range(request.clone()).await;
        let found = found.range(request).await;
        if let Ok(answer) = &expected {
            assert_eq!(answer.header.revision, revision);
        }
        assert_eq!(shown(found), shown(expected), "at revision {asked}");
    }
    assert_eq!(leases(found).await?, leases(expected).await?);
    Ok(())
}

/// A snapshot is of one moment while the store goes on, and several can be taken at once.
#[tokio::test(flavor = "multi_thread")]
async fn saved_while_writing() -> Result<(), Failure> {
    let source = Process::start(&peers::skein_store()?, &[]).await?;
    let store = Arc::new(source.connect()?);
    fill(&*store, 16).await?;
    let writer = {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            // Both keys of a transaction are there, or none.
            for n in 0..u64::MAX {
                let value = n.to_string();
                let puts = vec![ask::op_put("left", &value), ask::op_put("right", &value)];
                if store.txn(ask::always(puts)).await.is_err() {
                    return;
                }
            }
        })
    };
    let dir = process::directory()?;
    let path = dir.path().join("saved.db");
    for _ in 0..2 {
        let before = store.range(ask::get("left")).await?.header.revision;
        // More than are made at the same time.
        let snapshots = futures::future::join_all((0..3).map(|_| store.snapshot())).await;
        for snapshot in snapshots {
            std::fs::write(&path, snapshot?)?;
            assert!(backup::verify(&path)?.revision >= before);
            let restored = skein_from(&path, |_| ()).await?;
            let restored = (restored.connect()?, restored);
            let value = async |key| -> Result<_, Failure> {
                let answer = restored.0.range(ask::get(key)).await?;
                Ok(answer.kvs.into_iter().next().map(|kv| (kv.value, kv.mod_revision)))
            };
            assert_eq!(value("left").await?, value("right").await?);
        }
    }
    writer.abort();
    Ok(())
}
