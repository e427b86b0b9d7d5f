use super::{ENTRIES_MAX, record};

/// One way to match a packet, and the slot of the rule that it belongs to.
///
/// A condition that is absent has a zero mask or a full range, so that matching is one branch-free
/// expression, which the verifier follows once for each entry.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MatchEntry {
    /// Source address in network order, IPv4 mapped into IPv6 (RFC 4291 §2.5.5.2).
    pub src: [u64; 2],
    /// Bits of [`Self::src`] that count.
    pub src_mask: [u64; 2],
    /// Destination address.
    pub dst: [u64; 2],
    /// Bits of [`Self::dst`] that count.
    pub dst_mask: [u64; 2],
    /// First source port.
    pub src_port: u32,
    /// Last source port minus the first.
    pub src_port_span: u32,
    /// First destination port.
    pub dst_port: u32,
    /// Last destination port minus the first.
    pub dst_port_span: u32,
    /// EtherType in host order, behind VLAN tags.
    pub ethertype: u16,
    /// Bits of [`Self::ethertype`] that count.
    pub ethertype_mask: u16,
    /// IP protocol number.
    pub protocol: u16,
    /// Bits of [`Self::protocol`] that count.
    pub protocol_mask: u16,
    /// Slot of the rule in the maps that are indexed by rule.
    pub slot: u32,
    /// Keeps the size a multiple of 8.
    pub reserved: u32,
}
record!(MatchEntry, size: 96, align: 8);

/// The match entries of one direction, in the order of the rules.
#[repr(C)]
#[derive(Clone, Debug)]
pub struct RuleTable {
    /// Entries in use.
    pub len: u32,
    /// Keeps the entries aligned.
    pub reserved: u32,
    /// The entries; the first that matches wins.
    pub entries: [MatchEntry; ENTRIES_MAX],
}

impl Copy for RuleTable {}
record!(RuleTable, size: 8 + ENTRIES_MAX * 96, align: 8);
