//! What the store holds of every kind that planners read.

use skein_store_schema::kinds::agent_status::AgentStatusKey;
use skein_store_schema::kinds::block::BlockKey;
use skein_store_schema::kinds::cluster_config::ClusterConfigKey;
use skein_store_schema::kinds::cluster_service::ClusterServiceKey;
use skein_store_schema::kinds::endpoint_report::EndpointReportKey;
use skein_store_schema::kinds::heartbeat::HeartbeatKey;
use skein_store_schema::kinds::identity::IdentityKey;
use skein_store_schema::kinds::ip::IpKey;
use skein_store_schema::kinds::node::NodeKey;
use skein_store_schema::kinds::node_report::{AGENTS_PREFIX, NodeReportKey};
use skein_store_schema::kinds::pod::PodKey;
use skein_store_schema::kinds::pool::PoolKey;
use skein_store_schema::kinds::service::ServiceKey;
use skein_store_schema::kinds::slice::SliceKey;
use skein_store_schema::{KeyRange, SchemaError, StoreKey};

use crate::table::StoreTable;

/// The tables of all kinds, all of them at one revision. Clones share their contents.
#[derive(Clone, Debug, Default)]
pub struct Tables {
    pub cluster_configs: StoreTable<ClusterConfigKey>,
    pub heartbeats: StoreTable<HeartbeatKey>,
    pub pools: StoreTable<PoolKey>,
    pub blocks: StoreTable<BlockKey>,
    pub identities: StoreTable<IdentityKey>,
    pub pods: StoreTable<PodKey>,
    pub services: StoreTable<ServiceKey>,
    pub slices: StoreTable<SliceKey>,
    pub cluster_services: StoreTable<ClusterServiceKey>,
    pub nodes: StoreTable<NodeKey>,
    pub ips: StoreTable<IpKey>,
    pub node_reports: StoreTable<NodeReportKey>,
    pub endpoint_reports: StoreTable<EndpointReportKey>,
    pub agent_statuses: StoreTable<AgentStatusKey>,
}

/// One change of the store.
#[derive(Clone, Copy, Debug)]
pub enum Change<'a> {
    Put { value: &'a [u8], mod_revision: i64 },
    Delete,
}

fn apply<K: StoreKey>(
    table: &mut StoreTable<K>,
    key: &[u8],
    change: Change<'_>,
) -> Result<(), SchemaError> {
    match change {
        Change::Put { value, mod_revision } => table.put(key, value, mod_revision),
        Change::Delete => table.delete(key),
    }
}

impl Tables {
    /// The ranges that hold every key of these kinds; none overlaps another.
    pub fn ranges() -> Vec<KeyRange> {
        vec![
            ClusterConfigKey::range(),
            HeartbeatKey::range(),
            PoolKey::range(),
            BlockKey::range(),
            IdentityKey::range(),
            PodKey::range(),
            ServiceKey::range(),
            SliceKey::range(),
            ClusterServiceKey::range(),
            NodeKey::range(),
            IpKey::range(),
            KeyRange::prefix(AGENTS_PREFIX),
        ]
    }

    /// Takes one change of the store.
    ///
    /// # Errors
    /// The key lies in one of the ranges but is none of its kind: nothing of ours, left alone.
    pub fn apply(&mut self, key: &[u8], change: Change<'_>) -> Result<(), SchemaError> {
        let is = |range: KeyRange| range.contains(key);
        match () {
            () if is(IpKey::range()) => apply(&mut self.ips, key, change),
            () if is(PodKey::range()) => apply(&mut self.pods, key, change),
            () if is(ServiceKey::range()) => apply(&mut self.services, key, change),
            () if is(SliceKey::range()) => apply(&mut self.slices, key, change),
            () if is(IdentityKey::range()) => apply(&mut self.identities, key, change),
            () if is(NodeKey::range()) => apply(&mut self.nodes, key, change),
            () if is(BlockKey::range()) => apply(&mut self.blocks, key, change),
            () if is(PoolKey::range()) => apply(&mut self.pools, key, change),
            () if is(ClusterServiceKey::range()) => apply(&mut self.cluster_services, key, change),
            () if is(ClusterConfigKey::range()) => apply(&mut self.cluster_configs, key, change),
            () if is(HeartbeatKey::range()) => apply(&mut self.heartbeats, key, change),
            () => self.apply_report(key, change),
        }
    }

    fn apply_report(&mut self, key: &[u8], change: Change<'_>) -> Result<(), SchemaError> {
        if EndpointReportKey::decode(key).is_ok() {
            apply(&mut self.endpoint_reports, key, change)
        } else if AgentStatusKey::decode(key).is_ok() {
            apply(&mut self.agent_statuses, key, change)
        } else {
            apply(&mut self.node_reports, key, change)
        }
    }
}
