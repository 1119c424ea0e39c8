//! Finding and calling the toolchain for the kernel's target.
//!
//! Building `core` for that target needs its sources, which Debian's compiler packages bring
//! (`rustc-web`, `cargo-web`, `rust-web-src`) and a rustup toolchain with the component `rust-src`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

/// Target triple of little-endian machines.
pub(super) const TARGET: &str = "bpfel-unknown-none";
/// Package and binary of the programs.
const PACKAGE: &str = "skein-bpf-programs";
const BINARY: &str = "skein";

/// Flags that do not name a path. The last one keeps small struct zeroing inline: by default the
/// linker's LLVM turns each into a call to a byte loop.
const FLAGS: [&str; 4] =
    ["-C", "link-arg=--btf", "-C", "link-arg=--disable-expand-memcpy-in-order"];

/// The tools, with versions.
#[derive(Clone, Debug)]
pub struct Toolchain {
    cargo: PathBuf,
    rustc: PathBuf,
    linker: PathBuf,
    strip: PathBuf,
    /// Version of the compiler, with commit and LLVM.
    pub rustc_version: String,
    /// Version of the linker.
    pub linker_version: String,
    /// Version of the tool that strips debug sections.
    pub strip_version: String,
}

/// Compiler flags as the manifest records them.
pub(super) fn flags() -> Vec<String> {
    FLAGS.iter().map(|flag| (*flag).to_owned()).collect()
}

impl Toolchain {
    /// Looks for all tools.
    ///
    /// # Errors
    ///
    /// The first that is missing, and how to get it.
    pub fn find() -> Result<Self> {
        let (cargo, rustc) = compiler()?;
        let linker = find("bpf-linker", &[home().join(".cargo/bin"), "/usr/local/bin".into()])
            .context(
                "bpf-linker is missing: LLVM_PREFIX=/usr/lib/llvm-22 cargo install bpf-linker \
                 --version 0.13.0 --no-default-features --features llvm-22",
            )?;
        let strip = find("llvm-strip", &["/usr/lib/llvm-22/bin".into(), "/usr/bin".into()])
            .context("llvm-strip is missing: apt-get install llvm-22")?;
        Ok(Self {
            rustc_version: rustc_version(&rustc)?,
            linker_version: first_line(&linker, &["--version"])?,
            strip_version: strip_version(&strip)?,
            cargo,
            rustc,
            linker,
            strip,
        })
    }

    /// Builds the object from the sources below `root`, with `target` for what falls off.
    ///
    /// # Errors
    ///
    /// A failing build, or an object that holds a path of this machine.
    pub fn build(&self, root: &Path, target: &Path) -> Result<Vec<u8>> {
        let status = Command::new(&self.cargo)
            .current_dir(root.join("bpf"))
            .args(["build", "--release", "--locked", "-Z", "build-std=core"])
            .args(["--target", TARGET, "--package", PACKAGE])
            .env("CARGO_TARGET_DIR", target)
            .env("RUSTC", &self.rustc)
            // Building `core` is an unstable option of a stable compiler.
            .env("RUSTC_BOOTSTRAP", "1")
            .env("CARGO_ENCODED_RUSTFLAGS", self.rustflags(root)?)
            .env_remove("RUSTFLAGS")
            // Set by the cargo that runs this program, and meant for its own compiler.
            .env_remove("RUSTUP_TOOLCHAIN")
            .env_remove("RUSTC_WRAPPER")
            .env_remove("CARGO")
            .status()
            .context("starting cargo for the kernel programs")?;
        ensure!(status.success(), "building the kernel programs failed ({status})");
        let built = target.join(TARGET).join("release").join(BINARY);
        let object = self.stripped(&built, target)?;
        ensure_no_paths(&object, &[root, &cargo_home(), target])?;
        Ok(object)
    }

