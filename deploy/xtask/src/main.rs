//! Verbs of this repository that are longer than a line.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, Subcommand};
use skein_xtask::{bpf, tidy};

#[derive(Parser)]
#[command(about = "Verbs of this repository that are longer than a line")]
struct Arguments {
    /// Root of the checkout.
    #[arg(long, default_value_os_t = bpf::tree::checkout())]
    root: PathBuf,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// The eBPF object that is kept in the tree.
    #[command(subcommand)]
    Bpf(Bpf),
    /// Looks for what does not belong into the tree: long files, leftover markers, machine paths.
    Tidy,
}

#[derive(Subcommand)]
enum Bpf {
    /// Builds bpf/object/skein.o and its manifest.
    Build,
    /// Compares the manifest with the tree, and, where the recorded toolchain is present, a fresh
    /// build with the object, byte for byte.
    Check,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    match arguments.verb {
        Verb::Bpf(Bpf::Build) => println!("{}", bpf::build(&arguments.root)?),
        Verb::Bpf(Bpf::Check) => println!("{}", bpf::check(&arguments.root)?),
        Verb::Tidy => println!("{}", tidy::run(&arguments.root)?),
    }
    Ok(())
}
