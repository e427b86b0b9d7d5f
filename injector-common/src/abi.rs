//! The records that cross the border between userspace and the kernel, and the names and
//! capacities of the maps that hold them.
//!
//! Everything is `repr(C)`, of fixed width, and free of implicit padding: [`record!`] proves size
//! and alignment at compile time, so that both compilers must agree.

mod chance;
mod counters;
mod distribution;
pub mod features;
mod histogram;
mod owner;
mod packet;
mod predicate;
mod rule;
mod spec;
mod tracing;
mod track;

pub use chance::{Block, Chain, ChainState, Chance, fault, model};
pub use counters::{PathCounters, RuleCounters};
pub use distribution::Distribution;
pub use histogram::Histogram;
pub use owner::{CGROUP_LEVELS_MAX, OWNER_KEYS_MAX, OWNERS_MAX, OwnerKey, owner_kind};
pub use packet::{Context, RETURN_MAGIC, RuleId, Split};
pub use predicate::{GROUP_LEN, GROUP_VALUES, GROUPS_MAX, PREDICATES_MAX, Predicate, Predicates};
pub use rule::{BOUNDS_MAX, Dimension, Dimensions, MatchEntry, ROW_WORDS, Row, RuleTable};
pub use spec::{Delay, FaultSpec, Pace, PaceState, RuleState, flags, place};
pub use tracing::{
    CAPTURED_END, HEADERS_CAPTURED, HITS_BYTES, Hit, Known, Sender, TRACE_ENTRIES_MAX,
    TRACE_WINDOW_NS, Told, TraceFilter, TraceState, faults, hit,
};
pub use track::{Point, Track};

/// Most match entries of one direction. A rule takes one entry for each combination of its source
/// and destination addresses and ports.
pub const ENTRIES_MAX: usize = 1024;
/// Most match entries that are compared one by one. With more, bit vectors are quicker: comparing
/// costs 3 ns an entry, bit vectors as much as 4 to 12 entries, by the dimensions in use (measured
/// on 6.18).
pub const SCAN_MAX: usize = 8;
/// Most match entries of one direction that protect packets from every rule: two for an SSH
/// connection, and for ARP, neighbour discovery, and DHCP in both versions of IP.
pub const PROTECTED_MAX: usize = 6;
/// Flows of which packets are counted; then those are forgotten of which none has come for longest.
pub const CONNECTIONS_MAX: u32 = 1 << 16;
/// Fragmented packets of which is remembered what the first fragment told; then those are forgotten that nobody
/// has asked for longest.
pub const FRAGMENTED_MAX: u32 = 1 << 12;
/// Most rules of one direction.
pub const RULES_MAX: usize = 1024;
/// Generations of rules: one in force, and one that is being prepared or forgotten.
pub const GENERATIONS: u32 = 2;
/// Rules of both directions and all generations: the size of the maps that are indexed by rule.
pub const SLOTS_MAX: u32 = GENERATIONS * 2 * RULES_MAX as u32;

/// Number of the egress table within its generation.
pub const EGRESS: u32 = 0;
/// Number of the ingress table within its generation.
pub const INGRESS: u32 = 1;
/// Epochs that packets on their way can tell apart. When a slot gets another rule, its epoch changes,
/// so that packets of the former one do not count as the new one's.
pub const EPOCHS: u32 = 4;
/// Tables of all generations.
pub const TABLES_MAX: u32 = GENERATIONS * 2;

/// The number of a table.
#[inline(always)]
pub const fn table(generation: u32, direction: u32) -> u32 {
    2 * generation + direction
}

/// Index in [`maps::CONTROL`]: the boot-time instant, in ns, after which nothing is lifted any more.
pub const DEADLINE: u32 = 0;
/// Index in [`maps::CONTROL`]: the boot-time instant, in ns, at which the faults end; 0 where they have
/// ended, [`u64::MAX`] where nobody knows. From then on packets are lifted only to follow those that are
/// still held.
pub const END: u32 = 1;
/// Index in [`maps::CONTROL`] of the instant, on the monotonic clock in ns, from which on the rules of a
/// generation have been in force: the first of as many as there are [`GENERATIONS`].
pub const BEGIN: u32 = 2;
/// Elements of [`maps::CONTROL`].
pub const CONTROL_LEN: u32 = BEGIN + GENERATIONS;

