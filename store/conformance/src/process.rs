//! A member as a process of its own, on a directory of its own, gone when dropped.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use skein_store_api::ApiError;
use tempfile::TempDir;

use crate::ask;
use crate::endpoint::Endpoint;
use crate::endpoint::member::MemberEndpoint;

/// How long a member may take from its start to its first linearizable answer.
///
/// etcd elects itself within about a second; a loaded machine is given a lot more.
const READY_WAIT: Duration = Duration::from_secs(30);

/// Pause between two attempts to reach a starting member.
const READY_POLL: Duration = Duration::from_millis(50);

/// Ports are taken below the kernel's ephemeral range, so that no client connection can hold one.
const PORTS: std::ops::Range<u16> = 21_000..31_000;

/// How many ports are tried before giving up.
const PORT_ATTEMPTS: u16 = 500;

/// A member could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot prepare the member's directory")]
    Directory(#[source] std::io::Error),
    #[error("cannot start {program}")]
    Spawn { program: PathBuf, source: std::io::Error },
    #[error("no free port in {PORTS:?}")]
    NoPort,
    #[error("{program} ended with {status} before it was ready; its log ends:\n{log}")]
    Ended { program: PathBuf, status: String, log: String },
    #[error("{program} did not answer within {READY_WAIT:?}; its log ends:\n{log}")]
    Silent { program: PathBuf, log: String },
    #[error("bad address {0}")]
    Address(String),
}

/// A running member.
pub struct Process {
    child: Child,
    program: PathBuf,
    extra: Vec<String>,
    directory: TempDir,
    place: Place,
}

/// Which member it is.
#[derive(Clone)]
struct Place {
    name: String,
    ports: Ports,
    /// All members, as `--initial-cluster` names them.
    cluster: String,
}

impl Place {
    /// The only member of its cluster.
    fn alone(ports: Ports) -> Self {
        let name = "default".to_owned();
        let cluster = format!("{name}={}", ports.peer_url());
        Self { name, ports, cluster }
    }
}

/// Where a member listens.
#[derive(Clone, Copy)]
struct Ports {
    client: u16,
    peer: u16,
    /// For clients over TLS.
    secure: Option<u16>,
}

impl Ports {
    fn peer_url(self) -> String {
        format!("http://127.0.0.1:{}", self.peer)
    }
}

impl Process {
    /// Starts `program` with etcd's flags and waits until it answers.
    ///
    /// # Errors
    /// The program cannot be started or does not become ready.
    pub async fn start(program: &Path, extra: &[&str]) -> Result<Self, StartError> {
        Self::start_in(program, directory().map_err(StartError::Directory)?, extra).await
    }

    /// The same on a directory whose `data` may have been prepared.
    ///
    /// # Errors
    /// As [`Process::start`].
    pub async fn start_in(
        program: &Path,
        directory: TempDir,
        extra: &[&str],
    ) -> Result<Self, StartError> {
        let ports = Ports { client: free_port()?, peer: free_port()?, secure: None };
        Self::start_on(program, directory, ports, extra).await
    }

    /// As [`Process::start`], listening for clients over TLS as well; `extra` names the certificates.
    ///
    /// # Errors
    /// As [`Process::start`].
    pub async fn start_secure(program: &Path, extra: &[&str]) -> Result<Self, StartError> {
        let secure = Some(free_port()?);
        let ports = Ports { client: free_port()?, peer: free_port()?, secure };
        Self::start_on(program, directory().map_err(StartError::Directory)?, ports, extra).await
    }

    async fn start_on(
        program: &Path,
        directory: TempDir,
        ports: Ports,
        extra: &[&str],
    ) -> Result<Self, StartError> {
        let mut process = Self::spawned(program, directory, Place::alone(ports), extra)?;
        process.ready().await?;
        Ok(process)
    }

    /// Starts a cluster of `size` members and waits until each answers.
    ///
    /// # Errors
    /// As [`Process::start`].
    pub async fn start_cluster(program: &Path, size: usize) -> Result<Vec<Self>, StartError> {
        let ports = || Ok(Ports { client: free_port()?, peer: free_port()?, secure: None });
        let ports = std::iter::repeat_with(ports).take(size);
        let ports = ports.collect::<Result<Vec<Ports>, StartError>>()?;
        let named: Vec<_> =
            ports.iter().enumerate().map(|(at, p)| (format!("m{at}"), *p)).collect();
        let pairs = named.iter().map(|(name, ports)| format!("{name}={}", ports.peer_url()));
        let cluster = pairs.collect::<Vec<_>>().join(",");
        let mut members = Vec::with_capacity(size);
        for (name, ports) in named {
            let place = Place { name, ports, cluster: cluster.clone() };
            let directory = directory().map_err(StartError::Directory)?;
            members.push(Self::spawned(program, directory, place, &[])?);
        }
        for member in &mut members {
            member.ready().await?;
        }
        Ok(members)
    }

