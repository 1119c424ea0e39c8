//! A cluster in one thread: real members, with clock, network and disks made of numbers.
//!
//! Everything that happens follows from one seed, so that a run can be repeated byte for byte. What
//! clients, watchers and members saw is judged by `skein-chaos-model`, which judges real processes
//! in the same way.

mod client;
pub mod disk;
mod host;
mod nemesis;
mod net;
mod operator;
mod outside;
pub mod planted;
mod recorder;
pub mod rng;
pub mod run;
pub mod scenario;
pub mod trace;
mod translate;
mod turn;
mod watcher;
mod world;
