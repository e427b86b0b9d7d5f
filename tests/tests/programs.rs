//! The programs themselves, run by `BPF_PROG_TEST_RUN`: fates against userspace's, packet by
//! packet, and what they make of damaged frames.

use aya::{
    Ebpf, TestRun as _,
    maps::{MapData, PerCpuArray},
    programs::{SchedClassifier, TestRunOptions},
};
use etherparse::PacketBuilder;
use injector::{
    plan::{Hook, Models, Needs, Plan},
    profile,
};
use injector_common::{
    abi::{FaultSpec, RuleCounters, XdpMode, features, maps, programs},
    corrupt::Target,
    fate::{self, Fate, Fates},
    random::{LANES, Stream},
    wire::{self, PacketKey},
};
use injector_tests::{kernel, loaded, mutants::Mutants, seed::seed};

/// Offsets in `struct __sk_buff` (linux/bpf.h).
const CB: usize = 48;
const TSTAMP: usize = 152;
const GSO_SEGS: usize = 164;
const CONTEXT_LEN: usize = 192;
/// `TC_ACT_UNSPEC`, `TC_ACT_SHOT` and `TC_ACT_REDIRECT`.
const UNSPEC: u32 = u32::MAX;
const SHOT: u32 = 2;
const REDIRECT: u32 = 7;
fn load(text: &str, seed: u64) -> (Plan, Ebpf) {
    loaded::load(text, seed, XdpMode::Generic).unwrap()
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

/// Rules with every model, each of which matches packets to its own port.
const MODELS: [&str; 9] = [
    "drop: 2%, corrupt: 1%, duplicate: 1%, delay: {time: 10ms, jitter: 10ms}",
    "drop: {probability: 3%, correlation: 60%}, delay: {time: 30ms, jitter: 9ms, correlation: 90%}",
    "drop: {model: gemodel, p: 1%, r: 20%, one_minus_h: 70%, one_minus_k: 0.1%}, delay: 1ms",
    "drop: {model: state, p13: 1%, p31: 25%, p32: 10%, p23: 40%, p14: 0.5%}, delay: 1ms",
    "drop: {every: 50}, corrupt: {first: 100}, duplicate: {packets: [3, 70-90, 5000]}, delay: 1ms",
    "delay: {time: 20ms, jitter: 4ms, distribution: normal}, reorder: {probability: 20%, gap: 3}",
    "delay: {time: 20ms, jitter: 4ms, distribution: pareto, correlation: 25%}, drop: 1%",
    "delay: {time: 20ms, jitter: 4ms, distribution: paretonormal}, duplicate: {probability: 2%, copies: 3}",
    "corrupt: {probability: 5%, correlation: 30%, bits: 4, where: any}, delay: 1ms",
];

#[test]
fn the_kernel_decides_packets_as_userspace_does() {
    // Emulated guests take milliseconds a packet.
    let is_native = std::env::var("INJECTOR_TEST_KERNEL").is_ok_and(|kernel| kernel == "native");
    let packets = if is_native { 120_000 } else { 2_000 };
    let seed = seed();
    for (i, faults) in MODELS.iter().enumerate() {
        // One alone, so that the programs hold no more than its features.
        let text = format!("name: model\nrules: [{{{faults}}}]");
        let (plan, ebpf) = load(&text, seed + i as u64);
        let touched = Compared {
            plan: &plan,
            ebpf: &ebpf,
        }
        .touched(packets, Stream::new(seed));
        eprintln!("{faults}: {touched:?}");
        assert!(touched.iter().all(|count| *count > 0), "{touched:?}");
    }
}

/// The first rule of a plan, here and in the kernel.
struct Compared<'a> {
    plan: &'a Plan,
    ebpf: &'a Ebpf,
}

