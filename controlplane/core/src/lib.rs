//! Planners: what the cluster should look like, and why.
//!
//! Everything here is pure: text of manifests in, objects out ([`manifest`]); objects, the store's
//! state and the agents' reports in, a [`Plan`] out ([`plan`]). Nothing reads a file, a clock or a
//! socket, and planning twice on the same inputs yields the same plan. Planning on the result of a
//! plan yields an empty one.
//!
//! ```text
//!  text ─ manifest::parse ─> Document ─ ManifestSet ─> Snapshot ─┐
//!  store events ─ StoreTable ─> Tables ──────────────────────────┼─> plan(&Inputs) ─> Plan
//!  settings, time, memory of what has been unused ───────────────┘
//! ```

pub mod check;
pub mod config;
pub mod convert;
pub mod labels;
pub mod manifest;
pub mod object;
pub mod plan;
mod planners;
pub mod source;
pub mod table;
mod tables;

pub use config::Config;
pub use plan::Plan;
pub use planners::{Inputs, Planner, plan};
pub use tables::{Change, Tables};
