//! One page with elements, as it was read.

use bytes::Bytes;

use crate::error::BoltError;
use crate::format::{BRANCH, ELEMENT, HEADER, Header, LEAF, u32_at, u64_at};

/// A branch or leaf page whose header has been checked against its length.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    /// Its id; that of the page around it when it is inside of a value.
    pub(crate) id: u64,
    header: Header,
    bytes: Bytes,
}

/// An element of a leaf page.
pub(crate) struct LeafElement {
    pub(crate) flags: u32,
    pub(crate) key: Bytes,
    pub(crate) value: Bytes,
}

impl Page {
    /// `bytes` is the whole page with its overflow.
    pub(crate) fn new(id: u64, bytes: Bytes) -> Result<Page, BoltError> {
        if bytes.len() < HEADER {
            return Err(BoltError::page(id, "it has no header"));
        }
        let header = Header::decode(&bytes);
        if header.flags != BRANCH && header.flags != LEAF {
            return Err(BoltError::page(id, "it is neither a branch nor a leaf"));
        }
        if HEADER + usize::from(header.count) * ELEMENT > bytes.len() {
            return Err(BoltError::page(id, "its elements do not fit into it"));
        }
        if header.flags == BRANCH && header.count == 0 {
            return Err(BoltError::page(id, "a branch without children"));
        }
        Ok(Page { id, header, bytes })
    }

    pub(crate) fn is_branch(&self) -> bool {
        self.header.flags == BRANCH
    }

    pub(crate) fn count(&self) -> usize {
        usize::from(self.header.count)
    }

    /// Key of the element at `index`, which is below [`Page::count`].
    pub(crate) fn key(&self, index: usize) -> Result<Bytes, BoltError> {
        let at = HEADER + index * ELEMENT;
        let (position, length) = match self.is_branch() {
            true => (u32_at(&self.bytes, at), u32_at(&self.bytes, at + 4)),
            false => (u32_at(&self.bytes, at + 4), u32_at(&self.bytes, at + 8)),
        };
        self.part(at, u64::from(position), length)
    }

    /// The page below the element at `index` of a branch.
    pub(crate) fn child(&self, index: usize) -> u64 {
        u64_at(&self.bytes, HEADER + index * ELEMENT + 8)
    }

    /// The element at `index` of a leaf.
    pub(crate) fn leaf(&self, index: usize) -> Result<LeafElement, BoltError> {
        let at = HEADER + index * ELEMENT;
        let key = self.key(index)?;
        let value_at = u64::from(u32_at(&self.bytes, at + 4)) + key.len() as u64;
        let value = self.part(at, value_at, u32_at(&self.bytes, at + 12))?;
        Ok(LeafElement { flags: u32_at(&self.bytes, at), key, value })
    }

    /// Bytes of the page, by a position that counts from the element at `at`.
    fn part(&self, at: usize, position: u64, length: u32) -> Result<Bytes, BoltError> {
        let begin = at as u64 + position;
        let end = begin + u64::from(length);
        if end > self.bytes.len() as u64 {
            return Err(BoltError::page(self.id, "a key or value reaches out of it"));
        }
        Ok(self.bytes.slice(begin as usize..end as usize))
    }

    /// That keys ascend, from `least` on and below `bound`.
    pub(crate) fn check_order(
        &self,
        least: Option<&Bytes>,
        bound: Option<&Bytes>,
    ) -> Result<(), BoltError> {
        let mut before: Option<Bytes> = None;
        for index in 0..self.count() {
            let key = self.key(index)?;
            let follows = match &before {
                Some(before) => *before < key,
                None => least.is_none_or(|least| *least <= key),
            };
            if !follows || bound.is_some_and(|bound| *bound <= key) {
                return Err(BoltError::page(self.id, "its keys are out of order"));
            }
            before = Some(key);
        }
        Ok(())
    }
}
