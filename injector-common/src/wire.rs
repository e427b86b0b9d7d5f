//! Bytes of a frame to what rules match on.
//!
//! Written once over [`Bytes`], which a slice implements in userspace and a pair of packet
//! pointers in the kernel.

use core::mem::offset_of;

use network_types::{
    eth::EthHdr,
    icmp::Icmpv4Hdr,
    ip::{Ipv4Hdr, Ipv6Hdr},
    sctp::SctpHdr,
    tcp::TcpHdr,
    udp::UdpHdr,
    vlan::VlanHdr,
};

use crate::{
    abi::features,
    field::{self, Fields, fragment},
};

/// Most VLAN tags looked behind, not counting one that the device has already taken off.
pub const VLAN_TAGS_MAX: usize = 2;
/// Most IPv6 extension headers looked behind.
pub const IPV6_HEADERS_MAX: usize = 8;
/// Most bytes of IPv6 extension headers looked behind.
pub const IPV6_HEADERS_LEN_MAX: usize = 256;
/// Most bytes of a frame that [`parse`] may read.
pub const HEADERS_LEN_MAX: usize =
    EthHdr::LEN + VLAN_TAGS_MAX * VlanHdr::LEN + Ipv6Hdr::LEN + IPV6_HEADERS_LEN_MAX + TcpHdr::LEN;

/// EtherTypes, in host order.
pub mod ethertype {
    /// IPv4.
    pub const IPV4: u16 = 0x0800;
    /// ARP.
    pub const ARP: u16 = 0x0806;
    /// IPv6.
    pub const IPV6: u16 = 0x86dd;
    /// 802.1Q tag.
    pub const VLAN: u16 = 0x8100;
    /// 802.1ad service tag.
    pub const QINQ: u16 = 0x88a8;
}

/// IP protocol numbers.
pub mod protocol {
    /// ICMP.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// ICMPv6.
    pub const ICMPV6: u8 = 58;
    /// SCTP.
    pub const SCTP: u8 = 132;
    /// IPv6 hop-by-hop options.
    pub(super) const HOP_BY_HOP: u8 = 0;
    /// IPv6 routing header.
    pub(super) const ROUTING: u8 = 43;
    /// IPv6 fragment header.
    pub(super) const FRAGMENT: u8 = 44;
    /// Authentication header (RFC 4302), whose length counts 4-byte words.
    pub(super) const AUTHENTICATION: u8 = 51;
    /// IPv6 destination options.
    pub(super) const DESTINATION: u8 = 60;
}

/// Where the flags lie in the header of TCP.
const TCP_FLAGS_OFFSET: usize = 13;

/// Stands for "no port": outside the range of ports, inside that of "any port".
pub const NO_PORT: u32 = 1 << 16;
/// Span of a range that holds every port and [`NO_PORT`].
pub const ANY_PORT_SPAN: u32 = u32::MAX;
/// In place of a destination port, ICMPv6 packets have this and their type: outside the range of ports,
/// too.
pub const ICMPV6_TYPES: u32 = 1 << 17;
/// Stands for "no IP protocol".
pub const NO_PROTOCOL: u16 = 1 << 8;

/// A type that any bytes are a value of.
///
/// # Safety
/// Every bit pattern is a valid value, and alignment does not matter to the reader.
pub unsafe trait Plain: Copy {}
// SAFETY: structures of integers and byte arrays.
unsafe impl Plain for EthHdr {}
// SAFETY: as above.
unsafe impl Plain for VlanHdr {}
// SAFETY: as above.
unsafe impl Plain for Ipv4Hdr {}
// SAFETY: as above.
unsafe impl Plain for Ipv6Hdr {}
// SAFETY: as above.
unsafe impl Plain for ExtensionHdr {}
// SAFETY: as above.
unsafe impl Plain for UdpHdr {}
// SAFETY: as above.
unsafe impl Plain for TcpHdr {}
// SAFETY: as above.
unsafe impl<const N: usize> Plain for [u32; N] {}
// SAFETY: as above.
unsafe impl Plain for u8 {}
// SAFETY: as above.
unsafe impl Plain for u16 {}
// SAFETY: as above.
unsafe impl Plain for u32 {}

