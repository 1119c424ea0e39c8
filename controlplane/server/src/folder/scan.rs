//! Looking at the disk and telling the manifest set what is there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use skein_controlplane_core::manifest::{FileId, Format, ManifestSet};
use tokio_util::sync::CancellationToken;

use super::is_hidden;

/// A manifest larger than this is refused: it would be read into memory whole. Kubernetes itself
/// takes objects up to 1.5 MiB; a file may hold many.
const FILE_BYTES_MAX: u64 = 64 << 20;
/// Subfolders deeper than this are reported, not entered.
const DEPTH_MAX: usize = 32;

/// The folders, and when each file was last seen to change.
#[derive(Debug)]
pub(super) struct Scanner {
    roots: Vec<PathBuf>,
    stamps: BTreeMap<FileId, Stamp>,
    /// Ends a scan half-way.
    stop: CancellationToken,
}

/// Two files with equal stamps are taken for the same content by full scans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Scanner {
    pub(super) fn new(roots: Vec<PathBuf>, stop: CancellationToken) -> Scanner {
        Scanner { roots, stamps: BTreeMap::new(), stop }
    }

    pub(super) fn roots(&self) -> &[PathBuf] {
        &self.roots
    }

    /// Looks at every folder, and reads the files that changed since they were read last.
    pub(super) fn scan_all(&mut self, set: &mut ManifestSet) {
        for root in 0..self.roots.len() as u32 {
            let folder = self.roots[root as usize].clone();
            self.scan_folder(set, root, &folder, 0);
        }
    }

    /// Looks at one path that something happened to.
    pub(super) fn look_at(&mut self, set: &mut ManifestSet, path: &Path) {
        let owners: Vec<u32> = (0..self.roots.len() as u32)
            .filter(|r| path.starts_with(&self.roots[*r as usize]))
            .collect();
        for root in owners {
            self.look_at_in(set, root, path);
        }
    }

    fn look_at_in(&mut self, set: &mut ManifestSet, root: u32, path: &Path) {
        let folder = self.roots[root as usize].clone();
        let hidden = path.ancestors().take_while(|p| *p != folder).filter(|p| is_hidden(p)).last();
        if let Some(hidden) = hidden {
            // ConfigMap volumes keep their files behind a link with this prefix and swap it; other
            // hidden files (of editors, half-written ones) concern nobody.
            let swapped =
                hidden.file_name().is_some_and(|n| n.as_encoded_bytes().starts_with(b".."));
            if let Some(parent) = hidden.parent().filter(|_| swapped) {
                self.scan_folder(set, root, parent, depth(&folder, parent));
            }
            return;
        }
        // A folder that vanished as a whole is a folder that cannot be read, not one whose files
        // were removed one by one.
        if path == folder || fs::metadata(&folder).is_err() {
            return self.scan_folder(set, root, &folder, 0);
        }
        match fs::metadata(path) {
            Ok(meta) if meta.is_dir() => {
                self.scan_folder(set, root, path, depth(&folder, path));
            }
            Ok(meta) => self.read(set, &file_id(root, path), path, &meta),
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.forget(set, root, path),
            Err(error) => {
                if format_of(path).is_some() {
                    set.put_unreadable_file(&file_id(root, path), &error.to_string());
                }
            }
        }
    }

    fn scan_folder(&mut self, set: &mut ManifestSet, root: u32, folder: &Path, depth: usize) {
        let id = file_id(root, folder);
        let listed = if depth > DEPTH_MAX {
            Err(io::Error::other(format!("deeper than {DEPTH_MAX} folders")))
        } else {
            list(folder)
        };
        let entries = match listed {
            Ok(entries) => entries,
            Err(error) => return set.set_folder(&id, Some(error.to_string())),
        };
        set.set_folder(&id, None);
        self.forget_absent(set, root, folder, &entries);
        for (path, is_folder) in entries {
            if self.stop.is_cancelled() {
                return;
            }
            if is_folder {
                self.scan_folder(set, root, &path, depth + 1);
            } else {
                self.read_if_changed(set, root, &path);
            }
        }
    }

    /// Forgets what is known below a folder and is not among its entries any more.
    fn forget_absent(
        &mut self,
        set: &mut ManifestSet,
        root: u32,
        folder: &Path,
        entries: &BTreeMap<PathBuf, bool>,
    ) {
        let known = self.stamps.keys().filter(|id| id.root == root);
        let mut gone = BTreeSet::new();
        for id in known.chain(set.unreadable_folders().filter(|id| id.root == root)) {
            let child = child_of(folder, Path::new(&*id.path));
            gone.extend(child.filter(|c| !entries.contains_key(c)));
        }
        for path in gone {
            self.forget(set, root, &path);
        }
    }

    /// A path is gone: with it the file, or every file and folder below it.
    fn forget(&mut self, set: &mut ManifestSet, root: u32, path: &Path) {
        let below = |id: &FileId| id.root == root && Path::new(&*id.path).starts_with(path);
        let files: Vec<FileId> = self.stamps.keys().filter(|id| below(id)).cloned().collect();
        for file in files {
            self.stamps.remove(&file);
            set.remove_file(&file);
        }
        let folders: Vec<FileId> =
            set.unreadable_folders().filter(|id| below(id)).cloned().collect();
        for folder in folders {
            set.set_folder(&folder, None);
        }
    }

    fn read_if_changed(&mut self, set: &mut ManifestSet, root: u32, path: &Path) {
        let id = file_id(root, path);
        match fs::metadata(path) {
            Ok(meta) if meta.is_dir() => {}
            Ok(meta) if self.stamps.get(&id) == Some(&stamp(&meta)) => {}
            Ok(meta) => self.read(set, &id, path, &meta),
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.forget(set, root, path),
            Err(error) => set.put_unreadable_file(&id, &error.to_string()),
        }
    }

    fn read(&mut self, set: &mut ManifestSet, id: &FileId, path: &Path, meta: &Metadata) {
        let Some(format) = format_of(path).filter(|_| meta.is_file()) else { return };
        self.stamps.insert(id.clone(), stamp(meta));
        if meta.len() > FILE_BYTES_MAX {
            let reason = format!("{} bytes, the limit is {FILE_BYTES_MAX}", meta.len());
            return set.put_unreadable_file(id, &reason);
        }
        match fs::read(path).map(String::from_utf8) {
            Ok(Ok(text)) => set.put_file(id, &text, format),
            Ok(Err(_)) => set.put_unreadable_file(id, "not UTF-8"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.forget(set, id.root, path);
            }
            Err(error) => {
                // The next full scan tries again.
                self.stamps.insert(id.clone(), Stamp { bytes: u64::MAX, ..stamp(meta) });
                set.put_unreadable_file(id, &error.to_string());
            }
        }
    }
}

