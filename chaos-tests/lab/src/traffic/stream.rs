//! One long connection that must survive whatever the lab does meanwhile.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use clap::Args;

use super::{Report, Target, stdin_closed};

/// Pause between two messages on the connection.
const PAUSE: Duration = Duration::from_millis(10);
/// Bytes of one message.
const MESSAGE_BYTES: usize = 64;

/// One connection that speaks until standard input closes.
#[derive(Args, Clone, Debug)]
pub struct StreamArgs {
    #[command(flatten)]
    target: Target,
}

/// Sends numbered messages and expects each back, on one connection, until standard input closes.
#[must_use]
pub fn run(args: &StreamArgs) -> Report {
    let mut report = Report::default();
    if let Err(error) = speak(args, &mut report) {
        report.fail(format!("after {} messages: {error}", report.answered));
    }
    report
}

fn speak(args: &StreamArgs, report: &mut Report) -> Result<(), String> {
    let at = args.target.resolve()?;
    report.resolved = Some(*at.ip());
    let timeout = args.target.timeout();
    let mut stream = TcpStream::connect_timeout(&at.into(), timeout).map_err(|e| e.to_string())?;
    stream.set_nodelay(true).map_err(|e| e.to_string())?;
    stream.set_read_timeout(Some(timeout)).map_err(|e| e.to_string())?;
    report.peer = stream.peer_addr().ok();
    let stop = stdin_closed();
    let mut who = String::new();
    let mut last = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        report.sent += 1;
        exchange(&mut stream, report.sent, &mut who).map_err(|e| e.to_string())?;
        report.answer(&who);
        let gap = u64::try_from(last.elapsed().as_millis()).unwrap_or(u64::MAX);
        report.gap_max_ms = report.gap_max_ms.max(gap);
        last = Instant::now();
        if report.sent == 1 {
            // The lab waits for this line before it disturbs anything.
            println!("connected");
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

fn exchange(stream: &mut TcpStream, number: u64, who: &mut String) -> std::io::Result<()> {
    let message = format!("{number:0width$}\n", width = MESSAGE_BYTES - 1);
    stream.write_all(message.as_bytes())?;
    if who.is_empty() {
        *who = hello(stream)?;
    }
    let mut back = [0; MESSAGE_BYTES];
    stream.read_exact(&mut back)?;
    if back != message.as_bytes() {
        return Err(std::io::Error::other("another message came back than was sent"));
    }
    Ok(())
}

/// Reads the server's first line, byte by byte so that nothing after it is taken.
fn hello(stream: &mut TcpStream) -> std::io::Result<String> {
    let mut line = Vec::new();
    let mut byte = [0];
    while byte != *b"\n" {
        stream.read_exact(&mut byte)?;
        line.push(byte[0]);
    }
    let text = String::from_utf8_lossy(&line);
    Ok(text.split_ascii_whitespace().nth(1).unwrap_or_default().to_owned())
}
