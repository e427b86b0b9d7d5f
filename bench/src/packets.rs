//! Table: rates of small packets.
//!
//! The packets are made in the kernel, by `BPF_F_TEST_XDP_LIVE_FRAMES` (Linux 5.18): host A gets
//! them as if they came in on `lo`, and routes them to host B, for an address behind it, so that B
//! counts them and throws them away. They pass A's egress and B's ingress on the way. All of it
//! happens on one processor.

use std::{
    fs,
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use injector_tests::{
    Host, Lab,
    bpf::{self, Instruction, Kind, instruction},
    snmp, socket, tool,
};

use crate::{
    condition::{
        self,
        Condition::{Bare, Injector, InjectorWithMetrics, Netem},
        Rows,
    },
    contest::{Contest, Contestant, Measured},
    frame,
    record::Unit,
};

const SOURCE: [u8; 4] = [10, 78, 0, 9];
const DESTINATION: [u8; 4] = [10, 99, 0, 1];
/// Packets that tell how many more there is time for.
const TRIAL: u32 = 1 << 12;

const EGRESS: &Rows = &[
    (
        "egress, unmatched",
        &[Bare, Injector("--drop 1% --to 192.0.2.1:9/udp")],
    ),
    (
        "egress, exact, but no packet is hit",
        &[
            Bare,
            Netem("loss 0.0000001%"),
            Injector("--drop 0.0000001%"),
        ],
    ),
    (
        "egress, exact, with metrics",
        &[
            Injector("--drop 0.0000001%"),
            InjectorWithMetrics("--drop 0.0000001%"),
        ],
    ),
    (
        "egress, delay 10 µs",
        &[Bare, Netem("delay 10us"), Injector("--delay 10us")],
    ),
];

const INGRESS: &Rows = &[
    (
        "ingress, unmatched",
        &[
            Bare,
            Injector("--direction ingress --drop 1% --to 192.0.2.1:9/udp"),
        ],
    ),
    (
        "ingress, exact, but no packet is hit",
        &[
            Bare,
            Injector("--direction ingress --xdp off --drop 0.0000001%"),
        ],
    ),
];

const XDP_DROP: &str = "ingress, XDP drops all";

/// Measures them.
pub fn measure(contest: &Contest) {
    let lab = Lab::new();
    make_router(&lab);
    socket::stay_on_one_cpu();
    let (receive, _) = bpf::load(Kind::Xdp, &receive());
    for (rows, host) in [(EGRESS, &lab.a), (INGRESS, &lab.b)] {
        condition::compare(contest, Unit::MpacketsPerSecond, host, rows, || {
            rate(&lab, &receive, contest.effort.length, routed)
        });
    }
    xdp_drop(contest, &lab);
}

/// Frames that A sends right to B's driver, where they are dropped.
fn xdp_drop(contest: &Contest, lab: &Lab) {
    let (send, _) = bpf::load(Kind::Xdp, &redirect(lab.a.ifindex()));
    let (empty, _) = bpf::load(Kind::Xdp, &bpf::ret(bpf::XDP_DROP));
    let length = contest.effort.length;
    let contestants = vec![
        Contestant::new("empty program", || {
            let _link = bpf::link(&lab.b, &empty, bpf::XDP, bpf::XDP_FLAGS_DRV_MODE);
            rate(lab, &send, length, at_the_driver)
        }),
        Contestant::new("injector", || {
            let condition = Injector("--direction ingress --xdp native --drop 100%");
            condition.during(&lab.b, || rate(lab, &send, length, at_the_driver))
        }),
    ];
    contest.row(XDP_DROP, Unit::MpacketsPerSecond, contestants);
}

/// A, and not B, whatever the machine is, of which namespaces inherit it.
fn make_router(lab: &Lab) {
    let set_forwarding = |on| fs::write("/proc/sys/net/ipv4/ip_forward", on).expect("set it");
    lab.b.run(|| set_forwarding("0"));
    lab.a.run(|| {
        set_forwarding("1");
        tool::ip(&format!("route add 10.99.0.0/24 via {}", lab.b.v4));
    });
}

/// Million packets per second that `count` sees at B, of those that A is given.
fn rate(lab: &Lab, program: &OwnedFd, length: Duration, count: fn(&Host) -> u64) -> Measured {
    let frame = frame::udp(SOURCE, DESTINATION);
    let run = |packets| {
        let run = || bpf::run_live(program, &frame, packets);
        lab.a
            .run(run)
            .map_err(|error| format!("live XDP frames: {error}"))
    };
    // One system call for all of them, because each has its set-up of milliseconds.
    let packets = length.as_nanos() / run(TRIAL)?.as_nanos().max(1);
    let before = count(&lab.b);
    let start = Instant::now();
    run(packets as u32)?;
    let elapsed = start.elapsed();
    match count(&lab.b) - before {
        0 => Err("no packet arrived".into()),
        arrived => Ok(arrived as f64 / elapsed.as_secs_f64() / 1e6),
    }
}

/// Packets that came to a host that is not a router, and were not its own.
fn routed(host: &Host) -> u64 {
    host.run(|| snmp::counters()["Ip.InAddrErrors"])
}

/// Packets that the host's driver saw.
fn at_the_driver(host: &Host) -> u64 {
    let devices = host.run(|| fs::read_to_string("/proc/thread-self/net/dev"));
    let devices = devices.expect("read the device's counters");
    let mut lines = devices.lines().map(str::trim);
    let counters = lines.find_map(|line| line.strip_prefix(&host.device)?.strip_prefix(':'));
    let packets = counters.and_then(|counters| counters.split_whitespace().nth(1)?.parse().ok());
    packets.expect("the device's counter of received packets")
}

/// Hands every frame to the network stack, as new: the kernel uses the same pages again, in which
/// the router has replaced the hardware addresses and lowered the TTL.
fn receive() -> Vec<Instruction> {
    let fresh = frame::udp(SOURCE, DESTINATION);
    let byte = |offset: usize| i32::from(fresh[offset]);
    let word = |offset: usize| i32::from(u16::from_ne_bytes([fresh[offset], fresh[offset + 1]]));
    let (ttl, checksum) = (frame::TTL, frame::HEADER_CHECKSUM);
    let store_word = |offset: usize| instruction(0x6a, 2, 0, offset as i16, word(offset));
    let start = vec![
        // r2 = data; r3 = data_end; r4 = r2 + length
        instruction(0x61, 2, 1, 0, 0),
        instruction(0x61, 3, 1, 4, 0),
        instruction(0xbf, 4, 2, 0, 0),
        instruction(0x07, 4, 0, 0, fresh.len() as i32),
        // if r4 > r3 skip the five stores
        instruction(0x2d, 4, 3, 5, 0),
        store_word(frame::DESTINATION),
        store_word(frame::DESTINATION + 2),
        store_word(frame::DESTINATION + 4),
        instruction(0x72, 2, 0, ttl as i16, byte(ttl)),
        store_word(checksum),
    ];
    [start, bpf::ret(bpf::XDP_PASS)].concat()
}

/// Sends every frame out of a device, without its egress hook.
fn redirect(ifindex: u32) -> Vec<Instruction> {
    vec![
        // r1 = ifindex; r2 = 0; r0 = bpf_redirect(r1, r2); exit
        instruction(0xb4, 1, 0, 0, ifindex as i32),
        instruction(0xb4, 2, 0, 0, 0),
        instruction(0x85, 0, 0, 0, 23),
        instruction(0x95, 0, 0, 0, 0),
    ]
}
