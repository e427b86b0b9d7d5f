//! What rules ask of a packet beside addresses, ports and protocol.

use std::{collections::BTreeSet, time::Duration};

use etherparse::{IpHeaders, PacketBuilder, PacketBuilderStep};
use injector_tests::{
    Family, Host, Injector, Lab, frames::Tap, injector::End, seed::seed, stats, udp::Flow,
};

/// Longer than any packet takes, short enough to wait for often.
const QUIET: Duration = Duration::from_millis(60);

/// Flags of TCP.
const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;
/// Where they lie in frames: the time to live, the traffic class and the fragment of IPv4, the hop limit of IPv6.
const TTL: usize = 22;
const CLASS: usize = 15;
const FRAGMENT: usize = 20;
const HOP_LIMIT: usize = 21;

/// Rules that drop what they match, which is each of these conditions.
fn dropping(direction: &str, conditions: &[&str]) -> String {
    let rules = conditions.iter().enumerate().map(|(i, conditions)| {
        format!("  - {{name: r{i}, direction: {direction}, match: {{{conditions}}}, drop: 100%}}\n")
    });
    format!(
        "name: predicates\nseed: 1\nrules:\n{}",
        rules.collect::<String>()
    )
}

/// Frames, and the rule that is to drop each; `None` for those that are to arrive.
struct Cases(Vec<(Vec<u8>, Option<usize>)>);

impl Cases {
    /// Sends them from one host to the other, where rules of host A drop what meets `conditions`.
    #[track_caller]
    fn assert_matched(&self, lab: &Lab, direction: &str, conditions: &[&str]) {
        let injector = Injector::start(&lab.a, &dropping(direction, conditions));
        let (from, to) = match direction {
            "egress" => (&lab.a, &lab.b),
            _ => (&lab.b, &lab.a),
        };
        let arrived = {
            let sender = Tap::new(&from.netns, &from.device);
            let receiver = Tap::new(&to.netns, &to.device);
            for (frame, _) in &self.0 {
                sender.send(frame).expect("send a frame");
            }
            receiver.drain(QUIET)
        };
        let mut expected = vec![0; conditions.len()];
        for (n, (frame, rule)) in self.0.iter().enumerate() {
            // A tap sees what arrives before rules of ingress do.
            let has_arrived = arrived.contains(&untagged(frame));
            let is_to_arrive = rule.is_none() || direction == "ingress";
            assert_eq!(has_arrived, is_to_arrive, "frame {n}: {frame:02x?}");
            if let Some(rule) = rule {
                expected[*rule] += 1;
            }
        }
        let end = injector.stop();
        assert_eq!(matched(&end), expected);
        end.achieved().assert_clean();
    }
}

fn matched(end: &End) -> Vec<u64> {
    let rules = end.achieved().rules.iter();
    rules.map(|rule| rule.matched).collect()
}

/// As a receiver sees it: without the outermost tag.
fn untagged(frame: &[u8]) -> Vec<u8> {
    match frame[12..14] {
        [0x81, 0] => [&frame[..12], &frame[16..]].concat(),
        _ => frame.to_vec(),
    }
}

/// A packet of one host for the other, over either version of IP.
fn ip(from: &Host, to: &Host, family: Family) -> PacketBuilderStep<IpHeaders> {
    let eth = PacketBuilder::ethernet2(from.mac, to.mac);
    match family {
        Family::V4 => eth.ipv4(from.v4.octets(), to.v4.octets(), 64),
        Family::V6 => eth.ipv6(from.v6.octets(), to.v6.octets(), 64),
    }
}

/// A datagram from host A to host B, with a number so that no two are alike.
fn datagram(lab: &Lab, family: Family, number: u16, change: impl Fn(&mut [u8])) -> Vec<u8> {
    let mut frame = Vec::new();
    let udp = ip(&lab.a, &lab.b, family).udp(1000, 9);
    udp.write(&mut frame, &number.to_be_bytes())
        .expect("a frame");
    change(&mut frame);
    frame
}

