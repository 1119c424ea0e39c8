//! How long a write to the store takes to be in every node's maps.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use skein_store_schema::kinds::slice::{AddressType, Slice, SliceEndpoint, SliceKey, SlicePort};
use skein_store_schema::{Protocol, StoreKey, StoreValue};

use crate::agentctl::AgentSocket;
use crate::cluster::Cluster;
use crate::cluster::builtin::{DEMO_NAMESPACE, NOBODY};

/// One measured write.
#[derive(Clone, Debug)]
pub struct Sample {
    /// From the start of the write (the store's fdatasync included) to the entry in the slowest node's maps.
    pub all_nodes: Duration,
}

/// Measures on the running demo: a backend of the demo's empty service appears and goes.
///
/// # Errors
/// The store or an agent does not answer.
pub fn demo(cluster: &Cluster, rounds: u32) -> Result<String> {
    let key = SliceKey { namespace: DEMO_NAMESPACE.parse()?, name: "measured".parse()? };
    let mut samples = Vec::new();
    for round in 0..rounds {
        let slice = measured_slice(round)?;
        samples.push(measure(cluster, &key, &slice)?);
    }
    let mut micros: Vec<u128> = samples.iter().map(|s| s.all_nodes.as_micros()).collect();
    micros.sort_unstable();
    ensure!(!micros.is_empty(), "nothing was measured");
    let (median, most) = (micros[micros.len() / 2], micros[micros.len() - 1]);
    Ok(format!(
        "{rounds} writes, {} nodes: median {:.1} ms, slowest {:.1} ms, the store's fdatasync included",
        cluster.nodes().len(),
        median as f64 / 1e3,
        most as f64 / 1e3
    ))
}

fn measured_slice(round: u32) -> Result<Slice> {
    // An address of a block that no node of a lab has.
    let address =
        std::net::Ipv4Addr::from(u32::from(std::net::Ipv4Addr::new(10, 244, 255, 1)) + round % 200);
    let port = SlicePort {
        name: "http".to_owned(),
        port: "8080".parse::<u16>()?.try_into()?,
        protocol: Protocol::Tcp,
    };
    Ok(Slice {
        service: NOBODY.parse()?,
        address_type: AddressType::Ipv4,
        ports: vec![port],
        endpoints: vec![SliceEndpoint::ready_at(address.into())],
    })
}

/// Writes once and waits on every node at the same time. The control plane, whose key this is not, takes it away again.
fn measure(cluster: &Cluster, key: &SliceKey, slice: &Slice) -> Result<Sample> {
    let sockets = cluster
        .nodes()
        .iter()
        .map(|node| cluster.agent(node))
        .collect::<Result<Vec<AgentSocket>>>()?;
    let (name, value) = (key.encode(), slice.encode());
    let (started, revision) = cluster.with_store(async |client| {
        let started = Instant::now();
        let answer = client.put(name, value, None).await?;
        Ok((started, answer.header().context("an answer without a header")?.revision()))
    })?;
    let ends = std::thread::scope(|scope| {
        let waits: Vec<_> = sockets
            .into_iter()
            .map(|mut socket| {
                scope.spawn(move || socket.wait_revision(revision).map(|_| started.elapsed()))
            })
            .collect();
        waits
            .into_iter()
            .map(|w| w.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a waiting thread panicked"))))
            .collect::<Result<Vec<Duration>>>()
    })?;
    cluster.with_store(async |client| Ok(client.delete(key.encode(), None).await.map(drop)?))?;
    Ok(Sample { all_nodes: ends.into_iter().max().unwrap_or_default() })
}
