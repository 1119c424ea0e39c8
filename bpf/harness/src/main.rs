//! `skein-bpf-harness sizes`: what the verifier made of each program.
use skein_bpf_harness::kernel::Kernel;
fn main() -> anyhow::Result<()> {
    let mut config = skein_bpf_abi::NodeConfig::EMPTY;
    config.flags = skein_bpf_abi::config::flags::ALL;
    let mut kernel = Kernel::load(&config, &[])?;
    kernel.check_maps()?;
    for s in kernel.sizes()? {
        println!("{:24} {:6} {:6}", s.name, s.verified, s.translated);
    }
    Ok(())
}
