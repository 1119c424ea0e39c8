//! `skein/ipam/v1/blocks/<pool>/<cidr>`: a node's share of a pool.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::envelope::{OwnValue, own_value};
use crate::path::{self, key_text};
use crate::{Doc, KeyRange, KeyReason, Lifetime, NodeName, PoolName, StoreKey, Writer};

/// A block of a pool. Sorts by pool and address; the store sorts by text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockKey {
    /// The pool that the block is cut from.
    pub pool: PoolName,
    /// The block; its host bits are ignored in the encoding.
    pub cidr: IpNet,
}

key_text!(BlockKey);

impl BlockKey {
    /// The claimed blocks of one pool.
    pub fn pool_range(pool: &PoolName) -> KeyRange {
        KeyRange::prefix(format!("{}{pool}/", Self::PREFIX))
    }
}

impl StoreKey for BlockKey {
    type Value = Block;
    const PREFIX: &'static str = "skein/ipam/v1/blocks/";
    const DOC: Doc = Doc {
        kind: "IPAM block",
        layout: "skein/ipam/v1/blocks/<pool>/<cidr with - for />",
        scope: "one claimed block; claimed by one transaction that requires the key to be absent",
        cardinality: "5,000",
        writer: Writer::ControlPlane,
        readers: "control plane; skeinctl. Agents learn their block from their `nodes` key",
        lifetime: Lifetime::Durable,
        value: "the owner; released only when its node is gone and the grace period is over",
        absence: "the block is free",
    };

    fn encode(&self) -> String {
        format!("{}{}/{}", Self::PREFIX, self.pool, path::cidr_segment(self.cidr))
    }

    fn parse(text: &str) -> Result<Self, KeyReason> {
        let [pool, cidr] = path::split(text, Self::PREFIX, Self::DOC.layout)?;
        Ok(Self { pool: pool.parse()?, cidr: path::cidr(cidr)? })
    }

    fn example() -> (Self, Block) {
        let key = Self {
            pool: PoolName::new("default").expect("a label"),
            cidr: "10.1.0.0/24".parse().expect("a CIDR"),
        };
        let node = NodeName::new("node-1").expect("a label");
        let node_uid = "0b9d2a0e-5a50-4b06-8a8c-64f1f1a8d1c7".to_owned();
        (key, Block { node, node_uid, generation: 1 })
    }
}

/// Who has a block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// The node.
    pub node: NodeName,
    /// The uid of its Node object, empty when the source gives none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub node_uid: String,
    /// Counts the changes of owner of this block.
    #[serde(default)]
    pub generation: u64,
}

impl OwnValue for Block {}
own_value!(Block);
