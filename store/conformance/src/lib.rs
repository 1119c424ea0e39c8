//! One etcd v3 conformance suite, run over several stores.
//!
//! The cases state what etcd 3.7.1 answers; each was first held against a real one. They run over
//! the in-memory machine, over a `skein-store` process, and over etcd itself, which keeps the
//! suite honest: a case that etcd fails is wrong.
//!
//! Reading order: [`endpoint`] (the store as the suite sees it), [`cases`], [`runner`],
//! [`process`] and [`peers`] (where the programs come from).

pub mod ask;
pub mod cases;
pub mod check;
pub mod context;
pub mod endpoint;
pub mod peers;
pub mod process;
pub mod runner;
