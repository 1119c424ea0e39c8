//! The lab's kubelet and endpoint controller: makes pods equal to what the manifests ask for, and tells the control
//! plane about nodes, pods and slices in a folder of manifests, its only channel.
//!
//! Everything it must remember lies in the lab's directory, so another process can go on where one stopped. Requests
//! from outside are files too: `requests/not-ready/<ns>_<name>` (while it exists) and `requests/delete/<ns>_<name>`.

mod publish;
mod sandbox;

pub use sandbox::{ROLE_ANNOTATION, part, resolv_conf};

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::layout::Layout;
use crate::manifests::{self, Objects};
use crate::process::Process;
use crate::spec::{Datapath, Spec, write_atomically};
use crate::workload::{Incarnations, PodKey, PodPlan, listening_ports, plan_pods};

/// Time between taking a pod out of its slices and stopping it: agents follow within milliseconds, requests in flight
/// end within this.
const TERMINATION_GRACE: Duration = Duration::from_millis(500);

/// A pod and how far it has come.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PodRun {
    /// What it should be.
    pub plan: PodPlan,
    /// Its unique id.
    pub uid: String,
    /// Id of its sandbox, as the CNI plugin is told.
    pub container_id: String,
    /// Its address.
    pub ip: Option<Ipv4Addr>,
    /// Its server answered.
    pub serving: bool,
    /// Why it does not run yet.
    pub waiting: Option<String>,
}

/// The kubelet of all nodes.
#[derive(Debug)]
pub struct Kubelet {
    layout: Layout,
    spec: Spec,
    pods: BTreeMap<PodKey, PodRun>,
    processes: BTreeMap<PodKey, Process>,
    incarnations: Incarnations,
    objects: Objects,
    seen: Vec<(PathBuf, u64, std::time::SystemTime)>,
    published: BTreeMap<String, String>,
}

/// What is kept on disk.
#[derive(Default, Serialize, Deserialize)]
struct Memory {
    pods: Vec<PodRun>,
    incarnations: Incarnations,
}

impl Kubelet {
    /// Goes on from what the lab's directory holds, or from nothing.
    ///
    /// # Errors
    /// The memory of an earlier kubelet cannot be read.
    pub fn open(layout: &Layout, spec: &Spec) -> Result<Self> {
        let memory = match std::fs::read(layout.pods()) {
            Ok(bytes) => serde_json::from_slice(&bytes).context("the kubelet's memory")?,
            Err(_) => Memory::default(),
        };
        let mut kubelet = Self {
            layout: layout.clone(),
            spec: spec.clone(),
            pods: memory.pods.into_iter().map(|p| (p.plan.key.clone(), p)).collect(),
            processes: BTreeMap::new(),
            incarnations: memory.incarnations,
            objects: Objects::default(),
            seen: Vec::new(),
            published: publish::read_folder(&layout.objects())?,
        };
        for key in kubelet.pods.keys() {
            let name = sandbox::part(key);
            if let Some(found) = Process::find(&name, &layout.log(&name), &layout.pids()) {
                kubelet.processes.insert(key.clone(), found);
            }
        }
        Ok(kubelet)
    }

    /// The pods, by name.
    #[must_use]
    pub fn pods(&self) -> &BTreeMap<PodKey, PodRun> {
        &self.pods
    }

    /// The user's and the lab's own objects, as last read.
    #[must_use]
    pub fn objects(&self) -> &Objects {
        &self.objects
    }

    /// Whether every pod runs and answers.
    #[must_use]
    pub fn settled(&self) -> bool {
        !self.pods.is_empty() && self.pods.values().all(|p| p.serving)
    }

    /// Folders of manifests in order of precedence: the lab's own, then the user's.
    fn folders(&self) -> Vec<PathBuf> {
        let own = self.layout.builtin();
        std::iter::once(own).chain(self.spec.manifests.iter().cloned()).collect()
    }

