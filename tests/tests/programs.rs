//! The programs themselves, run by `BPF_PROG_TEST_RUN`: fates against userspace's, packet by
//! packet, and frames that no rule matches.

use aya::{
    Ebpf, TestRun as _,
    maps::{MapData, PerCpuArray},
    programs::{SchedClassifier, TestRunOptions, Xdp},
};
use etherparse::PacketBuilder;
use injector::{
    plan::{Hook, Needs, Plan},
    profile,
};
use injector_common::{
    abi::{FaultSpec, RuleCounters, XdpMode, features, flags, maps, programs},
    corrupt,
    fate::{self, Fate, Touch},
    random::Stream,
    wire::{self, PacketKey},
};
use injector_tests::loaded;

/// Offsets in `struct __sk_buff` (linux/bpf.h).
const CB: usize = 48;
const TSTAMP: usize = 152;
const GSO_SEGS: usize = 164;
const CONTEXT_LEN: usize = 192;
/// `TC_ACT_UNSPEC`, `TC_ACT_SHOT`, `TC_ACT_REDIRECT` and `XDP_PASS`.
const UNSPEC: u32 = u32::MAX;
const SHOT: u32 = 2;
const REDIRECT: u32 = 7;
const XDP_PASS: u32 = 2;
fn load(text: &str, seed: u64) -> (Plan, Ebpf) {
    loaded::load(text, seed, XdpMode::Generic).unwrap()
}

fn seed() -> u64 {
    let seed = std::env::var("TEST_SEED").map_or_else(
        |_| {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            now.unwrap().as_nanos() as u64
        },
        |text| text.parse().unwrap(),
    );
    eprintln!("TEST_SEED={seed}");
    seed
}

fn monotonic_ns() -> u64 {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).unwrap();
    std::time::Duration::from(now).as_nanos() as u64
}

fn udp_frame(payload: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2([2; 6], [4; 6])
        .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
        .udp(1000, 2000);
    let mut frame = Vec::new();
    builder.write(&mut frame, payload).unwrap();
    frame
}

/// What a packet carries in its `struct __sk_buff`.
#[derive(Clone, Copy)]
struct Carried([u8; CONTEXT_LEN]);

impl Carried {
    /// A packet that its sender has planned for `planned_ns`, of so many segments.
    fn new(planned_ns: u64, segments: u32) -> Self {
        let mut context = [0; CONTEXT_LEN];
        context[TSTAMP..TSTAMP + 8].copy_from_slice(&planned_ns.to_ne_bytes());
        context[GSO_SEGS..GSO_SEGS + 4].copy_from_slice(&segments.to_ne_bytes());
        Self(context)
    }

    fn departure_ns(&self) -> u64 {
        u64::from_ne_bytes(self.0[CB..CB + 8].try_into().unwrap())
    }

    /// What a segment carries.
    fn of_segment(&self) -> Self {
        let mut context = self.0;
        context[GSO_SEGS..GSO_SEGS + 4].fill(0);
        Self(context)
    }
}

struct Ran {
    verdict: u32,
    carried: Carried,
    frame: Vec<u8>,
}

fn run(ebpf: &Ebpf, name: &str, carried: &Carried, frame: &[u8]) -> Ran {
    let program: &SchedClassifier = ebpf.program(name).unwrap().try_into().unwrap();
    let (mut data_out, mut ctx_out) = (vec![0; frame.len() + 64], [0; CONTEXT_LEN]);
    let result = program
        .test_run(TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut data_out),
            ctx_in: Some(&carried.0),
            ctx_out: Some(&mut ctx_out),
            ..TestRunOptions::new()
        })
        .unwrap();
    data_out.truncate(result.data_size_out as usize);
    Ran {
        verdict: result.return_value,
        carried: Carried(ctx_out),
        frame: data_out,
    }
}

#[test]
fn the_kernel_decides_20_000_packets_as_userspace_does() {
    let text = "
        name: all
        rules:
          - {drop: 2%, corrupt: 1%, duplicate: 1%, delay: {time: 10ms, jitter: 10ms}}";
    let seed = seed();
    let (plan, ebpf) = load(text, seed);
    let spec = &plan.rules[0].spec;
    let frame = udp_frame(&[0x5a; 100]);
    let sizes = Stream::new(seed);
    let (mut first, mut touched) = (0, [0; 3]);
    while first < 20_000 {
        // Single packets as often as super-packets of every size; 45 segments are the usual most.
        let count = 1 + sizes.up_to(first, 88).saturating_sub(44);
        // Ahead, so that the departure does not depend on when the program runs.
        let planned_ns = monotonic_ns() + 10_000_000_000;
        let packet = Carried::new(planned_ns, count as u32);
        // There is no pair to lift it onto, and so it passes, with all that it would have carried.
        let lifted = run(&ebpf, programs::DIVERT_EGRESS, &packet, &frame);
        let touch = fate::touch(spec, first, count, Stream::hits);
        touched[touch as usize] += 1;
        let departure_ns = planned_ns + fate::delay_ns(spec, first);
        let verdict = if touch == Touch::Drop {
            REDIRECT
        } else {
            UNSPEC
        };
        assert_eq!(lifted.verdict, verdict, "packet {first}");
        if touch == Touch::None {
            assert_eq!(
                lifted.carried.departure_ns(),
                departure_ns,
                "packet {first}"
            );
        }
        if touch == Touch::Some {
            let carried = lifted.carried.of_segment();
            for n in first..first + count {
                let decided = run(&ebpf, programs::DECIDE, &carried, &frame);
                assert_decided(&decided, spec, n, departure_ns, &frame);
            }
        }
        first += count;
    }
    assert!(touched.iter().all(|count| *count > 0), "{touched:?}");
}

