//! What is ready to be sent on one connection.
//!
//! A stream that the client does not read holds a frame, which is little; a client that opens
//! thousands of streams and reads none would hold thousands. So the streams of a connection make
//! frames ready in turn, as the kernel takes those before.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use bytes::{Buf, Bytes};

use super::{OUTGOING_BYTES_PER_CONNECTION, OUTGOING_BYTES_TOTAL};

/// One connection's outgoing bytes and the streams that wait for them to leave.
pub(crate) struct Outgoing {
    held: AtomicUsize,
    total: Arc<AtomicUsize>,
    line: Mutex<Line>,
}

#[derive(Default)]
struct Line {
    next: u64,
    waiting: BTreeMap<u64, Waker>,
}

/// A stream's place in the line, if it waits.
#[derive(Default)]
pub(crate) struct Ticket(Option<u64>);

impl Outgoing {
    pub(super) fn new(total: Arc<AtomicUsize>) -> Self {
        Self { held: AtomicUsize::new(0), total, line: Mutex::default() }
    }

    /// Whether a stream may make a frame ready now; otherwise it waits with `ticket`.
    pub(crate) fn may_send(&self, ticket: &mut Ticket, waker: &Waker) -> bool {
        if self.has_room() {
            self.leave(ticket);
            return true;
        }
        let mut line = self.line();
        let number = match ticket.0 {
            Some(number) => number,
            None => {
                line.next += 1;
                line.next
            }
        };
        line.waiting.insert(number, waker.clone());
        ticket.0 = Some(number);
        drop(line);
        // What was held may have left before this stream was in the line.
        if self.has_room() {
            self.leave(ticket);
            return true;
        }
        false
    }

    /// Lets the next in the line look, if there is room. To be called by a stream that was let
    /// through and had nothing to send.
    pub(crate) fn pass_on(&self) {
        if self.has_room() {
            let first = self.line().waiting.pop_first();
            if let Some((_, waker)) = first {
                waker.wake();
            }
        }
    }

    /// A stream ends, in the line or not.
    pub(crate) fn leave(&self, ticket: &mut Ticket) {
        if let Some(number) = ticket.0.take() {
            self.line().waiting.remove(&number);
        }
    }

    /// A frame that is ready.
    pub(crate) fn hold(self: &Arc<Self>, bytes: Bytes) -> Sending {
        let size = bytes.len();
        self.held.fetch_add(size, Ordering::AcqRel);
        self.total.fetch_add(size, Ordering::AcqRel);
        Sending { bytes, size, outgoing: Arc::clone(self) }
    }

    fn has_room(&self) -> bool {
        let held = self.held.load(Ordering::Acquire);
        let crowded = self.total.load(Ordering::Acquire) >= OUTGOING_BYTES_TOTAL;
        held == 0 || (held < OUTGOING_BYTES_PER_CONNECTION && !crowded)
    }

    /// The line is whole at every point where a holder could panic.
    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes that count until they are with the kernel, or given up.
pub(crate) struct Sending {
    bytes: Bytes,
    size: usize,
    outgoing: Arc<Outgoing>,
}

impl Buf for Sending {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.outgoing.held.fetch_sub(self.size, Ordering::AcqRel);
        self.outgoing.total.fetch_sub(self.size, Ordering::AcqRel);
        self.outgoing.pass_on();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Release);
        }
    }

    fn waker() -> (Arc<Woken>, Waker) {
        let woken = Arc::new(Woken::default());
        (Arc::clone(&woken), woken.into())
    }

    #[test]
    fn streams_wait_in_line_until_the_kernel_takes_what_is_ready() {
        let outgoing = Arc::new(Outgoing::new(Arc::default()));
        let [(first, first_waker), (second, second_waker)] = [waker(), waker()];
        let (mut one, mut two) = (Ticket::default(), Ticket::default());
        assert!(outgoing.may_send(&mut one, &first_waker));
        let ready = outgoing.hold(Bytes::from(vec![0; OUTGOING_BYTES_PER_CONNECTION]));
        assert!(!outgoing.may_send(&mut one, &first_waker));
        assert!(!outgoing.may_send(&mut two, &second_waker));
        drop(ready);
        assert!(first.0.load(Ordering::Acquire) && !second.0.load(Ordering::Acquire));
        assert!(outgoing.may_send(&mut one, &first_waker));
        // It has nothing to send.
        outgoing.pass_on();
        assert!(second.0.load(Ordering::Acquire));
    }

    #[test]
    fn in_a_crowd_each_connection_has_one_frame() {
        let total = Arc::new(AtomicUsize::new(OUTGOING_BYTES_TOTAL));
        let outgoing = Arc::new(Outgoing::new(total));
        let (_, waker) = waker();
        assert!(outgoing.may_send(&mut Ticket::default(), &waker));
        let ready = outgoing.hold(Bytes::from_static(b"x"));
        assert!(!outgoing.may_send(&mut Ticket::default(), &waker));
        drop(ready);
        assert!(outgoing.may_send(&mut Ticket::default(), &waker));
    }
}
