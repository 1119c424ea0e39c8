//! The control plane's edges: sources, the copy of the store, the fenced writer, leadership, HTTP.
//!
//! Decisions are in `skein-controlplane-core`; this crate reads, waits and writes. Start with
//! [`App`]; `lead` is the loop that everything else serves.

pub mod app;
pub mod cli;
mod embedded;
pub mod folder;
pub mod http;
pub mod lead;
pub mod metrics;
pub mod report;
pub mod source;
pub mod status;
pub mod writer;

pub use app::App;
pub use cli::Args;
