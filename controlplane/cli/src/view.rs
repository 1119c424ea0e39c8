//! The cluster's state at one revision, typed.

use std::collections::BTreeMap;

use ipnet::IpNet;
use skein_store_client::{ClientError, KeyRange, Session};
use skein_store_schema::kinds::{
    agent_status::{AgentStatus, AgentStatusKey},
    block::BlockKey,
    election::ElectionKey,
    endpoint_report::EndpointReportKey,
    identity::IdentityKey,
    ip::IpKey,
    node::NodeKey,
    node_report::{AGENTS_PREFIX, NodeReportKey},
    pod::PodKey,
    pool::PoolKey,
    service::{ServiceKey, ServiceType},
    slice::{Slice, SliceKey},
};
use skein_store_schema::{IdentityId, NodeName, StoreKey};
use skein_store_table::{Snapshot, SyncEvent, Table};

/// Everything that listings are made from. Tables of kinds that were not read are empty.
#[derive(Default)]
pub(crate) struct View {
    pub(crate) revision: i64,
    pub(crate) cluster_id: u64,
    pub(crate) nodes: Table<NodeKey>,
    pub(crate) ips: Table<IpKey>,
    pub(crate) identities: Table<IdentityKey>,
    pub(crate) services: Table<ServiceKey>,
    pub(crate) slices: Table<SliceKey>,
    pub(crate) pods: Table<PodKey>,
    pub(crate) pools: Table<PoolKey>,
    pub(crate) blocks: Table<BlockKey>,
    pub(crate) reports: Table<NodeReportKey>,
    pub(crate) endpoints: Table<EndpointReportKey>,
    pub(crate) statuses: Table<AgentStatusKey>,
    pub(crate) candidates: Table<ElectionKey>,
}

/// The ranges that a whole view is made from.
pub(crate) fn all_ranges() -> Vec<KeyRange> {
    vec![
        NodeKey::range(),
        IpKey::range(),
        IdentityKey::range(),
        ServiceKey::range(),
        SliceKey::range(),
        PodKey::range(),
        PoolKey::range(),
        BlockKey::range(),
        KeyRange::prefix(AGENTS_PREFIX),
        ElectionKey::range(),
    ]
}

/// Backends of a service, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Backends {
    pub(crate) ready: usize,
    pub(crate) all: usize,
}

impl View {
    /// Reads some ranges at one revision.
    pub(crate) async fn read(session: &Session, ranges: &[KeyRange]) -> Result<Self, ClientError> {
        Ok(Self::of(session.ranges(ranges).await?))
    }

    pub(crate) fn of(snapshot: Snapshot) -> Self {
        let (revision, cluster_id) = (snapshot.revision, snapshot.cluster_id);
        let mut view = Self { revision, cluster_id, ..Self::default() };
        let begin = SyncEvent::Begin(snapshot);
        view.nodes.apply(&begin);
        view.ips.apply(&begin);
        view.identities.apply(&begin);
        view.services.apply(&begin);
        view.slices.apply(&begin);
        view.pods.apply(&begin);
        view.pools.apply(&begin);
        view.blocks.apply(&begin);
        view.reports.apply(&begin);
        view.endpoints.apply(&begin);
        view.statuses.apply(&begin);
        view.candidates.apply(&begin);
        view
    }

    /// What does not decode, in the words of the schema.
    pub(crate) fn rejected(&self) -> Vec<String> {
        let mut texts = Vec::new();
        macro_rules! collect {
            ($($table:ident),+) => {
                $(texts.extend(self.$table.rejected().values().map(ToString::to_string));)+
            };
        }
        collect!(
            nodes, ips, identities, services, slices, pods, pools, blocks, reports, endpoints,
            statuses, candidates
        );
        // Three kinds share the agents' folder: a key that none of them can read is told once.
        texts.sort();
        texts.dedup();
        texts
    }

    /// Backends by service.
    pub(crate) fn backends(&self) -> BTreeMap<ServiceKey, Backends> {
        let mut counts = BTreeMap::<ServiceKey, Backends>::new();
        for (key, slice) in self.slices.iter() {
            let service = service_of(key, slice);
            let count = counts.entry(service).or_default();
            count.all += slice.endpoints.len();
            count.ready += slice.endpoints.iter().filter(|endpoint| endpoint.ready).count();
        }
        counts
    }

    /// The status of a node's agent, if it is alive.
    pub(crate) fn status(&self, node: &NodeName) -> Option<&AgentStatus> {
        self.statuses.get(&AgentStatusKey { node: node.clone() }).map(AsRef::as_ref)
    }

    /// How many addresses of a block are given to pods, and how many could be.
    pub(crate) fn block_usage(&self, node: &NodeName, cidr: &IpNet) -> (u64, u64) {
        let used = self.endpoints.iter().filter(|(key, _)| cidr.contains(&key.ip)).count() as u64;
        let told = self.status(node).map(|status| status.addresses_total);
        (used, told.filter(|total| *total > 0).unwrap_or_else(|| usable(cidr)))
    }

    /// An identity in words: reserved name or labels without their source.
    pub(crate) fn identity_words(&self, id: IdentityId) -> String {
        if let Some(name) = id.reserved_name() {
            return format!("reserved:{name}");
        }
        match self.identities.get(&IdentityKey { id }) {
            Some(labels) => labels.to_string().trim_end_matches(';').replace(';', " "),
            None => String::new(),
        }
    }
}

/// The service that a slice belongs to.
pub(crate) fn service_of(key: &SliceKey, slice: &Slice) -> ServiceKey {
    ServiceKey { namespace: key.namespace.clone(), name: slice.service.clone() }
}

/// Addresses of a block that pods can get: network, broadcast, router and health addresses are taken.
fn usable(cidr: &IpNet) -> u64 {
    const RESERVED: u64 = 4;
    let bits = u32::from(cidr.max_prefix_len() - cidr.prefix_len());
    1_u64.checked_shl(bits).unwrap_or(u64::MAX).saturating_sub(RESERVED)
}

/// The type of a service as Kubernetes writes it.
pub(crate) fn type_name(kind: ServiceType, headless: bool) -> &'static str {
    match kind {
        ServiceType::ClusterIp if headless => "Headless",
        ServiceType::ClusterIp => "ClusterIP",
        ServiceType::NodePort => "NodePort",
        ServiceType::LoadBalancer => "LoadBalancer",
    }
}
