//! A real store as a child process, and a proxy before it that can be cut. For tests only.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How long a store may take to listen.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// A free port on the loopback, as far as anyone can say.
fn free_port() -> io::Result<u16> {
    Ok(StdListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// The program of the environment variable that names another store, so that the same tests judge it too.
const PROGRAM_VARIABLE: &str = "SKEIN_TEST_STORE";

/// Real etcd: the one built from `chaos-tests/peers`, else the system's; or whatever `SKEIN_TEST_STORE`
/// names.
///
/// # Errors
/// When there is neither: such a test must fail, not pass unseen.
pub fn etcd_program() -> io::Result<PathBuf> {
    let peers = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/peers/etcd");
    let on_path = std::env::var_os("PATH").into_iter().flat_map(|path| {
        std::env::split_paths(&path).map(|folder| folder.join("etcd")).collect::<Vec<_>>()
    });
    let chosen = std::env::var_os(PROGRAM_VARIABLE).map(PathBuf::from);
    chosen.into_iter().chain([peers]).chain(on_path).find(|program| program.is_file()).ok_or_else(
        || {
            let text = "no etcd: run chaos-tests/peers/build.sh or install etcd-server";
            io::Error::new(io::ErrorKind::NotFound, text)
        },
    )
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

/// A store with a directory of its own that survives restarts. Killed when dropped.
pub struct StoreProcess {
    program: PathBuf,
    tls: Option<StoreTls>,
    dir: TempDir,
    client_port: u16,
    peer_port: u16,
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
        let mut store = Self {
            program,
            tls,
            dir: tempfile::tempdir()?,
            client_port: free_port()?,
            peer_port: free_port()?,
            child: None,
        };
        store.start()?;
        Ok(store)
    }

    /// Where clients connect.
    pub fn endpoint(&self) -> String {
        format!("127.0.0.1:{}", self.client_port)
    }

    /// Starts it, after a stop on the same data and the same port.
    pub fn start(&mut self) -> io::Result<()> {
        let url = |port| format!("http://127.0.0.1:{port}");
        let (mut client, peer) = (url(self.client_port), url(self.peer_port));
        if self.tls.is_some() {
            client = client.replacen("http", "https", 1);
        }
        let cluster = format!("test={peer}");
        let mut command = Command::new(&self.program);
        command
            .arg("--data-dir")
            .arg(self.dir.path().join("data"))
            .args(["--name", "test", "--log-level", "error"])
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &cluster, "--initial-cluster-token", &peer])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(self.dir.path().join("log"))?);
        if let Some(tls) = &self.tls {
            command.arg("--client-cert-auth").arg("--trusted-ca-file").arg(&tls.ca);
            command.arg("--cert-file").arg(&tls.cert).arg("--key-file").arg(&tls.key);
        }
        self.child = Some(command.spawn()?);
        self.wait_until_listening()
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

    /// Throws its data away; to be called between `kill` and `start`.
    pub fn wipe(&mut self) -> io::Result<()> {
        // Another peer port makes another cluster id: etcd derives the id from it and the token.
        self.peer_port = free_port()?;
        std::fs::remove_dir_all(self.dir.path().join("data"))
    }
}

impl Drop for StoreProcess {
    fn drop(&mut self) {
        // A child that cannot be killed is gone already.
        let _ = self.kill();
    }
}

/// A proxy before a store whose connections can be cut.
pub struct Proxy {
    address: SocketAddr,
    open: Arc<watch::Sender<bool>>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// A proxy on a free port that leads to `target`.
    pub async fn to(target: String) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let open = Arc::new(watch::Sender::new(true));
        let task = tokio::spawn(serve(listener, target, Arc::clone(&open)));
        Ok(Self { address, open, task })
    }

    /// Where clients connect.
    pub fn endpoint(&self) -> String {
        self.address.to_string()
    }

    /// Ends every connection and refuses new ones until [`Proxy::mend`].
    pub fn cut(&self) {
        self.open.send_replace(false);
    }

    /// Lets connections through again.
    pub fn mend(&self) {
        self.open.send_replace(true);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.open.send_replace(false);
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, target: String, open: Arc<watch::Sender<bool>>) {
    while let Ok((mut inward, _)) = listener.accept().await {
        if !*open.borrow() {
            continue;
        }
        let (target, mut open) = (target.clone(), open.subscribe());
        tokio::spawn(async move {
            let Ok(mut outward) = tokio::net::TcpStream::connect(target).await else { return };
            tokio::select! {
                _ = tokio::io::copy_bidirectional(&mut inward, &mut outward) => {}
                _ = open.wait_for(|open| !*open) => {}
            }
        });
    }
}
