//! Packets that no rule may touch, so that nobody is locked out.

use std::{
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use injector_common::{
    abi::{MatchEntry, flags},
    wire::{ICMPV6_TYPES, NO_PORT},
};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use super::{Hook, Plan, PlannedRule, Predicates, matching};
use crate::{
    profile::{Match, Protocol},
    units::PortRange,
};

/// What is protected; by default nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Protection(Vec<Kind>);

/// Packets that are protected together.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Kind {
    name: String,
    /// Which they are, by direction.
    entries: [Vec<MatchEntry>; 2],
}

impl Protection {
    /// Of an SSH connection, and of what keeps a host's addresses, and those of its neighbours, known.
    pub fn new(ssh: Option<Connection>) -> Self {
        let alike = |name: &str, entries: Vec<MatchEntry>| Kind {
            name: name.into(),
            entries: [entries.clone(), entries],
        };
        let ssh = ssh.map(|ssh| Kind {
            name: format!("ssh {}", ssh.client),
            entries: Hook::ALL.map(|hook| ssh.entries(hook)),
        });
        let others = [
            alike("ARP", arp()),
            alike("ND", nd()),
            alike("DHCP", dhcp()),
        ];
        Self(ssh.into_iter().chain(others).collect())
    }

    /// Each kind's name.
    pub fn names(&self) -> Vec<String> {
        self.0.iter().map(|kind| kind.name.clone()).collect()
    }
}

impl Plan {
    /// Protects packets from every rule.
    #[must_use]
    pub fn protecting(mut self, protection: &Protection) -> Self {
        self.protection = protection.clone();
        self
    }

    /// What has to be looked for before the rules of one direction: what one of them could do something
    /// to.
    pub fn protected(&self, hook: Hook) -> Vec<MatchEntry> {
        let does_something = |rule: &&PlannedRule| rule.spec.flags & flags::EXEMPT == 0;
        let rules = self.on(hook).filter(does_something);
        let rules = rules.flat_map(|rule| &rule.entries);
        let is_touched = |entry: &&MatchEntry| rules.clone().any(|rule| rule.overlaps(entry));
        let kinds = self.protection.0.iter();
        let entries = kinds.flat_map(|kind| &kind.entries[hook.direction() as usize]);
        entries.filter(is_touched).copied().collect()
    }
}

/// The TCP connection of an SSH session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// The end where the user is.
    pub client: SocketAddr,
    /// The end on the machine that was logged in to.
    pub server: SocketAddr,
    /// Whether both ends are on that machine, so that packets of both ways leave and arrive there.
    pub loops: bool,
}

impl FromStr for Connection {
    type Err = String;

    /// As sshd says it in `SSH_CONNECTION`: `CLIENT PORT SERVER PORT`.
    fn from_str(text: &str) -> Result<Self, String> {
        let fields: Vec<_> = text.split_ascii_whitespace().collect();
        let ends = match fields[..] {
            [client, client_port, server, server_port] => {
                end(client, client_port).zip(end(server, server_port))
            }
            _ => None,
        };
        let alike = ends.filter(|(client, server)| client.is_ipv4() == server.is_ipv4());
        let (client, server) = alike.ok_or_else(|| format!("`{text}` is no TCP connection"))?;
        Ok(Self {
            client,
            server,
            loops: client.ip() == server.ip(),
        })
    }
}

/// An address, maybe with the zone in which it is valid, and a port. IPv4 packets are IPv4 packets, also
/// where the socket is IPv6's.
fn end(address: &str, port: &str) -> Option<SocketAddr> {
    let address = address
        .split_once('%')
        .map_or(address, |(address, _)| address);
    let address: IpAddr = address.parse().ok()?;
    Some((address.to_canonical(), port.parse().ok()?).into())
}

impl Connection {
    fn entries(&self, hook: Hook) -> Vec<MatchEntry> {
        let (out, back) = ((self.server, self.client), (self.client, self.server));
        let ways = match hook {
            Hook::Egress => [out, back],
            Hook::Ingress => [back, out],
        };
        let ways = &ways[..if self.loops { 2 } else { 1 }];
        let entries = |(src, dst): &(SocketAddr, SocketAddr)| {
            matching::entries(
                &Match {
                    protocol: Some(Protocol::TCP),
                    src: vec![src.ip().into()],
                    dst: vec![dst.ip().into()],
                    src_port: vec![src.port().into()],
                    dst_port: vec![dst.port().into()],
                    ..Match::default()
                },
                &mut Predicates::default(),
            )
        };
        ways.iter().flat_map(entries).collect()
    }
}

