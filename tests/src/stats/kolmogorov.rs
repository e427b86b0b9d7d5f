//! Whether values agree with a distribution.

use super::CONFIDENCE;

/// The p-value of the Kolmogorov-Smirnov test: how probable it is that independent draws stray at
/// least as far from the distribution function `cdf` as `values` do.
///
/// The function may have jumps, where the test is the milder (Noether, "Note on the Kolmogorov
/// statistic in the discrete case", Metrika 7, 1963).
#[track_caller]
pub fn kolmogorov_smirnov(values: &[f64], cdf: impl Fn(f64) -> f64) -> f64 {
    p_value(kolmogorov_distance(values, cdf), values.len() as f64)
}

/// How far `values` stray from the distribution function `cdf`: the largest difference of two shares.
#[track_caller]
pub fn kolmogorov_distance(values: &[f64], cdf: impl Fn(f64) -> f64) -> f64 {
    let n = values.len() as f64;
    let distance = steps(values).map(|(value, below, up_to)| {
        // What lies below a value is compared with the function just before it may jump.
        let before = (below as f64 / n - cdf(value.next_down())).abs();
        before.max((up_to as f64 / n - cdf(value)).abs())
    });
    distance.fold(0.0, f64::max)
}

/// The [`kolmogorov_distance`] that `n` independent draws keep within at [`CONFIDENCE`].
pub fn kolmogorov_bound(n: u64) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    while high - low > 1e-9 {
        let middle = f64::midpoint(low, high);
        if p_value(middle, n as f64) > 1.0 - CONFIDENCE {
            low = middle;
        } else {
            high = middle;
        }
    }
    low
}

/// The same of two sets of independent draws from one distribution.
#[track_caller]
pub fn kolmogorov_smirnov_of_two(a: &[f64], b: &[f64]) -> f64 {
    let (n, m) = (a.len() as f64, b.len() as f64);
    let mut of_b = steps(b).peekable();
    let mut distance: f64 = 0.0;
    let mut share_of_b = 0.0;
    for (value, below, up_to) in steps(a) {
        while let Some((_, _, up_to)) = of_b.next_if(|&(other, ..)| other < value) {
            share_of_b = up_to as f64 / m;
        }
        distance = distance.max((below as f64 / n - share_of_b).abs());
        if let Some((_, _, up_to)) = of_b.next_if(|&(other, ..)| other == value) {
            share_of_b = up_to as f64 / m;
        }
        distance = distance.max((up_to as f64 / n - share_of_b).abs());
    }
    p_value(distance, n * m / (n + m))
}

/// Each different value in order, with how many are below it, and how many are not above it.
fn steps(values: &[f64]) -> impl Iterator<Item = (f64, usize, usize)> {
    assert!(!values.is_empty(), "of no values");
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let mut below = 0;
    std::iter::from_fn(move || {
        let &value = sorted.get(below)?;
        let up_to = sorted.partition_point(|&other| other <= value);
        Some((value, std::mem::replace(&mut below, up_to), up_to))
    })
}

/// The limiting distribution, with Stephens' correction for finite `n` ("Use of the
/// Kolmogorov-Smirnov, Cramér-von Mises and related statistics without extensive tables", Journal of
/// the Royal Statistical Society B 32, 1970).
fn p_value(distance: f64, n: f64) -> f64 {
    let reach = (n.sqrt() + 0.12 + 0.11 / n.sqrt()) * distance;
    // Below, the series converges slowly, and 1 is right to 12 digits.
    if reach < 0.2 {
        return 1.0;
    }
    let term = |j: i32| {
        let sign = if j % 2 == 1 { 2.0 } else { -2.0 };
        sign * (-2.0 * f64::from(j).powi(2) * reach.powi(2)).exp()
    };
    (1..=30).map(term).sum::<f64>().clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use injector_common::random::Stream;

    use super::*;

    fn uniform(seed: u64, n: u64) -> Vec<f64> {
        let draw = |i| Stream::new(seed).word(i) as f64 / 2f64.powi(64);
        (0..n).map(draw).collect()
    }

    fn uniform_cdf(x: f64) -> f64 {
        x.clamp(0.0, 1.0)
    }

    #[test]
    fn the_p_value_is_that_of_the_tables() {
        // Critical values of sqrt(n) D for large n: 1.3581 at 5 %, 1.6276 at 1 %, 1.9495 at 0.1 %.
        for (reach, p) in [(1.3581, 0.05), (1.6276, 0.01), (1.9495, 0.001)] {
            let n: f64 = 1e12;
            let actual = p_value(reach / n.sqrt(), n);
            assert!((actual / p - 1.0).abs() < 1e-3, "{reach}: {actual}");
        }
        assert!((p_value(0.2 / 1e6, 1e12) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn the_bound_is_that_of_the_tables() {
        let bound = kolmogorov_bound(1_000_000) * 1e3;
        assert!((bound / 1.9495 - 1.0).abs() < 1e-3, "{bound}");
    }

    #[test]
    fn p_values_of_right_draws_are_spread_evenly() {
        let values: Vec<f64> = (0..500)
            .map(|seed| kolmogorov_smirnov(&uniform(seed, 200), uniform_cdf))
            .collect();
        let p = kolmogorov_smirnov(&values, uniform_cdf);
        assert!(p > 0.001, "{p}");
    }

    #[test]
    fn a_shift_by_a_twentieth_is_found() {
        let values: Vec<f64> = uniform(1, 5000).iter().map(|x| x * 0.95).collect();
        assert!(kolmogorov_smirnov(&values, uniform_cdf) < 1e-6);
        assert!(kolmogorov_smirnov_of_two(&values, &uniform(2, 5000)) < 1e-4);
    }

    #[test]
    fn two_sets_of_one_distribution_agree() {
        let values: Vec<f64> = (0..300)
            .map(|seed| kolmogorov_smirnov_of_two(&uniform(seed, 300), &uniform(!seed, 200)))
            .collect();
        let p = kolmogorov_smirnov(&values, uniform_cdf);
        assert!(p > 0.001, "{p}");
    }

    #[test]
    fn values_that_coincide_are_a_jump_and_no_difference() {
        let cut = |values: Vec<f64>| -> Vec<f64> { values.iter().map(|x| x.min(0.5)).collect() };
        let (a, b) = (cut(uniform(3, 2000)), cut(uniform(4, 3000)));
        let cdf = |x: f64| if x < 0.5 { x.max(0.0) } else { 1.0 };
        assert!(kolmogorov_smirnov(&a, cdf) > 0.001);
        assert!(kolmogorov_smirnov_of_two(&a, &b) > 0.001);
        assert!(kolmogorov_smirnov(&a, uniform_cdf) < 1e-9);
    }

    #[test]
    fn the_order_of_two_sets_does_not_matter() {
        let (a, b) = (uniform(5, 300), uniform(6, 500));
        let difference = kolmogorov_smirnov_of_two(&a, &b) - kolmogorov_smirnov_of_two(&b, &a);
        assert!(difference.abs() < 1e-12);
    }
}
