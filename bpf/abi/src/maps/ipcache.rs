//! Addresses of the cluster: identity and the node behind them. Exact addresses in a hash; address
//! ranges (each node's block, CIDRs of policy) in a trie that is asked when the hash has no answer.

use super::{MapKind, MapRole, MapSpec};
use crate::bytes::layout;

/// Static's name of the exact map.
pub const NAME: &str = "skein_ipcache";
/// Entries: pods and nodes of the largest cluster that is planned for (5,000 nodes, 100 pods each).
pub const MAX_ENTRIES: u32 = 512_000;
/// What a loader expects of the exact map.
pub const SPEC: MapSpec =
    MapSpec::new::<IpcacheKey, Ipcache>(NAME, MapKind::Hash, MAX_ENTRIES, MapRole::Desired);

/// Static's name of the trie.
pub const CIDR_NAME: &str = "skein_cidr";
/// Entries: one block per node of 5,000, some nodes with more than one, and CIDRs of policy.
pub const CIDR_MAX_ENTRIES: u32 = 16_384;
/// What a loader expects of the trie.
pub const CIDR_SPEC: MapSpec = MapSpec::new::<CidrKey, Ipcache>(
    CIDR_NAME,
    MapKind::LpmTrie,
    CIDR_MAX_ENTRIES,
    MapRole::Desired,
);

/// [`Ipcache::flags`]: the address is a node's own, reached by the stack and never by the tunnel.
pub const FLAG_NODE: u32 = 1 << 0;
/// [`Ipcache::flags`]: reached by the stack even in tunnel mode.
pub const FLAG_SKIP_TUNNEL: u32 = 1 << 1;

/// Key of the exact map.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IpcacheKey {
    /// The address.
    pub addr_be: u32,
}

/// Key of the trie.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CidrKey {
    /// Leading bits that count, 0 to 32.
    pub prefix_len: u32,
    /// The address; bits behind the prefix are ignored.
    pub addr_be: u32,
}

/// Value of both.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ipcache {
    /// Node to tunnel to. 0: no tunnel, leave it to the stack. The node's own address: a pod of this
    /// node, which only the endpoint map can deliver.
    pub tunnel_be: u32,
    /// Security identity.
    pub identity: u32,
    /// Bits named `FLAG_*` here.
    pub flags: u32,
}

layout!(IpcacheKey, 4, [4]);
layout!(CidrKey, 8, [4, 4]);
layout!(Ipcache, 12, [4, 4, 4]);
