//! One member's consensus driver around the raft crate.