    /// One round: read, plan, stop what is no longer wanted, start what is missing, publish.
    ///
    /// # Errors
    /// A folder or the lab's directory cannot be used. A pod that does not start is not an error of the round: it says
    /// why in [`PodRun::waiting`] and is tried again in the next.
    pub fn reconcile(&mut self, spec: &Spec) -> Result<()> {
        self.spec = spec.clone();
        self.read_manifests()?;
        self.take_delete_requests()?;
        let placed =
            self.pods.values().map(|p| (p.plan.key.clone(), p.plan.node.clone())).collect();
        let nodes: Vec<String> = spec.node_addresses().into_iter().map(|(name, _)| name).collect();
        let desired = plan_pods(&self.objects, &nodes, &self.incarnations, &placed);
        let gone = self.no_longer_wanted(&desired);
        for plan in desired {
            self.adopt(plan);
        }
        self.publish(&gone)?;
        self.stop(&gone)?;
        self.start_missing()?;
        self.publish(&[])?;
        self.remember()
    }

    fn read_manifests(&mut self) -> Result<()> {
        let folders = self.folders();
        let seen = manifests::fingerprint(&folders)?;
        if seen != self.seen {
            self.objects = manifests::load(&folders)?;
            let mut known = std::collections::BTreeSet::new();
            self.objects.services.retain(|s| {
                let namespace = s.metadata.namespace.clone().unwrap_or("default".to_owned());
                known.insert((namespace, s.metadata.name.clone()))
            });
            self.seen = seen;
        }
        Ok(())
    }

    fn requests(&self, kind: &str) -> PathBuf {
        self.layout.dir().join("requests").join(kind)
    }

    /// Whether `key` was asked to count as not ready.
    fn held_back(&self, key: &PodKey) -> bool {
        self.requests("not-ready").join(file_name(key)).exists()
    }

    fn take_delete_requests(&mut self) -> Result<()> {
        for (key, pod) in &self.pods {
            let request = self.requests("delete").join(file_name(key));
            if request.exists() {
                *self.incarnations.entry(pod.plan.slot().to_owned()).or_default() += 1;
                std::fs::remove_file(request)?;
            }
        }
        Ok(())
    }

    /// Pods whose plan is gone, or so different that they must start again.
    fn no_longer_wanted(&self, desired: &[PodPlan]) -> Vec<PodKey> {
        let wanted: BTreeMap<&PodKey, &PodPlan> = desired.iter().map(|p| (&p.key, p)).collect();
        let same = |have: &PodPlan, want: &PodPlan| {
            have.node == want.node && have.host_network == want.host_network
        };
        self.pods
            .values()
            .filter(|p| wanted.get(&p.plan.key).is_none_or(|want| !same(&p.plan, want)))
            .map(|p| p.plan.key.clone())
            .collect()
    }

    fn adopt(&mut self, plan: PodPlan) {
        if let Some(pod) = self.pods.get_mut(&plan.key) {
            if pod.plan.node == plan.node {
                pod.plan = plan;
            }
            return;
        }
        let uid = unique_id();
        let container_id = uid.replace('-', "");
        let run = PodRun { plan, uid, container_id, ip: None, serving: false, waiting: None };
        self.pods.insert(run.plan.key.clone(), run);
    }

    fn stop(&mut self, gone: &[PodKey]) -> Result<()> {
        if gone.is_empty() {
            return Ok(());
        }
        std::thread::sleep(TERMINATION_GRACE);
        for key in gone {
            let Some(pod) = self.pods.remove(key) else { continue };
            if let Some(mut process) = self.processes.remove(key) {
                process.kill();
            }
            let node_is_here = self.spec.node_addresses().iter().any(|(n, _)| *n == pod.plan.node);
            sandbox::remove(&self.layout, &self.spec, &pod, node_is_here)?;
        }
        Ok(())
    }

