//! Pods by node: who may have an endpoint there, and with which identity.

use std::collections::BTreeMap;

use skein_store_schema::IdentityId;
use skein_store_schema::kinds::pod::{Pod, PodKey};

use super::Inputs;
use super::identity::{Identities, Wanted};
use crate::object::{Kind, Object, ObjectRef, PodObject};
use crate::plan::{Plan, Reason};

/// Every pod as the store has it after this plan.
pub(super) type Pods = BTreeMap<PodKey, Pod>;

pub(super) fn plan(
    inputs: &Inputs,
    wanted: &Wanted,
    identities: &Identities,
    plan: &mut Plan,
) -> Pods {
    let mut pods = Pods::new();
    for (object, labels) in wanted {
        if let (Object::Pod(pod), Some(id)) = (&**object, identities.get(labels)) {
            pods.extend(entry(pod, *id));
        }
    }
    for object in inputs.sources.objects.of(Kind::Pod).values() {
        match &**object {
            Object::Pod(pod) if pod.finished => {}
            Object::Pod(pod) if pod.host_network => pods.extend(entry(pod, IdentityId::HOST)),
            Object::Pod(pod) if pod.node.is_none() => {
                plan.wait(object.object_ref(), "a node: it is not scheduled");
            }
            _ => {}
        }
    }
    for (key, pod) in &pods {
        plan.want(&inputs.tables.pods, key, pod);
    }
    retire(inputs, &mut pods, plan);
    pods
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

/// Removes pods that are gone, finished or on another node now. Those whose manifest cannot be
/// read stay, with the identity that they have.
fn retire(inputs: &Inputs, pods: &mut Pods, plan: &mut Plan) {
    for (key, pod) in inputs.tables.pods.iter() {
        if pods.contains_key(key) {
            continue;
        }
        let name = ObjectRef::new(Kind::Pod, key.namespace.as_str(), key.name.as_str());
        let known = inputs.sources.objects.get(&name).map(|o| &**o);
        let stays = match known {
            // It waits for an identity, on this node: the old one serves until then.
            Some(Object::Pod(now)) => !now.finished && now.node.as_ref() == Some(&key.node),
            _ => !inputs.is_gone(&name),
        };
        if stays {
            pods.insert(key.clone(), pod.clone());
        } else {
            plan.remove(&inputs.tables.pods, key, Reason::Gone);
        }
    }
}
