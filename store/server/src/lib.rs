//! An etcd-v3-compatible store member: disk, consensus, gRPC and HTTP.

pub mod disk;
pub mod log;
