//! The file format of bbolt, the B+-tree file in which etcd keeps and ships its state.
//!
//! Pure: a file is whatever implements [`ReadAt`], or [`std::io::Write`] and [`std::io::Seek`].
//! [`Writer`] builds a file from keys in order and remembers one page for each level of the tree.
//! [`Bolt`] reads one, a page at a time, and believes nothing: every page is bounded, belongs to
//! one place only, and holds keys in order between those of the page above, or the answer is a
//! [`BoltError`] that names the page.
//!
//! ```text
//! page     id u64, flags u16, count u16, overflow u32 (pages that follow and belong to it)
//! branch   count elements (position u32, key length u32, child page u64), then keys
//! leaf     count elements (flags u32, position u32, key length u32, value length u32), then
//!          keys and values; flag 1 marks a bucket, whose value is (root page u64, sequence u64)
//!          and, when the root is 0, a leaf page inside of the value
//! meta     magic u32, version u32, page size u32, flags u32, root bucket (u64, u64),
//!          freelist page u64, first page beyond the file u64, transaction u64, FNV-1a of these
//! freelist count u16, or 0xffff and the count as the first u64; then ids of free pages u64
//! ```
//!
//! Little-endian. Positions count from their element. Pages 0 and 1 are metas: of the intact ones
//! that of the newest transaction counts. A file of etcd has no freelist (its page is `u64::MAX`):
//! what no bucket reaches is free. (Format facts: bbolt 1.5, and files of etcd 3.7.1.)

mod error;
mod filling;
mod format;
mod page;
mod pages;
mod reader;

mod walk;
mod writer;

pub use error::BoltError;
pub use format::{MAX_KEY_BYTES, PAGE_BYTES};
pub use reader::{Bolt, Bucket, ReadAt};
pub use walk::{Entries, Entry};
pub use writer::{WriteError, Writer};