fn file_id(root: u32, path: &Path) -> FileId {
    FileId { root, path: Arc::from(path.to_string_lossy()) }
}

fn format_of(path: &Path) -> Option<Format> {
    Format::of_name(path.file_name()?.to_str()?)
}

fn depth(root: &Path, path: &Path) -> usize {
    path.strip_prefix(root).map_or(0, |p| p.components().count())
}

/// The entry of `folder` through which `path` is reached.
fn child_of(folder: &Path, path: &Path) -> Option<PathBuf> {
    let step = path.strip_prefix(folder).ok()?.components().next()?;
    Some(folder.join(step))
}

/// Manifests and subfolders (`true`) of a folder, hidden ones left out.
fn list(folder: &Path) -> io::Result<BTreeMap<PathBuf, bool>> {
    let mut entries = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        if !is_hidden(&path) && (kind.is_dir() || format_of(&path).is_some()) {
            entries.insert(path, kind.is_dir());
        }
    }
    Ok(entries)
}

fn stamp(meta: &Metadata) -> Stamp {
    Stamp {
        device: meta.dev(),
        inode: meta.ino(),
        bytes: meta.len(),
        modified: (meta.mtime(), meta.mtime_nsec()),
        changed: (meta.ctime(), meta.ctime_nsec()),
    }
}
