//! Reads a log back: pure over the bytes of its segments.

use std::cmp::Ordering;

use skein_store_raft::{Entry, HardState};

use super::error::LogError;
use super::frame::{self, Content, NotAFrame};
use super::segment::{self, SegmentPlace, Tail};

/// What the log held.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// The newest hard state.
    pub hard_state: HardState,
    /// Entries after the base, in order without gaps.
    pub entries: Vec<Entry>,
    /// Bytes of a torn last write that were cut, 0 after a clean stop.
    pub cut_bytes: u64,
}

impl Recovered {
    pub(super) fn last_index(&self) -> u64 {
        self.entries.last().map_or(0, |entry| entry.index)
    }
}

/// Everything that opening needs to know.
pub(super) struct Found {
    pub(super) recovered: Recovered,
    /// Sequence number and highest entry index up to the end of each segment, oldest first.
    pub(super) segments: Vec<(u64, u64)>,
    /// State of the last segment; `None` for a log without segments.
    pub(super) tail: Option<Tail>,
    pub(super) next_batch: u64,
    /// The log holds entries that the base contradicts; they were left out and must not come back.
    pub(super) refuted: bool,
}

/// Reads all segments. `base` is index and term of the last entry that the snapshot contains.
pub(super) fn recover(place: &SegmentPlace, base: (u64, u64)) -> Result<Found, LogError> {
    place.disk.create_dir(&place.dir).map_err(segment::io_error("create", &place.dir))?;
    let sequences = place.list()?;
    let mut replay = Replay { base, last_index: base.0, next_batch: 1, ..Replay::default() };
    let mut segments: Vec<(u64, u64)> = Vec::with_capacity(sequences.len());
    let mut tail = None;
    for (position, &sequence) in sequences.iter().enumerate() {
        if position > 0 && sequences[position - 1] + 1 != sequence {
            let missing = sequences[position - 1] + 1;
            return Err(LogError::MissingSegment { missing, path: place.path(missing) });
        }
        let bytes = place.read(sequence)?;
        place.check_header(sequence, &bytes)?;
        let last = position + 1 == sequences.len();
        tail = Some(replay.segment(place, sequence, &bytes, last)?);
        if let Some(index) = replay.reset.take() {
            segments.iter_mut().for_each(|(_, last)| *last = index.min(*last));
        }
        segments.push((sequence, replay.last_index));
    }
    if let Some(tail) = tail {
        replay.recovered.cut_bytes = tail.dirty_until.saturating_sub(tail.end);
    }
    // The snapshot came from a leader, and the crash before the log was told: what follows an entry
    // that the snapshot contradicts never counted.
    let refuted = replay.at_base.is_some_and(|term| term != base.1);
    if refuted {
        replay.recovered.entries.clear();
    }
    let begins_at = replay.begins_at();
    if begins_at != base.0 + 1 {
        return Err(LogError::MissingEntries { base: base.0, first: begins_at });
    }
    Ok(Found {
        recovered: replay.recovered,
        segments,
        tail,
        next_batch: replay.next_batch,
        refuted,
    })
}

#[derive(Default)]
struct Replay {
    base: (u64, u64),
    /// Term of the entry at the base, where the log holds that entry.
    at_base: Option<u64>,
    /// Where the newest reset says that the log goes on, if there was one.
    resumed: u64,
    /// Index of a reset in the segment that is being read.
    reset: Option<u64>,
    recovered: Recovered,
    last_index: u64,
    next_batch: u64,
    seen_any: bool,
}

impl Replay {
    /// Replays one segment and says where its complete batches end.
    fn segment(
        &mut self,
        place: &SegmentPlace,
        sequence: u64,
        bytes: &[u8],
        last: bool,
    ) -> Result<Tail, LogError> {
        let mut offset = segment::HEADER;
        let mut last_batch = offset;
        loop {
            match self.batch(place, sequence, bytes, offset)? {
                Step::Next(end) => {
                    last_batch = offset;
                    offset = end;
                }
                Step::Stop { at, what } => {
                    let dirty_until = end_of_data(bytes, offset);
                    if dirty_until > offset
                        && (!last || later_batch_follows(bytes, at, self.next_batch))
                    {
                        let (path, offset) = (place.path(sequence), at as u64);
                        return Err(LogError::Damaged { path, offset, what });
                    }
                    return Ok(Tail {
                        last_batch: last_batch as u64,
                        end: offset as u64,
                        dirty_until: dirty_until as u64,
                    });
                }
            }
        }
    }

