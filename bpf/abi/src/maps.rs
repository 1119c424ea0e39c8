//! One module per map: key, value, name, bound. Names are the statics' names in the object; they
//! stay below the kernel's 15 characters so that `bpftool` shows them whole.

pub mod backends;
pub mod conntrack;
pub mod control;
pub mod endpoints;
pub mod events;
pub mod fragments;
pub mod frontends;
pub mod ifaces;
pub mod ipcache;
pub mod metrics;
pub mod policy;
pub mod slots;
pub mod sock_reverse;

/// Kernel map types in use (`enum bpf_map_type` of `linux/bpf.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum MapKind {
    /// `BPF_MAP_TYPE_HASH`, with `BPF_F_NO_PREALLOC`.
    Hash = 1,
    /// `BPF_MAP_TYPE_ARRAY`.
    Array = 2,
    /// `BPF_MAP_TYPE_PERCPU_ARRAY`.
    PerCpuArray = 6,
    /// `BPF_MAP_TYPE_LRU_HASH`.
    LruHash = 9,
    /// `BPF_MAP_TYPE_LPM_TRIE`, with `BPF_F_NO_PREALLOC`.
    LpmTrie = 11,
    /// `BPF_MAP_TYPE_RINGBUF`.
    RingBuf = 27,
}

/// `BPF_F_NO_PREALLOC` of `linux/bpf.h`.
pub const NO_PREALLOC: u32 = 1;

/// Who fills a map, and so what a new agent may do with one that it finds pinned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapRole {
    /// The agent writes it from the store; it can be rebuilt.
    Desired,
    /// The programs write it; losing it breaks open flows.
    State,
    /// The programs write it for observers.
    Observed,
}

/// What a loader checks before it takes over a pinned map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapSpec {
    /// Name of the static in the object, and file name of the pin.
    pub name: &'static str,
    /// Kernel map type.
    pub kind: MapKind,
    /// Key size in bytes.
    pub key_size: u32,
    /// Value size in bytes.
    pub value_size: u32,
    /// Default bound (ring buffer: bytes); a loader may scale it.
    pub max_entries: u32,
    /// Flags at creation.
    pub flags: u32,
    /// Who fills it.
    pub role: MapRole,
}

impl MapSpec {
    pub(crate) const fn new<K, V>(
        name: &'static str,
        kind: MapKind,
        max_entries: u32,
        role: MapRole,
    ) -> Self {
        let flags = match kind {
            MapKind::Hash | MapKind::LpmTrie => NO_PREALLOC,
            _ => 0,
        };
        let key_size = core::mem::size_of::<K>() as u32;
        let value_size = core::mem::size_of::<V>() as u32;
        Self { name, kind, key_size, value_size, max_entries, flags, role }
    }
}

/// Every map of the object. All of them are pinned.
pub const ALL: &[MapSpec] = &[
    endpoints::SPEC,
    ifaces::SPEC,
    ipcache::SPEC,
    ipcache::CIDR_SPEC,
    frontends::SPEC,
    slots::SPEC,
    backends::SPEC,
    conntrack::SPEC,
    sock_reverse::SPEC,
    fragments::SPEC,
    policy::SPEC,
    metrics::SPEC,
    events::SPEC,
    control::SPEC,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_the_kernel_and_are_unique() {
        for (i, spec) in ALL.iter().enumerate() {
            assert!(spec.name.len() <= 15, "{}", spec.name);
            assert!(ALL[i + 1..].iter().all(|other| other.name != spec.name));
        }
    }
}
