//! Decisions of the datapath, without a kernel helper in sight.
//!
//! ```text
//!  packet ──parse──> Flow ──decide (tables)──> Plan ──rewrite──> packet
//!                                               └──report──> counters, events
//! ```
//!
//! The kernel programs and the host run the same functions over two implementations of [`Tables`]
//! and [`Packet`]: maps and socket buffers in the kernel, hash maps and byte vectors on the host
//! (feature `host`). Everything is written for the verifier: small `Copy` values, fixed bounds, no
//! panics, no slices. Functions are inlined so that a program needs no calls between functions.
#![no_std]

#[cfg(feature = "host")]
extern crate std;

pub mod backend;
pub mod checksum;
pub mod conntrack;
pub mod decide;
pub mod deliver;
pub mod flow;
#[cfg(feature = "host")]
pub mod host;
pub mod packet;
pub mod parse;
pub mod plan;
pub mod reject;
pub mod related;
pub mod report;
pub mod rewrite;
pub mod service;
pub mod socket;
pub mod tables;
#[cfg(feature = "testing")]
pub mod testing;

pub use flow::{Flow, Tuple};
pub use packet::Packet;
pub use plan::{Action, Plan};
pub use tables::{Node, Tables};
