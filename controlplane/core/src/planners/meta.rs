//! Keys that describe the cluster as a whole.

use ipnet::IpNet;
use skein_store_schema::StoreKey;
use skein_store_schema::kinds::cluster_config::{Capabilities, ClusterConfig, ClusterConfigKey};
use skein_store_schema::kinds::heartbeat::{Heartbeat, HeartbeatKey};
use skein_store_schema::kinds::pool::{Pool, PoolKey};

use super::Inputs;
use crate::config::Seconds;
use crate::plan::{Op, Plan, Reason, Write};

/// Seconds between signs of life; Cilium's readers take twice that for silence.
pub(super) const HEARTBEAT_EVERY: Seconds = 60;

/// How the bits of identities are divided: 8 for the cluster, 16 for the identity.
const MAX_CONNECTED_CLUSTERS: u32 = 255;

pub(super) fn plan(inputs: &Inputs, plan: &mut Plan) {
    let config = &inputs.config;
    let key = ClusterConfigKey { cluster: config.cluster.clone() };
    let capabilities =
        Capabilities { max_connected_clusters: MAX_CONNECTED_CLUSTERS, ..Capabilities::default() };
    let value = ClusterConfig { id: u32::from(config.cluster_id.get()), capabilities };
    plan.want(&inputs.tables.cluster_configs, &key, &value);

    let key = PoolKey { pool: config.pool.clone() };
    let cidrs = config.pool_cidrs.iter().map(|c| IpNet::V4(c.trunc())).collect();
    let value = Pool { cidrs, mask_size: config.block_mask };
    plan.want(&inputs.tables.pools, &key, &value);
    heartbeat(inputs, plan);
}

/// The text of a heartbeat sorts as its time does: it is due when it is not above the one that
/// would have been written a period ago. One from the future (a clock was set back) is due too.
fn heartbeat(inputs: &Inputs, plan: &mut Plan) {
    let last = inputs.tables.heartbeats.value(&HeartbeatKey);
    let now = Heartbeat::at(inputs.now);
    let due_before = Heartbeat::at(inputs.now.saturating_sub(HEARTBEAT_EVERY));
    if last.is_none_or(|last| *last <= due_before || *last > now) {
        plan.puts.push(Write {
            key: HeartbeatKey.encode(),
            op: Op::Put(skein_store_schema::StoreValue::encode(&now)),
            expect: inputs.tables.heartbeats.mod_revision(&HeartbeatKey),
            reason: Reason::Heartbeat,
        });
    }
    plan.wake(inputs.now + HEARTBEAT_EVERY);
}
