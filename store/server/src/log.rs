//! The member's log: an append-only run of preallocated segment files.
//!
//! ```text
//!   <seq>.seg   ┌ header ┬ batch 1 ┬ batch 2 ┬ … ┬ zeros up to the preallocated size ┐
//!   batch       ┌ frame ┬ frame ┬ … ┐   one write, one fdatasync; all of it counts or nothing
//! ```
//!
//! A frame carries its batch's number and how many frames of the batch follow it. A batch is
//! written only after the one before it is durable, so at recovery:
//!
//! * frames that stop in the middle, with nothing of a *later* batch behind them, are a torn tail:
//!   nobody was told of that batch, and it is cut and zeroed;
//! * with a later batch behind them, or in a segment that is not the last, they are damage to
//!   something durable: recovery refuses and names file and offset.
//!
//! The hard state lives in the same log; every segment begins with the newest one, so dropping
//! older segments never loses it. Entries may be overwritten by later frames with the same index
//! (a raft conflict): the later frame wins and everything behind it is forgotten.

mod error;
mod frame;
mod prepare;
mod recover;
mod segment;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use skein_store_raft::{Entry, HardState};

use crate::disk::Disk;
use frame::BatchEncoder;
use prepare::NextSegment;
use segment::{Segment, SegmentPlace};

pub use error::LogError;
pub use recover::Recovered;

/// Size of a segment file, in bytes: large enough that rolling is rare, small enough that a
/// dropped prefix frees space soon and that writing its zeros (about 10 ms) is never felt.
pub const SEGMENT_BYTES: u64 = 16 << 20;

/// Who a log belongs to; a segment of another member or cluster is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The cluster.
    pub cluster_id: u64,
    /// The member.
    pub member_id: u64,
}

/// Where and how a log is kept.
#[derive(Clone)]
pub struct LogOptions {
    /// The directory, which holds nothing else.
    pub dir: PathBuf,
    /// Whose log it is.
    pub owner: Owner,
    /// Preallocated size of one segment in bytes.
    pub segment_bytes: u64,
}

/// An open log. One owner writes it.
pub struct Log {
    place: Arc<SegmentPlace>,
    segment_bytes: u64,
    active: Segment,
    next: NextSegment,
    /// Full segments, oldest first, each with the highest entry index written up to its end.
    full: VecDeque<(u64, u64)>,
    last_index: u64,
    next_batch: u64,
    hard_state: HardState,
    /// The newest hard state is not in the log yet; the next write carries it.
    hard_state_owed: bool,
    failed: bool,
}

impl Log {
    /// Opens the log, cutting a torn tail, and returns what it holds after `base` (index and term of
    /// the last entry that the snapshot contains, zeros without one).
    ///
    /// # Errors
    /// Damage inside, an unknown format version, another owner, or an I/O error; the log is left
    /// as it was found.
    pub fn open(
        disk: Arc<dyn Disk>,
        options: &LogOptions,
        base: (u64, u64),
    ) -> Result<(Self, Recovered), LogError> {
        let place = Arc::new(SegmentPlace { disk, dir: options.dir.clone(), owner: options.owner });
        let found = recover::recover(&place, base)?;
        let sequence = found.segments.last().map_or(1, |(sequence, _)| *sequence);
        let active = match found.tail {
            Some(tail) => Segment::reopen(&place, sequence, tail)?,
            None => Segment::create(&place, sequence, options.segment_bytes)?.publish(&place)?,
        };
        let mut full: VecDeque<_> = found.segments.into();
        full.pop_back();
        let mut log = Self {
            next: NextSegment::start(&place, sequence + 1, options.segment_bytes),
            segment_bytes: options.segment_bytes,
            active,
            full,
            last_index: found.recovered.last_index().max(base.0),
            next_batch: found.next_batch,
            hard_state: found.recovered.hard_state,
            hard_state_owed: false,
            failed: false,
            place,
        };
        if found.refuted {
            log.reset(base.0, base.1)?;
        }
        Ok((log, found.recovered))
    }

    /// Takes note of a hard state that need not be durable at once; the next write carries it.
    pub fn note(&mut self, hard_state: HardState) {
        if hard_state != self.hard_state {
            self.hard_state = hard_state;
            self.hard_state_owed = true;
        }
    }

