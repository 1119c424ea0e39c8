//! An etcd-v3-compatible store member: disk, consensus, gRPC and HTTP.

mod config;
mod data_dir;
pub mod disk;
pub mod log;
mod metrics;
mod net;
mod process;
pub mod snapshot_file;
