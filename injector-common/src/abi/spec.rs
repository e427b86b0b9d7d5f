use super::{Block, Chance, Track, fault, record};

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
    /// Packets that would be dropped are marked in place of that, if they belong to a flow that
    /// understands ECN.
    pub const ECN: u32 = 1 << 4;
    /// The same at the queue's limit; beyond twice the limit they are dropped.
    pub const QUEUE_ECN: u32 = 1 << 5;
    /// No packet departs before one that came earlier.
    pub const KEEP_ORDER: u32 = 1 << 6;
    /// What happens to a packet depends on the packets before it.
    pub const MEMORY: u32 = 1 << 7;
}

/// What a rule does to its packets.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultSpec {
    /// Which packets are hit, by [`fault`].
    pub chances: [Chance; fault::COUNT],
    /// How long packets are delayed.
    pub delay: Delay,
    /// When the medium takes them.
    pub pace: Pace,
    /// How these values change over time; then the ones here are the largest.
    pub track: Track,
    /// Stream of the bits that corruptions flip.
    pub corrupt_key: u64,
    /// At most one of so many packets is reordered; not 0.
    pub reorder_gap: u64,
    /// How many bits a corruption flips.
    pub corrupt_bits: u32,
    /// Where they lie: a [`place`].
    pub corrupt_place: u32,
    /// How many copies a duplication makes.
    pub copies: u32,
    /// See [`flags`].
    pub flags: u32,
}
record!(FaultSpec, size: 344, align: 8);

/// Parts of a packet: values of [`FaultSpec::corrupt_place`].
pub mod place {
    /// What lies behind the transport header.
    pub const PAYLOAD: u32 = 0;
    /// The IP header and the transport header.
    pub const HEADER: u32 = 1;
    /// Both.
    pub const ANY: u32 = 2;
}

/// How long packets are delayed.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delay {
    /// Middle of the delays, in ns.
    pub time_ns: u64,
    /// The largest deviation from it, or its standard deviation, in ns.
    pub jitter_ns: u64,
    /// Stream of the delays.
    pub key: u64,
    /// Stream of the copies' delays.
    pub copy_key: u64,
    /// Odds that a packet's delay is that of the packet before it.
    pub keep_odds: u64,
    /// Stream of these decisions.
    pub keep_key: u64,
    /// One more than the number of the table of deviations; 0 where they are uniform.
    pub distribution: u32,
    /// Keeps the size a multiple of 8.
    pub reserved: u32,
}
record!(Delay, size: 56, align: 8);

/// When packets leave, one after the other.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    /// How long a byte takes, in units of 2^-[`BYTE_NS_SHIFT`](Self::BYTE_NS_SHIFT) ns; 0 where no
    /// rate limits them.
    pub byte_ns: u64,
    /// For how long packets may leave without a pause, in ns.
    pub burst_ns: u64,
    /// Longest time that a packet may wait for those before it, in ns; where bytes count, how long those
    /// take at the lowest rate.
    pub queue_ns: u64,
    /// Most bytes that may wait; `u64::MAX` where time counts.
    pub queue_bytes: u64,
    /// When a recorded link can deliver packets, in place of a rate.
    pub opportunities: Track,
    /// Shortest time from one slot to the next, in ns.
    pub slot_min_ns: u64,
    /// Longest time minus the shortest, in ns.
    pub slot_span_ns: u64,
    /// Stream of these times.
    pub slot_key: u64,
    /// Bytes of a slot; 0 where no slots limit packets.
    pub slot_bytes: u64,
    /// Packets of a slot.
    pub slot_packets: u32,
    /// Bytes added to each packet.
    pub overhead: i32,
    /// Packets take whole cells of so many bytes; 0 where there are none.
    pub cell_size: u32,
    /// Keeps the size a multiple of 8.
    pub reserved: u32,
}
record!(Pace, size: 104, align: 8);

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
    /// One more than the index of the latest packet that was hit; 0 where none was. Written without the lock:
    /// only a histogram depends on it.
    pub hit_end: u64,
    /// The latest block of packets that has been worked out.
    pub block: Block,
    /// When the next packet can leave.
    pub pace: PaceState,
}
record!(RuleState, size: 168, align: 8);

/// Where a rule stands with [`Pace`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PaceState {
    /// When all packets before have been sent, on the monotonic clock, in ns.
    pub free_ns: u64,
    /// The latest departure time that any packet got; kept where the rule keeps the order.
    pub latest_ns: u64,
    /// When the present slot begins.
    pub slot_ns: u64,
    /// Its number.
    pub slot: u64,
    /// Bytes that have left in it.
    pub slot_bytes: u64,
    /// Packets that have left in it.
    pub slot_packets: u64,
}
record!(PaceState, size: 48, align: 8);

impl FaultSpec {
    /// The chance of a fault.
    #[inline(always)]
    pub const fn chance(&self, fault: usize) -> &Chance {
        &self.chances[fault % fault::COUNT]
    }

    /// Whether the rule drops every packet, so that none has to have an index.
    #[inline(always)]
    pub const fn drops_all(&self) -> bool {
        self.chance(fault::DROP).is_certain() && self.flags & flags::ECN == 0 && !self.changes()
    }

    /// Whether the rule delays its packets.
    #[inline(always)]
    pub const fn delays(&self) -> bool {
        self.delay.time_ns != 0 || self.delay.jitter_ns != 0
    }

    /// Whether packets leave one after the other.
    #[inline(always)]
    pub const fn paces(&self) -> bool {
        self.pace.byte_ns != 0
            || self.pace.slot_bytes != 0
            || self.pace.opportunities.len != 0
            || self.flags & flags::KEEP_ORDER != 0
    }

    /// Whether its values change over time.
    #[inline(always)]
    pub const fn changes(&self) -> bool {
        self.track.len != 0
    }

    /// Whether what happens to a packet depends on the packets before it, so that these have to be
    /// worked out first.
    #[inline(always)]
    pub const fn remembers(&self) -> bool {
        self.flags & flags::MEMORY != 0
    }
}
