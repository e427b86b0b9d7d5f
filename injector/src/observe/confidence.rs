//! How far the share of packets that were hit may be from the chance behind it.

use serde::Serialize;

/// Where a chance lies that has hit so many of so many packets: with 95 % confidence, if it decides of each
/// packet by itself.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Interval {
    /// The lowest chance.
    pub low: f64,
    /// The highest one.
    pub high: f64,
}

/// The quantile of the standard normal distribution that leaves 2.5 % above it.
const Z: f64 = 1.959_963_984_540_054;

impl Interval {
    /// The score interval: E. B. Wilson, "Probable Inference, the Law of Succession, and Statistical
    /// Inference", JASA 22 (1927), doi:10.1080/01621459.1927.10502953. It holds also where there are few
    /// hits or few packets (Brown, Cai and DasGupta, Statistical Science 16 (2001),
    /// doi:10.1214/ss/1009213286). `None` of no packets.
    pub fn wilson(hits: u64, of: u64) -> Option<Self> {
        if of == 0 || hits > of {
            return None;
        }
        let (n, share) = (of as f64, hits as f64 / of as f64);
        let weight = 1.0 + Z * Z / n;
        let middle = (share + Z * Z / (2.0 * n)) / weight;
        let spread = share * (1.0 - share) / n + Z * Z / (4.0 * n * n);
        let reach = Z * spread.sqrt() / weight;
        // Rounding must not exclude what was seen.
        Some(Self {
            low: (middle - reach).clamp(0.0, share),
            high: (middle + reach).clamp(share, 1.0),
        })
    }

    /// How far either end is from a share in between, at most.
    pub fn reach(&self, share: f64) -> f64 {
        (self.high - share).max(share - self.low)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use statrs::distribution::{Binomial, Discrete as _};

    use super::*;

    /// R. G. Newcombe, Statistics in Medicine 17 (1998), table I, method 3.
    #[test]
    fn intervals_are_those_that_were_published() {
        for (hits, of, low, high) in [
            (81, 263, 0.2553, 0.3662),
            (15, 148, 0.0624, 0.1605),
            (0, 20, 0.0, 0.1611),
            (1, 29, 0.0061, 0.1718),
        ] {
            let interval = Interval::wilson(hits, of).unwrap();
            let close = |a: f64, b: f64| (a - b).abs() < 0.000_05;
            assert!(
                close(interval.low, low) && close(interval.high, high),
                "{hits} of {of}: {interval:?}"
            );
        }
    }

    /// Exactly: the probability of all the counts whose interval has the chance.
    #[test]
    fn nineteen_of_twenty_intervals_have_the_chance() {
        let mut all = Vec::new();
        for n in [100, 1_000, 3_000] {
            for p in (1..100).map(|percent| f64::from(percent) / 100.0) {
                let counts = Binomial::new(p, n).unwrap();
                let holds = |hits: &u64| {
                    let interval = Interval::wilson(*hits, n).unwrap();
                    (interval.low..=interval.high).contains(&p)
                };
                let held: f64 = (0..=n).filter(holds).map(|hits| counts.pmf(hits)).sum();
                assert!(held > 0.9, "{held} at {p} of {n}");
                all.push(held);
            }
        }
        let mean = all.iter().sum::<f64>() / all.len() as f64;
        assert!((0.945..0.955).contains(&mean), "{mean}");
    }

    #[test]
    fn there_is_none_of_no_packets_or_of_more_hits_than_packets() {
        assert_eq!(Interval::wilson(0, 0), None);
        assert_eq!(Interval::wilson(2, 1), None);
    }

    proptest! {
        #[test]
        fn what_was_seen_lies_in_it(of in 1..=u64::MAX, part in any::<u64>()) {
            let hits = ((u128::from(part) * (u128::from(of) + 1)) >> 64) as u64;
            let interval = Interval::wilson(hits, of).unwrap();
            let share = hits as f64 / of as f64;
            prop_assert!(0.0 <= interval.low && interval.low <= share, "{interval:?}");
            prop_assert!(share <= interval.high && interval.high <= 1.0, "{interval:?}");
            let reach = interval.reach(share);
            prop_assert!(interval.low >= share - reach - 1e-12 && interval.high <= share + reach + 1e-12);
        }

        #[test]
        fn misses_are_as_sure_as_hits(of in 1..1_000_000u64, part in 0.0..1.0f64) {
            let hits = (part * of as f64) as u64;
            let [hit, missed] = [hits, of - hits].map(|n| Interval::wilson(n, of).unwrap());
            prop_assert!((hit.low - (1.0 - missed.high)).abs() < 1e-9);
            prop_assert!((hit.high - (1.0 - missed.low)).abs() < 1e-9);
        }

        #[test]
        fn more_packets_make_it_narrower(of in 1..1_000_000u64, part in 0.0..=1.0f64, times in 2..100u64) {
            let hits = (part * of as f64) as u64;
            let width = |interval: Interval| interval.high - interval.low;
            let few = width(Interval::wilson(hits, of).unwrap());
            let many = width(Interval::wilson(hits * times, of * times).unwrap());
            prop_assert!(many < few, "{many} against {few}");
        }
    }
}