/// Asserts that a segment was decided as packet `n`.
fn assert_decided(decided: &Ran, spec: &FaultSpec, n: u64, departure_ns: u64, frame: &[u8]) {
    let Fate::Deliver { corrupt, .. } = fate::decide(spec, n) else {
        assert_eq!(decided.verdict, SHOT, "packet {n}");
        return;
    };
    assert_eq!(decided.verdict, REDIRECT, "packet {n}");
    assert_eq!(decided.carried.departure_ns(), departure_ns, "packet {n}");
    let mut expected = frame.to_vec();
    if let Some(draw) = corrupt {
        let layout = wire::parse(frame, false, features::ALL, &mut PacketKey::default()).unwrap();
        let flip = corrupt::choose(frame, &layout, frame.len(), draw).unwrap();
        expected[flip.offset] ^= flip.mask;
    }
    assert_eq!(decided.frame, expected, "packet {n}");
}

#[test]
fn a_valid_checksum_is_valid() {
    let text = "name: valid\nrules: [{corrupt: {probability: 100%, checksum: valid}}]";
    let (_, ebpf) = load(text, seed());
    let payloads: [&[u8]; 3] = [&[1, 2, 3, 4, 5, 6, 7], &[0; 40], &[0xff; 1001]];
    for payload in payloads {
        for frame in frames_with_checksums(payload) {
            for _ in 0..200 {
                let lifted = run(&ebpf, programs::DIVERT_EGRESS, &Carried::new(0, 0), &frame);
                let decided = run(&ebpf, programs::DECIDE, &lifted.carried, &frame);
                assert_ne!(decided.frame, frame, "one bit is flipped");
                assert!(checksum_is_valid(&decided.frame), "{:02x?}", decided.frame);
            }
        }
    }
}

fn frames_with_checksums(payload: &[u8]) -> Vec<Vec<u8>> {
    let v4 = || PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64);
    let v6 = || PacketBuilder::ethernet2([2; 6], [4; 6]).ipv6([1; 16], [2; 16], 64);
    let mut frames = vec![Vec::new(); 6];
    v4().udp(1000, 2000).write(&mut frames[0], payload).unwrap();
    v4().tcp(1000, 2000, 7, 1000)
        .write(&mut frames[1], payload)
        .unwrap();
    v4().icmpv4_echo_request(1, 2)
        .write(&mut frames[2], payload)
        .unwrap();
    v6().udp(1000, 2000).write(&mut frames[3], payload).unwrap();
    v6().tcp(1000, 2000, 7, 1000)
        .write(&mut frames[4], payload)
        .unwrap();
    v6().icmpv6_echo_request(1, 2)
        .write(&mut frames[5], payload)
        .unwrap();
    frames
}

/// Sums the transport layer as a receiver does (RFC 1071): with pseudo-header, to all ones.
fn checksum_is_valid(frame: &[u8]) -> bool {
    let mut key = PacketKey::default();
    let layout = wire::parse(frame, false, features::ALL, &mut key).unwrap();
    let mut bytes = frame[layout.transport..layout.end].to_vec();
    let length = bytes.len() as u16;
    let is_v4 = key.ethertype == wire::ethertype::IPV4;
    let addresses = if is_v4 {
        &frame[26..34]
    } else {
        &frame[22..54]
    };
    // ICMP over IPv4 alone has no pseudo-header.
    if layout.protocol != u16::from(wire::protocol::ICMP) {
        if bytes.len() % 2 == 1 {
            bytes.push(0);
        }
        bytes.extend(addresses);
        bytes.extend(length.to_be_bytes());
        bytes.extend(layout.protocol.to_be_bytes());
    }
    let word = |pair: &[u8]| u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
    let sum: u32 = bytes.chunks(2).map(word).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    (folded & 0xffff) + (folded >> 16) == 0xffff
}