#[test]
fn the_fields_of_both_versions_of_ip_are_matched() {
    let lab = Lab::new();
    let v4 = |number, place: usize, value| {
        datagram(&lab, Family::V4, number, |frame| frame[place] = value)
    };
    let v6 = |number, place: usize, value| {
        datagram(&lab, Family::V6, number, |frame| frame[place] = value)
    };
    let class_v6 = |number, class: u8| {
        datagram(&lab, Family::V6, number, |frame| {
            frame[14] = 0x60 | class >> 4;
            frame[15] = class << 4;
        })
    };
    let cases = Cases(vec![
        (v4(1, TTL, 1), Some(0)),
        (v4(2, TTL, 9), None),
        (v4(3, TTL, 10), Some(0)),
        (v4(4, TTL, 12), Some(0)),
        (v4(5, TTL, 13), None),
        (v6(6, HOP_LIMIT, 1), Some(0)),
        (v6(7, HOP_LIMIT, 13), None),
        // Expedited forwarding, beside which ECN does not count.
        (v4(8, CLASS, 46 << 2), Some(1)),
        (v4(9, CLASS, 46 << 2 | 3), Some(1)),
        (v4(10, CLASS, 45 << 2), None),
        (v4(11, CLASS, 8 << 2), Some(1)),
        (v4(12, CLASS, 15 << 2 | 1), Some(1)),
        (v4(13, CLASS, 16 << 2), None),
        (class_v6(14, 46 << 2), Some(1)),
        (class_v6(15, 47 << 2), None),
        (v4(16, CLASS, 3), Some(2)),
        (v4(17, CLASS, 2), None),
        (v4(18, CLASS, 1), Some(2)),
        (class_v6(19, 3), Some(2)),
        (class_v6(20, 2), None),
        // More fragments; part of one; do not fragment.
        (v4(21, FRAGMENT, 0x20), Some(3)),
        (v4(22, FRAGMENT, 0x01), Some(4)),
        (v4(23, FRAGMENT, 0x21), Some(4)),
        (v4(24, FRAGMENT, 0x40), None),
        (v6_fragment(&lab, 25, 0, true), Some(3)),
        (v6_fragment(&lab, 26, 8, true), Some(4)),
        (v6_fragment(&lab, 27, 8, false), Some(4)),
        (v6_fragment(&lab, 28, 0, false), None),
    ]);
    let conditions = [
        "ttl: [1, 10-12]",
        "dscp: [ef, 8-15]",
        "ecn: [ce, ect1]",
        "fragment: firstfrag",
        "fragment: frag",
    ];
    cases.assert_matched(&lab, "egress", &conditions);
}

/// A datagram behind a fragment header.
fn v6_fragment(lab: &Lab, number: u16, offset: u16, more: bool) -> Vec<u8> {
    const FRAGMENT: u8 = 44;
    const UDP: u8 = 17;
    let mut frame = datagram(lab, Family::V6, number, |_| {});
    let [high, low] = (offset | u16::from(more)).to_be_bytes();
    frame[20] = FRAGMENT;
    frame[19] += 8;
    frame.splice(54..54, [UDP, 0, high, low, 0, 0, 0, 1]);
    frame
}

