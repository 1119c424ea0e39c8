//! What went into the object.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::toolchain::Toolchain;
use super::tree;

/// Format of the manifest file.
const VERSION: u32 = 1;

/// Everything that decides about the object's bytes, and their hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Format of this file.
    pub version: u32,
    /// SHA-256 over names and contents of all sources, in the order of names.
    pub sources_sha256: String,
    /// SHA-256 of `bpf/Cargo.lock`.
    pub lockfile_sha256: String,
    /// Version of the compiler, with commit and LLVM version.
    pub rustc: String,
    /// `bpf-linker --version`.
    pub linker: String,
    /// Version of the tool that strips debug sections.
    pub strip: String,
    /// Target triple.
    pub target: String,
    /// Compiler flags, paths left out.
    pub flags: Vec<String>,
    /// SHA-256 of the object.
    pub object_sha256: String,
}

impl Manifest {
    /// Describes an object that was just built.
    ///
    /// # Errors
    ///
    /// Sources that cannot be read.
    pub fn describe(root: &Path, toolchain: &Toolchain, object: &[u8]) -> Result<Self> {
        Ok(Self {
            version: VERSION,
            sources_sha256: sources_sha256(root)?,
            lockfile_sha256: lockfile_sha256(root)?,
            rustc: toolchain.rustc_version.clone(),
            linker: toolchain.linker_version.clone(),
            strip: toolchain.strip_version.clone(),
            target: super::toolchain::TARGET.to_owned(),
            flags: super::toolchain::flags(),
            object_sha256: sha256(object),
        })
    }

    /// Reads the manifest of a checkout.
    ///
    /// # Errors
    ///
    /// A missing file, or a format that this program does not know.
    pub fn read(root: &Path) -> Result<Self> {
        let path = root.join(tree::MANIFEST);
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("reading {}; `make bpf` writes it", path.display()))?;
        let manifest: Self = serde_json::from_str(&text).context("parsing the manifest")?;
        ensure!(
            manifest.version == VERSION,
            "manifest format {} is not {VERSION}",
            manifest.version
        );
        Ok(manifest)
    }

    /// Writes the manifest into a checkout.
    ///
    /// # Errors
    ///
    /// A file that cannot be written.
    pub fn write(&self, root: &Path) -> Result<()> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        std::fs::write(root.join(tree::MANIFEST), text).context("writing the manifest")
    }

    /// Checks that sources, lockfile and object are the ones described here.
    ///
    /// # Errors
    ///
    /// The first that is not.
    pub fn agrees_with(&self, root: &Path, object: &[u8]) -> Result<()> {
        let hint = "rebuild the object with `make bpf`";
        ensure!(
            self.lockfile_sha256 == lockfile_sha256(root)?,
            "bpf/Cargo.lock is not the one that the object was built with; {hint}"
        );
        ensure!(
            self.sources_sha256 == sources_sha256(root)?,
            "the sources below bpf/ are not the ones that the object was built from; {hint}"
        );
        ensure!(
            self.flags == super::toolchain::flags() && self.target == super::toolchain::TARGET,
            "the object was built with other flags; {hint}"
        );
        ensure!(
            self.object_sha256 == sha256(object),
            "{} is not the object that the manifest describes; {hint}",
            tree::OBJECT
        );
        Ok(())
    }

    /// Says in what a toolchain differs from the recorded one, if it does.
    #[must_use]
    pub fn other_toolchain(&self, toolchain: &Toolchain) -> Option<String> {
        let pairs = [
            ("rustc", &self.rustc, &toolchain.rustc_version),
            ("bpf-linker", &self.linker, &toolchain.linker_version),
            ("llvm-strip", &self.strip, &toolchain.strip_version),
        ];
        pairs.into_iter().find(|(_, recorded, here)| recorded != here).map(
            |(name, recorded, here)| format!("{name} here is `{here}`, recorded is `{recorded}`"),
        )
    }
}

/// SHA-256 in hexadecimal.
pub(super) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn lockfile_sha256(root: &Path) -> Result<String> {
    Ok(sha256(&std::fs::read(root.join("bpf/Cargo.lock")).context("reading bpf/Cargo.lock")?))
}

fn sources_sha256(root: &Path) -> Result<String> {
    let mut hash = Sha256::new();
    for relative in tree::sources(root)? {
        let name = relative.to_string_lossy();
        let bytes = std::fs::read(root.join(&relative))
            .with_context(|| format!("reading {}", relative.display()))?;
        for part in [name.as_bytes(), &bytes] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
    }
    Ok(hex(&hash.finalize()))
}
