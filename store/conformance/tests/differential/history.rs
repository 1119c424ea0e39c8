//! Two stores' histories, held against each other.

use skein_store_conformance::ask;
use skein_store_conformance::endpoint::{Endpoint, Event};

/// Revisions in the past from which each store replays its events at the end.
const REPLAYS: i64 = 8;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What is there at the end, and every replay of how it came about, must be equal.
pub(crate) async fn compare_history(
    seed: u64,
    oracle: &dyn Endpoint,
    subject: &dyn Endpoint,
) -> Result<(), Failure> {
    let (expected, found) =
        (oracle.range(ask::everything()).await?, subject.range(ask::everything()).await?);
    assert_eq!(expected.kvs, found.kvs, "seed {seed}: the final content differs");
    let head = expected.header.revision;
    assert_eq!(head, found.header.revision, "seed {seed}: the final revision differs");
    let compacted = oracle.hash_kv(0).await?.compact_revision.max(1);
    assert_eq!(compacted, subject.hash_kv(0).await?.compact_revision.max(1), "seed {seed}");
    for replay in 0..REPLAYS {
        let start = compacted + (head - compacted) * replay / REPLAYS;
        let (expected, found) =
            (events(oracle, start, head).await?, events(subject, start, head).await?);
        assert_eq!(expected, found, "seed {seed}: the replay from revision {start} differs");
    }
    Ok(())
}

/// Every event from `start` to `head`.
async fn events(store: &dyn Endpoint, start: i64, head: i64) -> Result<Vec<Event>, Failure> {
    let mut stream = store.watch().await?;
    let request = skein_store_api::pb::etcdserverpb::WatchCreateRequest {
        start_revision: start,
        ..ask::watch_everything()
    };
    let text = |failure: skein_store_conformance::check::Failure| failure.to_string();
    stream.create(request).await.map_err(text)?;
    let mut events: Vec<Event> = Vec::new();
    while events.last().is_none_or(|event| event.kv.mod_revision < head) {
        events.extend(stream.next().await.map_err(text)?.events);
    }
    Ok(events)
}
