use super::{ENTRIES_MAX, GROUP_VALUES, GROUPS_MAX, PROTECTED_MAX, Predicates, SCAN_MAX, record};
use crate::{dimension, wire::ANY_PORT_SPAN};

/// One way to match a packet.
///
/// A condition that is absent has a zero mask or a full range, so that matching is one branch-free
/// expression, which the verifier follows once for each entry.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MatchEntry {
    /// Source address in network order, IPv4 mapped into IPv6 (RFC 4291 §2.5.5.2).
    pub src: [u64; 2],
    /// Bits of [`Self::src`] that count: in each half a prefix.
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
    /// Bits of [`Self::ethertype`] that count: all or none.
    pub ethertype_mask: u16,
    /// IP protocol number.
    pub protocol: u16,
    /// Bits of [`Self::protocol`] that count: all or none.
    pub protocol_mask: u16,
    /// Which predicates of the table are so.
    pub truths: u64,
    /// Bits of [`Self::truths`] that count.
    pub truths_mask: u64,
}
record!(MatchEntry, size: 104, align: 8);

impl MatchEntry {
    /// One that every packet matches.
    pub const ANY: Self = Self {
        src: [0; 2],
        src_mask: [0; 2],
        dst: [0; 2],
        dst_mask: [0; 2],
        src_port: 0,
        src_port_span: ANY_PORT_SPAN,
        dst_port: 0,
        dst_port_span: ANY_PORT_SPAN,
        ethertype: 0,
        ethertype_mask: 0,
        protocol: 0,
        protocol_mask: 0,
        truths: 0,
        truths_mask: 0,
    };

    /// One that no packet matches: its ports lie beyond all that there are.
    pub const NOTHING: Self = Self {
        src_port: u32::MAX,
        src_port_span: 0,
        dst_port: u32::MAX,
        dst_port_span: 0,
        ..Self::ANY
    };
}

/// The match entries of one direction, in the order of the rules: the first that matches wins.
#[repr(C)]
#[derive(Clone, Debug)]
pub struct RuleTable {
    /// How many there are. Up to [`SCAN_MAX`] are compared one by one; more are found by
    /// [bit vectors](Dimension).
    pub len: u32,
    /// How many entries protect their packets from all of them.
    pub protected_len: u32,
    /// Those.
    pub protected: [MatchEntry; PROTECTED_MAX],
    /// What both may ask of a packet beside its dimensions.
    pub predicates: Predicates,
    /// The entries, where they are compared one by one.
    pub entries: [MatchEntry; SCAN_MAX],
    /// The slot of each entry's rule in the maps that are indexed by rule.
    pub slots: [u32; ENTRIES_MAX],
}

impl Copy for RuleTable {}
record!(RuleTable, size: 8 + size_of::<Predicates>() + (PROTECTED_MAX + SCAN_MAX) * 104 + ENTRIES_MAX * 4, align: 8);

/// Most places where the set of matching entries changes along one dimension: the first value and
/// the one behind the last of each entry.
pub const BOUNDS_MAX: usize = 2 * ENTRIES_MAX;

/// One dimension of a table, cut into intervals in which the same entries match.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Dimension {
    /// Bounds in use.
    pub len: u32,
    /// The largest power of two in `len`; 0 without bounds.
    pub step: u32,
    /// Where intervals begin, but for the first, which begins at 0: ascending.
    pub bounds: [u64; BOUNDS_MAX],
    /// The number of each interval's row in [`maps::ROWS`](super::maps::ROWS). One more than bounds
    /// are in use, and room for any index below a power of two.
    pub rows: [u32; 2 * BOUNDS_MAX],
}

/// All dimensions of a table, used or not.
#[repr(C)]
#[derive(Clone, Debug)]
pub struct Dimensions {
    /// Where packets lie.
    pub places: [Dimension; dimension::COUNT],
    /// For each group of predicates, and each way in which these can be so or not, the number of the row.
    pub truths: [[u32; GROUP_VALUES]; GROUPS_MAX],
}

impl Copy for Dimensions {}
record!(
    Dimensions,
    size: dimension::COUNT * (8 + BOUNDS_MAX * 16) + GROUPS_MAX * GROUP_VALUES * 4,
    align: 8
);

/// Words of a row.
pub const ROW_WORDS: usize = ENTRIES_MAX / 64;

/// Which entries of a table match in one interval of one dimension: entry i is bit `i % 64` of word
/// `i / 64`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Row {
    /// Which words are not 0: word i is bit i.
    pub summary: u64,
    /// The entries.
    pub words: [u64; ROW_WORDS],
}
record!(Row, size: 8 + ROW_WORDS * 8, align: 8);
// The summary has a bit for each word.
const _: () = assert!(ROW_WORDS <= 64 && ROW_WORDS.is_power_of_two());
