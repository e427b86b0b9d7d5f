//! Whether counts agree with probabilities.

use std::iter::zip;

use statrs::distribution::{ChiSquared, ContinuousCDF as _};

/// Smallest count that a cell must be expected to have for the χ² distribution to be right (Cochran,
/// "Some methods for strengthening the common χ² tests", Biometrics 10, 1954).
const EXPECTED_MIN: f64 = 5.0;

/// The p-value of Pearson's χ² test: how probable it is that draws stray at least as far from
/// `probabilities`, which add up to 1, as `counts` do.
///
/// Neighbouring cells are pooled until enough is expected of each, and until there are no more than
/// about 2 n^(2/5): many small cells hide what is a little wrong with all of them (Moore, "Tests of
/// chi-squared type", in D'Agostino and Stephens, "Goodness-of-fit techniques", 1986).
#[track_caller]
pub fn chi_square(counts: &[u64], probabilities: &[f64]) -> f64 {
    assert_eq!(counts.len(), probabilities.len(), "a probability for each");
    let sum: f64 = probabilities.iter().sum();
    assert!((sum - 1.0).abs() < 1e-6, "the probabilities' sum is {sum}");
    let mut pairs = counts.iter().zip(probabilities);
    if pairs.any(|(&count, &probability)| count > 0 && probability <= 0.0) {
        return 0.0;
    }
    let n = counts.iter().sum::<u64>() as f64;
    let expected = probabilities.iter().map(|probability| probability * n);
    let mut cells = pool(
        zip(counts.iter().map(|&count| count as f64), expected),
        EXPECTED_MIN,
    );
    let cells_max = 2.0 * n.powf(0.4);
    if cells.len() as f64 > cells_max {
        cells = pool(cells, n / cells_max);
    }
    if cells.len() < 2 {
        let is_certain = |probability: &f64| *probability > 1.0 - 1e-9;
        assert!(
            probabilities.iter().any(is_certain),
            "{n} draws are too few to tell anything"
        );
        return 1.0;
    }
    let distance = |(count, expected): &(f64, f64)| (count - expected).powi(2) / expected;
    let freedom = (cells.len() - 1) as f64;
    ChiSquared::new(freedom)
        .expect("degrees of freedom")
        .sf(cells.iter().map(distance).sum())
}

/// Pools cells, counts with what is expected of them, until that is `enough`. Too little at the end
/// goes to the last cell.
fn pool(narrow: impl IntoIterator<Item = (f64, f64)>, enough: f64) -> Vec<(f64, f64)> {
    let mut cells: Vec<(f64, f64)> = Vec::new();
    let mut open = (0.0, 0.0);
    for (count, expected) in narrow {
        open = (open.0 + count, open.1 + expected);
        if open.1 >= enough {
            cells.push(std::mem::take(&mut open));
        }
    }
    if let Some(last) = cells.last_mut() {
        *last = (last.0 + open.0, last.1 + open.1);
    }
    cells
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_p_value_is_that_of_the_tables() {
        // χ² is (2 * 15² + 2 * 30²) / 200 = 11.25. Beyond x, with 4 degrees of freedom, lie
        // exp(-x / 2) (1 + x / 2).
        let p = chi_square(&[185, 215, 200, 170, 230], &[0.2; 5]);
        assert!((p - 6.625 * (-5.625_f64).exp()).abs() < 1e-9, "{p}");
    }

    #[test]
    fn exact_agreement_has_the_p_value_1() {
        assert!((chi_square(&[250, 500, 250], &[0.25, 0.5, 0.25]) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn small_cells_are_pooled_with_their_neighbours() {
        let counts = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let cells = pool(zip(counts, [3.0, 3.0, 94.0, 4.0, 4.0, 2.0]), 5.0);
        assert_eq!(cells, [(3.0, 6.0), (3.0, 94.0), (15.0, 10.0)]);
    }

    /// A little too few in the first half of the cells: 500 small ones would not show it.
    #[test]
    fn what_is_a_little_wrong_everywhere_is_found() {
        let counts: Vec<u64> = (0..500).map(|i| if i < 250 { 8 } else { 12 }).collect();
        let p = chi_square(&counts, &[1.0 / 500.0; 500]);
        assert!(p < 1e-3, "{p}");
    }

    #[test]
    fn the_impossible_is_never_plausible() {
        assert_eq!(chi_square(&[1000, 1], &[1.0, 0.0]), 0.0);
        assert_eq!(chi_square(&[1000, 0], &[1.0, 0.0]), 1.0);
    }

    #[test]
    #[should_panic(expected = "too few")]
    fn a_test_that_cannot_fail_is_refused() {
        chi_square(&[3, 4], &[0.5, 0.5]);
    }
}