/// A frame that can be read at any offset.
pub trait Bytes {
    /// The value at `offset`, aligned or not; `None` where it is not wholly within the frame.
    fn read<T: Plain>(&self, offset: usize) -> Option<T>;

    /// The same offset, of which the verifier is to know nothing: it then sees that ways through
    /// the parser meet, and does not follow each of them to the end. Read at an offset that it knows, a
    /// frame is one of whose length it knows more, and ways differ by that, too.
    #[inline(always)]
    fn forget(&self, offset: usize) -> usize {
        offset
    }
}

impl Bytes for [u8] {
    fn read<T: Plain>(&self, offset: usize) -> Option<T> {
        let bytes = self.get(offset..offset.checked_add(size_of::<T>())?)?;
        // SAFETY: the slice has the size of T, and any bytes are a T.
        Some(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
    }
}

/// Start of an IPv6 extension header (RFC 8200 §4): none is shorter.
#[repr(C)]
#[derive(Clone, Copy)]
struct ExtensionHdr {
    next: u8,
    /// Length, but for a fragment header.
    len: u8,
    /// Of a fragment header (RFC 8200 §4.5): where the fragment lies, and whether more follow.
    offset: [u8; 2],
}

/// Where the identification lies in a fragment header.
const FRAGMENT_ID_OFFSET: usize = 4;

/// An address in the byte order of the wire, IPv4 mapped into IPv6 (RFC 4291 §2.5.5.2).
///
/// Read from the frame in words, compared in halves.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Address([u32; 4]);

impl Address {
    /// From the words of an IPv6 address as they lie in memory.
    #[inline(always)]
    const fn v6(words: [u32; 4]) -> Self {
        Self(words)
    }

    /// From the word of an IPv4 address as it lies in memory.
    #[inline(always)]
    const fn v4(word: u32) -> Self {
        Self([0, 0, u32::from_be(0xffff), word])
    }

    /// The words as they lie in memory; an IPv4 address is the last.
    #[inline(always)]
    pub const fn words(self) -> [u32; 4] {
        self.0
    }

    /// The same bytes in two words.
    #[inline(always)]
    pub const fn halves(self) -> [u64; 2] {
        // SAFETY: both are 16 bytes, and any bytes are integers.
        unsafe { core::mem::transmute(self.0) }
    }
}

impl From<core::net::IpAddr> for Address {
    fn from(address: core::net::IpAddr) -> Self {
        let octets = match address {
            core::net::IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
            core::net::IpAddr::V6(v6) => v6.octets(),
        };
        let word =
            |i: usize| u32::from_ne_bytes([octets[i], octets[i + 1], octets[i + 2], octets[i + 3]]);
        Self([word(0), word(4), word(8), word(12)])
    }
}

/// What rules match on.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PacketKey {
    /// Source address; 0 without IP.
    pub src: Address,
    /// Destination address.
    pub dst: Address,
    /// Source port in host order, or [`NO_PORT`].
    pub src_port: u32,
    /// Destination port in host order, type of an ICMPv6 packet ([`ICMPV6_TYPES`]) where rules look at
    /// it, or [`NO_PORT`].
    pub dst_port: u32,
    /// EtherType in host order, behind VLAN tags.
    pub ethertype: u16,
    /// IP protocol, behind IPv6 extension headers, or [`NO_PROTOCOL`].
    pub protocol: u16,
    /// What the fragments of a packet share, where later ones follow the first.
    pub id: u32,
    /// Which predicates of a table are so of the packet.
    pub truths: u64,
    /// What they are about.
    pub fields: Fields,
}

impl PacketKey {
    /// Makes this the key of a frame without IP.
    #[inline(always)]
    const fn set_without_ip(&mut self, ethertype: u16) {
        (self.src, self.dst) = (Address([0; 4]), Address([0; 4]));
        (self.src_port, self.dst_port) = (NO_PORT, NO_PORT);
        (self.ethertype, self.protocol) = (ethertype, NO_PROTOCOL);
    }
}

/// Where the parts of a frame lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// IP protocol, behind IPv6 extension headers, or [`NO_PROTOCOL`].
    pub protocol: u16,
    /// Offset of what follows the link layer: the IP header.
    pub network: usize,
    /// Offset of the transport header; of what follows the link layer without IP.
    pub transport: usize,
    /// End of the packet as its IP header tells it (without IP: `usize::MAX`), so that Ethernet
    /// padding is not taken for payload.
    pub end: usize,
    /// A fragment other than the first: no transport header.
    pub later_fragment: bool,
}

