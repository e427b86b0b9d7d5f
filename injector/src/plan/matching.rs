//! A rule's conditions as match entries.
//!
//! A condition is a list of entries of which one has to match; conditions that have to be met together are
//! multiplied.

use injector_common::{
    abi::{ENTRIES_MAX, MatchEntry, Predicate},
    dimension,
    field::{self, fragment},
    wire::{Address, ethertype, protocol},
};
use ipnet::IpNet;

use super::Predicates;
use crate::{
    profile::{Fragment, IcmpType, Match, Protocol},
    units::{Field, Mark, PortRange, Span},
};

/// The match entries that these conditions take, and whatever predicates they need.
pub fn entries(matching: &Match, predicates: &mut Predicates) -> Vec<MatchEntry> {
    if matching.is_unanswered() {
        return Vec::new();
    }
    let implied = Some(implied(matching)).filter(|kinds| !kinds.is_empty());
    let conditions = implied.into_iter().chain(conditions(matching, predicates));
    conditions.fold(vec![MatchEntry::ANY], |entries, choices| {
        both(&entries, &choices).collect()
    })
}

/// Each condition that is there.
fn conditions(matching: &Match, predicates: &mut Predicates) -> Vec<Vec<MatchEntry>> {
    let conditions = [
        kinds(matching.protocol).iter().map(Kind::entry).collect(),
        matching.src.iter().map(src_entry).collect(),
        matching.dst.iter().map(dst_entry).collect(),
        matching.src_port.iter().map(src_port_entry).collect(),
        matching.dst_port.iter().map(dst_port_entry).collect(),
        so(predicates, &matching.ttl, |span| spanned(field::TTL, span)),
        so(predicates, &matching.dscp, |span| {
            shifted(spanned(field::TRAFFIC_CLASS, span), 2)
        }),
        so(predicates, &matching.mark, marked),
        so(predicates, &matching.ecn, |ecn| {
            masked(field::TRAFFIC_CLASS, 3, ecn as u64)
        }),
        so(predicates, &matching.tcp_flags, |flags| {
            masked(
                field::TCP_FLAGS,
                flags.looked_at().into(),
                flags.set().into(),
            )
        }),
        icmp_entries(predicates, &matching.icmp_type),
        so(predicates, &matching.fragment, parts),
        so(predicates, &matching.length, |span| {
            spanned(field::LENGTH, span)
        }),
        so(predicates, &matching.vlan, |span| {
            spanned(field::VLAN, span)
        }),
        so(predicates, &matching.src_mac, |mac| {
            masked(field::SRC_MAC, mac.mask(), mac.value())
        }),
        so(predicates, &matching.dst_mac, |mac| {
            masked(field::DST_MAC, mac.mask(), mac.value())
        }),
        so(predicates, matching.first.as_slice(), |first| {
            from_to(field::CONNECTION, 1, first.into())
        }),
        so(predicates, &matching.flows, |flows| {
            let (from, end) = (flows.from().odds_q32(), flows.to().odds_q32());
            from_to(field::FLOW, from, end - 1)
        }),
    ];
    let given = conditions.into_iter().filter(|choices| !choices.is_empty());
    let mut given: Vec<_> = given.collect();
    given.extend(matching.owners.iter().map(|owners| {
        let owners: Vec<_> = owners.iter().map(|owner| predicates.owner(owner)).collect();
        so(predicates, &owners, |predicate| predicate)
    }));
    // Those of which none can be met are conditions, too.
    if !matching.any.is_empty() {
        let alternatives = matching.any.iter();
        given.push(
            alternatives
                .flat_map(|one| entries(one, predicates))
                .collect(),
        );
    }
    if let Some(not) = &matching.not {
        given.push(opposites(not, predicates));
    }
    given
}

/// What other conditions say of the protocol, so that rules about them have less in common with others.
fn implied(matching: &Match) -> Vec<MatchEntry> {
    let is_tcp = !matching.tcp_flags.is_empty();
    let protocol = is_tcp.then_some(Protocol::TCP);
    kinds(protocol).iter().map(Kind::entry).collect()
}

