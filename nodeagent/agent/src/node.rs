//! What the agent's tasks share.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use skein_bpf_abi::Event;
use skein_store_schema::kinds::node_report::Device;
use tokio::sync::{Notify, broadcast, watch};

use crate::args::{DatapathKind, RunArgs};
use crate::attachment_locks::AttachmentLocks;
use crate::engine::{Engine, Outcome, Progress, Stopwatch};
use crate::kernel::Kernel;
use crate::memory::MemoryDatapath;
use crate::metrics::Metrics;
use crate::netlink::Network;
use crate::state_dir::StateDir;

/// Events that a slow monitor may fall behind before it loses some (and is told how many).
const EVENTS_QUEUED: usize = 4096;

/// The datapath, once it is in place.
#[derive(Clone)]
pub enum Datapath {
    /// Programs in the kernel.
    Kernel(Arc<Kernel>),
    /// Logic in this process.
    Memory(Arc<MemoryDatapath>),
}

/// What is known of the node before anything else.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Flags.
    pub args: RunArgs,
    /// Native devices with their addresses.
    pub devices: Vec<Device>,
    /// MTU of pods.
    pub pod_mtu: u32,
    /// Release of the kernel.
    pub kernel: String,
    /// Boot id of the kernel.
    pub boot_id: String,
    /// When the agent started, milliseconds since 1970.
    pub started_unix_ms: u64,
    /// The agent's socket.
    pub socket: PathBuf,
}

impl Facts {
    /// The datapath as status names it.
    pub fn datapath_name(&self) -> &'static str {
        match self.args.datapath {
            DatapathKind::Ebpf => "ebpf",
            DatapathKind::Memory => "memory",
        }
    }
}

/// Shared by all tasks.
pub struct Node {
    /// What is known of the node.
    pub facts: Facts,
    /// Disk.
    pub state: StateDir,
    /// Netlink; none with the datapath in memory.
    pub network: Option<Network>,
    /// Metrics.
    pub metrics: Metrics,
    /// Live events.
    pub events: broadcast::Sender<Arc<Event>>,
    /// Wakes whoever sets routes and rules, and brings the datapath up.
    pub network_due: Notify,
    /// Wakes the reporter.
    pub report_due: Notify,
    /// Where the engine is; changes wake those who wait for a revision or an identity.
    pub progress: watch::Sender<Progress>,
    /// Callers who want forwarded packets reported.
    pub tracers: std::sync::atomic::AtomicUsize,
    /// Keeps requests for one attachment apart.
    pub attachments: AttachmentLocks,
    engine: Mutex<Engine>,
    datapath: RwLock<Option<Datapath>>,
}

impl Node {
    /// With everything in its place.
    pub fn new(facts: Facts, state: StateDir, network: Option<Network>, engine: Engine) -> Node {
        Node {
            facts,
            state,
            network,
            metrics: Metrics::default(),
            events: broadcast::channel(EVENTS_QUEUED).0,
            network_due: Notify::new(),
            report_due: Notify::new(),
            progress: watch::channel(engine.progress()).0,
            tracers: std::sync::atomic::AtomicUsize::new(0),
            attachments: AttachmentLocks::default(),
            engine: Mutex::new(engine),
            datapath: RwLock::new(None),
        }
    }

    /// The engine, for a moment: never across an await.
    pub fn engine(&self) -> MutexGuard<'_, Engine> {
        self.engine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The datapath, once it is in place.
    pub fn datapath(&self) -> Option<Datapath> {
        self.datapath.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The datapath is in place.
    pub fn set_datapath(&self, datapath: Datapath) {
        *self.datapath.write().unwrap_or_else(PoisonError::into_inner) = Some(datapath);
    }

    /// Changes the engine and makes the maps follow; wakes whoever has to act on it.
    pub fn update<T>(&self, change: impl FnOnce(&mut Engine) -> T) -> T {
        let mut engine = self.engine();
        let value = change(&mut engine);
        let watch = Stopwatch::start();
        let outcome = match engine.flush() {
            Ok(outcome) => {
                engine.note("maps", None);
                outcome
            }
            Err(error) => {
                engine.note("maps", Some(error.to_string()));
                Outcome { network: true, ..Outcome::default() }
            }
        };
        self.metrics.round(watch.elapsed(), outcome.changed);
        self.publish(&engine, &outcome);
        value
    }

    /// Tells waiting tasks where the engine is.
    pub fn publish(&self, engine: &Engine, outcome: &Outcome) {
        self.progress.send_replace(engine.progress());
        if outcome.network {
            self.network_due.notify_one();
        }
        if outcome.reports {
            self.report_due.notify_one();
        }
    }

    /// Waits for something about the engine to hold; false when the time is over.
    pub async fn wait(&self, longest: Duration, mut holds: impl FnMut(&Engine) -> bool) -> bool {
        let mut progress = self.progress.subscribe();
        let waiting = async {
            loop {
                progress.borrow_and_update();
                if holds(&self.engine()) {
                    return;
                }
                if progress.changed().await.is_err() {
                    return std::future::pending().await;
                }
            }
        };
        tokio::time::timeout(longest, waiting).await.is_ok()
    }
}

/// Milliseconds since 1970, by this node's clock.
pub fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_millis() as u64
}
