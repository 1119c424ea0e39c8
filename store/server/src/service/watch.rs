//! Watch: one stream carries many watchers, each a cursor into the shared event log.
//!
//! The answer stream is driven by its reader: nothing is taken from the log before the connection
//! has room for it. A slow reader therefore costs a position, never memory, and delays nobody.

mod fragment;
mod session;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use skein_store_api::limits::GRPC_OVERHEAD_BYTES;
use skein_store_api::pb::etcdserverpb::{ResponseHeader, WatchRequest, WatchResponse};
use skein_store_mvcc::{EventLog, View};
use skein_store_rpc::etcdserverpb::watch_server::Watch;
use skein_store_rpc::status;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

use crate::core::{Core, REQUIRE_LEADER};
use crate::metrics::Metrics;
use crate::state::ConnectionId;
use session::{Session, Source};

/// Progress notifications are spread over this part of their interval, so that streams that began
/// together do not tell progress together.
const PROGRESS_JITTER: f64 = 0.1;

pub(crate) struct WatchService {
    core: Arc<Core>,
}

impl WatchService {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self { core }
    }
}

/// Turns in a row that a stream may spend on the log alone before it looks at its client's
/// requests and the clock again: a few frames, so that a watcher far behind still hears a cancel.
const TURNS_UNHEARD_MAX: u32 = 8;

/// What a stream answers.
type Frames = Pin<Box<dyn Stream<Item = Result<WatchResponse, Status>> + Send>>;

#[tonic::async_trait]
impl Watch for WatchService {
    type WatchStream = Frames;

    async fn watch(
        &self,
        request: Request<Streaming<WatchRequest>>,
    ) -> Result<Response<Frames>, Status> {
        let connection = request.extensions().get().copied().unwrap_or_default();
        let requires_leader = request.metadata().contains_key(REQUIRE_LEADER);
        let core = Arc::clone(&self.core);
        let frames = frames(core, connection, requires_leader, request.into_inner());
        Ok(Response::new(Box::pin(frames)))
    }
}

impl Source for Arc<Core> {
    fn events(&self) -> &EventLog {
        self.state.events()
    }

    fn view(&self) -> View {
        self.state.view()
    }

    fn header(&self, revision: i64) -> ResponseHeader {
        self.header_at(revision)
    }

    fn metrics(&self) -> &Metrics {
        &self.metrics
    }
}

/// The shell around a [`Session`]: waits for requests, for the revision to move, for time.
fn frames(
    core: Arc<Core>,
    connection: ConnectionId,
    requires_leader: bool,
    mut requests: Streaming<WatchRequest>,
) -> impl Stream<Item = Result<WatchResponse, Status>> {
    async_stream::stream! {
        let ending = Arc::clone(&core);
        let ended = ending.ended(requires_leader);
        tokio::pin!(ended);
        let sleeper = core.state.sleeper(connection);
        let mut progress = progress_timer(core.limits.watch_progress_interval);
        let frame_limit = core.limits.max_request_bytes + GRPC_OVERHEAD_BYTES;
        let mut session = Session::new(core, frame_limit);
        // Turns until anything but the log is looked at.
        let mut unheard = TURNS_UNHEARD_MAX;
        loop {
            // Before looking at the log, so that no move between looking and sleeping is missed.
            let moved = sleeper.moved();
            let more = session.deliver();
            while let Some(frame) = session.next_frame() {
                yield Ok(frame);
            }
            if more && unheard > 0 {
                unheard -= 1;
                continue;
            }
            tokio::select! {
                // In order. Every arm may be dropped: none has taken anything when it is not
                // chosen. Nearly every wake-up is a move of the log, and looking at all the other
                // arms first costs more than passing its events on.
                biased;
                () = moved, if unheard > 0 => {
                    unheard -= 1;
                    continue;
                }
                reason = &mut ended => {
                    yield Err(status(reason));
                    return;
                }
                request = requests.next() => match request {
                    Some(Ok(request)) => session.request(request),
                    // The client is done, or gone.
                    Some(Err(_)) | None => return,
                },
                _ = progress.tick() => session.tell_progress(),
                () = std::future::ready(()), if unheard == 0 => {}
            }
            unheard = TURNS_UNHEARD_MAX;
        }
    }
}

fn progress_timer(interval: Duration) -> tokio::time::Interval {
    let jitter = rand::rng().random_range(0.0..PROGRESS_JITTER);
    let period = interval.mul_f64(1.0 + jitter);
    let mut timer = interval_at(Instant::now() + period, period);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    timer
}