/// Random frames: valid ones of many kinds, most of them then damaged.
struct Frames {
    stream: Stream,
    next: u64,
}

impl Frames {
    fn below(&mut self, bound: usize) -> usize {
        self.next += 1;
        self.stream.up_to(self.next, bound as u64 - 1) as usize
    }

    fn frame(&mut self) -> Vec<u8> {
        let payload: Vec<u8> = (0..self.below(200))
            .map(|_| self.below(256) as u8)
            .collect();
        let mut frame = match self.below(8) {
            0 => self.noise(),
            kind @ 1..=6 => frames_with_checksums(&payload).swap_remove(kind - 1),
            _ => self.chain(&payload),
        };
        for _ in 0..self.below(4) {
            self.insert_tag(&mut frame);
        }
        for _ in 0..self.below(6) {
            // Near the front, where the headers are.
            let place = self.below(frame.len().min(90));
            frame[place] = self.below(256) as u8;
        }
        if self.below(3) == 0 {
            // The kernel refuses test frames that are shorter than its own headers.
            let len = 54 + self.below(frame.len().max(55) - 54);
            frame.truncate(len);
        }
        frame
    }

    fn noise(&mut self) -> Vec<u8> {
        (0..60 + self.below(300))
            .map(|_| self.below(256) as u8)
            .collect()
    }

    /// IPv6 with extension headers of every kind, in any order and number.
    fn chain(&mut self, payload: &[u8]) -> Vec<u8> {
        let mut frame = frames_with_checksums(payload).swap_remove(3);
        let mut next = frame[20];
        let mut headers = Vec::new();
        for _ in 0..self.below(12) {
            let (kind, len) = [(0, 8), (43, 16), (44, 8), (51, 12), (60, 24)][self.below(5)];
            let mut header = vec![0; len];
            header[0] = next;
            header[1] = if kind == 51 { len / 4 - 2 } else { len / 8 - 1 } as u8;
            if kind == 44 && self.below(2) == 0 {
                header[2] = self.below(256) as u8;
            }
            headers.splice(0..0, header);
            next = kind;
        }
        frame[20] = next;
        frame.splice(54..54, headers);
        frame
    }

    fn insert_tag(&mut self, frame: &mut Vec<u8>) {
        let kind: u16 = if self.below(2) == 0 { 0x8100 } else { 0x88a8 };
        let [high, low] = kind.to_be_bytes();
        frame.splice(12..12, [high, low, 0, self.below(256) as u8]);
    }
}

#[test]
fn frames_that_no_rule_matches_pass_unchanged() {
    // Emulated guests take milliseconds a frame.
    let is_native = std::env::var("INJECTOR_TEST_KERNEL").is_ok_and(|kernel| kernel == "native");
    let count = if is_native { 100_000 } else { 10_000 };
    let text = "
        name: narrow
        rules:
          - {direction: both, match: {protocol: udp, dst: 192.0.2.77, dst_port: 9}, drop: 100%}
          - {direction: both, match: {src: '2001:db8:77::/64', src_port: [7, 100-200]}, drop: 50%}";
    let (plan, ebpf) = load(text, 1);
    let used = Needs::of([&plan]).features;
    let table = plan.table(Hook::Egress, 0);
    let xdp: &Xdp = ebpf.program(programs::XDP).unwrap().try_into().unwrap();
    let hooks: [&SchedClassifier; 2] = [programs::DIVERT_EGRESS, programs::DIVERT_INGRESS]
        .map(|name| ebpf.program(name).unwrap().try_into().unwrap());
    let mut frames = Frames {
        stream: Stream::new(seed()),
        next: 0,
    };
    let (mut passed, mut unparseable) = (0, 0);
    for _ in 0..count {
        let frame = frames.frame();
        let mut key = PacketKey::default();
        match wire::parse(&frame[..], false, used, &mut key) {
            Ok(_) if table.find(used, &key).is_some() => continue,
            Ok(_) => {}
            Err(_) => unparseable += 1,
        }
        let mut out = vec![0; frame.len() + 64];
        for hook in hooks {
            let (verdict, len) = test_run(hook, &frame, &mut out);
            assert_eq!((verdict, &out[..len]), (UNSPEC, &frame[..]), "{frame:02x?}");
        }
        let (verdict, len) = test_run(xdp, &frame, &mut out);
        assert_eq!(
            (verdict, &out[..len]),
            (XDP_PASS, &frame[..]),
            "{frame:02x?}"
        );
        passed += 1;
    }
    assert!(
        passed > count * 9 / 10,
        "{passed}: hardly a frame should match"
    );
    assert!(
        unparseable > count / 100,
        "{unparseable}: the frames must be bad enough"
    );
    assert!(plan.rules[0].spec.flags & flags::SPLIT != 0);
}

