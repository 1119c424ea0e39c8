//! Creates the next segment while the present one fills, so that rolling does not wait for zeros.
//!
//! Not at once: a log is opened when a member starts and when it has just rolled, with clients waiting in both cases,
//! and the zeros' way to the disk is the one that their puts' syncs take.

use std::sync::Arc;
use std::thread::JoinHandle;

use super::error::LogError;
use super::segment::{Created, Segment, SegmentPlace};

/// A segment being created on a thread of its own, from the moment that [`NextSegment::prepare`] says.
pub(super) struct NextSegment(State);

enum State {
    Idle,
    /// Without a thread the segment is created when it is needed.
    Begun(Option<JoinHandle<Result<Created, LogError>>>),
}

impl NextSegment {
    pub(super) fn idle() -> Self {
        Self(State::Idle)
    }

    /// Begins, unless it has begun, or the disk takes no threads.
    pub(super) fn prepare(&mut self, place: &Arc<SegmentPlace>, sequence: u64, capacity: u64) {
        if matches!(self.0, State::Begun(_)) || !place.disk.takes_threads() {
            return;
        }
        let place = Arc::clone(place);
        let work = move || Segment::create(&place, sequence, capacity);
        let thread = std::thread::Builder::new().name("log-prepare".into()).spawn(work);
        self.0 = State::Begun(thread.ok());
    }

    fn thread(&mut self) -> Option<JoinHandle<Result<Created, LogError>>> {
        match std::mem::replace(&mut self.0, State::Idle) {
            State::Idle => None,
            State::Begun(thread) => thread,
        }
    }

    /// The prepared segment, or one made now when none was prepared or it is too small.
    pub(super) fn take(
        &mut self,
        place: &SegmentPlace,
        sequence: u64,
        capacity: u64,
    ) -> Result<Created, LogError> {
        if let Some(prepared) = self.thread().and_then(|thread| thread.join().ok()) {
            let created = prepared?;
            if created.capacity() >= capacity {
                return Ok(created);
            }
        }
        Segment::create(place, sequence, capacity)
    }
}

impl Drop for NextSegment {
    /// Waits, so that no write to the directory outlives the log and its lock.
    fn drop(&mut self) {
        if let Some(thread) = self.thread() {
            drop(thread.join());
        }
    }
}