impl Compared<'_> {
    /// Compares the fates of `packets`, in super-packets of random sizes. Returns how many of these
    /// stayed whole, and how many were split.
    fn touched(&self, packets: u64, sizes: Stream) -> [u64; 2] {
        let spec = &self.plan.rules[0].spec;
        let frame = udp_frame(&[0x5a; 100]);
        let mut fates = Fates::new(spec, &self.plan.models);
        let (mut first, mut touched) = (0, [0; 2]);
        while first < packets {
            // Single packets as often as super-packets of every size; 45 segments are the usual most.
            let count = 1 + sizes.up_to(first, 88).saturating_sub(44);
            // Ahead, so that the departure does not depend on when the program runs.
            let planned_ns = monotonic_ns() + 10_000_000_000;
            let packet = Carried::new(planned_ns, count as u32);
            // There is no pair to lift it onto, and so it passes, with all that it would have carried.
            let lifted = run(self.ebpf, programs::DIVERT_EGRESS, &packet, &frame);
            let all: Vec<_> = (first..first + count).map(|n| fates.fate(n)).collect();
            let departure_ns = planned_ns + delay_of_first(&mut fates, spec, first, self.plan);
            if all.iter().all(|fate| *fate == Fate::Drop) {
                assert_eq!(lifted.verdict, REDIRECT, "packet {first}");
                touched[1] += 1;
            } else if all.iter().all(is_untouched) {
                assert_eq!(lifted.verdict, UNSPEC, "packet {first}");
                let carried_ns = lifted.carried.departure_ns();
                assert_eq!(carried_ns, departure_ns, "packet {first}");
                touched[0] += 1;
            } else {
                assert_eq!(lifted.verdict, UNSPEC, "packet {first}");
                let carried = lifted.carried.of_segment();
                for (n, fate) in (first..).zip(&all) {
                    let decided = run(self.ebpf, programs::DECIDE, &carried, &frame);
                    let expected_ns = match fate {
                        Fate::Deliver { reorder: true, .. } => planned_ns,
                        _ => departure_ns,
                    };
                    assert_decided(&decided, fate, spec, n, expected_ns, &frame);
                }
                touched[1] += 1;
            }
            first += count;
        }
        touched
    }
}

fn is_untouched(fate: &Fate) -> bool {
    matches!(
        fate,
        Fate::Deliver {
            corrupt: false,
            copies: 0,
            reorder: false,
            ..
        }
    )
}

/// The delay of a super-packet's first packet, also where that one is dropped or overtakes others.
fn delay_of_first(fates: &mut Fates<'_, Models>, spec: &FaultSpec, first: u64, plan: &Plan) -> u64 {
    let drawn = fates.block(first).draw(first % LANES);
    fate::delay_ns(spec, &spec.levels(), spec.delay.key, drawn, &plan.models)
}

/// Asserts that a segment was decided as packet `n`.
fn assert_decided(
    decided: &Ran,
    fate: &Fate,
    spec: &FaultSpec,
    n: u64,
    departure_ns: u64,
    frame: &[u8],
) {
    let Fate::Deliver { corrupt, .. } = *fate else {
        assert_eq!(decided.verdict, SHOT, "packet {n}");
        return;
    };
    assert_eq!(decided.verdict, REDIRECT, "packet {n}");
    assert_eq!(decided.carried.departure_ns(), departure_ns, "packet {n}");
    let expected = if corrupt {
        self::corrupt(frame, spec, n)
    } else {
        frame.to_vec()
    };
    assert_eq!(decided.frame, expected, "packet {n}");
}