fn arp() -> Vec<MatchEntry> {
    let arp = Match {
        protocol: Some(Protocol::Arp),
        ..Match::default()
    };
    // As it is, so that no rule about ports overlaps it.
    let portless = |entry| MatchEntry {
        src_port: NO_PORT,
        src_port_span: 0,
        dst_port: NO_PORT,
        dst_port_span: 0,
        ..entry
    };
    matching::entries(&arp, &mut Predicates::default())
        .into_iter()
        .map(portless)
        .collect()
}

/// IPv6 neighbour discovery (RFC 4861): solicitations and advertisements of routers and neighbours, and
/// redirects.
fn nd() -> Vec<MatchEntry> {
    const FIRST: u32 = 133;
    const LAST: u32 = 137;
    let icmp = Match {
        protocol: Some(Protocol::ICMPV6),
        src: vec![Ipv6Net::default().into()],
        ..Match::default()
    };
    let of_these_types = |entry| MatchEntry {
        src_port: NO_PORT,
        src_port_span: 0,
        dst_port: ICMPV6_TYPES + FIRST,
        dst_port_span: LAST - FIRST,
        ..entry
    };
    let entries = matching::entries(&icmp, &mut Predicates::default()).into_iter();
    entries.map(of_these_types).collect()
}

/// Destination ports only: a server of DHCPv6 may send from any port (RFC 8415 §7.2).
fn dhcp() -> Vec<MatchEntry> {
    let to = |everybody: IpNet, first, last| Match {
        protocol: Some(Protocol::UDP),
        src: vec![everybody],
        dst_port: PortRange::new(first, last).into_iter().collect(),
        ..Match::default()
    };
    let versions = [
        to(Ipv4Net::default().into(), 67, 68),
        to(Ipv6Net::default().into(), 546, 547),
    ];
    (versions.iter())
        .flat_map(|matching| matching::entries(matching, &mut Predicates::default()))
        .collect()
}

#[cfg(test)]
mod tests {
    use injector_common::{
        abi::{FaultSpec, features},
        dimension,
        wire::{self, PacketKey, ethertype, protocol},
    };
    use proptest::{
        collection::vec,
        prelude::{any, *},
    };

    use super::{super::reference, *};
    use crate::plan::{Asked, Models};

    const SSH: &str = "10.0.0.7 51234 10.0.0.1 22";

    /// The rules that match so, of which some do nothing.
    fn plan(rules: &[(Match, bool)]) -> Plan {
        let mut predicates = Predicates::default();
        let rules: Vec<_> = (0..)
            .zip(rules)
            .map(|(slot, (matching, does_nothing))| PlannedRule {
                name: String::new(),
                hook: Hook::Egress,
                slot,
                spec: FaultSpec {
                    flags: if *does_nothing { flags::EXEMPT } else { 0 },
                    ..FaultSpec::default()
                },
                asked: Asked::default(),
                entries: matching::entries(matching, &mut predicates),
            })
            .collect();
        Plan {
            left_out: Vec::new(),
            profile: String::new(),
            phase: None,
            seed: 0,
            rules,
            predicates,
            models: Models::default(),
            protection: Protection::default(),
        }
    }

    fn everything() -> Protection {
        Protection::new(Some(SSH.parse().unwrap()))
    }

    fn key(ethertype: u16, protocol: u16, ports: (u32, u32)) -> PacketKey {
        PacketKey {
            ethertype,
            protocol,
            src_port: ports.0,
            dst_port: ports.1,
            ..PacketKey::default()
        }
    }

