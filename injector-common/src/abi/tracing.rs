use super::{MatchEntry, SLOTS_MAX, record};

/// What happened to a packet: bits of [`Hit::faults`].
pub mod faults {
    /// It was dropped.
    pub const DROP: u32 = 1 << 0;
    /// Bits of it were flipped.
    pub const CORRUPT: u32 = 1 << 1;
    /// Copies of it were made.
    pub const DUPLICATE: u32 = 1 << 2;
    /// It was not delayed, to overtake others.
    pub const REORDER: u32 = 1 << 3;
    /// It was delayed.
    pub const DELAY: u32 = 1 << 4;
    /// It was marked "congestion experienced".
    pub const MARK: u32 = 1 << 5;
    /// It was dropped because the queue of the rate was full.
    pub const OVERLIMIT: u32 = 1 << 6;
}

/// Bits of [`Hit::flags`].
pub mod hit {
    /// The bytes start with the IP header.
    pub const RAW_IP: u32 = 1 << 0;
    /// The packet as it was before its bits were flipped; it is told of once more.
    pub const BEFORE: u32 = 1 << 1;
}

/// Bytes of the ring by which a run tells of packets. A quarter of a second's worth where a million packets a
/// second are hit at 1 %, headers only.
pub const HITS_BYTES: u32 = 1 << 19;

/// Who sends a packet, by its socket.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sender {
    /// The number of the control group (version 2) in which the socket was opened; 0 where the packet has no socket of
    /// this machine any more, or never had one.
    pub cgroup: u64,
    /// The user who opened it.
    pub user: u32,
    /// Keeps the size a multiple of 8.
    pub reserved: u32,
}
record!(Sender, size: 16, align: 8);

/// A socket, and whose it is.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// Its number, which no other ever has; never 0.
    pub socket: u64,
    /// Who sends by it.
    pub sender: Sender,
}
record!(Known, size: 24, align: 8);

/// A packet to which something happened. As many of its first bytes follow as [`captured`](Self::captured)
/// says.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hit {
    /// When, on the monotonic clock, in ns; 0 until the clock has been read.
    pub time_ns: u64,
    /// Its index among the packets of the rule; [`u64::MAX`] where it has none, because all are dropped.
    pub n: u64,
    /// From the moment when it came, or was to, to its departure, in ns.
    pub delay_ns: u64,
    /// Who sends it.
    pub sender: Sender,
    /// The rule's slot.
    pub slot: u32,
    /// See [`faults`].
    pub faults: u32,
    /// How many packets it is on the wire.
    pub packets: u32,
    /// How many copies of it were made.
    pub copies: u32,
    /// The first bit that was flipped, counted from the frame's first.
    pub bit: u32,
    /// See [`hit`].
    pub flags: u32,
    /// How long it is.
    pub len: u32,
    /// How many of its bytes follow.
    pub captured: u32,
}
record!(Hit, size: 72, align: 8);

/// Bytes of a packet that are told where its headers will do: a power of two.
pub const HEADERS_CAPTURED: u32 = 128;
/// One more than the most bytes of a packet that are told: a power of two.
pub const CAPTURED_END: usize = 2048;

/// A hit and bytes of its packet. In the ring there are only as many bytes as are captured.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Told<const LEN: usize> {
    /// What happened.
    pub hit: Hit,
    /// To which packet.
    pub bytes: [u8; LEN],
}
record!(Told<CAPTURED_END>, size: size_of::<Hit>() + CAPTURED_END, align: 8);
record!(Told<{ HEADERS_CAPTURED as usize }>, size: size_of::<Hit>() + HEADERS_CAPTURED as usize, align: 8);

/// Most match entries by which a trace chooses packets.
pub const TRACE_ENTRIES_MAX: usize = 8;

