//! Choosing a backend.

use skein_bpf_abi::maps::backends::{self, Backend};
use skein_bpf_abi::maps::frontends::Frontend;
use skein_bpf_abi::maps::slots::SlotKey;

use crate::flow::Tuple;
use crate::tables::Tables;

/// A backend and its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// Id.
    pub id: u32,
    /// Address and port.
    pub backend: Backend,
}

/// Number that depends on every bit of the flow and on nothing else: after an eviction, a flow finds
/// its backend again as long as the service has not changed. Two rounds of multiply and shift
/// (constants of the SplitMix64 finaliser).
#[must_use]
#[inline(always)]
pub const fn flow_hash(tuple: &Tuple, proto: u8) -> u32 {
    let addresses = (tuple.src_be as u64) << 32 | tuple.dst_be as u64;
    let ports = (tuple.src_port_be as u64) << 24 | (tuple.dst_port_be as u64) << 8 | proto as u64;
    mix(addresses ^ ports.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// Number for a socket that speaks to a service without being connected.
#[must_use]
#[inline(always)]
pub const fn socket_hash(cookie: u64, addr_be: u32, port_be: u16) -> u32 {
    let service = (addr_be as u64) << 16 | port_be as u64;
    mix(cookie ^ service.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

#[inline(always)]
const fn mix(value: u64) -> u32 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (value >> 32) as u32 ^ value as u32
}

/// Position that a number picks: scaling instead of a remainder, so that nothing divides.
#[must_use]
#[inline(always)]
pub const fn position(number: u32, count: u32) -> u32 {
    ((number as u64 * count as u64) >> 32) as u32
}

/// The backend at the position that `number` picks. `None`: the slot or its backend is missing, the
/// service is being changed.
#[inline(always)]
pub fn at<T: Tables>(tables: &T, frontend: &Frontend, number: u32) -> Option<Chosen> {
    let index = position(number, frontend.count);
    let slot = tables.slot(&SlotKey { service: frontend.service, index })?;
    let backend = tables.backend(slot.backend)?;
    Some(Chosen { id: slot.backend, backend })
}

/// Whether a backend that a flow was given may take a new connection of that flow: still there under
/// the same id and address, and not going away.
#[inline(always)]
pub fn takes_new<T: Tables>(tables: &T, id: u32, addr_be: u32, port_be: u16) -> bool {
    let Some(backend) = tables.backend(id) else { return false };
    backend.addr_be == addr_be
        && backend.port_be == port_be
        && backend.flags & backends::FLAG_TERMINATING == 0
}
