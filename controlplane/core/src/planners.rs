//! The planners, one for each kind of key, and the order in which they build on each other.
//!
//! ```text
//!  settings ──────────────> meta (cluster config, pool, heartbeat)
//!  Node ──> ipam (blocks) ─┐
//!  Pod, Namespace ──> identity ──> pod ──┐
//!  Node, node report ──────┴──> node ────┼──> ip <── endpoint reports
//!  Service ──> service ──> mesh <── slice <── EndpointSlice
//! ```

mod follow;
mod identity;
mod ip;
mod ipam;
mod memo;
mod mesh;
mod meta;
mod node;
mod pod;
mod service;
mod slice;

use std::sync::Arc;

use memo::{Memo, Seen};
use skein_store_schema::StoreKey;

use crate::config::{Config, Seconds};
use crate::object::ObjectRef;
use crate::plan::{Plan, Unused};
use crate::source::Snapshot;
use crate::table::StoreTable;
use crate::tables::Tables;

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
    Planner::default().plan(inputs)
}

/// Plans again and again. What it remembers is how far the last planning still holds: its plans
/// are those of [`plan`], and cost as much as has changed.
#[derive(Debug, Default)]
pub struct Planner {
    config: Option<Config>,
    services: service::Services,
    slices: slice::Slices,
    mesh: Memo<()>,
    workloads: pod::Workloads,
    nodes: Memo<node::Nodes>,
    ips: ip::Ips,
}

impl Planner {
    /// The same as [`plan`].
    pub fn plan(&mut self, inputs: &Inputs) -> Plan {
        if self.config.as_ref() != Some(&inputs.config) {
            *self = Planner { config: Some(inputs.config.clone()), ..Planner::default() };
        }
        let seen = Arc::new(Seen::of(inputs));
        let mut plan = Plan::default();
        meta::plan(inputs, &mut plan);
        let blocks = ipam::plan(inputs, &mut plan);
        let changed = self.workloads.plan(inputs, &mut plan);
        self.workloads.collect(inputs, &mut plan);
        self.services.plan(inputs, &mut plan);
        self.slices.plan(inputs, &mut plan);
        let shared = self.services.shared();
        self.mesh.get(&seen, Seen::mesh, &mut plan, |plan| mesh::plan(inputs, shared, plan));
        let nodes =
            self.nodes.get(&seen, Seen::nodes, &mut plan, |plan| node::plan(inputs, &blocks, plan));
        self.ips.plan(inputs, &nodes, &self.workloads, &changed, &mut plan);
        unreadable(inputs, &mut plan);
        plan.waiting.sort();
        plan.problems.sort();
        plan
    }
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
