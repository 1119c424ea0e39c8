//! Reading the elements of one bucket in order.

use bytes::Bytes;

use crate::error::BoltError;
use crate::format::{BUCKET, BUCKET_HEADER, u64_at};
use crate::page::{LeafElement, Page};
use crate::pages::PageSet;
use crate::reader::{Bolt, ReadAt};

/// Levels of a tree: with two children to a page, more than any file has pages.
const MAX_DEPTH: usize = 40;

/// A key with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: Bytes,
    /// The value.
    pub value: Bytes,
}

/// Where a bucket's tree begins.
#[derive(Clone, Debug)]
pub(crate) enum Root {
    /// At this page.
    Page(u64),
    /// Inside of a value of this page.
    Inline(u64, Bytes),
}

impl Root {
    /// The root that a bucket's value, read from `page`, names.
    pub(crate) fn of_value(page: u64, value: &Bytes) -> Result<Root, BoltError> {
        if value.len() < BUCKET_HEADER {
            return Err(BoltError::page(page, "a bucket without a root"));
        }
        match u64_at(value, 0) {
            0 => Ok(Root::Inline(page, value.slice(BUCKET_HEADER..))),
            root => Ok(Root::Page(root)),
        }
    }
}

struct Frame {
    page: Page,
    next: usize,
    /// What every key below this page is less than.
    bound: Option<Bytes>,
}

/// The elements of a tree in order. Holds one page for each level.
pub(crate) struct Walk<'a, S> {
    file: &'a Bolt<S>,
    stack: Vec<Frame>,
}

impl<'a, S: ReadAt> Walk<'a, S> {
    pub(crate) fn new(
        file: &'a Bolt<S>,
        root: &Root,
        seen: &mut PageSet,
    ) -> Result<Self, BoltError> {
        let page = match root {
            Root::Page(id) => file.page(*id, seen)?,
            Root::Inline(around, bytes) => Page::new(*around, bytes.clone())?,
        };
        page.check_order(None, None)?;
        Ok(Self { file, stack: vec![Frame { page, next: 0, bound: None }] })
    }

    /// The next element and the page that holds it.
    pub(crate) fn step(
        &mut self,
        seen: &mut PageSet,
    ) -> Result<Option<(u64, LeafElement)>, BoltError> {
        loop {
            let depth = self.stack.len();
            let Some(frame) = self.stack.last_mut() else { return Ok(None) };
            if frame.next == frame.page.count() {
                self.stack.pop();
                continue;
            }
            let at = frame.next;
            frame.next += 1;
            if !frame.page.is_branch() {
                return Ok(Some((frame.page.id, frame.page.leaf(at)?)));
            }
            if depth == MAX_DEPTH {
                return Err(BoltError::page(frame.page.id, "the tree is too deep"));
            }
            let least = frame.page.key(at)?;
            let bound = match at + 1 < frame.page.count() {
                true => Some(frame.page.key(at + 1)?),
                false => frame.bound.clone(),
            };
            let page = self.file.page(frame.page.child(at), seen)?;
            page.check_order(Some(&least), bound.as_ref())?;
            self.stack.push(Frame { page, next: 0, bound });
        }
    }

    /// The next key with its value.
    pub(crate) fn entry(&mut self, seen: &mut PageSet) -> Result<Option<Entry>, BoltError> {
        match self.step(seen)? {
            None => Ok(None),
            Some((page, element)) if element.flags & BUCKET != 0 => {
                Err(BoltError::page(page, "a bucket inside of a bucket, which etcd never has"))
            }
            Some((_, LeafElement { key, value, .. })) => Ok(Some(Entry { key, value })),
        }
    }
}

/// The keys of a bucket in order, each with its value; ends behind the first error.
pub struct Entries<'a, S> {
    walk: Walk<'a, S>,
    seen: PageSet,
    ended: bool,
}

impl<'a, S: ReadAt> Entries<'a, S> {
    pub(crate) fn new(file: &'a Bolt<S>, root: &Root) -> Result<Self, BoltError> {
        let mut seen = file.page_set();
        let walk = Walk::new(file, root, &mut seen)?;
        Ok(Self { walk, seen, ended: false })
    }
}

impl<S: ReadAt> Iterator for Entries<'_, S> {
    type Item = Result<Entry, BoltError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let entry = self.walk.entry(&mut self.seen).transpose();
        self.ended = !matches!(entry, Some(Ok(_)));
        entry
    }
}
