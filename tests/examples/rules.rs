//! What classifying costs: nanoseconds per packet of the egress program, by number and shape of
//! rules, for a packet that the last rule matches and for one that none does; and how many
//! instructions the verifier follows.
//!
//! ```sh
//! cargo build --release -p injector-tests --example rules && sudo target/release/examples/rules
//! ```

use std::fmt::Write as _;

use aya::{
    Ebpf, TestRun as _,
    programs::{SchedClassifier, TestRunOptions},
};
use etherparse::PacketBuilder;
use injector::{
    datapath::object::{self, Specialisation},
    plan::{Needs, Plan},
    profile,
};
use injector_common::abi::{XdpMode, programs};

/// No interface has it.
const NOWHERE: u32 = 0x7fff_0000;
/// Packets of one measurement.
const REPEAT: u32 = 200_000;
/// Measurements, of which the quickest counts: the others were disturbed.
const ROUNDS: usize = 7;

/// A kind of rule set: the conditions of rule `i`.
type Shape = (&'static str, fn(usize) -> String);

const SHAPES: [Shape; 5] = [
    ("address", |i| format!("dst: {}", v4(i))),
    ("address and port", |i| {
        format!("protocol: udp, dst: {}, dst_port: {}", v4(i), 1000 + i)
    }),
    ("port range", |i| {
        format!("protocol: udp, dst_port: {}-{}", 1000 + 8 * i, 1005 + 8 * i)
    }),
    ("networks of both families", |i| match i % 2 {
        0 => format!("dst: \"2001:db8:{i:x}::/48\""),
        _ => format!("dst: {}/{}", v4(i), 29 + i % 3),
    }),
    ("four dimensions", |i| {
        let (src, dst) = (v4(7 * i), v4(i));
        let (from, to) = (2000 + i, 1000 + i);
        format!("protocol: udp, src: {src}, dst: {dst}, src_port: {from}, dst_port: {to}")
    }),
];

fn v4(i: usize) -> String {
    format!("10.{}.{}.8", i >> 8, i & 255)
}

fn main() {
    println!("shape                        rules  last ns  none ns    insns");
    for (shape, conditions) in SHAPES {
        for count in [1, 4, 8, 9, 16, 64, 256, 1024] {
            let ebpf = load(count, conditions);
            let program = ebpf.program(programs::DIVERT_EGRESS).unwrap();
            let program: &SchedClassifier = program.try_into().unwrap();
            let insns = program.info().unwrap().verified_instruction_count();
            let last = cost_ns(program, &frame(shape, count - 1));
            let none = cost_ns(program, &frame(shape, 5000));
            let insns = insns.unwrap_or_default();
            println!("{shape:28} {count:>5} {last:>8} {none:>8} {insns:>8}");
        }
    }
}

fn load(count: usize, conditions: fn(usize) -> String) -> Ebpf {
    let mut text = "name: bench\nrules:\n".to_owned();
    for i in 0..count {
        writeln!(text, "  - {{match: {{{}}}}}", conditions(i)).unwrap();
    }
    let plan = Plan::new(&profile::parse("bench", &text).unwrap(), 1).unwrap();
    let special = Specialisation {
        device: NOWHERE,
        near: NOWHERE,
        far: NOWHERE,
        raw_ip: false,
        has_fq: true,
        xdp: XdpMode::Off,
        frame_len_max: 1522,
        needs: Needs::of([&plan]),
    };
    object::load(&plan, special).unwrap()
}

/// A packet that rule `i` matches, and no other rule.
fn frame(shape: &str, i: usize) -> Vec<u8> {
    let address = |i: usize| [10, (i >> 8) as u8, i as u8, 8];
    let mut frame = Vec::new();
    if shape == "networks of both families" && i.is_multiple_of(2) {
        let mut dst = [0; 16];
        dst[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
        dst[4..6].copy_from_slice(&(i as u16).to_be_bytes());
        PacketBuilder::ethernet2([2; 6], [4; 6])
            .ipv6([1; 16], dst, 64)
            .udp(1, 2)
            .write(&mut frame, &[0; 64])
            .unwrap();
        return frame;
    }
    let port = match shape {
        "port range" => 1000 + 8 * i,
        _ => 1000 + i,
    };
    PacketBuilder::ethernet2([2; 6], [4; 6])
        .ipv4(address(7 * i), address(i), 64)
        .udp(2000 + i as u16, port as u16)
        .write(&mut frame, &[0; 64])
        .unwrap();
    frame
}

fn cost_ns(program: &SchedClassifier, frame: &[u8]) -> u128 {
    let run = || {
        let result = program.test_run(TestRunOptions {
            data_in: Some(frame),
            repeat: REPEAT,
            ..TestRunOptions::new()
        });
        result.unwrap().duration.as_nanos()
    };
    (0..ROUNDS).map(|_| run()).min().unwrap()
}
