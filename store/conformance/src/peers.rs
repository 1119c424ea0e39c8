//! Where the programs under test come from.
//!
//! A real etcd is built on demand from `chaos-tests/peers/go.mod`; Skein's own store is built by
//! cargo, in the profile in which the tests run. What is missing is said, never passed over.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A missing peer is a failure when this variable is set to anything but `0`.
pub const REQUIRE_PEERS: &str = "SKEIN_REQUIRE_PEERS";

/// Where Debian's `etcd-server` package installs its binary.
const DEBIAN_ETCD: &str = "/usr/bin/etcd";

/// A program could not be had.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    #[error("cannot run {command}")]
    Run { command: String, source: std::io::Error },
    #[error("{command} failed:\n{output}")]
    Failed { command: String, output: String },
    #[error("{0} is not there")]
    Missing(PathBuf),
    #[error("this program does not run from a cargo target directory: {0}")]
    NoTarget(PathBuf),
}

/// A real etcd to compare with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Etcd {
    /// The version that `chaos-tests/peers` pins, with its tools beside it.
    Pinned(PathBuf),
    /// Debian's package: older, with known differences.
    Debian(PathBuf),
}

impl Etcd {
    /// The program.
    pub fn program(&self) -> &Path {
        match self {
            Self::Pinned(path) | Self::Debian(path) => path,
        }
    }
}

/// Finds a real etcd, building the pinned one when Go is there. The error says why there is none.
///
/// # Errors
/// There is neither a built peer, nor Go to build it, nor Debian's package.
pub fn etcd() -> Result<Etcd, PeerError> {
    match tool("etcd") {
        Ok(path) => Ok(Etcd::Pinned(path)),
        Err(error) => debian_etcd().map_err(|_| error),
    }
}

/// The etcd of Debian's package.
///
/// # Errors
/// It is not installed.
pub fn debian_etcd() -> Result<Etcd, PeerError> {
    let path = PathBuf::from(DEBIAN_ETCD);
    if path.exists() { Ok(Etcd::Debian(path)) } else { Err(PeerError::Missing(path)) }
}

/// A program of the pinned etcd release: `etcd`, `etcdctl`, `etcdutl` or `benchmark`.
///
/// # Errors
/// It is not built and cannot be.
pub fn tool(name: &str) -> Result<PathBuf, PeerError> {
    let path = repository().join("target/peers").join(name);
    let script = repository().join("chaos-tests/peers/build.sh");
    match (run(Command::new(script)), path.exists()) {
        (_, true) => Ok(path),
        (Err(error), false) => Err(error),
        (Ok(()), false) => Err(PeerError::Missing(path)),
    }
}

/// The `skein-store` program, built now in this program's own profile.
///
/// # Errors
/// The build fails, or this is not a program of a cargo target directory.
pub fn skein_store() -> Result<PathBuf, PeerError> {
    skein("skein-store-server", "skein-store")
}

/// The `skeinctl` program, likewise.
///
/// # Errors
/// As [`skein_store`].
pub fn skeinctl() -> Result<PathBuf, PeerError> {
    skein("skein-controlplane-cli", "skeinctl")
}

fn skein(package: &str, name: &str) -> Result<PathBuf, PeerError> {
    let exe = std::env::current_exe()
        .map_err(|source| PeerError::Run { command: "current_exe".into(), source })?;
    let no_target = || PeerError::NoTarget(exe.clone());
    let profile = exe
        .ancestors()
        .find(|dir| dir.file_name().is_some_and(|name| name == "debug" || name == "release"))
        .ok_or_else(no_target)?;
    let target = profile.parent().ok_or_else(no_target)?;
    let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    build.args(["build", "--quiet", "-p", package, "--bin", name]);
    build.arg("--target-dir").arg(target).current_dir(repository());
    if profile.ends_with("release") {
        build.arg("--release");
    }
    run(build)?;
    let program = profile.join(name);
    if program.exists() { Ok(program) } else { Err(PeerError::Missing(program)) }
}

/// Whether a missing peer is a failure.
pub fn required() -> bool {
    std::env::var_os(REQUIRE_PEERS).is_some_and(|value| value != "0" && !value.is_empty())
}

/// The root of this repository.
pub fn repository() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.canonicalize().unwrap_or(root)
}

fn run(mut command: Command) -> Result<(), PeerError> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output =
        command.output().map_err(|source| PeerError::Run { command: name.clone(), source })?;
    if output.status.success() {
        return Ok(());
    }
    let output = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(PeerError::Failed { command: name, output })
}
