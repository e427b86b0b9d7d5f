//! Which bit a corruption flips, and which checksum covers it.

use crate::{
    abi::{FaultSpec, place},
    random::Stream,
    wire::{Bytes, Layout, NO_PROTOCOL, protocol, transport_len},
};

/// Bytes at the start of a transport header in which a packet without payload is hit: ports, or
/// type, code and checksum. The receiver then finds a wrong checksum, not a wrong length.
const HEADER_TARGET_LEN: usize = 4;

/// A bit to flip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flip {
    /// Offset of the byte in the frame.
    pub offset: usize,
    /// The bit within the byte.
    pub mask: u8,
    /// The 16-bit word that a checksum sees changing, and the checksum; `None` where the packet
    /// carries none that could be corrected.
    pub checksum: Option<Checksum>,
}

/// An Internet checksum (RFC 1071) over the flipped bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checksum {
    /// Offset of the checksum field in the frame.
    pub offset: usize,
    /// Offset of the covered word that holds the bit.
    pub word: usize,
    /// The word is the packet's last byte, padded with zero.
    pub padded: bool,
    /// 0 stands for "no checksum", as in UDP over IPv4.
    pub optional: bool,
}

/// Most bits that a corruption flips.
pub const BITS_MAX: u32 = 8;

/// The part of a packet in which bits are flipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    layout: Layout,
    start: usize,
    end: usize,
}

impl Target {
    /// Finds the part that `spec` means. `len` is the frame's length. `None` where there is no such
    /// part.
    #[inline(always)]
    pub fn of<B: Bytes + ?Sized>(
        frame: &B,
        layout: Layout,
        len: usize,
        spec: &FaultSpec,
    ) -> Option<Self> {
        let end = if layout.end < len { layout.end } else { len };
        let payload = layout.transport + transport_len(frame, &layout);
        let (start, end) = match spec.corrupt_place {
            place::PAYLOAD if payload < end => (payload, end),
            place::PAYLOAD => (layout.transport, layout.transport + HEADER_TARGET_LEN),
            place::HEADER if payload < end => (layout.network, payload),
            _ => (layout.network, end),
        };
        // Where the packet is cut short, or has neither.
        if start >= end || end > len {
            return None;
        }
        Some(Self { layout, start, end })
    }

    /// Chooses bit `bit` of those that `spec` flips in packet `n`. `None` where there are not so many.
    ///
    /// Each is chosen from a part of its own, all of equal length: so they are all different.
    #[inline(always)]
    pub fn flip(&self, spec: &FaultSpec, n: u64, bit: u32) -> Option<Flip> {
        let bits = (self.end - self.start) as u64 * 8;
        let (part, parts) = (u64::from(bit), u64::from(spec.corrupt_bits.max(1)));
        let (first, behind) = (bits * part / parts, bits * (part + 1) / parts);
        if first >= behind {
            return None;
        }
        let draw = Stream::new(spec.corrupt_key).word(n * u64::from(BITS_MAX) + part);
        let chosen = first + (((draw >> 32) * (behind - first)) >> 32);
        let offset = self.start + (chosen / 8) as usize;
        Some(Flip {
            offset,
            mask: 1 << (chosen % 8),
            checksum: checksum(&self.layout, offset, self.end),
        })
    }
}

#[inline(always)]
fn checksum(layout: &Layout, offset: usize, end: usize) -> Option<Checksum> {
    let is_covered = offset >= layout.transport && !layout.later_fragment;
    if !is_covered || layout.protocol >= NO_PROTOCOL {
        return None;
    }
    let (field, optional) = match layout.protocol as u8 {
        protocol::TCP => (16, false),
        protocol::UDP => (6, true),
        protocol::ICMP | protocol::ICMPV6 => (2, false),
        // SCTP has a CRC32c, which cannot be corrected from the changed word alone.
        _ => return None,
    };
    let word = offset - ((offset - layout.transport) & 1);
    Some(Checksum {
        offset: layout.transport + field,
        word,
        padded: word + 1 >= end,
        optional,
    })
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::{collections::BTreeSet, vec, vec::Vec};

    use super::*;

    /// Ethernet, IPv4, UDP, and so many bytes of payload; Ethernet pads it.
    fn udp(payload: usize) -> (Vec<u8>, Layout) {
        let layout = Layout {
            protocol: protocol::UDP.into(),
            network: 14,
            transport: 34,
            end: 42 + payload,
            later_fragment: false,
        };
        (vec![0; layout.end.max(60)], layout)
    }

    fn spec(corrupt_place: u32, corrupt_bits: u32) -> FaultSpec {
        FaultSpec {
            corrupt_place,
            corrupt_bits,
            corrupt_key: 1,
            ..FaultSpec::default()
        }
    }

    fn target(payload: usize, spec: &FaultSpec) -> Target {
        let (frame, layout) = udp(payload);
        Target::of(&frame[..], layout, frame.len(), spec).unwrap()
    }

    /// The bits, counted from the frame's first, that one of many corruptions flips in place of `bit`.
    fn flipped(target: &Target, spec: &FaultSpec, bit: u32) -> BTreeSet<usize> {
        let flips = (0..4000).map(|n| target.flip(spec, n, bit).unwrap());
        flips
            .map(|flip| flip.offset * 8 + flip.mask.ilog2() as usize)
            .collect()
    }

    #[test]
    fn each_bit_of_the_part_that_is_meant_is_flipped_at_some_time() {
        for (place, payload, bytes) in [
            (place::PAYLOAD, 20, 42..62),
            (place::HEADER, 20, 14..42),
            (place::ANY, 20, 14..62),
            // Ports, where there is no payload.
            (place::PAYLOAD, 0, 34..38),
            (place::HEADER, 0, 14..42),
        ] {
            let spec = spec(place, 1);
            let expected: BTreeSet<_> = (bytes.start * 8..bytes.end * 8).collect();
            let actual = flipped(&target(payload, &spec), &spec, 0);
            assert_eq!(actual, expected, "place {place}, {payload} bytes");
        }
    }

    #[test]
    fn each_of_several_bits_has_a_part_of_its_own() {
        let spec = spec(place::PAYLOAD, 4);
        for bit in 0..4 {
            let first = (42 + 5 * bit as usize) * 8;
            let expected: BTreeSet<_> = (first..first + 5 * 8).collect();
            assert_eq!(flipped(&target(20, &spec), &spec, bit), expected);
        }
    }

    #[test]
    fn a_checksum_sees_words_from_the_transport_header_on() {
        let layout = Layout {
            transport: 35,
            end: 46,
            ..udp(0).1
        };
        let word = |offset| checksum(&layout, offset, 46).map(|sum| (sum.word, sum.padded));
        assert_eq!(word(34), None);
        assert_eq!([35, 36].map(word), [Some((35, false)); 2]);
        assert_eq!([37, 44].map(word), [Some((37, false)), Some((43, false))]);
        // The last of eleven bytes.
        assert_eq!(word(45), Some((45, true)));
        assert_eq!(checksum(&layout, 40, 46).unwrap().offset, 35 + 6);
    }
}
