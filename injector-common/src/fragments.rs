//! What later fragments lack, and the first one of their packet has told.

use crate::{
    NSEC_PER_SEC,
    field::{self, fragment},
    wire::{Address, NO_PROTOCOL, PacketKey, ethertype},
};

/// How long a first fragment is believed: as long as Linux waits for the others over IPv4 (`IP_FRAG_TIME`).
/// Then another packet may have the same identification, of which there are 65,536.
pub const LIFETIME_NS: u64 = 30 * NSEC_PER_SEC;

/// What all fragments of a packet have in common.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fragmented {
    src: Address,
    dst: Address,
    id: u32,
    protocol: u32,
}

impl Fragmented {
    #[inline(always)]
    const fn of(key: &PacketKey) -> Self {
        // Over IPv6 it is not the protocol, and may differ (RFC 8200 §4.5).
        let protocol = match key.ethertype {
            ethertype::IPV6 => NO_PROTOCOL,
            _ => key.protocol,
        };
        Self {
            src: key.src,
            dst: key.dst,
            id: key.id,
            protocol: protocol as u32,
        }
    }
}

/// What the first fragment told, as far as rules ask for it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    src_port: u32,
    dst_port: u32,
    tcp_flags: u64,
    icmp_type: u64,
    protocol: u64,
    /// When it came.
    at_ns: u64,
}

impl Header {
    #[inline(always)]
    const fn of(key: &PacketKey, at_ns: u64) -> Self {
        Self {
            src_port: key.src_port,
            dst_port: key.dst_port,
            tcp_flags: key.fields.get(field::TCP_FLAGS),
            icmp_type: key.fields.get(field::ICMP_TYPE),
            protocol: key.protocol as u64,
            at_ns,
        }
    }

    #[inline(always)]
    const fn complete(&self, features: u64, key: &mut PacketKey) {
        (key.src_port, key.dst_port) = (self.src_port, self.dst_port);
        key.protocol = self.protocol as u16;
        key.fields.set(features, field::TCP_FLAGS, self.tcp_flags);
        key.fields.set(features, field::ICMP_TYPE, self.icmp_type);
    }
}

/// The headers that are remembered, and the clock.
pub trait Memory {
    /// What was told of a packet, if it is still known.
    fn header(&self, of: &Fragmented) -> Option<&Header>;

    /// Remembers it, in place of what was known before.
    fn remember(&mut self, of: &Fragmented, header: &Header);

    /// The present time.
    fn now_ns(&self) -> u64;
}

