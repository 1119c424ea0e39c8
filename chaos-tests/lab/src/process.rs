//! Processes at their place: a network namespace, a cgroup, and for pods a `resolv.conf` of their own.
//!
//! The child joins its place between fork and exec. `ip netns exec` is not used: it remounts `/sys`, which hides cgroup2
//! and bpffs from the child.

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

/// How long a process gets to leave after SIGTERM before it is killed.
const TERM_GRACE: Duration = Duration::from_secs(10);

/// Where a process runs. `None` means: where the lab itself runs.
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// Handle of the network namespace.
    pub netns: Option<PathBuf>,
    /// Directory of the cgroup (v2).
    pub cgroup: Option<PathBuf>,
    /// File that the process sees as `/etc/resolv.conf`.
    pub resolv_conf: Option<PathBuf>,
}

/// A process the lab started, or found by its record.
#[derive(Debug)]
pub struct Process {
    name: String,
    id: ProcessId,
    child: Option<Child>,
    log: PathBuf,
}

/// A process id that cannot be mistaken for a later process with the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    pid: i32,
    /// Start time in clock ticks since boot (field 22 of /proc/PID/stat, proc(5)).
    started: u64,
}

/// The program that runs now, also when its file was replaced meanwhile, as a build does: the kernel resolves the link in
/// the child, which still is this program when it starts it (proc(5), `/proc/PID/exe`).
#[must_use]
pub fn own_program() -> &'static Path {
    Path::new("/proc/self/exe")
}

/// Set once this process removes what it built: nothing new may join then.
static LEAVING: AtomicBool = AtomicBool::new(false);

/// From now on this process starts nothing any more.
pub fn start_nothing_more() {
    LEAVING.store(true, Ordering::SeqCst);
}

/// A command that will run at `place`.
///
/// # Errors
/// A namespace handle or cgroup that cannot be opened; the lab is being removed.
pub fn command(place: &Place, program: &Path) -> Result<Command> {
    if LEAVING.load(Ordering::SeqCst) {
        bail!("{} is not started: the lab is being removed", program.display());
    }
    let netns = place.netns.as_deref().map(open_netns).transpose()?;
    let cgroup = place.cgroup.as_deref().map(open_cgroup).transpose()?;
    let resolv = place.resolv_conf.as_deref().map(c_path).transpose()?;
    let mut command = Command::new(program);
    let join = move || {
        // A process inherits the signal mask of the thread that starts it; ours may wait for signals.
        nix::sys::signal::SigSet::empty().thread_set_mask()?;
        if let Some(cgroup) = &cgroup {
            join_cgroup(cgroup)?;
        }
        if let Some(netns) = &netns {
            nix::sched::setns(netns, nix::sched::CloneFlags::CLONE_NEWNET)?;
        }
        if let Some(resolv) = &resolv {
            replace_resolv_conf(resolv)?;
        }
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes system calls only, on descriptors and strings prepared before.
    unsafe { command.pre_exec(join) };
    Ok(command)
}

fn open_netns(path: &Path) -> Result<OwnedFd> {
    let file = File::open(path)
        .with_context(|| format!("open the network namespace {}", path.display()))?;
    Ok(file.into())
}

fn open_cgroup(path: &Path) -> Result<File> {
    std::fs::create_dir_all(path).with_context(|| format!("make the cgroup {}", path.display()))?;
    OpenOptions::new()
        .write(true)
        .open(path.join("cgroup.procs"))
        .with_context(|| format!("open the cgroup {}", path.display()))
}

fn c_path(path: &Path) -> Result<CString> {
    CString::new(path.as_os_str().as_bytes()).context("a path with a zero byte")
}

/// Writing `0` moves the writing process.
fn join_cgroup(procs: &File) -> io::Result<()> {
    nix::unistd::write(procs, b"0")?;
    Ok(())
}

/// A mount namespace of its own, in which `/etc/resolv.conf` is another file.
fn replace_resolv_conf(file: &CString) -> io::Result<()> {
    use nix::mount::{MsFlags, mount};
    const NONE: Option<&std::ffi::CStr> = None;
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS)?;
    mount(NONE, c"/", NONE, MsFlags::MS_REC | MsFlags::MS_SLAVE, NONE)?;
    mount(Some(file.as_c_str()), c"/etc/resolv.conf", NONE, MsFlags::MS_BIND, NONE)?;
    Ok(())
}

/// Runs `work` on a thread that has joined the network namespace `netns`.
///
/// # Errors
/// What `work` returns, or a namespace that cannot be joined.
pub fn in_netns<T: Send>(netns: &Path, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let handle = open_netns(netns)?;
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            nix::sched::setns(&handle, nix::sched::CloneFlags::CLONE_NEWNET)
                .with_context(|| format!("join {}", netns.display()))?;
            work()
        });
        thread.join().unwrap_or_else(|_| bail!("the thread in {} panicked", netns.display()))
    })
}

