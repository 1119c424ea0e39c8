//! Reading a file.

use std::io;

use bytes::Bytes;

use crate::error::BoltError;
use crate::format::{
    BUCKET, FIRST_PAGE, FREELIST, HEADER, Header, META_BYTES, Meta, NO_FREELIST, PAGE_BYTES, u64_at,
};
use crate::page::Page;
use crate::pages::PageSet;
use crate::walk::{Entries, Root, Walk};

/// Largest page with its overflow, in bytes: far above what etcd's largest request makes, so that
/// a damaged length cannot ask for all memory.
const MAX_PAGE_BYTES: u64 = 256 << 20;

/// Buckets of a file: etcd has ten.
const MAX_BUCKETS: usize = 1000;

/// Where the second meta page may begin: at any page size that a file can have.
const SECOND_META: [u64; 7] = [4096, 1024, 2048, 8192, 16_384, 32_768, 65_536];

/// Bytes that can be read at any place.
pub trait ReadAt {
    /// Number of bytes.
    fn size(&self) -> io::Result<u64>;
    /// Fills `buf` from `offset` on.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;
}

impl ReadAt for [u8] {
    fn size(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let from = usize::try_from(offset).ok().and_then(|offset| self.get(offset..));
        let from = from.and_then(|from| from.get(..buf.len()));
        buf.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

impl<S: ReadAt + ?Sized> ReadAt for &S {
    fn size(&self) -> io::Result<u64> {
        (**self).size()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        (**self).read_at(buf, offset)
    }
}

/// An open file.
#[derive(Debug)]
pub struct Bolt<S> {
    source: S,
    meta: Meta,
}

/// A bucket of the file.
#[derive(Clone, Debug)]
pub struct Bucket {
    /// Its name.
    pub name: Bytes,
    root: Root,
}

impl<S: ReadAt> Bolt<S> {
    /// Reads the meta pages. What may follow the file's last page, such as a checksum, is not
    /// looked at.
    ///
    /// # Errors
    /// It is not such a file, or cut off.
    pub fn open(source: S) -> Result<Self, BoltError> {
        let found =
            source.size().map_err(|source| BoltError::Io { offset: 0, length: 0, source })?;
        let meta = newest_meta(&source, found)?;
        let fits = meta.pages.checked_mul(u64::from(meta.page_bytes));
        if fits.is_none_or(|bytes| bytes > found) {
            let Meta { pages, page_bytes, .. } = meta;
            return Err(BoltError::CutOff { pages, page_bytes, found });
        }
        if meta.pages < FIRST_PAGE {
            return Err(BoltError::Meta { what: "it counts fewer pages than there are metas" });
        }
        Ok(Self { source, meta })
    }

    /// Size of the database in bytes, without what follows its last page.
    pub fn bytes(&self) -> u64 {
        self.meta.pages * u64::from(self.meta.page_bytes)
    }

    /// The buckets, by name.
    ///
    /// # Errors
    /// A page of the bucket of buckets is damaged.
    pub fn buckets(&self) -> Result<Vec<Bucket>, BoltError> {
        self.read_buckets(&mut self.page_set())
    }

    /// The keys of a bucket in order.
    ///
    /// # Errors
    /// Its first page is damaged; what is found later comes from the iterator.
    pub fn entries(&self, bucket: &Bucket) -> Result<Entries<'_, S>, BoltError> {
        Entries::new(self, &bucket.root)
    }

    /// Reads everything: that every page is whole, used once, and either used or free.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), BoltError> {
        let mut seen = self.page_set();
        seen.claim(0, (FIRST_PAGE - 1) as u32)?;
        for bucket in self.read_buckets(&mut seen)? {
            let mut walk = Walk::new(self, &bucket.root, &mut seen)?;
            while walk.entry(&mut seen)?.is_some() {}
        }
        if self.meta.freelist == NO_FREELIST {
            return Ok(());
        }
        for page in self.free_pages(&mut seen)? {
            self.within(page, 0)?;
            seen.claim(page, 0)?;
        }
        match seen.unclaimed() {
            Some(page) => Err(BoltError::page(page, "it is neither in use nor free")),
            None => Ok(()),
        }
    }

    pub(crate) fn page_set(&self) -> PageSet {
        PageSet::new(self.meta.pages)
    }

    /// A page with its overflow, which nothing else may use.
    pub(crate) fn page(&self, id: u64, seen: &mut PageSet) -> Result<Page, BoltError> {
        Page::new(id, self.read_page(id, seen)?)
    }