/// Packet `n` with its bits flipped; unchanged where it has no place for that.
fn corrupt(frame: &[u8], spec: &FaultSpec, n: u64) -> Vec<u8> {
    let mut corrupted = frame.to_vec();
    let layout = wire::parse(frame, false, features::LAYOUT, &mut PacketKey::default());
    let target = layout
        .ok()
        .and_then(|layout| Target::of(frame, layout, frame.len(), spec));
    for flip in (0..spec.corrupt_bits).filter_map(|bit| target?.flip(spec, n, bit)) {
        corrupted[flip.offset] ^= flip.mask;
    }
    corrupted
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

#[test]
fn any_frame_is_corrupted_as_userspace_does_it() {
    let frames = if kernel::is_guest() { 500 } else { 30_000 };
    let faults = [
        "bits: 8, where: any",
        "bits: 3, where: header",
        "bits: 1, where: payload",
    ];
    for how in faults {
        let text = format!("name: test\nrules: [{{corrupt: {{probability: 100%, {how}}}}}]");
        let (plan, ebpf) = load(&text, 1);
        let spec = &plan.rules[0].spec;
        let mut mutants = Mutants::of_today();
        let (mut n, mut corrupted) = (0, 0);
        while n < frames {
            let frame = mutants.frame();
            // The kernel makes no socket buffers of shorter ones.
            if frame.len() < 54 {
                continue;
            }
            let lifted = run(&ebpf, programs::DIVERT_EGRESS, &Carried::new(0, 0), &frame);
            let decided = run(&ebpf, programs::DECIDE, &lifted.carried, &frame);
            assert_eq!(decided.verdict, REDIRECT, "{frame:02x?}");
            let expected = corrupt(&frame, spec, n);
            assert_eq!(decided.frame, expected, "packet {n}: {frame:02x?}");
            corrupted += u64::from(expected != frame);
            n += 1;
        }
        assert!(
            corrupted > frames / 2 && corrupted < frames,
            "{how}: {corrupted}"
        );
    }
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
    let mut mutants = Mutants::of_today();
    for conditions in profiles {
        let text = format!("name: test\nrules: [{{match: {conditions}}}]");
        let plan = Plan::new(&profile::parse("test", &text).unwrap(), 1).unwrap();
        let (used, table) = (Needs::of([&plan]).features, plan.table(Hook::Egress, 0));
        let mut parsed = 0;
        for _ in 0..5_000 {
            let (frame, mut whole, mut short) =
                (mutants.frame(), Default::default(), Default::default());
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

/// How many of each of two things 64 predicates can ask.
const EACH: usize = 32;

#[test]
fn as_many_predicates_as_there_can_be_tell_1024_rules_apart() {
    let rule = |i: usize| {
        let (ttl, dscp) = (i / EACH, i % EACH);
        format!("  - {{match: {{protocol: udp, ttl: {ttl}, dscp: {dscp}}}}}\n")
    };
    let rules: String = (0..EACH * EACH).map(rule).collect();
    let (_, ebpf) = load(&format!("name: predicates\nrules:\n{rules}"), 1);
    let program = ebpf.program(programs::DIVERT_EGRESS).unwrap();
    let program: &SchedClassifier = program.try_into().unwrap();
    let counters = ebpf.map(maps::RULE_COUNTERS).unwrap();
    let counters: PerCpuArray<&MapData, RuleCounters> = counters.try_into().unwrap();
    for i in (0..EACH * EACH).step_by(7) {
        let mut frame = udp_frame(&[0; 50]);
        (frame[15], frame[22]) = (((i % EACH) << 2) as u8, (i / EACH) as u8);
        test_run(program, &frame, &mut vec![0; frame.len() + 64]);
        let matched = counters.get(&(i as u32), 0).unwrap();
        let matched: u64 = matched.iter().map(|counters| counters.matched).sum();
        assert_eq!(matched, 1, "rule {i}");
    }
}

#[test]
fn one_predicate_more_than_there_can_be_is_refused_by_name() {
    let rules: String = (0..65)
        .map(|ttl| format!("  - {{match: {{ttl: {ttl}}}, drop: 1%}}\n"))
        .collect();
    let refusal = loaded::load(&format!("name: test\nrules:\n{rules}"), 1, XdpMode::Off);
    let refusal = refusal.err().unwrap();
    assert!(refusal.contains("ask 65 different things"), "{refusal}");
    assert!(refusal.contains("rule `rule-65`"), "{refusal}");
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
