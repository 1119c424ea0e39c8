//! What belongs to the eBPF object in a checkout.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Folder of the object.
pub const OBJECT_FOLDER: &str = "bpf/object";
/// The object.
pub const OBJECT: &str = "bpf/object/skein.o";
/// Its manifest.
pub const MANIFEST: &str = "bpf/object/manifest.json";

/// Folders and files below `bpf/` that the build reads.
const SOURCES: [&str; 5] = ["Cargo.lock", "Cargo.toml", "abi", "logic", "programs"];

/// The checkout that this program was built in.
#[must_use]
pub fn checkout() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_path_buf()
}

/// Every source file, relative to the checkout, in order: manifests, the lockfile and Rust sources.
///
/// # Errors
///
/// A folder that cannot be read.
pub fn sources(root: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for name in SOURCES {
        walk(root, &Path::new("bpf").join(name), &mut found)?;
    }
    found.sort();
    Ok(found)
}

fn walk(root: &Path, relative: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let full = root.join(relative);
    if !full.is_dir() {
        if matters(relative) {
            found.push(relative.to_path_buf());
        }
        return Ok(());
    }
    let entries =
        std::fs::read_dir(&full).with_context(|| format!("reading {}", full.display()))?;
    for entry in entries {
        let name = entry?.file_name();
        // Host tests are not part of the object.
        if name != "target" && name != "tests" {
            walk(root, &relative.join(name), found)?;
        }
    }
    Ok(())
}

fn matters(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension == "rs" || extension == "toml" || extension == "lock")
}

/// Copies the sources to another root.
///
/// # Errors
///
/// A file that cannot be copied.
pub fn copy_sources(root: &Path, to: &Path) -> Result<()> {
    for relative in sources(root)? {
        let target = to.join(&relative);
        if let Some(parent) = target.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::copy(root.join(&relative), &target)
            .with_context(|| format!("copying {}", relative.display()))?;
    }
    Ok(())
}
