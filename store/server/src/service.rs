//! The gRPC services: they read a request, ask [`crate::core::Core`], and fill in headers.

mod auth;
mod cluster;
mod election;
pub(crate) mod health;
mod kv;
mod lease;
mod lock;
mod maintenance;
mod queue;
pub(crate) mod watch;

pub(crate) use auth::AuthService;
pub(crate) use cluster::ClusterService;
pub(crate) use election::ElectionService;
pub(crate) use kv::KvService;
pub(crate) use lease::LeaseService;
pub(crate) use lock::LockService;
pub(crate) use maintenance::MaintenanceService;