/// Rules in several shapes, each with one rule that matches `frame_of` the same number.
fn many_rules() -> String {
    let mut text = "name: many\nrules:\n".to_owned();
    for i in 0..RULES {
        let (high, low) = (i >> 8, i & 255);
        let conditions = match i % 4 {
            0 => format!("protocol: udp, dst: 10.{high}.{low}.0/24"),
            1 => format!("dst: \"2001:db8:{i:x}::/48\", src_port: {i}"),
            2 => format!(
                "protocol: udp, dst_port: {}-{}",
                20_000 + 4 * i,
                20_003 + 4 * i
            ),
            _ => format!("src: 10.{high}.{low}.7, dst: 11.{high}.{low}.7, dst_port: {i}"),
        };
        text += &format!("  - {{match: {{{conditions}}}}}\n");
    }
    text
}

const RULES: usize = 1024;

fn frame_of(i: usize) -> Vec<u8> {
    let (high, low) = ((i >> 8) as u8, i as u8);
    let (mut src, mut dst, mut ports) = ([172, 16, 0, 1], [172, 16, 0, 2], (3, 4));
    match i % 4 {
        0 => dst = [10, high, low, 99],
        1 => ports = (i as u16, 9),
        2 => ports = (1, (20_003 + 4 * i) as u16),
        _ => (src, dst, ports) = ([10, high, low, 7], [11, high, low, 7], (1, i as u16)),
    }
    let eth = PacketBuilder::ethernet2([2; 6], [4; 6]);
    let mut v6 = [0; 16];
    v6[..6].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8, high, low]);
    let ip = match i % 4 {
        1 => eth.ipv6([1; 16], v6, 64),
        _ => eth.ipv4(src, dst, 64),
    };
    let mut frame = Vec::new();
    let udp = ip.udp(ports.0, ports.1);
    udp.write(&mut frame, &[0; 50]).unwrap();
    frame
}

#[test]
fn each_of_1024_rules_is_found_in_the_kernel() {
    let (plan, ebpf) = load(&many_rules(), 1);
    let needs = Needs::of([&plan]);
    let table = plan.table(Hook::Egress, 0);
    let program = ebpf.program(programs::DIVERT_EGRESS).unwrap();
    let program: &SchedClassifier = program.try_into().unwrap();
    let counters = ebpf.map(maps::RULE_COUNTERS).unwrap();
    let counters: PerCpuArray<&MapData, RuleCounters> = counters.try_into().unwrap();
    for i in 0..RULES {
        let (frame, mut key) = (frame_of(i), PacketKey::default());
        wire::parse(&frame[..], false, needs.features, &mut key).unwrap();
        assert_eq!(table.find(needs.features, &key), Some(i as u32));
        test_run(program, &frame, &mut vec![0; frame.len() + 64]);
        let matched = counters.get(&(i as u32), 0).unwrap();
        let matched: u64 = matched.iter().map(|counters| counters.matched).sum();
        assert_eq!(matched, 1, "rule {i}");
    }
}

#[test]
fn parsing_only_as_far_as_rules_look_changes_no_match() {
    let profiles = [
        "{protocol: arp}",
        "{protocol: ip}",
        "{src: 10.0.0.0/8}",
        "{dst_port: 2000}",
        "{protocol: udp, dst_port: 1000-3000}",
        "{dst: '202::/16'}",
        "{protocol: 58}",
        "{}",
    ];
    let mut frames = Frames {
        stream: Stream::new(seed()),
        next: 0,
    };
    for conditions in profiles {
        let text = format!("name: test\nrules: [{{match: {conditions}}}]");
        let plan = Plan::new(&profile::parse("test", &text).unwrap(), 1).unwrap();
        let (used, table) = (Needs::of([&plan]).features, plan.table(Hook::Egress, 0));
        let mut parsed = 0;
        for _ in 0..5_000 {
            let (frame, mut whole, mut short) =
                (frames.frame(), Default::default(), Default::default());
            if wire::parse(&frame[..], false, features::ALL, &mut whole).is_err() {
                continue;
            }
            parsed += 1;
            let result = wire::parse(&frame[..], false, used, &mut short);
            assert!(result.is_ok(), "{conditions}: {frame:02x?}");
            assert_eq!(table.find(used, &short), table.find(features::ALL, &whole));
        }
        assert!(parsed > 1_000, "{parsed}: the frames must be good enough");
    }
}

fn test_run<'a, P>(program: &P, frame: &'a [u8], out: &'a mut [u8]) -> (u32, usize)
where
    P: aya::TestRun<Opts<'a> = TestRunOptions<'a>, Result = aya::TestRunResult>,
{
    let result = program
        .test_run(TestRunOptions {
            data_in: Some(frame),
            data_out: Some(out),
            ..TestRunOptions::new()
        })
        .unwrap();
    (result.return_value, result.data_size_out as usize)
}
