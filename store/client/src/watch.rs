//! Watching: the task that drives the list-watch machine.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use etcd_client as etcd;
use futures::Stream;
use skein_store_schema::KeyRange;
use skein_store_table::{Next, ResumePoint, Step, SyncEvent, Syncer, WatchBody, WatchMessage};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::connection::Connection;
use crate::convert;
use crate::error::{self, ClientError};
use crate::session::Session;

/// Events waiting for their reader. When full, reading from the store stops until there is room: the
/// store keeps the history, so nothing is lost.
const EVENTS_QUEUED_MAX: usize = 64;
/// Between requests for progress while catching up: the store answers only once all ranges are current,
/// and this bounds how late we hear of it.
const CATCH_UP_ASK: Duration = Duration::from_millis(50);
/// Between requests for progress after changes, so that a checkpoint can be taken soon after the last.
const CONFIRM_ASK: Duration = Duration::from_secs(5);

/// A stream of [`SyncEvent`]s. It ends only when dropped.
#[derive(Debug)]
pub struct WatchStream {
    events: mpsc::Receiver<SyncEvent>,
    task: JoinHandle<()>,
}

impl WatchStream {
    /// The next event. Cancel safe. None only if the task was killed with its runtime.
    pub async fn next(&mut self) -> Option<SyncEvent> {
        self.events.recv().await
    }

    /// An event that is already there.
    pub fn try_next(&mut self) -> Option<SyncEvent> {
        self.events.try_recv().ok()
    }
}

impl Stream for WatchStream {
    type Item = SyncEvent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<SyncEvent>> {
        self.events.poll_recv(cx)
    }
}

impl Drop for WatchStream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Session {
    /// Keeps the caller's copy of some ranges up to date: lists them at one revision (or resumes), then
    /// watches, for ever. What each event means is said at [`SyncEvent`].
    ///
    /// # Errors
    /// [`ClientError::Ranges`] for no range or overlapping ones. Everything later is told as events.
    pub fn watch_ranges(
        &self,
        ranges: Vec<KeyRange>,
        resume: Option<ResumePoint>,
    ) -> Result<WatchStream, ClientError> {
        let machine = Syncer::new(ranges, resume)?;
        let (sender, events) = mpsc::channel(EVENTS_QUEUED_MAX);
        let driver = Driver { session: self.clone(), machine, sender };
        let task = tokio::spawn(driver.run());
        Ok(WatchStream { events, task })
    }
}

/// The reader of the events is gone.
struct Gone;

/// Why a connection is of no more use.
enum Broken {
    Reader(Gone),
    Store(String),
}

impl From<Gone> for Broken {
    fn from(gone: Gone) -> Self {
        Self::Reader(gone)
    }
}

impl From<ClientError> for Broken {
    fn from(error: ClientError) -> Self {
        Self::Store(error.to_string())
    }
}

/// Does what the machine says. Decisions are the machine's; here are only waits and calls.
struct Driver {
    session: Session,
    machine: Syncer,
    sender: mpsc::Sender<SyncEvent>,
}

impl Driver {
    async fn run(mut self) {
        let mut backoff = self.session.backoff();
        loop {
            let outcome = self.one_connection().await;
            if !self.machine.is_catching_up() {
                backoff = self.session.backoff();
            }
            let told = match outcome {
                // The machine wants a new stream; the store itself is well.
                Ok(()) => Ok(()),
                Err(Broken::Reader(gone)) => Err(gone),
                Err(Broken::Store(reason)) => {
                    let event = self.machine.lost(reason);
                    self.tell(event.into_iter().collect()).await
                }
            };
            if told.is_err() {
                return;
            }
            let Some(wait) = backoff.next() else { return };
            tokio::time::sleep(wait).await;
        }
    }

    /// Connects, lists if need be, watches. Ok when the machine wants a new stream.
    async fn one_connection(&mut self) -> Result<(), Broken> {
        // Asked within our own ranges, since the store may let us read nothing else.
        let probe = self.machine.ranges()[0].start().to_vec();
        let (cluster_id, revision) = self.session.header_at(probe).await?;
        let (events, mut step) = self.machine.connected(cluster_id, revision);
        self.tell(events).await?;
        if step == Step::List {
            let snapshot = self.session.ranges(self.machine.ranges()).await?;
            let (events, next) = self.machine.listed(snapshot);
            self.tell(events).await?;
            step = next;
        }
        match step {
            Step::List => Ok(()),
            Step::Watch { starts } => self.watch(&starts).await,
        }
    }