    fn spawned(
        program: &Path,
        directory: TempDir,
        place: Place,
        extra: &[&str],
    ) -> Result<Self, StartError> {
        let extra: Vec<String> = extra.iter().map(|flag| (*flag).to_owned()).collect();
        let child = spawn(program, directory.path(), &place, &extra)?;
        Ok(Self { child, program: program.to_owned(), extra, directory, place })
    }

    /// The process's id, for reading what it used.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The member's data directory.
    pub fn data_dir(&self) -> PathBuf {
        data_dir(self.directory.path())
    }

    /// `127.0.0.1:<client port>`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.place.ports.client)
    }

    /// `127.0.0.1:<port>` for clients over TLS, where there is one.
    pub fn secure_address(&self) -> Option<String> {
        self.place.ports.secure.map(|port| format!("127.0.0.1:{port}"))
    }

    /// A connection of its own to the member.
    ///
    /// # Errors
    /// The address cannot be used.
    pub fn connect(&self) -> Result<MemberEndpoint, StartError> {
        MemberEndpoint::new(&self.address()).map_err(|_| StartError::Address(self.address()))
    }

    /// Kills the process as `kill -9` does and starts it again on the same directory.
    ///
    /// # Errors
    /// As [`Process::start`].
    pub async fn kill_and_restart(&mut self) -> Result<(), StartError> {
        self.kill();
        let directory = self.directory.path();
        self.child = spawn(&self.program, directory, &self.place, &self.extra)?;
        self.ready().await
    }

    async fn ready(&mut self) -> Result<(), StartError> {
        let started = Instant::now();
        let endpoint = self.connect()?;
        while started.elapsed() < READY_WAIT {
            match endpoint.range(ask::get("no-such-key")).await {
                Ok(_) => return Ok(()),
                // A member that asks for users is up, too.
                Err(refusal) if refusal.message == ApiError::UserEmpty.message() => return Ok(()),
                Err(_) => {}
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                let (program, log) = (self.program.clone(), self.log_tail());
                return Err(StartError::Ended { program, status: status.to_string(), log });
            }
            tokio::time::sleep(READY_POLL).await;
        }
        Err(StartError::Silent { program: self.program.clone(), log: self.log_tail() })
    }

    /// Everything that the member wrote to its log.
    pub fn log(&self) -> String {
        std::fs::read_to_string(log_path(self.directory.path())).unwrap_or_default()
    }

    /// The end of what the member wrote to its log.
    pub fn log_tail(&self) -> String {
        const LINES: usize = 15;
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LINES)..].join("\n")
    }

    /// Kills the process and leaves its directory.
    pub fn kill(&mut self) {
        // Both fail only when the process is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// An empty directory for a process.
///
/// # Errors
/// It cannot be made.
pub fn directory() -> std::io::Result<TempDir> {
    tempfile::Builder::new().prefix("skein-conformance-").tempdir()
}

/// Where in its directory a process keeps its data.
pub fn data_dir(directory: &Path) -> PathBuf {
    directory.join("data")
}

fn log_path(directory: &Path) -> PathBuf {
    directory.join("log")
}

fn spawn(
    program: &Path,
    directory: &Path,
    place: &Place,
    extra: &[String],
) -> Result<Child, StartError> {
    let log = File::options()
        .create(true)
        .append(true)
        .open(log_path(directory))
        .map_err(StartError::Directory)?;
    let errors = log.try_clone().map_err(StartError::Directory)?;
    let Place { name, ports, cluster } = place;
    let mut client_urls = format!("http://127.0.0.1:{}", ports.client);
    if let Some(secure) = ports.secure {
        client_urls += &format!(",https://127.0.0.1:{secure}");
    }
    let peer_url = ports.peer_url();
    let mut command = Command::new(program);
    command.arg(format!("--name={name}"));
    command.arg(format!("--data-dir={}", data_dir(directory).display()));
    for flag in ["--listen-client-urls", "--advertise-client-urls"] {
        command.arg(format!("{flag}={client_urls}"));
    }
    for flag in ["--listen-peer-urls", "--initial-advertise-peer-urls"] {
        command.arg(format!("{flag}={peer_url}"));
    }
    command.arg(format!("--initial-cluster={cluster}"));
    command.args(extra).stdin(Stdio::null()).stdout(log).stderr(errors);
    command.spawn().map_err(|source| StartError::Spawn { program: program.to_owned(), source })
}

/// A port that nobody listens on. Another program may still take it before the member does; the
/// member then ends with a message of its own.
fn free_port() -> Result<u16, StartError> {
    let span = PORTS.end - PORTS.start;
    let mut seed = std::process::id() as u64 ^ now_nanos();
    for _ in 0..PORT_ATTEMPTS {
        // Steps of a linear congruential generator (Knuth's MMIX constants): spread is enough.
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let port = PORTS.start + ((seed >> 33) % u64::from(span)) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    Err(StartError::NoPort)
}

fn now_nanos() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |elapsed| elapsed.as_nanos() as u64)
}
