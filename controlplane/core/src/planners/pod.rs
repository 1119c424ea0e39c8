//! Pods by node: who may have an endpoint there, and with which identity.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use skein_store_schema::kinds::pod::{Pod, PodKey};
use skein_store_schema::{IdentityId, LabelSet};

use super::Inputs;
use super::follow::Follow;
use super::identity::{self, Identities};
use crate::labels::identity_labels;
use crate::object::{Kind, Object, ObjectRef, PodObject};
use crate::plan::{Plan, Reason};

/// What is known of pods and their identities from one planning to the next.
#[derive(Debug, Default)]
pub(super) struct Workloads {
    follow: Follow<PodKey>,
    namespaces: OrdMap<ObjectRef, Arc<Object>>,
    identities: Identities,
    labels: Labels,
    /// The keys that the store has under a name: more than one while a pod changes its node.
    stored: BTreeMap<ObjectRef, BTreeSet<PodKey>>,
    settled: Settled,
}

/// Labels of the namespaces that one planning has looked at.
type NamespaceLabels = BTreeMap<Arc<str>, BTreeMap<String, String>>;

impl Workloads {
    /// Plans pods and their identities; returns the keys of the pods that are not what they were.
    pub(super) fn plan(&mut self, inputs: &Inputs, plan: &mut Plan) -> BTreeSet<PodKey> {
        let stored = &mut self.stored;
        let table = &inputs.tables.pods;
        let mut touched = self.follow.touched(
            inputs,
            Kind::Pod,
            table,
            name_of,
            |_| {},
            |change| {
                let keys = stored.entry(name_of(change.key)).or_default();
                if change.after.is_some() {
                    keys.insert(change.key.clone());
                } else {
                    keys.remove(change.key);
                }
            },
        );
        touched.extend(self.in_changed_namespaces(inputs));
        for labels in self.identities.follow(inputs) {
            touched.extend(self.labels.pods(&labels).cloned());
        }
        let mut namespaces = NamespaceLabels::new();
        for name in &touched {
            self.look(inputs, name, &mut namespaces, plan);
        }
        std::mem::take(&mut self.settled.changed)
    }

    /// The pod as the store has it after this plan.
    pub(super) fn get(&self, key: &PodKey) -> Option<&Pod> {
        self.settled.pods.get(key)
    }

    /// Frees identities that are not used any more.
    pub(super) fn collect(&self, inputs: &Inputs, plan: &mut Plan) {
        let is_used = |id| self.settled.users.contains_key(&id);
        identity::collect(inputs, &self.identities, is_used, plan);
    }

    fn in_changed_namespaces(&mut self, inputs: &Inputs) -> Vec<ObjectRef> {
        let now = inputs.sources.objects.of(Kind::Namespace);
        let pods = inputs.sources.objects.of(Kind::Pod);
        let mut found = Vec::new();
        for item in self.namespaces.diff(now) {
            let (DiffItem::Add(namespace, _)
            | DiffItem::Update { new: (namespace, _), .. }
            | DiffItem::Remove(namespace, _)) = item;
            let first = ObjectRef::new(Kind::Pod, &namespace.name, "");
            let names = pods.range(first..).map(|(name, _)| name);
            found.extend(names.take_while(|n| n.namespace == namespace.name).cloned());
        }
        self.namespaces = now.clone();
        found
    }

    fn look(
        &mut self,
        inputs: &Inputs,
        name: &ObjectRef,
        namespaces: &mut NamespaceLabels,
        plan: &mut Plan,
    ) {
        let object = match inputs.sources.objects.get(name).map(|o| &**o) {
            Some(Object::Pod(pod)) => Some(pod),
            _ => None,
        };
        let wanted = object.and_then(|pod| labels_of(inputs, pod, namespaces));
        self.labels.set(name, wanted);
        let Workloads { follow, identities, labels, stored, settled, .. } = self;
        let stored = stored.get(name);
        follow.look(name, plan, |plan| {
            let mut pods: BTreeMap<PodKey, Pod> = BTreeMap::new();
            match object {
                Some(pod) if pod.finished => {}
                Some(pod) if pod.host_network => pods.extend(entry(pod, IdentityId::HOST)),
                Some(pod) if pod.node.is_none() => {
                    plan.wait(name, "a node: it is not scheduled");
                }
                Some(pod) => {
                    let id = labels.of(name).and_then(|l| identities.number(inputs, name, l, plan));
                    pods.extend(id.and_then(|id| entry(pod, id)));
                }
                None => {}
            }
            for (key, pod) in &pods {
                plan.want(&inputs.tables.pods, key, pod);
            }
            for key in stored.into_iter().flatten() {
                retire(inputs, name, object, key, &mut pods, plan);
            }
            settled.set(name, pods);
        });
        if self.stored.get(name).is_some_and(BTreeSet::is_empty) {
            self.stored.remove(name);
        }
    }
}

