//! Delivery of one writer's events to many watch streams.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use hdrhistogram::Histogram;
use skein_store_api::pb::etcdserverpb as pb;
use skein_store_conformance::ask;
use skein_store_conformance::endpoint::{Endpoint, WatchStream, member::MemberEndpoint};
use skein_store_conformance::process::Process;

use crate::cpu;
use crate::table::Run;

/// How many streams see how many events.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) streams: u32,
    pub(crate) events_per_second: u32,
}

pub(crate) const LOADS: [Load; 3] = [
    Load { streams: 1, events_per_second: 500 },
    Load { streams: 100, events_per_second: 50 },
    Load { streams: 1_000, events_per_second: 20 },
];

/// How long events are written.
const SECONDS: u32 = 4;

/// Streams share at most this many connections.
const CONNECTIONS_MAX: u32 = 100;

const VALUE_BYTES: usize = 300;

/// Latencies up to a minute, in microseconds, at three digits.
const LATENCY_MAX_US: u64 = 60_000_000;
const LATENCY_DIGITS: u8 = 3;

const KEY: &str = "watched";

pub(crate) async fn run(members: &[Process], load: Load) -> anyhow::Result<Run> {
    let epoch = Instant::now();
    let connections: Vec<MemberEndpoint> = (0..load.streams.min(CONNECTIONS_MAX))
        .map(|at| members[at as usize % members.len()].connect())
        .collect::<Result<_, _>>()?;
    let events = load.events_per_second * SECONDS;
    let mut readers = Vec::new();
    for stream in 0..load.streams {
        let connection = &connections[stream as usize % connections.len()];
        let mut stream = connection.watch().await?;
        stream.create(ask::watch(KEY)).await.map_err(|error| anyhow::anyhow!("{error}"))?;
        readers.push(tokio::spawn(read(stream, events, epoch)));
    }
    let before = cpu::used_by(members)?;
    let started = Instant::now();
    write(Arc::new(members[0].connect()?), load.events_per_second, events, epoch).await?;
    let mut latencies = Histogram::<u64>::new_with_max(LATENCY_MAX_US, LATENCY_DIGITS)?;
    for reader in readers {
        latencies.add(reader.await??)?;
    }
    let elapsed = started.elapsed();
    let used = cpu::used_by(members)? - before;
    let deliveries = f64::from(events) * f64::from(load.streams);
    Ok(Run {
        per_second: deliveries / elapsed.as_secs_f64(),
        p50_ms: latencies.value_at_quantile(0.5) as f64 / 1e3,
        p99_ms: latencies.value_at_quantile(0.99) as f64 / 1e3,
        cpu_us: used.as_secs_f64() * 1e6 / deliveries,
    })
}

/// Writes events at a steady pace; each value begins with the time at which its put was sent.
async fn write(
    store: Arc<MemberEndpoint>,
    per_second: u32,
    events: u32,
    epoch: Instant,
) -> anyhow::Result<()> {
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / per_second);
    let mut puts = Vec::new();
    for _ in 0..events {
        ticks.tick().await;
        let store = Arc::clone(&store);
        puts.push(tokio::spawn(async move {
            let mut value = (epoch.elapsed().as_micros() as u64).to_le_bytes().to_vec();
            value.resize(VALUE_BYTES, b'x');
            store.put(pb::PutRequest { value: value.into(), ..ask::put(KEY, "") }).await
        }));
    }
    for put in puts {
        put.await??;
    }
    Ok(())
}

/// Reads the events of one stream and returns how long each was on its way.
async fn read(
    mut stream: WatchStream,
    events: u32,
    epoch: Instant,
) -> anyhow::Result<Histogram<u64>> {
    let mut latencies = Histogram::new_with_max(LATENCY_MAX_US, LATENCY_DIGITS)?;
    let mut seen = 0;
    while seen < events {
        let frame = stream.next().await.map_err(|error| anyhow::anyhow!("{error}"))?;
        let now = epoch.elapsed().as_micros() as u64;
        if frame.canceled {
            bail!("the watch was canceled: {}", frame.cancel_reason);
        }
        for event in frame.events {
            let sent = event.kv.value.0.first_chunk().context("a value without its time")?;
            latencies.saturating_record(now.saturating_sub(u64::from_le_bytes(*sent)));
            seen += 1;
        }
    }
    Ok(latencies)
}
