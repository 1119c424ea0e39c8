//! Writing a file from keys in order.

use std::io::{self, Seek, SeekFrom, Write};

use crate::filling::Filling;
use crate::format::{
    BUCKET, BUCKET_HEADER, FIRST_PAGE, Header, MAX_KEY_BYTES, MAX_VALUE_BYTES, META, Meta,
    NO_FREELIST, PAGE_BYTES,
};

/// Children that a branch keeps at least, as bbolt wants it.
const MIN_CHILDREN: usize = 2;

/// A file cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The bytes could not be written.
    #[error("cannot write page {page}")]
    Io {
        /// The page.
        page: u64,
        /// Why not.
        source: io::Error,
    },
    /// Names of buckets, or keys of a bucket, must ascend.
    #[error("key {key:02x?} does not follow the one before it")]
    Order {
        /// The key.
        key: Vec<u8>,
    },
    /// There is no bucket yet.
    #[error("a key was written before any bucket")]
    NoBucket,
    /// The format has no room for it.
    #[error("a key of {key} bytes with a value of {value} bytes cannot be stored")]
    Size {
        /// Length of the key in bytes; it must be 1 to 32,768.
        key: usize,
        /// Length of the value in bytes.
        value: usize,
    },
}

/// Writes a file: [`Writer::bucket`] for each bucket by name, [`Writer::put`] for each of its keys
/// in order, [`Writer::finish`]. Keeps one page for each level of the tree, whatever the size.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    /// The page that is written next.
    next: u64,
    buckets: Filling,
    current: Option<Open>,
}

/// The bucket that is being written.
#[derive(Debug)]
struct Open {
    name: Vec<u8>,
    last_key: Vec<u8>,
    /// The leaf level, and the branches above it.
    levels: Vec<Filling>,
}

impl<W: Write + Seek> Writer<W> {
    /// Begins a file at the start of `out`.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn new(out: W) -> Result<Self, WriteError> {
        let mut writer = Self { out, next: 0, buckets: Filling::default(), current: None };
        // Until the end is written, these zeros say that this is not a file yet.
        writer.out.rewind().map_err(|source| WriteError::Io { page: 0, source })?;
        writer.append(&[0; FIRST_PAGE as usize * PAGE_BYTES], FIRST_PAGE)?;
        Ok(writer)
    }

    /// Begins a bucket, whose name is greater than that of the bucket before.
    ///
    /// # Errors
    /// The name does not follow, or what is before it cannot be written.
    pub fn bucket(&mut self, name: &[u8]) -> Result<(), WriteError> {
        check_size(name, &[])?;
        if self.current.as_ref().is_some_and(|open| *open.name >= *name) {
            return Err(WriteError::Order { key: name.to_vec() });
        }
        self.close_bucket()?;
        let levels = vec![Filling::default()];
        self.current = Some(Open { name: name.to_vec(), last_key: Vec::new(), levels });
        Ok(())
    }

    /// Adds a key to the bucket that was begun last; it is greater than the key before.
    ///
    /// # Errors
    /// The key does not follow, or what is before it cannot be written.
    pub fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), WriteError> {
        check_size(key, value)?;
        let open = self.current.as_mut().ok_or(WriteError::NoBucket)?;
        if *open.last_key >= *key {
            return Err(WriteError::Order { key: key.to_vec() });
        }
        open.last_key.clear();
        open.last_key.extend_from_slice(key);
        let leaf = &mut open.levels[0];
        let full = (leaf.len() > 0 && !leaf.has_room(key.len() + value.len()))
            .then(|| std::mem::take(leaf));
        leaf.value(0, key, value);
        match full {
            Some(full) => self.write_below(0, &full),
            None => Ok(()),
        }
    }

    /// Ends the file; its size in bytes.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn finish(mut self) -> Result<(W, u64), WriteError> {
        self.close_bucket()?;
        let buckets = std::mem::take(&mut self.buckets);
        let root = self.write_page(&buckets)?;
        let pages = self.next;
        let failed = |source| WriteError::Io { page: 0, source };
        self.out.rewind().map_err(failed)?;
        for page in 0..FIRST_PAGE {
            // bbolt numbers a meta page by its transaction; the greater transaction counts.
            let meta = Meta {
                page_bytes: PAGE_BYTES as u32,
                root,
                freelist: NO_FREELIST,
                pages,
                transaction: page,
            };
            let header = Header { id: page, flags: META, count: 0, overflow: 0 };
            let mut bytes = [header.encode().as_slice(), &meta.encode()].concat();
            bytes.resize(PAGE_BYTES, 0);
            self.out.write_all(&bytes).map_err(failed)?;
        }
        self.out.seek(SeekFrom::End(0)).and_then(|_| self.out.flush()).map_err(failed)?;
        Ok((self.out, pages * PAGE_BYTES as u64))
    }

    /// Writes what is left of the open bucket, from the leaf up, and enters its root.
    fn close_bucket(&mut self) -> Result<(), WriteError> {
        let mut level = 0;
        while let Some(open) = self.current.as_mut() {
            let filling = std::mem::take(&mut open.levels[level]);
            level += 1;
            if level < open.levels.len() {
                self.write_below(level - 1, &filling)?;
                continue;
            }
            let name = std::mem::take(&mut open.name);
            self.current = None;
            let root = self.write_page(&filling)?;
            let mut value = [0; BUCKET_HEADER];
            value[..8].copy_from_slice(&root.to_le_bytes());
            self.buckets.value(BUCKET, &name, &value);
        }
        Ok(())
    }

    /// Writes a page of `level` and enters it into the branch above, which may fill that one.
    fn write_below(&mut self, level: usize, filling: &Filling) -> Result<(), WriteError> {
        let page = self.write_page(filling)?;
        let Some(open) = self.current.as_mut() else { return Ok(()) };
        let above = level + 1;
        if above == open.levels.len() {
            open.levels.push(Filling::default());
        }
        let branch = &mut open.levels[above];
        let key = filling.first_key();
        // One child stays behind, so that the next page does not end with a single one.
        let full = (branch.len() > MIN_CHILDREN && !branch.has_room(key.len()))
            .then(|| branch.take_all_but_last());
        branch.child(key, page);
        match full {
            // As deep as the tree is high.
            Some(full) => self.write_below(above, &full),
            None => Ok(()),
        }
    }

    fn write_page(&mut self, filling: &Filling) -> Result<u64, WriteError> {
        let page = self.next;
        self.append(&filling.encode(page), filling.pages())?;
        Ok(page)
    }

    fn append(&mut self, bytes: &[u8], pages: u64) -> Result<(), WriteError> {
        let page = self.next;
        self.out.write_all(bytes).map_err(|source| WriteError::Io { page, source })?;
        self.next += pages;
        Ok(())
    }
}

fn check_size(key: &[u8], value: &[u8]) -> Result<(), WriteError> {
    if key.is_empty() || key.len() > MAX_KEY_BYTES || value.len() > MAX_VALUE_BYTES {
        return Err(WriteError::Size { key: key.len(), value: value.len() });
    }
    Ok(())
}
