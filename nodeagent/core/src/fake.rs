//! A kernel in memory: the service maps, written one operation at a time, and what a packet that
//! walks them would meet.

use crate::lb::{Plan, Stage, Tables};
use crate::types::{Backend, Frontend, FrontendValue, Slot};

/// One operation of a plan on one map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    WriteBackend(u32, Backend),
    WriteSlot(Slot, u32),
    WriteFrontend(Frontend, FrontendValue),
    DeleteFrontend(Frontend),
    DeleteSlot(Slot),
    DeleteBackend(u32),
}

/// What a packet to a frontend meets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Walk {
    /// No such frontend.
    NotAService,
    /// A frontend with count 0 (or the wildcard).
    Refused,
    /// One of these.
    Backends(Vec<Backend>),
    /// A count without its slot, or a slot without its backend.
    Hole { slot: Slot },
}

/// The operations of a plan in an order in which the agent may carry them out.
pub fn operations(plan: &Plan) -> Vec<Operation> {
    Stage::ALL.iter().flat_map(|stage| stage_operations(plan, *stage)).collect()
}

/// The operations of one stage.
pub fn stage_operations(plan: &Plan, stage: Stage) -> Vec<Operation> {
    match stage {
        Stage::WriteBackends => {
            plan.write_backends.iter().map(|(id, b)| Operation::WriteBackend(*id, *b)).collect()
        }
        Stage::WriteSlots => {
            plan.write_slots.iter().map(|(slot, b)| Operation::WriteSlot(*slot, *b)).collect()
        }
        Stage::WriteFrontends => {
            plan.write_frontends.iter().map(|(k, v)| Operation::WriteFrontend(*k, *v)).collect()
        }
        Stage::DeleteFrontends => {
            plan.delete_frontends.iter().map(|key| Operation::DeleteFrontend(*key)).collect()
        }
        Stage::DeleteSlots => {
            plan.delete_slots.iter().map(|slot| Operation::DeleteSlot(*slot)).collect()
        }
        Stage::DeleteBackends => {
            plan.delete_backends.iter().map(|id| Operation::DeleteBackend(*id)).collect()
        }
    }
}

/// The fake.
#[derive(Clone, Debug, Default)]
pub struct FakeKernel {
    /// What it holds.
    pub tables: Tables,
}

impl FakeKernel {
    /// Carries out one operation.
    pub fn apply(&mut self, operation: Operation) {
        match operation {
            Operation::WriteBackend(id, backend) => self.tables.set_backend(id, backend),
            Operation::WriteSlot(slot, backend) => self.tables.set_slot(slot, backend),
            Operation::WriteFrontend(key, value) => self.tables.set_frontend(key, value),
            Operation::DeleteFrontend(key) => self.tables.remove_frontend(&key),
            Operation::DeleteSlot(slot) => self.tables.remove_slot(&slot),
            Operation::DeleteBackend(id) => self.tables.remove_backend(id),
        }
    }

    /// What a packet to `frontend` meets, over every choice it may make.
    pub fn walk(&self, frontend: &Frontend) -> Walk {
        let Some(value) = self.tables.frontends().get(frontend) else { return Walk::NotAService };
        if value.count == 0 {
            return Walk::Refused;
        }
        let mut found = Vec::new();
        for index in 0..value.count {
            let slot = Slot { service: value.service, index };
            let backend =
                self.tables.slots().get(&slot).and_then(|id| self.tables.backends().get(id));
            match backend {
                Some(backend) => found.push(*backend),
                None => return Walk::Hole { slot },
            }
        }
        found.sort_unstable();
        Walk::Backends(found)
    }

    /// The first hole any packet could meet now.
    pub fn first_hole(&self) -> Option<Slot> {
        self.tables.frontends().keys().find_map(|key| match self.walk(key) {
            Walk::Hole { slot } => Some(slot),
            _ => None,
        })
    }
}
