//! Datagrams with a forged source address, which the datapath must drop and count.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsRawFd;

use clap::Args;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, sendto, socket,
};

use super::Report;
use super::icmp::checksum;

/// Datagrams with a source address that is not the sender's.
#[derive(Args, Clone, Debug)]
pub struct SpoofArgs {
    /// The forged source.
    #[arg(long)]
    from: Ipv4Addr,
    /// Destination address and port.
    to: SocketAddrV4,
    /// How many.
    #[arg(long, default_value_t = 10)]
    count: u64,
}

const IP_HEADER_BYTES: usize = 20;
const UDP_HEADER_BYTES: usize = 8;
const PAYLOAD: &[u8] = b"forged";

/// Sends; whether anything arrives is for others to see.
#[must_use]
pub fn run(args: &SpoofArgs) -> Report {
    let mut report = Report::default();
    let packet = packet(args.from, args.to);
    for _ in 0..args.count {
        report.sent += 1;
        match send(&packet, args.to) {
            Ok(()) => report.answered += 1,
            Err(error) => report.fail(error),
        }
    }
    report
}

fn send(packet: &[u8], to: SocketAddrV4) -> nix::Result<()> {
    // A raw socket of protocol "raw" takes whole IP packets (raw(7)).
    let socket = socket(AddressFamily::Inet, SockType::Raw, SockFlag::empty(), SockProtocol::Raw)?;
    sendto(socket.as_raw_fd(), packet, &SockaddrIn::from(to), MsgFlags::empty())?;
    Ok(())
}

fn packet(from: Ipv4Addr, to: SocketAddrV4) -> Vec<u8> {
    let udp_len = (UDP_HEADER_BYTES + PAYLOAD.len()) as u16;
    let total = IP_HEADER_BYTES as u16 + udp_len;
    let mut ip = vec![0x45, 0];
    ip.extend_from_slice(&total.to_be_bytes());
    ip.extend_from_slice(&[0, 1, 0, 0, 64, 17, 0, 0]);
    ip.extend_from_slice(&from.octets());
    ip.extend_from_slice(&to.ip().octets());
    let sum = checksum(&ip);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    ip.extend_from_slice(&4_000_u16.to_be_bytes());
    ip.extend_from_slice(&to.port().to_be_bytes());
    ip.extend_from_slice(&udp_len.to_be_bytes());
    // Checksum 0 means "not computed" (RFC 768).
    ip.extend_from_slice(&[0, 0]);
    ip.extend_from_slice(PAYLOAD);
    ip
}
