//! Tests that need the kernel: mandatory where the caller promised the privilege, otherwise left out
//! with a line that says so.

use std::io::Write as _;

/// Variable that makes privileged tests mandatory.
pub const REQUIRED: &str = "SKEIN_PRIVILEGED";

/// Whether a privileged test must be left out; says so on standard error.
///
/// # Panics
///
/// When [`REQUIRED`] is `1` and the privilege is missing.
#[must_use]
pub fn left_out(test: &str) -> bool {
    let Err(reason) = probe() else { return false };
    let required = std::env::var(REQUIRED).is_ok_and(|value| value == "1");
    assert!(!required, "{test}: {REQUIRED}=1, but {reason}");
    // Not `eprintln!`: a passing test's captured output is thrown away, and this must be seen.
    let _ = writeln!(std::io::stderr(), "LEFT OUT: {test}: {reason}");
    true
}

/// What is missing to load eBPF, found by creating the smallest map there is.
fn probe() -> Result<(), String> {
    /// `BPF_MAP_CREATE` of `linux/bpf.h`.
    const MAP_CREATE: libc::c_long = 0;
    // Type array, key and value of four bytes, one entry.
    let mut attr: [u32; 18] = [0; 18];
    attr[..4].copy_from_slice(&[2, 4, 4, 1]);
    // SAFETY: the attribute is a zeroed `union bpf_attr` of the given size.
    let fd =
        unsafe { libc::syscall(libc::SYS_bpf, MAP_CREATE, attr.as_mut_ptr(), size_of_val(&attr)) };
    if fd < 0 {
        let error = std::io::Error::last_os_error();
        return Err(format!("the kernel refuses eBPF maps to this process: {error}"));
    }
    // SAFETY: the descriptor was just created and nobody else has it.
    unsafe { libc::close(i32::try_from(fd).unwrap_or(-1)) };
    Ok(())
}
