//! Numbers for sets of labels.
//!
//! One set of labels has one number. The leader is the only writer and works from a complete copy
//! of the identities, so a set that is not there has no number; the number is created by a
//! transaction that requires it to be absent. A number that no pod has used for the grace period
//! is freed: agents may still carry it in tunnels and tables for a while.

use std::collections::{BTreeMap, BTreeSet};

use skein_store_schema::kinds::identity::IdentityKey;
use skein_store_schema::{IdentityId, LabelSet, StoreKey};

use super::Inputs;
use crate::object::{Kind, Object, ObjectRef, PodObject};
use crate::plan::{Plan, Reason};
use crate::table::StoreTable;

/// Numbers by labels, followed from one planning to the next.
#[derive(Debug, Default)]
pub(super) struct Identities {
    seen: StoreTable<IdentityKey>,
    /// Of this cluster, in the store. Where several have the same labels, the first one counts.
    stored: BTreeMap<LabelSet, BTreeSet<IdentityId>>,
    /// Every number that the store has a key for, readable or not.
    taken: BTreeSet<IdentityId>,
    /// By this plan, and the same the other way.
    given: BTreeMap<LabelSet, IdentityId>,
    given_ids: BTreeSet<IdentityId>,
}

/// The label that the API server gives to every namespace.
const NAMESPACE_NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// Pods that share their node's network are the node.
pub(super) fn needs_identity(pod: &PodObject) -> bool {
    !pod.host_network && !pod.finished && pod.node.is_some()
}

/// A namespace without a manifest has the one label that every namespace has.
pub(super) fn namespace_labels(inputs: &Inputs, name: &str) -> BTreeMap<String, String> {
    let object = inputs.sources.objects.get(&ObjectRef::new(Kind::Namespace, "", name));
    let mut labels = match object.map(|o| &**o) {
        Some(Object::Namespace(namespace)) => namespace.labels.clone(),
        _ => BTreeMap::new(),
    };
    labels.insert(NAMESPACE_NAME_LABEL.to_owned(), name.to_owned());
    // Labels that cannot be stored would leave the pods of the whole namespace without identity.
    labels.retain(|key, value| !key.contains([';', '=']) && !value.contains(';'));
    labels
}

impl Identities {
    /// Takes what changed in the store, and tells the labels that it concerns. What the planning
    /// before has given counts no longer: it is in the store by now, or was not written.
    pub(super) fn follow(&mut self, inputs: &Inputs) -> BTreeSet<LabelSet> {
        let mut concerned = BTreeSet::new();
        let (stored, taken) = (&mut self.stored, &mut self.taken);
        let table = &inputs.tables.identities;
        let ours = |id: IdentityId| id.cluster() == inputs.config.cluster_id && !id.is_reserved();
        table.changes(&self.seen, |key, before, after| {
            if table.get(key).is_some() || table.is_unreadable(key) {
                taken.insert(key.id);
            } else {
                taken.remove(&key.id);
            }
            if !ours(key.id) {
                return;
            }
            if let Some(labels) = before {
                let numbers = stored.entry(labels.clone()).or_default();
                numbers.remove(&key.id);
                if numbers.is_empty() {
                    stored.remove(labels);
                }
            }
            if let Some(labels) = after {
                stored.entry(labels.clone()).or_default().insert(key.id);
            }
            concerned.extend([before, after].into_iter().flatten().cloned());
        });
        self.seen = table.clone();
        self.given.clear();
        self.given_ids.clear();
        concerned
    }

    /// The number of these labels: in the store, or given by this plan.
    pub(super) fn get(&self, labels: &LabelSet) -> Option<IdentityId> {
        let stored = self.stored.get(labels).and_then(BTreeSet::first);
        stored.or_else(|| self.given.get(labels)).copied()
    }

    /// The same; gives one to labels that have none.
    pub(super) fn number(
        &mut self,
        inputs: &Inputs,
        pod: &ObjectRef,
        labels: &LabelSet,
        plan: &mut Plan,
    ) -> Option<IdentityId> {
        if let Some(id) = self.get(labels) {
            return Some(id);
        }
        let Some(id) = self.free_id(inputs, labels) else {
            plan.wait(pod, "an identity: all numbers of the cluster are in use");
            return None;
        };
        plan.claim(&IdentityKey { id }, labels, Reason::AllocateIdentity);
        self.given.insert(labels.clone(), id);
        self.given_ids.insert(id);
        Some(id)
    }

    /// A free number, searched from a place that depends on the labels: the same labels get the
    /// same number again in most cases, and a number just freed is seldom given to other labels at
    /// once.
    fn free_id(&self, inputs: &Inputs, labels: &LabelSet) -> Option<IdentityId> {
        let count = u64::from(IdentityId::LOCAL_MAX - IdentityId::LOCAL_MIN) + 1;
        let all = (self.taken.len() + self.given_ids.len()) as u64;
        if all >= count + u64::from(IdentityId::LOCAL_MIN) {
            return None;
        }
        let start = spread(labels.to_string().as_bytes()) % count;
        let local = |n: u64| IdentityId::LOCAL_MIN + ((start + n) % count) as u32;
        (0..count)
            .filter_map(|n| IdentityId::allocated(inputs.config.cluster_id, local(n)))
            .find(|id| !self.taken.contains(id) && !self.given_ids.contains(id))
    }
}

/// 64-bit FNV-1a: spreads names over a range; stable for all time, unlike the standard hasher.
pub(super) fn spread(bytes: &[u8]) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    bytes.iter().fold(OFFSET, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME))
}

/// Frees numbers that no pod has used for the grace period.
pub(super) fn collect(
    inputs: &Inputs,
    identities: &Identities,
    is_used: impl Fn(IdentityId) -> bool,
    plan: &mut Plan,
) {
    let table = &inputs.tables.identities;
    for (key, labels) in table.iter() {
        let ours = key.id.cluster() == inputs.config.cluster_id && !key.id.is_reserved();
        if !ours || is_used(key.id) || !inputs.sources.complete {
            continue;
        }
        if let Some(other) = identities.get(labels).filter(|id| *id != key.id) {
            plan.problem(key, format!("has the labels of identity {other}, which is used"));
        }
        let grace = inputs.config.identity_grace;
        if plan.grace_over(&inputs.unused, key.encode(), inputs.now, grace) {
            plan.remove(table, key, Reason::GraceOver);
        }
    }
}
