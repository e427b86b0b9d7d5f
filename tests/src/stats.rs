//! How far chance may stray.

use std::ops::RangeInclusive;

use statrs::distribution::{Binomial, DiscreteCDF as _};

/// Probability that a correct count lies within [`binomial`]'s bounds, both tails together.
pub const CONFIDENCE: f64 = 0.999;

/// The counts that `n` trials of probability `p` keep within at [`CONFIDENCE`], computed exactly.
pub fn binomial(n: u64, p: f64) -> RangeInclusive<u64> {
    let tail = (1.0 - CONFIDENCE) / 2.0;
    let counts = Binomial::new(p, n).expect("a probability");
    let quantile = |share: f64| {
        let (mut low, mut high) = (0, n);
        while low < high {
            let middle = low + (high - low) / 2;
            if counts.cdf(middle) < share {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    };
    quantile(tail)..=quantile(1.0 - tail)
}

/// Asserts that `count` of `n` agrees with the probability `p`.
#[track_caller]
pub fn assert_share(what: &str, count: u64, n: u64, p: f64) {
    let bounds = binomial(n, p);
    assert!(
        bounds.contains(&count),
        "{what}: {count} of {n} is not within {bounds:?}, {p} of it"
    );
}

/// The middle one of the values.
#[track_caller]
pub fn median<T: Ord>(values: impl IntoIterator<Item = T>) -> T {
    quantile(values, 2)
}

/// The value that one in four is below. On a busy machine times only ever get longer, and this is
/// what still shows the time that things take by themselves.
#[track_caller]
pub fn quartile<T: Ord>(values: impl IntoIterator<Item = T>) -> T {
    quantile(values, 4)
}

#[track_caller]
fn quantile<T: Ord>(values: impl IntoIterator<Item = T>, parts: usize) -> T {
    let mut values: Vec<T> = values.into_iter().collect();
    assert!(!values.is_empty(), "of no values");
    values.sort();
    values.swap_remove((values.len() - 1) / parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bounds_hold_all_but_a_thousandth() {
        let counts = Binomial::new(0.01, 10_000).unwrap();
        let bounds = binomial(10_000, 0.01);
        let inside = counts.cdf(*bounds.end()) - counts.cdf(bounds.start() - 1);
        assert!(
            (CONFIDENCE..0.9997).contains(&inside),
            "{bounds:?} holds {inside}"
        );
    }

    #[test]
    fn certainty_leaves_no_room() {
        assert_eq!(binomial(100, 1.0), 100..=100);
        assert_eq!(binomial(100, 0.0), 0..=0);
    }

    #[test]
    fn the_median_is_not_moved_by_an_outlier() {
        assert_eq!(median([3, 1, 1000]), 3);
    }
}
