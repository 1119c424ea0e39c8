//! The body of a request, counted while it is held.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use prometheus_client::metrics::counter::Counter;
use skein_store_api::ApiError;
use tokio::time::Sleep;
use tonic::{Code, Status};

use crate::overload::RequestBytes;

/// Before each message of a gRPC stream: one byte of flags and the length, big-endian.
const PREFIX_BYTES: usize = 5;

/// Time for the rest of a request that has begun, so that halves of requests do not gather: the
/// largest one at a quarter of a megabit per second.
const REST_TIMEOUT: Duration = Duration::from_secs(60);

/// See the module.
pub(crate) struct RequestBody {
    body: Incoming,
    account: Arc<RequestBytes>,
    /// Of a stream of requests, of which only the unfinished one is held.
    framing: Option<Framing>,
    received: Counter,
    /// Runs while the rest of a request is waited for.
    rest: Option<Pin<Box<Sleep>>>,
}

/// The member has as much in its hands as it may.
pub(crate) fn too_much() -> Status {
    Status::new(Code::ResourceExhausted, ApiError::TooManyRequests.message())
}

impl RequestBody {
    /// A unary request is held until `account` is dropped by all.
    pub(crate) fn new(
        body: Incoming,
        account: Arc<RequestBytes>,
        streams: bool,
        received: Counter,
    ) -> Self {
        let framing = streams.then(Framing::default);
        Self { body, account, framing, received, rest: None }
    }

    fn count(&mut self, data: &[u8]) -> bool {
        self.received.inc_by(data.len() as u64);
        match &mut self.framing {
            None => self.account.hold(self.account.held() + data.len()),
            Some(framing) => self.account.hold(framing.pending_after(data)),
        }
    }

    /// Waits for the rest of a request, but not for ever; for a new one as long as it takes.
    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<Status> {
        if self.account.held() == 0 {
            self.rest = None;
            return Poll::Pending;
        }
        let begun = || Box::pin(tokio::time::sleep(REST_TIMEOUT));
        ready!(self.rest.get_or_insert_with(begun).as_mut().poll(cx));
        Poll::Ready(Status::deadline_exceeded("the rest of the request did not come"))
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => frame,
            Poll::Ready(Some(Err(error))) => {
                return Poll::Ready(Some(Err(Status::from_error(error.into()))));
            }
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Pending => return self.wait(cx).map(|late| Some(Err(late))),
        };
        let room = frame.data_ref().is_none_or(|data| self.count(data));
        Poll::Ready(Some(if room { Ok(frame) } else { Err(too_much()) }))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Where in its messages a stream is.
#[derive(Default)]
struct Framing {
    prefix: Vec<u8>,
    /// Bytes of the message that have come, and that are still to come.
    come: usize,
    left: usize,
}

impl Framing {
    /// Bytes of the unfinished message once `data` has come.
    fn pending_after(&mut self, mut data: &[u8]) -> usize {
        while !data.is_empty() {
            let wanted = if self.left > 0 { self.left } else { PREFIX_BYTES - self.prefix.len() };
            let (now, later) = data.split_at(wanted.min(data.len()));
            data = later;
            if self.left > 0 {
                self.come += now.len();
                self.left -= now.len();
            } else {
                self.prefix.extend_from_slice(now);
                if let [_, a, b, c, d] = self.prefix[..] {
                    self.left = u32::from_be_bytes([a, b, c, d]) as usize;
                    self.come = 0;
                    self.prefix.clear();
                }
            }
            if self.left == 0 {
                self.come = 0;
            }
        }
        self.prefix.len() + self.come
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_unfinished_message_is_held() {
        let message = |size: usize| [&[0, 0, 0, 0, size as u8][..], &vec![7; size]].concat();
        let stream = [message(3), message(0), message(200), message(1)].concat();
        let whole = [8, 13, 218, 224];
        for step in [1, 2, 3, 7, 300] {
            let mut framing = Framing::default();
            let mut at = 0;
            for piece in stream.chunks(step) {
                let pending = framing.pending_after(piece);
                at += piece.len();
                let begun = whole.iter().rev().find(|&&end| end <= at).copied().unwrap_or(0);
                // Within the message the prefix counts no more.
                let expected = at - begun;
                let expected = if expected >= 5 { expected - 5 } else { expected };
                assert_eq!(pending, expected, "step {step}, at {at}");
            }
        }
    }
}
