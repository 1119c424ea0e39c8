//! The verbs, apart from the command line, so that tests can call them.

pub mod bpf;
pub mod tidy;