/// Names of the maps.
pub mod maps {
    /// `Array<u32>` with one element: the generation of rules that is in force.
    pub const GENERATION: &str = "GENERATION";
    /// `Array<RuleTable>`, indexed by [`table`](super::table).
    pub const RULES: &str = "RULES";
    /// `Array<Dimensions>`, indexed by [`table`](super::table).
    pub const DIMENSIONS: &str = "DIMENSIONS";
    /// `Array<Row>`, indexed by what dimensions say.
    pub const ROWS: &str = "ROWS";
    /// `LruHash<u64, u64>`: how many packets of a flow have come, by [`flow`](crate::flow).
    pub const CONNECTIONS: &str = "CONNECTIONS";
    /// `LruHash<Fragmented, Header>`: what the first [fragment](crate::fragments) of a packet told.
    pub const FRAGMENTED: &str = "FRAGMENTED";
    /// `Array<FaultSpec>`, indexed by slot.
    pub const FAULTS: &str = "FAULTS";
    /// `Array<RuleState>`, indexed by slot.
    pub const STATES: &str = "STATES";
    /// `Array<Chain>`, indexed by what faults say.
    pub const CHAINS: &str = "CHAINS";
    /// `Array<u64>`, indexed by what faults say: bounds of listed packets.
    pub const BOUNDS: &str = "BOUNDS";
    /// `Array<Distribution>`, indexed by what faults say.
    pub const DISTRIBUTIONS: &str = "DISTRIBUTIONS";
    /// `Array<Point>`, indexed by what faults say: values that change over time.
    pub const POINTS: &str = "POINTS";
    /// `Array<u32>`, indexed by what faults say: when a recorded link delivered packets, in ms.
    pub const OPPORTUNITIES: &str = "OPPORTUNITIES";
    /// `PerCpuArray<RuleCounters>`, indexed by slot.
    pub const RULE_COUNTERS: &str = "RULE_COUNTERS";
    /// `PerCpuArray<PathCounters>` with one element.
    pub const PATH_COUNTERS: &str = "PATH_COUNTERS";
    /// `Array<TraceFilter>` with one element.
    pub const TRACE: &str = "TRACE";
    /// `Array<TraceState>` with one element.
    pub const TRACE_STATE: &str = "TRACE_STATE";
    /// A ring of [`Told`](super::Told).
    pub const HITS: &str = "HITS";
    /// `SkStorage<u64>`: the owners of each socket that has some that rules look for.
    pub const LABELS: &str = "LABELS";
    /// `HashMap<OwnerKey, u64>`: who they are.
    pub const OWNER_KEYS: &str = "OWNER_KEYS";
    /// `Array<Split>`: a ring of [`globals::SPLITS_MASK`](super::globals::SPLITS_MASK) + 1 elements
    /// for each processor.
    pub const SPLITS: &str = "SPLITS";
    /// `PerCpuArray<u32>` with one element: how many of them each processor has used.
    pub const SPLITS_SENT: &str = "SPLITS_SENT";
    /// `Array<u64>`: [`DEADLINE`](super::DEADLINE), [`END`](super::END) and
    /// [`BEGIN`](super::BEGIN).
    pub const CONTROL: &str = "CONTROL";
}

/// Names of the programs.
pub mod programs {
    /// Lifts packets out of the device's egress path.
    pub const DIVERT_EGRESS: &str = "injector_egress";
    /// Lifts packets out of the device's ingress path.
    pub const DIVERT_INGRESS: &str = "injector_ingress";
    /// Decides the fate of a wire packet that has crossed the pair.
    pub const DECIDE: &str = "injector_decide";
    /// Decides the fate of a wire packet that has not, and holds packets until they depart.
    pub const HOLD: &str = "injector_hold";
    /// Puts packets back where they were lifted.
    pub const RETURN: &str = "injector_return";
    /// Notes who opens a socket.
    pub const SOCKET: &str = "injector_socket";
    /// Decides rules that only drop, before the kernel allocates a socket buffer.
    pub const XDP: &str = "injector_xdp";
}

/// Names of the read-only globals that are set before the programs are loaded.
pub mod globals {
    /// `u32`: the device under fault.
    pub const DEV_IFINDEX: &str = "DEV_IFINDEX";
    /// `u32`: the pair's near end.
    pub const NEAR_IFINDEX: &str = "NEAR_IFINDEX";
    /// `u32`: the pair's far end, on which fq holds packets.
    pub const FAR_IFINDEX: &str = "FAR_IFINDEX";
    /// `u32`: the device on the far end that splits what it sends; 0 where there is none.
    pub const SPLITTER_IFINDEX: &str = "SPLITTER_IFINDEX";
    /// `u32`: one less than the elements of a processor in the map `SPLITS`, a power of two: more
    /// than can be on their way to be split.
    pub const SPLITS_MASK: &str = "SPLITS_MASK";
    /// `u32`: 1 where the device's frames have no Ethernet header.
    pub const RAW_IP: &str = "RAW_IP";
    /// `u32`: 1 where fq honours departure times.
    pub const HAS_FQ: &str = "HAS_FQ";
    /// `u32`: 1 where the kernel tells the control group of a packet's socket.
    pub const HAS_SENDERS: &str = "HAS_SENDERS";
    /// `u64`: what the rules make use of, see [`features`](super::features).
    pub const FEATURES: &str = "FEATURES";
    /// `u32`: an [`XdpMode`](super::XdpMode).
    pub const XDP_MODE: &str = "XDP_MODE";
    /// `u32`: the longest frame that is one packet on the device's wire.
    pub const FRAME_LEN_MAX: &str = "FRAME_LEN_MAX";
}

/// Where the rules that [`flags::XDP`] marks are decided, as the programs see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum XdpMode {
    /// No XDP program: such rules take the pair, like all others.
    Off = 0,
    /// In the driver, before receive offload: every wire packet is decided there.
    Native = 1,
    /// After receive offload, and again for what the pairs put back: only single packets of rules
    /// that drop everything are decided there.
    Generic = 2,
}

/// Declares that a record is shared with the kernel: its size and alignment are asserted, and
/// under feature `user` it becomes an aya `Pod`.
macro_rules! record {
    ($type:ty, size: $size:expr, align: $align:expr) => {
        const _: () = assert!(size_of::<$type>() == $size);
        const _: () = assert!(align_of::<$type>() == $align);
        // SAFETY: `repr(C)`, integers only, and the asserted size is the sum of the fields, so
        // that there is no padding.
        #[cfg(feature = "user")]
        unsafe impl aya::Pod for $type {}
    };
}
use record;
