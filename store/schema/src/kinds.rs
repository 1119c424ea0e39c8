//! One module per kind.

pub mod agent_status;
pub mod block;
pub mod cluster_config;
pub mod cluster_service;
pub mod election;
pub mod endpoint_report;
pub mod heartbeat;
pub mod identity;
pub mod ip;
pub mod node;
pub mod node_report;
pub mod pod;
pub mod pool;
pub mod service;
pub mod slice;
