//! The node agent's edges: kernel, network, disk, store, socket.
//!
//! What is decided is in `skein-nodeagent-core`; here it is carried out. The line of a change:
//! [`store`] takes events in → [`engine`] lets the core calculate and makes the maps ([`maps`],
//! byte layouts in [`convert`]) follow → [`bringup`] keeps devices, routes and masquerading
//! ([`netlink`], [`nft`]) → [`store`] reports back under this node's own prefix. Pods come through
//! [`socket`] to [`cni`] and [`podnet`]. The maps are either in the kernel ([`kernel`], raw calls in
//! [`sys`]) or in this process ([`memory`]).

pub mod args;
pub mod attachment_locks;
pub mod bringup;
pub mod cni;
pub mod convert;
pub mod decide;
pub mod dumps;
pub mod engine;
pub mod kernel;
pub mod maps;
pub mod memory;
pub mod metrics;
pub mod monitor;
pub mod netlink;
pub mod nft;
pub mod node;
pub mod podnet;
pub mod run;
pub mod show;
pub mod socket;
pub mod state_dir;
pub mod status;
pub mod store;
pub mod sys;

/// An error with all its causes, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        source = error.source();
    }
    text
}
