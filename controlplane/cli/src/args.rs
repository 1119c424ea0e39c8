//! The command line.

mod auth;
mod check;
mod cluster;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use skein_store_schema::{LeaseId, Namespace};

use crate::commands::SnapshotCommand;
pub(crate) use auth::{AuthCommand, Keys, NewPassword, RoleCommand, UserCommand};
pub(crate) use check::{CheckCommand, DiffArgs, Load, PerfArgs};
pub(crate) use cluster::{
    AlarmCommand, CompactionArgs, DefragArgs, EndpointCommand, MemberCommand, MoveLeaderArgs, Scope,
};

const EXAMPLES: &str = "\
Examples:
  skeinctl status                                  how the whole cluster does
  skeinctl service list -n shop                    services with their backends
  skeinctl ipam                                    pools, blocks, owners, usage
  skeinctl get skein/state/services/v1/ --prefix   all services, as they are stored
  skeinctl watch cilium/state/ip/ --prefix         identities of addresses, live
  skeinctl -o json node list | jq '.items[].node'  for scripts
  skeinctl --endpoints 10.0.0.1:2379,10.0.0.2:2379 endpoint status --cluster
  skeinctl check data                              whether all members hold the same

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not found, 4 store unreachable,
5 problems found (status --check, endpoint, check, diff).";

