//! What can be said about checks and comparisons.

use std::time::Duration;

use clap::{Args as ClapArgs, Subcommand, ValueEnum};

#[derive(Debug, Subcommand)]
pub(crate) enum CheckCommand {
    /// Whether all members hold the same data
    #[command(after_help = "\
Every member hashes all keys and their history at one revision. When one differs from the rest it is
named, and its keys are compared with those of a member that does not. Nothing is changed.

Exit code 5: they differ.")]
    Data {
        /// Only the members behind --endpoints, not every member of the store
        #[arg(long)]
        only_endpoints: bool,
    },
    /// Whether the store keeps up with a load
    #[command(after_help = "\
Writes keys of 256 bytes with values of 1 KiB below --prefix at a steady rate, and deletes them again:
  load  writes/s  clients
  s          150       50
  m        1,000      200
  l        8,000      500
  xl      15,000    1,000
It passes when nine tenths of the rate were reached, no write took longer than 500 ms and the times
deviate by less than 100 ms; as etcdctl judges. Do not load a store that others depend on.

Exit code 5: it did not pass.")]
    Perf(PerfArgs),
}

#[derive(Debug, ClapArgs)]
pub(crate) struct PerfArgs {
    /// How much
    #[arg(long, default_value = "s")]
    pub(crate) load: Load,
    /// For how long
    #[arg(long, default_value = "60s", value_name = "TIME", value_parser = super::duration)]
    pub(crate) duration: Duration,
    /// What the written keys begin with; there must be none
    #[arg(long, default_value = "/skeinctl-check-perf/")]
    pub(crate) prefix: String,
    /// Compact the history afterwards
    #[arg(long)]
    pub(crate) auto_compact: bool,
    /// Defragment the endpoints afterwards
    #[arg(long)]
    pub(crate) auto_defrag: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Load {
    S,
    M,
    L,
    Xl,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  skeinctl diff 10.0.0.1:2379 10.1.0.1:2379                two stores, every key
  skeinctl diff a:2379,b:2379 c:2379 --prefix skein/ipam/
  skeinctl -o json diff a:2379 b:2379 | jq .counts

Both sides are read in pages at one revision each, so a store of any size can be compared. Keys and
values count; revisions and leases do not, since they differ between stores that hold the same.
Certificates and user of the command line are used for both.

Exit code 5: they differ.")]
pub(crate) struct DiffArgs {
    /// Endpoints of one side, separated by commas
    pub(crate) a: String,
    /// Endpoints of the other side
    pub(crate) b: String,
    /// Only keys that begin with this
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) prefix: String,
    /// Side A as of this revision instead of now
    #[arg(long, default_value_t = 0, hide_default_value = true, value_name = "REVISION")]
    pub(crate) rev_a: i64,
    /// Side B as of this revision instead of now
    #[arg(long, default_value_t = 0, hide_default_value = true, value_name = "REVISION")]
    pub(crate) rev_b: i64,
    /// Show at most so many differences; all are counted
    #[arg(long, default_value_t = 100)]
    pub(crate) limit: usize,
}
