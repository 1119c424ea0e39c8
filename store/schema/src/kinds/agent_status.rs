//! `skein/agents/v1/<node>/status`: that an agent lives, and how it does.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::node_report::AGENTS_PREFIX;
use crate::envelope::{OwnValue, own_value};
use crate::path::{self, key_order};
use crate::{Doc, KeyReason, Lifetime, NodeName, StoreKey, ValueReason, Writer};

/// Errors kept in a status; the oldest go first. A status is a summary, not a log.
pub const ERRORS_MAX: usize = 16;

/// The status of a node's agent.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AgentStatusKey {
    /// The node.
    pub node: NodeName,
}

key_order!(AgentStatusKey, |k| [k.node.as_str(), "status"]);

impl StoreKey for AgentStatusKey {
    type Value = AgentStatus;
    const PREFIX: &'static str = AGENTS_PREFIX;
    const DOC: Doc = Doc {
        kind: "Agent status",
        layout: "skein/agents/v1/<node>/status",
        scope: "one agent",
        cardinality: "5,000",
        writer: Writer::Agent,
        readers: "control plane (liveness); skeinctl",
        lifetime: Lifetime::Lease,
        value: "the revision that its maps stand at, health, versions, fill of maps, recent errors",
        absence: "the agent is not running or cannot reach the store; its node keeps forwarding",
    };

    fn encode(&self) -> String {
        format!("{AGENTS_PREFIX}{}/status", self.node)
    }

    fn parse(text: &str) -> Result<Self, KeyReason> {
        Ok(Self { node: path::agent_leaf(text, "status")? })
    }

    fn example() -> (Self, AgentStatus) {
        let value = AgentStatus {
            applied_revision: 4_711,
            health: Health::Ok,
            agent_version: "0.1.0".to_owned(),
            layout_version: 1,
            kernel: "6.12.0".to_owned(),
            datapath: "ebpf".to_owned(),
            started_unix_ms: 1_767_225_600_000,
            updated_unix_ms: 1_767_225_660_000,
            addresses_used: 12,
            addresses_total: 252,
            map_pressure: BTreeMap::from([("lb_backends".to_owned(), 0.004)]),
            errors: Vec::new(),
        };
        (Self { node: NodeName::new("node-1").expect("a label") }, value)
    }
}

/// How an agent does.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// Maps stand at the applied revision.
    Ok,
    /// Waiting for something, as a block or a first sync.
    #[default]
    Waiting,
    /// Some items cannot be applied; see the errors.
    Degraded,
}

/// How an agent does, by itself.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct AgentStatus {
    /// Every change up to this revision of the store is in the maps.
    pub applied_revision: i64,
    /// In one word.
    pub health: Health,
    /// Version of the agent.
    #[serde(default)]
    pub agent_version: String,
    /// Version of the map layouts.
    #[serde(default)]
    pub layout_version: u32,
    /// Release of the kernel.
    #[serde(default)]
    pub kernel: String,
    /// `ebpf` or `memory`.
    #[serde(default)]
    pub datapath: String,
    /// When the agent started, milliseconds since 1970.
    #[serde(default)]
    pub started_unix_ms: u64,
    /// When this was written, milliseconds since 1970, by the node's clock.
    #[serde(default)]
    pub updated_unix_ms: u64,
    /// Addresses of the node's block that are given out, the reserved ones not counted.
    #[serde(default)]
    pub addresses_used: u64,
    /// Addresses of the node's block that can be given out.
    #[serde(default)]
    pub addresses_total: u64,
    /// Entries over capacity by map, 0 to 1.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub map_pressure: BTreeMap<String, f64>,
    /// The first line of recent errors.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<String>,
}

impl OwnValue for AgentStatus {
    fn check(&self) -> Result<(), ValueReason> {
        if self.applied_revision < 0 {
            return Err(ValueReason::field("applied_revision", "is negative"));
        }
        Ok(())
    }
}

own_value!(AgentStatus);