    /// Reads the whole batch at `offset`, and takes it when it is complete.
    fn batch(
        &mut self,
        place: &SegmentPlace,
        sequence: u64,
        bytes: &[u8],
        offset: usize,
    ) -> Result<Step, LogError> {
        let mut contents = Vec::new();
        let mut at = offset;
        let mut expected: Option<(u64, u16)> = None;
        loop {
            let frame = match frame::decode(bytes.get(at..).unwrap_or_default()) {
                Ok(frame) => frame,
                Err(NotAFrame::Damaged(what)) => return Ok(Step::Stop { at, what }),
                Err(other) => return Err(refuse(place, sequence, at, other)),
            };
            let in_order = match expected {
                Some(wanted) => wanted == (frame.batch, frame.following),
                None => !self.seen_any || frame.batch == self.next_batch,
            };
            if !in_order {
                return Ok(Step::Stop { at, what: "a frame is not the one that must follow" });
            }
            at += frame.size;
            contents.push(frame.content);
            if frame.following == 0 {
                self.seen_any = true;
                self.next_batch = frame.batch + 1;
                contents.into_iter().for_each(|content| self.take(content));
                return Ok(Step::Next(at));
            }
            expected = Some((frame.batch, frame.following - 1));
        }
    }

    fn take(&mut self, content: Content) {
        match content {
            Content::HardState(state) => self.recovered.hard_state = state,
            Content::Seal => {}
            Content::Reset { index, .. } => {
                self.recovered.entries.clear();
                self.at_base = None;
                self.last_index = index;
                self.resumed = index;
                self.reset = Some(index);
            }
            Content::Entry(entry) => self.entry(entry),
        }
    }

    fn entry(&mut self, entry: Entry) {
        self.last_index = entry.index;
        let entries = &mut self.recovered.entries;
        while entries.last().is_some_and(|old| old.index >= entry.index) {
            entries.pop();
        }
        match entry.index.cmp(&self.base.0) {
            Ordering::Less => self.at_base = None,
            Ordering::Equal => self.at_base = Some(entry.term),
            Ordering::Greater => entries.push(entry),
        }
    }

    /// The index with which the log goes on behind the base. A log that was reset behind a later
    /// snapshot than the one found misses entries even if it holds none.
    fn begins_at(&self) -> u64 {
        let first = self.recovered.entries.first().map(|entry| entry.index);
        first.unwrap_or(self.base.0.max(self.resumed) + 1)
    }
}

enum Step {
    /// The batch is complete and ends here.
    Next(usize),
    /// There is no complete batch; the first wrong frame is at `at`.
    Stop { at: usize, what: &'static str },
}

fn refuse(place: &SegmentPlace, sequence: u64, at: usize, why: NotAFrame) -> LogError {
    let (path, offset) = (place.path(sequence), at as u64);
    match why {
        NotAFrame::Damaged(what) => LogError::Damaged { path, offset, what },
        NotAFrame::Version(found) => LogError::UnknownVersion {
            path,
            offset,
            found: found.into(),
            known: frame::VERSION.into(),
        },
        NotAFrame::EntryKind(source) => LogError::EntryKind { path, offset, source },
    }
}

/// Offset behind the last byte that is not zero, at least `from`.
fn end_of_data(bytes: &[u8], from: usize) -> usize {
    let used = bytes[from..].iter().rposition(|&byte| byte != 0);
    used.map_or(from, |position| from + position + 1)
}

/// Whether an intact frame of a batch after `torn` lies behind `from`: it was written only after
/// `torn` was durable, so then `torn` is damaged, not torn.
fn later_batch_follows(bytes: &[u8], from: usize, torn: u64) -> bool {
    (from.next_multiple_of(frame::ALIGN)..bytes.len()).step_by(frame::ALIGN).any(|offset| {
        match frame::decode(&bytes[offset..]) {
            Ok(frame) => frame.batch > torn,
            Err(NotAFrame::Damaged(_)) => false,
            // An intact frame of another version was certainly written by someone later.
            Err(_) => true,
        }
    })
}
