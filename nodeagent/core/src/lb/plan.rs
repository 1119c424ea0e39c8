//! From the difference to stages.

use std::collections::{BTreeMap, BTreeSet};

use super::arrange::arrange;
use super::{Balancer, DesiredList, ListName};
use crate::types::{Backend, Frontend, FrontendValue, ObjectName, Slot};

/// Changes of the service maps, to be carried out stage after stage; inside a stage the order is free.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Stage 1.
    pub write_backends: Vec<(u32, Backend)>,
    /// Stage 2.
    pub write_slots: Vec<(Slot, u32)>,
    /// Stage 3.
    pub write_frontends: Vec<(Frontend, FrontendValue)>,
    /// Stage 4.
    pub delete_frontends: Vec<Frontend>,
    /// Stage 5.
    pub delete_slots: Vec<Slot>,
    /// Stage 6.
    pub delete_backends: Vec<u32>,
    /// The services this plan settles.
    pub services: BTreeSet<ObjectName>,
    /// Whether deletions were left out.
    pub held_back: bool,
}

/// The stages in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    WriteBackends,
    WriteSlots,
    WriteFrontends,
    DeleteFrontends,
    DeleteSlots,
    DeleteBackends,
}

impl Stage {
    /// All, in the order in which they must be carried out.
    pub const ALL: [Stage; 6] = [
        Stage::WriteBackends,
        Stage::WriteSlots,
        Stage::WriteFrontends,
        Stage::DeleteFrontends,
        Stage::DeleteSlots,
        Stage::DeleteBackends,
    ];
}

impl Plan {
    /// Number of map operations.
    pub fn operations(&self) -> usize {
        self.write_backends.len()
            + self.write_slots.len()
            + self.write_frontends.len()
            + self.delete_frontends.len()
            + self.delete_slots.len()
            + self.delete_backends.len()
    }

    /// Whether the maps are as wanted.
    pub fn is_empty(&self) -> bool {
        self.operations() == 0
    }
}

impl Balancer {
    /// A plan for every pending service. While the view that the wants come from is not `complete`
    /// (an old checkpoint, with the store away), only services that the maps do not know at all are
    /// added: what the maps hold of the others may be newer. Those stay pending.
    pub fn plan(&mut self, complete: bool) -> Plan {
        let names = self.dirty.clone();
        self.plan_for(names, complete)
    }

    /// A plan for one service: used when a plan for all failed, so that one service which does not
    /// fit does not hold up the others.
    pub fn plan_one(&mut self, name: &ObjectName, complete: bool) -> Plan {
        self.plan_for(BTreeSet::from([name.clone()]), complete)
    }

    /// Deletes what the kernel holds and no service wants: leftovers of an earlier run. Only to be
    /// called when the view of the store is complete and nothing is pending.
    pub fn plan_sweep(&self) -> Plan {
        let mut plan = Plan::default();
        let stale = self.actual.frontends().keys().filter(|key| !self.claims.contains_key(key));
        plan.delete_frontends = stale.copied().collect();
        plan.delete_slots = self
            .actual
            .slots()
            .keys()
            .filter(|s| !self.listed.contains(&s.service))
            .copied()
            .collect();
        self.plan_backend_deletes(&mut plan, self.actual.backends().keys().copied().collect());
        plan
    }

    /// Records that the kernel carried out the whole plan.
    pub fn commit(&mut self, plan: &Plan) {
        plan.write_backends.iter().for_each(|(id, backend)| self.actual.set_backend(*id, *backend));
        plan.write_slots.iter().for_each(|(slot, backend)| self.actual.set_slot(*slot, *backend));
        plan.write_frontends.iter().for_each(|(key, value)| self.actual.set_frontend(*key, *value));
        plan.delete_frontends.iter().for_each(|key| self.actual.remove_frontend(key));
        plan.delete_slots.iter().for_each(|slot| self.actual.remove_slot(slot));
        for id in &plan.delete_backends {
            if let Some(backend) = self.actual.backends().get(id)
                && self.backend_ids.get(backend) == Some(id)
            {
                self.backend_ids.remove(backend);
            }
            self.actual.remove_backend(*id);
            self.backend_pool.release(*id);
        }
        if plan.held_back {
            return;
        }
        for name in &plan.services {
            self.dirty.remove(name);
            self.forget_lists(name);
        }
        self.withdrawn.retain(|_, owner| !plan.services.contains(owner));
    }

