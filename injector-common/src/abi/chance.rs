use super::record;

/// The faults that hit some packets and not others: indexes of [`FaultSpec::chances`](super::FaultSpec).
pub mod fault {
    /// Dropped.
    pub const DROP: usize = 0;
    /// Corrupted.
    pub const CORRUPT: usize = 1;
    /// Duplicated.
    pub const DUPLICATE: usize = 2;
    /// Not delayed, and so ahead of others.
    pub const REORDER: usize = 3;
    /// How many there are; a power of two.
    pub const COUNT: usize = 4;
}

/// How the packets that a fault hits are chosen: values of [`Chance::model`].
pub mod model {
    /// None is.
    pub const NEVER: u32 = 0;
    /// Each by itself, at [`Chance::odds`](super::Chance::odds).
    pub const INDEPENDENT: u32 = 1;
    /// By the [`Chain`](super::Chain) at [`Chance::first`](super::Chance::first).
    pub const MARKOV: u32 = 2;
    /// Every [`Chance::count`](super::Chance::count)-th.
    pub const EVERY: u32 = 3;
    /// Those between bounds, of which [`Chance::count`](super::Chance::count) lie in order from
    /// [`Chance::first`](super::Chance::first) on: a packet is hit where an odd number of them is
    /// not above its index.
    pub const LISTED: u32 = 4;
}

/// Which packets a fault hits.
///
/// Odds are in units of 2^-32, held in 64 bits so that certainty, 2^32, is exact.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chance {
    /// See [`model`].
    pub model: u32,
    /// The number of a chain, or of the first bound.
    pub first: u32,
    /// The distance from one hit to the next, or how many bounds there are.
    pub count: u64,
    /// Odds of a hit.
    pub odds: u64,
    /// Starting point of the random stream (see [`crate::random`]).
    pub key: u64,
}
record!(Chance, size: 32, align: 8);

/// A Markov chain of four states, through which packets go one by one.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// The states.
    pub states: [ChainState; 4],
    /// The number of the first packet's.
    pub first: u64,
}
record!(Chain, size: 136, align: 8);

/// What happens in one state of a [`Chain`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChainState {
    /// Odds that the packet is hit.
    pub hit_odds: u64,
    /// Odds that the next packet's state is another: the one whose number differs from this one's in
    /// bit 0; that one or the one that differs in bit 1; any other. Never falling.
    pub leave_odds: [u64; 3],
}
record!(ChainState, size: 32, align: 8);

/// What happens to 64 consecutive packets of a rule, and what later ones depend on.
///
/// Always the same for the same packets, whoever works it out and when, unless the rule's values change
/// over time: so processors may do that in any order, and twice.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Block {
    /// How many blocks there are until the end of this one. 0 before the first.
    pub end: u64,
    /// Which of the packets each fault hits: bit i is packet i.
    pub hits: [u64; fault::COUNT],
    /// Which of the packets draw a delay of their own; the others have that of the packet before.
    pub fresh: u64,
    /// The last packet before this block that drew its delay.
    pub drawn: u64,
    /// In which state of its chain each fault's next packet is.
    pub states: [u16; fault::COUNT],
    /// The first packet that may be reordered again.
    pub reorder_from: u64,
}
record!(Block, size: 72, align: 8);
