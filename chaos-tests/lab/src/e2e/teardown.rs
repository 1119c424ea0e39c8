//! A lab that is removed leaves nothing.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};

use crate::cli::LabArgs;
use crate::cluster::{Cluster, teardown};
use crate::progress::Progress;
use crate::spec::{Datapath, Routing};

/// The test's name.
pub(super) const NAME: &str = "a removed lab leaves no trace, also after a crash";

/// A name of its own: what carries it afterwards is a trace.
const LAB: &str = "e2etrace";

/// Builds a small lab, forgets it as a crash would, removes it by name, and compares the machine before and after.
pub(super) fn run() -> Result<String> {
    let args = LabArgs {
        name: LAB.to_owned(),
        nodes: 2,
        routing: Routing::Tunnel,
        manifests: Vec::new(),
        binaries: None,
    };
    teardown::down(LAB, teardown::Logs::Remove)?;
    let before = machine()?;
    let spec = args.spec(Datapath::Ebpf)?;
    let built = Cluster::up(&spec, &mut Progress::quiet());
    // No teardown by the owner: everything must be found from its name.
    let built = built.map(|cluster| cluster.kubelet.pods().len());
    teardown::down(LAB, teardown::Logs::Remove)?;
    let pods = built?;
    let after = machine()?;
    let new: Vec<&String> = after.difference(&before).collect();
    ensure!(new.is_empty(), "left behind: {new:?}");
    Ok(format!(
        "2 nodes and {pods} pods: namespaces, links, mounts, cgroups, processes, files gone"
    ))
}

/// What a lab could leave on the machine, one line each.
fn machine() -> Result<BTreeSet<String>> {
    let mut all = BTreeSet::new();
    let mounts = std::fs::read_to_string("/proc/mounts")?;
    all.extend(mounts.lines().map(|line| format!("mount {line}")));
    for dir in ["/run/netns", "/run/skein-lab", "/sys/class/net", "/sys/fs/bpf"] {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            all.insert(format!("{dir}/{}", entry.file_name().to_string_lossy()));
        }
    }
    if let Some(root) = crate::privilege::cgroup2_mount() {
        for entry in std::fs::read_dir(root)?.flatten().filter(|e| e.path().is_dir()) {
            all.insert(format!("cgroup {}", entry.file_name().to_string_lossy()));
        }
    }
    all.extend(processes());
    Ok(all)
}

/// Skein's processes of this test's lab: others may come and go.
fn processes() -> Vec<String> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter(|e| e.file_name().to_string_lossy().bytes().all(|b| b.is_ascii_digit()))
        .filter_map(|e| {
            let line = std::fs::read_to_string(e.path().join("cmdline")).ok()?;
            line.contains(&format!("/{LAB}/"))
                .then(|| format!("process {}", line.replace('\0', " ")))
        })
        .collect()
}