    fn plan_for(&mut self, names: BTreeSet<ObjectName>, complete: bool) -> Plan {
        let mut plan = Plan::default();
        let mut written = BTreeMap::new();
        let mut unreferenced = BTreeSet::new();
        for (frontend, owner) in &self.withdrawn {
            if names.contains(owner) && self.actual.frontends().contains_key(frontend) {
                plan.delete_frontends.push(*frontend);
            }
        }
        for name in &names {
            if complete || !self.is_known_to_maps(name) {
                self.plan_service(name, &mut plan, &mut written, &mut unreferenced);
            } else {
                plan.held_back = true;
            }
        }
        plan.services = names;
        self.hold_counted_slots(&mut plan);
        self.plan_backend_deletes(&mut plan, unreferenced);
        if !complete {
            plan.held_back |= !plan.delete_frontends.is_empty()
                || !plan.delete_slots.is_empty()
                || !plan.delete_backends.is_empty();
            plan.delete_frontends.clear();
            plan.delete_slots.clear();
            plan.delete_backends.clear();
        }
        plan
    }

    fn is_known_to_maps(&self, name: &ObjectName) -> bool {
        let lists = self.desired.get(name).into_iter().flat_map(|service| service.lists.values());
        let mut frontends = lists.flat_map(|list| &list.frontends);
        frontends.any(|key| self.actual.frontends().contains_key(key))
    }

    fn plan_service(
        &mut self,
        name: &ObjectName,
        plan: &mut Plan,
        written: &mut BTreeMap<u32, Backend>,
        unreferenced: &mut BTreeSet<u32>,
    ) {
        let service = self.desired.get(name).cloned().unwrap_or_default();
        for addr in &service.vips {
            let value = FrontendValue { service: 0, count: 0 };
            self.plan_frontend(name, Frontend::wildcard(*addr), value, plan);
        }
        for (list_name, list) in &service.lists {
            let id = self.list_id(name, *list_name, list);
            self.plan_list(name, id, list, plan, written, unreferenced);
        }
        self.plan_withdrawals(name, &service.lists, plan, unreferenced);
    }

    fn plan_frontend(
        &self,
        name: &ObjectName,
        key: Frontend,
        value: FrontendValue,
        plan: &mut Plan,
    ) {
        if self.owner(&key) == Some(name) && self.actual.frontends().get(&key) != Some(&value) {
            plan.write_frontends.push((key, value));
        }
    }

    fn plan_list(
        &mut self,
        name: &ObjectName,
        id: u32,
        list: &DesiredList,
        plan: &mut Plan,
        written: &mut BTreeMap<u32, Backend>,
        unreferenced: &mut BTreeSet<u32>,
    ) {
        let mut want = BTreeSet::new();
        for backend in &list.backends {
            let id = self.backend_id(*backend);
            want.insert(id);
            if !self.actual.backends().contains_key(&id) && written.insert(id, *backend).is_none() {
                plan.write_backends.push((id, *backend));
            }
        }
        let old: BTreeMap<u32, u32> = self.actual.list(id).collect();
        let in_order: Vec<u32> = (0..).map_while(|index| old.get(&index).copied()).collect();
        let slots = arrange(&in_order, &want);
        for (index, backend) in (0u32..).zip(&slots) {
            if old.get(&index) != Some(backend) {
                plan.write_slots.push((Slot { service: id, index }, *backend));
                unreferenced.extend(old.get(&index));
            }
        }
        let value = FrontendValue { service: id, count: slots.len() as u32 };
        for frontend in &list.frontends {
            self.plan_frontend(name, *frontend, value, plan);
        }
        for (index, backend) in old.range(slots.len() as u32..) {
            plan.delete_slots.push(Slot { service: id, index: *index });
            unreferenced.insert(*backend);
        }
    }

