//! Numbers that a packet has, and that predicates are about.
//!
//! The first are its [dimensions](crate::dimension), so that a predicate can say that an address or a port is
//! another. Of the others a packet may have none: then the number is [`ABSENT`].

use crate::{
    abi::{PREDICATES_MAX, Predicate, Predicates, features},
    dimension, flow,
    wire::PacketKey,
};

/// The time to live, or hop limit, of IP.
pub const TTL: usize = dimension::COUNT;
/// The traffic class of IP: DSCP and ECN (RFC 2474, RFC 3168).
pub const TRAFFIC_CLASS: usize = dimension::COUNT + 1;
/// The mark that the packet has in this kernel.
pub const MARK: usize = dimension::COUNT + 2;
/// Flags of TCP, by bit from FIN on.
pub const TCP_FLAGS: usize = dimension::COUNT + 3;
/// The type of ICMP or ICMPv6.
pub const ICMP_TYPE: usize = dimension::COUNT + 4;
/// Whether the packet is a part of one: a value of [`fragment`].
pub const FRAGMENT: usize = dimension::COUNT + 5;
/// Bytes of the IP packet on the wire.
pub const LENGTH: usize = dimension::COUNT + 6;
/// The VLAN of the outermost tag.
pub const VLAN: usize = dimension::COUNT + 7;
/// The source address of Ethernet: its last six bytes.
pub const SRC_MAC: usize = dimension::COUNT + 8;
/// The destination address of Ethernet.
pub const DST_MAC: usize = dimension::COUNT + 9;
/// The packet's number in its flow and direction, from 1 on. Until it is counted, how many packets it is on
/// the wire.
pub const CONNECTION: usize = dimension::COUNT + 10;
/// What [`flow::share`] says of the packet's flow.
pub const FLOW: usize = dimension::COUNT + 11;
/// Whose socket it is: a bit for each owner that rules look for (see [`OWNERS_MAX`](crate::abi::OWNERS_MAX)).
pub const OWNER: usize = dimension::COUNT + 12;
/// How many there are. Field i is bit `features::FIELDS_SHIFT + i` of [`features`].
pub const COUNT: usize = dimension::COUNT + 13;

/// Values of [`FRAGMENT`].
pub mod fragment {
    /// The packet is whole.
    pub const NONE: u64 = 0;
    /// The first part of one.
    pub const FIRST: u64 = 1;
    /// Another part.
    pub const LATER: u64 = 2;
}

/// Room for all of them, and any index below a power of two.
const LEN: usize = 32;
const _: () = assert!(COUNT <= features::FIELDS_MAX && features::FIELDS_MAX <= LEN);

/// Stands for a number that a packet does not have: beyond all that one can have. It counts where the mask of
/// a predicate has it.
pub const ABSENT: u64 = 1 << 62;

/// The numbers of a packet: only those that some rule looks at.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fields([u64; LEN]);

impl Fields {
    /// A packet of which nothing is known yet.
    #[inline(always)]
    pub const fn clear(&mut self, features: u64) {
        if features & features::FIELDS == 0 {
            return;
        }
        let mut field = dimension::COUNT;
        while field < COUNT {
            self.set(features, field, ABSENT);
            field += 1;
        }
    }

    /// Sets a number where some rule looks at it.
    #[inline(always)]
    pub const fn set(&mut self, features: u64, field: usize, value: u64) {
        if features & features::field(field) != 0 {
            self.0[field] = value;
        }
    }

    /// A number; 0 where no rule looks at it.
    #[inline(always)]
    pub const fn get(&self, field: usize) -> u64 {
        self.0[field & (LEN - 1)]
    }
}

impl Predicate {
    /// 1 where it is so, else 0. Without a branch: the verifier would follow both ways of each predicate.
    #[inline(always)]
    pub const fn holds(&self, fields: &Fields) -> u64 {
        let above = (fields.get(self.field as usize) & self.mask).wrapping_sub(self.first);
        // Either borrows the highest bit where the value lies outside.
        !(above | self.span.wrapping_sub(above)) >> 63
    }
}

impl Predicates {
    /// Which of them are so: a bit for each. `features` says which fields are looked at.
    #[inline(always)]
    pub fn truths(&self, features: u64, key: &mut PacketKey) -> u64 {
        for dimension in 0..dimension::COUNT {
            let coordinate = key.coordinate(dimension);
            key.fields.set(features, dimension, coordinate);
        }
        if features & features::field(FLOW) != 0 {
            let share = flow::share(self.flow_key, key);
            key.fields.set(features, FLOW, share);
        }
        let (mut truths, mut i) = (0, 0);
        // The bound is a constant too, so that the verifier sees an end.
        while i < PREDICATES_MAX && i < self.len as usize {
            truths |= self.list[i].holds(&key.fields) << i;
            i += 1;
        }
        truths
    }
}
