//! `skein-bpf-harness sizes`: what the verifier made of each program.
//! `skein-bpf-harness bench`: cost of a packet in each tc program.

use anyhow::{Result, bail};
use skein_bpf_abi::NodeConfig;
use skein_bpf_abi::config::flags;
use skein_bpf_harness::bench;
use skein_bpf_harness::kernel::Kernel;

fn main() -> Result<()> {
    match std::env::args().nth(1).as_deref() {
        Some("sizes") => sizes(),
        Some("bench") => {
            print!("{}", bench::run()?);
            Ok(())
        }
        _ => bail!("usage: skein-bpf-harness sizes|bench"),
    }
}

fn sizes() -> Result<()> {
    let mut kernel = Kernel::load(&NodeConfig { flags: flags::ALL, ..NodeConfig::EMPTY }, &[])?;
    kernel.check_maps()?;
    println!("{:<24}{:>12}{:>12}", "program", "verified", "translated");
    for size in kernel.sizes()? {
        println!("{:<24}{:>12}{:>12}", size.name, size.verified, size.translated);
    }
    Ok(())
}
