//! Running a connection and its requests as one task.
//!
//! hyper asks for a task per request. As tasks of their own, requests that answer at the same time
//! each wake the connection, which is then written once per answer; and every request pays for two
//! passes through the scheduler. Here they are polled by the connection's task: first all that are
//! ready, then the connection, and then what they left is sent in one write ([`Gather`]).
//!
//! The price is that requests of one connection never run on two cores at once. What takes long
//! moves to a blocking thread anyway.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use hyper::rt::Executor;
use tokio::io::AsyncWrite;

use super::gather::Gather;

/// Most rounds over the requests in one pass: answers of 32 watch streams in one write, and
/// well under a microsecond when only one is ready.
const ROUNDS_MAX: usize = 16;

type Request = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Takes the requests that a connection begins.
#[derive(Clone, Default)]
pub(super) struct Begun(Arc<Mutex<Vec<Request>>>);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Begun {
    fn execute(&self, request: F) {
        self.lock().push(Box::pin(request));
    }
}

impl Begun {
    /// The list is whole at every point where a holder could panic.
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Request>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection over `S` with its requests. When it ends, so do they.
pub(super) struct Together<C, S> {
    connection: Pin<Box<C>>,
    begun: Begun,
    requests: FuturesUnordered<Request>,
    outgoing: Gather<S>,
}

impl<C: Future, S: AsyncWrite + Unpin> Together<C, S> {
    /// `connection` hands its requests to `begun` and writes to `outgoing`.
    pub(super) fn new(connection: C, begun: Begun, outgoing: Gather<S>) -> Self {
        let requests = FuturesUnordered::new();
        Self { connection: Box::pin(connection), begun, requests, outgoing }
    }

    /// Polls the requests that are ready.
    ///
    /// `FuturesUnordered` pauses when two of them have woken themselves, and every request does
    /// that to which h2 assigns room while it sends.
    fn answer(&mut self, cx: &mut Context<'_>) {
        for _ in 0..self.requests.len().div_ceil(2).min(ROUNDS_MAX) {
            while let Poll::Ready(Some(())) = self.requests.poll_next_unpin(cx) {}
        }
    }

    fn pass(&mut self, cx: &mut Context<'_>) -> Poll<C::Output> {
        loop {
            self.answer(cx);
            if let Poll::Ready(output) = self.connection.as_mut().poll(cx) {
                return Poll::Ready(output);
            }
            let begun = std::mem::take(&mut *self.begun.lock());
            if begun.is_empty() {
                return Poll::Pending;
            }
            self.requests.extend(begun);
        }
    }
}

impl<C: Future, S: AsyncWrite + Unpin> Future for Together<C, S> {
    type Output = C::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<C::Output> {
        let done = self.pass(cx);
        // While it is pending the stream wakes this task; an error the connection meets by itself
        // when it reads or writes next.
        let _ = self.outgoing.send(cx);
        done
    }
}
