use super::{Block, EPOCHS, Sender};
use crate::pace::Passage;

/// Marks, together with the device's index, a packet that has been put back: the last two words of
/// `__sk_buff.cb`, which the kernel leaves alone between the redirect and the device's hook.
pub const RETURN_MAGIC: [u32; 2] = [0x696e_6a65, 0x6374_6f72];

/// What a packet carries through the pair in `cb[4]`: which rule, which direction, whether it has to
/// wait, whether its fate is still to be decided.
///
/// The word lives in the part of `skb->cb` that neither segmentation nor fq writes; the pair is
/// private, so 15 bits of signature suffice to tell a stray packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context(u32);

impl Context {
    const SIGNATURE: u32 = 0x1f16 << 16;
    const SIGNATURE_MASK: u32 = 0xfffe << 16;
    const UNDECIDED: u32 = 1 << 16;
    const INGRESS: u32 = 1 << 15;
    const HELD: u32 = 1 << 14;
    const RULE_MASK: u32 = (1 << 14) - 1;

    /// The context of a packet of `rule` whose fate is decided.
    #[inline(always)]
    pub const fn new(rule: RuleId, ingress: bool, held: bool) -> Self {
        let direction = if ingress { Self::INGRESS } else { 0 };
        let held = if held { Self::HELD } else { 0 };
        Self(Self::SIGNATURE | direction | held | (rule.0 & Self::RULE_MASK))
    }

    /// The same, with the fate still to be decided.
    #[inline(always)]
    pub const fn undecided(self) -> Self {
        Self(self.0 | Self::UNDECIDED)
    }

    /// The same, with the fate decided: whether the packet is to be held.
    #[inline(always)]
    pub const fn decided(self, held: bool) -> Self {
        Self::new(self.rule(), self.ingress(), held)
    }

    /// Whether the fate is still to be decided.
    #[inline(always)]
    pub const fn is_undecided(self) -> bool {
        self.0 & Self::UNDECIDED != 0
    }

    /// Reads `cb[4]`; `None` where the packet is not ours.
    #[inline(always)]
    pub const fn from_word(word: u32) -> Option<Self> {
        if word & Self::SIGNATURE_MASK == Self::SIGNATURE {
            Some(Self(word))
        } else {
            None
        }
    }

    /// The word for `cb[4]`.
    #[inline(always)]
    pub const fn word(self) -> u32 {
        self.0
    }

    /// The rule.
    #[inline(always)]
    pub const fn rule(self) -> RuleId {
        RuleId(self.0 & Self::RULE_MASK)
    }

    /// Whether the packet was lifted from the ingress path.
    #[inline(always)]
    pub const fn ingress(self) -> bool {
        self.0 & Self::INGRESS != 0
    }

    /// Whether the packet is to be held until its departure time, and not put back at once.
    #[inline(always)]
    pub const fn held(self) -> bool {
        self.0 & Self::HELD != 0
    }
}

// Every rule fits beside the flags.
const _: () = assert!(super::SLOTS_MAX * EPOCHS <= Context::RULE_MASK + 1);

/// A rule, as its packets know it: a slot, and which of the rules that have had it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleId(u32);

impl RuleId {
    /// The rule that has `slot` in `epoch`.
    #[inline(always)]
    pub const fn new(slot: u32, epoch: u32) -> Self {
        Self(slot * EPOCHS + epoch % EPOCHS)
    }

    /// Reads what [`word`](Self::word) gave.
    #[inline(always)]
    pub const fn from_word(word: u32) -> Self {
        Self(word)
    }

    /// As a word.
    #[inline(always)]
    pub const fn word(self) -> u32 {
        self.0
    }

    /// Its slot in the maps that are indexed by rule.
    #[inline(always)]
    pub const fn slot(self) -> u32 {
        self.0 / EPOCHS
    }

    /// Whether the slot is still its own in `epoch`.
    #[inline(always)]
    pub const fn is_of(self, epoch: u32) -> bool {
        self.0 % EPOCHS == epoch % EPOCHS
    }
}

/// What the segments of a super-packet have in common until their fates are decided. They are copies
/// of each other, and carry its place in the map.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Split {
    /// What happens to them; at first to the first of them.
    pub block: Block,
    /// The packet index of the first.
    pub first: u64,
    /// When they came, on the monotonic clock, in ns.
    pub now_ns: u64,
    /// When they were to, by their sender's plan.
    pub due_ns: u64,
    /// How they leave.
    pub passage: Passage,
    /// How many have arrived: they cannot be told apart, but come one after the other.
    pub arrived: u64,
    /// How many have left, copies included.
    pub left: u64,
    /// Who sends them, where somebody listens: on the pair they have no socket.
    pub sender: Sender,
    /// Their priority.
    pub priority: u32,
    /// Keeps the size a multiple of 8.
    pub reserved: u32,
}
super::record!(Split, size: 200, align: 8);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_survives_the_trip_through_its_word() {
        for (ingress, held) in [(false, false), (false, true), (true, false), (true, true)] {
            for slot in [0, 1, 255, super::super::SLOTS_MAX - 1] {
                for epoch in 0..EPOCHS {
                    let rule = RuleId::new(slot, epoch);
                    let word = Context::new(rule, ingress, held).word();
                    let context = Context::from_word(word).unwrap();
                    let read = (context.rule(), context.ingress(), context.held());
                    assert_eq!(read, (rule, ingress, held));
                    assert_eq!(rule.slot(), slot);
                    assert!(rule.is_of(epoch + EPOCHS) && !rule.is_of(epoch + 1));
                    let context = Context::from_word(context.undecided().word()).unwrap();
                    assert!(context.is_undecided() && !context.decided(held).is_undecided());
                    assert_eq!(context.decided(held).word(), word);
                }
            }
        }
        assert_eq!(Context::from_word(0), None);
    }
}
