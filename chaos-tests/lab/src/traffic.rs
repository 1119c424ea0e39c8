//! The traffic generators: run inside a pod, a node or the client, they print one JSON object and end.
//!
//! The lab starts itself as `skein-lab traffic ...` at the place under test; [`Report`] is what comes back. Blocking
//! sockets and threads, because what is measured is the kernel's path and not a runtime's.

pub mod bulk;
pub mod icmp;
pub mod rate;
pub mod request;
pub mod spoof;
pub mod stream;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, ToSocketAddrs};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};

/// What one run saw. Fields that a kind of run does not fill keep their defaults.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    /// Attempts made.
    pub sent: u64,
    /// Attempts that were answered in full and as expected.
    pub answered: u64,
    /// Who answered, and how often.
    pub by: BTreeMap<String, u64>,
    /// Who answered last when: Unix milliseconds.
    pub last_by: BTreeMap<String, u64>,
    /// Failures in words, with how often each happened.
    pub errors: BTreeMap<String, u64>,
    /// The address the name resolved to.
    pub resolved: Option<Ipv4Addr>,
    /// The peer's address as getpeername told it.
    pub peer: Option<SocketAddr>,
    /// The client's address as the server saw it.
    pub seen_as: Option<String>,
    /// Median time from start of an attempt to its full answer.
    pub p50_us: u64,
    /// 99th percentile of the same.
    pub p99_us: u64,
    /// Longest silence between two answers on one connection.
    pub gap_max_ms: u64,
    /// Bytes received.
    pub bytes: u64,
    /// Duration of the run.
    pub elapsed_ms: u64,
    /// How fast new connections to each address were.
    pub paces: Vec<rate::Pace>,
}

impl Report {
    /// Counts one failure.
    pub fn fail(&mut self, error: impl std::fmt::Display) {
        *self.errors.entry(error.to_string()).or_default() += 1;
    }

    /// Counts one answer.
    pub fn answer(&mut self, who: &str) {
        self.answered += 1;
        *self.by.entry(who.to_owned()).or_default() += 1;
        self.last_by.insert(who.to_owned(), unix_ms());
    }

    /// Every attempt was answered and nothing failed.
    #[must_use]
    pub fn clean(&self) -> bool {
        self.errors.is_empty() && self.sent > 0 && self.sent == self.answered
    }

    pub(crate) fn times(&mut self, mut micros: Vec<u64>) {
        micros.sort_unstable();
        let at =
            |share: usize| micros.get((micros.len() * share / 100).min(micros.len().max(1) - 1));
        self.p50_us = at(50).copied().unwrap_or_default();
        self.p99_us = at(99).copied().unwrap_or_default();
    }
}

/// The common part of every run.
#[derive(Args, Clone, Debug)]
pub struct Target {
    /// Name or address, and port: `web.shop:80`.
    pub to: String,
    /// How long one attempt may take.
    #[arg(long, default_value_t = 3_000)]
    pub timeout_ms: u64,
}

/// The kinds of runs.
#[derive(Subcommand, Clone, Debug)]
pub enum Traffic {
    /// New connections, one request each.
    Http(request::HttpArgs),
    /// Datagrams, each with its answer.
    Udp(request::UdpArgs),
    /// One connection that speaks until standard input closes.
    Stream(stream::StreamArgs),
    /// A large download and a large upload, every byte checked.
    Bulk(bulk::BulkArgs),
    /// ICMP echo.
    Ping(icmp::PingArgs),
    /// As many new connections a second as go.
    Rate(rate::RateArgs),
    /// Datagrams with a source address that is not the sender's.
    Spoof(spoof::SpoofArgs),
}

/// Runs one kind to its end.
#[must_use]
pub fn run(traffic: &Traffic) -> Report {
    let started = std::time::Instant::now();
    let mut report = match traffic {
        Traffic::Http(args) => request::http(args),
        Traffic::Udp(args) => request::udp(args),
        Traffic::Stream(args) => stream::run(args),
        Traffic::Bulk(args) => bulk::run(args),
        Traffic::Ping(args) => icmp::run(args),
        Traffic::Rate(args) => rate::run(args),
        Traffic::Spoof(args) => spoof::run(args),
    };
    report.elapsed_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    report
}

impl Target {
    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }

    pub(crate) fn resolve(&self) -> Result<SocketAddrV4, String> {
        resolve(&self.to)
    }
}

/// The first IPv4 address of the name, by the system's resolver.
fn resolve(to: &str) -> Result<SocketAddrV4, String> {
    let found = to.to_socket_addrs().map_err(|e| format!("resolve {to}: {e}"))?;
    found
        .filter_map(|a| if let SocketAddr::V4(v4) = a { Some(v4) } else { None })
        .next()
        .ok_or_else(|| format!("resolve {to}: no IPv4 address"))
}

/// The same address as an IPv6 socket sees it (`::ffff:a.b.c.d`, RFC 4291 section 2.5.5.2).
pub(crate) fn mapped(at: SocketAddrV4, v6: bool) -> SocketAddr {
    if v6 { SocketAddr::new(at.ip().to_ipv6_mapped().into(), at.port()) } else { at.into() }
}

/// Unix time in milliseconds; the lab's processes share one clock.
#[must_use]
pub fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A flag that becomes true when standard input closes: how the lab ends an open-ended run.
pub(crate) fn stdin_closed() -> std::sync::Arc<std::sync::atomic::AtomicBool> {
    let flag = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let set = flag.clone();
    std::thread::spawn(move || {
        // Content does not matter, nor does the way it ends.
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        set.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    flag
}
