//! Which bit a corruption flips, and which checksum covers it.

use crate::wire::{Bytes, Layout, NO_PROTOCOL, protocol, transport_len};

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

/// Chooses one bit of the payload, or of the transport header where there is no payload, by the
/// random word `draw`. `len` is the frame's length. `None` where there is neither.
#[inline(always)]
pub fn choose<B: Bytes + ?Sized>(
    frame: &B,
    layout: &Layout,
    len: usize,
    draw: u64,
) -> Option<Flip> {
    let end = if layout.end < len { layout.end } else { len };
    let payload = layout.transport + transport_len(frame, layout);
    let (start, end) = if payload < end {
        (payload, end)
    } else if layout.transport + HEADER_TARGET_LEN <= end {
        (layout.transport, layout.transport + HEADER_TARGET_LEN)
    } else {
        return None;
    };
    let bits = ((end - start) as u64) * 8;
    let bit = ((draw >> 32) * bits) >> 32;
    let offset = start + (bit / 8) as usize;
    Some(Flip {
        offset,
        mask: 1 << (bit % 8),
        checksum: checksum(layout, offset, end),
    })
}

#[inline(always)]
fn checksum(layout: &Layout, offset: usize, end: usize) -> Option<Checksum> {
    if layout.later_fragment || layout.protocol >= NO_PROTOCOL {
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