    fn read_page(&self, id: u64, seen: &mut PageSet) -> Result<Bytes, BoltError> {
        self.within(id, 0)?;
        let page_bytes = u64::from(self.meta.page_bytes);
        let offset = id * page_bytes;
        let header = Header::decode(&self.read(offset, HEADER)?);
        if header.id != id {
            return Err(BoltError::page(id, "its header has the id of another page"));
        }
        self.within(id, header.overflow)?;
        let length = (u64::from(header.overflow) + 1) * page_bytes;
        if length > MAX_PAGE_BYTES {
            return Err(BoltError::page(id, "it is impossibly large"));
        }
        seen.claim(id, header.overflow)?;
        Ok(self.read(offset, length as usize)?.into())
    }

    fn within(&self, id: u64, overflow: u32) -> Result<(), BoltError> {
        let last = id.saturating_add(u64::from(overflow));
        if id < FIRST_PAGE || last >= self.meta.pages {
            return Err(BoltError::page(id, "it is not within the file"));
        }
        Ok(())
    }

    fn read(&self, offset: u64, length: usize) -> Result<Vec<u8>, BoltError> {
        read(&self.source, offset, length)
    }

    fn read_buckets(&self, seen: &mut PageSet) -> Result<Vec<Bucket>, BoltError> {
        let mut walk = Walk::new(self, &Root::Page(self.meta.root), seen)?;
        let mut buckets = Vec::new();
        while let Some((page, element)) = walk.step(seen)? {
            if element.flags & BUCKET == 0 {
                return Err(BoltError::page(page, "a key outside of all buckets"));
            }
            if buckets.len() == MAX_BUCKETS {
                return Err(BoltError::page(page, "there are too many buckets"));
            }
            let root = Root::of_value(page, &element.value)?;
            buckets.push(Bucket { name: element.key, root });
        }
        Ok(buckets)
    }

    fn free_pages(&self, seen: &mut PageSet) -> Result<Vec<u64>, BoltError> {
        /// In place of a count that does not fit: the count is the first number of the list.
        const MANY: u16 = u16::MAX;
        let id = self.meta.freelist;
        let bytes = self.read_page(id, seen)?;
        let header = Header::decode(&bytes);
        if header.flags != FREELIST {
            return Err(BoltError::page(id, "it is not the list of free pages"));
        }
        let numbers = (bytes.len() - HEADER) / 8;
        let number = |at: usize| u64_at(&bytes, HEADER + 8 * at);
        let (begin, count) = match header.count {
            MANY => (1, number(0)),
            count => (0, u64::from(count)),
        };
        if count > (numbers - begin) as u64 {
            return Err(BoltError::page(id, "its free pages do not fit into it"));
        }
        Ok((begin..begin + count as usize).map(number).collect())
    }
}

fn read<S: ReadAt>(source: &S, offset: u64, length: usize) -> Result<Vec<u8>, BoltError> {
    let mut bytes = vec![0; length];
    let failed = |source| BoltError::Io { offset, length, source };
    source.read_at(&mut bytes, offset).map_err(failed)?;
    Ok(bytes)
}

/// Of two intact metas the newer one. Where the second one is, is in the first: when that is
/// damaged, every possible place is tried.
fn newest_meta<S: ReadAt>(source: &S, size: u64) -> Result<Meta, BoltError> {
    let at = |offset: u64| -> Result<Meta, BoltError> {
        if offset + (HEADER + META_BYTES) as u64 > size {
            return Err(BoltError::Meta { what: "it is too short" });
        }
        let bytes = read(source, offset + HEADER as u64, META_BYTES)?;
        let mut meta = [0; META_BYTES];
        meta.copy_from_slice(&bytes);
        Meta::decode(&meta)
    };
    match at(0) {
        Ok(first) => match at(u64::from(first.page_bytes)) {
            Ok(second) if second.page_bytes != first.page_bytes => Ok(first),
            Ok(second) if second.transaction > first.transaction => Ok(second),
            _ => Ok(first),
        },
        Err(first) => {
            let second = SECOND_META.iter().find_map(|&offset| {
                at(offset).ok().filter(|meta| u64::from(meta.page_bytes) == offset)
            });
            second.ok_or(first)
        }
    }
}

// The size that is written is one that is read.
const _: () = assert!(SECOND_META[0] == PAGE_BYTES as u64);