/// The entries for what does not meet all of these conditions.
fn opposites(matching: &Match, predicates: &mut Predicates) -> Vec<MatchEntry> {
    if at_most(matching) > BUILT_MAX {
        return Vec::new();
    }
    let conditions = conditions(matching, predicates);
    let opposites = conditions
        .iter()
        .flat_map(|choices| none_of(choices, predicates));
    without_repetition(opposites.collect())
}

/// The entries for what meets none of several.
fn none_of(choices: &[MatchEntry], predicates: &mut Predicates) -> Vec<MatchEntry> {
    let mut entries = vec![MatchEntry::ANY];
    for choice in choices {
        let opposites = opposites_of_entry(choice, predicates);
        entries = without_repetition(both(&entries, &opposites).collect());
        if entries.len() > ENTRIES_MAX {
            break;
        }
    }
    entries
}

/// The entries for what does not match one: an entry for each of its conditions.
fn opposites_of_entry(entry: &MatchEntry, predicates: &mut Predicates) -> Vec<MatchEntry> {
    let dimensions = (0..dimension::COUNT).filter(|dimension| entry.restricts(*dimension));
    let places = dimensions.map(|dimension| (predicates.bit(place(entry, dimension)), 0));
    let places: Vec<_> = places.collect();
    let bits = (0..u64::BITS).map(|number| 1 << number);
    let truths = bits.filter(|bit| entry.truths_mask & bit != 0);
    let truths = truths.map(|bit| (bit, !entry.truths & bit));
    let entry = |(truths_mask, truths)| MatchEntry {
        truths,
        truths_mask,
        ..MatchEntry::ANY
    };
    places.into_iter().chain(truths).map(entry).collect()
}

/// That a packet lies where an entry matches, in one dimension.
fn place(entry: &MatchEntry, dimension: usize) -> Predicate {
    let half = |value: u64, mask: u64| (u64::from_be(mask), u64::from_be(value & mask), 0);
    let range = |first: u32, span: u32| (u64::MAX, first.into(), span.into());
    let (mask, first, span) = match dimension {
        0 => half(entry.src[0], entry.src_mask[0]),
        1 => half(entry.src[1], entry.src_mask[1]),
        2 => half(entry.dst[0], entry.dst_mask[0]),
        3 => half(entry.dst[1], entry.dst_mask[1]),
        4 => range(entry.src_port, entry.src_port_span),
        5 => range(entry.dst_port, entry.dst_port_span),
        _ => {
            let kind = |ethertype, protocol| u64::from(ethertype) << 16 | u64::from(protocol);
            let mask = kind(entry.ethertype_mask, entry.protocol_mask);
            (mask, kind(entry.ethertype, entry.protocol) & mask, 0)
        }
    };
    Predicate {
        field: dimension as u32,
        mask,
        first,
        span,
        ..Predicate::default()
    }
}

/// The entries without those of which another matches all.
fn without_repetition(entries: Vec<MatchEntry>) -> Vec<MatchEntry> {
    let mut kept: Vec<MatchEntry> = Vec::new();
    let is_within = |a: &MatchEntry, b: &MatchEntry| common(a, b) == Some(*a);
    for entry in entries {
        if !kept.iter().any(|other| is_within(&entry, other)) {
            kept.retain(|other| !is_within(other, &entry));
            kept.push(entry);
        }
    }
    kept
}

/// Types of ICMP in each version, which have numbers of their own.
fn icmp_entries(predicates: &mut Predicates, types: &[IcmpType]) -> Vec<MatchEntry> {
    let mut entries = Vec::new();
    for kind in types {
        let versions = kinds(Some(Protocol::Icmp)).into_iter();
        for (version, numbers) in versions.zip([kind.v4(), kind.v6()]) {
            let numbers = numbers.map(|(first, last)| (first.into(), last.into()));
            let is_so = so(predicates, numbers.as_slice(), |(first, last)| {
                from_to(field::ICMP_TYPE, first, last)
            });
            entries.extend(both(&[version.entry()], &is_so));
        }
    }
    entries
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
            ..MatchEntry::ANY
        }
    };
    choices.iter().map(entry).collect()
}

