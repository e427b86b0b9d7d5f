//! Whose packets later fragments are.

use std::{collections::BTreeSet, time::Duration};

use etherparse::PacketBuilder;
use injector_tests::{
    Family, Injector, Lab,
    frames::Tap,
    injector::{Achieved, Background},
    snmp::ChecksumErrors,
    udp::{Flow, Report},
};

/// Longer than any packet takes.
const QUIET: Duration = Duration::from_millis(100);
/// Datagrams that are sent at a time.
const COUNT: u64 = 10;
/// Packets of each: the device's are of 1500 bytes.
const PARTS: u64 = 3;

/// What later fragments do where the profile does not say.
const SEPARATE: &str = "";
const FOLLOW: &str = "fragments: follow\n";

fn profile(fragments: &str, rules: &str) -> String {
    format!("name: fragments\nseed: 1\n{fragments}rules:\n{rules}")
}

/// Sends datagrams in fragments from host A to host B.
fn send(lab: &Lab, family: Family, port: u16) -> Report {
    let flow = Flow::new(COUNT).family(family).len(4000).port(port);
    flow.linger(QUIET).send(&lab.a, &lab.b)
}

fn matched(achieved: &Achieved) -> Vec<u64> {
    achieved.rules.iter().map(|rule| rule.matched).collect()
}

/// Asserts that a rule for a port matches `each` fragments of each datagram to it, and that no other datagram suffers.
#[track_caller]
fn port_is_matched(direction: &str, fragments: &str, each: u64, xdp: &str) {
    let lab = Lab::new();
    let host = if direction == "egress" {
        &lab.a
    } else {
        &lab.b
    };
    let rules = format!(
        "  - {{direction: {direction}, match: {{protocol: udp, dst_port: 5000}}, drop: 100%}}
  - {{direction: {direction}, match: {{protocol: udp, dst_port: 5001}}}}
  - {{direction: {direction}, match: {{protocol: udp}}}}"
    );
    let injector = Injector::start_with(host, &profile(fragments, &rules), &["--xdp", xdp]);
    for family in Family::ALL {
        assert_eq!(send(&lab, family, 5000).arrivals.len(), 0, "{family:?}");
        send(&lab, family, 5001).assert_untouched();
    }
    let end = injector.stop();
    let (known, others) = (2 * COUNT * each, 2 * COUNT * (PARTS - each));
    assert_eq!(matched(end.achieved()), [known, known, 2 * others]);
    assert_eq!(end.achieved().rules[0].dropped, known);
    end.achieved().assert_clean();
}

#[test]
fn all_that_leaves_of_a_datagram_has_the_ports_of_the_first_fragment() {
    port_is_matched("egress", FOLLOW, PARTS, "off");
}

#[test]
fn all_that_arrives_of_a_datagram_has_the_ports_of_the_first_fragment() {
    for xdp in ["off", "native", "generic"] {
        port_is_matched("ingress", FOLLOW, PARTS, xdp);
    }
}

#[test]
fn later_fragments_have_no_ports_unless_they_are_to_follow() {
    port_is_matched("egress", SEPARATE, 1, "off");
    port_is_matched("ingress", "fragments: separate\n", 1, "native");
}

#[test]
fn each_fragment_counts_as_a_packet_of_the_rule_and_of_the_flow() {
    for (family, host) in [(Family::V4, "10.77.0.2"), (Family::V6, "\"fd77::2\"")] {
        let lab = Lab::new();
        let rules = format!(
            "  - {{match: {{dst_port: 5000}}, drop: {{packets: [2, 9]}}}}
  - {{match: {{dst: {host}, connection: {{first: 4}}}}, drop: 100%}}"
        );
        let injector = Injector::start(&lab.a, &profile(FOLLOW, &rules));
        // The second fragment of the first datagram, and the last one of the third.
        assert_eq!(send(&lab, family, 5000).lost(), BTreeSet::from([0, 2]));
        assert_eq!(send(&lab, family, 5001).lost(), BTreeSet::from([0, 1]));
        let end = injector.stop();
        assert_eq!(matched(end.achieved()), [COUNT * PARTS, 4], "{family:?}");
    }
}

/// Programs whose rules can be replaced can follow: whether they do, the profile says.
#[test]
fn whether_fragments_follow_changes_with_the_profile() {
    let lab = Lab::new();
    let rules = "  - {match: {dst_port: 5000}, drop: {packets: [2]}}";
    let mut runs = Vec::new();
    for (fragments, lost) in [(SEPARATE, 1), (FOLLOW, 0), (SEPARATE, 1)] {
        runs.push(Background::apply(&lab.a, &profile(fragments, rules), &[]));
        assert_eq!(
            send(&lab, Family::V4, 5000).lost(),
            BTreeSet::from([lost]),
            "{fragments}"
        );
    }
}

#[test]
fn what_is_made_of_duplicated_fragments_is_intact() {
    let lab = Lab::new();
    let rules = "  - {match: {dst_port: 5000}, duplicate: 100%}";
    let injector = Injector::start(&lab.a, &profile(FOLLOW, rules));
    for family in Family::ALL {
        let report = send(&lab, family, 5000);
        assert_eq!((report.lost(), report.damaged()), (BTreeSet::new(), 0));
    }
    let end = injector.stop();
    assert_eq!(end.achieved().only().duplicated, 2 * COUNT * PARTS);
    end.achieved().assert_clean();
}