impl Layout {
    /// Of a frame into which nobody looks further than `offset`.
    #[inline(always)]
    const fn opaque(offset: usize) -> Self {
        Self {
            protocol: NO_PROTOCOL,
            network: offset,
            transport: offset,
            end: usize::MAX,
            later_fragment: false,
        }
    }
}

/// Why a frame cannot be matched. It passes untouched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unparseable {
    /// A header ends beyond the frame.
    Truncated,
    /// A header contradicts itself.
    Malformed,
    /// More extension headers than are looked behind.
    TooDeep,
}

/// Parses a frame: says where its parts lie, and fills in `key`, which a failure leaves undefined.
///
/// `raw_ip` says that the frame starts with the IP header, as on a tun device. Parsing ends where
/// `features` says that no rule looks further: what lies behind is neither checked nor told.
#[inline(always)]
pub fn parse<B: Bytes + ?Sized>(
    frame: &B,
    raw_ip: bool,
    features: u64,
    key: &mut PacketKey,
) -> Result<Layout, Unparseable> {
    key.fields.clear(features);
    if features & features::PARSED == 0 {
        return Ok(Layout::opaque(0));
    }
    let (kind, offset) = if raw_ip {
        raw_kind(frame)?
    } else {
        link_kind(frame, features, key)?
    };
    let offset = frame.forget(offset);
    let layout = match kind {
        ethertype::IPV4 if features & features::IPV4 != 0 => ipv4(frame, offset, features, key)?,
        ethertype::IPV6 if features & features::IPV6 != 0 => ipv6(frame, offset, features, key)?,
        _ => {
            key.set_without_ip(kind);
            return Ok(Layout::opaque(offset));
        }
    };
    key.ethertype = kind;
    key.protocol = layout.protocol;
    (key.src_port, key.dst_port) = (NO_PORT, NO_PORT);
    if features & features::TRANSPORT_HEADER != 0 {
        transport(frame, &layout, features, key)?;
    }
    Ok(layout)
}

/// Where the payload of a TCP or UDP packet starts.
#[inline(always)]
pub fn payload<B: Bytes + ?Sized>(frame: &B, raw_ip: bool) -> Option<usize> {
    let layout = parse(frame, raw_ip, features::LAYOUT, &mut PacketKey::default()).ok()?;
    Some(layout.transport + transport_len(frame, &layout))
}

/// The ECN field of an IP packet (RFC 3168): 0 where its flow does not understand ECN.
#[inline(always)]
pub fn ecn<B: Bytes + ?Sized>(frame: &B, raw_ip: bool) -> Option<u32> {
    let mut key = PacketKey::default();
    let layout = parse(frame, raw_ip, features::LAYOUT, &mut key).ok()?;
    let network = frame.forget(layout.network);
    match key.ethertype {
        ethertype::IPV4 => Some(u32::from(frame.read::<Ipv4Hdr>(network)?.tos & 3)),
        // The traffic class lies across the first two bytes.
        ethertype::IPV6 => Some(u32::from(frame.read::<Ipv6Hdr>(network)?.vcf[1] >> 4 & 3)),
        _ => None,
    }
}

/// Length of the transport header, 0 where there is none or it is unknown here.
#[inline(always)]
pub(crate) fn transport_len<B: Bytes + ?Sized>(frame: &B, layout: &Layout) -> usize {
    if layout.later_fragment || layout.protocol >= NO_PROTOCOL {
        return 0;
    }
    match layout.protocol as u8 {
        protocol::TCP => match frame.read::<TcpHdr>(layout.transport) {
            Some(tcp) if tcp.doff() as usize * 4 >= TcpHdr::LEN => tcp.doff() as usize * 4,
            _ => TcpHdr::LEN,
        },
        protocol::UDP => UdpHdr::LEN,
        protocol::ICMP | protocol::ICMPV6 => Icmpv4Hdr::LEN,
        protocol::SCTP => SctpHdr::LEN,
        _ => 0,
    }
}