#[test]
fn headers_behind_ip_and_before_it_are_matched() {
    let lab = Lab::new();
    let tcp = |family, number: u32, flags: u8| {
        let mut frame = Vec::new();
        let tcp = ip(&lab.a, &lab.b, family).tcp(1000, 9, number, 1000);
        tcp.write(&mut frame, &[]).expect("a frame");
        let header = frame.len() - 20;
        frame[header + 13] = flags;
        frame
    };
    let echo = |family, number: u16| {
        let (mut frame, ip) = (Vec::new(), ip(&lab.a, &lab.b, family));
        let written = match family {
            Family::V4 => ip.icmpv4_echo_request(1, number).write(&mut frame, &[]),
            Family::V6 => ip.icmpv6_echo_request(1, number).write(&mut frame, &[]),
        };
        written.expect("a frame");
        frame
    };
    let echo_of = |kind: u8, number| {
        let mut frame = echo(Family::V4, number);
        frame[34] = kind;
        frame
    };
    let long = |family, number, len| {
        let mut frame = Vec::new();
        let udp = ip(&lab.a, &lab.b, family).udp(1000, number);
        udp.write(&mut frame, &vec![0; len]).expect("a frame");
        frame
    };
    let from = |last: u8, number| {
        datagram(&lab, Family::V4, number, |frame| {
            frame[6..12].copy_from_slice(&[6, 0, 0, 0, 9, last]);
        })
    };
    let cases = Cases(vec![
        (tcp(Family::V4, 1, SYN), Some(0)),
        (tcp(Family::V6, 2, SYN), Some(0)),
        (tcp(Family::V4, 3, SYN | ACK), None),
        (tcp(Family::V4, 4, RST | ACK), Some(0)),
        (tcp(Family::V6, 5, ACK), None),
        (tcp(Family::V4, 6, FIN | ACK), None),
        (echo(Family::V4, 7), Some(1)),
        (echo(Family::V6, 8), Some(1)),
        (echo_of(13, 9), Some(2)),
        (echo_of(12, 10), None),
        // 28 and 48 bytes of headers.
        (long(Family::V4, 11, 72), Some(3)),
        (long(Family::V4, 12, 73), None),
        (long(Family::V6, 13, 52), Some(3)),
        (long(Family::V6, 14, 53), None),
        (long(Family::V4, 15, 1371), None),
        (long(Family::V4, 16, 1372), Some(3)),
        (from(0x10, 17), Some(4)),
        (from(0x1f, 18), Some(4)),
        (from(0x20, 19), None),
    ]);
    let conditions = [
        "tcp_flags: [\"syn,!ack\", rst]",
        "icmp_type: echo-request",
        "icmp_type: 13-14",
        "length: [90-100, 1400-]",
        "src_mac: 06:00:00:00:09:10/ff:ff:ff:ff:ff:f0",
    ];
    cases.assert_matched(&lab, "egress", &conditions);
}

#[test]
fn the_outermost_vlan_is_matched_in_the_frame_and_beside_it() {
    let lab = Lab::new();
    let tagged = |number, tags: &[u16]| {
        let mut frame = datagram(&lab, Family::V4, number, |_| {});
        for id in tags.iter().rev() {
            let [high, low] = id.to_be_bytes();
            frame.splice(12..12, [0x81, 0, 0x20 | high, low]);
        }
        frame
    };
    let cases = Cases(vec![
        (tagged(1, &[100]), Some(0)),
        (tagged(2, &[4095]), Some(0)),
        (tagged(3, &[101]), None),
        (tagged(4, &[100, 7]), Some(0)),
        (tagged(5, &[7, 100]), None),
        (tagged(6, &[]), None),
    ]);
    // On its way out the tag stands in the frame; a receiver takes it off.
    for direction in ["egress", "ingress"] {
        cases.assert_matched(&lab, direction, &["vlan: [100, 2000-4095]"]);
    }
}

#[test]
fn conditions_are_turned_round_and_combined() {
    let lab = Lab::new();
    let to = |family, port: u16, ttl: u8| {
        let mut frame = Vec::new();
        let udp = ip(&lab.a, &lab.b, family).udp(1000, port);
        udp.write(&mut frame, &[0; 4]).expect("a frame");
        frame[if family == Family::V4 { 22 } else { 21 }] = ttl;
        frame
    };
    let cases = Cases(vec![
        // Not the port and the TTL of the exception.
        (to(Family::V4, 21, 64), None),
        (to(Family::V4, 21, 59), Some(0)),
        (to(Family::V4, 22, 64), Some(0)),
        (to(Family::V6, 21, 64), Some(0)),
        (to(Family::V4, 29, 9), Some(0)),
        // One of the alternatives.
        (to(Family::V4, 31, 64), Some(1)),
        (to(Family::V4, 32, 1), Some(1)),
        (to(Family::V4, 32, 2), None),
        (to(Family::V6, 33, 64), Some(1)),
        (to(Family::V4, 33, 64), None),
    ]);
    let conditions = [
        "dst_port: 20-29, not: {dst_port: 21, ttl: 60-69, dst: 10.77.0.0/24}",
        "dst_port: 30-39, any: [{dst_port: 31}, {ttl: 1}, {not: {protocol: ip}}]",
    ];
    cases.assert_matched(&lab, "egress", &conditions);
}

