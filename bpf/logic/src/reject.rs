//! The answer to a packet that no backend can take: ICMP "port unreachable" from the service
//! address, what kube-proxy answers too. A TCP client in its handshake takes it as a refused
//! connection, a connected UDP client as an error of its next call.

use skein_bpf_abi::proto;

use crate::checksum;

/// What the answer quotes, with the Ethernet header before it: IP header without options and eight
/// bytes (RFC 792).
pub const QUOTED_LEN: usize = 14 + 20 + 8;
/// Length of the answer: Ethernet, IP, ICMP, quoted packet.
pub const ANSWER_LEN: usize = 14 + 20 + 8 + 28;

/// Time to live of answers; the usual default of hosts.
const TTL: u8 = 64;
/// ICMP destination unreachable.
const UNREACHABLE: u8 = 3;
/// Its code "port unreachable".
const PORT: u8 = 3;

/// Builds the answer to a packet that starts with `quoted`: back where it came from, on every layer.
#[must_use]
#[inline(always)]
pub fn answer(quoted: &[u8; QUOTED_LEN]) -> [u8; ANSWER_LEN] {
    let mut out = [0; ANSWER_LEN];
    copy::<0, 6, 6>(quoted, &mut out);
    copy::<6, 0, 6>(quoted, &mut out);
    copy::<12, 12, 2>(quoted, &mut out);
    out[14] = 0x45;
    out[17] = (ANSWER_LEN - 14) as u8;
    out[22] = TTL;
    out[23] = proto::ICMP;
    copy::<26, 30, 4>(quoted, &mut out);
    copy::<30, 26, 4>(quoted, &mut out);
    let header = !sum::<14, 10>(&out);
    put_u16(&mut out, 24, header);
    out[34] = UNREACHABLE;
    out[35] = PORT;
    copy::<42, 14, 28>(quoted, &mut out);
    let message = !sum::<34, 18>(&out);
    put_u16(&mut out, 36, message);
    out
}

/// Copies `LEN` bytes from `FROM` of the quoted packet to `TO` of the answer.
#[inline(always)]
fn copy<const TO: usize, const FROM: usize, const LEN: usize>(
    quoted: &[u8; QUOTED_LEN],
    out: &mut [u8; ANSWER_LEN],
) {
    const { assert!(FROM + LEN <= QUOTED_LEN && TO + LEN <= ANSWER_LEN) };
    let mut i = 0;
    while i < LEN {
        out[TO + i] = quoted[FROM + i];
        i += 1;
    }
}

#[inline(always)]
fn put_u16(out: &mut [u8; ANSWER_LEN], at: usize, value: u16) {
    let bytes = value.to_ne_bytes();
    out[at] = bytes[0];
    out[at + 1] = bytes[1];
}

/// One's complement sum of `WORDS` two-byte words from `FROM`.
#[inline(always)]
fn sum<const FROM: usize, const WORDS: usize>(out: &[u8; ANSWER_LEN]) -> u16 {
    const { assert!(FROM + 2 * WORDS <= ANSWER_LEN) };
    let mut total = 0u32;
    let mut i = 0;
    while i < WORDS {
        total += u32::from(u16::from_ne_bytes([out[FROM + 2 * i], out[FROM + 2 * i + 1]]));
        i += 1;
    }
    checksum::fold(total)
}
