//! What tests compare with: the meaning of conditions, and random ones.

use std::net::IpAddr;

use injector_common::{
    abi::{ENTRIES_MAX, features},
    field::{self, Fields},
    flow,
    wire::{NO_PORT, PacketKey, ethertype},
};
use ipnet::IpNet;
use proptest::prelude::*;

use super::matching;
use crate::{
    profile::{Ecn, Fragment, IcmpType, Match, Protocol},
    units::{Field, Flows, Mac, Mark, PortRange, Span, TcpFlags},
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
    let class = number(field::TRAFFIC_CLASS);
    let mark = key.fields.get(field::MARK) as u32;
    let icmp = number(field::ICMP_TYPE);
    let is_icmp = |kind: &IcmpType| {
        let numbers = match key.ethertype {
            ethertype::IPV4 => kind.v4(),
            _ => kind.v6(),
        };
        let lies_in = |(first, last)| icmp.is_some_and(|n| u64::from(first) <= n && n <= last);
        numbers.is_some_and(|(first, last)| lies_in((first, last.into())))
    };
    let has_flags = |flags: &TcpFlags| {
        number(field::TCP_FLAGS).is_some_and(|n| n as u8 & flags.looked_at() == flags.set())
    };
    let is_part = |fragment: &Fragment| {
        number(field::FRAGMENT).is_some_and(|part| match fragment {
            Fragment::No => part == 0,
            Fragment::Any => part > 0,
            Fragment::First => part == 1,
            Fragment::Later => part == 2,
        })
    };
    let is_mac =
        |field, mac: &Mac| number(field).is_some_and(|address| address & mac.mask() == mac.value());
    let share = flow::share(0, key);
    let is_flow = |flows: &Flows| flows.from().odds_q32() <= share && share < flows.to().odds_q32();
    protocol
        && within(&matching.ttl, number(field::TTL))
        && within(&matching.dscp, class.map(|class| class >> 2))
        && within(&matching.length, number(field::LENGTH))
        && within(&matching.vlan, number(field::VLAN))
        && one_of(&matching.mark, |m| mark & m.mask() == m.value())
        && one_of(&matching.ecn, |ecn| {
            class.is_some_and(|class| class & 3 == *ecn as u64)
        })
        && one_of(&matching.tcp_flags, has_flags)
        && one_of(&matching.icmp_type, is_icmp)
        && one_of(&matching.fragment, is_part)
        && one_of(&matching.src_mac, |mac| is_mac(field::SRC_MAC, mac))
        && one_of(&matching.dst_mac, |mac| is_mac(field::DST_MAC, mac))
        && one_of(&matching.flows, is_flow)
        && matching.first.is_none_or(|first| {
            number(field::CONNECTION).is_some_and(|n| 1 <= n && n <= first.into())
        })
        && one_of(&matching.any, |one| matches(one, key, (src, dst)))
        && !matching
            .not
            .as_ref()
            .is_some_and(|not| matches(not, key, (src, dst)))
        && address(&matching.src, src)
        && address(&matching.dst, dst)
        && port(&matching.src_port, key.src_port)
        && port(&matching.dst_port, key.dst_port)
}

fn one_of<T>(choices: &[T], is_met: impl Fn(&T) -> bool) -> bool {
    choices.is_empty() || choices.iter().any(is_met)
}

fn within<F: Field>(spans: &[Span<F>], number: Option<u64>) -> bool {
    one_of(spans, |span| {
        number.is_some_and(|number| span.contains(number as u32))
    })
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
    /// Conditions of which none is made of others.
    fn any_plain_match()(
        protocol in prop::option::of(any_protocol()),
        src in prop::collection::vec(any_net(), 0..3),
        dst in prop::collection::vec(any_net(), 0..3),
        src_port in prop::collection::vec(any_ports(), 0..3),
        dst_port in prop::collection::vec(any_ports(), 0..3),
        others in any_others(),
    ) -> Match {
        Match { protocol, src, dst, src_port, dst_port, ..others }
    }
}

