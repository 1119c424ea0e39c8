//! Telling the control plane: one manifest per node, pod and slice, written only when it changed.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use super::{Kubelet, PodRun, file_name};
use crate::objects::{self, PodFacts};
use crate::spec::write_atomically;
use crate::workload::{PodKey, selects};

impl Kubelet {
    /// Writes what changed and removes what is gone. Pods in `terminating` are on their way out.
    pub(super) fn publish(&mut self, terminating: &[PodKey]) -> Result<()> {
        let desired = self.desired_files(terminating);
        for (name, text) in &desired {
            if self.published.get(name) != Some(text) {
                let target = self.layout.objects().join(name);
                write_atomically(&self.layout, &target, text.as_bytes())?;
            }
        }
        for name in self.published.keys().filter(|name| !desired.contains_key(*name)) {
            std::fs::remove_file(self.layout.objects().join(name))
                .with_context(|| format!("remove the manifest {name}"))?;
        }
        self.published = desired;
        Ok(())
    }

    /// Ready addresses of every service with a selector, as last published.
    #[must_use]
    pub fn ready_backends(&self) -> crate::cluster::settle::ReadyBackends {
        let mut found = crate::cluster::settle::ReadyBackends::new();
        for service in &self.objects.services {
            let spec = service.spec.as_ref();
            if spec.and_then(|s| s.selector.as_ref()).is_none_or(BTreeMap::is_empty) {
                continue;
            }
            let namespace = service.metadata.namespace.as_deref().unwrap_or("default");
            let name = service.metadata.name.clone().unwrap_or_default();
            let ready = self.pods.values().filter(|p| {
                selects(service, namespace, &p.plan.labels)
                    && p.serving
                    && !self.held_back(&p.plan.key)
                    && p.plan.key.namespace == namespace
            });
            let addresses = ready.filter_map(|p| p.ip.map(IpAddr::V4)).collect();
            found.insert((namespace.to_owned(), name), addresses);
        }
        found
    }

    fn desired_files(&self, terminating: &[PodKey]) -> BTreeMap<String, String> {
        let mut files = BTreeMap::new();
        let mut put = |name: String, value: &Value| {
            files.insert(format!("{name}.json"), format!("{value:#}\n"));
        };
        let addresses: BTreeMap<_, _> = self.spec.node_addresses().into_iter().collect();
        for (name, ip) in &addresses {
            put(format!("node_{name}"), &objects::node(name, *ip));
        }
        let facts: Vec<PodFacts<'_>> = self
            .pods
            .values()
            .map(|pod| self.facts(pod, &addresses, terminating.contains(&pod.plan.key)))
            .collect();
        for pod in &facts {
            put(format!("pod_{}", file_name(&pod.plan.key)), &objects::pod(pod));
        }
        for service in &self.objects.services {
            let namespace = service.metadata.namespace.as_deref().unwrap_or("default");
            for (name, slice) in objects::slices(service, &facts) {
                put(format!("slice_{namespace}_{name}"), &slice);
            }
        }
        files
    }

    fn facts<'a>(
        &self,
        pod: &'a PodRun,
        nodes: &BTreeMap<String, std::net::Ipv4Addr>,
        terminating: bool,
    ) -> PodFacts<'a> {
        let host_ip = nodes.get(&pod.plan.node).copied();
        PodFacts {
            plan: &pod.plan,
            uid: &pod.uid,
            ip: pod.ip,
            host_ip: host_ip.unwrap_or(std::net::Ipv4Addr::UNSPECIFIED),
            ready: pod.serving && !self.held_back(&pod.plan.key),
            terminating,
        }
    }
}

/// What an earlier kubelet left in the folder.
pub(super) fn read_folder(folder: &Path) -> Result<BTreeMap<String, String>> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(BTreeMap::new()) };
    entries
        .flatten()
        .map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            Ok((name, std::fs::read_to_string(entry.path())?))
        })
        .collect()
}
