//! What can happen to the packets of a rule.

use std::ops::RangeInclusive;
use std::sync::Arc;

use super::QueueLimit;
use crate::units::{Bandwidth, DurationNs, Probability, Size};

/// Which of a rule's packets a fault hits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chance {
    /// Each with the same probability.
    Random {
        /// Share of the packets that are hit.
        probability: Probability,
        /// Autocorrelation at lag 1 of being hit, below 100 %; the share stays what it is.
        correlation: Probability,
    },
    /// Every N-th one: N, 2N, 3N and so on, counting from 1. Never 0.
    Every(u64),
    /// The first N ones.
    First(u64),
    /// These ones, counting from 1: in order, none overlapping or adjacent.
    Packets(Vec<RangeInclusive<u64>>),
}

impl Chance {
    /// Returns the probability with which each packet is hit, if that is independent of the others.
    pub fn independent_probability(&self) -> Option<Probability> {
        match self {
            Self::Random {
                probability,
                correlation: Probability::NEVER,
            } => Some(*probability),
            _ => None,
        }
    }

    /// Returns the chance of packets that are independent of each other.
    pub const fn independent(probability: Probability) -> Self {
        Self::Random {
            probability,
            correlation: Probability::NEVER,
        }
    }
}

/// Loss: the packet never arrives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drop {
    /// Which packets are lost.
    pub loss: Loss,
    /// Those of a flow that understands ECN arrive, marked "congestion experienced".
    pub ecn: bool,
}

impl Drop {
    /// Returns the loss of packets that are independent of each other.
    pub const fn independent(probability: Probability) -> Self {
        Self {
            loss: Loss::Chance(Chance::independent(probability)),
            ecn: false,
        }
    }
}

/// How packets are chosen to be lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Loss {
    /// One by one.
    Chance(Chance),
    /// Gilbert-Elliott.
    Gemodel(Gemodel),
    /// The 4-state Markov model.
    State(FourStates),
}

/// The Gilbert-Elliott model: a good and a bad state, each with a loss probability of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gemodel {
    /// From good to bad.
    pub p: Probability,
    /// From bad to good.
    pub r: Probability,
    /// Loss in the bad state.
    pub one_minus_h: Probability,
    /// Loss in the good state.
    pub one_minus_k: Probability,
}

/// The 4-state Markov model: 1 good, 2 good within a burst, 3 lost within a burst, 4 lost alone.
/// From 4 it always goes back to 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FourStates {
    /// From good to lost within a burst; with `p14` at most 100 %.
    pub p13: Probability,
    /// From lost within a burst to good; with `p32` at most 100 %.
    pub p31: Probability,
    /// From lost within a burst to good within it.
    pub p32: Probability,
    /// From good within a burst to lost within it.
    pub p23: Probability,
    /// From good to lost alone.
    pub p14: Probability,
}

/// Latency: the packet arrives later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delay {
    /// Middle of the added time, one way.
    pub time: DurationNs,
    /// How far it strays: uniform, the largest deviation, at most `time`; otherwise the standard
    /// deviation, and times below 0 become 0.
    pub jitter: DurationNs,
    /// How it strays.
    pub distribution: Distribution,
    /// Autocorrelation at lag 1 of the delays, below 100 %; their distribution stays what it is.
    pub correlation: Probability,
    /// Jitter does not reorder the packets of the rule.
    pub keep_order: bool,
}

impl Delay {
    /// Returns a delay that is spread evenly, each packet's independent of the others'.
    pub const fn uniform(time: DurationNs, jitter: DurationNs) -> Self {
        Self {
            time,
            jitter,
            distribution: Distribution::Uniform,
            correlation: Probability::NEVER,
            keep_order: false,
        }
    }
}

