//! What is told of a file is what `etcdutl` tells of it.

use super::*;

async fn compare(store: &dyn Endpoint) -> Result<(), Failure> {
    let dir = process::directory()?;
    let file = save(store, &dir).await?;
    let expected: serde_json::Value =
        serde_json::from_str(&etcdutl(&["snapshot", "status", text(&file)?, "-w", "json"])?)?;
    let status = backup::verify(&file)?;
    assert_eq!(serde_json::to_value(&status)?, expected);
    assert_eq!(backup::status(&file)?, status);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_files_of_etcd() -> Result<(), Failure> {
    let source = Process::start(&etcd()?, &[]).await?;
    let store = source.connect()?;
    compare(&store).await?;
    fill(&store, 21).await?;
    compare(&store).await
}

#[tokio::test(flavor = "multi_thread")]
async fn of_files_of_skein() -> Result<(), Failure> {
    let source = Process::start(&peers::skein_store()?, &[]).await?;
    let store = source.connect()?;
    compare(&store).await?;
    fill(&store, 22).await?;
    compare(&store).await
}

/// bbolt's own eyes on a file of several levels, which `status` looks through page by page.
#[tokio::test(flavor = "multi_thread")]
async fn of_many_keys() -> Result<(), Failure> {
    let source = Process::start(&peers::skein_store()?, &[]).await?;
    let store = source.connect()?;
    for batch in 0..200 {
        let key = |n: u32| format!("{}/{:06}", "k".repeat(n as usize % 300), batch * 100 + n);
        let puts = (0..100).map(|n| ask::op_put(&key(n), "value")).collect();
        store.txn(ask::always(puts)).await?;
    }
    compare(&store).await
}
