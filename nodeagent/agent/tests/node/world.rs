//! A node out of a network namespace, a cgroup, a BPF file system and an etcd, all removed on drop.

use std::ffi::CString;
use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};
use serde_json::Value;
use skein_nodeagent_cni::client::call;
use skein_nodeagent_cni::messages::Request;

/// Address of the node, and of a host outside the cluster.
pub(crate) const NODE_IP: Ipv4Addr = Ipv4Addr::new(172, 31, 90, 2);
pub(crate) const OUTSIDE_IP: Ipv4Addr = Ipv4Addr::new(172, 31, 90, 1);
/// Port of the store inside the node's namespace.
const STORE_PORT: u16 = 23790;
/// Port of the agent's metrics there.
pub(crate) const METRICS_PORT: u16 = 23792;
/// Longest wait for anything in the test: the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct World {
    name: String,
    pub(crate) dir: tempfile::TempDir,
    pub(crate) cgroup: PathBuf,
    namespaces: Vec<String>,
    store: Option<Child>,
    agent: Option<Child>,
}

/// Runs a command that must succeed.
pub(crate) fn sh(line: &str) -> String {
    let output = Command::new("sh").args(["-c", line]).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

/// Waits for something to hold.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "not in {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn cgroup2_mount() -> PathBuf {
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
    let line = mounts.lines().find(|line| line.split(' ').nth(2) == Some("cgroup2"));
    PathBuf::from(line.expect("a cgroup2 mount").split(' ').nth(1).unwrap())
}

fn peer(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let built = root.join("target/peers").join(name);
    if built.exists() { built } else { PathBuf::from(name) }
}

