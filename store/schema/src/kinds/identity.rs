//! `cilium/state/identities/v1/id/<id>`: the labels behind a number.

use crate::path::{self, key_text};
use crate::{
    Doc, IdentityId, KeyReason, LabelSet, Lifetime, StoreKey, StoreValue, ValueReason, Writer,
};

/// An identity by number. Sorts by number; the store sorts by its decimal text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdentityKey {
    /// The number.
    pub id: IdentityId,
}

key_text!(IdentityKey);

impl StoreKey for IdentityKey {
    type Value = LabelSet;
    const PREFIX: &'static str = "cilium/state/identities/v1/id/";
    const DOC: Doc = Doc {
        kind: "Identity",
        layout: "cilium/state/identities/v1/id/<id>",
        scope: "one set of security-relevant labels",
        cardinality: "50,000",
        writer: Writer::ControlPlane,
        readers: "every agent; peers of a Cluster Mesh",
        lifetime: Lifetime::Durable,
        value: "the labels as `source:key=value;` repeated and sorted by key; not JSON",
        absence: "the number is free, or was released after no pod had used it for the grace period",
    };

    fn encode(&self) -> String {
        format!("{}{}", Self::PREFIX, self.id)
    }

    fn parse(text: &str) -> Result<Self, KeyReason> {
        let [id] = path::split(text, Self::PREFIX, Self::DOC.layout)?;
        Ok(Self { id: IdentityId::parse(id)? })
    }

    fn example() -> (Self, LabelSet) {
        let labels = LabelSet::parse(
            "k8s:app=cart;k8s:io.cilium.k8s.policy.cluster=default;\
             k8s:io.cilium.k8s.policy.serviceaccount=default;k8s:io.kubernetes.pod.namespace=shop;",
        );
        let id = IdentityId::new(51_234).expect("a valid number");
        (Self { id }, labels.expect("sorted and terminated"))
    }
}

impl StoreValue for LabelSet {
    fn encode(&self) -> Vec<u8> {
        self.to_string().into_bytes()
    }

    fn decode(raw: &[u8]) -> Result<Self, ValueReason> {
        let text = std::str::from_utf8(raw).map_err(|_| ValueReason::NotUtf8)?;
        Ok(Self::parse(text)?)
    }
}
