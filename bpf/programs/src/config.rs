//! The node's constants, in read-only data that the loader overrides before load.

use core::ptr::read_volatile;

use skein_bpf_abi::NodeConfig;
use skein_bpf_logic::Node;

use crate::tables::Kernel;

/// See [`NodeConfig`]. Read field by field and volatile: the compiler must not take the value in the
/// object for the final one, the verifier shall.
#[unsafe(no_mangle)]
static NODE_CONFIG: NodeConfig = NodeConfig::EMPTY;

macro_rules! field {
    ($name:ident, $type:ty) => {
        #[inline(always)]
        fn $name(&self) -> $type {
            // SAFETY: a valid static; volatile only keeps the compiler from knowing its value.
            unsafe { read_volatile(&raw const NODE_CONFIG.$name) }
        }
    };
}

impl Node for Kernel {
    field!(flags, u32);
    field!(netns_cookie, u64);
    field!(node_ip_be, u32);
    field!(router_ip_be, u32);
    field!(hairpin_ip_be, u32);
    field!(overlay_ifindex, u32);
    field!(host_ifindex, u32);
    field!(node_identity, u32);
}
