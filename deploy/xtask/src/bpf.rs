//! The eBPF object: building it, and proving that the one in the tree is the one that the sources
//! give.
//!
//! A fresh checkout has no toolchain for the kernel's target, so the object is kept. Beside it lies a
//! manifest with the hash of everything that went in. Anybody can see that sources and manifest
//! agree; who has the recorded toolchain can build again and compare bytes.

mod manifest;
mod toolchain;
pub mod tree;

use std::fmt;
use std::path::Path;

use anyhow::{Context, Result, ensure};

pub use manifest::Manifest;
pub use toolchain::Toolchain;

/// What a check found, in words for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Checked {
    /// Manifest, sources and object agree; the object was built again and is identical.
    Identical,
    /// Manifest, sources and object agree; nothing was built, for this reason.
    Agreed(String),
}

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Identical => write!(f, "bpf object: built again, byte for byte identical"),
            Self::Agreed(why) => {
                write!(f, "bpf object: manifest, sources and object agree; not built again: {why}")
            }
        }
    }
}

/// Builds the object and writes it with its manifest.
///
/// # Errors
///
/// A missing toolchain, a failing build, or an object that holds a path of this machine.
pub fn build(root: &Path) -> Result<String> {
    let toolchain = Toolchain::find().context("the toolchain for kernel programs is incomplete")?;
    let target = root.join("target/bpf");
    let object = toolchain.build(root, &target)?;
    let manifest = Manifest::describe(root, &toolchain, &object)?;
    let folder = root.join(tree::OBJECT_FOLDER);
    std::fs::create_dir_all(&folder)?;
    std::fs::write(root.join(tree::OBJECT), &object)?;
    manifest.write(root)?;
    Ok(format!("{}: {} bytes, sha256 {}", tree::OBJECT, object.len(), manifest.object_sha256))
}

/// Checks the object in the tree.
///
/// # Errors
///
/// Sources, manifest and object that do not belong together, or a build that differs.
pub fn check(root: &Path) -> Result<Checked> {
    let manifest = Manifest::read(root)?;
    let object = std::fs::read(root.join(tree::OBJECT)).context("reading the object")?;
    manifest.agrees_with(root, &object)?;
    let toolchain = match Toolchain::find() {
        Ok(toolchain) => toolchain,
        Err(error) => return Ok(Checked::Agreed(format!("{error:#}"))),
    };
    if let Some(difference) = manifest.other_toolchain(&toolchain) {
        return Ok(Checked::Agreed(difference));
    }
    // Another place and depth than the first build's, so that a path that got in shows as a
    // difference; a fixed one, so that `core` is built once.
    let place = root.join("target/bpf-check");
    let copy = place.join("copy/of/sources");
    if copy.exists() {
        std::fs::remove_dir_all(&copy).context("clearing the copy of the sources")?;
    }
    tree::copy_sources(root, &copy)?;
    let again = toolchain.build(&copy, &place.join("build"))?;
    ensure!(
        again == object,
        "the object differs from a fresh build of the same sources with the same toolchain \
         (kept {}, built {})",
        manifest::sha256(&object),
        manifest::sha256(&again),
    );
    Ok(Checked::Identical)
}
