use super::{fault, record};

/// How the values of a rule change over time.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Track {
    /// The number of its first [`Point`], or opportunity.
    pub first: u32,
    /// How many there are; 0 where nothing changes.
    pub len: u32,
    /// After how long it begins anew, in ns; 0 where the last values stay.
    pub period_ns: u64,
    /// Index in [`CONTROL`](super::maps::CONTROL) of the moment at which it begins.
    pub begin: u32,
    /// 1 where values between two points lie on the straight line between them.
    pub linear: u32,
}
record!(Track, size: 24, align: 8);

/// The values of a rule at one point in time.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Point {
    /// The time from the beginning of the track, in ns.
    pub at_ns: u64,
    /// Odds of packets that are hit independently of each other, by [`fault`].
    pub odds: [u64; fault::COUNT],
    /// Middle of the delay, in ns.
    pub time_ns: u64,
    /// Its jitter, in ns.
    pub jitter_ns: u64,
    /// Bits a second; 0 where no rate limits packets.
    pub rate_bps: u64,
}
record!(Point, size: 64, align: 8);
