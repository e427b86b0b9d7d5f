//! What the rules of a run make use of: bits of the global
//! [`FEATURES`](super::globals::FEATURES). The verifier removes from the programs whatever needs a
//! bit that is not set.
//!
//! The first seven say which [dimensions](crate::dimension) rules look at; bit i is dimension i.

use super::GROUPS_MAX;
use crate::{dimension, field};

/// The upper half of the source address: IPv6.
pub const SRC_HIGH: u64 = 1 << 0;
/// The lower half of the source address, in which IPv4 addresses lie.
pub const SRC_LOW: u64 = 1 << 1;
/// The upper half of the destination address.
pub const DST_HIGH: u64 = 1 << 2;
/// The lower half of the destination address.
pub const DST_LOW: u64 = 1 << 3;
/// The source port.
pub const SRC_PORT: u64 = 1 << 4;
/// The destination port.
pub const DST_PORT: u64 = 1 << 5;
/// The EtherType, or the protocol, or both.
pub const KIND: u64 = 1 << 6;
/// Any dimension.
pub const DIMENSIONS: u64 = (1 << dimension::COUNT) - 1;

/// Some rule looks at the IP protocol.
pub const PROTOCOL: u64 = 1 << 7;
/// Either port.
pub const PORTS: u64 = SRC_PORT | DST_PORT;
/// What lies behind the EtherType.
pub const NETWORK: u64 = DIMENSIONS & !KIND
    | TRANSPORT
    | field(field::TTL)
    | field(field::TRAFFIC_CLASS)
    | field(field::LENGTH);
/// What lies behind IPv6 extension headers.
pub const TRANSPORT: u64 = PORTS | PROTOCOL | FLOWS | field(field::FRAGMENT) | TRANSPORT_HEADER;
/// What only the header of the transport protocol tells.
pub const TRANSPORT_HEADER: u64 = PORTS | FLOWS | field(field::TCP_FLAGS) | field(field::ICMP_TYPE);
/// Which packets belong together.
pub const FLOWS: u64 = field(field::CONNECTION) | field(field::FLOW);
/// Some rule looks into IPv4 packets.
pub const IPV4: u64 = 1 << 8;
/// Some rule looks into IPv6 packets.
pub const IPV6: u64 = 1 << 9;

/// A table has more entries than are scanned one by one.
pub const BIT_VECTORS: u64 = 1 << 10;
/// The rules can be replaced by others while the programs run.
pub const SWAP: u64 = 1 << 11;
/// XDP could decide some rule.
pub const XDP: u64 = 1 << 12;
/// Some packets are protected from every rule.
pub const PROTECT: u64 = 1 << 13;
/// Someone looks at the type of ICMPv6 packets.
pub const ICMPV6_TYPE: u64 = 1 << 14;
/// What happens to rules' packets is counted: always, but where it is measured what that costs.
pub const COUNTERS: u64 = 1 << 15;

/// Some rule drops.
pub const DROP: u64 = 1 << 16;
/// Some rule corrupts.
pub const CORRUPT: u64 = 1 << 17;
/// Some rule makes the checksum of what it corrupts fit.
pub const CHECKSUM_VALID: u64 = 1 << 18;
/// Some rule duplicates.
pub const DUPLICATE: u64 = 1 << 19;
/// Some rule delays.
pub const DELAY: u64 = 1 << 20;
/// Some rule reorders.
pub const REORDER: u64 = 1 << 21;
/// Some rule paces its packets.
pub const PACE: u64 = 1 << 22;
/// Some rule marks packets in place of dropping them.
pub const ECN: u64 = 1 << 23;
/// Some rule's delays are correlated.
pub const CORRELATION: u64 = 1 << 24;
/// Some rule's delays follow a table.
pub const DISTRIBUTION: u64 = 1 << 25;
/// Some rule chooses packets by a Markov chain.
pub const MARKOV: u64 = 1 << 26;
/// Some rule names the packets that it hits.
pub const LISTED: u64 = 1 << 27;
/// Some rule's values change over time.
pub const TRACK: u64 = 1 << 28;
/// Some rule replays a recorded link.
pub const OPPORTUNITIES: u64 = 1 << 29;
/// Later fragments have what the first one tells of the packet: see [`fragments`](crate::fragments).
pub const FOLLOW: u64 = 1 << 30;

/// Faults that act on single packets.
pub const SPLIT: u64 = DROP | CORRUPT | DUPLICATE | REORDER | PACE;
/// What makes a packet depend on those before it.
pub const MEMORY: u64 = CORRELATION | MARKOV | REORDER;

/// The bit of the first [field](crate::field).
pub const FIELDS_SHIFT: usize = 32;
/// Room for fields.
pub const FIELDS_MAX: usize = GROUPS_SHIFT - FIELDS_SHIFT;
/// Some predicate is about any field.
pub const FIELDS: u64 = ((1 << FIELDS_MAX) - 1) << FIELDS_SHIFT;
/// The bit of the first group of predicates.
const GROUPS_SHIFT: usize = u64::BITS as usize - GROUPS_MAX;

/// Something that only a parsed frame tells.
pub const PARSED: u64 = DIMENSIONS | FIELDS & !field(field::MARK);

/// What XDP does not see as the tc hook does: marks, tags that the device has taken off, how long packets were
/// before they were merged, sockets, and, so that each is counted once, the number of a packet in its flow.
pub const UNSEEN_BY_XDP: u64 = field(field::MARK)
    | field(field::VLAN)
    | field(field::LENGTH)
    | field(field::OWNER)
    | field(field::CONNECTION);

/// Some predicate is about this field.
#[inline(always)]
pub const fn field(field: usize) -> u64 {
    1 << (FIELDS_SHIFT + field)
}

/// There are predicates in this group.
#[inline(always)]
pub const fn group(group: usize) -> u64 {
    1 << (GROUPS_SHIFT + group)
}

/// Whatever there is.
pub const ALL: u64 = u64::MAX;
/// Whatever tells where the parts of a packet lie.
pub const LAYOUT: u64 = ALL & !ICMPV6_TYPE & !FIELDS & !FOLLOW;
