//! Seeded chance without state: any element of any stream can be had directly.
//!
//! A stream is the sequence of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom
//! number generators", OOPSLA 2014, with Stafford's mixer 13) from a given starting point. Its
//! i-th word is a function of key and i alone, so that two CPUs, a repeated run and `predict` all
//! see the same fates.

/// 2^64 divided by the golden ratio: SplitMix64's increment.
const GOLDEN_GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// Certainty, in units of 2^-32.
pub const CERTAIN: u64 = 1 << 32;

/// Bits of a probability, hence words that 64 decisions consume at most.
const ODDS_BITS: u64 = 32;
/// Decisions that share their words.
pub const LANES: u64 = 64;

/// A random stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream(u64);

impl Stream {
    /// The stream that starts at `key`.
    #[inline(always)]
    pub const fn new(key: u64) -> Self {
        Self(key)
    }

    /// The starting point.
    pub const fn key(self) -> u64 {
        self.0
    }

    /// An unrelated stream for the purpose `label`.
    pub const fn fork(self, label: u64) -> Self {
        Self(mix(
            self.0 ^ mix(label.wrapping_add(1).wrapping_mul(GOLDEN_GAMMA))
        ))
    }

    /// The word at `index`.
    #[inline(always)]
    pub const fn word(self, index: u64) -> u64 {
        mix(self
            .0
            .wrapping_add(index.wrapping_add(1).wrapping_mul(GOLDEN_GAMMA)))
    }

    /// An integer in `0..=span`, uniform to within 2^-32, from the word at `index`.
    #[inline(always)]
    pub const fn up_to(self, index: u64, span: u64) -> u64 {
        // (word * (span + 1)) >> 32 in 96 bits: eBPF has no 128-bit multiplication.
        let word = self.word(index) >> 32;
        let count = span + 1;
        word * (count >> 32) + ((word * (count & 0xffff_ffff)) >> 32)
    }

    /// Whether event `n` happens, at `odds` in units of 2^-32.
    ///
    /// 64 consecutive events share their words, one bit each: bit `i` of event `n`'s 32-bit
    /// uniform number is bit `n % 64` of a word, and the event happens where that number is below
    /// the odds. The comparison ends at the first bit that differs, after two words on average,
    /// and [`Self::hits`] decides all 64 together, after about eight.
    #[inline(always)]
    pub const fn hit(self, odds: u64, n: u64) -> bool {
        if odds >= CERTAIN {
            return true;
        }
        if odds == 0 {
            return false;
        }
        let first = n / LANES * ODDS_BITS;
        let mut i = 0;
        while i < ODDS_BITS {
            let random = (self.word(first + i) >> (n % LANES)) & 1;
            let limit = (odds >> (ODDS_BITS - 1 - i)) & 1;
            if random != limit {
                return random < limit;
            }
            i += 1;
        }
        false
    }

    /// The events of `block`, those from `64 * block` on, as a bit mask: [`Self::hit`] 64 times.
    ///
    /// Without branches but for the loop's: the verifier would follow each combination of them, for
    /// each block and each fault.
    #[inline(always)]
    pub const fn hits(self, odds: u64, block: u64) -> u64 {
        let (mut below, mut equal) = (all(odds >> ODDS_BITS), all(is_set(odds)));
        let mut i = 0;
        while i < ODDS_BITS && equal != 0 {
            let random = self.word(block * ODDS_BITS + i);
            let limit = all((odds >> (ODDS_BITS - 1 - i)) & 1);
            below |= equal & !random & limit;
            equal &= !(random ^ limit);
            i += 1;
        }
        below
    }
}

/// 64 copies of a bit.
#[inline(always)]
const fn all(bit: u64) -> u64 {
    bit.wrapping_neg()
}

/// 1 where `word` is not 0.
#[inline(always)]
const fn is_set(word: u64) -> u64 {
    (word | word.wrapping_neg()) >> 63
}

