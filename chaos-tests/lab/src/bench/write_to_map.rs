//! From a write in the store to the map entry on all nodes, at a steady rate of changes.

use std::net::Ipv4Addr;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use hdrhistogram::Histogram;

use super::{BenchArgs, fill, median};
use crate::cluster::{Cluster, StoreRole};
use crate::progress::Progress;

/// Changes a second: about what a cluster of 1,000 nodes sees while one deployment rolls.
const RATE: u32 = 200;
/// Changes of one run.
const CHANGES: u32 = 1_000;
/// Nodes that all must have the entry.
const NODES: u32 = 3;
/// Services whose backends change in turn.
const SERVICES: u32 = 100;

/// The latencies of one run in microseconds.
struct Run {
    p50: u64,
    p99: u64,
    most: u64,
}

pub(super) fn run(args: &BenchArgs) -> Result<String> {
    let spec = args.spec(NODES)?;
    let cluster = Cluster::up_without_pods(&spec, StoreRole::Alone, &mut Progress::quiet())?;
    let mut entries = fill::nodes(&spec)?;
    for number in 0..SERVICES.max(args.services) {
        entries.push(fill::service(number)?);
    }
    for number in SERVICES..args.services {
        let first = number * fill::BACKENDS;
        let backends = (first..first + fill::BACKENDS).map(fill::pod_ip);
        entries.push(fill::slice(number, backends)?);
    }
    let revision = cluster.with_store(async |client| fill::put_all(client, &entries).await)?;
    cluster.wait_applied(revision)?;
    let runs =
        (0..args.runs).map(|number| one_run(&cluster, number)).collect::<Result<Vec<Run>>>()?;
    let of = |field: fn(&Run) -> u64| {
        median(&runs.iter().map(field).collect::<Vec<_>>()).unwrap_or_default() as f64 / 1e3
    };
    Ok(format!(
        "### Store write to map entry on all nodes\n\n\
         `skein-lab bench --only write-to-map --services {}`: {NODES} nodes, so many services with ten \
         backends each, {RATE} changes of slices a second, {CHANGES} a run, medians of {} runs, from the start of the put (fdatasync included) until the \
         slowest node's agent says the revision is in its maps.\n\n\
         | p50 | p99 | slowest |\n|---|---|---|\n| {:.2} ms | {:.2} ms | {:.2} ms |\n",
        args.services,
        runs.len(),
        of(|r| r.p50),
        of(|r| r.p99),
        of(|r| r.most)
    ))
}

/// A write and when it began.
type Written = (i64, Instant);

fn one_run(cluster: &Cluster, number: u32) -> Result<Run> {
    let waiters = cluster.nodes().into_iter().map(|node| waiter(cluster, &node));
    let (senders, threads): (Vec<_>, Vec<_>) =
        waiters.collect::<Result<Vec<_>>>()?.into_iter().unzip();
    write_steadily(cluster, number, &senders)?;
    drop(senders);
    // By write: the time until the slowest node had it.
    let mut slowest: Vec<Duration> = Vec::new();
    for thread in threads {
        let times = thread.join().map_err(|_| anyhow!("a waiting thread panicked"))??;
        slowest.resize(slowest.len().max(times.len()), Duration::ZERO);
        slowest.iter_mut().zip(times).for_each(|(most, time)| *most = (*most).max(time));
    }
    let mut histogram = Histogram::<u64>::new(3)?;
    for time in slowest {
        histogram.record(u64::try_from(time.as_micros())?)?;
    }
    Ok(Run {
        p50: histogram.value_at_quantile(0.5),
        p99: histogram.value_at_quantile(0.99),
        most: histogram.max(),
    })
}

type Waiter = (mpsc::Sender<Written>, std::thread::JoinHandle<Result<Vec<Duration>>>);

/// A thread that waits on one node for each write in turn.
fn waiter(cluster: &Cluster, node: &str) -> Result<Waiter> {
    let mut socket = cluster.agent(node)?;
    let (sender, receiver) = mpsc::channel::<Written>();
    let thread = std::thread::spawn(move || {
        let mut times = Vec::new();
        for (revision, started) in receiver {
            socket.wait_revision(revision)?;
            times.push(started.elapsed());
        }
        Ok(times)
    });
    Ok((sender, thread))
}

fn write_steadily(cluster: &Cluster, number: u32, senders: &[mpsc::Sender<Written>]) -> Result<()> {
    cluster.with_store(async |client| {
        let mut tick = tokio::time::interval(Duration::from_secs(1) / RATE);
        for change in 0..CHANGES {
            let service = change % SERVICES;
            // A backend that the service did not have before: new entries in three maps.
            let fresh = fill::pod_ip(2_000_000 + number * CHANGES + change);
            let backends: [Ipv4Addr; 2] = [fill::pod_ip(1_000_000 + service), fresh];
            let (key, value) = fill::slice(service, backends.into_iter())?;
            tick.tick().await;
            let started = Instant::now();
            let answer = client.put(key, value, None).await?;
            let revision = answer.header().context("an answer without a header")?.revision();
            for sender in senders {
                sender.send((revision, started)).context("a waiting thread ended")?;
            }
        }
        Ok(())
    })
}
