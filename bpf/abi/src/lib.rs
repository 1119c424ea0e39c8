//! Layouts shared by the kernel programs and the agent: node configuration, map keys and values,
//! events, reasons and constants.
//!
//! Rules that hold for every type here:
//!
//! * `repr(C)`, integers only, no implicit padding; size and offsets are asserted at compile time;
//! * a field whose name ends in `_be` is in network byte order *in memory*, as it stands in a
//!   packet: an IPv4 address is `u32::from_ne_bytes(addr.octets())`, a port is `port.to_be()`.
//!   Every other field is in host byte order;
//! * ids of services and backends are 32 bits: 50,000 services with some ports and some frontends
//!   each do not fit 16;
//! * with the feature `user` every type has `SIZE`, `to_bytes` and `from_bytes`, because the traits
//!   of the loading library cannot be implemented outside their crate; the agent uses byte arrays
//!   as key and value types of its map handles.
//!
//! A change of any layout raises [`LAYOUT_VERSION`]; pins live in a directory of that number.
#![no_std]

pub mod addr;
mod bytes;
pub mod config;
pub mod event;
pub mod identity;
pub mod maps;
pub mod programs;
pub mod reason;

pub use config::NodeConfig;
pub use event::{Event, EventKind};
pub use maps::MapSpec;
pub use reason::{Direction, Outcome, Reason};

/// Version of every layout in this crate. Pinned maps and links live in `<bpf-root>/v<N>/`.
pub const LAYOUT_VERSION: u32 = 1;

/// IP protocol numbers that the datapath tells apart (IANA protocol numbers).
pub mod proto {
    /// ICMP.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
}
