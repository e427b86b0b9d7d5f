/// Marks, together with the device's index, a packet that has been put back: the last two words of
/// `__sk_buff.cb`, which the kernel leaves alone between the redirect and the device's hook.
pub const RETURN_MAGIC: [u32; 2] = [0x696e_6a65, 0x6374_6f72];

/// What a packet carries through the pair in `cb[4]`: which rule, which direction.
///
/// The word lives in the part of `skb->cb` that neither segmentation nor fq writes; the pair is
/// private, so 16 bits of signature suffice to tell a stray packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context(u32);

impl Context {
    const SIGNATURE: u32 = 0x1f17 << 16;
    const SIGNATURE_MASK: u32 = 0xffff << 16;
    const INGRESS: u32 = 1 << 15;
    const SLOT_MASK: u32 = (1 << 15) - 1;

    /// The context of a packet that the rule in `slot` matched.
    #[inline(always)]
    pub const fn new(slot: u32, ingress: bool) -> Self {
        let direction = if ingress { Self::INGRESS } else { 0 };
        Self(Self::SIGNATURE | direction | (slot & Self::SLOT_MASK))
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

    /// The rule's slot.
    #[inline(always)]
    pub const fn slot(self) -> u32 {
        self.0 & Self::SLOT_MASK
    }

    /// Whether the packet was lifted from the ingress path.
    #[inline(always)]
    pub const fn ingress(self) -> bool {
        self.0 & Self::INGRESS != 0
    }
}

// Every slot fits beside the direction bit.
const _: () = assert!(super::SLOTS_MAX <= Context::SLOT_MASK + 1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_survives_the_trip_through_its_word() {
        for ingress in [false, true] {
            for slot in [0, 1, 255, super::super::SLOTS_MAX - 1] {
                let context = Context::from_word(Context::new(slot, ingress).word()).unwrap();
                assert_eq!((context.slot(), context.ingress()), (slot, ingress));
            }
        }
        assert_eq!(Context::from_word(0), None);
    }
}
