//! Verbs of this repository that are longer than a line.
fn main() {}