impl Process {
    /// Starts `command` as a daemon of the lab: no terminal, output to `log`, recorded in `pids`.
    ///
    /// # Errors
    /// A program that cannot be started.
    pub fn start(name: &str, mut command: Command, log: &Path, pids: &Path) -> Result<Self> {
        let output = OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("open the log {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output).process_group(0);
        let child = command
            .spawn()
            .with_context(|| format!("start {name} ({})", command.get_program().display()))?;
        let id = ProcessId::of(child.id().cast_signed())
            .with_context(|| format!("{name} ended at once: see {}", log.display()))?;
        std::fs::write(pids.join(name), serde_json::to_vec(&id)?)?;
        Ok(Self { name: name.to_owned(), id, child: Some(child), log: log.to_owned() })
    }

    /// The process recorded under `name`, if it still runs.
    #[must_use]
    pub fn find(name: &str, log: &Path, pids: &Path) -> Option<Self> {
        let id: ProcessId = serde_json::from_slice(&std::fs::read(pids.join(name)).ok()?).ok()?;
        id.alive().then(|| Self { name: name.to_owned(), id, child: None, log: log.to_owned() })
    }

    /// The process's number.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.id.pid
    }

    /// Where its output goes.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Whether it still runs; reaps it if not.
    pub fn alive(&mut self) -> bool {
        match &mut self.child {
            Some(child) => matches!(child.try_wait(), Ok(None)),
            None => self.id.alive(),
        }
    }

    /// Waits until `ready` says yes.
    ///
    /// # Errors
    /// The process ended, or `timeout` passed; the message names the log and quotes its end.
    pub fn wait_until(
        &mut self,
        what: &str,
        timeout: Duration,
        mut ready: impl FnMut() -> bool,
    ) -> Result<()> {
        let deadline = Instant::now() + timeout;
        loop {
            if ready() {
                return Ok(());
            }
            if !self.alive() {
                bail!("{} ended before {what}; its log {}", self.name, self.log_end());
            }
            if Instant::now() > deadline {
                bail!("{} not {what} after {timeout:?}; its log {}", self.name, self.log_end());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Asks it to leave, waits, and kills it when it does not.
    ///
    /// # Errors
    /// The process had to be killed.
    pub fn terminate(&mut self) -> Result<()> {
        self.signal(nix::sys::signal::Signal::SIGTERM);
        let deadline = Instant::now() + TERM_GRACE;
        while self.alive() {
            if Instant::now() > deadline {
                self.kill();
                bail!("{} did not end {TERM_GRACE:?} after SIGTERM: {}", self.name, self.log_end());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Ends it without warning (SIGKILL) and waits for the end.
    pub fn kill(&mut self) {
        self.signal(nix::sys::signal::Signal::SIGKILL);
        if let Some(child) = &mut self.child {
            // It is gone or going; there is nothing to do about an error.
            let _ = child.wait();
        } else {
            while self.id.alive() {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    }

    fn signal(&mut self, signal: nix::sys::signal::Signal) {
        if self.alive() {
            // The process may have ended since: that is what was wanted.
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.id.pid), signal);
        }
    }

    fn log_end(&self) -> String {
        const LINES: usize = 8;
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let end = lines[lines.len().saturating_sub(LINES)..].join("\n  ");
        format!("{} ends with:\n  {end}", self.log.display())
    }
}

impl ProcessId {
    /// The process with that number now, if there is one and it has not ended.
    #[must_use]
    pub fn of(pid: i32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The command name may hold spaces and parentheses: fields start after the last one.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        let zombie = *fields.first()? == "Z";
        (!zombie).then_some(Self { pid, started: fields.get(19)?.parse().ok()? })
    }

    fn alive(self) -> bool {
        Self::of(self.pid) == Some(self)
    }
}

/// Kills every process recorded in `pids`: what is left of a lab without cgroups.
pub fn kill_recorded(pids: &Path) {
    let Ok(entries) = std::fs::read_dir(pids) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Some(mut process) = Process::find(&name, Path::new("/dev/null"), pids) {
            process.kill();
        }
    }
}

/// Peak and current resident memory of a process, in KiB (`VmHWM`, `VmRSS` of proc(5)).
#[must_use]
pub fn memory_kib(pid: i32) -> Option<(u64, u64)> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name))?;
        line.split_ascii_whitespace().nth(1)?.parse().ok()
    };
    Some((field("VmHWM:")?, field("VmRSS:")?))
}
