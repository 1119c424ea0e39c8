//! The gRPC services: they read a request, ask [`crate::core::Core`], and fill in headers.

mod auth;
mod cluster;
pub(crate) mod health;
mod kv;
mod lease;
mod maintenance;
pub(crate) mod watch;

pub(crate) use auth::AuthService;
pub(crate) use cluster::ClusterService;
pub(crate) use kv::KvService;
pub(crate) use lease::LeaseService;
pub(crate) use maintenance::MaintenanceService;
