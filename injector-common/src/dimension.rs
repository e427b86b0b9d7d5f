//! The dimensions in which rules cut up the space of packets, each a number that a packet has.
//!
//! Every condition is an interval of one of them, or two. An address is two dimensions, because
//! numbers of 64 bits are quick: a prefix of 128 bits is an interval of the upper half and one of the
//! lower. EtherType and protocol are one dimension together.

use core::ops::RangeInclusive;

use crate::{
    abi::MatchEntry,
    wire::{ANY_PORT_SPAN, PacketKey, ethertype},
};

/// How many there are. Dimension i is bit i of [`features`](crate::abi::features).
pub const COUNT: usize = 7;

impl PacketKey {
    /// Where the packet lies in a dimension.
    #[inline(always)]
    pub const fn coordinate(&self, dimension: usize) -> u64 {
        match dimension {
            0 => u64::from_be(self.src.halves()[0]),
            1 => u64::from_be(self.src.halves()[1]),
            2 => u64::from_be(self.dst.halves()[0]),
            3 => u64::from_be(self.dst.halves()[1]),
            4 => self.src_port as u64,
            5 => self.dst_port as u64,
            _ => kind(self.ethertype, self.protocol),
        }
    }
}

impl MatchEntry {
    /// Which coordinates the entry matches: disjoint intervals.
    pub fn intervals(&self, dimension: usize) -> impl Iterator<Item = RangeInclusive<u64>> {
        let (first, second) = match dimension {
            0 => (prefix(self.src[0], self.src_mask[0]), None),
            1 => (prefix(self.src[1], self.src_mask[1]), None),
            2 => (prefix(self.dst[0], self.dst_mask[0]), None),
            3 => (prefix(self.dst[1], self.dst_mask[1]), None),
            4 => (range(self.src_port, self.src_port_span), None),
            5 => (range(self.dst_port, self.dst_port_span), None),
            _ => self.kinds(),
        };
        core::iter::once(first).chain(second)
    }

    /// Whether the entry matches only some of the coordinates.
    pub fn restricts(&self, dimension: usize) -> bool {
        self.intervals(dimension).any(|interval| interval != ANY)
    }

    /// Whether some packet meets the conditions of both, which are of one table. Predicates count as independent
    /// of all else.
    pub fn overlaps(&self, other: &Self) -> bool {
        let contradict = (self.truths ^ other.truths) & self.truths_mask & other.truths_mask;
        contradict == 0
            && (0..COUNT).all(|dimension| {
                self.intervals(dimension).any(|ours| {
                    let mut theirs = other.intervals(dimension);
                    theirs
                        .any(|theirs| ours.start() <= theirs.end() && theirs.start() <= ours.end())
                })
            })
    }

    fn kinds(&self) -> (RangeInclusive<u64>, Option<RangeInclusive<u64>>) {
        let exact = |ethertype| {
            let kind = kind(ethertype, self.protocol);
            kind..=kind
        };
        match (self.ethertype_mask, self.protocol_mask) {
            (0, 0) => (ANY, None),
            // Without IP there is no protocol.
            (0, _) => (exact(ethertype::IPV4), Some(exact(ethertype::IPV6))),
            (_, 0) => (
                kind(self.ethertype, 0)..=kind(self.ethertype, u16::MAX),
                None,
            ),
            _ => (exact(self.ethertype), None),
        }
    }
}

const ANY: RangeInclusive<u64> = 0..=u64::MAX;

#[inline(always)]
const fn kind(ethertype: u16, protocol: u16) -> u64 {
    (ethertype as u64) << 16 | protocol as u64
}

const fn prefix(value: u64, mask: u64) -> RangeInclusive<u64> {
    let first = u64::from_be(value & mask);
    first..=first | !u64::from_be(mask)
}

const fn range(first: u32, span: u32) -> RangeInclusive<u64> {
    if span == ANY_PORT_SPAN {
        return ANY;
    }
    first as u64..=first as u64 + span as u64
}
