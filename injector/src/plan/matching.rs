//! A rule's conditions as match entries.
//!
//! A condition is a list of entries of which one has to match; conditions that have to be met together are
//! multiplied.

use injector_common::{
    abi::{MatchEntry, Predicate},
    field,
    wire::{ANY_PORT_SPAN, Address, ethertype, protocol},
};
use ipnet::IpNet;

use super::Predicates;
use crate::{
    profile::{Match, Protocol},
    units::{Field, Mark, PortRange, Span},
};

/// One that every packet matches.
const ANY: MatchEntry = MatchEntry {
    src: [0; 2],
    src_mask: [0; 2],
    dst: [0; 2],
    dst_mask: [0; 2],
    src_port: 0,
    src_port_span: ANY_PORT_SPAN,
    dst_port: 0,
    dst_port_span: ANY_PORT_SPAN,
    ethertype: 0,
    ethertype_mask: 0,
    protocol: 0,
    protocol_mask: 0,
    truths: 0,
    truths_mask: 0,
};

/// The match entries that these conditions take, and whatever predicates they need.
pub fn entries(matching: &Match, predicates: &mut Predicates) -> Vec<MatchEntry> {
    let conditions = conditions(matching, predicates);
    conditions.into_iter().fold(vec![ANY], |entries, choices| {
        both(&entries, &choices).collect()
    })
}

/// Each condition that is there.
fn conditions(matching: &Match, predicates: &mut Predicates) -> Vec<Vec<MatchEntry>> {
    let Match {
        protocol,
        src,
        dst,
        src_port,
        dst_port,
        ttl,
        dscp,
        mark,
        owners,
    } = matching;
    let conditions = [
        kinds(*protocol).iter().map(Kind::entry).collect(),
        src.iter().map(src_entry).collect(),
        dst.iter().map(dst_entry).collect(),
        src_port.iter().map(src_port_entry).collect(),
        dst_port.iter().map(dst_port_entry).collect(),
        so(predicates, ttl, |span| spanned(field::TTL, span)),
        so(predicates, dscp, |span| {
            shifted(spanned(field::TRAFFIC_CLASS, span), 2)
        }),
        so(predicates, mark, marked),
    ];
    let owned = owners.iter().map(|owners| {
        let owners: Vec<_> = owners.iter().map(|owner| predicates.owner(owner)).collect();
        so(predicates, &owners, |predicate| predicate)
    });
    let owned: Vec<_> = owned.collect();
    conditions
        .into_iter()
        .chain(owned)
        .filter(|choices| !choices.is_empty())
        .collect()
}

/// The entries that ask for one of these to be so.
fn so<T: Copy>(
    predicates: &mut Predicates,
    choices: &[T],
    predicate: impl Fn(T) -> Predicate,
) -> Vec<MatchEntry> {
    let entry = |choice: &T| {
        let bit = predicates.bit(predicate(*choice));
        MatchEntry {
            truths: bit,
            truths_mask: bit,
            ..ANY
        }
    };
    choices.iter().map(entry).collect()
}

fn spanned<F: Field>(field: usize, span: Span<F>) -> Predicate {
    Predicate {
        field: field as u32,
        mask: u64::MAX,
        first: span.first().into(),
        span: u64::from(span.last() - span.first()),
        ..Predicate::default()
    }
}

/// About a part of the field above so many bits that do not count.
fn shifted(predicate: Predicate, bits: u32) -> Predicate {
    Predicate {
        mask: predicate.mask << bits,
        first: predicate.first << bits,
        span: predicate.span << bits,
        ..predicate
    }
}

fn marked(mark: Mark) -> Predicate {
    Predicate {
        field: field::MARK as u32,
        mask: field::ABSENT | u64::from(mark.mask()),
        first: mark.value().into(),
        ..Predicate::default()
    }
}

/// How many entries there are at most, without making them.
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
    let others = [
        matching.src_port.len(),
        matching.dst_port.len(),
        matching.ttl.len(),
        matching.dscp.len(),
        matching.mark.len(),
    ];
    let addresses: usize = kinds.iter().map(kind_pairs).sum();
    let product = |product: usize, len: usize| product.saturating_mul(len.max(1));
    let owners = matching.owners.iter().map(Vec::len);
    others.into_iter().chain(owners).fold(addresses, product)
}

/// Every entry together with every other; those that contradict each other make none.
fn both<'a>(
    entries: &'a [MatchEntry],
    others: &'a [MatchEntry],
) -> impl Iterator<Item = MatchEntry> + 'a {
    let with = |entry| others.iter().filter_map(move |other| common(entry, other));
    entries.iter().flat_map(with)
}

