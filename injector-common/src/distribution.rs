//! How far a packet's delay strays from the middle.

use crate::abi::Distribution;

/// Bits of a random word that choose a cell of the distribution: the highest.
const CELL_BITS: u32 = Distribution::CELLS.ilog2();
/// Bits, the next ones, that choose the place within the cell.
const PLACE_BITS: u32 = 16;
/// Quantiles are in units of 2^-16 of the jitter.
const SHARE_BITS: u32 = 16;

impl Distribution {
    /// The deviation, in ns, that a random word stands for: the quantile at word / 2^64, on the
    /// straight line between those of the table, rounded down. It never falls when the word grows.
    ///
    /// `jitter_ns` is at most 2^42, more than an hour.
    #[inline(always)]
    pub const fn deviation_ns(&self, word: u64, jitter_ns: u64) -> i64 {
        // A shift by a constant tells the verifier that both indexes are inside.
        let cell = (word >> (u64::BITS - CELL_BITS)) as usize;
        let place = (word << CELL_BITS) >> (u64::BITS - PLACE_BITS);
        let (low, high) = (self.quantiles[cell] as i64, self.quantiles[cell + 1] as i64);
        let share = low + (((high - low) * place as i64) >> PLACE_BITS);
        scale(jitter_ns, share)
    }
}

/// `share` of the jitter, rounded down.
#[inline(always)]
const fn scale(jitter_ns: u64, share: i64) -> i64 {
    // (jitter * share) >> 16 in more than 64 bits: eBPF has no 128-bit multiplication.
    let high = (jitter_ns >> SHARE_BITS) as i64;
    let low = (jitter_ns & ((1 << SHARE_BITS) - 1)) as i64;
    high * share + ((low * share) >> SHARE_BITS)
}

/// The delay that strays by `deviation_ns` from `time_ns`: none where that would be before now.
#[inline(always)]
pub const fn delay_ns(time_ns: u64, deviation_ns: i64) -> u64 {
    time_ns.saturating_add_signed(deviation_ns)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const JITTER_NS_MAX: u64 = 1 << 42;

    /// All quantiles up to `cell` are `low`, the others `high`.
    fn step(cell: usize, low: i32, high: i32) -> Distribution {
        let mut quantiles = [high; Distribution::CELLS + 1];
        quantiles[..=cell].fill(low);
        Distribution {
            quantiles,
            reserved: 0,
        }
    }

    fn ramp(from: i32, by: i32) -> Distribution {
        Distribution {
            quantiles: core::array::from_fn(|k| from + by * k as i32),
            reserved: 0,
        }
    }

    proptest! {
        #[test]
        fn deviations_agree_with_128_bit_arithmetic(
            word: u64, a: i32, b: i32, jitter_ns in 0..=JITTER_NS_MAX,
        ) {
            let (low, high) = (a.min(b), a.max(b));
            let steps = (i128::from(word) * 4096 * 65536) >> 64;
            let (cell, place) = (steps / 65536, steps % 65536);
            let share = i128::from(low) + (i128::from(high) - i128::from(low)) * place / 65536;
            let expected = (i128::from(jitter_ns) * share).div_euclid(65536);
            let actual = step(cell as usize, low, high).deviation_ns(word, jitter_ns);
            prop_assert_eq!(i128::from(actual), expected);
        }

        #[test]
        fn deviations_never_fall(
            a: u64, b: u64, from in -(1 << 18)..0i32, by in 0..128i32, jitter_ns in 0..=JITTER_NS_MAX,
        ) {
            let distribution = ramp(from, by);
            prop_assert!(
                distribution.deviation_ns(a.min(b), jitter_ns)
                    <= distribution.deviation_ns(a.max(b), jitter_ns)
            );
        }

        #[test]
        fn a_delay_is_never_before_now(time_ns in 0..=JITTER_NS_MAX, deviation_ns: i32) {
            let deviation_ns = i64::from(deviation_ns) << 13;
            let expected = (i128::from(time_ns) + i128::from(deviation_ns)).max(0);
            prop_assert_eq!(i128::from(delay_ns(time_ns, deviation_ns)), expected);
        }
    }

    #[test]
    fn the_first_and_the_last_word_are_the_ends_of_the_table() {
        let distribution = ramp(-(1 << 18), 128);
        let jitter_ns = 1 << 16;
        assert_eq!(distribution.deviation_ns(0, jitter_ns), -(1 << 18));
        assert_eq!(
            distribution.deviation_ns(u64::MAX, jitter_ns),
            (1 << 18) - 1
        );
    }

    #[test]
    fn without_jitter_nothing_strays() {
        assert_eq!(ramp(-(1 << 18), 128).deviation_ns(u64::MAX, 0), 0);
    }
}
