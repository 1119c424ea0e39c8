//! What the kernel says about this process, from `/proc/self` (proc(5)).

use std::fs;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Usage of resources; a field that cannot be read is 0.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ProcessUsage {
    pub(crate) resident_bytes: u64,
    pub(crate) virtual_bytes: u64,
    pub(crate) cpu_seconds: f64,
    pub(crate) open_files: u64,
    pub(crate) max_files: u64,
    pub(crate) start_seconds: f64,
}

/// Ticks of the clock that `/proc` counts in; fixed at 100 on every Linux that Rust runs on.
const TICKS_PER_SECOND: f64 = 100.0;

impl ProcessUsage {
    pub(crate) fn read() -> Self {
        Self::parse().unwrap_or_default()
    }

    fn parse() -> Option<Self> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        // The command may contain anything; fields are counted behind its closing parenthesis,
        // where the third field of proc(5) is number 0.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks = |number: usize| fields.get(number)?.parse::<f64>().ok();
        Some(Self {
            resident_bytes: status_kib("VmRSS:")? * 1024,
            virtual_bytes: fields.get(20)?.parse().ok()?,
            cpu_seconds: (ticks(11)? + ticks(12)?) / TICKS_PER_SECOND,
            open_files: fs::read_dir("/proc/self/fd").ok()?.count() as u64,
            max_files: max_files()?,
            start_seconds: boot_seconds()? + ticks(19)? / TICKS_PER_SECOND,
        })
    }
}

fn status_kib(field: &str) -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Raises this process's limit of open files as far as it may go by itself: defaults are made for
/// programs that use select(2), and a connection takes a file.
///
/// # Errors
/// The kernel's; the limit stays as it was.
pub fn raise_max_open_files() -> std::io::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?)
}

/// The limit of open files in force.
pub(crate) fn max_open_files() -> usize {
    /// What Linux gives a process by default.
    const DEFAULT: usize = 1024;
    let limit = getrlimit(Resource::RLIMIT_NOFILE);
    limit.map_or(DEFAULT, |(soft, _)| usize::try_from(soft).unwrap_or(usize::MAX))
}

fn max_files() -> Option<u64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

fn boot_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_something() {
        let usage = ProcessUsage::read();
        assert!(usage.resident_bytes > 100_000 && usage.virtual_bytes > usage.resident_bytes);
        assert!(usage.open_files > 2 && usage.max_files >= usage.open_files);
        assert!(usage.start_seconds > 1e9);
    }
}
