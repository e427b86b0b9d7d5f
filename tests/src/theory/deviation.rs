use statrs::distribution::{ContinuousCDF as _, Normal};

/// How a delay strays from its middle, in units of the jitter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deviation {
    /// Evenly, up to 1.
    Uniform,
    /// The standard normal distribution.
    Normal,
    /// The Pareto distribution with exponent 3, which begins at 1, less its mean of 1.5, times 4/3: as
    /// netem has it.
    Pareto,
    /// A quarter of the normal's quantile and three quarters of Pareto's.
    ParetoNormal,
}

/// What a distribution comes to, in units of the jitter.
#[derive(Clone, Copy, Debug)]
pub struct Moments {
    /// The mean.
    pub mean: f64,
    /// The standard deviation.
    pub deviation: f64,
    /// The fourth central moment by the square of the second.
    pub kurtosis: f64,
}

impl Deviation {
    /// The smallest and the largest: netem holds deviations in 16 bits, in units of the jitter / 8192.
    const BOUNDS: [f64; 2] = [-4.0, 32_767.0 / 8192.0];

    /// The probability of a deviation that is not above `deviation`.
    pub fn cdf(self, deviation: f64) -> f64 {
        let [lowest, highest] = Self::BOUNDS;
        match self {
            Self::Uniform => deviation.midpoint(1.0).clamp(0.0, 1.0),
            _ if deviation < lowest => 0.0,
            _ if deviation >= highest => 1.0,
            Self::Normal => Normal::standard().cdf(deviation),
            Self::Pareto if deviation < -2.0 / 3.0 => 0.0,
            Self::Pareto => 1.0 - (0.75 * deviation + 1.5).powi(-3),
            Self::ParetoNormal => inverse(|share| self.quantile(share), deviation),
        }
    }

    /// Mean, standard deviation, and the fourth central moment by the square of the second.
    pub fn moments(self) -> Moments {
        const PARTS: u32 = 1 << 16;
        let shares = (0..PARTS).map(|part| (f64::from(part) + 0.5) / f64::from(PARTS));
        let values: Vec<f64> = shares.map(|share| self.quantile(share)).collect();
        let mean_of = |power: i32, middle: f64| {
            let powers = values.iter().map(|value| (value - middle).powi(power));
            powers.sum::<f64>() / f64::from(PARTS)
        };
        let mean = mean_of(1, 0.0);
        let variance = mean_of(2, mean);
        Moments {
            mean,
            deviation: variance.sqrt(),
            kurtosis: mean_of(4, mean) / variance.powi(2),
        }
    }

    /// The deviation that is not exceeded with probability `share`.
    fn quantile(self, share: f64) -> f64 {
        let [lowest, highest] = Self::BOUNDS;
        let deviation = match self {
            Self::Uniform => 2.0 * share - 1.0,
            Self::Normal => Normal::standard().inverse_cdf(share),
            Self::Pareto => (4.0 / 3.0) * ((1.0 - share).cbrt().recip() - 1.5),
            Self::ParetoNormal => {
                0.25 * Self::Normal.quantile(share) + 0.75 * Self::Pareto.quantile(share)
            }
        };
        deviation.clamp(lowest, highest)
    }
}

/// The share at which a function that never falls exceeds `value`.
fn inverse(quantile: impl Fn(f64) -> f64, value: f64) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    while high - low > 1e-9 {
        let middle = f64::midpoint(low, high);
        if quantile(middle) <= value {
            low = middle;
        } else {
            high = middle;
        }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_and_probabilities_agree() {
        for form in [
            Deviation::Uniform,
            Deviation::Normal,
            Deviation::Pareto,
            Deviation::ParetoNormal,
        ] {
            for share in [0.001, 0.1, 0.25, 0.5, 0.9, 0.98] {
                let actual = form.cdf(form.quantile(share));
                assert!((actual - share).abs() < 1e-6, "{form:?}: {actual}, {share}");
            }
        }
    }

    #[test]
    fn moments_are_those_of_the_formulas() {
        let assert_close = |form: Deviation, mean: f64, deviation: f64, kurtosis: f64| {
            let moments = form.moments();
            assert!((moments.mean - mean).abs() < 1e-3, "{form:?}: {moments:?}");
            let off = (moments.deviation - deviation).abs();
            assert!(off < 1e-3, "{form:?}: {moments:?}");
            assert!(
                (moments.kurtosis - kurtosis).abs() < 0.01,
                "{form:?}: {moments:?}"
            );
        };
        assert_close(Deviation::Uniform, 0.0, 3_f64.sqrt().recip(), 1.8);
        // Cut at 4, where the fourth moment loses most.
        assert_close(Deviation::Normal, 0.0, 1.0, 2.99);
        // Before it is moved and stretched, the integral of x^-3 from 4.5 on is lost.
        let moments = Deviation::Pareto.moments();
        let lost = 4.0 / 3.0 * 4.5_f64.powi(-2) / 2.0;
        assert!((moments.mean + lost).abs() < 1e-3, "{moments:?}");
    }

    #[test]
    fn nothing_is_beyond_what_16_bits_hold() {
        for form in [
            Deviation::Normal,
            Deviation::Pareto,
            Deviation::ParetoNormal,
        ] {
            assert_eq!((form.cdf(-4.001), form.cdf(4.0)), (0.0, 1.0), "{form:?}");
        }
        // As in netem, the tail is not negligible.
        let beyond = 1.0 - Deviation::Pareto.cdf(3.9998);
        assert!((beyond - 4.5_f64.powi(-3)).abs() < 1e-5, "{beyond}");
    }
}
