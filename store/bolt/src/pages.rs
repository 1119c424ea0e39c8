//! Which pages have been seen, so that none is used twice and no walk goes in circles.

use crate::error::BoltError;

/// A set of page ids: one bit for each page of the file.
#[derive(Debug)]
pub(crate) struct PageSet {
    bits: Vec<u64>,
    pages: u64,
}

impl PageSet {
    /// `pages` is bounded by the size of the file.
    pub(crate) fn new(pages: u64) -> PageSet {
        PageSet { bits: vec![0; pages.div_ceil(64) as usize], pages }
    }

    /// Takes a run of pages that lies within the file.
    pub(crate) fn claim(&mut self, first: u64, overflow: u32) -> Result<(), BoltError> {
        for page in first..=first + u64::from(overflow) {
            let (word, bit) = ((page / 64) as usize, 1 << (page % 64));
            if self.bits[word] & bit != 0 {
                return Err(BoltError::page(page, "it is in use at two places"));
            }
            self.bits[word] |= bit;
        }
        Ok(())
    }

    /// The first page that nobody took.
    pub(crate) fn unclaimed(&self) -> Option<u64> {
        (0..self.pages).find(|page| self.bits[(page / 64) as usize] & (1 << (page % 64)) == 0)
    }
}