    /// Makes the entries, and the newest hard state, durable: one write, one sync. Returns how long
    /// the sync took.
    ///
    /// # Errors
    /// An I/O error. Nothing is known about the batch then, and every later call fails: the member
    /// must stop.
    pub fn append(&mut self, entries: &[Entry]) -> Result<std::time::Duration, LogError> {
        let mut slowest = std::time::Duration::ZERO;
        let mut rest = entries;
        loop {
            let (now, later) = rest.split_at(rest.len().min(frame::MAX_BATCH_ENTRIES));
            slowest = slowest.max(self.append_batch(now)?);
            if later.is_empty() {
                return Ok(slowest);
            }
            rest = later;
        }
    }

    /// Goes on behind a snapshot that a leader sent: what the log held before counts no more. The
    /// snapshot must be durable already.
    ///
    /// # Errors
    /// As [`Log::append`].
    pub fn reset(&mut self, index: u64, term: u64) -> Result<(), LogError> {
        let mut batch = BatchEncoder::new(self.next_batch);
        batch.reset(index, term);
        batch.hard_state(&self.hard_state);
        self.write(batch, index)?;
        self.full.iter_mut().for_each(|(_, last)| *last = index.min(*last));
        Ok(())
    }

    /// Marks everything written so far as complete, so that damage to the last batch is told from
    /// a torn write at the next start. Right before a clean stop.
    ///
    /// # Errors
    /// As [`Log::append`].
    pub fn seal(&mut self) -> Result<(), LogError> {
        let mut batch = BatchEncoder::new(self.next_batch);
        if self.hard_state_owed {
            batch.hard_state(&self.hard_state);
        }
        batch.seal();
        self.write(batch, self.last_index).map(drop)
    }

    /// Removes segments that hold nothing after `index`.
    ///
    /// # Errors
    /// An I/O error; what was not removed is removed by a later call.
    pub fn drop_prefix(&mut self, index: u64) -> Result<(), LogError> {
        let mut removed = false;
        while let Some(&(sequence, last)) = self.full.front() {
            if last > index {
                break;
            }
            self.place.remove(sequence)?;
            self.full.pop_front();
            removed = true;
        }
        if removed { self.place.sync_dir() } else { Ok(()) }
    }

    /// Size of all segment files, in bytes.
    pub fn disk_bytes(&self) -> u64 {
        (self.full.len() as u64) * self.segment_bytes + self.active.capacity()
    }

    fn append_batch(&mut self, entries: &[Entry]) -> Result<std::time::Duration, LogError> {
        // A batch without frames would leave a gap in the batches' numbers.
        if entries.is_empty() && !self.hard_state_owed {
            return Ok(std::time::Duration::ZERO);
        }
        let mut batch = BatchEncoder::new(self.next_batch);
        if self.hard_state_owed {
            batch.hard_state(&self.hard_state);
        }
        for entry in entries {
            batch.entry(entry);
        }
        let last = entries.last().map_or(self.last_index, |entry| entry.index);
        self.write(batch, last)
    }

    fn write(&mut self, batch: BatchEncoder, last: u64) -> Result<std::time::Duration, LogError> {
        if self.failed {
            return Err(LogError::Stopped);
        }
        // Set first: any way out but success leaves it set.
        self.failed = true;
        let mut bytes = batch.finish();
        if !self.active.fits(bytes.len()) {
            self.roll(bytes.len())?;
            bytes.renumber(self.next_batch);
        }
        let took = self.active.write_batch(&self.place, bytes.as_slice())?;
        self.next_batch += 1;
        self.last_index = last;
        self.hard_state_owed = false;
        self.failed = false;
        Ok(took)
    }

    /// Goes on to a new segment, which begins with the newest hard state.
    fn roll(&mut self, wanted: usize) -> Result<(), LogError> {
        let sequence = self.active.sequence() + 1;
        let first = {
            let mut batch = BatchEncoder::new(self.next_batch);
            batch.hard_state(&self.hard_state);
            batch.finish()
        };
        let needed = segment::capacity_for(first.len() + wanted).max(self.segment_bytes);
        let created = self.next.take(&self.place, sequence, needed)?;
        let mut fresh = created.publish(&self.place)?;
        fresh.write_batch(&self.place, first.as_slice())?;
        self.next_batch += 1;
        self.full.push_back((self.active.sequence(), self.last_index));
        self.active = fresh;
        self.next = NextSegment::start(&self.place, sequence + 1, self.segment_bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
