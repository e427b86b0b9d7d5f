use super::record;

/// Bits of [`FaultSpec::flags`].
pub mod flags {
    /// The rule asks for something that is decided per wire packet: super-packets are split.
    pub const SPLIT: u32 = 1 << 0;
    /// A corrupted packet gets a checksum that fits, so that the receiver accepts it.
    pub const CHECKSUM_VALID: u32 = 1 << 1;
    /// The rule only drops: XDP can decide it.
    pub const XDP: u32 = 1 << 2;
    /// The rule does nothing: its packets pass, and no later rule sees them.
    pub const EXEMPT: u32 = 1 << 3;
}

/// What a rule does to its packets.
///
/// Odds are in units of 2^-32, held in 64 bits so that certainty, 2^32, is exact. Keys are the
/// starting points of independent random streams (see [`crate::random`]).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultSpec {
    /// Odds of a drop.
    pub drop_odds: u64,
    /// Stream of the drops.
    pub drop_key: u64,
    /// Odds of a corruption.
    pub corrupt_odds: u64,
    /// Stream of the corruptions.
    pub corrupt_key: u64,
    /// Stream of the bits that corruptions flip.
    pub corrupt_bit_key: u64,
    /// Odds of a duplicate.
    pub duplicate_odds: u64,
    /// Stream of the duplicates.
    pub duplicate_key: u64,
    /// Shortest delay, in ns.
    pub delay_min_ns: u64,
    /// Longest delay minus the shortest, in ns.
    pub delay_span_ns: u64,
    /// Stream of the delays.
    pub delay_key: u64,
    /// Stream of the duplicates' delays.
    pub duplicate_delay_key: u64,
    /// See [`flags`].
    pub flags: u32,
    /// Keeps the size a multiple of 8.
    pub reserved: u32,
}
record!(FaultSpec, size: 96, align: 8);

/// `struct bpf_spin_lock` of the kernel, which the verifier finds by this name in the map's BTF.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct bpf_spin_lock {
    /// The lock word.
    pub val: u32,
}

/// Where a rule stands in its sequence of packets.
///
/// A lock rather than an atomic: instructions that add and fetch came with Linux 5.12, and 5.10 is
/// supported.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct RuleState {
    /// Guards the rest.
    pub lock: bpf_spin_lock,
    /// Which of the rules that have had this slot the counts are of, modulo
    /// [`EPOCHS`](super::EPOCHS).
    pub epoch: u32,
    /// Index of the next wire packet that matches, counting from 0.
    pub next: u64,
    /// Wire packets on their way: lifted, and not yet back on the device. Not under the lock, but
    /// added to atomically.
    pub in_flight: u64,
    /// Latest departure time of the packets that were held, on the monotonic clock, in ns; 0 where none
    /// was. Written without the lock: two processors that write at the same moment have almost the
    /// same to say.
    pub latest_ns: u64,
    /// Those of the packets on their way that are still crossing the pair. Added to atomically.
    pub crossing: u64,
}
record!(RuleState, size: 40, align: 8);

impl FaultSpec {
    /// Whether the rule drops every packet, so that none has to have an index.
    #[inline(always)]
    pub const fn drops_all(&self) -> bool {
        self.drop_odds >= crate::random::CERTAIN
    }

    /// Whether the rule delays its packets.
    #[inline(always)]
    pub const fn delays(&self) -> bool {
        self.delay_min_ns != 0 || self.delay_span_ns != 0
    }
}
