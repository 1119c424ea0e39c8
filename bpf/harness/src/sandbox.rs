//! Namespaces and cgroups of a test, removed when it ends.

use std::fs;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use nix::sched::{CloneFlags, setns, unshare};

/// A cgroup below the one that the process is in, with the process inside.
pub struct Cgroup {
    path: PathBuf,
    home: PathBuf,
}

impl Cgroup {
    /// Creates the cgroup and moves the process into it.
    ///
    /// # Errors
    ///
    /// No cgroup v2, or no right to create one.
    pub fn enter() -> Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mounts")?;
        let mount = mounts
            .lines()
            .map(|line| line.split(' ').collect::<Vec<_>>())
            .find(|fields| fields.get(2) == Some(&"cgroup2"))
            .and_then(|fields| fields.get(1).map(PathBuf::from))
            .context("no cgroup v2 is mounted")?;
        let own = fs::read_to_string("/proc/self/cgroup")?;
        let relative = own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or("");
        let home = mount.join(relative);
        let path = home.join(format!("skein-harness-{}", std::process::id()));
        fs::create_dir(&path).with_context(|| format!("creating {}", path.display()))?;
        let cgroup = Self { path, home };
        move_into(&cgroup.path)?;
        Ok(cgroup)
    }

    /// Path of the cgroup.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if let Err(error) = move_into(&self.home).and_then(|()| Ok(fs::remove_dir(&self.path)?)) {
            eprintln!("{} is left behind: {error:#}", self.path.display());
        }
    }
}

fn move_into(cgroup: &Path) -> Result<()> {
    fs::write(cgroup.join("cgroup.procs"), std::process::id().to_string())
        .with_context(|| format!("moving into {}", cgroup.display()))
}

/// Takes the calling thread into a new, empty network namespace with a working loopback.
///
/// # Errors
///
/// No right to do so.
pub fn enter_new_netns() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNET).context("creating a network namespace")?;
    ip("link set lo up")
}

/// Cookie of the calling thread's network namespace.
///
/// # Errors
///
/// A kernel without the socket option.
pub fn netns_cookie() -> Result<u64> {
    /// `SO_NETNS_COOKIE` of `asm-generic/socket.h`.
    const SO_NETNS_COOKIE: libc::c_int = 71;
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let mut cookie = 0u64;
    let mut len = libc::socklen_t::try_from(size_of::<u64>())?;
    // SAFETY: a valid socket, and room of the given length.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut len,
        )
    };
    ensure!(result == 0, "SO_NETNS_COOKIE: {}", std::io::Error::last_os_error());
    Ok(cookie)
}

/// Runs `ip` with these arguments in the calling thread's namespace.
///
/// # Errors
///
/// What `ip` says.
pub fn ip(arguments: &str) -> Result<()> {
    let output = Command::new("ip").args(arguments.split(' ')).output().context("starting ip")?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "ip {arguments}: {said}");
    Ok(())
}

/// A named network namespace.
pub struct Netns {
    name: String,
}

impl Netns {
    /// Creates the namespace; the name gets this process's number.
    ///
    /// # Errors
    ///
    /// No right to do so, or no `ip`.
    pub fn new(name: &str) -> Result<Self> {
        let name = format!("skh{}-{name}", std::process::id());
        ip(&format!("netns add {name}"))?;
        let netns = Self { name };
        netns.ip("link set lo up")?;
        Ok(netns)
    }

    /// Name as `ip` knows it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `ip` in the namespace.
    ///
    /// # Errors
    ///
    /// What `ip` says.
    pub fn ip(&self, arguments: &str) -> Result<()> {
        ip(&format!("-n {} {arguments}", self.name))
    }

    /// Runs a function on a thread of its own inside the namespace.
    ///
    /// # Errors
    ///
    /// A namespace that cannot be entered, or what the function returns.
    ///
    /// # Panics
    ///
    /// When the function does.
    pub fn run<T: Send>(&self, f: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let file = fs::File::open(format!("/run/netns/{}", self.name))?;
        std::thread::scope(|scope| {
            let inside = scope.spawn(move || {
                setns(&file, CloneFlags::CLONE_NEWNET).context("entering a network namespace")?;
                f()
            });
            inside.join().expect("a thread inside the namespace")
        })
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        if let Err(error) = ip(&format!("netns del {}", self.name)) {
            eprintln!("namespace {} is left behind: {error:#}", self.name);
        }
    }
}
