//! Creates the next segment while the present one fills, so that rolling does not wait for zeros.

use std::sync::Arc;
use std::thread::JoinHandle;

use super::error::LogError;
use super::segment::{Created, Segment, SegmentPlace};

/// A segment being created on a thread of its own.
pub(super) struct NextSegment(Option<JoinHandle<Result<Created, LogError>>>);

impl NextSegment {
    pub(super) fn start(place: &Arc<SegmentPlace>, sequence: u64, capacity: u64) -> Self {
        if !place.disk.takes_threads() {
            return Self(None);
        }
        let place = Arc::clone(place);
        let work = move || Segment::create(&place, sequence, capacity);
        // Without a thread the segment is created when it is needed.
        Self(std::thread::Builder::new().name("log-prepare".into()).spawn(work).ok())
    }

    /// The prepared segment, or one made now when none was prepared or it is too small.
    pub(super) fn take(
        &mut self,
        place: &SegmentPlace,
        sequence: u64,
        capacity: u64,
    ) -> Result<Created, LogError> {
        if let Some(prepared) = self.0.take().and_then(|thread| thread.join().ok()) {
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
        if let Some(thread) = self.0.take() {
            drop(thread.join());
        }
    }
}