/// Remembers what a first fragment tells, and completes the key of a later one by it. One whose first fragment is not
/// known stays as it is.
#[inline(always)]
pub fn follow(key: &mut PacketKey, features: u64, memory: &mut impl Memory) {
    match key.fields.get(field::FRAGMENT) {
        fragment::FIRST => {
            let header = Header::of(key, memory.now_ns());
            memory.remember(&Fragmented::of(key), &header);
        }
        fragment::LATER => {
            if let Some(header) = memory.header(&Fragmented::of(key))
                && memory.now_ns().saturating_sub(header.at_ns) <= LIFETIME_NS
            {
                header.complete(features, key);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::{collections::HashMap, vec, vec::Vec};

    use proptest::{collection, prelude::*};

    use super::*;
    use crate::{
        abi::features,
        field::ABSENT,
        wire::{self, ICMPV6_TYPES, NO_PORT, protocol},
    };

    /// Without a bound.
    #[derive(Default)]
    struct Known {
        headers: HashMap<Fragmented, Header>,
        now_ns: u64,
    }

    impl Memory for Known {
        fn header(&self, of: &Fragmented) -> Option<&Header> {
            self.headers.get(of)
        }

        fn remember(&mut self, of: &Fragmented, header: &Header) {
            self.headers.insert(*of, *header);
        }

        fn now_ns(&self) -> u64 {
            self.now_ns
        }
    }

    impl Known {
        fn read(&mut self, packet: &[u8]) -> PacketKey {
            let mut key = PacketKey::default();
            wire::parse(packet, true, features::ALL, &mut key).unwrap();
            follow(&mut key, features::ALL, self);
            key
        }
    }

    /// Which fragment: more follow the first, none the last.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Part {
        Whole,
        First,
        Last,
    }

    /// From and to one host each.
    #[derive(Clone, Copy, Debug)]
    struct Ip {
        is_v4: bool,
        hosts: [u8; 2],
        id: u32,
        protocol: u8,
    }

    const V4: Ip = Ip {
        is_v4: true,
        hosts: [1, 2],
        id: 7,
        protocol: protocol::UDP,
    };
    const V6: Ip = Ip { is_v4: false, ..V4 };

    impl Ip {
        fn packet(self, part: Part, payload: &[u8]) -> Vec<u8> {
            let (offset, more) = match part {
                Part::Whole => (0, 0),
                Part::First => (0, 1),
                Part::Last => (185, 0),
            };
            if self.is_v4 {
                self.v4(offset | more << 13, payload)
            } else {
                self.v6(offset << 3 | more, payload)
            }
        }

        fn v4(self, bits: u16, payload: &[u8]) -> Vec<u8> {
            let mut packet = vec![0x45, 0];
            packet.extend((20 + payload.len() as u16).to_be_bytes());
            packet.extend((self.id as u16).to_be_bytes());
            packet.extend(bits.to_be_bytes());
            packet.extend([64, self.protocol, 0, 0]);
            for host in self.hosts {
                packet.extend([10, 0, 0, host]);
            }
            packet.extend(payload);
            packet
        }

        fn v6(self, bits: u16, payload: &[u8]) -> Vec<u8> {
            const FRAGMENT: u8 = 44;
            let mut packet = vec![0x60, 0, 0, 0];
            packet.extend((8 + payload.len() as u16).to_be_bytes());
            packet.extend([FRAGMENT, 64]);
            for host in self.hosts {
                packet.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, host]);
            }
            packet.extend([self.protocol, 0]);
            packet.extend(bits.to_be_bytes());
            packet.extend(self.id.to_be_bytes());
            packet.extend(payload);
            packet
        }
    }

    /// The start of a UDP header, or of one of TCP with these flags.
    fn header(port: u16, flags: u8) -> Vec<u8> {
        let mut header = vec![0; 20];
        header[..2].copy_from_slice(&1000_u16.to_be_bytes());
        header[2..4].copy_from_slice(&port.to_be_bytes());
        header[13] = flags;
        header
    }

    /// What would be taken for ports and more, were it not of a later fragment.
    const DATA: [u8; 20] = [0x5a; 20];

    /// A fragment of one of few packets, so long after the one before.
    #[derive(Clone, Copy, Debug)]
    struct Piece {
        packet: u32,
        part: Part,
        port: u16,
        pause_ns: u64,
    }

    prop_compose! {
        fn any_piece()(
            packet in 0..8_u32,
            part in prop::sample::select(vec![Part::Whole, Part::First, Part::Last, Part::Last]),
            port in any::<u16>(),
            pause_ns in prop_oneof![0..NSEC_PER_SEC, 0..LIFETIME_NS + NSEC_PER_SEC],
        ) -> Piece {
            Piece { packet, part, port, pause_ns }
        }
    }

    impl Piece {
        fn bytes(&self) -> Vec<u8> {
            let ip = Ip {
                is_v4: self.packet & 1 == 0,
                hosts: [1, 2 + (self.packet >> 1 & 1) as u8],
                id: self.packet >> 2,
                protocol: protocol::UDP,
            };
            match self.part {
                Part::Last => ip.packet(self.part, &DATA),
                _ => ip.packet(self.part, &header(self.port, 0)),
            }
        }
    }

    proptest! {
        #[test]
        fn a_later_fragment_has_the_ports_of_the_latest_first_one(
            pieces in collection::vec(any_piece(), 1..60),
        ) {
            let (mut known, mut firsts) = (Known::default(), Vec::new());
            for piece in pieces {
                known.now_ns += piece.pause_ns;
                let key = known.read(&piece.bytes());
                let of_it = |(first, _): &&(Piece, u64)| first.packet == piece.packet;
                let port = match (piece.part, firsts.iter().rfind(of_it)) {
                    (Part::Last, Some((first, at_ns))) if known.now_ns - at_ns <= LIFETIME_NS => {
                        u32::from(first.port)
                    }
                    (Part::Last, _) => NO_PORT,
                    _ => u32::from(piece.port),
                };
                prop_assert_eq!(key.dst_port, port);
                prop_assert_eq!(key.src_port, if port == NO_PORT { NO_PORT } else { 1000 });
                if piece.part == Part::First {
                    firsts.push((piece, known.now_ns));
                }
            }
        }
    }

    #[test]
    fn fragments_of_packets_that_differ_in_anything_are_told_apart() {
        for ip in [V4, V6] {
            let others = [
                Ip {
                    hosts: [3, 2],
                    ..ip
                },
                Ip {
                    hosts: [1, 3],
                    ..ip
                },
                Ip { id: 8, ..ip },
                Ip {
                    is_v4: !ip.is_v4,
                    ..ip
                },
            ];
            let of_v4 = Ip {
                protocol: protocol::TCP,
                ..V4
            };
            let of_v6 = Ip {
                id: 7 + (1 << 16),
                ..V6
            };
            for other in others
                .into_iter()
                .chain([if ip.is_v4 { of_v4 } else { of_v6 }])
            {
                let mut known = Known::default();
                known.read(&ip.packet(Part::First, &header(9, 0)));
                let key = known.read(&other.packet(Part::Last, &DATA));
                assert_eq!(key.dst_port, NO_PORT, "{ip:?} {other:?}");
                let key = known.read(&ip.packet(Part::Last, &DATA));
                assert_eq!(key.dst_port, 9, "{ip:?}");
            }
        }
    }

    #[test]
    fn flags_and_types_are_told_too() {
        const SYN: u8 = 2;
        const ECHO: u8 = 128;
        let number = |key: &PacketKey, field| key.fields.get(field);
        for ip in [V4, V6] {
            let mut known = Known::default();
            let tcp = Ip {
                protocol: protocol::TCP,
                ..ip
            };
            known.read(&tcp.packet(Part::First, &header(9, SYN)));
            let key = known.read(&tcp.packet(Part::Last, &DATA));
            assert_eq!(number(&key, field::TCP_FLAGS), SYN.into());
            assert_eq!(number(&key, field::ICMP_TYPE), ABSENT);
        }
        let mut known = Known::default();
        for ip in [
            Ip {
                protocol: protocol::ICMP,
                ..V4
            },
            Ip {
                protocol: protocol::ICMPV6,
                ..V6
            },
        ] {
            known.read(&ip.packet(Part::First, &[ECHO; 8]));
            let key = known.read(&ip.packet(Part::Last, &DATA));
            assert_eq!(number(&key, field::ICMP_TYPE), ECHO.into());
            assert_eq!(number(&key, field::TCP_FLAGS), ABSENT);
            let port = if ip.is_v4 {
                NO_PORT
            } else {
                ICMPV6_TYPES + u32::from(ECHO)
            };
            assert_eq!(key.dst_port, port);
        }
    }

    /// The fragment header of later ones names what the fragmented part begins with.
    #[test]
    fn the_protocol_behind_extension_headers_is_told_too() {
        const OPTIONS: u8 = 60;
        let mut known = Known::default();
        let ip = Ip {
            protocol: OPTIONS,
            ..V6
        };
        let options = [protocol::UDP, 0, 1, 4, 0, 0, 0, 0];
        known.read(&ip.packet(Part::First, &[&options[..], &header(9, 0)].concat()));
        let key = known.read(&ip.packet(Part::Last, &DATA));
        assert_eq!((key.protocol, key.dst_port), (protocol::UDP.into(), 9));
        assert_eq!(key.fields.get(field::FRAGMENT), fragment::LATER);
    }

    /// Headers that overlap the first fragment's, or end with it, change nothing of what it told.
    #[test]
    fn tiny_and_overlapping_fragments_are_of_the_same_packet() {
        let mut known = Known::default();
        known.read(&V4.v4(1 << 13, &header(9, 0)[..8]));
        for offset in [1, 2, 185] {
            let key = known.read(&V4.v4(offset | 1 << 13, &header(10, 0)[..8]));
            assert_eq!(key.dst_port, 9, "offset {offset}");
        }
    }
}