/// The EtherType behind Ethernet header and VLAN tags, and where its header starts.
#[inline(always)]
fn link_kind<B: Bytes + ?Sized>(
    frame: &B,
    features: u64,
    key: &mut PacketKey,
) -> Result<(u16, usize), Unparseable> {
    let eth: EthHdr = frame.read(frame.forget(0)).ok_or(Unparseable::Truncated)?;
    key.fields.set(features, field::SRC_MAC, mac(eth.src_addr));
    key.fields.set(features, field::DST_MAC, mac(eth.dst_addr));
    let (mut kind, mut offset) = (u16::from_be(eth.ether_type), EthHdr::LEN);
    for _ in 0..VLAN_TAGS_MAX {
        if kind != ethertype::VLAN && kind != ethertype::QINQ {
            break;
        }
        let tag: VlanHdr = (frame.read(frame.forget(offset))).ok_or(Unparseable::Truncated)?;
        if offset == EthHdr::LEN {
            let id = vlan_id(u16::from_be_bytes(tag.tci));
            key.fields.set(features, field::VLAN, id);
        }
        kind = u16::from_be(tag.ether_type);
        offset += VlanHdr::LEN;
    }
    Ok((kind, offset))
}

/// The VLAN of a tag.
#[inline(always)]
pub const fn vlan_id(tci: u16) -> u64 {
    (tci & 0xfff) as u64
}

#[inline(always)]
const fn mac([a, b, c, d, e, f]: [u8; 6]) -> u64 {
    u64::from_be_bytes([0, 0, a, b, c, d, e, f])
}

#[inline(always)]
fn raw_kind<B: Bytes + ?Sized>(frame: &B) -> Result<(u16, usize), Unparseable> {
    let first: u8 = frame.read(frame.forget(0)).ok_or(Unparseable::Truncated)?;
    match first >> 4 {
        4 => Ok((ethertype::IPV4, 0)),
        6 => Ok((ethertype::IPV6, 0)),
        _ => Err(Unparseable::Malformed),
    }
}

#[inline(always)]
fn ipv4<B: Bytes + ?Sized>(
    frame: &B,
    offset: usize,
    features: u64,
    key: &mut PacketKey,
) -> Result<Layout, Unparseable> {
    let ip: Ipv4Hdr = frame.read(offset).ok_or(Unparseable::Truncated)?;
    let header_len = ip.ihl() as usize;
    if ip.version() != 4 || header_len < Ipv4Hdr::LEN {
        return Err(Unparseable::Malformed);
    }
    let [src, dst]: [u32; 2] = frame
        .read(offset + offset_of!(Ipv4Hdr, src_addr))
        .ok_or(Unparseable::Truncated)?;
    (key.src, key.dst) = (Address::v4(src), Address::v4(dst));
    key.fields.set(features, field::TTL, ip.ttl as u64);
    key.fields
        .set(features, field::TRAFFIC_CLASS, ip.tos as u64);
    let len = u16::from_be_bytes(ip.tot_len);
    key.fields.set(features, field::LENGTH, len as u64);
    let fragment = fragment(u16::from_be_bytes(ip.frags), 0x1fff, 1 << 13);
    key.fields.set(features, field::FRAGMENT, fragment);
    if features & features::FOLLOW != 0 {
        let id: u16 =
            (frame.read(offset + offset_of!(Ipv4Hdr, id))).ok_or(Unparseable::Truncated)?;
        key.id = u16::from_be(id) as u32;
    }
    Ok(Layout {
        protocol: ip.proto as u16,
        network: offset,
        transport: frame.forget(offset + header_len),
        end: offset + len as usize,
        later_fragment: fragment == fragment::LATER,
    })
}

