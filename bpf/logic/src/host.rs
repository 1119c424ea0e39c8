//! The datapath on a host, over ordinary memory: for nodes that cannot load eBPF, for tests and for
//! simulation. The decisions are the ones that the kernel programs make.
//!
//! [`Memory`] holds a node's maps. [`Memory::run`] takes a frame through one hook, as a program does.
//! [`Memory::send`] and [`Memory::connect`] answer what would happen to a packet or a socket call
//! without anybody building a frame.

mod frame;
mod memory;
mod query;

#[cfg(feature = "testing")]
pub(crate) use frame::sum_of;
pub use frame::{Frame, FrameBuilder};
pub use memory::{Memory, Ran};
pub use query::{Answer, Egress, Origin, Packet5, SocketAnswer};