/// Runs `work` on a thread in a namespace.
pub(crate) fn inside<T: Send>(netns: &Path, work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let file = File::open(netns).unwrap();
            setns(file.as_fd(), CloneFlags::CLONE_NEWNET).unwrap();
            work()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

impl World {
    pub(crate) fn new() -> World {
        let name = format!("skt{}", std::process::id());
        let dir = tempfile::Builder::new().prefix("skein-agent-test").tempdir().unwrap();
        let cgroup = cgroup2_mount().join(&name);
        std::fs::create_dir(&cgroup).unwrap();
        let mut world =
            World { name, dir, cgroup, namespaces: Vec::new(), store: None, agent: None };
        let bpf = world.bpf_mount();
        std::fs::create_dir(&bpf).unwrap();
        sh(&format!("mount -t bpf bpf {}", bpf.display()));
        let (node, outside) = (world.namespace("node"), world.namespace("out"));
        let (node, outside) = (node.display(), outside.display());
        let n = format!("nsenter --net={node}");
        let o = format!("nsenter --net={outside}");
        sh(&format!(
            "set -e; {n} ip link set lo up; {o} ip link set lo up
             {n} ip link add eth0 type veth peer name eth0 netns {outside_name}
             {n} ip addr add {NODE_IP}/24 dev eth0; {n} ip link set eth0 up
             {o} ip addr add {OUTSIDE_IP}/24 dev eth0; {o} ip link set eth0 up
             {n} ip route add default via {OUTSIDE_IP}",
            outside_name = world.namespaces[1],
        ));
        world
    }

    /// Makes a namespace; the path is what CNI gets.
    pub(crate) fn namespace(&mut self, name: &str) -> PathBuf {
        let name = format!("{}-{name}", self.name);
        sh(&format!("ip netns add {name}"));
        self.namespaces.push(name.clone());
        PathBuf::from("/run/netns").join(name)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        PathBuf::from("/run/netns").join(format!("{}-{name}", self.name))
    }

    pub(crate) fn bpf_mount(&self) -> PathBuf {
        self.dir.path().join("bpf")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("state/agent.sock")
    }

    /// A command in a namespace and in the node's cgroup.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>, netns: &Path) -> Command {
        let mut command = Command::new(program);
        let netns = File::open(netns).unwrap();
        let procs = CString::new(self.cgroup.join("cgroup.procs").to_str().unwrap()).unwrap();
        // SAFETY: only system calls between fork and exec, on data made before.
        unsafe {
            command.pre_exec(move || {
                setns(netns.as_fd(), CloneFlags::CLONE_NEWNET)?;
                let fd = libc::open(procs.as_ptr(), libc::O_WRONLY);
                if fd < 0 || libc::write(fd, c"0".as_ptr().cast(), 1) != 1 {
                    return Err(std::io::Error::last_os_error());
                }
                libc::close(fd);
                Ok(())
            });
        }
        command
    }

    pub(crate) fn start_store(&mut self) {
        let url = format!("http://127.0.0.1:{STORE_PORT}");
        let child = self
            .command(peer("etcd"), &self.path("node"))
            .arg("--data-dir")
            .arg(self.dir.path().join("etcd"))
            .args(["--listen-client-urls", &url, "--advertise-client-urls", &url])
            .args(["--listen-peer-urls", "http://127.0.0.1:23791"])
            .stdout(Stdio::null())
            .stderr(File::create(self.dir.path().join("etcd.log")).unwrap())
            .spawn()
            .expect("etcd in target/peers or in the path");
        self.store = Some(child);
        eventually("etcd answers", || self.etcdctl(&["endpoint", "health"]).status.success());
    }

    pub(crate) fn stop_store(&mut self) {
        kill(self.store.take());
    }

    fn etcdctl(&self, args: &[&str]) -> Output {
        let endpoint = format!("127.0.0.1:{STORE_PORT}");
        let mut command = self.command(peer("etcdctl"), &self.path("node"));
        command.env("ETCDCTL_API", "3").args(["--endpoints", &endpoint]).args(args);
        command.output().unwrap()
    }

    pub(crate) fn put(&self, key: &str, value: &Value) {
        let output = self.etcdctl(&["put", key, &value.to_string()]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    pub(crate) fn get(&self, key: &str) -> Option<Value> {
        let output = self.etcdctl(&["get", "--print-value-only", key]);
        serde_json::from_slice(&output.stdout).ok()
    }

    pub(crate) fn start_agent(&mut self) {
        let path = self.dir.path().join("agent.log");
        let log = File::options().create(true).append(true).open(path).unwrap();
        let child = self
            .command(env!("CARGO_BIN_EXE_skein-agent"), &self.path("node"))
            .args(["run", "--node-name", "n1", "--devices", "eth0"])
            .args(["--store-endpoints", &format!("127.0.0.1:{STORE_PORT}")])
            .arg("--state-dir")
            .arg(self.dir.path().join("state"))
            .arg("--bpf-root")
            .arg(self.bpf_mount().join("skein"))
            .arg("--cgroup-root")
            .arg(&self.cgroup)
            .args(["--metrics-addr", &format!("127.0.0.1:{METRICS_PORT}")])
            .stderr(log)
            .spawn()
            .unwrap();
        self.agent = Some(child);
    }

    /// SIGKILL, as a crash.
    pub(crate) fn kill_agent(&mut self) {
        kill(self.agent.take());
    }

    /// SIGTERM, as an update; the exit code.
    pub(crate) fn stop_agent(&mut self) -> Option<i32> {
        let mut child = self.agent.take()?;
        let pid = nix::unistd::Pid::from_raw(child.id() as i32);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        child.wait().unwrap().code()
    }

    /// The agent's command line, in the node's namespace.
    pub(crate) fn cli(&self, args: &[&str]) -> Output {
        let mut command = self.command(env!("CARGO_BIN_EXE_skein-agent"), &self.path("node"));
        command.env("SKEIN_AGENT_SOCKET", self.socket()).args(args).output().unwrap()
    }

    pub(crate) fn ask(&self, request: &Request) -> Result<Value, String> {
        call(&self.socket(), request).map_err(|error| error.to_string())
    }

    pub(crate) fn status(&self, path: &str) -> Value {
        let status = self.ask(&Request::Status).unwrap_or_default();
        status.pointer(path).cloned().unwrap_or_default()
    }

    pub(crate) fn until_ready(&self) {
        eventually("the agent is ready", || {
            self.status("/datapath/ready") == true && self.status("/kvstore/in_sync") == true
        });
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("agent.log")).unwrap_or_default()
    }
}

fn kill(child: Option<Child>) {
    if let Some(mut child) = child {
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- agent's log ---\n{}", self.log());
        }
        kill(self.agent.take());
        kill(self.store.take());
        for name in &self.namespaces {
            let _ = Command::new("ip").args(["netns", "del", name]).status();
        }
        let _ = Command::new("umount").arg(self.bpf_mount()).status();
        // The last process of the cgroup may still be on its way out.
        for _ in 0..50 {
            if std::fs::remove_dir(&self.cgroup).is_ok() {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
