//! The service tables: which frontend leads to which backends, kept equal to the desired services by
//! staged plans.
//!
//! Three maps refer to each other: a frontend holds a count and the id of a list, the list's slots
//! `0..count` hold backend ids, a backend id leads to an address. Readers in the kernel walk them
//! without a lock, so a plan's stages are ordered such that no reader ever meets a count without its
//! slots or a slot without its backend:
//!
//! ```text
//! 1 write backends   2 write slots   3 write frontends        (things appear from the bottom up)
//! 4 delete frontends 5 delete slots  6 delete backends        (and vanish from the top down)
//! ```
//!
//! A backend that leaves is overwritten in its slot by one from the list's tail (stage 2), then the
//! count falls (3), then the tail slot goes (5), then the backend (6). A reader that took the old
//! count just before stage 3 finds the tail until stage 5 and retries once after it.
//!
//! Ids live as long as what they stand for, across restarts too: [`Balancer::load`] recovers them
//! from what the kernel holds.

use std::collections::{BTreeMap, BTreeSet};

use crate::few::Few;
use crate::ids::IdPool;
use crate::types::{Backend, Frontend, ObjectName, Proto, Scope};

mod arrange;
mod plan;
mod tables;
#[cfg(test)]
mod tests;

pub use plan::{Plan, Stage};
pub use tables::Tables;

/// What one service wants on this node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DesiredService {
    /// Its addresses, each of which gets a wildcard entry that refuses unknown ports.
    pub vips: BTreeSet<std::net::Ipv4Addr>,
    /// Its ports.
    pub lists: BTreeMap<ListName, DesiredList>,
}

/// Which backend list of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListName {
    /// Service port.
    pub port: u16,
    /// Protocol.
    pub proto: Proto,
    /// Scope.
    pub scope: Scope,
}

/// Frontends that share one set of backends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DesiredList {
    /// Addresses and ports that lead here.
    pub frontends: BTreeSet<Frontend>,
    /// Backends, possibly none: then the frontends refuse.
    pub backends: BTreeSet<Backend>,
}

/// The service tables of one node.
#[derive(Debug, Default)]
pub struct Balancer {
    /// Mirror of the kernel.
    actual: Tables,
    desired: BTreeMap<ObjectName, DesiredService>,
    /// Who wants a frontend. Two services with one address are a conflict that the control plane
    /// reports; here the first by name has it, whatever the order of arrival.
    claims: BTreeMap<Frontend, Few<ObjectName>>,
    /// Ids of lists, by owner.
    list_ids: BTreeMap<ObjectName, BTreeMap<ListName, u32>>,
    /// Ids of backends, by meaning.
    backend_ids: BTreeMap<Backend, u32>,
    service_pool: IdPool,
    backend_pool: IdPool,
    /// Ids of all lists.
    listed: BTreeSet<u32>,
    /// Frontends that nobody wants any more, by the service that had them.
    withdrawn: BTreeMap<Frontend, ObjectName>,
    dirty: BTreeSet<ObjectName>,
}

impl Balancer {
    /// Empty tables whose ids go on from high-water marks kept in a checkpoint (0: from 1).
    pub fn new(next_service_id: u32, next_backend_id: u32) -> Balancer {
        Balancer {
            service_pool: IdPool::starting_at(next_service_id),
            backend_pool: IdPool::starting_at(next_backend_id),
            ..Balancer::default()
        }
    }

    /// Takes over what the kernel holds: ids keep their meaning, every service is compared again.
    pub fn load(&mut self, actual: Tables) {
        self.actual = actual;
        self.backend_ids.clear();
        self.backend_pool = IdPool::starting_at(self.backend_pool.next());
        for (id, backend) in self.actual.backends() {
            self.backend_pool.claim(*id);
            self.backend_ids.entry(*backend).or_insert(*id);
        }
        self.service_pool = IdPool::starting_at(self.service_pool.next());
        for id in self.actual.list_ids().iter().chain(&self.listed) {
            self.service_pool.claim(*id);
        }
        let gone = self.withdrawn.values().chain(self.list_ids.keys());
        self.dirty.extend(self.desired.keys().chain(gone).cloned());
    }

    /// Wants a service to be so, or gone.
    pub fn want(&mut self, name: &ObjectName, service: Option<DesiredService>) {
        if self.desired.get(name) == service.as_ref() {
            return;
        }
        let old = match service {
            Some(service) => {
                for frontend in frontends_of(&service) {
                    self.claims.entry(frontend).or_default().insert(name.clone());
                    self.withdrawn.remove(&frontend);
                }
                self.desired.insert(name.clone(), service)
            }
            None => self.desired.remove(name),
        };
        let current: BTreeSet<Frontend> =
            self.desired.get(name).map(|s| frontends_of(s).collect()).unwrap_or_default();
        for frontend in old.iter().flat_map(frontends_of).filter(|f| !current.contains(f)) {
            self.withdraw_claim(frontend, name);
        }
        for frontend in &current {
            let others = self.claims.get(frontend).into_iter().flatten();
            self.dirty.extend(others.filter(|other| *other != name).cloned());
        }
        self.dirty.insert(name.clone());
    }

    /// Names of services whose tables may differ from what they want.
    pub fn pending(&self) -> &BTreeSet<ObjectName> {
        &self.dirty
    }

    /// The mirror of the kernel.
    pub fn actual(&self) -> &Tables {
        &self.actual
    }

    /// Number of services wanted.
    pub fn service_count(&self) -> usize {
        self.desired.len()
    }

    /// What services want, by name.
    pub fn desired(&self) -> &BTreeMap<ObjectName, DesiredService> {
        &self.desired
    }

    /// The service that has a frontend now.
    pub fn owner(&self, frontend: &Frontend) -> Option<&ObjectName> {
        self.claims.get(frontend).and_then(|claimants| claimants.first())
    }

    /// Where ids go on, for the checkpoint: (services, backends).
    pub fn next_ids(&self) -> (u32, u32) {
        (self.service_pool.next(), self.backend_pool.next())
    }

    fn withdraw_claim(&mut self, frontend: Frontend, name: &ObjectName) {
        if let Some(claimants) = self.claims.get_mut(&frontend) {
            claimants.remove(name);
            self.dirty.extend(claimants.iter().cloned());
            if claimants.is_empty() {
                self.claims.remove(&frontend);
                self.withdrawn.insert(frontend, name.clone());
            }
        }
    }
}

fn frontends_of(service: &DesiredService) -> impl Iterator<Item = Frontend> {
    let listed = service.lists.values().flat_map(|list| list.frontends.iter().copied());
    service.vips.iter().map(|addr| Frontend::wildcard(*addr)).chain(listed)
}
