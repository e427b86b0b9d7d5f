//! What tests compare with: the meaning of conditions, and random ones.

use std::net::IpAddr;

use injector_common::wire::{NO_PORT, PacketKey, ethertype};
use ipnet::IpNet;
use proptest::prelude::*;

use crate::{
    profile::{Match, Protocol},
    units::PortRange,
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
    protocol
        && address(&matching.src, src)
        && address(&matching.dst, dst)
        && port(&matching.src_port, key.src_port)
        && port(&matching.dst_port, key.dst_port)
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
    ) -> Match {
        Match { protocol, src, dst, src_port, dst_port }
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
    }
}