    /// Paths of this machine must not reach the object: the workspace's parent and cargo's home get
    /// fixed names.
    fn rustflags(&self, root: &Path) -> Result<OsString> {
        let root = root.canonicalize().context("resolving the checkout")?;
        let mut all = vec!["-C".to_owned(), format!("linker={}", self.linker.display())];
        all.extend(flags());
        all.push(format!("--remap-path-prefix={}=/src", root.display()));
        all.push(format!("--remap-path-prefix={}=/cargo", cargo_home().display()));
        Ok(all.join("\u{1f}").into())
    }

    /// The object without debug sections, which are most of it; type information stays.
    fn stripped(&self, built: &Path, target: &Path) -> Result<Vec<u8>> {
        let small = target.join("skein.o");
        let status = Command::new(&self.strip)
            .arg("-g")
            .arg("-o")
            .args([small.as_os_str(), built.as_os_str()])
            .status()
            .context("starting llvm-strip")?;
        ensure!(status.success(), "stripping the object failed ({status})");
        std::fs::read(&small).context("reading the stripped object")
    }
}

/// A cargo and a rustc that have the sources of `core`: the ones named by `SKEIN_BPF_CARGO` and
/// `SKEIN_BPF_RUSTC`, or Debian's.
fn compiler() -> Result<(PathBuf, PathBuf)> {
    let cargo = named("SKEIN_BPF_CARGO", "/usr/bin/cargo");
    let rustc = named("SKEIN_BPF_RUSTC", "/usr/bin/rustc");
    for tool in [&cargo, &rustc] {
        ensure!(
            tool.is_file(),
            "{} is missing: apt-get install rustc-web cargo-web rust-web-src, or name another with \
             SKEIN_BPF_CARGO and SKEIN_BPF_RUSTC",
            tool.display()
        );
    }
    let sysroot = PathBuf::from(first_line(&rustc, &["--print", "sysroot"])?);
    ensure!(
        sysroot.join("lib/rustlib/src/rust/library/core").is_dir(),
        "{} has no sources of `core`: apt-get install rust-web-src",
        rustc.display()
    );
    Ok((cargo, rustc))
}

fn named(variable: &str, default: &str) -> PathBuf {
    std::env::var_os(variable).map_or_else(|| default.into(), PathBuf::from)
}

fn home() -> PathBuf {
    std::env::var_os("HOME").map_or_else(|| "/root".into(), PathBuf::from)
}

fn cargo_home() -> PathBuf {
    std::env::var_os("CARGO_HOME").map_or_else(|| home().join(".cargo"), PathBuf::from)
}

fn find(name: &str, usual: &[PathBuf]) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = usual.iter().cloned().chain(std::env::split_paths(&path));
    for folder in folders {
        let candidate = folder.join(name);
        if candidate.is_file() {
            return Ok(candidate);
        }
    }
    bail!("{name} is not in the search path")
}

fn output(tool: &Path, arguments: &[&str]) -> Result<String> {
    let output = Command::new(tool)
        .args(arguments)
        .env_remove("RUSTUP_TOOLCHAIN")
        .output()
        .with_context(|| format!("starting {}", tool.display()))?;
    ensure!(output.status.success(), "{} {arguments:?} failed", tool.display());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn first_line(tool: &Path, arguments: &[&str]) -> Result<String> {
    Ok(output(tool, arguments)?.lines().next().unwrap_or_default().to_owned())
}

fn rustc_version(rustc: &Path) -> Result<String> {
    let text = output(rustc, &["--version", "--verbose"])?;
    let field = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
    let first = text.lines().next().unwrap_or_default();
    Ok(format!("{first}; {}", field("LLVM version")))
}

fn strip_version(strip: &Path) -> Result<String> {
    let text = output(strip, &["--version"])?;
    let line = text.lines().find(|line| line.contains("version")).unwrap_or_default();
    Ok(line.trim().to_owned())
}

fn ensure_no_paths(object: &[u8], paths: &[&Path]) -> Result<()> {
    for path in paths {
        let needle = path.as_os_str().as_encoded_bytes();
        let found = object.windows(needle.len().max(1)).any(|window| window == needle);
        ensure!(!found, "the object holds the path {} of this machine", path.display());
    }
    Ok(())
}
