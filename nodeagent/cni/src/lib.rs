//! The CNI plugin `skein-cni` and the messages of the agent's socket.
//!
//! The plugin is thin: it checks what the runtime says ([`config`]), makes one call to the agent's
//! socket ([`client`]) and prints the answer in the shape of the specification's version that was
//! asked for ([`result`]). It knows nothing about addresses or devices; the agent decides
//! and acts. It must start fast and never wait for long, so it uses the standard library only.
//!
//! [`messages`] is the agent's whole socket protocol: the agent serves it, `skein-agent status` and
//! the lab speak it too.
//!
//! Source: CNI specification 1.1.0.

pub mod client;
pub mod config;
pub mod error;
pub mod messages;
pub mod plugin;
pub mod result;
