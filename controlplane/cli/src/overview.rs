//! What `status` finds: counts, nodes, and everything that does not fit together. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use skein_store_schema::kinds::agent_status::Health;
use skein_store_schema::kinds::election::ElectionKey;

use crate::output::Row;
use crate::view::View;

/// Age of a status beyond which an agent is suspected to hang: it renews its lease but reports nothing.
const STATUS_STALE_MS: u64 = 120_000;

/// The cluster at a glance.
#[derive(Debug, Serialize)]
pub(crate) struct Overview {
    pub(crate) revision: i64,
    pub(crate) control_plane: Option<String>,
    pub(crate) nodes: Vec<NodeLine>,
    pub(crate) counts: Counts,
    pub(crate) ipam: Vec<PoolLine>,
    pub(crate) problems: Vec<String>,
}

#[derive(Debug, Serialize, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) services: usize,
    pub(crate) backends: usize,
    pub(crate) backends_ready: usize,
    pub(crate) pods: usize,
    pub(crate) endpoints: usize,
    pub(crate) identities: usize,
    pub(crate) ips: usize,
}

#[derive(Debug, Serialize)]
pub(crate) struct PoolLine {
    pub(crate) pool: String,
    pub(crate) cidrs: Vec<String>,
    pub(crate) mask_size: u8,
    pub(crate) blocks_used: usize,
    pub(crate) blocks_total: u64,
    pub(crate) addresses_used: u64,
    pub(crate) addresses_total: u64,
}

#[derive(Debug, Serialize)]
pub(crate) struct NodeLine {
    pub(crate) node: String,
    pub(crate) internal_ip: Option<String>,
    pub(crate) block: Option<String>,
    /// `ok`, `waiting`, `degraded`, or `away` without a living agent.
    pub(crate) agent: &'static str,
    pub(crate) agent_age_s: Option<u64>,
    pub(crate) applied_revision: Option<i64>,
    pub(crate) datapath: String,
    pub(crate) addresses_used: u64,
    pub(crate) addresses_total: u64,
}

impl Row for NodeLine {
    const HEADERS: &'static [&'static str] =
        &["NODE", "INTERNAL-IP", "BLOCK", "ADDRESSES", "AGENT", "APPLIED", "REPORTED"];

    fn cells(&self) -> Vec<String> {
        let number = |number: Option<i64>| number.map(|n| n.to_string()).unwrap_or_default();
        vec![
            self.node.clone(),
            self.internal_ip.clone().unwrap_or_default(),
            self.block.clone().unwrap_or_default(),
            format!("{}/{}", self.addresses_used, self.addresses_total),
            self.agent.to_owned(),
            number(self.applied_revision),
            self.agent_age_s.map(|age| format!("{age} s ago")).unwrap_or_default(),
        ]
    }
}

impl Overview {
    pub(crate) fn of(view: &View, now_unix_ms: u64) -> Self {
        let backends = view.backends();
        let counts = Counts {
            services: view.services.len(),
            backends: backends.values().map(|backends| backends.all).sum(),
            backends_ready: backends.values().map(|backends| backends.ready).sum(),
            pods: view.pods.len(),
            endpoints: view.endpoints.len(),
            identities: view.identities.len(),
            ips: view.ips.len(),
        };
        Self {
            revision: view.revision,
            control_plane: leader(view),
            nodes: node_lines(view, now_unix_ms),
            counts,
            ipam: pool_lines(view),
            problems: problems(view, now_unix_ms),
        }
    }
}

/// Who leads the control planes: the candidate whose key is oldest.
fn leader(view: &View) -> Option<String> {
    let of_control_plane = |(key, _): &(&ElectionKey, _)| key.election.as_str() == "controlplane";
    let oldest =
        view.candidates.rows().filter(of_control_plane).min_by_key(|(_, row)| row.create_revision);
    oldest.map(|(_, row)| row.value.holder.clone())
}

/// Every node that anyone has heard of.
pub(crate) fn node_lines(view: &View, now_unix_ms: u64) -> Vec<NodeLine> {
    let published: BTreeMap<_, _> =
        view.nodes.iter().map(|(key, node)| (&key.node, node)).collect();
    let mut names: BTreeSet<_> = published.keys().copied().collect();
    names.extend(view.reports.iter().map(|(key, _)| &key.node));
    names.extend(view.blocks.iter().map(|(_, block)| &block.node));
    let blocks: BTreeMap<_, _> =
        view.blocks.iter().map(|(key, block)| (&block.node, key.cidr)).collect();
    let line = |name| {
        let status = view.status(name);
        let record = published.get(name);
        let block = blocks.get(name);
        let (used, total) = block.map_or((0, 0), |cidr| view.block_usage(name, cidr));
        NodeLine {
            node: name.to_string(),
            internal_ip: record.and_then(|node| node.internal_ipv4()).map(|ip| ip.to_string()),
            block: block.map(ToString::to_string),
            agent: match status.map(|status| status.health) {
                Some(Health::Ok) => "ok",
                Some(Health::Waiting) => "waiting",
                Some(Health::Degraded) => "degraded",
                None => "away",
            },
            agent_age_s: status
                .map(|status| now_unix_ms.saturating_sub(status.updated_unix_ms) / 1_000),
            applied_revision: status.map(|status| status.applied_revision),
            datapath: status.map(|status| status.datapath.clone()).unwrap_or_default(),
            addresses_used: used,
            addresses_total: total,
        }
    };
    names.into_iter().map(line).collect()
}

