//! Where a lab keeps what it owns: one directory per lab, named after it.
//!
//! Everything a lab makes in the kernel carries the lab's name as well (namespaces, cgroup, bpffs mount), so that
//! `down` works from the name alone, also after a crash of the process that built it.

use std::path::{Path, PathBuf};

/// Directory under which network namespaces are bind-mounted, as `ip netns` does.
pub const NETNS_DIR: &str = "/run/netns";

/// The paths of one lab.
#[derive(Clone, Debug)]
pub struct Layout {
    name: String,
    dir: PathBuf,
}

impl Layout {
    /// The layout of the lab `name` below the default root.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), dir: root().join(name) }
    }

    /// The lab's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The directory that holds everything else.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The lab's own description of itself (JSON).
    #[must_use]
    pub fn spec(&self) -> PathBuf {
        self.dir.join("lab.json")
    }

    /// One log per process.
    #[must_use]
    pub fn log(&self, process: &str) -> PathBuf {
        self.dir.join("log").join(format!("{process}.log"))
    }

    /// One record of process id and start time per process.
    #[must_use]
    pub fn pids(&self) -> PathBuf {
        self.dir.join("pid")
    }

    /// Mount point of the lab's own bpffs.
    #[must_use]
    pub fn bpf(&self) -> PathBuf {
        self.dir.join("bpf")
    }

    /// Pin directory of one node.
    #[must_use]
    pub fn node_bpf(&self, node: &str) -> PathBuf {
        self.bpf().join(node)
    }

    /// Data directory of the control plane's embedded store.
    #[must_use]
    pub fn cp_data(&self) -> PathBuf {
        self.dir.join("cp")
    }

    /// State directory of one node's agent.
    #[must_use]
    pub fn node_state(&self, node: &str) -> PathBuf {
        self.dir.join("nodes").join(node)
    }

    /// The agent's socket on one node.
    #[must_use]
    pub fn agent_socket(&self, node: &str) -> PathBuf {
        self.node_state(node).join("agent.sock")
    }

    /// Folder of manifests that the lab writes as kubelet and endpoint controller; the control plane watches it.
    #[must_use]
    pub fn objects(&self) -> PathBuf {
        self.dir.join("objects")
    }

    /// Folder of manifests that the lab adds to the user's (its DNS service, the demo's own service).
    #[must_use]
    pub fn builtin(&self) -> PathBuf {
        self.dir.join("builtin")
    }

    /// Where files are written before they are renamed into place: same file system, not watched.
    #[must_use]
    pub fn staging(&self) -> PathBuf {
        self.dir.join("staging")
    }

    /// What the kubelet must remember of its pods over a restart (JSON).
    #[must_use]
    pub fn pods(&self) -> PathBuf {
        self.dir.join("pods")
    }

    /// Name of the namespace that plays `part` (`fabric`, `cp`, `client`, a node's name, `pod-<ns>-<name>`).
    #[must_use]
    pub fn netns_name(&self, part: &str) -> String {
        format!("{}-{part}", self.name)
    }

    /// Path of that namespace's handle.
    #[must_use]
    pub fn netns(&self, part: &str) -> PathBuf {
        Path::new(NETNS_DIR).join(self.netns_name(part))
    }

    /// Name of the lab's cgroup below the cgroup2 mount.
    #[must_use]
    pub fn cgroup_name(&self) -> String {
        format!("skein-lab-{}", self.name)
    }
}

/// The directory that holds all labs of this user.
#[must_use]
pub fn root() -> PathBuf {
    if nix::unistd::geteuid().is_root() {
        return PathBuf::from("/run/skein-lab");
    }
    match std::env::var_os("XDG_RUNTIME_DIR") {
        Some(dir) if Path::new(&dir).is_dir() => Path::new(&dir).join("skein-lab"),
        _ => std::env::temp_dir().join(format!("skein-lab-{}", nix::unistd::geteuid())),
    }
}

/// Whether `name` can be part of every name derived from it (paths, namespaces, cgroups, sockets).
#[must_use]
pub fn valid_name(name: &str) -> bool {
    /// A socket path holds 108 bytes; the rest of it needs about 60.
    const NAME_MAX: usize = 24;
    !name.is_empty()
        && name.len() <= NAME_MAX
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}