#[inline(always)]
fn ipv6<B: Bytes + ?Sized>(
    frame: &B,
    offset: usize,
    features: u64,
    key: &mut PacketKey,
) -> Result<Layout, Unparseable> {
    let ip: Ipv6Hdr = frame.read(offset).ok_or(Unparseable::Truncated)?;
    if ip.vcf[0] >> 4 != 6 {
        return Err(Unparseable::Malformed);
    }
    let [s0, s1, s2, s3, d0, d1, d2, d3]: [u32; 8] = frame
        .read(offset + offset_of!(Ipv6Hdr, src_addr))
        .ok_or(Unparseable::Truncated)?;
    (key.src, key.dst) = (Address::v6([s0, s1, s2, s3]), Address::v6([d0, d1, d2, d3]));
    key.fields.set(features, field::TTL, ip.hop_limit as u64);
    // The traffic class lies across the first two bytes.
    let class = u16::from_be_bytes([ip.vcf[0], ip.vcf[1]]) >> 4 & 0xff;
    key.fields.set(features, field::TRAFFIC_CLASS, class as u64);
    let start = offset + Ipv6Hdr::LEN;
    let extensions = if features & features::TRANSPORT != 0 {
        ipv6_extensions(frame, start, ip.next_hdr, features, key)?
    } else {
        Extensions::none(ip.next_hdr)
    };
    let len = u16::from_be_bytes(ip.payload_len) as usize;
    key.fields
        .set(features, field::LENGTH, (Ipv6Hdr::LEN + len) as u64);
    key.fields
        .set(features, field::FRAGMENT, extensions.fragment);
    Ok(Layout {
        protocol: extensions.protocol as u16,
        network: offset,
        transport: frame.forget(start + extensions.len),
        end: start + len,
        later_fragment: extensions.fragment == fragment::LATER,
    })
}

/// Which part of a packet this is, by the bits that say where it lies and whether more follow.
#[inline(always)]
const fn fragment(bits: u16, offset: u16, more: u16) -> u64 {
    match (bits & offset, bits & more) {
        (0, 0) => fragment::NONE,
        (0, _) => fragment::FIRST,
        _ => fragment::LATER,
    }
}

struct Extensions {
    len: usize,
    protocol: u8,
    fragment: u64,
}

impl Extensions {
    #[inline(always)]
    const fn none(protocol: u8) -> Self {
        Self {
            len: 0,
            protocol,
            fragment: fragment::NONE,
        }
    }
}

/// Walks the extension headers from `start` on, within bounds; notes which packet it is a part of.
///
/// With as few branches as can be: the verifier follows each of them in each round.
#[inline(always)]
fn ipv6_extensions<B: Bytes + ?Sized>(
    frame: &B,
    start: usize,
    first: u8,
    features: u64,
    key: &mut PacketKey,
) -> Result<Extensions, Unparseable> {
    let mut walk = Extensions::none(first);
    for _ in 0..IPV6_HEADERS_MAX {
        walk.len = frame.forget(walk.len);
        if !is_extension(frame, walk.protocol) {
            return Ok(walk);
        }
        let header: ExtensionHdr = frame.read(start + walk.len).ok_or(Unparseable::Truncated)?;
        if walk.protocol == protocol::FRAGMENT {
            if features & features::FOLLOW != 0 {
                let id: u32 = (frame.read(start + walk.len + FRAGMENT_ID_OFFSET))
                    .ok_or(Unparseable::Truncated)?;
                key.id = u32::from_be(id);
            }
            walk.fragment = fragment(u16::from_be_bytes(header.offset), !7, 1);
            walk.len += 8;
        } else {
            // In units of eight bytes, but for the first; in an authentication header of four, but for two.
            let is_authentication = usize::from(walk.protocol == protocol::AUTHENTICATION);
            walk.len += (header.len as usize + 1 + is_authentication) << (3 - is_authentication);
        }
        walk.protocol = header.next;
        if walk.fragment == fragment::LATER {
            return Ok(walk);
        }
        if walk.len > IPV6_HEADERS_LEN_MAX {
            return Err(Unparseable::TooDeep);
        }
    }
    if is_extension(frame, walk.protocol) {
        return Err(Unparseable::TooDeep);
    }
    Ok(walk)
}

/// Whether an IPv6 header of this kind has another behind it.
#[inline(always)]
fn is_extension<B: Bytes + ?Sized>(frame: &B, protocol: u8) -> bool {
    const KINDS: u64 = 1 << protocol::HOP_BY_HOP
        | 1 << protocol::ROUTING
        | 1 << protocol::FRAGMENT
        | 1 << protocol::AUTHENTICATION
        | 1 << protocol::DESTINATION;
    let protocol = frame.forget(protocol as usize);
    protocol < 64 && KINDS >> protocol & 1 != 0
}

