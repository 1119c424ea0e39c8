//! The maps behind the interface that decisions ask.

use aya_ebpf::btf_maps::lpm_trie::Key;
use aya_ebpf::helpers::{bpf_get_prandom_u32, bpf_ktime_get_ns};
use skein_bpf_abi::maps::backends::{Backend, BackendKey};
use skein_bpf_abi::maps::conntrack::{Ct, CtKey};
use skein_bpf_abi::maps::endpoints::{Endpoint, EndpointKey};
use skein_bpf_abi::maps::fragments::{Fragment, FragmentKey};
use skein_bpf_abi::maps::frontends::{Frontend, FrontendKey};
use skein_bpf_abi::maps::ifaces::{Iface, IfaceKey};
use skein_bpf_abi::maps::ipcache::{Ipcache, IpcacheKey};
use skein_bpf_abi::maps::metrics;
use skein_bpf_abi::maps::policy::{Policy, PolicyKey};
use skein_bpf_abi::maps::slots::{Slot, SlotKey};
use skein_bpf_abi::maps::sock_reverse::{SockReverse, SockReverseKey};
use skein_bpf_abi::{Direction, Event, Reason};
use skein_bpf_logic::Tables;

use crate::maps;

/// Update flag: create or replace.
const ANY: u64 = 0;

/// This node: constants in read-only data, tables in maps.
pub(crate) struct Kernel;

/// Copies a map value out at once. The kernel may reuse an entry's memory after an eviction, so a
/// value can be torn between two flows; the next packet reads it whole.
macro_rules! read {
    ($map:ident, $key:expr) => {
        // SAFETY: the reference does not outlive the copy.
        unsafe { maps::$map.get($key) }.copied()
    };
}

impl Tables for Kernel {
    #[inline(always)]
    fn endpoint(&self, addr_be: u32) -> Option<Endpoint> {
        read!(skein_endpoint, EndpointKey { addr_be })
    }

    #[inline(always)]
    fn iface(&self, ifindex: u32) -> Option<Iface> {
        read!(skein_iface, IfaceKey { ifindex })
    }

    #[inline(always)]
    fn ipcache(&self, addr_be: u32) -> Option<Ipcache> {
        read!(skein_ipcache, IpcacheKey { addr_be })
    }

    #[inline(always)]
    fn cidr(&self, addr_be: u32) -> Option<Ipcache> {
        maps::skein_cidr.get(&Key::new(32, addr_be)).copied()
    }

    #[inline(always)]
    fn frontend(&self, key: &FrontendKey) -> Option<Frontend> {
        read!(skein_frontend, key)
    }

    #[inline(always)]
    fn slot(&self, key: &SlotKey) -> Option<Slot> {
        read!(skein_slot, key)
    }

    #[inline(always)]
    fn backend(&self, id: u32) -> Option<Backend> {
        read!(skein_backend, BackendKey { id })
    }

    #[inline(always)]
    fn ct(&self, key: &CtKey) -> Option<Ct> {
        read!(skein_ct, key)
    }

    #[inline(always)]
    fn ct_insert(&self, key: &CtKey, value: &Ct) -> bool {
        maps::skein_ct.insert(key, value, ANY).is_ok()
    }

    #[inline(always)]
    fn ct_touch(&self, key: &CtKey, now_ns: u64, flags: u16) -> bool {
        let Some(entry) = maps::skein_ct.get_ptr_mut(key) else { return false };
        // SAFETY: points to the map's value. Another CPU may write it too; both write a time of now
        // and flags that only grow, and a lost flag comes again with the next packet that has it.
        unsafe {
            (*entry).last_seen_ns = now_ns;
            (*entry).flags |= flags;
        }
        true
    }

    #[inline(always)]
    fn fragment(&self, key: &FragmentKey) -> Option<Fragment> {
        read!(skein_frag, key)
    }

    #[inline(always)]
    fn fragment_insert(&self, key: &FragmentKey, value: &Fragment) {
        // A refusal costs this datagram: its later fragments are dropped and counted.
        let _ = maps::skein_frag.insert(key, value, ANY);
    }

    #[inline(always)]
    fn policy(&self, key: &PolicyKey) -> Option<Policy> {
        read!(skein_policy, key)
    }

    #[inline(always)]
    fn sock_reverse(&self, key: &SockReverseKey) -> Option<SockReverse> {
        read!(skein_sockrev, key)
    }

    #[inline(always)]
    fn sock_reverse_insert(&self, key: &SockReverseKey, value: &SockReverse) -> bool {
        maps::skein_sockrev.insert(key, value, ANY).is_ok()
    }

    #[inline(always)]
    fn trace_mask(&self) -> u32 {
        let Some(control) = maps::skein_control.get(0) else { return 0 };
        control.events
    }

    #[inline(always)]
    fn count(&self, reason: Reason, direction: Direction, bytes: u32) {
        if let Some(metric) = maps::skein_metrics.get_ptr_mut(metrics::index(reason, direction)) {
            // SAFETY: this CPU's own slot; programs of one CPU do not interrupt each other here.
            unsafe {
                (*metric).packets += 1;
                (*metric).bytes += u64::from(bytes);
            }
        }
    }

    #[inline(always)]
    fn emit(&self, event: &Event) -> bool {
        maps::skein_events.output(event, 0).is_ok()
    }

    #[inline(always)]
    fn now_ns(&self) -> u64 {
        // SAFETY: no arguments, no side effects.
        unsafe { bpf_ktime_get_ns() }
    }

    #[inline(always)]
    fn random(&self) -> u32 {
        // SAFETY: no arguments.
        unsafe { bpf_get_prandom_u32() }
    }
}