/// The checksum of the whole stands in the first fragment, and can be corrected there alone.
#[test]
fn a_datagram_with_a_corrupted_fragment_is_found_damaged() {
    for (checksum, arrives) in [("stale", 0), ("valid", 1)] {
        let lab = Lab::new();
        let rules = format!(
            "  - {{match: {{dst_port: 5000}}, corrupt: {{packets: [1, 5, 9], checksum: {checksum}}}}}"
        );
        let injector = Injector::start(&lab.a, &profile(FOLLOW, &rules));
        let errors = ChecksumErrors::of(&lab.b).udp;
        let report = send(&lab, Family::V4, 5000);
        // The first fragment of the first, the second of the second, the last of the third.
        assert_eq!(report.lost(), BTreeSet::from([0, 1, 2]), "{checksum}");
        assert_eq!(report.damaged(), arrives, "{checksum}");
        assert_eq!(ChecksumErrors::of(&lab.b).udp - errors, 3 - arrives);
        assert_eq!(injector.stop().achieved().only().corrupted, 3);
    }
}

/// A fragment of a datagram from host A to host B.
#[derive(Clone, Copy)]
struct Piece {
    /// Of which datagram.
    id: u16,
    /// Where it begins, in units of 8 bytes.
    offset: u16,
    /// Whether it is not the last.
    more: bool,
    /// What it begins with, which are ports in a first one.
    ports: [u16; 2],
    /// Bytes of it.
    len: usize,
}

impl Piece {
    const fn first(id: u16, port: u16) -> Self {
        Self {
            id,
            offset: 0,
            more: true,
            ports: [1000, port],
            len: 64,
        }
    }

    /// Ports of another datagram where this one has data.
    const fn later(id: u16) -> Self {
        Self {
            offset: 8,
            more: false,
            ..Self::first(id, 5000)
        }
    }

    /// As a frame, in which a number is, so that no two are alike.
    fn frame(self, lab: &Lab, family: Family, number: usize) -> Vec<u8> {
        const UDP: u8 = 17;
        let (from, to) = (&lab.a, &lab.b);
        let (mut frame, eth) = (Vec::new(), PacketBuilder::ethernet2(from.mac, to.mac));
        let mut data = self.ports.map(u16::to_be_bytes).concat();
        data.resize(self.len, number as u8);
        let (offset, more) = (self.offset, u16::from(self.more));
        match family {
            Family::V4 => {
                let ip = eth.ipv4(from.v4.octets(), to.v4.octets(), 64);
                ip.write(&mut frame, UDP.into(), &data).expect("a frame");
                frame[18..20].copy_from_slice(&self.id.to_be_bytes());
                frame[20..22].copy_from_slice(&(offset | more << 13).to_be_bytes());
            }
            Family::V6 => {
                const FRAGMENT: u8 = 44;
                let bits = (offset << 3 | more).to_be_bytes();
                let id = u32::from(self.id).to_be_bytes();
                let header = [&[UDP, 0][..], &bits, &id].concat();
                let ip = eth.ipv6(from.v6.octets(), to.v6.octets(), 64);
                let payload = [header, data].concat();
                ip.write(&mut frame, FRAGMENT.into(), &payload)
                    .expect("a frame");
            }
        }
        frame
    }
}

#[test]
fn fragments_as_nobody_should_send_them_are_of_the_datagram_that_is_known() {
    let (first, later) = (Piece::first, Piece::later);
    // What of these is dropped.
    let pieces = [
        // Before its first one, and behind it.
        (later(1), false),
        (first(1, 5000), true),
        (later(1), true),
        // Into what the first one has told.
        (
            Piece {
                offset: 1,
                more: true,
                ports: [1, 1],
                ..later(1)
            },
            true,
        ),
        // Of a datagram of which there is none, and of another.
        (later(2), false),
        (first(3, 5001), false),
        (later(3), false),
        // No more than the header of UDP, and 8 bytes.
        (
            Piece {
                len: 8,
                ..first(4, 5000)
            },
            true,
        ),
        (
            Piece {
                offset: 1,
                len: 8,
                ..later(4)
            },
            true,
        ),
        // Another first one in its place.
        (first(4, 5001), false),
        (
            Piece {
                len: 16,
                ..later(4)
            },
            false,
        ),
        // Not even ports: nobody can read it.
        (
            Piece {
                len: 4,
                ..first(5, 5000)
            },
            false,
        ),
        (later(5), false),
        // A whole one tells nothing.
        (
            Piece {
                more: false,
                ..first(6, 5000)
            },
            true,
        ),
        (later(6), false),
    ];
    for family in Family::ALL {
        let lab = Lab::new();
        let rules = "  - {match: {protocol: udp, dst_port: 5000}, drop: 100%}";
        let injector = Injector::start(&lab.a, &profile(FOLLOW, rules));
        let (from, to) = (
            Tap::new(&lab.a.netns, &lab.a.device),
            Tap::new(&lab.b.netns, &lab.b.device),
        );
        let numbered = pieces.iter().enumerate();
        let frames = numbered.map(|(n, (piece, _))| piece.frame(&lab, family, n));
        let frames: Vec<_> = frames.collect();
        for frame in &frames {
            from.send(frame).expect("send a frame");
        }
        let arrived = to.drain(QUIET);
        for (n, (frame, (_, is_dropped))) in frames.iter().zip(pieces).enumerate() {
            let has_arrived = arrived.contains(frame);
            assert_eq!(has_arrived, !is_dropped, "{family:?}, frame {n}");
        }
        let end = injector.stop();
        let dropped = pieces.iter().filter(|(_, is_dropped)| *is_dropped).count();
        assert_eq!(matched(end.achieved()), [dropped as u64], "{family:?}");
        assert_eq!(end.achieved().path.unparseable, 1, "{family:?}");
        end.achieved().assert_clean();
    }
}