    /// Packets of which many are protected, or just not.
    fn any_packet() -> impl Strategy<Value = PacketKey> {
        let addresses = (reference::any_addresses(), reference::any_addresses());
        let special = prop_oneof![
            Just(key(ethertype::ARP, wire::NO_PROTOCOL, (NO_PORT, NO_PORT))),
            (any::<bool>(), 130u32..140).prop_map(|(is_v6, kind)| {
                let version = if is_v6 {
                    ethertype::IPV6
                } else {
                    ethertype::IPV4
                };
                key(
                    version,
                    protocol::ICMPV6.into(),
                    (NO_PORT, ICMPV6_TYPES + kind),
                )
            }),
            (
                prop::sample::select(vec![6u16, 17]),
                0u32..70,
                prop_oneof![66u32..70, 545u32..549]
            )
                .prop_map(|(number, src, dst)| key(
                    ethertype::IPV4,
                    number,
                    (src, dst)
                )),
            (0u32..70, 545u32..549).prop_map(|(src, dst)| key(
                ethertype::IPV6,
                protocol::UDP.into(),
                (src, dst)
            )),
        ];
        let special = (special, addresses).prop_map(|(packet, (v4_or_v6, _))| match packet {
            PacketKey {
                ethertype: ethertype::ARP,
                ..
            } => packet,
            _ if v4_or_v6.0.is_ipv6() == (packet.ethertype == ethertype::IPV6) => PacketKey {
                src: v4_or_v6.0.into(),
                dst: v4_or_v6.1.into(),
                ..packet
            },
            _ => packet,
        });
        let ssh: Connection = SSH.parse().unwrap();
        let end = move |far: bool| if far { ssh.client } else { ssh.server };
        let of_ssh =
            (any::<[bool; 2]>(), any::<[bool; 2]>()).prop_map(move |(ips, ports)| PacketKey {
                src: end(ips[0]).ip().into(),
                dst: end(ips[1]).ip().into(),
                ..key(
                    ethertype::IPV4,
                    protocol::TCP.into(),
                    (end(ports[0]).port().into(), end(ports[1]).port().into()),
                )
            });
        let any = (
            reference::any_addresses(),
            reference::any_port_pair(),
            reference::any_number(),
        );
        prop_oneof![
            special,
            of_ssh,
            any.prop_map(|(addresses, ports, number)| reference::packet(addresses, ports, number)),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn what_is_protected_passes_and_for_the_rest_nothing_changes(
            rules in vec((reference::any_match(), any::<bool>()), 1..6),
            packets in vec(any_packet(), 50),
        ) {
            let bare = plan(&rules);
            let guarded = bare.clone().protecting(&everything());
            let protected: Vec<_> =
                everything().0.into_iter().flat_map(|kind| kind.entries[0].clone()).collect();
            let (without, with) = (bare.table(Hook::Egress, 0), guarded.table(Hook::Egress, 0));
            for packet in packets {
                let (before, after) =
                    (without.find(features::ALL, &packet), with.find(features::ALL, &packet));
                if protected.iter().any(|entry| entry.matches(&packet)) {
                    // Also where its entry was left out: then no rule would have done anything.
                    prop_assert!(after.is_none_or(|slot| rules[slot as usize].1), "{packet:?}");
                } else {
                    prop_assert_eq!(before, after);
                }
            }
        }

        #[test]
        fn what_is_looked_for_is_a_packet_that_a_rule_could_take(
            rules in vec((reference::any_match(), any::<bool>()), 1..6),
        ) {
            let guarded = plan(&rules).protecting(&everything());
            for entry in guarded.protected(Hook::Egress) {
                let does_something = guarded.rules.iter().filter(|rule| rule.spec.flags == 0);
                let mut theirs = does_something.flat_map(|rule| &rule.entries);
                let both = |rule: &MatchEntry| {
                    // Whatever else a rule asks for, some packet may have.
                    let rule = &MatchEntry { truths_mask: 0, ..*rule };
                    let packet = in_both(rule, &entry);
                    rule.matches(&packet) && entry.matches(&packet)
                };
                prop_assert!(theirs.any(both), "{entry:?}");
            }
        }
    }

    /// The packet whose coordinates are the smallest that lie in both, where any do.
    fn in_both(a: &MatchEntry, b: &MatchEntry) -> PacketKey {
        let common = |dimension| {
            let firsts = a.intervals(dimension).flat_map(|a| {
                let with = move |b: std::ops::RangeInclusive<u64>| {
                    let first = *a.start().max(b.start());
                    (a.contains(&first) && b.contains(&first)).then_some(first)
                };
                b.intervals(dimension).filter_map(with)
            });
            firsts.min().unwrap_or(0)
        };
        let address = |high, low| {
            IpAddr::from((u128::from(common(high)) << 64 | u128::from(common(low))).to_be_bytes())
        };
        let kind = common(dimension::COUNT - 1);
        PacketKey {
            src: address(0, 1).into(),
            dst: address(2, 3).into(),
            ..key(
                (kind >> 16) as u16,
                kind as u16,
                (common(4) as u32, common(5) as u32),
            )
        }
    }

    #[test]
    fn rules_that_cannot_meet_what_is_protected_cost_nothing() {
        let looks_for = |text: &str| {
            let profile = crate::profile::parse("test", text).unwrap();
            let plan = Plan::new(&profile, 1).unwrap().protecting(&everything());
            Hook::ALL.map(|hook| plan.protected(hook).len())
        };
        let rule = |rule: &str| looks_for(&format!("name: test\nrules: [{rule}]"));
        assert_eq!(
            rule("{match: {protocol: tcp, dst_port: 5432}, drop: 1%}"),
            [0, 0]
        );
        assert_eq!(rule("{match: {dst_port: 5432}, drop: 1%}"), [0, 0]);
        assert_eq!(
            rule("{match: {dst: 192.0.2.0/24, protocol: tcp}, drop: 1%}"),
            [0, 0]
        );
        assert_eq!(
            rule("{direction: both, match: {protocol: arp}, drop: 1%}"),
            [1, 1]
        );
        assert_eq!(rule("{match: {protocol: icmp}, drop: 1%}"), [1, 0]);
        assert_eq!(
            rule("{direction: both, match: {protocol: tcp}, drop: 1%}"),
            [1, 1]
        );
        assert_eq!(rule("{direction: both, delay: 1ms}"), [5, 5]);
        assert_eq!(rule("{direction: both}"), [0, 0]);
    }

    #[test]
    fn neighbour_discovery_is_known_by_its_type() {
        let nd = nd();
        let is_protected = |frame: &[u8]| {
            let mut key = PacketKey::default();
            let parsed = wire::parse(frame, true, features::ALL, &mut key);
            parsed.is_ok() && nd.iter().any(|entry| entry.matches(&key))
        };
        let packet = |next: u8, rest: &[u8]| {
            let mut packet = vec![0x60, 0, 0, 0, 0, rest.len() as u8, next, 255];
            packet.resize(40, 1);
            packet.extend(rest);
            packet
        };
        for kind in 0..=255u8 {
            let expected = (133..=137).contains(&kind);
            let icmp = [kind, 0, 0, 0, 0, 0, 0, 0];
            assert_eq!(is_protected(&packet(58, &icmp)), expected, "{kind}");
            let behind_options = [&[58, 0, 1, 4, 0, 0, 0, 0], &icmp[..]].concat();
            assert_eq!(
                is_protected(&packet(0, &behind_options)),
                expected,
                "{kind}"
            );
            let later_fragment = [&[58, 0, 0, 8, 0, 0, 0, 0], &icmp[..]].concat();
            assert!(!is_protected(&packet(44, &later_fragment)), "{kind}");
            assert!(!is_protected(&packet(17, &icmp)), "{kind}");
        }
        assert!(!is_protected(&packet(58, &[])), "cut off");
    }

    #[test]
    fn connections_are_read_as_sshd_writes_them() {
        let read = |text: &str| text.parse::<Connection>().map(|c| (c.client, c.server));
        let ends =
            |client: &str, server: &str| Ok((client.parse().unwrap(), server.parse().unwrap()));
        assert_eq!(read(SSH), ends("10.0.0.7:51234", "10.0.0.1:22"));
        assert_eq!(
            read("2001:db8::7 51234 2001:db8::1 22"),
            ends("[2001:db8::7]:51234", "[2001:db8::1]:22")
        );
        assert_eq!(
            read("fe80::7%eth0 51234 fe80::1%eth0 22"),
            ends("[fe80::7]:51234", "[fe80::1]:22")
        );
        assert_eq!(
            read("::ffff:10.0.0.7 51234 ::ffff:10.0.0.1 22"),
            ends("10.0.0.7:51234", "10.0.0.1:22")
        );
        for text in [
            "",
            "10.0.0.7 51234 10.0.0.1",
            "UNKNOWN 65535 UNKNOWN 65535",
            "10.0.0.7 70000 10.0.0.1 22",
            "10.0.0.7 51234 2001:db8::1 22",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_connection_to_itself_is_protected_both_ways() {
        let packets = |connection: &Connection, hook| connection.entries(hook).len();
        let local: Connection = "127.0.0.1 51234 127.0.0.1 22".parse().unwrap();
        let remote: Connection = SSH.parse().unwrap();
        assert_eq!(Hook::ALL.map(|hook| packets(&local, hook)), [2, 2]);
        assert_eq!(Hook::ALL.map(|hook| packets(&remote, hook)), [1, 1]);
        let [egress] = remote.entries(Hook::Egress)[..] else {
            unreachable!()
        };
        assert_eq!((egress.src_port, egress.dst_port), (22, 51234));
    }
}
