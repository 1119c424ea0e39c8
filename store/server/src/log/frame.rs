//! Bytes of one frame, and of a batch of them. Little-endian.
//!
//! ```text
//!  0  magic "SK"        2  version      3  kind (1 entry, 2 hard state, 3 seal, 4 reset)
//!  4  payload length    8  CRC32C of bytes 0..8 and 12..end of payload
//! 12  entry kind       13  zero        14  frames of this batch that follow
//! 16  batch number     24  index (entry, reset) or commit index (hard state)
//! 32  term             40  payload: data (entry), vote (hard state), nothing (seal); zeros to 8
//! ```
//!
//! A reset says that a snapshot up to its index and term took the place of everything before it: the
//! log goes on with the entry behind. Version 1 had no resets and no configuration changes.
//!
//! Bytes 0..12 keep their meaning in every later version, so that an unknown version is told from
//! damage.

use skein_store_raft::{Entry, EntryKind, EntryKindError, HardState};

/// Format version of frames written.
pub(super) const VERSION: u8 = 2;

/// Oldest version that is read.
const OLDEST_VERSION: u8 = 1;

/// Length of a frame before its payload, in bytes.
pub(super) const HEADER: usize = 40;

/// Frames start at multiples of this, in bytes.
pub(super) const ALIGN: usize = 8;

/// Entries in one batch: the count of following frames is 16 bits, and a hard state may precede.
pub(super) const MAX_BATCH_ENTRIES: usize = 32_768;

const MAGIC: [u8; 2] = *b"SK";
const KIND_ENTRY: u8 = 1;
const KIND_HARD_STATE: u8 = 2;
const KIND_SEAL: u8 = 3;
const KIND_RESET: u8 = 4;

/// What a frame says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Content {
    Entry(Entry),
    HardState(HardState),
    Seal,
    Reset { index: u64, term: u64 },
}

/// A decoded frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) content: Content,
    pub(super) batch: u64,
    /// Frames of the same batch behind this one.
    pub(super) following: u16,
    /// Bytes it takes, padding included.
    pub(super) size: usize,
}

/// Why bytes are not a frame of this version.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NotAFrame {
    /// No frame, or one that fails its check.
    Damaged(&'static str),
    /// An intact frame of another version.
    Version(u8),
    /// An intact entry of unknown kind.
    EntryKind(EntryKindError),
}

/// Reads the frame at the start of `bytes`.
pub(super) fn decode(bytes: &[u8]) -> Result<Frame, NotAFrame> {
    use NotAFrame::Damaged;
    let header = bytes.first_chunk::<HEADER>().ok_or(Damaged("a frame header is cut off"))?;
    if header[..2] != MAGIC {
        return Err(Damaged("a frame was expected"));
    }
    let length = u32_at(header, 4) as usize;
    let end = HEADER.checked_add(length).ok_or(Damaged("a frame's length is impossible"))?;
    let covered = bytes.get(12..end).ok_or(Damaged("a frame is longer than its segment"))?;
    if checksum(&header[..8], covered) != u32_at(header, 8) {
        return Err(Damaged("a frame fails its checksum"));
    }
    if !(OLDEST_VERSION..=VERSION).contains(&header[2]) {
        return Err(NotAFrame::Version(header[2]));
    }
    Ok(Frame {
        content: content(header, &bytes[HEADER..end])?,
        batch: u64_at(header, 16),
        following: u16::from_le_bytes([header[14], header[15]]),
        size: end.next_multiple_of(ALIGN),
    })
}

fn content(header: &[u8; HEADER], payload: &[u8]) -> Result<Content, NotAFrame> {
    let (index, term) = (u64_at(header, 24), u64_at(header, 32));
    match header[3] {
        KIND_ENTRY => {
            let kind = EntryKind::from_code(header[12]).map_err(NotAFrame::EntryKind)?;
            let data = bytes::Bytes::copy_from_slice(payload);
            Ok(Content::Entry(Entry { index, term, kind, data }))
        }
        KIND_HARD_STATE => {
            let vote = payload.try_into().map(u64::from_le_bytes);
            let vote = vote.map_err(|_| NotAFrame::Damaged("a hard state has a wrong length"))?;
            Ok(Content::HardState(HardState { term, vote, commit: index }))
        }
        KIND_SEAL => Ok(Content::Seal),
        KIND_RESET => Ok(Content::Reset { index, term }),
        _ => Err(NotAFrame::Damaged("a frame's kind is unknown")),
    }
}

/// Encodes the frames of one batch.
pub(super) struct BatchEncoder {
    batch: u64,
    bytes: Vec<u8>,
    starts: Vec<usize>,
}

impl BatchEncoder {
    pub(super) fn new(batch: u64) -> Self {
        Self { batch, bytes: Vec::new(), starts: Vec::new() }
    }

    pub(super) fn entry(&mut self, entry: &Entry) {
        self.frame(KIND_ENTRY, entry.kind.code(), entry.index, entry.term, &entry.data);
    }

    pub(super) fn hard_state(&mut self, state: &HardState) {
        self.frame(KIND_HARD_STATE, 0, state.commit, state.term, &state.vote.to_le_bytes());
    }

    pub(super) fn reset(&mut self, index: u64, term: u64) {
        self.frame(KIND_RESET, 0, index, term, &[]);
    }

    pub(super) fn seal(&mut self) {
        self.frame(KIND_SEAL, 0, 0, 0, &[]);
    }

    /// Completes counts and checksums.
    pub(super) fn finish(self) -> Batch {
        let mut batch = Batch { bytes: self.bytes, starts: self.starts };
        batch.renumber(self.batch);
        batch
    }

    fn frame(&mut self, kind: u8, entry_kind: u8, index: u64, term: u64, payload: &[u8]) {
        self.starts.push(self.bytes.len());
        let mut header = [0u8; HEADER];
        header[..2].copy_from_slice(&MAGIC);
        header[2] = VERSION;
        header[3] = kind;
        header[4..8].copy_from_slice(&(payload.len() as u32).to_le_bytes());
        header[12] = entry_kind;
        header[24..32].copy_from_slice(&index.to_le_bytes());
        header[32..40].copy_from_slice(&term.to_le_bytes());
        self.bytes.extend_from_slice(&header);
        self.bytes.extend_from_slice(payload);
        self.bytes.resize(self.bytes.len().next_multiple_of(ALIGN), 0);
    }
}

/// A batch ready to be written.
pub(super) struct Batch {
    bytes: Vec<u8>,
    starts: Vec<usize>,
}

impl Batch {
    pub(super) fn as_slice(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Gives the batch its number, and every frame its count and checksum.
    pub(super) fn renumber(&mut self, batch: u64) {
        let count = self.starts.len();
        for (position, &start) in self.starts.iter().enumerate() {
            let frame = &mut self.bytes[start..];
            let following = (count - 1 - position) as u16;
            frame[14..16].copy_from_slice(&following.to_le_bytes());
            frame[16..24].copy_from_slice(&batch.to_le_bytes());
            let end = HEADER + u32_at(frame, 4) as usize;
            let sum = checksum(&frame[..8], &frame[12..end]);
            frame[8..12].copy_from_slice(&sum.to_le_bytes());
        }
    }
}

fn checksum(head: &[u8], rest: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(head), rest)
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}
