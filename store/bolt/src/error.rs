//! What can be wrong with a file.

use std::io;

/// A file cannot be read as bbolt's.
#[derive(Debug, thiserror::Error)]
pub enum BoltError {
    /// The bytes could not be had.
    #[error("cannot read {length} bytes at offset {offset}")]
    Io {
        /// Offset in bytes.
        offset: u64,
        /// Number of bytes.
        length: usize,
        /// Why not.
        source: io::Error,
    },
    /// Neither of the two first pages is an intact meta page.
    #[error("it is not a bbolt file, or both of its meta pages are damaged: {what}")]
    Meta {
        /// What the meta pages lack.
        what: &'static str,
    },
    /// The file ends before the pages that its meta page counts.
    #[error(
        "it is cut off: {pages} pages of {page_bytes} bytes were expected, {found} bytes found"
    )]
    CutOff {
        /// Number of pages.
        pages: u64,
        /// Size of each.
        page_bytes: u32,
        /// Size of the file in bytes.
        found: u64,
    },
    /// A page is not what its place in the file asks for.
    #[error("page {page} is damaged: {what}")]
    Page {
        /// Its id.
        page: u64,
        /// What does not fit.
        what: &'static str,
    },
}

impl BoltError {
    pub(crate) fn page(page: u64, what: &'static str) -> BoltError {
        BoltError::Page { page, what }
    }
}
