//! `cilium/cluster-config/<cluster>`: what a peer must know before it reads.

use serde::{Deserialize, Serialize};

use crate::cilium::cilium_json_value;
use crate::path::{self, key_order};
use crate::{ClusterName, Doc, KeyReason, Lifetime, StoreKey, Writer};

/// A cluster.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClusterConfigKey {
    /// The cluster.
    pub cluster: ClusterName,
}

key_order!(ClusterConfigKey, |k| [k.cluster.as_str()]);

impl StoreKey for ClusterConfigKey {
    type Value = ClusterConfig;
    const PREFIX: &'static str = "cilium/cluster-config/";
    const DOC: Doc = Doc {
        kind: "Cluster config",
        layout: "cilium/cluster-config/<cluster>",
        scope: "one cluster whose state is in this store",
        cardinality: "1, with a mesh up to 255",
        writer: Writer::ControlPlane,
        readers: "peers of a Cluster Mesh, before anything else",
        lifetime: Lifetime::Durable,
        value: "Cilium's CiliumClusterConfig; fields that are zero are left out",
        absence: "peers refuse to read this store",
    };

    fn encode(&self) -> String {
        format!("{}{}", Self::PREFIX, self.cluster)
    }

    fn parse(text: &str) -> Result<Self, KeyReason> {
        let [cluster] = path::split(text, Self::PREFIX, Self::DOC.layout)?;
        Ok(Self { cluster: cluster.parse()? })
    }

    fn example() -> (Self, ClusterConfig) {
        let key = Self { cluster: ClusterName::new("default").expect("a label") };
        let capabilities = Capabilities { max_connected_clusters: 255, ..Capabilities::default() };
        (key, ClusterConfig { id: 1, capabilities })
    }
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// Cilium's description of a cluster to its peers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ClusterConfig {
    /// The number of the cluster, 0 without a mesh.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub id: u32,
    /// What readers must take into account.
    #[serde(default)]
    pub capabilities: Capabilities,
}

cilium_json_value!(ClusterConfig);

/// What the writer of a store can do.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Capabilities {
    /// Readers must wait for `cilium/synced/...`; unset here, since our store is durable.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub synced_canaries: bool,
    /// The data lies under `cilium/cache/`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cached: bool,
    /// 255 or 511; how the bits of identities are split.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub max_connected_clusters: u32,
    /// Whether service exports are written; none when the writer does not know them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_exports_enabled: Option<bool>,
    /// Which of services and slices are exported; empty for services only.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub endpoint_slices_export_mode: String,
}
