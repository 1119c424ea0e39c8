//! The cases, by feature. Every one was first held against etcd 3.7.1, whose answers they state.

mod compact;
mod compare;
mod concurrency;
mod delete;
mod first;
mod headers;
mod lease;
mod lease_keys;
mod limits;
mod maintenance;
mod put;
mod range;
mod range_bounds;
mod range_revision;
mod sort;
mod stream;
mod txn;
mod txn_checks;
mod watch;
mod watch_ids;
mod watch_progress;
mod watch_size;
mod watch_start;

use futures::future::BoxFuture;

use crate::check::Verdict;
use crate::context::Context;

/// How long a stream must stay silent to count as silent: above a delivery's time, cheap enough for
/// the cases that need it.
const QUIET: std::time::Duration = std::time::Duration::from_millis(150);

/// Which stores a case applies to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applies {
    /// To every backend, the in-memory machine included.
    Everywhere,
    /// To a running member: what the case looks at is made by the transport or by time.
    Members,
}

/// One named expectation.
pub struct Case {
    /// `feature::expectation`.
    pub name: &'static str,
    pub applies: Applies,
    pub run: fn(Context) -> BoxFuture<'static, Verdict>,
}

/// Lists a module's cases; their names are their functions'.
macro_rules! cases {
    ($applies:ident, $feature:literal: $($name:ident),+ $(,)?) => {
        &[$($crate::cases::Case {
            name: concat!($feature, "::", stringify!($name)),
            applies: $crate::cases::Applies::$applies,
            run: |context| Box::pin($name(context)),
        }),+]
    };
}
use cases;

/// Every case, in the order in which they run.
pub fn all() -> impl Iterator<Item = &'static Case> {
    TABLE.iter().flat_map(|cases| cases.iter())
}

/// `first` looks at an untouched store and stays first.
const TABLE: &[&[Case]] = &[
    first::CASES,
    range::CASES,
    range_bounds::CASES,
    range_revision::CASES,
    sort::CASES,
    stream::CASES,
    put::CASES,
    delete::CASES,
    txn::CASES,
    txn_checks::CASES,
    compare::CASES,
    compact::CASES,
    watch::CASES,
    watch_ids::CASES,
    watch_start::CASES,
    watch_progress::CASES,
    watch_size::CASES,
    lease::CASES,
    lease_keys::CASES,
    limits::CASES,
    headers::CASES,
    maintenance::CASES,
    concurrency::CASES,
];
