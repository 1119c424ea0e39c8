//! What a process used, from `/proc/PID/stat`.

use std::time::Duration;

use anyhow::Context;
use skein_store_conformance::process::Process;

/// Clock ticks per second in `/proc`: USER_HZ, 100 on every Linux platform that Rust supports.
const TICKS_PER_SECOND: u64 = 100;

/// Places of utime and stime behind the closing parenthesis of the name (proc(5): fields 14, 15).
const UTIME: usize = 11;
const STIME: usize = 12;

/// User and system time that all these members have used.
pub(crate) fn used_by(members: &[Process]) -> anyhow::Result<Duration> {
    members.iter().map(|member| used(member.id())).sum()
}

/// User and system time that a process has used, all its threads together.
fn used(pid: u32) -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, behind_name) = stat.rsplit_once(')').context("stat without a name")?;
    let fields: Vec<&str> = behind_name.split_whitespace().collect();
    let ticks = |place: usize| -> anyhow::Result<u64> {
        Ok(fields.get(place).context("stat is too short")?.parse()?)
    };
    let ticks = ticks(UTIME)? + ticks(STIME)?;
    Ok(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
}
