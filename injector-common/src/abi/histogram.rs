use core::{
    hint::black_box,
    ops::{AddAssign, RangeInclusive},
    slice,
};

/// How often a value had so many binary digits, by their number: the kernel's and bpftrace's log2
/// histograms. The last bucket has all that have more.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Histogram<const BUCKETS: usize>([u64; BUCKETS]);

impl<const BUCKETS: usize> Histogram<BUCKETS> {
    /// Counts a value so many times.
    #[inline(always)]
    pub fn add(&mut self, value: u64, times: u64) {
        // So that the compiler compares this number, and no other from which it could be told: by the
        // comparison the verifier knows that there is such a bucket.
        let digits = black_box((u64::BITS - value.leading_zeros()) as usize);
        let bucket = if digits < BUCKETS {
            digits
        } else {
            BUCKETS - 1
        };
        self.0[bucket] += times;
    }

    /// The values of each bucket, and how often they occurred.
    pub fn buckets(&self) -> impl ExactSizeIterator<Item = (RangeInclusive<u64>, u64)> {
        let values = |bucket: usize| {
            let low = if bucket == 0 { 0 } else { 1 << (bucket - 1) };
            let high = if bucket == BUCKETS - 1 {
                u64::MAX
            } else {
                (1 << bucket) - 1
            };
            low..=high
        };
        let counts: slice::Iter<'_, u64> = self.0.iter();
        counts
            .enumerate()
            .map(move |(bucket, count)| (values(bucket), *count))
    }
}

impl<const BUCKETS: usize> Default for Histogram<BUCKETS> {
    fn default() -> Self {
        Self([0; BUCKETS])
    }
}

impl<const BUCKETS: usize> AddAssign for Histogram<BUCKETS> {
    fn add_assign(&mut self, other: Self) {
        for (count, more) in self.0.iter_mut().zip(other.0) {
            *count += more;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn each_value_is_counted_in_the_bucket_that_has_it(value in any::<u64>(), shift in 0u32..64, times in 1u64..9) {
            let value = value >> shift;
            let mut histogram = Histogram::<24>::default();
            histogram.add(value, times);
            for (values, count) in histogram.buckets() {
                prop_assert_eq!(count, if values.contains(&value) { times } else { 0 });
            }
            prop_assert_eq!(histogram.0.iter().sum::<u64>(), times);
        }

        #[test]
        fn sums_are_of_all_values(values in prop::collection::vec(any::<u64>(), 0..50), cut in 0usize..50) {
            let of = |values: &[u64]| {
                let mut histogram = Histogram::<16>::default();
                values.iter().for_each(|value| histogram.add(*value, 1));
                histogram
            };
            let cut = cut.min(values.len());
            let mut sum = of(&values[..cut]);
            sum += of(&values[cut..]);
            prop_assert_eq!(sum, of(&values));
        }
    }

    #[test]
    fn buckets_are_next_to_each_other() {
        let histogram = Histogram::<32>::default();
        let mut next = 0;
        for (values, _) in histogram.buckets() {
            assert_eq!(*values.start(), next);
            next = values.end().wrapping_add(1);
        }
        assert_eq!(next, 0, "the last one has all that is left");
    }
}
