//! A cluster out of network namespaces on one machine.
//!
//! The lab plays the machines, the kubelet and the endpoint controller, and nothing else: control plane, store, agents
//! and CNI plugin are the real binaries, started with other flags. Read in this order: [`layout`] and [`topology`] (names
//! and addresses), [`cluster`] (building and removing), [`kubelet`] (pods), [`demo`], [`e2e`], [`bench`].

pub mod agentctl;
pub mod bench;
pub mod cli;
pub mod cluster;
pub mod cni;
pub mod demo;
pub mod dns;
pub mod e2e;
pub mod echo;
pub mod interrupt;
pub mod kubelet;
pub mod latency;
pub mod layout;
pub mod manifests;
pub mod net;
pub mod objects;
pub mod privilege;
pub mod process;
pub mod progress;
pub mod ps;
pub mod spec;
pub mod store;
pub mod table;
pub mod topology;
pub mod traffic;
pub mod workload;