    /// Starts pods without a server, all nodes at once, the pods of one node one after the other.
    fn start_missing(&mut self) -> Result<()> {
        let mut by_node: BTreeMap<String, Vec<(PodRun, sandbox::Ports)>> = BTreeMap::new();
        for (key, pod) in &self.pods {
            let ports: sandbox::Ports =
                listening_ports(&pod.plan, &self.objects.services).into_iter().collect();
            let alive = self.processes.contains_key(key) || self.spec.datapath == Datapath::Memory;
            if pod.serving && alive {
                sandbox::write_ports(&self.layout, &self.spec, pod, &ports)?;
            } else {
                by_node.entry(pod.plan.node.clone()).or_default().push((pod.clone(), ports));
            }
        }
        let (layout, spec) = (&self.layout, &self.spec);
        let results: Vec<_> = std::thread::scope(|scope| {
            let nodes: Vec<_> = by_node
                .into_values()
                .map(|pods| scope.spawn(move || start_all(layout, spec, pods)))
                .collect();
            nodes.into_iter().filter_map(|thread| thread.join().ok()).flatten().collect()
        });
        for (pod, process) in results {
            if let Some(process) = process {
                self.processes.insert(pod.plan.key.clone(), process);
            }
            self.pods.insert(pod.plan.key.clone(), pod);
        }
        Ok(())
    }

    fn remember(&self) -> Result<()> {
        let memory = Memory {
            pods: self.pods.values().cloned().collect(),
            incarnations: self.incarnations.clone(),
        };
        write_atomically(&self.layout, &self.layout.pods(), &serde_json::to_vec(&memory)?)
    }

    /// Reaps servers that ended; their pods start again in the next round.
    pub fn reap(&mut self) {
        let ended: Vec<PodKey> = self
            .processes
            .iter_mut()
            .filter_map(|(key, process)| (!process.alive()).then(|| key.clone()))
            .collect();
        for key in ended {
            self.processes.remove(&key);
            if let Some(pod) = self.pods.get_mut(&key) {
                pod.serving = false;
                pod.waiting = Some("its server ended".to_owned());
            }
        }
    }

    /// Asks that a pod count as not ready, or takes that back. Takes effect with the next round.
    ///
    /// # Errors
    /// The lab's directory cannot be written.
    pub fn hold_back(layout: &Layout, key: &PodKey, hold: bool) -> Result<()> {
        let file = layout.dir().join("requests/not-ready").join(file_name(key));
        match hold {
            true => std::fs::write(file, b"")?,
            false if file.exists() => std::fs::remove_file(file)?,
            false => {}
        }
        Ok(())
    }

    /// Asks that a pod be deleted; its workload makes another. Takes effect with the next round.
    ///
    /// # Errors
    /// The lab's directory cannot be written.
    pub fn delete(layout: &Layout, key: &PodKey) -> Result<()> {
        Ok(std::fs::write(layout.dir().join("requests/delete").join(file_name(key)), b"")?)
    }
}

fn start_all(
    layout: &Layout,
    spec: &Spec,
    pods: Vec<(PodRun, sandbox::Ports)>,
) -> Vec<(PodRun, Option<Process>)> {
    pods.into_iter()
        .map(|(mut pod, ports)| match sandbox::start(layout, spec, &mut pod, &ports) {
            Ok(process) => (pod, process),
            Err(error) => {
                pod.waiting = Some(format!("{error:#}"));
                (pod, None)
            }
        })
        .collect()
}

/// The name of a pod as one path segment; neither part can hold an underscore.
fn file_name(key: &PodKey) -> String {
    format!("{}_{}", key.namespace, key.name)
}

/// A random UUID (RFC 9562, version 4), from the kernel.
fn unique_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/uuid")
        .map(|text| text.trim().to_owned())
        .unwrap_or_else(|_| format!("{:x}-{:x}", std::process::id(), crate::traffic::unix_ms()))
}
