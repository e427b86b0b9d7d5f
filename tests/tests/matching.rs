//! Which packets a rule is about.

use std::time::Duration;

use injector_tests::{
    Family, Host, Injector, Lab, echo::Echoes, frames::Tap, injector::Achieved, tool, udp::Flow,
};

/// Longer than any packet takes, short enough to wait for often.
const QUIET: Duration = Duration::from_millis(60);

fn start(host: &Host, rules: &str) -> Injector {
    Injector::start(host, &format!("name: matching\nseed: 1\nrules:\n{rules}"))
}

/// Whether a datagram from host A to host B's port arrives.
fn arrives(lab: &Lab, family: Family, source_port: u16, port: u16) -> bool {
    let flow = Flow::new(3)
        .family(family)
        .source_port(source_port)
        .port(port)
        .linger(QUIET);
    let arrivals = flow.send(&lab.a, &lab.b).arrivals.len();
    assert!(arrivals == 0 || arrivals == 3, "{arrivals} of 3 arrive");
    arrivals == 3
}

fn answers(lab: &Lab, family: Family) -> bool {
    let echoes = Echoes::new(3).family(family).linger(QUIET);
    echoes.send(&lab.a, &lab.b).replies.len() == 3
}

fn matched(achieved: &Achieved) -> Vec<u64> {
    achieved.rules.iter().map(|rule| rule.matched).collect()
}

#[test]
fn a_protocol_is_matched_over_both_versions_of_ip() {
    // Which of these matches what the rules before it have left, in packets: datagrams over IPv4
    // and IPv6 and echoes over both are sent, 3 of each.
    let profiles: [&[(&str, u64)]; 2] = [
        &[
            ("arp", 0),
            ("tcp", 0),
            ("58", 3),
            ("1", 3),
            ("ipv6", 3),
            ("ip", 3),
        ],
        &[("132", 0), ("icmp", 6), ("udp", 6), ("ip", 0), ("ipv6", 0)],
    ];
    for cases in profiles {
        let lab = Lab::new();
        let networks = "[10.77.0.2, \"fd77::2\"]";
        let rules: String = cases
            .iter()
            .map(|(protocol, _)| match *protocol {
                "arp" => "  - {match: {protocol: arp}, drop: 100%}\n".to_owned(),
                // An address, because the kernel speaks ICMPv6 of its own accord.
                "ip" => "  - {match: {protocol: ip, dst: 10.77.0.2}, drop: 100%}\n".to_owned(),
                "ipv6" => {
                    "  - {match: {protocol: ipv6, dst: \"fd77::2\"}, drop: 100%}\n".to_owned()
                }
                _ => format!(
                    "  - {{match: {{protocol: {protocol}, dst: {networks}}}, drop: 100%}}\n"
                ),
            })
            .collect();
        let injector = start(&lab.a, &rules);
        for family in Family::ALL {
            assert!(
                !arrives(&lab, family, 0, 5000) && !answers(&lab, family),
                "{family:?}"
            );
        }
        let expected: Vec<u64> = cases.iter().map(|(_, count)| *count).collect();
        assert_eq!(matched(injector.stop().achieved()), expected, "{cases:?}");
    }
}

#[test]
fn ports_and_ranges_are_matched_to_their_ends() {
    let lab = Lab::new();
    let _injector = start(
        &lab.a,
        "  - {match: {protocol: udp, dst_port: [5000, 6000-6010]}, drop: 100%}
  - {match: {protocol: udp, src_port: 7000-7001}, drop: 100%}",
    );
    for family in Family::ALL {
        for port in [5000, 6000, 6005, 6010] {
            assert!(!arrives(&lab, family, 0, port), "{family:?} {port}");
        }
        for port in [4999, 5001, 5999, 6011] {
            assert!(arrives(&lab, family, 0, port), "{family:?} {port}");
        }
        assert!(!arrives(&lab, family, 7000, 4000) && !arrives(&lab, family, 7001, 4000));
        assert!(arrives(&lab, family, 6999, 4000) && arrives(&lab, family, 7002, 4000));
    }
}

#[test]
fn a_list_of_networks_is_matched_in_both_versions_of_ip() {
    let lab = Lab::new();
    // More addresses for host B, one on each side of the networks' borders.
    let addresses: &[(Family, &str, bool)] = &[
        (Family::V4, "10.77.0.15", false),
        (Family::V4, "10.77.0.16", true),
        (Family::V4, "10.77.0.31", true),
        (Family::V4, "10.77.0.32", false),
        (Family::V4, "10.77.0.99", true),
        (Family::V6, "fd77::ff", false),
        (Family::V6, "fd77::100", true),
        (Family::V6, "fd77::1ff", true),
        (Family::V6, "fd77::200", false),
    ];
    let neighbour = "lladdr 02:00:00:00:00:02 dev eth0 nud permanent";
    for (family, address, _) in addresses {
        let (len, nodad) = if *family == Family::V4 {
            (24, "")
        } else {
            (64, "nodad")
        };
        lab.b
            .run(|| tool::ip(&format!("address add {address}/{len} dev eth0 {nodad}")));
        lab.a
            .run(|| tool::ip(&format!("neighbour replace {address} {neighbour}")));
    }
    let networks = r#"[10.77.0.16/28, 10.77.0.99, "fd77::100/120"]"#;
    let rule = format!("  - {{match: {{protocol: udp, dst: {networks}}}, drop: 100%}}");
    let injector = start(&lab.a, &rule);
    for (family, address, hit) in addresses {
        let to = (
            address.parse::<std::net::IpAddr>().expect("an address"),
            5000,
        )
            .into();
        let flow = Flow::new(3).family(*family).linger(QUIET);
        let arrivals = flow.send_to(&lab.a, &lab.b, to).arrivals.len();
        assert_eq!(arrivals, if *hit { 0 } else { 3 }, "{address}");
    }
    let hits = addresses.iter().filter(|(_, _, hit)| *hit).count() as u64;
    assert_eq!(matched(injector.stop().achieved()), [3 * hits]);
}

