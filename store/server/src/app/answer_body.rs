//! The body of an answer: counted, metered, and made ready only when there is room for it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::HeaderMap;
use hyper::body::{Frame, SizeHint};
use prometheus_client::metrics::counter::Counter;
use tonic::body::Body;
use tonic::{Code, Status};

use crate::metrics::grpc::Method;
use crate::overload::{Outgoing, Sending, Share, Ticket};

/// An answer to a range that waits to be sent; its service puts it beside the answer.
pub(crate) type KeptBytes = Arc<Share>;

/// What a call holds until its answer is sent, or given up.
pub(crate) struct Call {
    pub(crate) method: Option<Arc<Method>>,
    pub(crate) sent: Counter,
    pub(crate) _place: Share,
    pub(crate) _kept: Option<KeptBytes>,
    /// Until the answer says how it ended, it was given up.
    pub(crate) code: Code,
}

impl Call {
    /// Takes the outcome from headers or trailers, if they tell it.
    pub(crate) fn note(&mut self, headers: &HeaderMap) {
        if let Some(code) = headers.get(Status::GRPC_STATUS) {
            self.code = Code::from_bytes(code.as_bytes());
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if let Some(method) = &self.method {
            method.handled(self.code);
        }
    }
}

/// See the module.
pub(crate) struct AnswerBody {
    body: Body,
    outgoing: Arc<Outgoing>,
    ticket: Ticket,
    /// Of gRPC calls.
    call: Option<Call>,
}

impl AnswerBody {
    pub(crate) fn new(body: Body, outgoing: Arc<Outgoing>, call: Option<Call>) -> Self {
        Self { body, outgoing, ticket: Ticket::default(), call }
    }
}

impl hyper::body::Body for AnswerBody {
    type Data = Sending;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Sending>, Status>>> {
        let this = &mut *self;
        if !this.outgoing.may_send(&mut this.ticket, cx.waker()) {
            return Poll::Pending;
        }
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        if polled.is_pending() {
            this.outgoing.pass_on();
        }
        let Some(frame) = ready!(polled).transpose()? else { return Poll::Ready(None) };
        if let (Some(call), Some(trailers)) = (&mut this.call, frame.trailers_ref()) {
            call.note(trailers);
        }
        let outgoing = &this.outgoing;
        let call = &this.call;
        let frame = frame.map_data(|bytes| {
            if let Some(call) = call {
                call.sent.inc_by(bytes.len() as u64);
            }
            outgoing.hold(bytes)
        });
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        self.outgoing.leave(&mut self.ticket);
        // It may have been its turn.
        self.outgoing.pass_on();
    }
}
