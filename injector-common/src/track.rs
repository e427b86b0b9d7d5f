//! Values that change over time: ramps, and recorded conditions.

use crate::{
    abi::{FaultSpec, Pace, Point, Track, fault},
    chance::Tables,
    fate::Levels,
};

/// Most points of one track: 2^20.
pub const POINTS_MAX: u32 = 1 << STEPS;
const STEPS: u32 = 20;

/// The number of the first of `len` elements from `first` on that is not `before` the one that is looked
/// for; `len` where all are.
#[inline(always)]
pub(crate) fn partition(len: u32, before: impl Fn(u32) -> bool) -> u32 {
    let (mut low, mut high, mut step) = (0, len, 0);
    while step <= STEPS && low < high {
        let middle = low + (high - low) / 2;
        if before(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
        step += 1;
    }
    low
}

impl FaultSpec {
    /// The values at `elapsed_ns` from the beginning of the rule's track.
    #[inline(always)]
    pub fn levels_at(&self, elapsed_ns: u64, tables: &impl Tables) -> Levels {
        match self.track.point_at(elapsed_ns, tables) {
            Some(point) => point.levels(),
            None => self.levels(),
        }
    }
}

impl Track {
    #[inline(always)]
    fn point_at(&self, elapsed_ns: u64, tables: &impl Tables) -> Option<Point> {
        let at_ns = self.time_ns(elapsed_ns);
        let is_past = |place| match tables.point(self.first + place) {
            Some(point) => point.at_ns <= at_ns,
            None => false,
        };
        let next = partition(self.len, is_past);
        // Before the first point its values hold already, and behind the last one still.
        let from = *tables.point(self.first + next.saturating_sub(1))?;
        if self.linear == 0 || next == 0 || next >= self.len {
            return Some(from);
        }
        let to = tables.point(self.first + next)?;
        Some(from.towards(to, at_ns))
    }

    /// The time within the track.
    #[inline(always)]
    pub const fn time_ns(&self, elapsed_ns: u64) -> u64 {
        if self.period_ns == 0 {
            elapsed_ns
        } else {
            elapsed_ns % self.period_ns
        }
    }
}

impl Point {
    /// The values at `at_ns`, on the straight line to another point.
    #[inline(always)]
    fn towards(&self, to: &Self, at_ns: u64) -> Self {
        const SHIFT: u32 = 16;
        let span_ns = to.at_ns - self.at_ns;
        if span_ns == 0 {
            return *self;
        }
        let share = (((at_ns - self.at_ns) << SHIFT) / span_ns) as i64;
        // Of values below 2^46.
        let between = |from: u64, to: u64| {
            let way = (to as i64 - from as i64) * share;
            from.wrapping_add_signed(way >> SHIFT)
        };
        Self {
            at_ns,
            odds: [
                between(self.odds[0], to.odds[0]),
                between(self.odds[1], to.odds[1]),
                between(self.odds[2], to.odds[2]),
                between(self.odds[3], to.odds[3]),
            ],
            time_ns: between(self.time_ns, to.time_ns),
            jitter_ns: between(self.jitter_ns, to.jitter_ns),
            rate_bps: between(self.rate_bps, to.rate_bps),
        }
    }

    #[inline(always)]
    const fn levels(&self) -> Levels {
        const _: () = assert!(fault::COUNT == 4);
        Levels {
            odds: self.odds,
            time_ns: self.time_ns,
            jitter_ns: self.jitter_ns,
            byte_ns: if self.rate_bps == 0 {
                0
            } else {
                Pace::byte_ns(self.rate_bps)
            },
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec::Vec;

    use proptest::{collection::btree_map, prelude::*};

    use super::*;

    /// Points alone.
    #[derive(Debug)]
    struct Points(Vec<Point>);

    impl Tables for Points {
        fn point(&self, number: u32) -> Option<&Point> {
            self.0.get(number as usize)
        }
    }

    impl Points {
        fn spec(&self, linear: u32, period_ns: u64) -> FaultSpec {
            FaultSpec {
                track: Track {
                    len: self.0.len() as u32,
                    linear,
                    period_ns,
                    ..Track::default()
                },
                ..FaultSpec::default()
            }
        }
    }

    const LATEST_NS: u64 = 1 << 42;

    prop_compose! {
        fn any_points()(points in btree_map(0..LATEST_NS, (0u64..1 << 42, 0u64..=1 << 32), 1..20))
            -> Points
        {
            let point = |(at_ns, (time_ns, odds))| Point {
                at_ns,
                time_ns,
                odds: [odds; fault::COUNT],
                rate_bps: 1_000_000,
                ..Point::default()
            };
            Points(points.into_iter().map(point).collect())
        }
    }

    proptest! {
        #[test]
        fn at_a_point_its_values_hold(points in any_points(), linear in 0u32..2) {
            let spec = points.spec(linear, 0);
            for point in &points.0 {
                prop_assert_eq!(spec.levels_at(point.at_ns, &points), point.levels());
            }
        }

        #[test]
        fn between_points_values_lie_between_theirs(points in any_points(), at_ns in 0..2 * LATEST_NS) {
            let levels = points.spec(1, 0).levels_at(at_ns, &points);
            let later = points.0.iter().position(|point| point.at_ns > at_ns);
            let to = points.0[later.unwrap_or(points.0.len() - 1)];
            let from = points.0[later.unwrap_or(points.0.len()).saturating_sub(1)];
            let (low, high) = (from.time_ns.min(to.time_ns), from.time_ns.max(to.time_ns));
            prop_assert!((low..=high).contains(&levels.time_ns));
            let share = if from.at_ns < at_ns && to.at_ns > from.at_ns {
                ((at_ns - from.at_ns) as f64 / (to.at_ns - from.at_ns) as f64).min(1.0)
            } else {
                0.0
            };
            let expected = from.time_ns as f64 + (to.time_ns as f64 - from.time_ns as f64) * share;
            // Shares have 16 bits.
            let bound = (high - low) as f64 / f64::from(1 << 16) + 1.0;
            prop_assert!((levels.time_ns as f64 - expected).abs() <= bound);
        }

        #[test]
        fn a_step_lasts_until_the_next(points in any_points(), at_ns in 0..2 * LATEST_NS) {
            let levels = points.spec(0, 0).levels_at(at_ns, &points);
            let begun = points.0.iter().rposition(|point| point.at_ns <= at_ns);
            prop_assert_eq!(levels, points.0[begun.unwrap_or(0)].levels());
        }

        #[test]
        fn what_is_repeated_begins_anew(points in any_points(), at_ns in 0..LATEST_NS, turns in 0u64..9) {
            let spec = points.spec(1, LATEST_NS);
            let first = spec.levels_at(at_ns, &points);
            prop_assert_eq!(spec.levels_at(at_ns + turns * LATEST_NS, &points), first);
        }
    }
}
