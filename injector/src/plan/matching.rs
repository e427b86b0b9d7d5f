//! A rule's conditions as match entries: one for each combination of its lists.

use injector_common::{
    abi::MatchEntry,
    wire::{ANY_PORT_SPAN, Address, ethertype, protocol},
};
use ipnet::IpNet;

use crate::{
    profile::{Match, Protocol},
    units::PortRange,
};

pub(super) fn entries(matching: &Match, slot: u32) -> Vec<MatchEntry> {
    let any = MatchEntry {
        src_port_span: ANY_PORT_SPAN,
        dst_port_span: ANY_PORT_SPAN,
        slot,
        ..MatchEntry::default()
    };
    let entries = each(vec![any], &kinds(matching.protocol), |entry, kind| {
        kind.apply(entry)
    });
    let entries = each(entries, &matching.src, set_src);
    let entries = each(entries, &matching.dst, set_dst);
    let entries = each(entries, &matching.src_port, |entry, ports| {
        Some(MatchEntry {
            src_port: ports.first().into(),
            src_port_span: span(*ports),
            ..entry
        })
    });
    each(entries, &matching.dst_port, |entry, ports| {
        Some(MatchEntry {
            dst_port: ports.first().into(),
            dst_port_span: span(*ports),
            ..entry
        })
    })
}

/// Every entry with every choice; an empty list of choices means "any". A choice that contradicts
/// the entry yields nothing.
fn each<T>(
    entries: Vec<MatchEntry>,
    choices: &[T],
    apply: impl Fn(MatchEntry, &T) -> Option<MatchEntry>,
) -> Vec<MatchEntry> {
    if choices.is_empty() {
        return entries;
    }
    entries
        .into_iter()
        .flat_map(|entry| {
            choices
                .iter()
                .filter_map(|choice| apply(entry, choice))
                .collect::<Vec<_>>()
        })
        .collect()
}

/// What a protocol's name stands for.
#[derive(Default)]
struct Kind {
    ethertype: Option<u16>,
    protocol: Option<u8>,
}

impl Kind {
    fn apply(&self, entry: MatchEntry) -> Option<MatchEntry> {
        let mut entry = entry;
        if let Some(ethertype) = self.ethertype {
            (entry.ethertype, entry.ethertype_mask) = (ethertype, u16::MAX);
        }
        if let Some(protocol) = self.protocol {
            (entry.protocol, entry.protocol_mask) = (protocol.into(), u16::MAX);
        }
        Some(entry)
    }
}

fn kinds(protocol: Option<Protocol>) -> Vec<Kind> {
    let ether = |ethertype| Kind {
        ethertype: Some(ethertype),
        protocol: None,
    };
    match protocol {
        None => Vec::new(),
        Some(Protocol::Ip) => vec![ether(ethertype::IPV4)],
        Some(Protocol::Ipv6) => vec![ether(ethertype::IPV6)],
        Some(Protocol::Arp) => vec![ether(ethertype::ARP)],
        Some(Protocol::Transport(number)) => {
            vec![Kind {
                ethertype: None,
                protocol: Some(number),
            }]
        }
        Some(Protocol::Icmp) => vec![
            Kind {
                ethertype: Some(ethertype::IPV4),
                protocol: Some(protocol::ICMP),
            },
            Kind {
                ethertype: Some(ethertype::IPV6),
                protocol: Some(protocol::ICMPV6),
            },
        ],
    }
}

fn set_src(entry: MatchEntry, net: &IpNet) -> Option<MatchEntry> {
    let (src, src_mask) = halves(net);
    with_family(
        MatchEntry {
            src,
            src_mask,
            ..entry
        },
        net,
    )
}

fn set_dst(entry: MatchEntry, net: &IpNet) -> Option<MatchEntry> {
    let (dst, dst_mask) = halves(net);
    with_family(
        MatchEntry {
            dst,
            dst_mask,
            ..entry
        },
        net,
    )
}

/// Ties the entry to the address's family; `None` where it is tied to the other already.
fn with_family(entry: MatchEntry, net: &IpNet) -> Option<MatchEntry> {
    let ethertype = match net {
        IpNet::V4(_) => ethertype::IPV4,
        IpNet::V6(_) => ethertype::IPV6,
    };
    let agrees = entry.ethertype_mask == 0 || entry.ethertype == ethertype;
    agrees.then_some(MatchEntry {
        ethertype,
        ethertype_mask: u16::MAX,
        ..entry
    })
}

/// Address and mask in the byte order of the wire, IPv4 mapped into IPv6.
fn halves(net: &IpNet) -> ([u64; 2], [u64; 2]) {
    let mask = match net {
        // The mapped prefix counts too, but only for packets that the family already selects.
        IpNet::V4(v4) => std::net::IpAddr::V4(v4.netmask()),
        IpNet::V6(v6) => std::net::IpAddr::V6(v6.netmask()),
    };
    (
        Address::from(net.network()).halves(),
        Address::from(mask).halves(),
    )
}

