//! What this machine lacks for a lab with real packets.

use std::path::{Path, PathBuf};

/// One thing that is missing, in words for the user.
pub type Missing = String;

/// Everything that stands in the way of a lab in the kernel; empty means: go.
#[must_use]
pub fn missing() -> Vec<Missing> {
    let mut missing = Vec::new();
    if !nix::unistd::geteuid().is_root() {
        missing.push("root (network namespaces, cgroups and eBPF need it)".to_owned());
        return missing;
    }
    if cgroup2_mount().is_none() {
        missing.push("a writable cgroup2 mount".to_owned());
    }
    for tool in ["ip", "nft"] {
        if find_program(tool).is_none() {
            missing.push(format!("the command `{tool}`"));
        }
    }
    if let Err(error) = can_unshare_network() {
        missing.push(format!("the right to make network namespaces ({error})"));
    }
    if let Err(error) = can_load_bpf() {
        missing.push(format!("the right to load eBPF programs ({error})"));
    }
    if !Path::new("/sys/fs/bpf").is_dir() && !Path::new("/proc/self/ns/net").exists() {
        missing.push("/proc and /sys".to_owned());
    }
    missing
}

/// The mount point of the cgroup v2 hierarchy, pure or beside v1 controllers, if it can be written.
#[must_use]
pub fn cgroup2_mount() -> Option<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/mounts").ok()?;
    let mount = cgroup2_in(&mounts)?;
    let writable = nix::unistd::access(&mount, nix::unistd::AccessFlags::W_OK).is_ok();
    writable.then_some(mount)
}

fn cgroup2_in(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        let target = fields.nth(1)?;
        (fields.next()? == "cgroup2").then(|| PathBuf::from(target))
    })
}

/// A program on the search path or in the directories of system tools.
#[must_use]
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from))
        .map(|dir| dir.join(name))
        .find(|candidate| candidate.is_file())
}

/// Tries in a thread of its own, which takes the new namespace with it when it ends.
fn can_unshare_network() -> std::io::Result<()> {
    std::thread::spawn(|| {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).map_err(std::io::Error::from)
    })
    .join()
    .unwrap_or_else(|_| Err(std::io::Error::other("the probing thread ended early")))
}

/// Loads the smallest tc program there is: `r0 = 0; exit`.
fn can_load_bpf() -> std::io::Result<()> {
    /// `union bpf_attr` as BPF_PROG_LOAD reads its first fields (linux/bpf.h).
    #[repr(C)]
    #[derive(Default)]
    struct ProgLoad {
        prog_type: u32,
        insn_cnt: u32,
        insns: u64,
        license: u64,
        log_level: u32,
        log_size: u32,
        log_buf: u64,
        kern_version: u32,
        prog_flags: u32,
    }
    const BPF_PROG_LOAD: libc::c_long = 5;
    const BPF_PROG_TYPE_SCHED_CLS: u32 = 3;
    let insns: [u64; 2] = [0x0000_0000_0000_00b7, 0x0000_0000_0000_0095];
    let attr = ProgLoad {
        prog_type: BPF_PROG_TYPE_SCHED_CLS,
        insn_cnt: 2,
        insns: insns.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        ..ProgLoad::default()
    };
    // SAFETY: the attribute, the two instructions and the licence outlive the call; the kernel reads, never writes them.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_PROG_LOAD,
            &raw const attr,
            std::mem::size_of::<ProgLoad>(),
        )
    };
    if fd < 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just returned to us and nobody else knows it.
    unsafe { libc::close(fd as libc::c_int) };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cgroup2_is_found_in_hybrid_and_pure_trees() {
        let hybrid = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\ncgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n\
                      cgroup2 /sys/fs/cgroup/unified cgroup2 rw,relatime 0 0\n";
        assert_eq!(cgroup2_in(hybrid), Some(PathBuf::from("/sys/fs/cgroup/unified")));
        let pure = "cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n";
        assert_eq!(cgroup2_in(pure), Some(PathBuf::from("/sys/fs/cgroup")));
        assert_eq!(cgroup2_in("cgroup /sys/fs/cgroup/cpu cgroup rw 0 0\n"), None);
    }
}
