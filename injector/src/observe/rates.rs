//! How fast counters grow.

use std::{collections::VecDeque, time::Duration};

use serde::Serialize;

use super::report::AchievedRule;

/// What a rule has counted, in the end or meanwhile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Wire packets that matched.
    pub packets: u64,
    /// Their bytes, link-layer header included.
    pub bytes: u64,
    /// How often one was hit: dropped, marked, corrupted, duplicated or reordered.
    pub hits: u64,
}

/// The same in a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Rates {
    /// Wire packets that matched.
    pub packets_per_s: f64,
    /// Their bits, link-layer header included.
    pub bits_per_s: f64,
    /// How often one was hit.
    pub hits_per_s: f64,
}

/// What was counted from one look at a rule to the next.
#[derive(Clone, Copy, Debug)]
struct Step {
    took: Duration,
    more: Counted,
}

/// What was counted of a rule of late.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// When it was last looked at, and what it had counted then.
    last: Option<(Duration, Counted)>,
    /// The latest last.
    steps: VecDeque<Step>,
}

impl Counted {
    /// What more has been counted. Counters that are lower than they were began anew, from 0.
    fn since(self, former: Self) -> Self {
        let more = |count: fn(Self) -> u64| count(self).checked_sub(count(former));
        let more = more(|c| c.packets)
            .zip(more(|c| c.bytes))
            .zip(more(|c| c.hits));
        more.map_or(self, |((packets, bytes), hits)| Self {
            packets,
            bytes,
            hits,
        })
    }

    fn plus(self, more: Self) -> Self {
        Self {
            packets: self.packets.saturating_add(more.packets),
            bytes: self.bytes.saturating_add(more.bytes),
            hits: self.hits.saturating_add(more.hits),
        }
    }
}

impl From<&AchievedRule> for Counted {
    fn from(rule: &AchievedRule) -> Self {
        let hits = [
            rule.dropped,
            rule.corrupted,
            rule.duplicated,
            rule.reordered,
            rule.marked,
            rule.overlimit,
        ];
        Self {
            packets: rule.matched,
            bytes: rule.bytes,
            hits: hits.into_iter().sum(),
        }
    }
}

impl Step {
    fn rates(&self) -> Rates {
        let seconds = self.took.as_secs_f64();
        Rates {
            packets_per_s: self.more.packets as f64 / seconds,
            bits_per_s: self.more.bytes as f64 * 8.0 / seconds,
            hits_per_s: self.more.hits as f64 / seconds,
        }
    }
}

impl History {
    /// What "of late" means.
    pub const WINDOW: Duration = Duration::from_secs(5);
    /// More than any terminal has columns for.
    const STEPS_MAX: usize = 256;

    /// Takes what has been counted until `at`, which is later than the times before.
    pub fn add(&mut self, at: Duration, counted: Counted) {
        let Some((before, former)) = self.last else {
            self.last = Some((at, counted));
            return;
        };
        let took = at.saturating_sub(before);
        if took.is_zero() {
            return;
        }
        self.last = Some((at, counted));
        if self.steps.len() == Self::STEPS_MAX {
            self.steps.pop_front();
        }
        let more = counted.since(former);
        self.steps.push_back(Step { took, more });
    }

    /// Over the steps that make up the window, and the last one in any case; `None` before there is one.
    pub fn rates(&self) -> Option<Rates> {
        let mut steps = self.steps.iter().rev();
        let mut sum = *steps.next()?;
        for step in steps {
            let took = sum.took + step.took;
            if took > Self::WINDOW {
                break;
            }
            sum = Step {
                took,
                more: sum.more.plus(step.more),
            };
        }
        Some(sum.rates())
    }

    /// Of the last steps, at most so many, the latest last.
    pub fn recent(&self, steps_max: usize) -> impl ExactSizeIterator<Item = Rates> {
        let first = self.steps.len().saturating_sub(steps_max);
        self.steps.range(first..).map(Step::rates)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn of(packets: u64) -> Counted {
        Counted {
            packets,
            bytes: 100 * packets,
            hits: packets / 2,
        }
    }

    #[test]
    fn rates_are_of_the_last_seconds_and_unknown_at_first() {
        let mut history = History::default();
        history.add(ms(0), of(1_000_000));
        assert_eq!(history.rates(), None);
        // 10 a second for a long time, then 100.
        for second in 1..=20 {
            history.add(ms(1000 * second), of(1_000_000 + 10 * second));
        }
        for second in 1..=5 {
            history.add(ms(20_000 + 1000 * second), of(1_000_200 + 100 * second));
        }
        let rates = history.rates().unwrap();
        assert_eq!(rates.packets_per_s, 100.0);
        assert_eq!(rates.bits_per_s, 80_000.0);
        assert_eq!(rates.hits_per_s, 50.0);
        let recent: Vec<_> = history.recent(7).map(|rates| rates.packets_per_s).collect();
        assert_eq!(recent, [10.0, 10.0, 100.0, 100.0, 100.0, 100.0, 100.0]);
    }

    #[test]
    fn a_pause_longer_than_the_window_is_one_step() {
        let mut history = History::default();
        history.add(ms(0), of(0));
        history.add(ms(60_000), of(600));
        assert_eq!(history.rates().unwrap().packets_per_s, 10.0);
    }

    proptest! {
        /// However often one looks, and however late.
        #[test]
        fn a_steady_rate_is_that_rate(
            rate in 1..1_000_000u64, steps in prop::collection::vec(1..3_000u64, 1..400),
        ) {
            let (mut history, mut at) = (History::default(), 0);
            history.add(ms(0), of(0));
            for step in steps {
                at += step;
                history.add(ms(at), of(at * rate));
            }
            let expected = (rate * 1000) as f64;
            let rates = history.rates().unwrap();
            prop_assert!((rates.packets_per_s / expected - 1.0).abs() < 1e-9);
            prop_assert!(history.recent(usize::MAX).len() <= History::STEPS_MAX);
            for recent in history.recent(usize::MAX) {
                prop_assert!((recent.packets_per_s / expected - 1.0).abs() < 1e-9);
            }
        }

        /// Also where counters begin anew.
        #[test]
        fn rates_are_finite_and_no_less_than_0(
            looks in prop::collection::vec((0..2_000u64, any::<[u64; 3]>()), 1..50),
        ) {
            let (mut history, mut at) = (History::default(), 0);
            for (step, [packets, bytes, hits]) in looks {
                at += step;
                history.add(ms(at), Counted { packets, bytes, hits });
                let Rates { packets_per_s, bits_per_s, hits_per_s } = history.rates().unwrap_or_default();
                for rate in [packets_per_s, bits_per_s, hits_per_s] {
                    prop_assert!(rate.is_finite() && rate >= 0.0);
                }
            }
        }

        #[test]
        fn nothing_is_counted_twice_or_lost(steps in prop::collection::vec(0..1_000u64, 1..200)) {
            let (mut history, mut sum) = (History::default(), 0);
            history.add(ms(0), of(0));
            for (second, step) in (1..).zip(&steps) {
                sum += step;
                history.add(ms(1000 * second), of(sum));
            }
            let seen: f64 = history.recent(usize::MAX).map(|rates| rates.packets_per_s).sum();
            prop_assert!((seen - sum as f64).abs() < 1e-6);
        }

        #[test]
        fn counters_that_began_anew_have_counted_what_they_show(before in 1..u64::MAX, part in 0.0..1.0f64) {
            let after = (before as f64 * part * 0.99) as u64;
            let hits = |hits| Counted { hits, ..Counted::default() };
            prop_assert_eq!(hits(after).since(hits(before)), hits(after));
        }
    }
}
