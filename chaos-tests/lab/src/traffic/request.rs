//! Requests with an answer each: HTTP over a new connection, or a datagram.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::Value;

use super::{Report, Target, mapped, stdin_closed};

/// New connections, one request each.
#[derive(Args, Clone, Debug)]
pub struct HttpArgs {
    #[command(flatten)]
    target: Target,
    /// How many; 0 means until standard input closes.
    #[arg(long, default_value_t = 1)]
    count: u64,
    /// Pause between two requests.
    #[arg(long, default_value_t = 0)]
    pause_ms: u64,
    /// Use an IPv6 socket and the v4-mapped address, as Java and Go do.
    #[arg(long)]
    v6: bool,
}

/// Datagrams, each with its answer.
#[derive(Args, Clone, Debug)]
pub struct UdpArgs {
    #[command(flatten)]
    target: Target,
    /// How many.
    #[arg(long, default_value_t = 1)]
    count: u64,
    /// Payload bytes of each.
    #[arg(long, default_value_t = 64)]
    size: usize,
    /// Use an IPv6 socket and the v4-mapped address.
    #[arg(long)]
    v6: bool,
    /// Connect the socket first, so that send and recv are used instead of sendto and recvfrom.
    #[arg(long)]
    connect: bool,
    /// Use a new socket (and source port) for each datagram.
    #[arg(long)]
    fresh: bool,
}

/// One request per connection.
#[must_use]
pub fn http(args: &HttpArgs) -> Report {
    let mut report = Report::default();
    let stop = (args.count == 0).then(stdin_closed);
    let mut micros = Vec::new();
    let more = |sent: u64| match &stop {
        Some(stop) => !stop.load(Ordering::Relaxed),
        None => sent < args.count,
    };
    while more(report.sent) {
        let started = Instant::now();
        report.sent += 1;
        match http_once(args, &mut report) {
            Ok(who) => {
                report.answer(&who);
                micros.push(u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX));
            }
            Err(error) => report.fail(error),
        }
        std::thread::sleep(Duration::from_millis(args.pause_ms));
    }
    report.times(micros);
    report
}

fn http_once(args: &HttpArgs, report: &mut Report) -> Result<String, String> {
    let at = args.target.resolve()?;
    report.resolved = Some(*at.ip());
    let timeout = args.target.timeout();
    let mut stream = TcpStream::connect_timeout(&mapped(at, args.v6), timeout)
        .map_err(|e| format!("connect: {e}"))?;
    let peer = stream.peer_addr().map_err(|e| format!("getpeername: {e}"))?;
    report.peer = Some(peer);
    let body = exchange(&mut stream, timeout, &args.target.to).map_err(|e| format!("{e}"))?;
    report.seen_as = body["client"].as_str().map(str::to_owned);
    body["pod"]
        .as_str()
        .map(str::to_owned)
        .ok_or_else(|| format!("an answer without a pod: {body}"))
}

fn exchange(stream: &mut TcpStream, timeout: Duration, host: &str) -> std::io::Result<Value> {
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    write!(stream, "GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Err(std::io::Error::other("the connection closed before the answer"));
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = String::new();
    reader.read_to_string(&mut body)?;
    serde_json::from_str(&body).map_err(std::io::Error::other)
}

/// Datagrams of `size` bytes, each answered by one datagram that repeats it.
#[must_use]
pub fn udp(args: &UdpArgs) -> Report {
    let mut report = Report::default();
    let mut micros = Vec::new();
    let mut socket = None;
    for number in 0..args.count {
        let started = Instant::now();
        report.sent += 1;
        if args.fresh {
            socket = None;
        }
        match udp_once(args, &mut socket, number, &mut report) {
            Ok(who) => {
                report.answer(&who);
                micros.push(u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX));
            }
            Err(error) => report.fail(error),
        }
    }
    report.times(micros);
    report
}

fn udp_once(
    args: &UdpArgs,
    kept: &mut Option<UdpSocket>,
    number: u64,
    report: &mut Report,
) -> Result<String, String> {
    let at = args.target.resolve()?;
    report.resolved = Some(*at.ip());
    let to = mapped(at, args.v6);
    if kept.is_none() {
        *kept = Some(udp_socket(args, to).map_err(|e| format!("socket: {e}"))?);
    }
    let socket = kept.as_ref().ok_or("no socket")?;
    let payload = udp_payload(number, args.size);
    let mut buffer = vec![0; 65_535];
    let (size, from) = send_and_receive(args.connect, socket, to, &payload, &mut buffer)
        .map_err(|e| format!("exchange: {e}"))?;
    report.peer = Some(from);
    if from != to {
        return Err(format!("the answer came from {from} instead of {to}"));
    }
    let answer = &buffer[..size];
    let end = answer.iter().position(|b| *b == b'\n').ok_or("an answer without its first line")?;
    if answer[end + 1..] != payload[..] {
        return Err(format!("the answer repeats {} bytes, not those sent", size - end - 1));
    }
    let first = String::from_utf8_lossy(&answer[..end]).into_owned();
    let mut words = first.split(' ');
    let who = words.nth(1).unwrap_or_default().to_owned();
    report.seen_as = words.nth(1).map(str::to_owned);
    Ok(who)
}

fn udp_socket(args: &UdpArgs, to: SocketAddr) -> std::io::Result<UdpSocket> {
    let any = if to.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
    let socket = UdpSocket::bind(any)?;
    socket.set_read_timeout(Some(args.target.timeout()))?;
    if args.connect {
        socket.connect(to)?;
    }
    Ok(socket)
}

fn send_and_receive(
    connected: bool,
    socket: &UdpSocket,
    to: SocketAddr,
    payload: &[u8],
    buffer: &mut [u8],
) -> std::io::Result<(usize, SocketAddr)> {
    if connected {
        socket.send(payload)?;
        let size = socket.recv(buffer)?;
        return Ok((size, socket.peer_addr()?));
    }
    socket.send_to(payload, to)?;
    socket.recv_from(buffer)
}

/// Bytes that differ between datagrams and along each.
fn udp_payload(number: u64, size: usize) -> Vec<u8> {
    (0..size)
        .map(|i| (number as usize).wrapping_mul(31).wrapping_add(i * 7 + i / 256) as u8)
        .collect()
}