fn span(ports: PortRange) -> u32 {
    u32::from(ports.last() - ports.first())
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use injector_common::wire::{NO_PORT, PacketKey};
    use proptest::prelude::*;

    use super::*;

    /// What a rule's conditions mean, written down a second time and plainly.
    fn reference(matching: &Match, key: &PacketKey, src: IpAddr, dst: IpAddr) -> bool {
        let protocol = match matching.protocol {
            None => true,
            Some(Protocol::Ip) => key.ethertype == ethertype::IPV4,
            Some(Protocol::Ipv6) => key.ethertype == ethertype::IPV6,
            Some(Protocol::Arp) => key.ethertype == ethertype::ARP,
            Some(Protocol::Transport(number)) => key.protocol == u16::from(number),
            Some(Protocol::Icmp) => match key.ethertype {
                ethertype::IPV4 => key.protocol == 1,
                _ => key.protocol == 58,
            },
        };
        let address = |nets: &[IpNet], address: IpAddr| {
            nets.is_empty() || nets.iter().any(|net| net.contains(&address))
        };
        let port = |ranges: &[PortRange], port: u32| {
            ranges.is_empty()
                || u16::try_from(port).is_ok_and(|port| ranges.iter().any(|r| r.contains(port)))
        };
        protocol
            && address(&matching.src, src)
            && address(&matching.dst, dst)
            && port(&matching.src_port, key.src_port)
            && port(&matching.dst_port, key.dst_port)
    }

    /// Addresses from a small set, so that rules and packets meet.
    fn any_address() -> impl Strategy<Value = IpAddr> {
        prop_oneof![
            (0u32..16).prop_map(|low| IpAddr::from((0x0a00_0000 | low).to_be_bytes())),
            any::<[u8; 4]>().prop_map(IpAddr::from),
            (0u128..16).prop_map(|low| IpAddr::from(((0x2001_0db8 << 96) | low).to_be_bytes())),
            any::<[u8; 16]>().prop_map(IpAddr::from),
        ]
    }

    fn any_net() -> impl Strategy<Value = IpNet> {
        (any_address(), 0u8..=128).prop_map(|(address, len)| {
            let longest = if address.is_ipv4() { 32 } else { 128 };
            IpNet::new(address, len.min(longest)).unwrap().trunc()
        })
    }

    fn any_ports() -> impl Strategy<Value = PortRange> {
        prop_oneof![(0u16..10, 0u16..10), any::<(u16, u16)>()]
            .prop_map(|(a, b)| PortRange::new(a.min(b), a.max(b)).unwrap())
    }

    fn any_protocol() -> impl Strategy<Value = Protocol> {
        prop_oneof![
            Just(Protocol::Ip),
            Just(Protocol::Ipv6),
            Just(Protocol::Arp),
            Just(Protocol::Icmp),
            prop::sample::select(vec![1u8, 6, 17, 58]).prop_map(Protocol::Transport),
        ]
    }

    prop_compose! {
        fn any_match()(
            protocol in prop::option::of(any_protocol()),
            src in prop::collection::vec(any_net(), 0..3),
            dst in prop::collection::vec(any_net(), 0..3),
            src_port in prop::collection::vec(any_ports(), 0..3),
            dst_port in prop::collection::vec(any_ports(), 0..3),
        ) -> Match {
            Match { protocol, src, dst, src_port, dst_port }
        }
    }

    /// An IP packet: both addresses of one family.
    fn any_packet() -> impl Strategy<Value = (PacketKey, IpAddr, IpAddr)> {
        let port = prop_oneof![0u32..10, 0u32..1 << 16, Just(NO_PORT)];
        let number = prop::sample::select(vec![1u16, 6, 17, 58, 200]);
        (any_address(), any_address(), port.clone(), port, number).prop_filter_map(
            "mixed families",
            |(src, dst, src_port, dst_port, protocol)| {
                (src.is_ipv4() == dst.is_ipv4()).then(|| {
                    let ethertype = if src.is_ipv4() {
                        ethertype::IPV4
                    } else {
                        ethertype::IPV6
                    };
                    let key = PacketKey {
                        src: src.into(),
                        dst: dst.into(),
                        src_port,
                        dst_port,
                        ethertype,
                        protocol,
                    };
                    (key, src, dst)
                })
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn entries_match_what_the_conditions_say(
            matching in any_match(), (key, src, dst) in any_packet(),
        ) {
            let found = entries(&matching, 0).iter().any(|entry| entry.matches(&key));
            prop_assert_eq!(found, reference(&matching, &key, src, dst));
        }
    }
}