/// The ports, with which the headers of TCP, UDP and SCTP all begin, or the type, with which those of
/// ICMP and ICMPv6 do; flags of TCP.
#[inline(always)]
fn transport<B: Bytes + ?Sized>(
    frame: &B,
    layout: &Layout,
    features: u64,
    key: &mut PacketKey,
) -> Result<(), Unparseable> {
    if layout.later_fragment {
        return Ok(());
    }
    match layout.protocol as u8 {
        protocol::TCP | protocol::UDP | protocol::SCTP => {
            let header: UdpHdr = frame.read(layout.transport).ok_or(Unparseable::Truncated)?;
            key.src_port = u16::from_be_bytes(header.src) as u32;
            key.dst_port = u16::from_be_bytes(header.dst) as u32;
            if features & features::field(field::TCP_FLAGS) != 0
                && layout.protocol as u8 == protocol::TCP
            {
                let flags: u8 = (frame.read(layout.transport + TCP_FLAGS_OFFSET))
                    .ok_or(Unparseable::Truncated)?;
                key.fields.set(features, field::TCP_FLAGS, flags as u64);
            }
        }
        protocol::ICMP
            if features & features::field(field::ICMP_TYPE) != 0
                && key.ethertype == ethertype::IPV4 =>
        {
            let kind: u8 = frame.read(layout.transport).ok_or(Unparseable::Truncated)?;
            key.fields.set(features, field::ICMP_TYPE, kind as u64);
        }
        protocol::ICMPV6
            if features & (features::ICMPV6_TYPE | features::field(field::ICMP_TYPE)) != 0
                && key.ethertype == ethertype::IPV6 =>
        {
            let kind: u8 = frame.read(layout.transport).ok_or(Unparseable::Truncated)?;
            key.fields.set(features, field::ICMP_TYPE, kind as u64);
            if features & features::ICMPV6_TYPE != 0 {
                key.dst_port = ICMPV6_TYPES + kind as u32;
            }
        }
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::{vec, vec::Vec};

    use proptest::{collection, prelude::*, sample};

    use super::*;

    /// An extension header: its kind, and what its field says of its length.
    type Extension = (u8, u8);

    fn any_extension() -> impl Strategy<Value = Extension> {
        let kinds = vec![
            protocol::HOP_BY_HOP,
            protocol::ROUTING,
            protocol::DESTINATION,
            protocol::AUTHENTICATION,
        ];
        (sample::select(kinds), prop_oneof![0..4_u8, any::<u8>()])
    }

    /// RFC 8200 §4.3 to §4.6; RFC 4302 §2.2.
    fn len((kind, field): Extension) -> usize {
        match kind {
            protocol::AUTHENTICATION => 4 * (usize::from(field) + 2),
            _ => 8 + 8 * usize::from(field),
        }
    }

    /// An IPv6 packet with these headers and one of UDP behind.
    fn packet(extensions: &[Extension]) -> Vec<u8> {
        let kinds = extensions.iter().map(|(kind, _)| *kind);
        let mut kinds = kinds.chain([protocol::UDP]);
        let mut packet = vec![0x60, 0, 0, 0, 0, 0, kinds.next().unwrap(), 64];
        packet.resize(Ipv6Hdr::LEN, 0);
        for (extension, next) in extensions.iter().zip(kinds) {
            let end = packet.len() + len(*extension);
            packet.extend([next, extension.1]);
            packet.resize(end, 0xff);
        }
        packet.extend([0x10, 0x00, 0x20, 0x00, 0, 8, 0, 0]);
        packet
    }

    proptest! {
        #[test]
        fn the_transport_header_lies_behind_all_extension_headers(
            extensions in collection::vec(any_extension(), 0..11),
        ) {
            let mut key = PacketKey::default();
            let parsed = parse(&*packet(&extensions), true, features::ALL, &mut key);
            let behind: usize = extensions.iter().copied().map(len).sum();
            if extensions.len() > IPV6_HEADERS_MAX || behind > IPV6_HEADERS_LEN_MAX {
                prop_assert_eq!(parsed, Err(Unparseable::TooDeep));
            } else {
                prop_assert_eq!(parsed.unwrap().transport, Ipv6Hdr::LEN + behind);
                prop_assert_eq!((key.src_port, key.dst_port), (0x1000, 0x2000));
            }
        }
    }
}
