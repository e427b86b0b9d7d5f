use super::record;

/// How delays are spread around their middle: the quantiles of the deviation at k / 4096, for k from
/// 0 to 4096.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Distribution {
    /// In units of 2^-16 of the jitter. They never fall.
    pub quantiles: [i32; Self::CELLS + 1],
    /// Keeps the size a multiple of 8.
    pub reserved: u32,
}
record!(Distribution, size: 16_392, align: 4);

impl Distribution {
    /// Cells between quantiles, all equally probable; a power of two.
    pub const CELLS: usize = 4096;
}