fn name_of(key: &PodKey) -> ObjectRef {
    ObjectRef::new(Kind::Pod, key.namespace.as_str(), key.name.as_str())
}

/// `None` for a pod that needs no identity. Labels that cannot be stored do not pass the
/// conversion of the pod.
fn labels_of(
    inputs: &Inputs,
    pod: &PodObject,
    namespaces: &mut NamespaceLabels,
) -> Option<LabelSet> {
    if !identity::needs_identity(pod) {
        return None;
    }
    let name = pod.namespace.as_str();
    if !namespaces.contains_key(name) {
        namespaces.insert(name.into(), identity::namespace_labels(inputs, name));
    }
    identity_labels(pod, namespaces.get(name), &inputs.config.cluster).ok()
}

fn entry(pod: &PodObject, identity: IdentityId) -> Option<(PodKey, Pod)> {
    let key = PodKey {
        node: pod.node.clone()?,
        namespace: pod.namespace.clone(),
        name: pod.name.clone(),
    };
    let value = Pod {
        uid: pod.uid.clone(),
        labels: pod.labels.clone(),
        service_account: pod.service_account.clone(),
        identity,
        host_network: pod.host_network,
        ports: pod.ports.clone(),
    };
    Some((key, value))
}

/// Removes a pod that is gone, finished or on another node now. One whose manifest cannot be read
/// stays, with the identity that it has.
fn retire(
    inputs: &Inputs,
    name: &ObjectRef,
    object: Option<&PodObject>,
    key: &PodKey,
    pods: &mut BTreeMap<PodKey, Pod>,
    plan: &mut Plan,
) {
    let Some(stored) = inputs.tables.pods.value(key).filter(|_| !pods.contains_key(key)) else {
        return;
    };
    let stays = match object {
        // It waits for an identity, on this node: the old one serves until then.
        Some(now) => !now.finished && now.node.as_ref() == Some(&key.node),
        None => !inputs.is_gone(name),
    };
    if stays {
        pods.insert(key.clone(), stored.clone());
    } else {
        plan.remove(&inputs.tables.pods, key, Reason::Gone);
    }
}

/// Which labels each pod's identity stands for, and the other way.
#[derive(Debug, Default)]
struct Labels {
    of: BTreeMap<ObjectRef, Arc<LabelSet>>,
    pods: BTreeMap<Arc<LabelSet>, BTreeSet<ObjectRef>>,
}

impl Labels {
    fn of(&self, name: &ObjectRef) -> Option<&LabelSet> {
        self.of.get(name).map(|labels| &**labels)
    }

    fn pods(&self, labels: &LabelSet) -> impl Iterator<Item = &ObjectRef> {
        self.pods.get(labels).into_iter().flatten()
    }

    fn set(&mut self, name: &ObjectRef, labels: Option<LabelSet>) {
        if self.of(name) == labels.as_ref() {
            return;
        }
        if let Some(before) = self.of.remove(name)
            && let Some(pods) = self.pods.get_mut(&before)
        {
            pods.remove(name);
            if pods.is_empty() {
                self.pods.remove(&before);
            }
        }
        if let Some(labels) = labels {
            let known = self.pods.get_key_value(&labels).map(|(labels, _)| labels.clone());
            let labels = known.unwrap_or_else(|| Arc::new(labels));
            self.pods.entry(labels.clone()).or_default().insert(name.clone());
            self.of.insert(name.clone(), labels);
        }
    }
}

/// Every pod as the store has it after this plan.
#[derive(Debug, Default)]
struct Settled {
    pods: BTreeMap<PodKey, Pod>,
    keys: BTreeMap<ObjectRef, Vec<PodKey>>,
    /// How many of them have an identity.
    users: BTreeMap<IdentityId, u32>,
    /// What this planning changed.
    changed: BTreeSet<PodKey>,
}

impl Settled {
    /// The pods of one name.
    fn set(&mut self, name: &ObjectRef, now: BTreeMap<PodKey, Pod>) {
        for key in self.keys.remove(name).unwrap_or_default() {
            let Some(before) = self.pods.remove(&key) else { continue };
            if let Some(count) = self.users.get_mut(&before.identity) {
                *count -= 1;
                if *count == 0 {
                    self.users.remove(&before.identity);
                }
            }
            if now.get(&key) == Some(&before) {
                self.put(key, before);
            } else {
                self.changed.insert(key);
            }
        }
        if !now.is_empty() {
            self.keys.insert(name.clone(), now.keys().cloned().collect());
        }
        for (key, pod) in now {
            if !self.pods.contains_key(&key) {
                self.changed.insert(key.clone());
                self.put(key, pod);
            }
        }
    }

    fn put(&mut self, key: PodKey, pod: Pod) {
        *self.users.entry(pod.identity).or_default() += 1;
        self.pods.insert(key, pod);
    }
}
