//! `cilium/state/services/v1/<cluster>/<ns>/<name>`: a service that other clusters may use.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::cilium::{cilium_json_value, null_when_empty};
use crate::path::{self, key_order};
use crate::{
    ClusterName, Doc, KeyReason, Lifetime, Namespace, PortNumber, Protocol, ServiceName, StoreKey,
    ValueReason, Writer,
};

/// A service of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClusterServiceKey {
    /// The cluster that owns the service.
    pub cluster: ClusterName,
    /// Its namespace.
    pub namespace: Namespace,
    /// Its name.
    pub name: ServiceName,
}

key_order!(ClusterServiceKey, |k| [k.cluster.as_str(), k.namespace.as_str(), k.name.as_str()]);

impl StoreKey for ClusterServiceKey {
    type Value = ClusterService;
    const PREFIX: &'static str = "cilium/state/services/v1/";
    const DOC: Doc = Doc {
        kind: "Cluster service",
        layout: "cilium/state/services/v1/<cluster>/<namespace>/<name>",
        scope: "one service that is shared with other clusters",
        cardinality: "1,000",
        writer: Writer::ControlPlane,
        readers: "peers of a Cluster Mesh; agents of this cluster read `skein/state/services` instead",
        lifetime: Lifetime::Durable,
        value: "Cilium's ClusterService: frontends and backends by address, ports by name",
        absence: "the service does not exist or is not shared",
    };

    fn encode(&self) -> String {
        format!("{}{}/{}/{}", Self::PREFIX, self.cluster, self.namespace, self.name)
    }

    fn parse(text: &str) -> Result<Self, KeyReason> {
        let [cluster, namespace, name] = path::split(text, Self::PREFIX, Self::DOC.layout)?;
        Ok(Self { cluster: cluster.parse()?, namespace: namespace.parse()?, name: name.parse()? })
    }

    fn example() -> (Self, ClusterService) {
        let key = Self {
            cluster: ClusterName::new("default").expect("a label"),
            namespace: Namespace::new("shop").expect("a label"),
            name: ServiceName::new("cart").expect("a label"),
        };
        let port = |port| {
            let port = PortNumber::new(port).expect("not zero");
            BTreeMap::from([("http".to_owned(), PortSpec { protocol: Protocol::Tcp, port })])
        };
        let value = ClusterService {
            cluster: key.cluster.clone(),
            namespace: key.namespace.clone(),
            name: key.name.clone(),
            frontends: BTreeMap::from([(IpAddr::from([10, 96, 0, 20]), port(80))]),
            backends: BTreeMap::from([(IpAddr::from([10, 1, 0, 37]), port(8080))]),
            hostnames: BTreeMap::new(),
            zones: BTreeMap::new(),
            labels: BTreeMap::new(),
            selector: BTreeMap::from([("app".to_owned(), "cart".to_owned())]),
            include_external: true,
            shared: true,
            cluster_id: 0,
        };
        (key, value)
    }

    fn agrees(&self, value: &ClusterService) -> Result<(), ValueReason> {
        let same = [
            ("cluster", value.cluster == self.cluster),
            ("namespace", value.namespace == self.namespace),
            ("name", value.name == self.name),
        ];
        match same.iter().find(|(_, same)| !same) {
            None => Ok(()),
            Some((field, _)) => Err(ValueReason::field(*field, "differs from the key")),
        }
    }
}

/// A port; inner names are capitalised in Cilium's format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PortSpec {
    /// The protocol.
    pub protocol: Protocol,
    /// The port.
    pub port: PortNumber,
}

/// Ports by name, the empty name for the only port without one.
pub type PortSpecs = BTreeMap<String, PortSpec>;

/// A zone that traffic should be kept to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZoneHint {
    /// The zone's name.
    pub name: String,
}

/// Where a backend is and which zones it should serve.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendZone {
    /// The zone of the backend.
    #[serde(default)]
    pub zone: String,
    /// The zones that it should serve.
    #[serde(default, with = "null_when_empty")]
    pub for_zones: Vec<ZoneHint>,
}

/// Cilium's shared service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterService {
    /// Equal to the key's.
    pub cluster: ClusterName,
    /// Equal to the key's.
    pub namespace: Namespace,
    /// Equal to the key's.
    pub name: ServiceName,
    /// Addresses at which the service is reached; empty for a headless one.
    #[serde(default, deserialize_with = "null_when_empty::deserialize")]
    pub frontends: BTreeMap<IpAddr, PortSpecs>,
    /// Backends that take traffic; those that are neither ready nor serving are left out.
    #[serde(default, deserialize_with = "null_when_empty::deserialize")]
    pub backends: BTreeMap<IpAddr, PortSpecs>,
    /// Host names of backends of headless services.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub hostnames: BTreeMap<IpAddr, String>,
    /// Zones of backends.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub zones: BTreeMap<IpAddr, BackendZone>,
    /// Labels of the Service object.
    #[serde(default, with = "null_when_empty")]
    pub labels: BTreeMap<String, String>,
    /// The selector of the Service object.
    #[serde(default, with = "null_when_empty")]
    pub selector: BTreeMap<String, String>,
    /// Always true in what we write.
    #[serde(default)]
    pub include_external: bool,
    /// Always true in what we write: a service that is not shared has no key.
    #[serde(default)]
    pub shared: bool,
    /// The number of the cluster.
    #[serde(rename = "clusterID", default)]
    pub cluster_id: u32,
}

cilium_json_value!(ClusterService);
