//! What a lab is made of, as it is kept in its directory.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::layout::Layout;
use crate::topology as topo;

/// How packets between nodes travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Routing {
    /// VXLAN with the identity in the VNI.
    Tunnel,
    /// Routes between nodes.
    Native,
}

impl Routing {
    /// The word the agent's flag takes.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Tunnel => "tunnel",
            Self::Native => "native",
        }
    }
}

/// Where maps live and decisions are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Datapath {
    /// In the kernel, with namespaces and real packets.
    Ebpf,
    /// In the agents' memory, with everything on loopback and no packets.
    Memory,
}

/// One lab.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// Its name.
    pub name: String,
    /// Kernel or memory.
    pub datapath: Datapath,
    /// How packets between nodes travel.
    pub routing: Routing,
    /// Translation at the socket.
    pub socket_lb: bool,
    /// Translation per packet.
    pub packet_lb: bool,
    /// Folders of the user's manifests.
    pub manifests: Vec<PathBuf>,
    /// Directory of Skein's binaries.
    pub binaries: PathBuf,
    /// Numbers of the nodes there are.
    pub nodes: Vec<u32>,
    /// Port of the store, on the control plane's address.
    pub store_port: u16,
    /// Whether the directory of namespace handles was there before this lab.
    pub had_netns_dir: bool,
}

impl Spec {
    /// Reads the description a lab left in its directory.
    ///
    /// # Errors
    /// No lab of that name is up.
    pub fn load(layout: &Layout) -> Result<Self> {
        let bytes = std::fs::read(layout.spec()).with_context(|| {
            format!("no lab named {} is up ({})", layout.name(), layout.spec().display())
        })?;
        serde_json::from_slice(&bytes).context("the lab's own description")
    }

    /// Leaves the description in the lab's directory.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self, layout: &Layout) -> Result<()> {
        write_atomically(layout, &layout.spec(), &serde_json::to_vec_pretty(self)?)
    }

    /// Names and addresses of the nodes.
    #[must_use]
    pub fn node_addresses(&self) -> Vec<(String, Ipv4Addr)> {
        self.nodes.iter().map(|n| (topo::node_name(*n), self.node_ip(*n))).collect()
    }

    /// The address of one node. In memory mode it is a name only: nobody listens there.
    #[must_use]
    pub fn node_ip(&self, number: u32) -> Ipv4Addr {
        topo::node_ip(number)
    }

    /// The address of the control plane.
    #[must_use]
    pub fn cp_ip(&self) -> Ipv4Addr {
        match self.datapath {
            Datapath::Ebpf => topo::CP_IP,
            Datapath::Memory => Ipv4Addr::LOCALHOST,
        }
    }

    /// The store's client URL.
    #[must_use]
    pub fn store_url(&self) -> String {
        format!("http://{}:{}", self.cp_ip(), self.store_port)
    }
}

/// Writes beside the target and renames, so that a reader sees the old file or the new one.
///
/// # Errors
/// The file system's.
pub fn write_atomically(layout: &Layout, target: &Path, bytes: &[u8]) -> Result<()> {
    let name = target.file_name().context("a target without a name")?;
    let staged = layout.staging().join(name);
    std::fs::write(&staged, bytes).with_context(|| format!("write {}", staged.display()))?;
    std::fs::rename(&staged, target).with_context(|| format!("rename to {}", target.display()))
}
