//! Distributions of delays as tables of quantiles.
//!
//! They mean what netem's do, as iproute2's generators define them (netem/normal.c, pareto.c and
//! paretonormal.c, commit ee2a4a86, from NIST Net), in finer units and without their steps. As
//! netem's, they end about 4 jitters from the middle, because it holds deviations in 16 bits. That
//! matters for the Pareto distribution, where it cuts 1.1 % of the delays: their mean is 0.033
//! jitters below `time`, and their standard deviation 0.82 jitters; mixed with the normal
//! distribution 0.025 and 0.83.

use injector_common::abi;
use statrs::distribution::{ContinuousCDF as _, Normal};

use crate::profile::Distribution;

/// netem's unit of a deviation is the jitter divided by this (`NETEM_DIST_SCALE`).
const NETEM_SCALE: f64 = 8192.0;
/// The smallest deviation that netem holds, in jitters.
const LOWEST: f64 = i16::MIN as f64 / NETEM_SCALE;
/// The largest.
const HIGHEST: f64 = i16::MAX as f64 / NETEM_SCALE;

/// Our unit of a deviation is the jitter divided by this.
const SCALE: f64 = 65536.0;
/// Half of netem's unit, in ours.
const NETEM_HALF: i32 = 4;

/// The quantiles of `distribution`; `None` where it needs no table.
pub(super) fn table(distribution: &Distribution) -> Option<Box<abi::Distribution>> {
    match distribution {
        Distribution::Uniform => None,
        Distribution::Normal => Some(sampled(normal)),
        Distribution::Pareto => Some(sampled(pareto)),
        Distribution::ParetoNormal => Some(sampled(pareto_normal)),
        Distribution::Table(values) => Some(resampled(values)),
    }
}

/// The deviation, in jitters, that a `share` of the delays does not exceed.
fn normal(share: f64) -> f64 {
    cut(Normal::standard().inverse_cdf(share))
}

/// With exponent 3: moved by its mean, 1.5, and stretched by 4/3.
fn pareto(share: f64) -> f64 {
    cut(((1.0 - share).cbrt().recip() - 1.5) * (4.0 / 3.0))
}

/// netem adds quantiles: both have the same rank in a delay.
fn pareto_normal(share: f64) -> f64 {
    0.25 * normal(share) + 0.75 * pareto(share)
}

fn cut(deviation: f64) -> f64 {
    deviation.clamp(LOWEST, HIGHEST)
}

fn sampled(quantile: impl Fn(f64) -> f64) -> Box<abi::Distribution> {
    let share = |k: usize| k as f64 / abi::Distribution::CELLS as f64;
    tabled(|k| (quantile(share(k)) * SCALE).round() as i32)
}

/// The quantiles of netem's draw from a table, which takes any of the values with the same
/// probability (`tabledist` in net/sched/sch_netem.c). They rise in steps; at a step the quantile is
/// halfway, which keeps the mean.
fn resampled(values: &[i16]) -> Box<abi::Distribution> {
    let mut values = values.to_vec();
    values.sort_unstable();
    let count = values.len();
    tabled(|k| {
        let rank = k * count;
        let below = rank.div_ceil(abi::Distribution::CELLS).saturating_sub(1);
        let above = (rank / abi::Distribution::CELLS).min(count - 1);
        (i32::from(values[below]) + i32::from(values[above])) * NETEM_HALF
    })
}

