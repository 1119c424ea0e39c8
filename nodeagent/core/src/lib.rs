//! What this node's kernel should hold, decided without touching it.
//!
//! The agent's edges feed facts in (store values, CNI requests, what the kernel was found to hold) and
//! carry plans out. Nothing here opens a file or a socket, reads a clock or draws a random number, so
//! every rule of the node runs under property tests.
//!
//! Reading order: [`types`] (addresses of the service tables), [`lb`] (one service → its frontends and
//! backends; staged plans over the maps), [`ipcache`] and [`routes`] (what other nodes' records mean
//! here), [`ipam`] and [`endpoint`] (this node's own pods), [`checkpoint`] (what survives a restart),
//! [`fake`] (a kernel in memory that checks what a packet could meet).

pub mod calc;
pub mod checkpoint;
pub mod endpoint;
pub mod fake;
pub mod few;
pub mod ids;
pub mod ipam;
pub mod ipcache;
pub mod lb;
pub mod mirror;
pub mod routes;
pub mod types;
