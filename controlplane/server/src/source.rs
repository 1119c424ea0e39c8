//! Where Kubernetes objects come from. Every source hands over whole snapshots through a
//! latest-value channel: a slow reader skips intermediate states and never holds up the source.

use std::future::Future;
use std::pin::Pin;

use skein_controlplane_core::source::Snapshot;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// A source of Kubernetes objects: a folder of manifests, an API server.
pub trait Source: Send + 'static {
    /// What operators read in logs and status: `folder /etc/skein`.
    fn name(&self) -> String;

    /// Publishes snapshots until `stop`. The first one is published as soon as everything has been
    /// read once; a source that fails for good returns the reason.
    fn run(
        self: Box<Self>,
        out: watch::Sender<Option<Snapshot>>,
        stop: CancellationToken,
    ) -> SourceTask;
}

/// The running source.
pub type SourceTask = Pin<Box<dyn Future<Output = Result<(), SourceError>> + Send>>;

/// Why a source gave up.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("cannot watch files")]
    Watch { source: notify::Error },
    #[error("the thread of the source panicked")]
    Panicked,
}
