//! Removing a lab by its name alone, also one whose builder crashed.

use std::path::PathBuf;

use anyhow::Result;

use crate::layout::{Layout, NETNS_DIR, root};
use crate::process::kill_recorded;
use crate::spec::Spec;
use crate::{cluster::places, net, privilege};

/// What became of the logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Logs {
    /// Gone with the rest.
    Remove,
    /// Moved out of the lab's directory, for reading.
    Keep,
}

/// Ends and removes everything that carries the lab's name. Returns where logs were moved, if they were.
///
/// # Errors
/// Something is left; the message lists it.
pub fn down(name: &str, logs: Logs) -> Result<Option<PathBuf>> {
    let layout = Layout::new(name);
    let had_netns_dir = Spec::load(&layout).is_ok_and(|spec| spec.had_netns_dir);
    kill_recorded(&layout.pids());
    if let Ok(cgroup) = places::cgroup_root(&layout) {
        places::remove_cgroup(&cgroup);
    }
    for part in net::existing_parts(&layout) {
        net::delete_netns(&layout, &part);
    }
    unmount(&layout);
    let kept = (logs == Logs::Keep).then(|| keep_logs(&layout)).flatten();
    let _ = std::fs::remove_dir_all(layout.dir());
    // Only when it was the last lab.
    let _ = std::fs::remove_dir(root());
    if !had_netns_dir {
        remove_netns_dir();
    }
    let left = traces(name);
    if left.is_empty() { Ok(kept) } else { anyhow::bail!("left behind: {}", left.join(", ")) }
}

fn unmount(layout: &Layout) {
    if mounted(layout) {
        // Not lazily: a mount that is busy must show up as a trace.
        if nix::mount::umount(&layout.bpf()).is_err() {
            let _ = nix::mount::umount2(&layout.bpf(), nix::mount::MntFlags::MNT_DETACH);
        }
    }
}

fn mounted(layout: &Layout) -> bool {
    let target = layout.bpf();
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
    mounts.lines().any(|line| line.split(' ').nth(1) == target.to_str())
}

fn keep_logs(layout: &Layout) -> Option<PathBuf> {
    let target = std::env::temp_dir().join(format!("skein-lab-{}-logs", layout.name()));
    let _ = std::fs::remove_dir_all(&target);
    std::fs::create_dir_all(&target).ok()?;
    for entry in std::fs::read_dir(layout.dir().join("log")).ok()?.flatten() {
        // Another file system: copied, not renamed.
        let _ = std::fs::copy(entry.path(), target.join(entry.file_name()));
    }
    Some(target)
}

/// `ip netns add` makes the directory and mounts it on itself; undone only when it is empty.
fn remove_netns_dir() {
    let empty = std::fs::read_dir(NETNS_DIR).is_ok_and(|mut dir| dir.next().is_none());
    if empty && privilege::missing().is_empty() {
        let _ = nix::mount::umount(NETNS_DIR);
        let _ = std::fs::remove_dir(NETNS_DIR);
    }
}

/// Everything on this machine that carries the lab's name: empty after a clean removal.
#[must_use]
pub fn traces(name: &str) -> Vec<String> {
    let layout = Layout::new(name);
    let mut found: Vec<String> =
        net::existing_parts(&layout).iter().map(|p| format!("namespace {p}")).collect();
    if let Ok(cgroup) = places::cgroup_root(&layout)
        && cgroup.exists()
    {
        found.push(format!("cgroup {}", cgroup.display()));
    }
    if mounted(&layout) {
        found.push(format!("mount {}", layout.bpf().display()));
    }
    if layout.dir().exists() {
        found.push(format!("directory {}", layout.dir().display()));
    }
    found
}
