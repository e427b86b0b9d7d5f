//! Which rule a packet belongs to.

use crate::{
    abi::{MatchEntry, RuleTable},
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
        addresses | kinds as u64 | ports == 0
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
    /// The slot of the first rule that matches.
    #[inline(always)]
    pub fn find(&self, key: &PacketKey) -> Option<u32> {
        let mut i = 0;
        // The bound is a constant too, so that the verifier sees an end.
        while i < self.entries.len() && i < self.len as usize {
            let entry = &self.entries[i];
            if entry.matches(key) {
                return Some(entry.slot);
            }
            i += 1;
        }
        None
    }
}
