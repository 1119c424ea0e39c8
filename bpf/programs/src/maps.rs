//! The maps. Names, types and bounds are those of `skein-bpf-abi`; the static's name is the map's.
#![allow(non_upper_case_globals, reason = "a map's name in the kernel is its static's name")]

use aya_ebpf::btf_maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, RingBuf};
use aya_ebpf::macros::btf_map;
use skein_bpf_abi::Event;
use skein_bpf_abi::maps::backends::{self, Backend, BackendKey};
use skein_bpf_abi::maps::conntrack::{self, Ct, CtKey};
use skein_bpf_abi::maps::control::{self, Control};
use skein_bpf_abi::maps::endpoints::{self, Endpoint, EndpointKey};
use skein_bpf_abi::maps::fragments::{self, Fragment, FragmentKey};
use skein_bpf_abi::maps::frontends::{self, Frontend, FrontendKey};
use skein_bpf_abi::maps::ifaces::{self, Iface, IfaceKey};
use skein_bpf_abi::maps::ipcache::{self, Ipcache, IpcacheKey};
use skein_bpf_abi::maps::metrics::{self, Metric};
use skein_bpf_abi::maps::policy::{self, Policy, PolicyKey};
use skein_bpf_abi::maps::slots::{self, Slot, SlotKey};
use skein_bpf_abi::maps::sock_reverse::{self, SockReverse, SockReverseKey};
use skein_bpf_abi::maps::{NO_PREALLOC, events};

/// Flags of hashes that the agent fills: their memory grows with their content.
const FILLED: usize = NO_PREALLOC as usize;

type Filled<K, V, const MAX: usize> = HashMap<K, V, MAX, FILLED>;

#[btf_map]
pub(crate) static skein_endpoint: Filled<
    EndpointKey,
    Endpoint,
    { endpoints::MAX_ENTRIES as usize },
> = HashMap::new();

#[btf_map]
pub(crate) static skein_iface: Filled<IfaceKey, Iface, { ifaces::MAX_ENTRIES as usize }> =
    HashMap::new();

#[btf_map]
pub(crate) static skein_ipcache: Filled<IpcacheKey, Ipcache, { ipcache::MAX_ENTRIES as usize }> =
    HashMap::new();

#[btf_map]
pub(crate) static skein_cidr: LpmTrie<u32, Ipcache, { ipcache::CIDR_MAX_ENTRIES as usize }> =
    LpmTrie::new();

#[btf_map]
pub(crate) static skein_frontend: Filled<
    FrontendKey,
    Frontend,
    { frontends::MAX_ENTRIES as usize },
> = HashMap::new();

#[btf_map]
pub(crate) static skein_slot: Filled<SlotKey, Slot, { slots::MAX_ENTRIES as usize }> =
    HashMap::new();

#[btf_map]
pub(crate) static skein_backend: Filled<BackendKey, Backend, { backends::MAX_ENTRIES as usize }> =
    HashMap::new();

#[btf_map]
pub(crate) static skein_ct: LruHashMap<CtKey, Ct, { conntrack::MAX_ENTRIES as usize }> =
    LruHashMap::new();

#[btf_map]
pub(crate) static skein_sockrev: LruHashMap<
    SockReverseKey,
    SockReverse,
    { sock_reverse::MAX_ENTRIES as usize },
> = LruHashMap::new();

#[btf_map]
pub(crate) static skein_frag: LruHashMap<
    FragmentKey,
    Fragment,
    { fragments::MAX_ENTRIES as usize },
> = LruHashMap::new();

#[btf_map]
pub(crate) static skein_policy: Filled<PolicyKey, Policy, { policy::MAX_ENTRIES as usize }> =
    HashMap::new();

#[btf_map]
pub(crate) static skein_metrics: PerCpuArray<Metric, { metrics::MAX_ENTRIES as usize }> =
    PerCpuArray::new();

#[btf_map]
pub(crate) static skein_events: RingBuf<Event, { events::BYTES as usize }> = RingBuf::new();

#[btf_map]
pub(crate) static skein_control: Array<Control, { control::MAX_ENTRIES as usize }> = Array::new();