#[test]
fn the_first_rule_that_matches_wins() {
    let lab = Lab::new();
    let injector = start(
        &lab.a,
        "  - {name: exempt, match: {protocol: udp, dst_port: 5000}}
  - {name: host, match: {protocol: udp, dst: 10.77.0.2}, drop: 100%}
  - {name: never, match: {protocol: udp, dst: 10.77.0.2, dst_port: 5001}}
  - {name: rest, match: {protocol: udp}, drop: 100%}",
    );
    assert!(arrives(&lab, Family::V4, 0, 5000));
    assert!(arrives(&lab, Family::V6, 0, 5000));
    assert!(!arrives(&lab, Family::V4, 0, 5001));
    assert!(!arrives(&lab, Family::V6, 0, 5001));
    assert_eq!(matched(injector.stop().achieved()), [6, 3, 0, 3]);
}

#[test]
fn a_rule_of_one_direction_leaves_the_other_alone() {
    let lab = Lab::new();
    let injector = start(
        &lab.a,
        "  - {name: out, direction: egress, match: {protocol: udp, dst: 10.77.0.2}, drop: 100%}
  - {name: in, direction: ingress, match: {protocol: udp, dst: 10.77.0.2}, drop: 100%}",
    );
    assert!(!arrives(&lab, Family::V4, 0, 5000));
    Flow::new(3)
        .linger(QUIET)
        .send(&lab.b, &lab.a)
        .assert_untouched();
    assert_eq!(matched(injector.stop().achieved()), [3, 0]);
}

#[test]
fn what_follows_ipv6_extension_headers_is_matched() {
    let lab = Lab::new();
    let injector = start(
        &lab.a,
        "  - {name: port, match: {protocol: udp, dst_port: 5000}, drop: 100%}
  - {name: rest, match: {dst: \"fd77::2\"}, drop: 100%}",
    );
    let tap = Tap::new(&lab.a.netns, &lab.a.device);
    // Hop-by-hop options, destination options, routing header: each of 8 bytes.
    for chain in [&[0_u8][..], &[60], &[43], &[0, 60, 43], &[0, 60, 43, 60]] {
        tap.send(&ipv6_udp(&lab, chain, 5000))
            .expect("send a frame");
    }
    tap.send(&ipv6_udp(&lab, &[0, 60], 5001))
        .expect("send a frame");
    assert_eq!(matched(injector.stop().achieved()), [5, 1]);
}

/// A UDP packet to host B behind extension headers of these kinds.
fn ipv6_udp(lab: &Lab, chain: &[u8], port: u16) -> Vec<u8> {
    const UDP: u8 = 17;
    let len = chain.len() * 8 + 8;
    let mut frame = [lab.b.mac, lab.a.mac].concat();
    frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, len as u8]);
    frame.extend([chain[0], 64]);
    frame.extend(lab.a.v6.octets());
    frame.extend(lab.b.v6.octets());
    for next in chain[1..].iter().chain([&UDP]) {
        // The length counts what is beyond 8 bytes; PadN fills the rest.
        frame.extend([*next, 0, 1, 4, 0, 0, 0, 0]);
    }
    frame.extend(
        [1000_u16, port, 8, 0]
            .into_iter()
            .flat_map(u16::to_be_bytes),
    );
    frame
}

#[test]
fn what_no_rule_matches_is_counted_and_passes() {
    const COUNT: u64 = 500;
    let lab = Lab::new();
    let injector = start(&lab.a, "  - {match: {protocol: tcp}, drop: 100%}");
    Flow::new(COUNT).send(&lab.a, &lab.b).assert_untouched();
    let end = injector.stop();
    assert_eq!(matched(end.achieved()), [0]);
    // The kernel may have a word to say itself.
    let unmatched = end.achieved().path.unmatched;
    assert!((COUNT..COUNT + 10).contains(&unmatched), "{unmatched}");
}

#[test]
fn each_of_256_and_of_1024_rules_is_found() {
    let lab = Lab::new();
    for count in [256, 1024] {
        let rules: String = (0..count)
            .map(|i| {
                let port = 10_000 + i;
                format!(
                    "  - {{name: r{i}, match: {{protocol: udp, dst_port: {port}}}, drop: 100%}}\n"
                )
            })
            .collect();
        let injector = start(&lab.a, &rules);
        let hit = [0, 1, count / 2 - 1, count / 2, count - 2, count - 1];
        for i in hit {
            assert!(!arrives(&lab, Family::V4, 0, 10_000 + i), "rule {i}");
        }
        assert!(arrives(&lab, Family::V4, 0, 10_000 + count));
        let end = injector.stop();
        for (i, rule) in (0..).zip(&end.achieved().rules) {
            let expected = if hit.contains(&i) { 3 } else { 0 };
            let name: &str = &format!("r{i}");
            assert_eq!((rule.rule.as_str(), rule.matched), (name, expected));
        }
    }
}
