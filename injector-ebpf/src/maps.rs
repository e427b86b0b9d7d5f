//! Every map. Userspace sizes those that depend on the rules to the profile.

use aya_ebpf::{
    bindings::BPF_F_NO_PREALLOC,
    btf_maps,
    macros::{btf_map, map},
    maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf},
};
use injector_common::{
    abi::{
        Block, CAPTURED_END, CONTROL_LEN, Chain, Dimensions, Distribution, FaultSpec, HITS_BYTES,
        Known, OWNER_KEYS_MAX, OwnerKey, PathCounters, Point, Row, RuleCounters, RuleState,
        RuleTable, SLOTS_MAX, Split, TABLES_MAX, Told, TraceFilter, TraceState,
    },
    corrupt::Target,
    fate::Levels,
    fragments::{Fragmented, Header},
    pace::Passage,
    wire::PacketKey,
};

/// The generation of rules that is in force.
#[map]
pub static GENERATION: Array<u32> = Array::with_max_entries(1, 0);

/// The match entries of egress and of ingress, in each generation.
#[map]
pub static RULES: Array<RuleTable> = Array::with_max_entries(TABLES_MAX, 0);

/// The dimensions of those tables that are searched by bit vectors.
#[map]
pub static DIMENSIONS: Array<Dimensions> = Array::with_max_entries(1, 0);

/// The rows to which these dimensions point.
#[map]
pub static ROWS: Array<Row> = Array::with_max_entries(1, 0);

/// Where a packet's key lies while rules are compared with it.
#[map]
pub static KEY: PerCpuArray<PacketKey> = PerCpuArray::with_max_entries(1, 0);

/// How many packets of each flow have come, where some rule asks for it.
#[map]
pub static CONNECTIONS: LruHashMap<u64, u64> = LruHashMap::with_max_entries(1, 0);

/// What the first fragment of each packet told, where later ones follow it.
#[map]
pub static FRAGMENTED: LruHashMap<Fragmented, Header> = LruHashMap::with_max_entries(1, 0);

/// What each rule does.
#[map]
pub static FAULTS: Array<FaultSpec> = Array::with_max_entries(SLOTS_MAX, 0);

/// The Markov chains by which some of them choose packets.
#[map]
pub static CHAINS: Array<Chain> = Array::with_max_entries(1, 0);

/// The bounds of the packets that some of them list.
#[map]
pub static BOUNDS: Array<u64> = Array::with_max_entries(1, 0);

/// The tables by which some of them vary delays.
#[map]
pub static DISTRIBUTIONS: Array<Distribution> = Array::with_max_entries(1, 0);

/// Values of rules at points in time.
#[map]
pub static POINTS: Array<Point> = Array::with_max_entries(1, 0);

/// When recorded links could deliver packets, in ms.
#[map]
pub static OPPORTUNITIES: Array<u32> = Array::with_max_entries(1, 0);

/// Where a rule's values lie that change over time.
#[map]
pub static LEVELS: PerCpuArray<Levels> = PerCpuArray::with_max_entries(1, 0);

/// Where it lies how packets pass a rule's bottleneck.
#[map]
pub static PASSAGE: PerCpuArray<Passage> = PerCpuArray::with_max_entries(1, 0);

/// Where blocks of packets lie while they are worked out.
#[map]
pub static BLOCKS: PerCpuArray<Block> = PerCpuArray::with_max_entries(2, 0);

/// Where a chain's next state lies while a block of packets is worked out.
#[map]
pub static CHAIN_STATE: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// Where the part of a packet lies in which bits are flipped.
#[map]
pub static TARGET: PerCpuArray<Target> = PerCpuArray::with_max_entries(1, 0);

/// Where each rule stands. A BTF map, because the verifier finds the spin lock in its BTF.
#[btf_map]
pub static STATES: btf_maps::Array<RuleState, { SLOTS_MAX as usize }> = btf_maps::Array::new();

/// What each rule did.
#[map]
pub static RULE_COUNTERS: PerCpuArray<RuleCounters> = PerCpuArray::with_max_entries(SLOTS_MAX, 0);

/// What happened outside the rules.
#[map]
pub static PATH_COUNTERS: PerCpuArray<PathCounters> = PerCpuArray::with_max_entries(1, 0);

/// The super-packets that are being split: a ring for each processor.
#[map]
pub static SPLITS: Array<Split> = Array::with_max_entries(1, 0);

/// How many super-packets each processor has sent to be split.
#[map]
pub static SPLITS_SENT: PerCpuArray<u32> = PerCpuArray::with_max_entries(1, 0);

/// In which tick each processor last found the lease valid.
#[map]
pub static LEASE_VALID_IN: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// Of which hits somebody wants to hear.
#[map]
pub static TRACE: Array<TraceFilter> = Array::with_max_entries(1, 0);

/// How that stands.
#[map]
pub static TRACE_STATE: Array<TraceState> = Array::with_max_entries(1, 0);

/// The hits, for whoever listens; smaller where a run has several devices.
#[map]
pub static HITS: RingBuf = RingBuf::with_byte_size(HITS_BYTES, 0);

/// Where a hit lies until it is in the ring.
#[map]
pub static TOLD: PerCpuArray<Told<CAPTURED_END>> = PerCpuArray::with_max_entries(1, 0);

/// Who has sent the latest packet that was told of.
#[map]
pub static SENDER: PerCpuArray<Known> = PerCpuArray::with_max_entries(1, 0);

/// Who owns sockets that rules look for.
#[map]
pub static OWNER_KEYS: HashMap<OwnerKey, u64> =
    HashMap::with_max_entries(OWNER_KEYS_MAX, BPF_F_NO_PREALLOC);

/// What the loader says to all programs: the end of its lease, whether the faults have ended, and when
/// each generation came into force.
#[map]
pub static CONTROL: Array<u64> = Array::with_max_entries(CONTROL_LEN, 0);
