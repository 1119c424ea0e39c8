//! A disk in memory that can refuse a sync and lose what was not synced.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::{Disk, DiskFile};

/// Unit in which a power cut keeps or loses unsynced bytes.
pub(crate) const SECTOR: usize = 512;

#[derive(Clone, Default)]
struct Content {
    /// What a reader sees.
    written: Vec<u8>,
    /// What a power cut certainly leaves.
    synced: Vec<u8>,
}

#[derive(Default)]
struct State {
    files: BTreeMap<PathBuf, Content>,
    syncs_left: Option<u32>,
}

/// Clones share one disk.
#[derive(Clone, Default)]
pub(crate) struct FaultyDisk(Arc<Mutex<State>>);

impl FaultyDisk {
    /// Every sync after the next `count` fails.
    pub(crate) fn fail_syncs_after(&self, count: u32) {
        self.lock().syncs_left = Some(count);
    }

    /// Power is lost: each unsynced sector is kept when `keep` says so for its number.
    pub(crate) fn power_cut(&self, mut keep: impl FnMut(usize) -> bool) {
        let mut state = self.lock();
        state.syncs_left = None;
        for content in state.files.values_mut() {
            content.synced.resize(content.written.len(), 0);
            let Content { written, synced } = content;
            let sectors = written.chunks(SECTOR).zip(synced.chunks_mut(SECTOR)).enumerate();
            for (number, (new, old)) in sectors {
                if new != old && keep(number) {
                    old.copy_from_slice(new);
                }
            }
            *written = synced.clone();
        }
    }

    pub(crate) fn read(&self, path: &Path) -> Vec<u8> {
        self.lock().files[path].written.clone()
    }

    pub(crate) fn write(&self, path: &Path, bytes: Vec<u8>) {
        let content = Content { synced: bytes.clone(), written: bytes };
        self.lock().files.insert(path.to_owned(), content);
    }

    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        self.lock().files.keys().cloned().collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().expect("no test panics while holding the disk")
    }
}

struct FaultyFile {
    disk: FaultyDisk,
    path: PathBuf,
}

impl FaultyFile {
    fn with<T>(&self, act: impl FnOnce(&mut Content) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.disk.lock();
        // A prepared segment loses its last extension while it is open.
        let renamed = self.path.with_extension("");
        let key = if state.files.contains_key(&self.path) { self.path.clone() } else { renamed };
        act(state.files.get_mut(&key).ok_or(io::ErrorKind::NotFound)?)
    }
}

impl DiskFile for FaultyFile {
    fn size(&self) -> io::Result<u64> {
        self.with(|content| Ok(content.written.len() as u64))
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.with(|content| {
            let from = offset as usize;
            let source = content.written.get(from..from + buf.len());
            buf.copy_from_slice(source.ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        })
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.with(|content| {
            let end = offset as usize + buf.len();
            if content.written.len() < end {
                content.written.resize(end, 0);
            }
            content.written[offset as usize..end].copy_from_slice(buf);
            Ok(())
        })
    }

    fn sync(&self) -> io::Result<()> {
        let refused = {
            let mut state = self.disk.lock();
            match &mut state.syncs_left {
                Some(0) => true,
                Some(left) => {
                    *left -= 1;
                    false
                }
                None => false,
            }
        };
        if refused {
            return Err(io::Error::other("injected sync failure"));
        }
        self.with(|content| {
            content.synced = content.written.clone();
            Ok(())
        })
    }
}

impl Disk for FaultyDisk {
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        if !self.lock().files.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(Box::new(FaultyFile { disk: self.clone(), path: path.to_owned() }))
    }

    fn create(&self, path: &Path, len: u64) -> io::Result<Box<dyn DiskFile>> {
        let content = Content { written: vec![0; len as usize], synced: Vec::new() };
        self.lock().files.insert(path.to_owned(), content);
        self.open(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.lock();
        let inside = state.files.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside.filter_map(|p| Some(p.file_name()?.to_string_lossy().into_owned())).collect())
    }

    fn create_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.lock();
        let content = state.files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.files.insert(to.to_owned(), content);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.lock().files.remove(path);
        Ok(())
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }
}
