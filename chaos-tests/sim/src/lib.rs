//! A cluster in one thread: real members, with clock, network and disks made of numbers.

pub mod disk;
pub mod rng;
