//! Blocks of pod addresses for nodes.
//!
//! Every Node object has one block of the pool. A claim is the creation of the block's key, which
//! must be absent. A block stays with its node through everything; it is freed when the Node
//! object is gone, the agent's liveness has run out, and both have been so for the grace period.
//! With the block go the reports that the node's agent left behind.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use ipnet::{IpNet, Ipv4Net};
use skein_store_schema::kinds::agent_status::AgentStatusKey;
use skein_store_schema::kinds::block::{Block, BlockKey};
use skein_store_schema::kinds::endpoint_report::EndpointReportKey;
use skein_store_schema::kinds::node_report::NodeReportKey;
use skein_store_schema::{NodeName, StoreKey};

use super::Inputs;
use crate::object::{Kind, NodeObject, Object, ObjectRef};
use crate::plan::{Plan, Reason};

/// The blocks that nodes have in the store, in order.
pub(super) type Blocks = BTreeMap<NodeName, Vec<Ipv4Net>>;

pub(super) fn plan(inputs: &Inputs, plan: &mut Plan) -> Blocks {
    let owned = owned(inputs);
    let mut free = FreeBlocks::new(inputs);
    for object in inputs.sources.objects.of(Kind::Node).values() {
        let Object::Node(node) = &**object else { continue };
        match owned.get(&node.name).map(Vec::as_slice) {
            None | Some([]) => claim(inputs, node, &mut free, plan),
            Some([_]) => {}
            Some([first, ..]) => {
                let reason = format!("has more than one block, {first} is published");
                plan.problem(object.object_ref(), reason);
            }
        }
    }
    release(inputs, plan);
    owned
}

fn owned(inputs: &Inputs) -> Blocks {
    let mut owned = Blocks::new();
    for (key, block) in inputs.tables.blocks.iter() {
        if let (IpNet::V4(cidr), true) = (key.cidr, key.pool == inputs.config.pool) {
            owned.entry(block.node.clone()).or_default().push(cidr);
        }
    }
    owned
}

fn claim(inputs: &Inputs, node: &NodeObject, free: &mut FreeBlocks, plan: &mut Plan) {
    let subject = ObjectRef::new(Kind::Node, "", node.name.as_str());
    let Some(cidr) = free.next() else {
        return plan.wait(subject, "a block: the cluster pool is exhausted");
    };
    let key = BlockKey { pool: inputs.config.pool.clone(), cidr: IpNet::V4(cidr) };
    let value = Block { node: node.name.clone(), node_uid: node.uid.clone(), generation: 1 };
    plan.claim(&key, &value, Reason::ClaimBlock);
    plan.wait(subject, format!("its block {cidr} to be claimed"));
}

fn release(inputs: &Inputs, plan: &mut Plan) {
    let tables = &inputs.tables;
    for (key, block) in tables.blocks.iter() {
        let object = ObjectRef::new(Kind::Node, "", block.node.as_str());
        let alive = tables.agent_statuses.get(&AgentStatusKey { node: block.node.clone() });
        if alive.is_some() || !inputs.is_gone(&object) {
            continue;
        }
        let grace = inputs.config.node_grace;
        if plan.grace_over(&inputs.unused, key.encode(), inputs.now, grace) {
            plan.remove(&tables.blocks, key, Reason::GraceOver);
            forget_reports(inputs, &block.node, plan);
        } else {
            plan.wait(key, format!("{} is gone, the grace period of {grace} s runs", block.node));
        }
    }
}

fn forget_reports(inputs: &Inputs, node: &NodeName, plan: &mut Plan) {
    let tables = &inputs.tables;
    let report = NodeReportKey { node: node.clone() };
    if tables.node_reports.mod_revision(&report) > 0 {
        plan.remove(&tables.node_reports, &report, Reason::GraceOver);
    }
    let first = EndpointReportKey { node: node.clone(), ip: Ipv4Addr::UNSPECIFIED.into() };
    let reports = tables.endpoint_reports.range_from(&first);
    for (key, _) in reports.take_while(|(k, _)| k.node == *node) {
        plan.remove(&tables.endpoint_reports, key, Reason::GraceOver);
    }
}

/// Walks the pool's blocks in order and yields those that overlap nothing that is taken.
struct FreeBlocks {
    pool: Vec<Ipv4Net>,
    mask: u8,
    /// First and last addresses of what is taken, by first address; they do not overlap.
    taken: BTreeMap<u32, u32>,
    /// Position in the pool: CIDR and next address in it.
    at: (usize, u64),
}

impl FreeBlocks {
    fn new(inputs: &Inputs) -> FreeBlocks {
        let tables = &inputs.tables;
        let readable = tables.blocks.iter().map(|(key, _)| key.cidr);
        let unreadable = tables.blocks.unreadable().map(|(key, _)| key.cidr);
        let all: BTreeSet<IpNet> = readable.chain(unreadable).collect();
        let all = all.into_iter().filter_map(|cidr| match cidr {
            IpNet::V4(cidr) => Some(cidr),
            IpNet::V6(_) => None,
        });
        FreeBlocks {
            pool: inputs.config.pool_cidrs.iter().map(Ipv4Net::trunc).collect(),
            mask: inputs.config.block_mask,
            taken: all.map(|c| (u32::from(c.network()), u32::from(c.broadcast()))).collect(),
            at: (0, 0),
        }
    }

    fn overlaps_taken(&self, first: u32, last: u32) -> Option<u32> {
        let (_, &taken_last) = self.taken.range(..=last).next_back()?;
        (taken_last >= first).then_some(taken_last)
    }
}

impl Iterator for FreeBlocks {
    type Item = Ipv4Net;

    fn next(&mut self) -> Option<Ipv4Net> {
        let size = 1_u64 << (32 - u32::from(self.mask));
        while let Some(cidr) = self.pool.get(self.at.0).copied() {
            let (start, end) = (u32::from(cidr.network()), u64::from(u32::from(cidr.broadcast())));
            let first = self.at.1.max(u64::from(start));
            let Some(last) = Some(first + size - 1).filter(|last| *last <= end) else {
                self.at = (self.at.0 + 1, 0);
                continue;
            };
            let (first, last) = (first as u32, last as u32);
            match self.overlaps_taken(first, last) {
                // Behind what is taken, on the next boundary of a block.
                Some(taken) => self.at.1 = (u64::from(taken) / size + 1) * size,
                None => {
                    self.at.1 = u64::from(last) + 1;
                    self.taken.insert(first, last);
                    return Ipv4Net::new(Ipv4Addr::from(first), self.mask).ok();
                }
            }
        }
        None
    }
}