/// What is no dimension.
fn any_others() -> impl Strategy<Value = Match> {
    let ecn = prop::sample::select(vec![Ecn::NotEct, Ecn::Ect0, Ecn::Ect1, Ecn::Ce]);
    let icmp = prop::sample::select(vec!["echo-request", "redirect", "packet-too-big", "3-9"]);
    let parts = [
        Fragment::No,
        Fragment::Any,
        Fragment::First,
        Fragment::Later,
    ];
    let flags = prop::sample::select(vec!["syn", "syn,!ack", "!fin", "rst,ack", "fin"]);
    let mac = prop::sample::select(vec![
        "02:00:00:00:00:01",
        "02:00:00:00:00:00/ff:00:00:00:00:03",
    ]);
    let flows = prop::sample::select(vec!["10%", "50%", "20%-60%"]);
    let first = (
        (
            seldom(any_span()),
            seldom(any_span()),
            seldom(any_mark()),
            seldom(ecn),
        ),
        (
            seldom(flags.prop_map(parsed)),
            seldom(icmp.prop_map(parsed)),
            seldom(prop::sample::select(parts.to_vec())),
        ),
        (seldom(any_span()), seldom(any_span())),
        (
            seldom(mac.clone().prop_map(parsed)),
            seldom(mac.prop_map(parsed)),
        ),
        (
            prop_oneof![8 => Just(None), 1 => (1u32..5).prop_map(Some)],
            seldom(flows.prop_map(parsed)),
        ),
    );
    first.prop_map(
        |(
            (ttl, dscp, mark, ecn),
            (tcp_flags, icmp_type, fragment),
            (length, vlan),
            macs,
            flows,
        )| {
            Match {
                ttl,
                dscp,
                mark,
                ecn,
                tcp_flags,
                icmp_type,
                fragment,
                length,
                vlan,
                src_mac: macs.0,
                dst_mac: macs.1,
                first: flows.0,
                flows: flows.1,
                ..Match::default()
            }
        },
    )
}

fn parsed<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().unwrap()
}

/// Any conditions, some of them made of others.
pub(super) fn any_match() -> impl Strategy<Value = Match> {
    let nested = (
        prop::collection::vec(any_plain_match(), 1..3),
        any_plain_match(),
        0..8u8,
    );
    let matching = (any_plain_match(), nested).prop_map(|(plain, (any, not, which))| Match {
        any: if which == 0 { any } else { Vec::new() },
        not: (which == 1).then(|| Box::new(not)),
        ..plain
    });
    // Of 20 rules all entries fit into a table.
    matching.prop_filter("few entries", |matching| {
        matching::count(matching) <= ENTRIES_MAX / 20
    })
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

/// A packet that has these, too, as far as packets of its protocol do.
pub(super) fn with(key: PacketKey, mut fields: Fields) -> PacketKey {
    let is_icmp = matches!(
        (key.ethertype, key.protocol),
        (ethertype::IPV4, 1) | (ethertype::IPV6, 58)
    );
    let of_others = [
        (field::TCP_FLAGS, key.protocol == 6),
        (field::ICMP_TYPE, is_icmp),
    ];
    for (field, _) in of_others.into_iter().filter(|(_, has)| !has) {
        fields.set(features::ALL, field, field::ABSENT);
    }
    PacketKey { fields, ..key }
}

/// What else a packet has.
pub(super) fn any_fields() -> impl Strategy<Value = Fields> {
    let below = |end: u64| prop_oneof![9 => 0..end, 1 => Just(field::ABSENT)];
    let numbers = (
        (below(256), below(256), below(256), below(16), below(3)),
        (below(1 << 16), below(1 << 12), below(6)),
        (below(4), below(4)),
        any::<u32>().prop_map(|mark| u64::from(mark) & 0x8000_000f),
    );
    numbers.prop_map(|(ip, (length, vlan, connection), macs, mark)| {
        let mac = |low: u64| {
            if low == field::ABSENT {
                low
            } else {
                0x0200_0000_0000 | low
            }
        };
        let mut fields = Fields::default();
        let numbers = [
            (field::TTL, ip.0),
            (field::TRAFFIC_CLASS, ip.1),
            (field::TCP_FLAGS, ip.2),
            (field::ICMP_TYPE, ip.3),
            (field::FRAGMENT, ip.4),
            (field::LENGTH, length),
            (field::VLAN, vlan),
            (field::CONNECTION, connection),
            (field::SRC_MAC, mac(macs.0)),
            (field::DST_MAC, mac(macs.1)),
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
