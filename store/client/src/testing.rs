//! Real stores as child processes, and a proxy before one that can be cut. For tests only.

mod cluster;
mod proxy;

use std::io;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

pub use cluster::StoreCluster;
pub use proxy::Proxy;

/// How long a store may take to listen.
const START_TIMEOUT: Duration = Duration::from_secs(20);
/// Ports that the system does not give to outgoing connections, so that one which a store leaves while it
/// restarts is still free when it returns.
const PORTS: std::ops::Range<u16> = 15_000..32_000;

/// A free port on the loopback, as far as anyone can say.
fn free_port() -> io::Result<u16> {
    loop {
        let port = rand::random_range(PORTS);
        match TcpListener::bind(("127.0.0.1", port)) {
            Ok(_) => return Ok(port),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            Err(error) => return Err(error),
        }
    }
}

/// The program of the environment variable that names another store, so that the same tests judge it too.
const PROGRAM_VARIABLE: &str = "SKEIN_TEST_STORE";

/// What `SKEIN_TEST_STORE` names, else real etcd.
///
/// # Errors
/// When there is no such program: such a test must fail, not pass unseen.
pub fn etcd_program() -> io::Result<PathBuf> {
    let Some(chosen) = std::env::var_os(PROGRAM_VARIABLE).map(PathBuf::from) else {
        return real_etcd_program();
    };
    match chosen.is_file() {
        true => Ok(chosen),
        false => {
            let text = format!("{PROGRAM_VARIABLE}={}: no such file", chosen.display());
            Err(io::Error::new(io::ErrorKind::NotFound, text))
        }
    }
}

/// Real etcd: the one built from `chaos-tests/peers`, else the system's.
///
/// # Errors
/// When there is neither.
pub fn real_etcd_program() -> io::Result<PathBuf> {
    let peers = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/peers/etcd");
    let on_path = std::env::var_os("PATH").into_iter().flat_map(|path| {
        std::env::split_paths(&path).map(|folder| folder.join("etcd")).collect::<Vec<_>>()
    });
    let found = [peers].into_iter().chain(on_path).find(|program| program.is_file());
    let text = "no etcd: run chaos-tests/peers/build.sh or install etcd-server";
    found.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, text))
}

/// Files with which a store serves TLS and demands client certificates.
#[derive(Debug, Clone)]
pub struct StoreTls {
    /// Authorities of client certificates.
    pub ca: PathBuf,
    /// The store's certificate.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// How a store is started: etcd's flags.
#[derive(Debug, Clone)]
struct Launch {
    program: PathBuf,
    name: String,
    client_port: u16,
    peer_port: u16,
    /// `--initial-cluster`; none for this member alone.
    cluster: Option<String>,
    /// `--initial-cluster-state`.
    state: &'static str,
    tls: Option<StoreTls>,
    flags: Vec<String>,
}

impl Launch {
    fn new(program: PathBuf, name: &str) -> io::Result<Self> {
        Ok(Self {
            program,
            name: name.to_owned(),
            client_port: free_port()?,
            peer_port: free_port()?,
            cluster: None,
            state: "new",
            tls: None,
            flags: Vec::new(),
        })
    }

    fn peer_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.peer_port)
    }

    fn client_url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.client_port)
    }

    fn command(&self, data: &Path) -> Command {
        let (client, peer) = (self.client_url(), self.peer_url());
        let alone = || format!("{}={peer}", self.name);
        let cluster = self.cluster.clone().unwrap_or_else(alone);
        let mut command = Command::new(&self.program);
        command
            .arg("--data-dir")
            .arg(data)
            .args(["--name", &self.name, "--log-level", "error"])
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &cluster, "--initial-cluster-token", &cluster])
            .args(["--initial-cluster-state", self.state])
            .args(&self.flags);
        if let Some(tls) = &self.tls {
            command.arg("--client-cert-auth").arg("--trusted-ca-file").arg(&tls.ca);
            command.arg("--cert-file").arg(&tls.cert).arg("--key-file").arg(&tls.key);
        }
        command
    }
}

/// A store with a directory of its own that survives restarts. Killed when dropped.
pub struct StoreProcess {
    launch: Launch,
    dir: TempDir,
    child: Option<Child>,
}

impl StoreProcess {
    /// Starts a real etcd.
    pub fn etcd() -> io::Result<Self> {
        Self::with_program(etcd_program()?, None)
    }

    /// Starts a real etcd that demands client certificates.
    pub fn etcd_with_tls(tls: StoreTls) -> io::Result<Self> {
        Self::with_program(etcd_program()?, Some(tls))
    }

    /// Starts a program that takes etcd's flags.
    pub fn with_program(program: PathBuf, tls: Option<StoreTls>) -> io::Result<Self> {
        let mut store = Self::stopped(Launch { tls, ..Launch::new(program, "test")? })?;
        store.start()?;
        Ok(store)
    }

    fn stopped(launch: Launch) -> io::Result<Self> {
        Ok(Self { launch, dir: tempfile::tempdir()?, child: None })
    }

    /// Where clients connect.
    pub fn endpoint(&self) -> String {
        format!("127.0.0.1:{}", self.launch.client_port)
    }

    /// Where other members connect.
    pub fn peer_url(&self) -> String {
        self.launch.peer_url()
    }

    /// The member's name.
    pub fn name(&self) -> &str {
        &self.launch.name
    }

    /// What it keeps.
    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Starts it, after a stop on the same data and the same port.
    pub fn start(&mut self) -> io::Result<()> {
        self.spawn()?;
        self.wait_until_listening()
    }

    fn spawn(&mut self) -> io::Result<()> {
        let log = std::fs::File::create(self.dir.path().join("log"))?;
        let mut command = self.launch.command(&self.data_dir());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.child = Some(command.spawn()?);
        Ok(())
    }

    fn wait_until_listening(&mut self) -> io::Result<()> {
        let begun = Instant::now();
        while TcpStream::connect(self.endpoint()).is_err() {
            let ended = self.child.as_mut().map(Child::try_wait).transpose()?.flatten();
            if ended.is_some() || begun.elapsed() > START_TIMEOUT {
                let log = std::fs::read_to_string(self.dir.path().join("log"))?;
                return Err(io::Error::other(format!("the store does not start: {log}")));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Kills it without warning.
    pub fn kill(&mut self) -> io::Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// Asks it to end, and waits until it has.
    pub fn stop(&mut self) -> io::Result<()> {
        self.signal("TERM")?;
        if let Some(mut child) = self.child.take() {
            child.wait()?;
        }
        Ok(())
    }

    /// Stops it from running; connections stay open and nothing answers.
    pub fn freeze(&self) -> io::Result<()> {
        self.signal("STOP")
    }

    /// Lets it run on.
    pub fn thaw(&self) -> io::Result<()> {
        self.signal("CONT")
    }

    fn signal(&self, name: &str) -> io::Result<()> {
        let Some(child) = &self.child else { return Ok(()) };
        let sent = Command::new("kill").args(["-s", name, &child.id().to_string()]).status()?;
        if sent.success() { Ok(()) } else { Err(io::Error::other(format!("SIG{name}: {sent}"))) }
    }

    /// Throws its data away; to be called between `kill` and `start`.
    pub fn wipe(&mut self) -> io::Result<()> {
        // Another peer port makes another cluster id: etcd derives the id from it and the token.
        self.launch.peer_port = free_port()?;
        std::fs::remove_dir_all(self.data_dir())
    }
}

impl Drop for StoreProcess {
    fn drop(&mut self) {
        // A child that cannot be killed is gone already.
        let _ = self.kill();
    }
}