/// Which hits somebody wants to hear of.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct TraceFilter {
    /// Until when, on the monotonic clock, in ns: whoever listens keeps pushing it ahead. 0 where nobody
    /// does.
    pub until_ns: u64,
    /// The odds for each.
    pub odds: u64,
    /// Most of them in [`TRACE_WINDOW_NS`].
    pub window_max: u64,
    /// Those of these [`faults`].
    pub faults: u32,
    /// Most bytes of a packet.
    pub captured_max: u32,
    /// Whether what is to be corrupted is wanted as it was, too.
    pub before: u32,
    /// How many of [`entries`](Self::entries) there are; 0 where any packet will do.
    pub entries_len: u32,
    /// Whoever listens is woken by each hit of a window whose number has none of these bits.
    pub wake_mask: u64,
    /// Those that match one of them.
    pub entries: [MatchEntry; TRACE_ENTRIES_MAX],
    /// Those of these rules: a bit for each slot.
    pub slots: [u64; SLOTS_MAX as usize / 64],
}
record!(TraceFilter, size: 48 + TRACE_ENTRIES_MAX * 104 + SLOTS_MAX as usize / 8, align: 8);

/// The time in which hits are counted to bound their rate.
pub const TRACE_WINDOW_NS: u64 = 100_000_000;

impl TraceFilter {
    /// One that lets nothing pass.
    pub const NOTHING: Self = Self {
        until_ns: 0,
        odds: 0,
        window_max: 0,
        faults: 0,
        captured_max: 0,
        before: 0,
        entries_len: 0,
        wake_mask: u64::MAX,
        entries: [MatchEntry::NOTHING; TRACE_ENTRIES_MAX],
        slots: [0; SLOTS_MAX as usize / 64],
    };

    /// Whether it is about the rule in this slot.
    #[inline(always)]
    pub const fn has_slot(&self, slot: u32) -> bool {
        let slot = slot % SLOTS_MAX;
        (self.slots[slot as usize / 64] >> (slot % 64)) & 1 != 0
    }

    /// The [`wake_mask`](Self::wake_mask) by which whoever listens is woken before new hits have filled more than a
    /// half of a ring of so many bytes.
    pub const fn wake_mask_for(&self, ring_bytes: u32) -> u64 {
        /// What the kernel puts before each (linux/bpf.h, `BPF_RINGBUF_HDR_SZ`).
        const HEADER: u32 = 8;
        let captured_max = if self.captured_max > HEADERS_CAPTURED {
            self.captured_max
        } else {
            HEADERS_CAPTURED
        };
        let hits = ring_bytes / 2 / (HEADER + size_of::<Hit>() as u32 + captured_max);
        (1 << (hits | 1).ilog2()) - 1
    }

    /// Makes it about the rule in this slot, too.
    pub const fn add_slot(&mut self, slot: u32) {
        let slot = slot % SLOTS_MAX;
        self.slots[slot as usize / 64] |= 1 << (slot % 64);
    }
}

/// How a trace stands. Several processors write it, without a lock: the rate is not exact.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TraceState {
    /// When the present window began, on the monotonic clock, in ns.
    pub window_ns: u64,
    /// Hits in it.
    pub in_window: u64,
    /// Hits that were not told because there were too many.
    pub limited: u64,
    /// Hits that were not told because nobody had taken those before out of the ring.
    pub lost: u64,
}
record!(TraceState, size: 32, align: 8);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_listens_is_woken_while_there_is_room() {
        for (ring_bytes, captured_max, hits) in [
            (HITS_BYTES, HEADERS_CAPTURED, 1024),
            (HITS_BYTES, CAPTURED_END as u32 - 1, 64),
            (64 << 10, HEADERS_CAPTURED, 128),
            (64 << 10, CAPTURED_END as u32 - 1, 8),
            (4096, CAPTURED_END as u32 - 1, 1),
        ] {
            let filter = TraceFilter {
                captured_max,
                ..TraceFilter::NOTHING
            };
            assert_eq!(filter.wake_mask_for(ring_bytes), hits - 1, "{ring_bytes}");
        }
    }
}
