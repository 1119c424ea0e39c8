//! The planners, one for each kind of key, and the order in which they build on each other.
//!
//! ```text
//!  settings ──────────────> meta (cluster config, pool, heartbeat)
//!  Node ──> ipam (blocks) ─┐
//!  Pod, Namespace ──> identity ──> pod ──┐
//!  Node, node report ──────┴──> node ────┼──> ip <── endpoint reports
//!  Service ──> service ──> mesh <── slice <── EndpointSlice
//! ```

mod identity;
mod ip;
mod ipam;
mod mesh;
mod meta;
mod node;
mod pod;
mod service;
mod slice;

use crate::config::{Config, Seconds};
use crate::object::ObjectRef;
use crate::plan::{Plan, Unused};
use crate::source::Snapshot;
use crate::table::StoreTable;
use crate::tables::Tables;
use skein_store_schema::StoreKey;

/// Everything that a plan depends on.
#[derive(Clone, Debug)]
pub struct Inputs {
    pub config: Config,
    /// Seconds since 1970 by the planner's clock.
    pub now: Seconds,
    pub sources: Snapshot,
    pub tables: Tables,
    /// [`Plan::unused`] of the planning before.
    pub unused: Unused,
}

/// Decides what is to be written now. Pure: equal inputs give equal plans.
pub fn plan(inputs: &Inputs) -> Plan {
    let mut plan = Plan::default();
    meta::plan(inputs, &mut plan);
    let blocks = ipam::plan(inputs, &mut plan);
    let wanted = identity::wanted(inputs);
    let identities = identity::plan(inputs, &wanted, &mut plan);
    let pods = pod::plan(inputs, &wanted, &identities, &mut plan);
    identity::collect(inputs, &pods, &identities, &mut plan);
    let services = service::plan(inputs, &mut plan);
    slice::plan(inputs, &mut plan);
    mesh::plan(inputs, &services, &mut plan);
    let nodes = node::plan(inputs, &blocks, &mut plan);
    ip::plan(inputs, &nodes, &pods, &mut plan);
    unreadable(inputs, &mut plan);
    plan.waiting.sort();
    plan.problems.sort();
    plan
}

impl Inputs {
    /// Whether the absence of an object from the sources means that it does not exist.
    fn is_gone(&self, name: &ObjectRef) -> bool {
        self.sources.complete
            && !self.sources.held.contains(name)
            && self.sources.objects.get(name).is_none()
    }
}

/// Keys with values that cannot be read are no secret.
fn unreadable(inputs: &Inputs, plan: &mut Plan) {
    fn list<K: StoreKey>(table: &StoreTable<K>, plan: &mut Plan) {
        for (key, why) in table.unreadable() {
            plan.problem(key, &why.reason);
        }
    }
    let tables = &inputs.tables;
    list(&tables.cluster_configs, plan);
    list(&tables.pools, plan);
    list(&tables.blocks, plan);
    list(&tables.identities, plan);
    list(&tables.pods, plan);
    list(&tables.services, plan);
    list(&tables.slices, plan);
    list(&tables.cluster_services, plan);
    list(&tables.nodes, plan);
    list(&tables.ips, plan);
    list(&tables.node_reports, plan);
    list(&tables.endpoint_reports, plan);
    list(&tables.agent_statuses, plan);
}