/// Pools with the use of their blocks.
pub(crate) fn pool_lines(view: &View) -> Vec<PoolLine> {
    let line = |(key, pool): (&skein_store_schema::kinds::pool::PoolKey, &std::sync::Arc<_>)| {
        let pool: &skein_store_schema::kinds::pool::Pool = pool;
        let blocks = || view.blocks.iter().filter(|(block, _)| block.pool == key.pool);
        let usage = blocks().map(|(block, owner)| view.block_usage(&owner.node, &block.cidr));
        let (used, total) = usage.fold((0, 0), |sum, block| (sum.0 + block.0, sum.1 + block.1));
        PoolLine {
            pool: key.pool.to_string(),
            cidrs: pool.cidrs.iter().map(ToString::to_string).collect(),
            mask_size: pool.mask_size,
            blocks_used: blocks().count(),
            blocks_total: pool.block_count(),
            addresses_used: used,
            addresses_total: total,
        }
    };
    view.pools.iter().map(line).collect()
}

/// What an operator should look at, worst first.
fn problems(view: &View, now_unix_ms: u64) -> Vec<String> {
    let mut found = view.rejected();
    found.extend(store_problems(view));
    found.extend(ipam_problems(view));
    found.extend(node_problems(view, now_unix_ms));
    found.extend(service_problems(view));
    found
}

fn store_problems(view: &View) -> Vec<String> {
    let nobody = leader(view).is_none() && !(view.pools.is_empty() && view.nodes.is_empty());
    nobody
        .then(|| "no control plane is elected: nothing new is planned".to_owned())
        .into_iter()
        .collect()
}

fn ipam_problems(view: &View) -> Vec<String> {
    let mut found = Vec::new();
    let blocks: Vec<_> = view.blocks.iter().collect();
    for (index, (key, owner)) in blocks.iter().enumerate() {
        for (other, other_owner) in &blocks[..index] {
            if key.cidr.contains(&other.cidr) || other.cidr.contains(&key.cidr) {
                let (a, b) = (&other_owner.node, &owner.node);
                found.push(format!("blocks {} of {a} and {} of {b} overlap", other.cidr, key.cidr));
            }
        }
    }
    for pool in pool_lines(view) {
        if pool.blocks_used as u64 >= pool.blocks_total {
            found.push(format!("pool {} has no free block", pool.pool));
        }
    }
    let mut owners = BTreeMap::new();
    for (key, _) in view.endpoints.iter() {
        if let Some(first) = owners.insert(key.ip, &key.node) {
            found.push(format!("address {} is reported by {first} and by {}", key.ip, key.node));
        }
    }
    found
}

fn node_problems(view: &View, now_unix_ms: u64) -> Vec<String> {
    let mut found = Vec::new();
    for line in node_lines(view, now_unix_ms) {
        let node = &line.node;
        if line.agent == "away" {
            found.push(format!("node {node}: its agent is away"));
        }
        if line.block.is_none() {
            found.push(format!("node {node} has no block of addresses"));
        } else if line.addresses_total > 0 && line.addresses_used >= line.addresses_total {
            found.push(format!("node {node} has no free address"));
        }
        if line.agent_age_s.is_some_and(|age| age * 1_000 > STATUS_STALE_MS) {
            found.push(format!("node {node}: its agent lives but has long reported nothing"));
        }
    }
    for (key, status) in view.statuses.iter() {
        found.extend(status.errors.iter().map(|error| format!("node {}: {error}", key.node)));
        for (map, fill) in &status.map_pressure {
            if *fill >= 0.9 {
                found.push(format!("node {}: map {map} is {:.0} % full", key.node, fill * 100.0));
            }
        }
    }
    found
}

fn service_problems(view: &View) -> Vec<String> {
    let mut found = Vec::new();
    let mut owners = BTreeMap::new();
    for (key, service) in view.services.iter() {
        for ip in &service.cluster_ips {
            if let Some(first) = owners.insert(ip, key) {
                let (a, b) = (name(first), name(key));
                found.push(format!("address {ip} belongs to service {a} and to service {b}"));
            }
        }
    }
    let backends = view.backends();
    for (key, service) in view.services.iter() {
        let ready = backends.get(key).is_some_and(|backends| backends.ready > 0);
        if !ready && !service.headless {
            found.push(format!("service {} has no ready backend", name(key)));
        }
    }
    for (key, pair) in view.ips.iter() {
        if !pair.id.is_reserved() && view.identity_words(pair.id).is_empty() {
            found.push(format!("address {} has identity {}, which is unknown", key.ip, pair.id));
        }
    }
    found
}

fn name(key: &skein_store_schema::kinds::service::ServiceKey) -> String {
    format!("{}/{}", key.namespace, key.name)
}

#[cfg(test)]
mod tests;
