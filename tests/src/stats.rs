//! How far chance may stray: bounds that are computed, never tuned.

mod chi_square;
mod correlation;
mod kolmogorov;
mod runs;

use std::{ops::RangeInclusive, time::Instant};

use statrs::distribution::{Binomial, ContinuousCDF as _, DiscreteCDF as _, Normal};

pub use self::{
    chi_square::chi_square,
    correlation::{assert_lag1, fresh_draws, lag1, lag1_bounds},
    kolmogorov::{
        kolmogorov_bound, kolmogorov_distance, kolmogorov_smirnov, kolmogorov_smirnov_of_two,
    },
    runs::Runs,
};

/// Probability that a correct value lies within computed bounds, both tails together.
pub const CONFIDENCE: f64 = 0.999;
/// The error of a probability, relative to it, that tests are made large enough to find.
pub const ERROR: f64 = 0.2;

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

/// The values that a normal variable keeps within at [`CONFIDENCE`].
pub fn normal(mean: f64, deviation: f64) -> RangeInclusive<f64> {
    let reach = deviation * Normal::standard().inverse_cdf((1.0 + CONFIDENCE) / 2.0);
    mean - reach..=mean + reach
}

/// The probability that [`assert_share`] finds an [`ERROR`]: that `n` trials leave the bounds for `p`
/// whose probability is too small by that, or too large where it can be; the smaller of the two.
pub fn power(n: u64, p: f64) -> f64 {
    let bounds = binomial(n, p);
    let found = |actual: f64| {
        let counts = Binomial::new(actual, n).expect("a probability");
        let below = bounds.start().checked_sub(1);
        below.map_or(0.0, |count| counts.cdf(count)) + counts.sf(*bounds.end())
    };
    let (low, high) = (p * (1.0 - ERROR), p * (1.0 + ERROR));
    if high > 1.0 {
        found(low)
    } else {
        found(low).min(found(high))
    }
}

/// Asserts that `count` of `n` agrees with the probability `p`, and prints the test's [`power`].
#[track_caller]
pub fn assert_share(what: &str, count: u64, n: u64, p: f64) {
    let bounds = binomial(n, p);
    eprintln!(
        "{what}: {count} of {n}, expected {bounds:?}; {:.0} % off is found with probability {:.4}",
        ERROR * 100.0,
        power(n, p)
    );
    assert!(
        bounds.contains(&count),
        "{what}: {count} of {n} is not within {bounds:?}, {p} of it"
    );
}

/// Asserts that a p-value is none that a correct test has once in 1000 times.
#[track_caller]
pub fn assert_plausible(what: &str, p: f64) {
    eprintln!("{what}: p = {p:.4}");
    assert!(p > 1.0 - CONFIDENCE, "{what}: p = {p:e}");
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

/// The value that one in ten is below, where even less of the machine's time is to show.
#[track_caller]
pub fn decile<T: Ord>(values: impl IntoIterator<Item = T>) -> T {
    quantile(values, 10)
}

/// How much comes in a second, of what had come at which times: the median of the rates from each of them
/// to that an eighth of all further. A machine that stands still now and then does not change it.
#[track_caller]
pub fn steady_rate(progress: &[(Instant, u64)]) -> f64 {
    let pairs = progress.iter().zip(&progress[progress.len() / 8..]);
    let rates = pairs.filter(|(a, b)| a.0 < b.0);
    let mut rates: Vec<f64> = rates
        .map(|(a, b)| (b.1 - a.1) as f64 / (b.0 - a.0).as_secs_f64())
        .collect();
    assert!(rates.len() > 7, "{} times are too few", progress.len());
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
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
    use std::time::Duration;

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
    fn more_trials_find_an_error_more_surely() {
        // 1000 trials at 10 % leave the bounds for a deviation of 3.29 * 9.5, of which an error of
        // 20 % is 20: hardly. With 10,000 it is 200 against 3.29 * 30.
        assert!(power(1000, 0.1) < 0.2, "{}", power(1000, 0.1));
        assert!(power(10_000, 0.1) > 0.999, "{}", power(10_000, 0.1));
    }

    #[test]
    fn no_probability_is_larger_than_certainty() {
        // 10 trials at 80 % all succeed with probability 0.107.
        assert!((power(10, 1.0) - (1.0 - 0.8_f64.powi(10))).abs() < 1e-9);
    }

    #[test]
    fn a_normal_variable_strays_by_3_29_deviations() {
        let bounds = normal(1.0, 2.0);
        assert!((bounds.end() - 7.581).abs() < 1e-3, "{bounds:?}");
        assert!((bounds.start() + 5.581).abs() < 1e-3, "{bounds:?}");
    }

    #[test]
    fn the_median_is_not_moved_by_an_outlier() {
        assert_eq!(median([3, 1, 1000]), 3);
    }

    #[test]
    fn a_pause_does_not_change_the_rate() {
        let start = Instant::now();
        let at = |n: u64| {
            let pause = if (40..60).contains(&n) { 60 } else { n };
            (start + Duration::from_millis(pause), n * 100)
        };
        let progress: Vec<_> = (0..200).map(at).collect();
        let rate = steady_rate(&progress);
        assert!((rate - 100_000.0).abs() < 1e-6, "{rate}");
    }
}
