//! What the verifier makes of the object.

use skein_bpf_abi::NodeConfig;
use skein_bpf_abi::config::flags;
use skein_bpf_harness::kernel::Kernel;
use skein_bpf_harness::{privilege, twin};

/// Instructions that the verifier may walk for one program. The kernel's limit is a million; below
/// this bound, older kernels, which prune less, have room too, and loading stays under a second.
const VERIFIED_MAX: u32 = 150_000;

/// Every combination of modes loads: the verifier sees other programs in each.
#[test]
fn every_mode_passes_the_verifier() {
    if privilege::left_out("the verifier's judgement") {
        return;
    }
    for flags in 0..=flags::ALL {
        let config = NodeConfig { flags, ..NodeConfig::EMPTY };
        let mut kernel = match Kernel::load(&config, &twin::SMALL) {
            Ok(kernel) => kernel,
            Err(error) => panic!("flags {flags:#x}: {error:#}"),
        };
        kernel.check_maps().expect("maps as the layouts promise");
        for size in kernel.sizes().expect("sizes of loaded programs") {
            assert!(
                size.verified <= VERIFIED_MAX,
                "flags {flags:#x}: {} takes {} instructions",
                size.name,
                size.verified
            );
        }
    }
}
