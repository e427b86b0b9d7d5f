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

/// The match entries that these conditions take.
pub fn entries(matching: &Match) -> Vec<MatchEntry> {
    let any = MatchEntry {
        src_port_span: ANY_PORT_SPAN,
        dst_port_span: ANY_PORT_SPAN,
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

/// How many entries there are, without making them.
pub(super) fn count(matching: &Match) -> usize {
    let of = |nets: &[IpNet], ethertype| match nets.is_empty() {
        true => 1,
        false => (nets.iter().filter(|net| family(net) == ethertype)).count(),
    };
    let pairs = |ethertype| of(&matching.src, ethertype) * of(&matching.dst, ethertype);
    let is_any = matching.src.is_empty() && matching.dst.is_empty();
    let kind_pairs = |kind: &Kind| match kind.ethertype {
        Some(ethertype) => pairs(ethertype),
        None if is_any => 1,
        None => pairs(ethertype::IPV4) + pairs(ethertype::IPV6),
    };
    let mut kinds = kinds(matching.protocol);
    if kinds.is_empty() {
        kinds.push(Kind::default());
    }
    let addresses: usize = kinds.iter().map(kind_pairs).sum();
    addresses * matching.src_port.len().max(1) * matching.dst_port.len().max(1)
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
    let ethertype = family(net);
    let agrees = entry.ethertype_mask == 0 || entry.ethertype == ethertype;
    agrees.then_some(MatchEntry {
        ethertype,
        ethertype_mask: u16::MAX,
        ..entry
    })
}

fn family(net: &IpNet) -> u16 {
    match net {
        IpNet::V4(_) => ethertype::IPV4,
        IpNet::V6(_) => ethertype::IPV6,
    }
}

/// Address and mask in the byte order of the wire, IPv4 mapped into IPv6. IPv4 lies in the lower
/// half alone: the family, to which the entry is tied, says what is in the upper.
fn halves(net: &IpNet) -> ([u64; 2], [u64; 2]) {
    let mask = match net {
        IpNet::V4(v4) => [0, u64::MAX << (32 - v4.prefix_len())],
        IpNet::V6(v6) => {
            let mask = v6.netmask().to_bits();
            [(mask >> 64) as u64, mask as u64]
        }
    };
    let address = Address::from(net.network()).halves();
    (address, mask.map(u64::to_be))
}

fn span(ports: PortRange) -> u32 {
    u32::from(ports.last() - ports.first())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::reference, *};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn entries_match_what_the_conditions_say(
            matching in reference::any_match(),
            addresses in reference::any_addresses(),
            ports in reference::any_port_pair(),
            number in reference::any_number(),
        ) {
            let key = reference::packet(addresses, ports, number);
            let entries = entries(&matching);
            prop_assert_eq!(entries.len(), count(&matching));
            let found = entries.iter().any(|entry| entry.matches(&key));
            prop_assert_eq!(found, reference::matches(&matching, &key, addresses));
        }
    }
}
