//! Numbers for sets of labels.
//!
//! One set of labels has one number. The leader is the only writer and works from a complete copy
//! of the identities, so a set that is not there has no number; the number is created by a
//! transaction that requires it to be absent. A number that no pod has used for the grace period
//! is freed: agents may still carry it in tunnels and tables for a while.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use skein_store_schema::kinds::identity::IdentityKey;
use skein_store_schema::kinds::pod::Pod;
use skein_store_schema::{IdentityId, LabelSet, StoreKey};

use super::Inputs;
use super::pod::Pods;
use crate::labels::identity_labels;
use crate::object::{Kind, Object, ObjectRef, PodObject};
use crate::plan::{Plan, Reason};

/// The identity labels of every pod that needs an identity, in the order of the pods.
pub(super) type Wanted = Vec<(Arc<Object>, LabelSet)>;

/// Numbers by labels, those that this plan allocates included.
pub(super) type Identities = BTreeMap<LabelSet, IdentityId>;

/// The label that the API server gives to every namespace.
const NAMESPACE_NAME_LABEL: &str = "kubernetes.io/metadata.name";

pub(super) fn wanted(inputs: &Inputs) -> Wanted {
    let mut namespaces: BTreeMap<&str, BTreeMap<String, String>> = BTreeMap::new();
    let mut wanted = Wanted::new();
    for object in inputs.sources.objects.of(Kind::Pod).values() {
        let Object::Pod(pod) = &**object else { continue };
        if !needs_identity(pod) {
            continue;
        }
        let name = pod.namespace.as_str();
        let labels = namespaces.entry(name).or_insert_with(|| namespace_labels(inputs, name));
        // Labels that cannot be stored do not pass the conversion of the pod.
        if let Ok(set) = identity_labels(pod, Some(labels), &inputs.config.cluster) {
            wanted.push((object.clone(), set));
        }
    }
    wanted
}

/// Pods that share their node's network are the node.
pub(super) fn needs_identity(pod: &PodObject) -> bool {
    !pod.host_network && !pod.finished && pod.node.is_some()
}

/// A namespace without a manifest has the one label that every namespace has.
fn namespace_labels(inputs: &Inputs, name: &str) -> BTreeMap<String, String> {
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

pub(super) fn plan(inputs: &Inputs, wanted: &Wanted, plan: &mut Plan) -> Identities {
    let table = &inputs.tables.identities;
    let mut identities = Identities::new();
    let mut taken = BTreeSet::new();
    for (key, labels) in table.iter() {
        taken.insert(key.id);
        if key.id.cluster() == inputs.config.cluster_id && !key.id.is_reserved() {
            identities.entry(labels.clone()).or_insert(key.id);
        }
    }
    taken.extend(table.unreadable().map(|(key, _)| key.id));
    for (object, labels) in wanted {
        if identities.contains_key(labels) {
            continue;
        }
        let Some(id) = free_id(inputs, labels, &taken) else {
            plan.wait(object.object_ref(), "an identity: all numbers of the cluster are in use");
            continue;
        };
        taken.insert(id);
        plan.claim(&IdentityKey { id }, labels, Reason::AllocateIdentity);
        identities.insert(labels.clone(), id);
    }
    identities
}

/// A free number, searched from a place that depends on the labels: the same labels get the same
/// number again in most cases, and a number just freed is seldom given to other labels at once.
fn free_id(inputs: &Inputs, labels: &LabelSet, taken: &BTreeSet<IdentityId>) -> Option<IdentityId> {
    let count = u64::from(IdentityId::LOCAL_MAX - IdentityId::LOCAL_MIN) + 1;
    if taken.len() as u64 >= count + u64::from(IdentityId::LOCAL_MIN) {
        return None;
    }
    let start = spread(labels.to_string().as_bytes()) % count;
    let local = |n: u64| IdentityId::LOCAL_MIN + ((start + n) % count) as u32;
    (0..count)
        .filter_map(|n| IdentityId::allocated(inputs.config.cluster_id, local(n)))
        .find(|id| !taken.contains(id))
}

/// 64-bit FNV-1a: spreads names over a range; stable for all time, unlike the standard hasher.
pub(super) fn spread(bytes: &[u8]) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    bytes.iter().fold(OFFSET, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME))
}

/// The numbers that pods have.
pub(super) fn used(pods: &Pods) -> BTreeSet<IdentityId> {
    pods.values().map(|pod: &Pod| pod.identity).collect()
}

/// Frees numbers that no pod has used for the grace period.
pub(super) fn collect(
    inputs: &Inputs,
    used: &BTreeSet<IdentityId>,
    identities: &Identities,
    plan: &mut Plan,
) {
    let table = &inputs.tables.identities;
    for (key, labels) in table.iter() {
        let ours = key.id.cluster() == inputs.config.cluster_id && !key.id.is_reserved();
        if !ours || used.contains(&key.id) || !inputs.sources.complete {
            continue;
        }
        if let Some(other) = identities.get(labels).filter(|id| **id != key.id) {
            plan.problem(key, format!("has the labels of identity {other}, which is used"));
        }
        let grace = inputs.config.identity_grace;
        if plan.grace_over(&inputs.unused, key.encode(), inputs.now, grace) {
            plan.remove(table, key, Reason::GraceOver);
        }
    }
}
