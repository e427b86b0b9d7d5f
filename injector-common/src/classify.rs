//! Which rule a packet belongs to.
//!
//! A few match entries are compared one by one, which costs a few nanoseconds each. Many are found
//! by bit vectors, which costs about the same for any number (T. V. Lakshman and D. Stiliadis,
//! "High-Speed Policy-based Packet Forwarding Using Efficient Multi-dimensional Range Matching",
//! SIGCOMM 1998): in each dimension a binary search yields the set of the entries that match there,
//! and the first entry in all of these sets is the answer.

use crate::{
    abi::{
        BOUNDS_MAX, Dimension, Dimensions, GROUP_LEN, GROUP_VALUES, GROUPS_MAX, MatchEntry,
        ROW_WORDS, Row, RuleTable, features,
    },
    dimension,
    wire::PacketKey,
};

impl MatchEntry {
    /// Whether `key` meets every condition.
    ///
    /// Branch-free: the verifier then follows one path for each entry of the table.
    #[inline(always)]
    pub const fn matches(&self, key: &PacketKey) -> bool {
        let (src, dst) = (key.src.halves(), key.dst.halves());
        let addresses = ((src[0] ^ self.src[0]) & self.src_mask[0])
            | ((src[1] ^ self.src[1]) & self.src_mask[1])
            | ((dst[0] ^ self.dst[0]) & self.dst_mask[0])
            | ((dst[1] ^ self.dst[1]) & self.dst_mask[1]);
        let kinds = ((key.ethertype ^ self.ethertype) & self.ethertype_mask)
            | ((key.protocol ^ self.protocol) & self.protocol_mask);
        let ports = beyond(key.src_port, self.src_port, self.src_port_span)
            | beyond(key.dst_port, self.dst_port, self.dst_port_span);
        let truths = (key.truths ^ self.truths) & self.truths_mask;
        addresses | kinds as u64 | ports | truths == 0
    }
}

/// Not 0 where `port` lies outside `first..=first + span`: then the subtraction borrows the bit
/// above. The compiler would make a branch of a comparison.
#[inline(always)]
const fn beyond(port: u32, first: u32, span: u32) -> u64 {
    const BORROW: u64 = 1 << 32;
    !((BORROW | span as u64) - port.wrapping_sub(first) as u64) & BORROW
}

impl RuleTable {
    /// The first entry that matches, where entries are compared one by one.
    #[inline(always)]
    pub fn scan(&self, key: &PacketKey) -> Option<usize> {
        scan(&self.entries, self.len, key)
    }

    /// Whether the packet is protected from every rule.
    #[inline(always)]
    pub fn protects(&self, key: &PacketKey) -> bool {
        scan(&self.protected, self.protected_len, key).is_some()
    }
}

/// The first of `len` entries that matches.
#[inline(always)]
fn scan<const N: usize>(entries: &[MatchEntry; N], len: u32, key: &PacketKey) -> Option<usize> {
    let mut i = 0;
    // The bound is a constant too, so that the verifier sees an end.
    while i < N && i < len as usize {
        if entries[i].matches(key) {
            return Some(i);
        }
        i += 1;
    }
    None
}

/// Where the bit vectors of one table are found.
pub trait BitVectors {
    /// The intervals.
    fn dimensions(&self) -> &Dimensions;
    /// The row of that number.
    fn row(&self, number: u32) -> Option<&Row>;

    /// The same number, of which the verifier is to know nothing, so that it sees that the ways
    /// through a search meet after each step.
    #[inline(always)]
    fn forget(&self, number: usize) -> usize {
        number
    }
}

/// Rows that are looked up: one in each dimension, and one for each group of predicates.
const ROWS: usize = dimension::COUNT + GROUPS_MAX;

/// The first entry that matches, by the bit vectors of those dimensions and groups that `features` names.
#[inline(always)]
pub fn search<V: BitVectors>(vectors: &V, features: u64, key: &PacketKey) -> Option<usize> {
    let row = |dimension: usize| {
        if features & 1 << dimension == 0 {
            return Some(None);
        }
        let coordinate = key.coordinate(dimension);
        let number = row_at(vectors, &vectors.dimensions().places[dimension], coordinate);
        vectors.row(number).map(Some)
    };
    let truths = |group: usize| {
        if features & features::group(group) == 0 {
            return Some(None);
        }
        let value = key.truths >> (GROUP_LEN * group);
        let value = vectors.forget(value as usize) & (GROUP_VALUES - 1);
        vectors
            .row(vectors.dimensions().truths[group][value])
            .map(Some)
    };
    // Not a loop: the verifier follows pointers only to places that are fixed.
    let rows = [
        row(0)?,
        row(1)?,
        row(2)?,
        row(3)?,
        row(4)?,
        row(5)?,
        row(6)?,
        truths(0)?,
        truths(1)?,
        truths(2)?,
        truths(3)?,
        truths(4)?,
        truths(5)?,
        truths(6)?,
        truths(7)?,
    ];
    first_in_all(vectors, &rows)
}

/// The first entry in all rows that are there.
#[inline(always)]
fn first_in_all<V: BitVectors>(vectors: &V, rows: &[Option<&Row>; ROWS]) -> Option<usize> {
    let mut summary = in_all(rows, |row| row.summary) & ((1 << ROW_WORDS) - 1);
    for _ in 0..ROW_WORDS {
        if summary == 0 {
            break;
        }
        let i = summary.trailing_zeros() as usize;
        // The compiler knows the bound and would drop the mask, or put the number on the stack, of
        // which 5.10 remembers no bounds.
        let word = in_all(rows, |row| row.words[vectors.forget(i) & (ROW_WORDS - 1)]);
        if word != 0 {
            return Some(64 * i + word.trailing_zeros() as usize);
        }
        summary &= summary - 1;
    }
    None
}

/// The bits that are set in a word of every row.
#[inline(always)]
fn in_all(rows: &[Option<&Row>; ROWS], word: impl Fn(&Row) -> u64) -> u64 {
    let word = |i: usize| rows[i].map_or(u64::MAX, &word);
    let places = word(0) & word(1) & word(2) & word(3) & word(4) & word(5) & word(6);
    let truths = word(7) & word(8) & word(9) & word(10) & word(11) & word(12) & word(13) & word(14);
    places & truths
}

/// The number of the row for the interval in which `coordinate` lies.
#[inline(always)]
fn row_at<V: BitVectors>(vectors: &V, dimension: &Dimension, coordinate: u64) -> u32 {
    // How many bounds are not above the coordinate, from the highest bit down.
    let mut below = 0;
    // The mask is for the verifier, to see an end.
    let mut step = dimension.step as usize & (2 * BOUNDS_MAX - 1);
    while step != 0 {
        below = vectors.forget(below);
        let next = below + step;
        if next <= dimension.len as usize
            && dimension.bounds[(next - 1) & (BOUNDS_MAX - 1)] <= coordinate
        {
            below = next;
        }
        step >>= 1;
    }
    dimension.rows[vectors.forget(below) & (2 * BOUNDS_MAX - 1)]
}
