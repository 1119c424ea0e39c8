//! New connections per second, to one address or to several in turn.
//!
//! Each connection sends one byte, waits for the server's first line and is closed with a reset, so that no port waits
//! in TIME_WAIT. The wait matters: a reset connection stays in the server's accept queue until the server takes it from
//! there, so a client that does not wait overruns the queue (`TcpExtListenOverflows`); the kernel then drops a SYN, and
//! the connection stands still for the second until its retransmission.

use std::io::{Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use clap::Args;
use nix::sys::socket::{setsockopt, sockopt};
use serde::{Deserialize, Serialize};

use super::{Report, resolve};

/// Connections to one address before the next has its turn: few, so that whatever else the machine does falls on all
/// addresses alike.
const TURN: u32 = 16;
/// How long the server may take for its first line.
const ANSWER: Duration = Duration::from_secs(3);

/// As many new connections a second as go, from one thread.
#[derive(Args, Clone, Debug)]
pub struct RateArgs {
    /// Names or addresses, each with its port; they take turns.
    #[arg(required = true)]
    to: Vec<String>,
    /// How long, all turns together.
    #[arg(long, default_value_t = 1_000)]
    for_ms: u64,
}

/// What the turns of one address came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pace {
    /// Connections that were answered.
    pub connections: u64,
    /// Duration of its turns.
    pub busy_us: u64,
    /// Median time of `connect` alone.
    pub connect_p50_ns: u64,
}

impl Pace {
    /// Connections a second.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        self.connections as f64 * 1e6 / self.busy_us as f64
    }
}

/// Connects over and over; `paces` has an item for each address.
#[must_use]
pub fn run(args: &RateArgs) -> Report {
    let mut report = Report::default();
    let to: Result<Vec<SocketAddrV4>, String> = args.to.iter().map(|to| resolve(to)).collect();
    let to = match to {
        Ok(to) => to,
        Err(error) => {
            report.fail(error);
            return report;
        }
    };
    let mut tallies = vec![Tally::default(); to.len()];
    let end = Instant::now() + Duration::from_millis(args.for_ms);
    while Instant::now() < end {
        for (at, tally) in to.iter().zip(&mut tallies) {
            tally.turn(*at, &mut report);
        }
    }
    report.paces = tallies.into_iter().map(Tally::pace).collect();
    report
}

#[derive(Clone, Debug, Default)]
struct Tally {
    busy: Duration,
    connects: Vec<Duration>,
}

impl Tally {
    fn turn(&mut self, at: SocketAddrV4, report: &mut Report) {
        let begun = Instant::now();
        for _ in 0..TURN {
            report.sent += 1;
            match one_connection(at) {
                Ok(connect) => {
                    report.answered += 1;
                    self.connects.push(connect);
                }
                Err(error) => report.fail(format!("{at}: {error}")),
            }
        }
        self.busy += begun.elapsed();
    }

    fn pace(mut self) -> Pace {
        let connections = self.connects.len() as u64;
        self.connects.sort_unstable();
        let middle = self.connects.get(self.connects.len() / 2).copied().unwrap_or_default();
        let number = |n: u128| u64::try_from(n).unwrap_or(u64::MAX);
        Pace {
            connections,
            busy_us: number(self.busy.as_micros()),
            connect_p50_ns: number(middle.as_nanos()),
        }
    }
}

/// Returns how long `connect` took.
fn one_connection(at: SocketAddrV4) -> std::io::Result<Duration> {
    let begun = Instant::now();
    let mut stream = TcpStream::connect(at)?;
    let connect = begun.elapsed();
    stream.set_read_timeout(Some(ANSWER))?;
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    setsockopt(&stream.as_fd(), sockopt::Linger, &linger)?;
    stream.write_all(b"x")?;
    if stream.read(&mut [0; 128])? == 0 {
        return Err(std::io::Error::other("the server closed without a word"));
    }
    Ok(connect)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// A server that says its line and drops the connection.
    fn server() -> SocketAddrV4 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let std::net::SocketAddr::V4(at) = listener.local_addr().unwrap() else { unreachable!() };
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let _ = stream.read(&mut [0; 1]);
                let _ = stream.write_all(b"pod a/b node c\n");
            }
        });
        at
    }

    #[test]
    fn addresses_take_turns_and_each_has_its_own_pace() {
        let to = vec![server().to_string(), server().to_string()];
        let report = run(&RateArgs { to, for_ms: 20 });
        assert!(report.clean(), "{report:?}");
        let [a, b] = report.paces[..] else { panic!("{report:?}") };
        assert_eq!(a.connections, b.connections);
        assert_eq!(a.connections + b.connections, report.answered);
        assert_eq!(a.connections % u64::from(TURN), 0);
        assert!(a.busy_us > 0 && a.connect_p50_ns > 0, "{a:?}");
    }

    #[test]
    fn a_closed_port_is_told() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let report = run(&RateArgs { to: vec![free.to_string()], for_ms: 1 });
        assert_eq!(report.answered, 0);
        assert!(report.errors.keys().all(|e| e.contains("refused")), "{report:?}");
    }
}
