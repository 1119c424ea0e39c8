//! An etcd-v3-compatible store member: disk, consensus, gRPC and HTTP.

/// [`ETCD_VERSION`] as a literal, for `concat!`.
macro_rules! etcd_version {
    () => {
        "3.7.1"
    };
}

mod app;
mod auth;
pub mod backup;
pub mod cli;
mod cluster;
mod compactor;
mod config;
mod core;
mod data_dir;
pub mod disk;
mod driver;
mod gateway;
mod http_api;
mod integrity;
pub mod log;
pub mod logging;
mod member;
mod metrics;
mod net;
mod overload;
mod peer;
mod process;
mod quota;
pub mod replica;
mod service;
pub mod snapshot_file;
mod state;
mod versions;

pub use auth::{Algorithm, AuthConfig, JwtConfig, KeyError, OptionError, TokenConfig};
pub use cluster::ClusterError;
pub use config::{AutoCompaction, ClusterState, ConfigError, ListenUrl, MemberConfig, TlsConfig};
pub use data_dir::DataDirError;
pub use driver::DriverError;
pub use gateway::GatewayError;
pub use member::{Member, StartError};
pub use net::tls::TlsError;
pub use process::raise_max_open_files;
pub use state::{ApplyError, Clock, Reply, RestoreError};

/// The version of etcd whose API and behaviour this member shows to clients that ask.
pub const ETCD_VERSION: &str = etcd_version!();

/// An error with its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
