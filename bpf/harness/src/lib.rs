//! Runs the object that is kept in the tree: loads it, fills its maps from the same tables that the
//! host logic uses, and takes frames through the kernel's test run, so that both can be compared.

pub mod bench;
pub mod kernel;
mod maps;
pub mod privilege;
pub mod sandbox;
pub mod twin;

/// The eBPF object as it is kept in the tree.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!("../../object/skein.o");