/// Stafford's variant 13 of the MurmurHash3 finalizer: a bijection in which every input bit
/// changes every output bit with probability near one half.
#[inline(always)]
const fn mix(z: u64) -> u64 {
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Beyond this many standard deviations a correct generator strays once in 10^9 runs.
    const SIGMAS: f64 = 6.1;

    #[test]
    fn the_words_are_those_of_splitmix64() {
        // From the reference implementation, seed 1234567.
        let stream = Stream::new(1_234_567);
        let words = [0, 1, 2, 3, 4].map(|i| stream.word(i));
        assert_eq!(
            words,
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423,
                4_593_380_528_125_082_431,
                16_408_922_859_458_223_821
            ]
        );
    }

    fn odds() -> impl Strategy<Value = u64> {
        prop_oneof![
            Just(0),
            Just(1),
            Just(CERTAIN - 1),
            Just(CERTAIN),
            0..=CERTAIN
        ]
    }

    proptest! {
        #[test]
        fn a_block_of_64_agrees_with_single_decisions(
            key: u64, odds in odds(), block in 0u64..1 << 40,
        ) {
            let stream = Stream::new(key);
            let mask = stream.hits(odds, block);
            for lane in 0..64 {
                prop_assert_eq!((mask >> lane) & 1 == 1, stream.hit(odds, block * 64 + lane));
            }
        }

        #[test]
        fn nothing_happens_at_odds_0_and_everything_at_certainty(key: u64, n: u64) {
            prop_assert!(!Stream::new(key).hit(0, n));
            prop_assert!(Stream::new(key).hit(CERTAIN, n));
        }

        #[test]
        fn an_event_that_happens_also_happens_at_higher_odds(
            key: u64, n: u64, low in 0..=CERTAIN, high in 0..=CERTAIN,
        ) {
            let (low, high) = (low.min(high), low.max(high));
            prop_assert!(!Stream::new(key).hit(low, n) || Stream::new(key).hit(high, n));
        }

        #[test]
        fn uniform_numbers_stay_in_their_range(key: u64, n: u64, span in 0u64..1 << 62) {
            prop_assert!(Stream::new(key).up_to(n, span) <= span);
        }

        #[test]
        fn the_share_of_hits_is_what_the_odds_say(key: u64, odds in 1..CERTAIN) {
            let blocks = 512;
            let hits: u32 =
                (0..blocks).map(|block| Stream::new(key).hits(odds, block).count_ones()).sum();
            let (n, p) = ((blocks * 64) as f64, odds as f64 / CERTAIN as f64);
            let deviation = (f64::from(hits) - n * p).abs();
            // One more for the tails at tiny odds, where the normal bound is too narrow.
            prop_assert!(deviation <= SIGMAS * (n * p * (1.0 - p)).sqrt() + 4.0);
        }

        #[test]
        fn the_mean_of_uniform_numbers_is_the_middle(key: u64, span in 1u64..1 << 40) {
            let n = 20_000;
            let sum: f64 = (0..n).map(|i| Stream::new(key).up_to(i, span) as f64).sum();
            let (span, n) = (span as f64, n as f64);
            let deviation = (sum / n - span / 2.0).abs();
            prop_assert!(deviation <= SIGMAS * ((span + 2.0).powi(2) / 12.0 / n).sqrt());
        }

        #[test]
        fn neighbouring_events_are_independent(key: u64) {
            // Pairs of neighbours, within and across blocks: both happen in p² of the cases.
            let (stream, odds, n) = (Stream::new(key), CERTAIN / 10, 50_000u64);
            let pairs =
                (0..n).filter(|&i| stream.hit(odds, 2 * i) && stream.hit(odds, 2 * i + 1)).count();
            let (n, p) = (n as f64, 0.01);
            prop_assert!((pairs as f64 - n * p).abs() <= SIGMAS * (n * p * (1.0 - p)).sqrt());
        }

        #[test]
        fn forks_differ_from_each_other_and_from_their_origin(key: u64, a: u64, b: u64) {
            prop_assume!(a != b);
            let stream = Stream::new(key);
            prop_assert_ne!(stream.fork(a), stream.fork(b));
            prop_assert_ne!(stream.fork(a).word(0), stream.word(0));
        }
    }
}
