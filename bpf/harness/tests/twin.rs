//! The kernel programs and the host logic do the same.

use skein_bpf_abi::Direction;
use skein_bpf_abi::proto::{ICMP, TCP, UDP};
use skein_bpf_harness::privilege;
use skein_bpf_harness::twin::Twin;
use skein_bpf_logic::host::Frame;
use skein_bpf_logic::testing::sample::{self, *};
use skein_bpf_logic::testing::scenarios;

#[test]
fn every_scenario_holds_in_the_kernel() {
    if privilege::left_out("scenarios in the kernel") {
        return;
    }
    let mut twin = Twin::new(sample::node()).expect("loading the object");
    for (name, scenario) in scenarios::all() {
        println!("{name}");
        twin = twin.restart(sample::node()).expect("starting over");
        scenario(&mut twin);
    }
}

/// Packets in the random test. A few seconds.
const RANDOM_PACKETS: u32 = 5_000;

/// SplitMix64: the same packets in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        let index = self.next() % u64::try_from(from.len()).expect("a small array");
        from[usize::try_from(index).expect("a small index")]
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.next().is_multiple_of(n)
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }
}

/// A frame that is mostly sensible and sometimes broken.
fn random_frame(random: &mut Random) -> Frame {
    let addresses =
        [POD_A, POD_B, POD_R, POD_NEW, POD_GONE, VIP, VIP_OPEN, NODE, ROUTER, NEIGHBOUR, WORLD];
    let src = if random.one_in(3) { random.pick(&addresses) } else { random.pick(&[POD_A, POD_B]) };
    let dst = if random.one_in(2) { VIP } else { random.pick(&addresses) };
    let ports = [PORT_WEB, PORT_SELF, PORT_EMPTY, PORT_DNS, PORT_LOCAL, PORT_NODE, 9, 8080, 6443];
    let clients = [40000, 40001, 8080, 6443];
    let tuple = sample::tuple(src, random.pick(&clients), dst, random.pick(&ports));
    let proto = random.pick(&[TCP, TCP, UDP, UDP, ICMP, 47]);
    let mut builder = sample::builder(proto, tuple)
        .tcp_flags(random.pick(&[0x02, 0x12, 0x10, 0x11, 0x14, 0x04, 0x00, 0xff]))
        .payload(vec![random.byte(); usize::from(random.byte() % 64)]);
    if random.one_in(6) {
        let word = random.pick(&[0x2000, 0x0003, 0x2003, 0x4000]);
        builder = builder.fragment(u16::from(random.byte() % 4), word);
    }
    if random.one_in(10) {
        builder = builder.without_udp_checksum();
    }
    let mut frame = builder.build();
    if proto == ICMP && random.one_in(2) {
        let about = sample::tuple(dst, random.pick(&ports), src, random.pick(&clients));
        let inner = sample::builder(random.pick(&[TCP, UDP]), about).build();
        frame = icmp_error(src, dst, random.pick(&[3, 11, 12, 5]), random.byte() % 5, &inner);
    }
    if random.one_in(8) {
        damage(random, &mut frame);
    }
    frame
}

fn damage(random: &mut Random, frame: &mut Frame) {
    let len = u64::try_from(frame.0.len()).expect("a small frame");
    let at = usize::try_from(random.next() % len).expect("a small index");
    if random.one_in(2) {
        frame.0[at] = random.byte();
    } else {
        // The kernel takes no IPv4 test packet without a whole header.
        frame.0.truncate(at.max(34));
    }
}

#[test]
fn random_packets_fare_alike() {
    if privilege::left_out("random packets in the kernel") {
        return;
    }
    let mut twin = Twin::new(sample::node()).expect("loading the object");
    let mut random = Random(0x5eed);
    let directions = [
        Direction::FromPod,
        Direction::FromPod,
        Direction::FromHost,
        Direction::FromNetdev,
        Direction::FromOverlay,
    ];
    for number in 0..RANDOM_PACKETS {
        let frame = random_frame(&mut random);
        let direction = random.pick(&directions);
        if let Err(error) = twin.compare(direction, &frame) {
            panic!("packet {number} {direction:?} {:02x?}: {error:#}", frame.0);
        }
    }
}
