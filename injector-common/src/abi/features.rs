//! What the rules of a run make use of: bits of the global
//! [`FEATURES`](super::globals::FEATURES). The verifier removes from the programs whatever needs a
//! bit that is not set.
//!
//! The first seven say which [dimensions](crate::dimension) rules look at; bit i is dimension i.

use crate::dimension;

/// The upper half of the source address: IPv6.
pub const SRC_HIGH: u32 = 1 << 0;
/// The lower half of the source address, in which IPv4 addresses lie.
pub const SRC_LOW: u32 = 1 << 1;
/// The upper half of the destination address.
pub const DST_HIGH: u32 = 1 << 2;
/// The lower half of the destination address.
pub const DST_LOW: u32 = 1 << 3;
/// The source port.
pub const SRC_PORT: u32 = 1 << 4;
/// The destination port.
pub const DST_PORT: u32 = 1 << 5;
/// The EtherType, or the protocol, or both.
pub const KIND: u32 = 1 << 6;
/// Any dimension.
pub const DIMENSIONS: u32 = (1 << dimension::COUNT) - 1;

/// Some rule looks at the IP protocol.
pub const PROTOCOL: u32 = 1 << 7;
/// Either port.
pub const PORTS: u32 = SRC_PORT | DST_PORT;
/// What lies behind the EtherType.
pub const NETWORK: u32 = DIMENSIONS & !KIND | PROTOCOL;
/// What lies behind IPv6 extension headers.
pub const TRANSPORT: u32 = PORTS | PROTOCOL;
/// Some rule looks into IPv4 packets.
pub const IPV4: u32 = 1 << 8;
/// Some rule looks into IPv6 packets.
pub const IPV6: u32 = 1 << 9;

/// A table has more entries than are scanned one by one.
pub const BIT_VECTORS: u32 = 1 << 10;
/// The rules can be replaced by others while the programs run.
pub const SWAP: u32 = 1 << 11;
/// XDP could decide some rule.
pub const XDP: u32 = 1 << 12;
/// Some packets are protected from every rule.
pub const PROTECT: u32 = 1 << 13;
/// Someone looks at the type of ICMPv6 packets.
pub const ICMPV6_TYPE: u32 = 1 << 14;

/// Some rule drops.
pub const DROP: u32 = 1 << 16;
/// Some rule corrupts.
pub const CORRUPT: u32 = 1 << 17;
/// Some rule makes the checksum of what it corrupts fit.
pub const CHECKSUM_VALID: u32 = 1 << 18;
/// Some rule duplicates.
pub const DUPLICATE: u32 = 1 << 19;
/// Some rule delays.
pub const DELAY: u32 = 1 << 20;
/// Some rule reorders.
pub const REORDER: u32 = 1 << 21;
/// Some rule paces its packets.
pub const PACE: u32 = 1 << 22;
/// Some rule marks packets in place of dropping them.
pub const ECN: u32 = 1 << 23;
/// Some rule's delays are correlated.
pub const CORRELATION: u32 = 1 << 24;
/// Some rule's delays follow a table.
pub const DISTRIBUTION: u32 = 1 << 25;
/// Some rule chooses packets by a Markov chain.
pub const MARKOV: u32 = 1 << 26;
/// Some rule names the packets that it hits.
pub const LISTED: u32 = 1 << 27;
/// Some rule's values change over time.
pub const TRACK: u32 = 1 << 28;
/// Some rule replays a recorded link.
pub const OPPORTUNITIES: u32 = 1 << 29;

/// Faults that act on single packets.
pub const SPLIT: u32 = DROP | CORRUPT | DUPLICATE | REORDER | PACE;
/// What makes a packet depend on those before it.
pub const MEMORY: u32 = CORRELATION | MARKOV | REORDER;

/// Whatever there is.
pub const ALL: u32 = u32::MAX;
/// Whatever tells where the parts of a packet lie.
pub const LAYOUT: u32 = ALL & !ICMPV6_TYPE;