    /// Lists that the service had and no longer has.
    fn plan_withdrawals(
        &self,
        name: &ObjectName,
        wanted: &BTreeMap<ListName, DesiredList>,
        plan: &mut Plan,
        unreferenced: &mut BTreeSet<u32>,
    ) {
        let known = self.list_ids.get(name).into_iter().flatten();
        for (_, id) in known.filter(|(list, _)| !wanted.contains_key(list)) {
            for (index, backend) in self.actual.list(*id) {
                plan.delete_slots.push(Slot { service: *id, index });
                unreferenced.insert(backend);
            }
        }
    }

    /// Keeps slots that a frontend outside this plan still counts: it was taken over by a service
    /// that is planned later.
    fn hold_counted_slots(&self, plan: &mut Plan) {
        let written: BTreeMap<Frontend, FrontendValue> =
            plan.write_frontends.iter().copied().collect();
        let deleted: BTreeSet<Frontend> = plan.delete_frontends.iter().copied().collect();
        let mut counts: BTreeMap<u32, u32> = BTreeMap::new();
        for id in plan.delete_slots.iter().map(|slot| slot.service).collect::<BTreeSet<_>>() {
            let readers = self.actual.frontends_of(id).filter(|key| !deleted.contains(key));
            let count = readers.filter_map(|key| {
                let value = written.get(key).or_else(|| self.actual.frontends().get(key))?;
                (value.service == id).then_some(value.count)
            });
            counts.insert(id, count.max().unwrap_or(0));
        }
        let before = plan.delete_slots.len();
        plan.delete_slots.retain(|slot| slot.index >= counts[&slot.service]);
        plan.held_back |= plan.delete_slots.len() < before;
    }

    /// Of the backends that lost a slot, those that no slot refers to once the plan is done.
    fn plan_backend_deletes(&self, plan: &mut Plan, candidates: BTreeSet<u32>) {
        let mut after: BTreeMap<u32, i64> = BTreeMap::new();
        for (slot, backend) in &plan.write_slots {
            *after.entry(*backend).or_default() += 1;
            if let Some(old) = self.actual.slots().get(slot) {
                *after.entry(*old).or_default() -= 1;
            }
        }
        for slot in &plan.delete_slots {
            if let Some(old) = self.actual.slots().get(slot) {
                *after.entry(*old).or_default() -= 1;
            }
        }
        for id in candidates {
            let change = after.get(&id).copied().unwrap_or(0);
            if i64::from(self.actual.references(id)) + change <= 0 {
                plan.delete_backends.push(id);
            }
        }
    }

    /// The id of a list: the one it has, else the one its frontends have in the kernel, else fresh.
    fn list_id(&mut self, name: &ObjectName, list_name: ListName, list: &DesiredList) -> u32 {
        if let Some(id) = self.list_ids.get(name).and_then(|lists| lists.get(&list_name)) {
            return *id;
        }
        let found = list
            .frontends
            .iter()
            .filter(|key| self.owner(key) == Some(name))
            .filter_map(|key| self.actual.frontends().get(key))
            .map(|value| value.service)
            .find(|id| *id != 0 && !self.listed.contains(id));
        let id = found.unwrap_or_else(|| self.service_pool.allocate());
        self.listed.insert(id);
        self.list_ids.entry(name.clone()).or_default().insert(list_name, id);
        id
    }

    fn backend_id(&mut self, backend: Backend) -> u32 {
        *self.backend_ids.entry(backend).or_insert_with(|| self.backend_pool.allocate())
    }

    fn forget_lists(&mut self, name: &ObjectName) {
        let wanted = self.desired.get(name).map(|service| &service.lists);
        let Some(lists) = self.list_ids.get_mut(name) else { return };
        let gone = |list: &ListName| !wanted.is_some_and(|wanted| wanted.contains_key(list));
        for (_, id) in lists.extract_if(.., |list, _| gone(list)) {
            self.listed.remove(&id);
            self.service_pool.release(id);
        }
        if lists.is_empty() {
            self.list_ids.remove(name);
        }
    }
}