fn tabled(quantile: impl FnMut(usize) -> i32) -> Box<abi::Distribution> {
    Box::new(abi::Distribution {
        quantiles: std::array::from_fn(quantile),
        reserved: 0,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A jitter in ns, so large that what is rounded does not count.
    const JITTER_NS: u64 = 1 << 40;
    /// The most that two distributions can differ, in probability, that have the same quantiles at
    /// the ends of each cell.
    const CELL: f64 = 1.0 / abi::Distribution::CELLS as f64;
    /// All deviations lie within this, in jitters.
    const RANGE: f64 = HIGHEST - LOWEST;

    fn table_of(distribution: &Distribution) -> Box<abi::Distribution> {
        table(distribution).expect("a table")
    }

    fn user_table(values: &[i16]) -> Box<abi::Distribution> {
        table_of(&Distribution::Table(values.into()))
    }

    /// The deviation, in jitters, that the kernel side draws with a word.
    fn draw(table: &abi::Distribution, word: u64) -> f64 {
        table.deviation_ns(word, JITTER_NS) as f64 / JITTER_NS as f64
    }

    /// The word that stands for a share of all words.
    fn word(share: f64) -> u64 {
        (share * 2f64.powi(64)) as u64
    }

    /// Mean and standard deviation of a quantile function, by the middles of 2^18 intervals.
    fn moments(quantile: impl Fn(f64) -> f64) -> (f64, f64) {
        const PARTS: u32 = 1 << 18;
        let shares = || (0..PARTS).map(|i| (f64::from(i) + 0.5) / f64::from(PARTS));
        let mean = shares().map(&quantile).sum::<f64>() / f64::from(PARTS);
        let squares = shares().map(|share| (quantile(share) - mean).powi(2));
        (mean, (squares.sum::<f64>() / f64::from(PARTS)).sqrt())
    }

    #[track_caller]
    fn assert_moments(distribution: &Distribution, mean: f64, deviation: f64) {
        let table = table_of(distribution);
        let actual = moments(|share| draw(&table, word(share)));
        // Means of distributions differ by no more than the area between them; so do the mean
        // squares, of which every deviation counts at most 2 * 4 fold.
        let (mean_error, square_error) = (CELL * RANGE, 8.0 * CELL * RANGE);
        assert!(
            (actual.0 - mean).abs() <= mean_error,
            "{distribution:?}: {actual:?}"
        );
        let variance_error = square_error + 2.0 * mean_error;
        assert!(
            (actual.1.powi(2) - deviation.powi(2)).abs() <= variance_error,
            "{distribution:?}: {actual:?}"
        );
    }

    /// The share of draws up to `deviation`, in jitters.
    fn share_drawn(table: &abi::Distribution, deviation: f64) -> f64 {
        let (mut low, mut high) = (0, 1u128 << 64);
        while low < high {
            let middle = low + (high - low) / 2;
            if draw(table, middle as u64) <= deviation {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low as f64 / 2f64.powi(64)
    }

    /// The Kolmogorov-Smirnov distance of the draws to a cumulative distribution function.
    fn distance(table: &abi::Distribution, cdf: impl Fn(f64) -> f64) -> f64 {
        let deviations = (-4500..=4500).map(|i| f64::from(i) / 1000.0);
        deviations
            .map(|deviation| (share_drawn(table, deviation) - cdf(deviation)).abs())
            .fold(0.0, f64::max)
    }

    fn normal_cdf(deviation: f64) -> f64 {
        Normal::standard().cdf(deviation)
    }

    fn pareto_cdf(deviation: f64) -> f64 {
        1.0 - (deviation * 0.75 + 1.5).max(1.0).powi(-3)
    }

    /// What is cut off counts at the end.
    fn cut_cdf(cdf: impl Fn(f64) -> f64) -> impl Fn(f64) -> f64 {
        move |deviation| {
            if deviation < LOWEST {
                0.0
            } else if deviation < HIGHEST {
                cdf(deviation)
            } else {
                1.0
            }
        }
    }

    #[test]
    fn the_draws_keep_to_the_distributions() {
        let normal = table_of(&Distribution::Normal);
        assert!(distance(&normal, cut_cdf(normal_cdf)) <= 2.0 * CELL);
        let pareto = table_of(&Distribution::Pareto);
        assert!(distance(&pareto, cut_cdf(pareto_cdf)) <= 2.0 * CELL);
    }

    /// The sum of quantiles has no simple distribution function, but each of its quantiles is known.
    #[test]
    fn the_draws_of_the_mixture_add_quantiles() {
        let [normal, pareto, mixture] = [
            Distribution::Normal,
            Distribution::Pareto,
            Distribution::ParetoNormal,
        ]
        .map(|distribution| table_of(&distribution));
        for share in (1..1000).map(|i| f64::from(i) / 1000.0) {
            let deviation = 0.25 * draw(&normal, word(share)) + 0.75 * draw(&pareto, word(share));
            let drawn = share_drawn(&mixture, deviation);
            assert!((drawn - share).abs() <= 2.0 * CELL, "{drawn}, not {share}");
        }
    }

    #[test]
    fn the_normal_distribution_has_the_jitter_as_its_standard_deviation() {
        assert_moments(&Distribution::Normal, 0.0, 1.0);
    }

    #[test]
    fn the_pareto_distribution_has_the_moments_of_one_that_is_cut() {
        // Of the powers of a Pareto variable with exponent 3 that is cut at `end`: the integrals of
        // x^-3 and of 2 x^-2 from 1 to there, and 1.
        let end = HIGHEST * 0.75 + 1.5;
        let mean = 1.0 + (1.0 - end.powi(-2)) / 2.0;
        let square = 1.0 + 2.0 * (1.0 - end.recip());
        let deviation = (square - mean.powi(2)).sqrt();
        assert_moments(&Distribution::Pareto, (mean - 1.5) / 0.75, deviation / 0.75);
    }

    #[test]
    fn the_mixture_has_the_moments_of_its_quantiles() {
        let (mean, deviation) = moments(pareto_normal);
        assert_moments(&Distribution::ParetoNormal, mean, deviation);
        let (pareto_mean, _) = moments(pareto);
        assert!((mean - 0.75 * pareto_mean).abs() < 1e-9);
    }

    /// A few values of the tables that iproute2 (ee2a4a86) generates.
    #[test]
    fn the_draws_are_those_of_netems_tables() {
        let rows = [
            (512, -9423, -4964, -6078),
            (1024, -5525, -4362, -4652),
            (2048, 0, -2622, -1966),
            (3072, 5526, 955, 2097),
            (3584, 9424, 5461, 6451),
            (4000, 16285, 21783, 20408),
            (4060, 19461, 32767, 29440),
        ];
        for (index, normal, pareto, mixture) in rows {
            for (distribution, value) in [
                (Distribution::Normal, normal),
                (Distribution::Pareto, pareto),
                (Distribution::ParetoNormal, mixture),
            ] {
                let table = table_of(&distribution);
                let at = |place: f64| draw(&table, word(place * CELL)) * NETEM_SCALE;
                // netem's normal distribution is an eighth of a cell ahead, and its values are
                // rounded, each of the two parts of the mixture by itself.
                let bounds = at(f64::from(index)) - 1.0..at(f64::from(index) + 0.25) + 1.0;
                assert!(
                    bounds.contains(&f64::from(value)),
                    "{distribution:?} at {index}: {value}, not in {bounds:?}"
                );
            }
        }
    }

    #[test]
    fn the_built_in_tables_never_fall_and_stay_within_netems_range() {
        for distribution in [
            Distribution::Normal,
            Distribution::Pareto,
            Distribution::ParetoNormal,
        ] {
            let quantiles = table_of(&distribution).quantiles;
            assert!(quantiles.is_sorted(), "{distribution:?}");
            let netem = i32::from(i16::MIN) * 8..=i32::from(i16::MAX) * 8;
            assert!(netem.contains(&quantiles[0]), "{distribution:?}");
            assert!(netem.contains(&quantiles[4096]), "{distribution:?}");
        }
    }

    #[test]
    fn an_even_spread_needs_no_table() {
        assert_eq!(table(&Distribution::Uniform), None);
    }

    #[test]
    fn a_table_of_one_value_is_that_value() {
        assert_eq!(user_table(&[-8192]).quantiles, [-65536; 4097]);
    }

    #[test]
    fn a_table_of_two_values_is_a_coin() {
        let table = user_table(&[8192, -8192]);
        assert_eq!(draw(&table, word(0.499)), -1.0);
        assert_eq!(draw(&table, word(0.501)), 1.0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_users_table_keeps_its_distribution(
            values in prop_oneof![
                prop::collection::vec(any::<i16>(), 1..20),
                prop::collection::vec(any::<i16>(), 4096),
                prop::collection::vec(any::<i16>(), 1..16384),
            ],
        ) {
            let table = user_table(&values);
            prop_assert!(table.quantiles.is_sorted());
            let count = values.len() as f64;
            for &value in values.iter().step_by(values.len().div_ceil(100)) {
                let up_to = values.iter().filter(|&&other| other <= value).count();
                let share = share_drawn(&table, f64::from(value) / NETEM_SCALE);
                prop_assert!((share - up_to as f64 / count).abs() <= CELL + 1e-9);
            }
        }

        #[test]
        fn a_users_table_of_netems_size_keeps_its_mean(
            values in prop::collection::vec(any::<i16>(), 4096),
        ) {
            let table = user_table(&values);
            let (mean, _) = moments(|share| draw(&table, word(share)));
            let sum: f64 = values.iter().map(|&value| f64::from(value)).sum();
            prop_assert!((mean - sum / 4096.0 / NETEM_SCALE).abs() < 1e-4);
        }
    }
}