fn spanned<F: Field>(field: usize, span: Span<F>) -> Predicate {
    from_to(field, span.first().into(), span.last().into())
}

fn from_to(field: usize, first: u64, last: u64) -> Predicate {
    Predicate {
        field: field as u32,
        mask: u64::MAX,
        first,
        span: last - first,
        ..Predicate::default()
    }
}

/// That some bits of a field, which is there, are these.
fn masked(field: usize, mask: u64, value: u64) -> Predicate {
    Predicate {
        field: field as u32,
        mask: field::ABSENT | mask,
        first: value,
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
    masked(field::MARK, mark.mask().into(), mark.value().into())
}

fn parts(fragment: Fragment) -> Predicate {
    let (first, last) = match fragment {
        Fragment::No => (fragment::NONE, fragment::NONE),
        Fragment::Any => (fragment::FIRST, fragment::LATER),
        Fragment::First => (fragment::FIRST, fragment::FIRST),
        Fragment::Later => (fragment::LATER, fragment::LATER),
    };
    from_to(field::FRAGMENT, first, last)
}

/// How many entries there are; at least that many where they are too many to be made.
pub(super) fn count(matching: &Match) -> usize {
    let most = at_most(matching);
    if most > BUILT_MAX {
        return most;
    }
    entries(matching, &mut Predicates::default()).len()
}

/// Most entries that are made only to be counted.
const BUILT_MAX: usize = 4 * ENTRIES_MAX;

/// How many entries there are at most, without making them.
fn at_most(matching: &Match) -> usize {
    if matching.is_unanswered() {
        return 0;
    }
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
    let alternatives = matching.any.iter().map(at_most);
    let others = [
        matching.src_port.len(),
        matching.dst_port.len(),
        matching.ttl.len(),
        matching.dscp.len(),
        matching.mark.len(),
        matching.ecn.len(),
        matching.tcp_flags.len(),
        2 * matching.icmp_type.len(),
        matching.fragment.len(),
        matching.length.len(),
        matching.vlan.len(),
        matching.src_mac.len(),
        matching.dst_mac.len(),
        matching.flows.len(),
        alternatives.fold(0, usize::saturating_add),
        matching.not.as_deref().map_or(0, opposites_at_most),
    ];
    let addresses: usize = kinds.iter().map(kind_pairs).sum();
    let product = |product: usize, len: usize| product.saturating_mul(len.max(1));
    let owners = matching.owners.iter().map(Vec::len);
    others.into_iter().chain(owners).fold(addresses, product)
}

/// How many entries there are for what does not meet all of these conditions.
fn opposites_at_most(matching: &Match) -> usize {
    match at_most(matching) {
        most if most > BUILT_MAX => most,
        _ => opposites(matching, &mut Predicates::default()).len(),
    }
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
        let mut entry = MatchEntry::ANY;
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
        ..MatchEntry::ANY
    }
}

fn src_port_entry(ports: &PortRange) -> MatchEntry {
    MatchEntry {
        src_port: ports.first().into(),
        src_port_span: span(*ports),
        ..MatchEntry::ANY
    }
}

fn dst_port_entry(ports: &PortRange) -> MatchEntry {
    MatchEntry {
        dst_port: ports.first().into(),
        dst_port_span: span(*ports),
        ..MatchEntry::ANY
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
            let key = reference::with(reference::packet(addresses, ports, number), fields);
            let judged = predicates.judged(&key);
            let found = entries.iter().any(|entry| entry.matches(&judged));
            prop_assert_eq!(found, reference::matches(&matching, &key, addresses));
        }
    }
}
