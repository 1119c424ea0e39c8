//! Numbers of the format, and its meta pages.

use crate::error::BoltError;

/// Size of the pages that are written, in bytes: what bbolt uses on every common machine.
pub const PAGE_BYTES: usize = 4096;

/// Longest key that bbolt takes, in bytes.
pub const MAX_KEY_BYTES: usize = 32_768;

/// Longest value that bbolt takes, in bytes.
pub(crate) const MAX_VALUE_BYTES: usize = (1 << 31) - 2;

/// Page sizes that are read, in bytes: what operating systems have.
const PAGE_SIZES: std::ops::RangeInclusive<u32> = 1024..=65_536;

/// Bytes before the elements of a page, and of one element of either kind.
pub(crate) const HEADER: usize = 16;
pub(crate) const ELEMENT: usize = 16;

pub(crate) const BRANCH: u16 = 0x01;
pub(crate) const LEAF: u16 = 0x02;
pub(crate) const META: u16 = 0x04;
pub(crate) const FREELIST: u16 = 0x10;

/// Flag of a leaf element that holds a bucket.
pub(crate) const BUCKET: u32 = 1;

/// Bytes of a bucket's root and sequence.
pub(crate) const BUCKET_HEADER: usize = 16;

/// In place of the freelist's page: there is none.
pub(crate) const NO_FREELIST: u64 = u64::MAX;

/// The first page that is not a meta page.
pub(crate) const FIRST_PAGE: u64 = 2;

const MAGIC: u32 = 0xed0c_daed;
const VERSION: u32 = 2;

/// Bytes of a meta from its magic to before its checksum, and with it.
const META_SUMMED: usize = 56;
pub(crate) const META_BYTES: usize = META_SUMMED + 8;

/// What a meta page says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) page_bytes: u32,
    /// Root page of the bucket of buckets.
    pub(crate) root: u64,
    pub(crate) freelist: u64,
    /// Number of pages, the metas included.
    pub(crate) pages: u64,
    pub(crate) transaction: u64,
}

impl Meta {
    /// The bytes that follow the page header.
    pub(crate) fn encode(&self) -> [u8; META_BYTES] {
        let mut out = [0; META_BYTES];
        out[..4].copy_from_slice(&MAGIC.to_le_bytes());
        out[4..8].copy_from_slice(&VERSION.to_le_bytes());
        out[8..12].copy_from_slice(&self.page_bytes.to_le_bytes());
        out[16..24].copy_from_slice(&self.root.to_le_bytes());
        out[32..40].copy_from_slice(&self.freelist.to_le_bytes());
        out[40..48].copy_from_slice(&self.pages.to_le_bytes());
        out[48..56].copy_from_slice(&self.transaction.to_le_bytes());
        let sum = fnv1a(&out[..META_SUMMED]);
        out[META_SUMMED..].copy_from_slice(&sum.to_le_bytes());
        out
    }

    pub(crate) fn decode(bytes: &[u8; META_BYTES]) -> Result<Meta, BoltError> {
        let wrong = |what| BoltError::Meta { what };
        if u32_at(bytes, 0) != MAGIC {
            return Err(wrong("the magic number is missing"));
        }
        if u32_at(bytes, 4) != VERSION {
            return Err(wrong("the format version is not 2"));
        }
        if fnv1a(&bytes[..META_SUMMED]) != u64_at(bytes, META_SUMMED) {
            return Err(wrong("the checksum does not match"));
        }
        let page_bytes = u32_at(bytes, 8);
        if !PAGE_SIZES.contains(&page_bytes) || !page_bytes.is_power_of_two() {
            return Err(wrong("the page size is impossible"));
        }
        Ok(Meta {
            page_bytes,
            root: u64_at(bytes, 16),
            freelist: u64_at(bytes, 32),
            pages: u64_at(bytes, 40),
            transaction: u64_at(bytes, 48),
        })
    }
}

/// FNV-1a of 64 bits.
fn fnv1a(bytes: &[u8]) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    bytes.iter().fold(OFFSET, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME))
}

/// The header of a page.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    pub(crate) id: u64,
    pub(crate) flags: u16,
    pub(crate) count: u16,
    /// Pages that follow and belong to it.
    pub(crate) overflow: u32,
}

impl Header {
    pub(crate) fn encode(&self) -> [u8; HEADER] {
        let mut out = [0; HEADER];
        out[..8].copy_from_slice(&self.id.to_le_bytes());
        out[8..10].copy_from_slice(&self.flags.to_le_bytes());
        out[10..12].copy_from_slice(&self.count.to_le_bytes());
        out[12..].copy_from_slice(&self.overflow.to_le_bytes());
        out
    }

    /// `bytes` has at least [`HEADER`] of them.
    pub(crate) fn decode(bytes: &[u8]) -> Header {
        Header {
            id: u64_at(bytes, 0),
            flags: u16::from_le_bytes([bytes[8], bytes[9]]),
            count: u16::from_le_bytes([bytes[10], bytes[11]]),
            overflow: u32_at(bytes, 12),
        }
    }
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}
