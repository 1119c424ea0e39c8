//! Which labels make up a pod's identity.
//!
//! The rules are Cilium's defaults, so that a pod has the same identity labels in both: its own
//! labels, its namespace (`io.kubernetes.pod.namespace`) and the namespace's labels
//! (`io.cilium.k8s.namespace.labels.…`), the cluster (`io.cilium.k8s.policy.cluster`), the service
//! account (`io.cilium.k8s.policy.serviceaccount`); of these the ones that tell pods of one
//! workload apart (hashes, indices, `…kubernetes.io` markers) are left out. Where a key matches an
//! included and an excluded pattern, the longer match decides.
//! Source: Cilium's documentation, "Limiting Identity-Relevant Labels", and its label filter.

use std::collections::BTreeMap;

use skein_store_schema::{ClusterName, LabelError, LabelSet};

use crate::object::PodObject;

const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
const NAMESPACE_LABELS: &str = "io.cilium.k8s.namespace.labels";
const POLICY_CLUSTER: &str = "io.cilium.k8s.policy.cluster";
const POLICY_SERVICE_ACCOUNT: &str = "io.cilium.k8s.policy.serviceaccount";

/// Prefixes of keys that count although an exclusion matches them too.
const INCLUDED: [&str; 4] = [POD_NAMESPACE, NAMESPACE_LABELS, "app.kubernetes.io", POLICY_CLUSTER];

/// Prefixes of keys that do not count.
const EXCLUDED: [&str; 11] = [
    "io.kubernetes",
    "kubernetes.io",
    "statefulset.kubernetes.io/pod-name",
    "apps.kubernetes.io/pod-index",
    "batch.kubernetes.io/job-completion-index",
    "k8s.io",
    "pod-template-generation",
    "pod-template-hash",
    "controller-revision-hash",
    "annotation",
    "etcd_node",
];

/// A key that holds this anywhere does not count, unless a longer inclusion matches.
const EXCLUDED_INFIX: &str = "beta.kubernetes.io";

/// Whether a label is part of an identity.
pub fn counts(key: &str) -> bool {
    let included = INCLUDED.iter().filter(|p| key.starts_with(**p)).map(|p| p.len()).max();
    let infix = key.rfind(EXCLUDED_INFIX).map(|at| at + EXCLUDED_INFIX.len());
    let excluded =
        EXCLUDED.iter().filter(|p| key.starts_with(**p)).map(|p| p.len()).chain(infix).min();
    match (included, excluded) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(included), Some(excluded)) => included > excluded,
    }
}

/// The identity labels of a pod.
///
/// # Errors
/// A label that could not be read back from the stored form (it holds `;`).
pub fn identity_labels(
    pod: &PodObject,
    namespace_labels: Option<&BTreeMap<String, String>>,
    cluster: &ClusterName,
) -> Result<LabelSet, LabelError> {
    let mut set = LabelSet::new();
    for (key, value) in pod.labels.iter().filter(|(key, _)| counts(key)) {
        set.insert(LabelSet::K8S, key, value)?;
    }
    for (key, value) in namespace_labels.into_iter().flatten() {
        let key = format!("{NAMESPACE_LABELS}.{key}");
        if counts(&key) {
            set.insert(LabelSet::K8S, &key, value)?;
        }
    }
    if !pod.service_account.is_empty() {
        set.insert(LabelSet::K8S, POLICY_SERVICE_ACCOUNT, &pod.service_account)?;
    }
    set.insert(LabelSet::K8S, POLICY_CLUSTER, cluster.as_str())?;
    set.insert(LabelSet::K8S, POD_NAMESPACE, pod.namespace.as_str())?;
    Ok(set)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_left_out_and_names_are_kept() {
        for key in ["app", "tier", "app.kubernetes.io/name", "batch.kubernetes.io/job-name"] {
            assert!(counts(key), "{key}");
        }
        assert!(counts("io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name"));
        for key in [
            "pod-template-hash",
            "controller-revision-hash",
            "statefulset.kubernetes.io/pod-name",
            "apps.kubernetes.io/pod-index",
            "batch.kubernetes.io/job-completion-index",
            "io.kubernetes.container.name",
            "kubernetes.io/hostname",
            "failure-domain.beta.kubernetes.io/zone",
            "k8s.io/x",
        ] {
            assert!(!counts(key), "{key}");
        }
    }
}
