//! What clients may take of a member's memory, and what is refused first.
//!
//! | bound | what happens beyond it |
//! |---|---|
//! | open files, see `admission` | new connections wait in the kernel |
//! | [`STREAMS_PER_CONNECTION`] | the client waits (HTTP/2 announces the bound) |
//! | [`REQUESTS_TOTAL`] | `too many requests` |
//! | [`REQUEST_BYTES_PER_CONNECTION`], [`REQUEST_BYTES_TOTAL`] | `too many requests` |
//! | proposals waiting, see `inbox` | `too many requests` |
//! | [`RANGE_BYTES_TOTAL`] | `too many requests`, but a range that is alone is always answered |
//! | [`WATCH_BYTES_PER_STREAM`], [`WATCH_BYTES_TOTAL`] | the new watch is cancelled, others go on |
//! | [`OUTGOING_BYTES_PER_CONNECTION`], [`OUTGOING_BYTES_TOTAL`] | nothing more is made ready until the client reads |
//!
//! What goes on is never taken back: a bound refuses what is new.

mod outgoing;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

pub(crate) use outgoing::{Outgoing, Sending, Ticket};

/// Requests that one connection may have open, streams included: a proxy in front of 10,000
/// watchers that each have a stream, twice.
pub(crate) const STREAMS_PER_CONNECTION: u32 = 20_000;

/// Requests open on all connections: ten streams for each of 10,000 clients.
const REQUESTS_TOTAL: usize = 100_000;

/// Bytes of requests that one connection has sent and that are not answered: twenty requests of
/// the largest size, thousands of usual ones.
const REQUEST_BYTES_PER_CONNECTION: usize = 32 << 20;

/// The same for all connections; the proposals among them wait in the inbox, with its own bound.
const REQUEST_BYTES_TOTAL: usize = 128 << 20;

/// Requests of the largest size that a connection may always have open, if `--max-request-bytes`
/// is so large that fewer would fit.
const LARGEST_REQUESTS: usize = 4;

/// Connections with as much open as they may, that fit into the total.
const BUSIEST_CONNECTIONS: usize = 4;

/// Bytes of answers to ranges that are not sent yet.
const RANGE_BYTES_TOTAL: usize = 512 << 20;

/// What a watch takes beside key and range end, in bytes: its cursor, its entry in the stream.
pub(crate) const WATCH_BYTES: usize = 512;

/// Bytes of watches of one stream: a hundred thousand with short keys.
pub(crate) const WATCH_BYTES_PER_STREAM: usize = 64 << 20;

/// The same for all streams: a million with short keys.
const WATCH_BYTES_TOTAL: usize = 512 << 20;

/// Bytes that are ready for one connection and not with the kernel: the windows of a fast client.
const OUTGOING_BYTES_PER_CONNECTION: usize = 4 << 20;

/// The same for all connections. Beyond it each may have one frame ready at a time, so that one
/// that does not read cannot keep others from being answered.
const OUTGOING_BYTES_TOTAL: usize = 256 << 20;

/// An amount that many share. Clones are the same budget.
#[derive(Clone, Debug)]
pub(crate) struct Budget(Arc<Level>);

#[derive(Debug)]
struct Level {
    limit: usize,
    taken: AtomicUsize,
}

/// A part of a budget, given back when dropped.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Budget,
    amount: usize,
}

impl Budget {
    pub(crate) fn new(limit: usize) -> Self {
        Self(Arc::new(Level { limit, taken: AtomicUsize::new(0) }))
    }

    /// Takes this much, if it is left.
    pub(crate) fn take(&self, amount: usize) -> Option<Share> {
        self.add(amount).then(|| Share { budget: self.clone(), amount })
    }

    /// The same, and whatever is asked for when nothing is taken.
    pub(crate) fn take_or_alone(&self, amount: usize) -> Option<Share> {
        self.take(amount).or_else(|| {
            let taken = &self.0.taken;
            let alone = taken.compare_exchange(0, amount, Ordering::AcqRel, Ordering::Relaxed);
            alone.is_ok().then(|| Share { budget: self.clone(), amount })
        })
    }