#[test]
fn the_first_packets_of_each_flow_are_told_from_the_rest() {
    let lab = Lab::new();
    let mut cases = Vec::new();
    for number in 1..=4 {
        for family in Family::ALL {
            for port in [1000, 1001] {
                let mut frame = Vec::new();
                let udp = ip(&lab.a, &lab.b, family).udp(port, 9);
                udp.write(&mut frame, &[number, 0]).expect("a frame");
                cases.push((frame, (number <= 3).then_some(0)));
            }
        }
    }
    Cases(cases).assert_matched(&lab, "egress", &["connection: {first: 3}"]);
}

#[test]
fn a_flow_is_chosen_in_both_directions_or_not_at_all() {
    const FLOWS: u16 = 400;
    let seed = seed();
    let lab = Lab::new();
    let profile = format!(
        "name: flows\nseed: {seed}\nrules:\n  \
         - {{direction: both, match: {{protocol: udp, flows: 25%}}, drop: 100%}}"
    );
    let at_a = Injector::start(&lab.a, &profile);
    // The flows of which a packet arrives.
    let arrive = |from: &Host, to: &Host, ports: fn(u16) -> (u16, u16)| {
        let (sender, receiver) = (
            Tap::new(&from.netns, &from.device),
            Tap::new(&to.netns, &to.device),
        );
        for flow in 0..FLOWS {
            let (mut frame, (src, dst)) = (Vec::new(), ports(flow));
            let udp = ip(from, to, Family::V4).udp(src, dst);
            let written = udp.write(&mut frame, &flow.to_be_bytes());
            written.expect("a frame");
            sender.send(&frame).expect("send a frame");
        }
        let is_datagram = |frame: &Vec<u8>| frame.len() >= 44 && frame[23] == 17;
        let arrived = receiver.drain(QUIET).into_iter().filter(is_datagram);
        let flows = arrived.map(|frame| u16::from_be_bytes([frame[42], frame[43]]));
        flows.collect::<BTreeSet<_>>()
    };
    let out = arrive(&lab.a, &lab.b, |flow| (10_000 + flow, 9));
    let back = || arrive(&lab.b, &lab.a, |flow| (9, 10_000 + flow));
    // A tap sees what arrives before the rules do: here they are counted.
    assert_eq!(back().len(), usize::from(FLOWS));
    let dropped = u64::from(FLOWS) - out.len() as u64;
    assert_eq!(matched(&at_a.stop()), [dropped; 2]);
    let _at_b = Injector::start(&lab.b, &profile);
    assert_eq!(back(), out);
    stats::assert_share("flows", dropped, FLOWS.into(), 0.25);
}

#[test]
fn the_packets_of_a_super_packet_are_as_long_as_they_are_on_the_wire() {
    let lab = Lab::new();
    // 8 packets of 1028 and 1048 bytes.
    let rules = dropping("egress", &["length: 1028", "length: 1048", "length: 1000-"]);
    let injector = Injector::start(&lab.a, &rules);
    for family in Family::ALL {
        let flow = Flow::new(16).family(family).len(1000).batch(8);
        let flow = flow.linger(QUIET);
        assert_eq!(flow.send(&lab.a, &lab.b).arrivals.len(), 0);
    }
    assert_eq!(matched(&injector.stop()), [16, 16, 0]);
}

#[test]
fn a_mark_is_matched_by_the_bits_that_count() {
    let lab = Lab::new();
    let rules = dropping(
        "egress",
        &["mark: 0x10/0xf0", "mark: [7, 8]", "protocol: udp"],
    );
    let injector = Injector::start(&lab.a, &rules);
    for mark in [0x11f, 7, 8, 0x20, 0] {
        let flow = Flow::new(3).mark(mark).linger(QUIET);
        assert_eq!(flow.send(&lab.a, &lab.b).arrivals.len(), 0, "{mark}");
    }
    let end = injector.stop();
    assert_eq!(matched(&end), [3, 6, 6]);
}