/// How delays are spread around their middle.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Distribution {
    /// Evenly from `time - jitter` to `time + jitter`.
    #[default]
    Uniform,
    /// The normal distribution.
    Normal,
    /// The Pareto distribution with exponent 3, shifted and scaled as netem does.
    Pareto,
    /// A quarter normal, three quarters Pareto, as netem mixes them.
    ParetoNormal,
    /// A table from a file, in netem's format: the quantiles of the deviation in units of
    /// `jitter / 8192`, in order. At least one value.
    Table(Arc<[i16]>),
}

/// Reordering: the packet overtakes those that are delayed, because it is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reorder {
    /// Which packets overtake.
    pub chance: Chance,
    /// At least one in so many packets does not: `gap - 1` lie between two that overtake. 1 is no
    /// condition; never 0.
    pub gap: u64,
}

impl Reorder {
    /// Returns the reordering of packets that are independent of each other.
    pub const fn independent(probability: Probability) -> Self {
        Self {
            chance: Chance::independent(probability),
            gap: 1,
        }
    }
}

/// Corruption: bits of the packet are flipped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Corrupt {
    /// Which packets are corrupted.
    pub chance: Chance,
    /// How many bits, all different: 1 to [`Self::BITS_MAX`].
    pub bits: u8,
    /// What becomes of the checksum.
    pub checksum: Checksum,
    /// Where the bits lie.
    pub place: Place,
}

impl Corrupt {
    /// Most bits of one packet.
    pub const BITS_MAX: u8 = 8;

    /// Returns the corruption of one bit, in packets that are independent of each other.
    pub const fn independent(probability: Probability, checksum: Checksum) -> Self {
        Self {
            chance: Chance::independent(probability),
            bits: 1,
            checksum,
            place: Place::Payload,
        }
    }
}

/// What becomes of the checksum of a corrupted packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Checksum {
    /// It stays as it was, and the receiver notices, as on a wire.
    #[default]
    Stale,
    /// It is made to fit, and the wrong byte reaches the application.
    Valid,
}

/// Which part of a packet is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Place {
    /// What lies behind the transport header; that header where nothing does.
    #[default]
    Payload,
    /// The IP header and the transport header.
    Header,
    /// Both.
    Any,
}

/// Duplication: the packet arrives more than once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Duplicate {
    /// Which packets are duplicated.
    pub chance: Chance,
    /// How many copies there are beside the packet itself: 1 to [`Self::COPIES_MAX`].
    pub copies: u8,
}

impl Duplicate {
    /// Most copies of one packet.
    pub const COPIES_MAX: u8 = 8;

    /// Returns one copy each of packets that are independent of each other.
    pub const fn independent(probability: Probability) -> Self {
        Self {
            chance: Chance::independent(probability),
            copies: 1,
        }
    }
}

/// A bottleneck: packets leave one after the other, each when it has been sent in full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rate {
    /// Bits a second on the wire, link-layer headers included.
    pub bandwidth: Bandwidth,
    /// How much may go at once after a pause.
    pub burst: Size,
    /// How much may wait.
    pub queue: QueueLimit,
    /// Bytes added to each packet, or, below 0, taken off.
    pub overhead: i32,
    /// Packets take whole cells of so many bytes; 0 where there are none.
    pub cell_size: u32,
    /// Beyond the limit packets of a flow that understands ECN are marked, and dropped only beyond
    /// twice the limit.
    pub ecn: bool,
}

impl Rate {
    /// Returns a link that divides nothing, adds nothing, and queues as much as netem does.
    pub fn plain(bandwidth: Bandwidth) -> Self {
        Self {
            bandwidth,
            burst: Size::ZERO,
            queue: QueueLimit::default(),
            overhead: 0,
            cell_size: 0,
            ecn: false,
        }
    }
}

/// A medium that packets get only now and then, and then several at once (Wi-Fi, DOCSIS).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// Shortest time from one slot to the next.
    pub min: DurationNs,
    /// Longest time; at least `min`.
    pub max: DurationNs,
    /// Most packets in a slot; `None` for any number. This or `bytes` is given.
    pub packets: Option<u32>,
    /// Most bytes in a slot; `None` for any number.
    pub bytes: Option<Size>,
}
