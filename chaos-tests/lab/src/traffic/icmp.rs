//! ICMP echo (RFC 792) over a raw socket.

use std::net::SocketAddrV4;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use clap::Args;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, recvfrom, sendto,
    setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

use super::Report;

/// ICMP echo.
#[derive(Args, Clone, Debug)]
pub struct PingArgs {
    /// Address to ask.
    to: std::net::Ipv4Addr,
    /// How many.
    #[arg(long, default_value_t = 3)]
    count: u16,
    /// Payload bytes.
    #[arg(long, default_value_t = 56)]
    size: usize,
    /// How long to wait for each answer.
    #[arg(long, default_value_t = 2_000)]
    timeout_ms: i64,
}

const ECHO_REQUEST: u8 = 8;
const ECHO_REPLY: u8 = 0;

/// Asks `count` times, one after the other.
#[must_use]
pub fn run(args: &PingArgs) -> Report {
    let mut report = Report { resolved: Some(args.to), ..Report::default() };
    for number in 1..=args.count {
        report.sent += 1;
        match ask(args, number) {
            Ok(()) => report.answer(&args.to.to_string()),
            Err(error) => report.fail(error),
        }
    }
    report
}

fn ask(args: &PingArgs, number: u16) -> Result<(), String> {
    let socket = socket(AddressFamily::Inet, SockType::Raw, SockFlag::empty(), SockProtocol::Icmp)
        .map_err(|e| format!("raw socket: {e}"))?;
    setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::milliseconds(args.timeout_ms))
        .map_err(|e| format!("timeout: {e}"))?;
    let id = (std::process::id() & 0xffff) as u16;
    let packet = echo_request(id, number, args.size);
    let to = SockaddrIn::from(SocketAddrV4::new(args.to, 0));
    sendto(socket.as_raw_fd(), &packet, &to, MsgFlags::empty())
        .map_err(|e| format!("send: {e}"))?;
    let end = Instant::now() + Duration::from_millis(args.timeout_ms.unsigned_abs());
    let mut buffer = vec![0; 65_535];
    while Instant::now() < end {
        let (size, _) = recvfrom::<SockaddrIn>(socket.as_raw_fd(), &mut buffer)
            .map_err(|e| format!("no answer: {e}"))?;
        if is_answer(&buffer[..size], &packet) {
            return Ok(());
        }
    }
    Err("no answer in time".to_owned())
}

fn echo_request(id: u16, number: u16, size: usize) -> Vec<u8> {
    let mut packet = vec![ECHO_REQUEST, 0, 0, 0];
    packet.extend_from_slice(&id.to_be_bytes());
    packet.extend_from_slice(&number.to_be_bytes());
    packet.extend((0..size).map(|i| i as u8));
    let sum = checksum(&packet);
    packet[2..4].copy_from_slice(&sum.to_be_bytes());
    packet
}

/// A raw socket delivers the IP header too, and every ICMP message of the namespace.
fn is_answer(datagram: &[u8], request: &[u8]) -> bool {
    let Some(first) = datagram.first() else { return false };
    let header = usize::from(first & 0x0f) * 4;
    let Some(icmp) = datagram.get(header..) else { return false };
    icmp.len() == request.len() && icmp[0] == ECHO_REPLY && icmp[4..] == request[4..]
}

/// The Internet checksum (RFC 1071).
pub(crate) fn checksum(bytes: &[u8]) -> u16 {
    let mut sum = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0)))
        .sum::<u32>();
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_with_its_checksum_sums_to_zero() {
        assert_eq!(checksum(&echo_request(7, 1, 57)), 0);
    }

    #[test]
    fn only_the_answer_to_this_request_counts() {
        let request = echo_request(7, 1, 8);
        let mut answer = vec![0x45; 20];
        answer.extend_from_slice(&request);
        assert!(!is_answer(&answer, &request), "our own request is not an answer");
        answer[20] = ECHO_REPLY;
        assert!(is_answer(&answer, &request));
        answer[27] ^= 1;
        assert!(!is_answer(&answer, &request));
    }
}