    fn add(&self, amount: usize) -> bool {
        let before = self.0.taken.fetch_add(amount, Ordering::AcqRel);
        let fits = before.saturating_add(amount) <= self.0.limit;
        if !fits {
            self.give_back(amount);
        }
        fits
    }

    fn give_back(&self, amount: usize) {
        self.0.taken.fetch_sub(amount, Ordering::AcqRel);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.give_back(self.amount);
    }
}

/// The budgets of one member.
pub(crate) struct Overload {
    pub(crate) requests: Budget,
    pub(crate) range_bytes: Budget,
    pub(crate) watch_bytes: Budget,
    request_bytes: Budget,
    per_connection: usize,
    outgoing: Arc<AtomicUsize>,
}

impl Overload {
    /// For messages of up to `largest` bytes.
    pub(crate) fn new(largest: usize) -> Self {
        let per_connection = REQUEST_BYTES_PER_CONNECTION.max(LARGEST_REQUESTS * largest);
        let total = REQUEST_BYTES_TOTAL.max(BUSIEST_CONNECTIONS * per_connection);
        Self {
            requests: Budget::new(REQUESTS_TOTAL),
            range_bytes: Budget::new(RANGE_BYTES_TOTAL),
            watch_bytes: Budget::new(WATCH_BYTES_TOTAL),
            request_bytes: Budget::new(total),
            per_connection,
            outgoing: Arc::default(),
        }
    }

    /// The budgets of a new connection.
    pub(crate) fn connection(&self) -> Connection {
        Connection {
            request_bytes: [Budget::new(self.per_connection), self.request_bytes.clone()],
            outgoing: Arc::new(Outgoing::new(Arc::clone(&self.outgoing))),
        }
    }
}

/// What one connection takes.
#[derive(Clone)]
pub(crate) struct Connection {
    request_bytes: [Budget; 2],
    pub(crate) outgoing: Arc<Outgoing>,
}

impl Connection {
    /// The account of one request.
    pub(crate) fn request(&self) -> Arc<RequestBytes> {
        Arc::new(RequestBytes { budgets: self.request_bytes.clone(), held: AtomicUsize::new(0) })
    }
}

/// Bytes that one request holds, of its connection and of the member.
pub(crate) struct RequestBytes {
    budgets: [Budget; 2],
    held: AtomicUsize,
}

impl RequestBytes {
    /// Holds this many from now on; false when they are not left.
    pub(crate) fn hold(&self, bytes: usize) -> bool {
        let before = self.held.swap(bytes, Ordering::AcqRel);
        if bytes <= before {
            self.budgets.iter().for_each(|budget| budget.give_back(before - bytes));
            return true;
        }
        let more = bytes - before;
        let [connection, total] = &self.budgets;
        if connection.add(more) {
            if total.add(more) {
                return true;
            }
            connection.give_back(more);
        }
        self.held.store(before, Ordering::Release);
        false
    }

    pub(crate) fn held(&self) -> usize {
        self.held.load(Ordering::Acquire)
    }
}

impl Drop for RequestBytes {
    fn drop(&mut self) {
        self.hold(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_never_overdrawn() {
        let budget = Budget::new(10);
        let first = budget.take(6).expect("there is room");
        assert!(budget.take(5).is_none() && budget.take_or_alone(20).is_none());
        let second = budget.take(4).expect("just fits");
        drop((first, second));
        let alone = budget.take_or_alone(20).expect("nothing else is taken");
        assert!(budget.take(1).is_none());
        drop(alone);
        assert!(budget.take(10).is_some());
    }

    #[test]
    fn a_request_counts_for_its_connection_and_for_all() {
        let overload = Overload::new(1);
        let connections: Vec<_> = (0..5).map(|_| overload.connection()).collect();
        let all = |connection: &Connection| connection.request();
        let full: Vec<_> = connections.iter().map(all).collect();
        for account in &full[..4] {
            assert!(account.hold(REQUEST_BYTES_PER_CONNECTION));
        }
        assert!(!full[4].hold(1), "the total is taken");
        assert!(!connections[0].request().hold(1), "the connection's is taken");
        assert!(full[0].hold(100));
        assert!(full[4].hold(1) && connections[0].request().hold(1));
        drop(full);
        assert_eq!(overload.request_bytes.0.taken.load(Ordering::Relaxed), 0);
    }
}
