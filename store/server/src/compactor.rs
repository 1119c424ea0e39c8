//! Automatic compaction: which revision is old enough, decided purely, and the task that asks.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use skein_store_api::ApiError;
use skein_store_api::pb::etcdserverpb::CompactionRequest;
use skein_store_mvcc::Command;
use tokio::sync::watch;

use crate::config::AutoCompaction;
use crate::core::{Core, stopped};

/// How often revisions are counted in the mode by revision, as etcd.
const REVISION_INTERVAL: Duration = Duration::from_secs(5 * 60);

/// Longest time between two looks in the periodic mode, as etcd.
const MAX_PERIOD: Duration = Duration::from_secs(3600);

/// Looks taken in one period, so that what is compacted is at most a tenth older than asked.
const LOOKS_PER_PERIOD: u32 = 10;

/// Remembers which revision was current when, and names the one to compact.
#[derive(Debug)]
struct Compactor {
    mode: AutoCompaction,
    seen: VecDeque<(Instant, i64)>,
    last: i64,
}

impl Compactor {
    fn new(mode: AutoCompaction) -> Self {
        Self { mode, seen: VecDeque::new(), last: 0 }
    }

    /// Time between two looks; `None` when there is nothing to do.
    fn interval(&self) -> Option<Duration> {
        match self.mode {
            AutoCompaction::Off => None,
            AutoCompaction::Periodic(kept) => Some(kept.min(MAX_PERIOD) / LOOKS_PER_PERIOD),
            AutoCompaction::Revision(_) => Some(REVISION_INTERVAL),
        }
    }

    /// The revision to compact now, if there is one that was not.
    fn look(&mut self, now: Instant, revision: i64) -> Option<i64> {
        let old = match self.mode {
            AutoCompaction::Off => 0,
            AutoCompaction::Revision(kept) => revision - kept,
            AutoCompaction::Periodic(kept) => {
                self.seen.push_back((now, revision));
                let mut old = 0;
                while let Some(&(then, seen)) = self.seen.front() {
                    if now.duration_since(then) < kept {
                        break;
                    }
                    old = seen;
                    self.seen.pop_front();
                }
                old
            }
        };
        (old > self.last).then(|| {
            self.last = old;
            old
        })
    }
}

/// Asks for compactions until the member stops.
pub(crate) async fn run(core: Arc<Core>, mode: AutoCompaction, mut stop: watch::Receiver<bool>) {
    let mut compactor = Compactor::new(mode);
    let Some(interval) = compactor.interval() else { return };
    loop {
        tokio::select! {
            // Both arms may be dropped: neither holds anything.
            () = stopped(&mut stop) => return,
            () = tokio::time::sleep(interval) => {}
        }
        let Some(revision) = compactor.look(Instant::now(), core.state.revision()) else {
            continue;
        };
        let request = CompactionRequest { revision, physical: false };
        match core.propose(Command::Compact(request)).await {
            // Someone else was faster.
            Ok(_) | Err(ApiError::Compacted) => {
                tracing::info!(revision, "finished auto compaction");
            }
            Err(error) => tracing::warn!(revision, %error, "auto compaction failed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_time_what_was_current_then_goes() {
        let minute = Duration::from_secs(60);
        let mut compactor = Compactor::new(AutoCompaction::Periodic(10 * minute));
        assert_eq!(compactor.interval(), Some(minute));
        let begin = Instant::now();
        let asked: Vec<_> = (0..13u32)
            .map(|m| compactor.look(begin + m * minute, 100 + i64::from(m.min(11))))
            .collect();
        assert!(asked[..10].iter().all(Option::is_none));
        assert_eq!(asked[10..], [Some(100), Some(101), Some(102)]);
    }

    #[test]
    fn by_revision_the_newest_stay() {
        let mut compactor = Compactor::new(AutoCompaction::Revision(10));
        let now = Instant::now();
        assert_eq!(compactor.look(now, 9), None);
        assert_eq!(compactor.look(now, 25), Some(15));
        assert_eq!(compactor.look(now, 25), None);
    }
}
