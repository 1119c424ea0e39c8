//! Where each part of the cluster runs: namespace, cgroup, resolver.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::kubelet::resolv_conf;
use crate::layout::Layout;
use crate::net;
use crate::privilege::cgroup2_mount;
use crate::process::Place;
use crate::spec::{Datapath, Spec, write_atomically};
use crate::workload::{PodKey, PodPlan};

/// Root of the lab's cgroups.
///
/// # Errors
/// No cgroup2 mount.
pub fn cgroup_root(layout: &Layout) -> Result<PathBuf> {
    Ok(cgroup2_mount().context("no writable cgroup2 mount")?.join(layout.cgroup_name()))
}

/// Root of one node's cgroups, where its agent attaches the socket programs.
///
/// # Errors
/// No cgroup2 mount.
pub fn node_cgroup(layout: &Layout, node: &str) -> Result<PathBuf> {
    Ok(cgroup_root(layout)?.join(node))
}

/// The node itself: its namespace and a cgroup for its own processes. In memory mode: here.
#[must_use]
pub fn node(layout: &Layout, spec: &Spec, node: &str) -> Place {
    if spec.datapath == Datapath::Memory {
        return Place::default();
    }
    Place {
        netns: Some(layout.netns(node)),
        cgroup: node_cgroup(layout, node).ok().map(|root| root.join("host")),
        resolv_conf: None,
    }
}

/// A pod: its namespace, a cgroup below its node's, its namespace's names.
///
/// # Errors
/// No cgroup2 mount, or the resolver's file cannot be written.
pub fn pod(layout: &Layout, plan: &PodPlan) -> Result<Place> {
    let netns = if plan.host_network {
        layout.netns(&plan.node)
    } else {
        layout.netns(&crate::kubelet::part(&plan.key))
    };
    Ok(Place {
        netns: Some(netns),
        cgroup: Some(pod_cgroup(layout, plan)?),
        resolv_conf: Some(resolver(layout, &plan.key.namespace)?),
    })
}

fn pod_cgroup(layout: &Layout, plan: &PodPlan) -> Result<PathBuf> {
    let PodKey { namespace, name } = &plan.key;
    Ok(node_cgroup(layout, &plan.node)?.join("pods").join(format!("{namespace}_{name}")))
}

/// Removes a stopped pod's cgroup; one that is still busy goes with the lab.
pub fn remove_pod_cgroup(layout: &Layout, plan: &PodPlan) {
    if let Ok(path) = pod_cgroup(layout, plan) {
        let _ = std::fs::remove_dir(path);
    }
}

/// The resolver's file of one namespace.
///
/// # Errors
/// It cannot be written.
pub fn resolver(layout: &Layout, namespace: &str) -> Result<PathBuf> {
    let path = layout.dir().join("resolv").join(format!("{namespace}.conf"));
    if !path.exists() {
        write_atomically(layout, &path, resolv_conf(namespace).as_bytes())?;
    }
    Ok(path)
}

/// The control plane's or the client's namespace, outside every node.
#[must_use]
pub fn outside(layout: &Layout, spec: &Spec, part: &str) -> Place {
    if spec.datapath == Datapath::Memory {
        return Place::default();
    }
    Place {
        netns: Some(layout.netns(part)),
        cgroup: cgroup_root(layout).ok().map(|root| root.join(part)),
        resolv_conf: None,
    }
}

/// The control plane's place.
#[must_use]
pub fn control_plane(layout: &Layout, spec: &Spec) -> Place {
    outside(layout, spec, net::CP)
}

/// Ends every process of a cgroup subtree and removes it.
pub fn remove_cgroup(root: &Path) {
    if !root.exists() {
        return;
    }
    // `cgroup.kill` is there since Linux 5.14; without it processes are ended one by one below.
    let _ = std::fs::write(root.join("cgroup.kill"), "1");
    for dir in deepest_first(root) {
        for _ in 0..REMOVE_ATTEMPTS {
            if std::fs::remove_dir(&dir).is_ok() {
                break;
            }
            kill_members(&dir);
            std::thread::sleep(REMOVE_PAUSE);
        }
    }
}

/// A killed process needs a moment to leave its cgroup: attempts and pause make two seconds.
const REMOVE_ATTEMPTS: u32 = 200;
const REMOVE_PAUSE: std::time::Duration = std::time::Duration::from_millis(10);

fn deepest_first(root: &Path) -> Vec<PathBuf> {
    let mut dirs = Vec::new();
    if let Ok(entries) = std::fs::read_dir(root) {
        for entry in entries.flatten().filter(|e| e.path().is_dir()) {
            dirs.extend(deepest_first(&entry.path()));
        }
    }
    dirs.push(root.to_owned());
    dirs
}

fn kill_members(dir: &Path) {
    let Ok(members) = std::fs::read_to_string(dir.join("cgroup.procs")) else { return };
    for pid in members.lines().filter_map(|line| line.parse().ok()) {
        let pid = nix::unistd::Pid::from_raw(pid);
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
    }
}
