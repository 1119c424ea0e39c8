//! New connections per second: connect, wait for nothing, close with a reset so that no port waits in TIME_WAIT.

use std::net::TcpStream;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use clap::Args;
use nix::sys::socket::{setsockopt, sockopt};

use super::{Report, Target};

/// As many new connections a second as go.
#[derive(Args, Clone, Debug)]
pub struct RateArgs {
    #[command(flatten)]
    target: Target,
    /// How long.
    #[arg(long, default_value_t = 1_000)]
    for_ms: u64,
}

/// Connects over and over from one thread; `answered` over `elapsed_ms` is the rate.
#[must_use]
pub fn run(args: &RateArgs) -> Report {
    let mut report = Report::default();
    let at = match args.target.resolve() {
        Ok(at) => at,
        Err(error) => {
            report.fail(error);
            return report;
        }
    };
    report.resolved = Some(*at.ip());
    let end = Instant::now() + Duration::from_millis(args.for_ms);
    while Instant::now() < end {
        report.sent += 1;
        match connect_and_reset(at) {
            Ok(()) => report.answered += 1,
            Err(error) => report.fail(error),
        }
    }
    report
}

fn connect_and_reset(at: std::net::SocketAddrV4) -> std::io::Result<()> {
    let stream = TcpStream::connect(at)?;
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    setsockopt(&stream.as_fd(), sockopt::Linger, &linger)?;
    Ok(())
}
