//! What rules ask of a packet beside addresses, ports and protocol.

use std::time::Duration;

use injector_tests::{Injector, Lab, frames::Tap, udp::Flow};

/// Longer than any packet takes, short enough to wait for often.
const QUIET: Duration = Duration::from_millis(60);

/// Rules that drop what they match, which is each of these conditions.
fn dropping(conditions: &[&str]) -> String {
    let rules = conditions.iter().enumerate();
    let rules =
        rules.map(|(i, match_)| format!("  - {{name: r{i}, match: {{{match_}}}, drop: 100%}}\n"));
    format!(
        "name: predicates\nseed: 1\nrules:\n{}",
        rules.collect::<String>()
    )
}

/// Frames, and the rule that is to drop each; `None` for those that are to arrive.
struct Cases(Vec<(Vec<u8>, Option<usize>)>);

impl Cases {
    /// Sends them from host A to host B, where rules drop what meets `conditions`.
    #[track_caller]
    fn assert_matched(&self, lab: &Lab, conditions: &[&str]) {
        let injector = Injector::start(&lab.a, &dropping(conditions));
        let (from, to) = (
            Tap::new(&lab.a.netns, &lab.a.device),
            Tap::new(&lab.b.netns, &lab.b.device),
        );
        for (frame, _) in &self.0 {
            from.send(frame).expect("send a frame");
        }
        let arrived = to.drain(QUIET);
        let mut expected = vec![0; conditions.len()];
        for (n, (frame, rule)) in self.0.iter().enumerate() {
            let has_arrived = arrived.contains(frame);
            assert_eq!(has_arrived, rule.is_none(), "frame {n}: {frame:02x?}");
            if let Some(rule) = rule {
                expected[*rule] += 1;
            }
        }
        let end = injector.stop();
        let matched = end.achieved().rules.iter().map(|rule| rule.matched);
        assert_eq!(matched.collect::<Vec<_>>(), expected);
        end.achieved().assert_clean();
    }
}

/// A datagram from host A to host B, numbered so that no two are alike.
fn datagram(lab: &Lab, number: u16, change: impl Fn(&mut [u8])) -> Vec<u8> {
    let eth = etherparse::PacketBuilder::ethernet2(lab.a.mac, lab.b.mac);
    let ip = eth.ipv4(lab.a.v4.octets(), lab.b.v4.octets(), 64);
    let mut frame = Vec::new();
    ip.udp(1000, 9)
        .write(&mut frame, &number.to_be_bytes())
        .expect("a frame");
    change(&mut frame);
    frame
}

/// The same over IPv6.
fn datagram_v6(lab: &Lab, number: u16, change: impl Fn(&mut [u8])) -> Vec<u8> {
    let eth = etherparse::PacketBuilder::ethernet2(lab.a.mac, lab.b.mac);
    let ip = eth.ipv6(lab.a.v6.octets(), lab.b.v6.octets(), 64);
    let mut frame = Vec::new();
    ip.udp(1000, 9)
        .write(&mut frame, &number.to_be_bytes())
        .expect("a frame");
    change(&mut frame);
    frame
}

#[test]
fn the_fields_of_both_versions_of_ip_are_matched() {
    let lab = Lab::new();
    let ttl = |ttl| move |frame: &mut [u8]| frame[22] = ttl;
    let hops = |ttl| move |frame: &mut [u8]| frame[21] = ttl;
    let class = |class| move |frame: &mut [u8]| frame[15] = class;
    let class_v6 = |class: u8| {
        move |frame: &mut [u8]| {
            frame[14] = 0x60 | class >> 4;
            frame[15] = class << 4;
        }
    };
    let cases = Cases(vec![
        (datagram(&lab, 1, ttl(1)), Some(0)),
        (datagram(&lab, 2, ttl(9)), None),
        (datagram(&lab, 3, ttl(10)), Some(0)),
        (datagram(&lab, 4, ttl(12)), Some(0)),
        (datagram(&lab, 5, ttl(13)), None),
        (datagram_v6(&lab, 6, hops(1)), Some(0)),
        (datagram_v6(&lab, 7, hops(13)), None),
        // Expedited forwarding, beside which ECN does not count.
        (datagram(&lab, 8, class(46 << 2)), Some(1)),
        (datagram(&lab, 9, class(46 << 2 | 3)), Some(1)),
        (datagram(&lab, 10, class(45 << 2)), None),
        (datagram(&lab, 11, class(8 << 2)), Some(1)),
        (datagram(&lab, 12, class(15 << 2 | 3)), Some(1)),
        (datagram(&lab, 13, class(16 << 2)), None),
        (datagram_v6(&lab, 14, class_v6(46 << 2)), Some(1)),
        (datagram_v6(&lab, 15, class_v6(47 << 2)), None),
    ]);
    cases.assert_matched(&lab, &["ttl: [1, 10-12]", "dscp: [ef, 8-15]"]);
}

#[test]
fn a_mark_is_matched_by_the_bits_that_count() {
    let lab = Lab::new();
    let rules = dropping(&["mark: 0x10/0xf0", "mark: [7, 8]", "protocol: udp"]);
    let injector = Injector::start(&lab.a, &rules);
    for mark in [0x11f, 7, 8, 0x20, 0] {
        let flow = Flow::new(3).mark(mark).linger(QUIET);
        assert_eq!(flow.send(&lab.a, &lab.b).arrivals.len(), 0, "{mark}");
    }
    let end = injector.stop();
    let matched = end.achieved().rules.iter().map(|rule| rule.matched);
    assert_eq!(matched.collect::<Vec<_>>(), [3, 6, 6]);
}