/// What matches both, if anything does.
fn common(a: &MatchEntry, b: &MatchEntry) -> Option<MatchEntry> {
    let (ethertype, ethertype_mask) = bits(
        (a.ethertype.into(), a.ethertype_mask.into()),
        (b.ethertype.into(), b.ethertype_mask.into()),
    )?;
    let (protocol, protocol_mask) = bits(
        (a.protocol.into(), a.protocol_mask.into()),
        (b.protocol.into(), b.protocol_mask.into()),
    )?;
    let (src, src_mask) = address((a.src, a.src_mask), (b.src, b.src_mask))?;
    let (dst, dst_mask) = address((a.dst, a.dst_mask), (b.dst, b.dst_mask))?;
    let (src_port, src_port_span) =
        ports((a.src_port, a.src_port_span), (b.src_port, b.src_port_span))?;
    let (dst_port, dst_port_span) =
        ports((a.dst_port, a.dst_port_span), (b.dst_port, b.dst_port_span))?;
    let (truths, truths_mask) = bits((a.truths, a.truths_mask), (b.truths, b.truths_mask))?;
    Some(MatchEntry {
        src,
        src_mask,
        dst,
        dst_mask,
        src_port,
        src_port_span,
        dst_port,
        dst_port_span,
        ethertype: ethertype as u16,
        ethertype_mask: ethertype_mask as u16,
        protocol: protocol as u16,
        protocol_mask: protocol_mask as u16,
        truths,
        truths_mask,
    })
}

/// What has the bits of both, of which the masks say which count.
fn bits((a, a_mask): (u64, u64), (b, b_mask): (u64, u64)) -> Option<(u64, u64)> {
    let agree = (a ^ b) & a_mask & b_mask == 0;
    agree.then_some((a & a_mask | b & b_mask, a_mask | b_mask))
}

type Masked = ([u64; 2], [u64; 2]);

fn address((a, a_mask): Masked, (b, b_mask): Masked) -> Option<Masked> {
    let (high, high_mask) = bits((a[0], a_mask[0]), (b[0], b_mask[0]))?;
    let (low, low_mask) = bits((a[1], a_mask[1]), (b[1], b_mask[1]))?;
    Some(([high, low], [high_mask, low_mask]))
}

/// What lies in both ranges, each with what it spans.
fn ports((a, a_span): (u32, u32), (b, b_span): (u32, u32)) -> Option<(u32, u32)> {
    let last = |first: u32, span| first.saturating_add(span);
    let (first, last) = (a.max(b), last(a, a_span).min(last(b, b_span)));
    Some((first, last.checked_sub(first)?))
}

/// What a protocol's name stands for.
#[derive(Default)]
struct Kind {
    ethertype: Option<u16>,
    protocol: Option<u8>,
}

impl Kind {
    fn entry(&self) -> MatchEntry {
        let mut entry = ANY;
        if let Some(ethertype) = self.ethertype {
            (entry.ethertype, entry.ethertype_mask) = (ethertype, u16::MAX);
        }
        if let Some(protocol) = self.protocol {
            (entry.protocol, entry.protocol_mask) = (protocol.into(), u16::MAX);
        }
        entry
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

fn src_entry(net: &IpNet) -> MatchEntry {
    let (src, src_mask) = halves(net);
    MatchEntry {
        src,
        src_mask,
        ..of_family(net)
    }
}

fn dst_entry(net: &IpNet) -> MatchEntry {
    let (dst, dst_mask) = halves(net);
    MatchEntry {
        dst,
        dst_mask,
        ..of_family(net)
    }
}

fn of_family(net: &IpNet) -> MatchEntry {
    MatchEntry {
        ethertype: family(net),
        ethertype_mask: u16::MAX,
        ..ANY
    }
}

fn src_port_entry(ports: &PortRange) -> MatchEntry {
    MatchEntry {
        src_port: ports.first().into(),
        src_port_span: span(*ports),
        ..ANY
    }
}

fn dst_port_entry(ports: &PortRange) -> MatchEntry {
    MatchEntry {
        dst_port: ports.first().into(),
        dst_port_span: span(*ports),
        ..ANY
    }
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
    use injector_common::wire::PacketKey;
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
            fields in reference::any_fields(),
        ) {
            let mut predicates = Predicates::default();
            let entries = entries(&matching, &mut predicates);
            prop_assert_eq!(entries.len(), count(&matching));
            let key = PacketKey {
                fields,
                ..reference::packet(addresses, ports, number)
            };
            let judged = predicates.judged(&key);
            let found = entries.iter().any(|entry| entry.matches(&judged));
            prop_assert_eq!(found, reference::matches(&matching, &key, addresses));
        }
    }
}
