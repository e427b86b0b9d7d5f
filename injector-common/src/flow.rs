//! Which packets belong together: those with the same addresses, ports and protocol.

use crate::{
    field::ABSENT,
    random::Stream,
    wire::{Address, NO_PORT, NO_PROTOCOL, PacketKey},
};

/// A number for the packet's flow, from 0 to below 2^32, the same for both of its directions. [`ABSENT`] without IP.
#[inline(always)]
pub fn share(seed: u64, key: &PacketKey) -> u64 {
    let ends = [(key.src, key.src_port), (key.dst, key.dst_port)];
    let [src, dst] = ends.map(|(address, port)| end(seed, address, port));
    whole(src.wrapping_add(dst), key, |word| word >> 32)
}

/// A number for the packet's flow in its direction; `way` tells apart where flows are counted. [`ABSENT`]
/// without IP.
#[inline(always)]
pub fn directed(way: u64, key: &PacketKey) -> u64 {
    let src = end(way, key.src, key.src_port);
    whole(end(src, key.dst, key.dst_port), key, |word| word)
}

#[inline(always)]
fn whole(ends: u64, key: &PacketKey, part: impl Fn(u64) -> u64) -> u64 {
    if key.protocol >= NO_PROTOCOL {
        return ABSENT;
    }
    part(Stream::new(ends).word(key.protocol as u64))
}

#[inline(always)]
fn end(seed: u64, address: Address, port: u32) -> u64 {
    // The type of an ICMPv6 packet is no port, and not the same in both directions.
    let port = port.min(NO_PORT);
    let [high, low] = address.halves();
    let high = Stream::new(seed).word(u64::from_be(high));
    let low = Stream::new(high).word(u64::from_be(low));
    Stream::new(low).word(port as u64)
}