/// Look into the store and into the cluster that it describes.
///
/// Works with Skein's store and with any etcd v3, and needs nothing else to be up. Every listing says at
/// which revision of the store it was read.
#[derive(Debug, Parser)]
#[command(name = "skeinctl", version, after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Global {
    /// Members of the store, as host:port or URLs, separated by commas
    #[arg(long, global = true, env = "SKEINCTL_ENDPOINTS", value_delimiter = ',')]
    #[arg(default_value = "127.0.0.1:2379")]
    pub(crate) endpoints: Vec<String>,
    /// Authorities that may have signed the store's certificate (PEM); turns TLS on
    #[arg(long, global = true, env = "SKEINCTL_CACERT", value_name = "FILE")]
    pub(crate) cacert: Option<PathBuf>,
    /// Our certificate, where the store asks for one (PEM)
    #[arg(long, global = true, env = "SKEINCTL_CERT", value_name = "FILE")]
    #[arg(requires = "key_file")]
    pub(crate) cert: Option<PathBuf>,
    /// The key of our certificate (PEM)
    #[arg(long = "key", id = "key_file", global = true, env = "SKEINCTL_KEY", value_name = "FILE")]
    #[arg(requires = "cert")]
    pub(crate) key: Option<PathBuf>,
    /// User of the store as name or name:password; without a password the terminal is asked
    #[arg(long, global = true, env = "SKEINCTL_USER", hide_env_values = true)]
    pub(crate) user: Option<String>,
    /// Password of the user
    #[arg(long, global = true, env = "SKEINCTL_PASSWORD", hide_env_values = true)]
    #[arg(requires = "user")]
    pub(crate) password: Option<String>,
    /// Time for one request, with repeats
    #[arg(long, global = true, default_value = "5s", value_name = "TIME", value_parser = duration)]
    pub(crate) timeout: Duration,
    /// How to print
    #[arg(short, long, global = true, default_value = "table")]
    pub(crate) output: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Table,
    /// For programs
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// How the cluster does: store, nodes, services, addresses, problems
    Status(StatusArgs),
    /// Read keys; values of Skein and Cilium are shown decoded
    Get(GetArgs),
    /// Follow changes of keys; survives restarts of the store
    Watch(WatchArgs),
    /// Write a key
    Put(PutArgs),
    /// Delete keys
    Del(DelArgs),
    /// Leases: grant, revoke, list, timetolive, keep-alive
    #[command(subcommand)]
    Lease(LeaseCommand),
    /// Members of the store: list, add, remove, promote, update
    #[command(subcommand)]
    Member(MemberCommand),
    /// Backups: save, status, restore; files of etcd's format
    #[command(subcommand)]
    Snapshot(SnapshotCommand),
    /// Ask single members: status, health, hashkv
    #[command(subcommand)]
    Endpoint(EndpointCommand),
    /// Alarms of the store: list, disarm
    #[command(subcommand)]
    Alarm(AlarmCommand),
    /// Drop the history before a revision
    Compaction(CompactionArgs),
    /// Let members give unused space back to their disks
    Defrag(DefragArgs),
    /// Make another member lead
    MoveLeader(MoveLeaderArgs),
    /// Whether the store asks who is there: enable, disable, status
    #[command(subcommand)]
    Auth(AuthCommand),
    /// Users of the store: add, delete, list, get, passwd, grant-role, revoke-role
    #[command(subcommand)]
    User(UserCommand),
    /// Roles of users: add, delete, list, get, grant-permission, revoke-permission
    #[command(subcommand)]
    Role(RoleCommand),
    /// Check the store: data (all members hold the same), perf (it keeps up)
    #[command(subcommand)]
    Check(CheckCommand),
    /// Compare the keys of two stores
    Diff(DiffArgs),
    /// Nodes with addresses, blocks and agents
    #[command(subcommand)]
    Node(ListOnly),
    /// Pods with nodes, addresses and identities
    #[command(subcommand)]
    Pod(NamespacedList),
    /// Services with ports and backends
    #[command(subcommand)]
    Service(NamespacedList),
    /// Identities with their labels
    #[command(subcommand)]
    Identity(ListOnly),
    /// Addresses with identities and tunnel endpoints
    #[command(subcommand)]
    Ipcache(ListOnly),
    /// Pools of addresses, blocks of nodes, and how full they are
    Ipam,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct StatusArgs {
    /// Exit with code 5 when there are problems
    #[arg(long)]
    pub(crate) check: bool,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  skeinctl get skein/ipam/v1/pools/default
  skeinctl get skein/ --prefix --keys-only
  skeinctl get cilium/.heartbeat --value-only
  skeinctl get skein/state/services/v1/shop/cart --rev 1234    as it was then")]
pub(crate) struct GetArgs {
    /// The key, or with --prefix what keys begin with
    pub(crate) key: String,
    /// Every key that begins with KEY
    #[arg(long)]
    pub(crate) prefix: bool,
    /// As of this revision instead of now
    #[arg(long, default_value_t = 0, hide_default_value = true, value_name = "REVISION")]
    pub(crate) rev: i64,
    /// At most so many keys
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    pub(crate) limit: i64,
    /// Leave the values out
    #[arg(long)]
    pub(crate) keys_only: bool,
    /// Only count
    #[arg(long, conflicts_with = "keys_only")]
    pub(crate) count_only: bool,
    /// Only the values, byte for byte
    #[arg(long, conflicts_with_all = ["keys_only", "count_only", "output"])]
    pub(crate) value_only: bool,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  skeinctl watch skein/state/ --prefix
  skeinctl watch skein/agents/v1/node-1/status --initial
  skeinctl watch cilium/state/ --prefix --rev 1200 -o json     all that happened since")]
pub(crate) struct WatchArgs {
    /// The key, or with --prefix what keys begin with
    pub(crate) key: String,
    /// Every key that begins with KEY
    #[arg(long)]
    pub(crate) prefix: bool,
    /// From this revision on instead of from now on
    #[arg(long, value_name = "REVISION", value_parser = clap::value_parser!(i64).range(1..))]
    pub(crate) rev: Option<i64>,
    /// Show what is there first
    #[arg(long, conflicts_with = "rev")]
    pub(crate) initial: bool,
    /// Stop after so many changes
    #[arg(long, value_name = "CHANGES", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  skeinctl put test/greeting hello
  skeinctl put test/file - < file
  skeinctl put test/short-lived x --lease 694d9b2c4f5e7a01

What agents and control plane own is theirs: they write it again. A value that does not
decode as its key demands is refused unless --force is given.")]
pub(crate) struct PutArgs {
    /// The key
    pub(crate) key: String,
    /// The value; - reads it from standard input
    pub(crate) value: String,
    /// Let the key die with this lease (hexadecimal)
    #[arg(long, value_parser = lease)]
    pub(crate) lease: Option<LeaseId>,
    /// Write it even if nobody will be able to read it
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct DelArgs {
    /// The key, or with --prefix what keys begin with
    pub(crate) key: String,
    /// Every key that begins with KEY; needs --yes
    #[arg(long, requires = "yes")]
    pub(crate) prefix: bool,
    /// Yes, really
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum LeaseCommand {
    /// Grant a lease for so many seconds
    Grant {
        #[arg(value_name = "SECONDS", value_parser = clap::value_parser!(i64).range(1..))]
        ttl: i64,
    },
    /// End a lease; its keys are deleted
    Revoke {
        #[arg(value_name = "LEASE", value_parser = lease)]
        lease: LeaseId,
    },
    /// Leases with their remaining time and keys
    List,
    /// Remaining time and keys of a lease
    Timetolive {
        #[arg(value_name = "LEASE", value_parser = lease)]
        lease: LeaseId,
    },
    /// Keep a lease alive until interrupted
    KeepAlive {
        #[arg(value_name = "LEASE", value_parser = lease)]
        lease: LeaseId,
        /// Renew once and stop
        #[arg(long)]
        once: bool,
    },
}

#[derive(Debug, Clone, Copy, Subcommand)]
pub(crate) enum ListOnly {
    /// Show them all
    List,
}

#[derive(Debug, Subcommand)]
pub(crate) enum NamespacedList {
    /// Show them all
    List {
        /// Only of this namespace
        #[arg(short, long)]
        namespace: Option<Namespace>,
    },
}

fn lease(text: &str) -> Result<LeaseId, String> {
    LeaseId::parse_hex(text).map_err(|_| "a lease is a hexadecimal number, as 694d9b2c".to_owned())
}

fn duration(text: &str) -> Result<Duration, String> {
    let refused = || format!("{text:?} is not a time as 500ms, 5s or 2m");
    let split = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(refused)?;
    let number: u32 = text[..split].parse().map_err(|_| refused())?;
    match &text[split..] {
        "ms" => Ok(Duration::from_millis(number.into())),
        "s" => Ok(Duration::from_secs(number.into())),
        "m" => Ok(Duration::from_secs(60 * u64::from(number))),
        _ => Err(refused()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for bad in ["5", "s", "", "5h", "-1s"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn deleting_a_prefix_needs_a_yes() {
        assert!(Args::try_parse_from(["skeinctl", "del", "a", "--prefix"]).is_err());
        assert!(Args::try_parse_from(["skeinctl", "del", "a", "--prefix", "--yes"]).is_ok());
    }
}
