//! The store, alone.
fn main() {}