    async fn watch(&mut self, starts: &[i64]) -> Result<(), Broken> {
        let connection = self.session.connector().get("watch").await?;
        let outcome = self.watch_on(&connection, starts).await;
        if let Err(Broken::Store(_)) = &outcome {
            self.session.connector().failed(&connection);
        }
        outcome
    }

    async fn watch_on(
        &mut self,
        connection: &Arc<Connection>,
        starts: &[i64],
    ) -> Result<(), Broken> {
        let broken = |error: etcd::Error| Broken::Store(error::reason(&error));
        let mut stream = self.open(connection, starts).await?;
        loop {
            let pause = match self.machine.is_catching_up() {
                true => Some(CATCH_UP_ASK),
                false => self.machine.has_unconfirmed_changes().then_some(CONFIRM_ASK),
            };
            let ask = async {
                match pause {
                    Some(pause) => tokio::time::sleep(pause).await,
                    None => std::future::pending().await,
                }
            };
            // All arms may be cancelled: a message that was begun stays in the stream's buffer. Events
            // that were received are told below, where nothing cancels.
            let response = tokio::select! {
                response = stream.message() => response.map_err(broken)?,
                () = self.session.connector().moved_from(connection) => return Ok(()),
                () = ask => {
                    stream.request_progress().await.map_err(broken)?;
                    continue;
                }
            };
            let Some(response) = response else {
                return Err(Broken::Store("the store closed the watch".to_owned()));
            };
            if response.canceled() && response.compact_revision() == 0 {
                let reason = response.cancel_reason();
                return Err(Broken::Store(format!("the store ended the watch: {reason}")));
            }
            let (events, next) = self.machine.received(message(&response));
            self.tell(events).await?;
            match next {
                Next::Continue => {}
                Next::Reconnect => return Ok(()),
            }
        }
    }

    /// One stream with a watch for each range; the watch id is the range's index plus one, since id 0
    /// means "choose one".
    async fn open(
        &self,
        connection: &Connection,
        starts: &[i64],
    ) -> Result<etcd::WatchStream, Broken> {
        let broken = |error: etcd::Error| Broken::Store(error::reason(&error));
        let requests: Vec<_> = (1..)
            .zip(self.machine.ranges().iter().zip(starts))
            .map(|(id, (range, start))| {
                let options = etcd::WatchOptions::new()
                    .with_range(range.end())
                    .with_start_revision(*start)
                    .with_progress_notify()
                    .with_watch_id(id);
                (range.start().to_vec(), options)
            })
            .collect();
        let mut requests = requests.into_iter();
        let (key, options) = requests.next().expect("the machine has at least one range");
        let mut client = connection.watch();
        let timeout = self.session.connector().config().request_timeout;
        let opened = tokio::time::timeout(timeout, client.watch(key, Some(options))).await;
        let mut stream = match opened {
            Ok(stream) => stream.map_err(broken)?,
            Err(_) => return Err(Broken::Store("the store does not answer the watch".to_owned())),
        };
        for (key, options) in requests {
            stream.watch(key, Some(options)).await.map_err(broken)?;
        }
        Ok(stream)
    }

    async fn tell(&self, events: Vec<SyncEvent>) -> Result<(), Gone> {
        for event in events {
            self.sender.send(event).await.map_err(|_| Gone)?;
        }
        Ok(())
    }
}

/// A frame as the machine takes it.
fn message(response: &etcd::WatchResponse) -> WatchMessage {
    let (cluster_id, revision) = convert::header(response.header());
    let range = usize::try_from(response.watch_id() - 1).ok();
    let body = if response.compact_revision() > 0 {
        WatchBody::Compacted
    } else if response.canceled() {
        WatchBody::Cancelled
    } else if response.created() {
        WatchBody::Created
    } else if response.events().is_empty() {
        WatchBody::Progress
    } else {
        WatchBody::Changes(response.events().iter().filter_map(convert::change).collect())
    };
    WatchMessage { range, cluster_id, revision, body }
}
