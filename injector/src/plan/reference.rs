//! What tests compare with: the meaning of conditions, and random ones.

use std::net::IpAddr;

use injector_common::{
    abi::features,
    field::{self, Fields},
    wire::{NO_PORT, PacketKey, ethertype},
};
use ipnet::IpNet;
use proptest::prelude::*;

use crate::{
    profile::{Match, Protocol},
    units::{Field, Mark, PortRange, Span},
};

/// Whether a rule's conditions are met, written down a second time and plainly.
pub(super) fn matches(matching: &Match, key: &PacketKey, (src, dst): (IpAddr, IpAddr)) -> bool {
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
    let number = |field| Some(key.fields.get(field)).filter(|number| *number != field::ABSENT);
    let within = |spans: &[(u32, u32)], number: Option<u64>| {
        let lies_in = |(first, last): &(u32, u32)| {
            number.is_some_and(|n| u64::from(*first) <= n && n <= u64::from(*last))
        };
        spans.is_empty() || spans.iter().any(lies_in)
    };
    let mark = key.fields.get(field::MARK) as u32;
    let marks = &matching.mark;
    protocol
        && within(&bounds(&matching.ttl), number(field::TTL))
        && within(
            &bounds(&matching.dscp),
            number(field::TRAFFIC_CLASS).map(|class| class >> 2),
        )
        && (marks.is_empty() || marks.iter().any(|m| mark & m.mask() == m.value()))
        && address(&matching.src, src)
        && address(&matching.dst, dst)
        && port(&matching.src_port, key.src_port)
        && port(&matching.dst_port, key.dst_port)
}

fn bounds<F: Field>(spans: &[Span<F>]) -> Vec<(u32, u32)> {
    spans
        .iter()
        .map(|span| (span.first(), span.last()))
        .collect()
}

/// IPv4 addresses, most from a small set, so that rules and packets meet.
fn any_v4() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        3 => (0u32..16).prop_map(|low| IpAddr::from((0x0a00_0000 | low).to_be_bytes())),
        1 => any::<[u8; 4]>().prop_map(IpAddr::from),
    ]
}

/// IPv6 addresses likewise.
fn any_v6() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        3 => (0u128..16).prop_map(|low| IpAddr::from(((0x2001_0db8 << 96) | low).to_be_bytes())),
        1 => any::<[u8; 16]>().prop_map(IpAddr::from),
    ]
}

fn any_net() -> impl Strategy<Value = IpNet> {
    (prop_oneof![any_v4(), any_v6()], 0u8..=128).prop_map(|(address, len)| {
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
    pub(super) fn any_match()(
        protocol in prop::option::of(any_protocol()),
        src in prop::collection::vec(any_net(), 0..3),
        dst in prop::collection::vec(any_net(), 0..3),
        src_port in prop::collection::vec(any_ports(), 0..3),
        dst_port in prop::collection::vec(any_ports(), 0..3),
        (ttl, dscp, mark) in (seldom(any_span()), seldom(any_span()), seldom(any_mark())),
    ) -> Match {
        Match { protocol, src, dst, src_port, dst_port, ttl, dscp, mark, owners: Vec::new() }
    }
}

/// The addresses of an IP packet: both of one family.
pub(super) fn any_addresses() -> impl Strategy<Value = (IpAddr, IpAddr)> {
    prop_oneof![(any_v4(), any_v4()), (any_v6(), any_v6())]
}

/// The ports of a packet.
pub(super) fn any_port_pair() -> impl Strategy<Value = (u32, u32)> {
    let port = prop_oneof![0u32..10, 0u32..1 << 16, Just(NO_PORT)];
    (port.clone(), port)
}

/// A protocol number.
pub(super) fn any_number() -> impl Strategy<Value = u16> {
    prop::sample::select(vec![1u16, 6, 17, 58, 200])
}

/// An IP packet.
pub(super) fn packet(
    (src, dst): (IpAddr, IpAddr),
    (src_port, dst_port): (u32, u32),
    protocol: u16,
) -> PacketKey {
    PacketKey {
        src: src.into(),
        dst: dst.into(),
        src_port,
        dst_port,
        ethertype: match src {
            IpAddr::V4(_) => ethertype::IPV4,
            IpAddr::V6(_) => ethertype::IPV6,
        },
        protocol,
        ..PacketKey::default()
    }
}

/// What else a packet has.
pub(super) fn any_fields() -> impl Strategy<Value = Fields> {
    let present = |number: BoxedStrategy<u64>| prop_oneof![9 => number, 1 => Just(field::ABSENT)];
    let numbers = (
        present((0u64..256).boxed()),
        present((0u64..256).boxed()),
        any::<u32>().prop_map(|mark| u64::from(mark) & 0x8000_000f),
    );
    numbers.prop_map(|(ttl, class, mark)| {
        let mut fields = Fields::default();
        let numbers = [
            (field::TTL, ttl),
            (field::TRAFFIC_CLASS, class),
            (field::MARK, mark),
        ];
        for (field, number) in numbers {
            fields.set(features::ALL, field, number);
        }
        fields
    })
}

fn any_span<F: Field + std::fmt::Debug>() -> impl Strategy<Value = Span<F>> {
    (0..=F::MOST, 0..=F::MOST).prop_map(|(a, b)| Span::new(a.min(b), a.max(b)).unwrap())
}

fn any_mark() -> impl Strategy<Value = Mark> {
    let bits = || any::<u32>().prop_map(|bits| bits & 0x8000_000f);
    (bits(), bits()).prop_map(|(value, mask)| Mark::new(value & mask, mask).unwrap())
}

/// Two of them, one, or, most often, none.
fn seldom<T: std::fmt::Debug + Clone>(
    one: impl Strategy<Value = T>,
) -> impl Strategy<Value = Vec<T>> {
    prop_oneof![4 => Just(Vec::new()), 1 => prop::collection::vec(one, 1..3)]
}
