//! What must hold for every plan and every state, whichever planner is at fault otherwise.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use ipnet::IpNet;
use skein_store_schema::StoreKey;
use skein_store_schema::kinds::block::BlockKey;
use skein_store_schema::kinds::node_report::AGENTS_PREFIX;

use crate::plan::{Op, Plan};
use crate::tables::Tables;

/// Where the control plane may write. Below [`AGENTS_PREFIX`] it only removes what agents left.
const WRITABLE: [&str; 4] =
    ["cilium/state/", "cilium/cluster-config/", "skein/state/", "skein/ipam/"];
const HEARTBEAT: &str = "cilium/.heartbeat";

/// A broken invariant: a bug in a planner, or a store that someone else wrote to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    pub subject: String,
    pub rule: &'static str,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.subject, self.rule)
    }
}

fn violation(subject: impl fmt::Display, rule: &'static str) -> Violation {
    Violation { subject: subject.to_string(), rule }
}

/// Checks a plan by itself: cheap enough to be done before every write.
pub fn plan(plan: &Plan) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    for write in plan.writes() {
        let key = write.key.as_str();
        if !seen.insert(key) {
            found.push(violation(key, "is written twice in one plan"));
        }
        let ours = key == HEARTBEAT || WRITABLE.iter().any(|p| key.starts_with(p));
        let removal = key.starts_with(AGENTS_PREFIX) && write.op == Op::Delete;
        if !ours && !removal {
            found.push(violation(key, "is not the control plane's to write"));
        }
        if write.op == Op::Delete && write.expect == 0 {
            found.push(violation(key, "is removed without having been seen"));
        }
    }
    let claims = plan.claims.iter().filter_map(|w| BlockKey::decode(w.key.as_bytes()).ok());
    found.extend(overlaps(claims.map(|key| key.cidr)));
    found.extend(
        plan.claims
            .iter()
            .filter(|w| w.expect != 0)
            .map(|w| violation(&w.key, "is claimed although it exists")),
    );
    found
}

/// Checks what the store holds.
pub fn state(tables: &Tables) -> Vec<Violation> {
    let mut found = overlaps(tables.blocks.iter().map(|(key, _)| key.cidr));
    found.extend(addresses(tables));
    found.extend(identities(tables));
    found.extend(ips(tables));
    found
}

fn overlaps(cidrs: impl Iterator<Item = IpNet>) -> Vec<Violation> {
    let mut cidrs: Vec<IpNet> = cidrs.collect();
    cidrs.sort();
    let pairs = cidrs.windows(2).filter(|pair| pair[0].contains(&pair[1]));
    pairs.map(|pair| violation(pair[1], "overlaps another block")).collect()
}

fn addresses(tables: &Tables) -> Vec<Violation> {
    let mut owners = BTreeMap::new();
    let mut found = Vec::new();
    for (key, service) in tables.services.iter() {
        for ip in &service.cluster_ips {
            if let Some(other) = owners.insert(*ip, key) {
                let subject = format!("{ip} of {key} and {other}");
                found.push(violation(subject, "is the address of two services"));
            }
        }
    }
    found
}

fn identities(tables: &Tables) -> Vec<Violation> {
    let mut numbers = BTreeMap::new();
    let mut found = Vec::new();
    for (key, labels) in tables.identities.iter() {
        if let Some(other) = numbers.insert((key.id.cluster(), labels), key.id) {
            found.push(violation(format!("{key} and {other}"), "have the same labels"));
        }
    }
    let known: BTreeSet<_> = tables.identities.iter().map(|(key, _)| key.id).collect();
    let unknown = |id: &skein_store_schema::IdentityId| !id.is_reserved() && !known.contains(id);
    for (key, pod) in tables.pods.iter().filter(|(_, pod)| unknown(&pod.identity)) {
        found.push(violation(format!("{key}: {}", pod.identity), "is an identity without labels"));
    }
    found
}

/// Every pod address lies in the block of the node behind which it is said to be.
fn ips(tables: &Tables) -> Vec<Violation> {
    let blocks: BTreeMap<_, _> = tables
        .nodes
        .iter()
        .filter_map(|(_, n)| Some((std::net::IpAddr::V4(n.internal_ipv4()?), n.ipv4_block()?)))
        .collect();
    let misplaced = tables.ips.iter().filter(|(key, pair)| {
        let block = pair.host_ip.and_then(|host| blocks.get(&host));
        match (key.ip, block) {
            (std::net::IpAddr::V4(ip), Some(block)) => !block.contains(&ip),
            _ => pair.host_ip.is_some(),
        }
    });
    misplaced.map(|(key, _)| violation(key, "is not in the block of its node")).collect()
}
