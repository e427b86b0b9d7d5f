//! When which phase is in force.
//!
//! Every edge is worked out from the beginning of the timeline, in whole nanoseconds, and none from
//! the edge before it: what one is late by does not add up.

use std::time::Duration;

use crate::profile::{Repeat, Timeline};

/// The turns that a run plays, in time since it began.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// Where in a repetition each phase begins, in ns.
    starts: Vec<u64>,
    /// How long a repetition takes, in ns; not 0.
    period: u64,
    repeat: Repeat,
    /// How far into the timeline the run begins, in ns.
    offset: u64,
    /// Whether the first phase ramps.
    ramps: bool,
}

/// A phase, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Which, counting from 0 over all repetitions.
    number: u64,
    /// Its phase, counting from 0.
    pub phase: usize,
    /// Its repetition, counting from 0.
    pub repetition: u64,
    /// When it begins; 0 where the run begins in the middle of it.
    pub from: Duration,
    /// When it ends.
    pub to: Duration,
}

impl Schedule {
    /// Of a run that begins with the first phase.
    pub fn new(timeline: &Timeline) -> Self {
        let mut period = 0;
        let mut start = |nanos| {
            let start = period;
            period += nanos;
            start
        };
        let phases = timeline.phases.iter();
        let starts = phases.map(|phase| start(phase.duration.nanos())).collect();
        Self {
            starts,
            period,
            repeat: timeline.repeat,
            offset: 0,
            ramps: timeline.phases[0].ramp,
        }
    }

    /// Of a run that begins when `offset` of the timeline is over; `None` where all of it is.
    pub fn starting_at(&self, offset: Duration) -> Option<Self> {
        let offset = u64::try_from(offset.as_nanos()).ok()?;
        let is_over = self.end().is_some_and(|end| end <= offset);
        (!is_over).then(|| Self {
            offset,
            ..self.clone()
        })
    }

    /// Of a run that begins with a phase, counting from 0, in its first repetition.
    pub fn starting_with(&self, phase: usize) -> Self {
        Self {
            offset: self.starts[phase],
            ..self.clone()
        }
    }

    /// How long the run takes; `None` where it repeats the phases forever.
    pub fn total(&self) -> Option<Duration> {
        let left = self.end()?.saturating_sub(self.offset);
        Some(Duration::from_nanos(left))
    }

    /// How often the phases are played.
    pub fn repeat(&self) -> Repeat {
        self.repeat
    }

    /// The turn in which the run begins.
    pub fn first(&self) -> Turn {
        self.turn(self.number_at(self.offset))
    }

    /// How far on its course the first turn is when the run begins. The very first turn has nothing to
    /// ramp from, and is at the end.
    pub fn elapsed(&self) -> Duration {
        let first = self.first();
        if first.number == 0 && self.ramps {
            return Duration::from_nanos(self.period);
        }
        Duration::from_nanos(self.offset % self.period - self.starts[first.phase])
    }

    /// The first turn after `turn` that is not over at `now`. Those that a busy machine has missed
    /// altogether are left out, so that the rest is in time again.
    pub fn next(&self, turn: &Turn, now: Duration) -> Option<Turn> {
        let position = self.position(now);
        let next = self.turn((turn.number + 1).max(self.number_at(position)));
        match self.repeat {
            Repeat::Times(times) if next.repetition >= times => None,
            _ => Some(next),
        }
    }

    /// Where the timeline ends. Sums saturate after 584 years.
    fn end(&self) -> Option<u64> {
        match self.repeat {
            Repeat::Times(times) => Some(times.saturating_mul(self.period)),
            Repeat::Forever => None,
        }
    }

    /// Where in the timeline the run is at `now`.
    fn position(&self, now: Duration) -> u64 {
        let nanos = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        self.offset.saturating_add(nanos)
    }

    fn number_at(&self, position: u64) -> u64 {
        let (repetition, within) = (position / self.period, position % self.period);
        let begun = self.starts.partition_point(|start| *start <= within);
        repetition * self.starts.len() as u64 + (begun as u64 - 1)
    }

    fn turn(&self, number: u64) -> Turn {
        let phases = self.starts.len() as u64;
        Turn {
            number,
            phase: (number % phases) as usize,
            repetition: number / phases,
            from: self.edge(number),
            to: self.edge(number + 1),
        }
    }

    /// When a turn begins.
    fn edge(&self, number: u64) -> Duration {
        let phases = self.starts.len() as u64;
        let repetitions = (number / phases).saturating_mul(self.period);
        let position = repetitions.saturating_add(self.starts[(number % phases) as usize]);
        Duration::from_nanos(position.saturating_sub(self.offset))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{profile::Phase, units::DurationNs};

    fn schedule(nanos: &[u64], repeat: Repeat) -> Schedule {
        let phase = |nanos: &u64| Phase {
            name: String::new(),
            duration: DurationNs::from_nanos(*nanos).unwrap(),
            ramp: false,
            rules: Vec::new(),
        };
        Schedule::new(&Timeline {
            phases: nanos.iter().map(phase).collect(),
            repeat,
        })
    }

    /// All turns, each asked for as soon as the one before it begins.
    fn turns(schedule: &Schedule) -> impl Iterator<Item = Turn> {
        std::iter::successors(Some(schedule.first()), |turn| {
            schedule.next(turn, turn.from)
        })
    }

    fn phases() -> impl Strategy<Value = Vec<u64>> {
        prop::collection::vec(1..=DurationNs::MAX.nanos(), 1..20)
    }

    proptest! {
        #[test]
        fn edges_are_exact_sums_also_after_a_thousand_turns(phases in phases()) {
            let mut sum = Duration::ZERO;
            let schedule = schedule(&phases, Repeat::Forever);
            for (number, turn) in turns(&schedule).take(1_500).enumerate() {
                let nanos = phases[number % phases.len()];
                prop_assert_eq!((turn.phase, turn.from), (number % phases.len(), sum));
                prop_assert_eq!(turn.repetition, (number / phases.len()) as u64);
                sum += Duration::from_nanos(nanos);
                prop_assert_eq!(turn.to, sum);
            }
        }

        #[test]
        fn the_turns_of_all_repetitions_are_played_and_no_more(phases in phases(), times in 1..50u64) {
            let schedule = schedule(&phases, Repeat::Times(times));
            let turns: Vec<_> = turns(&schedule).collect();
            prop_assert_eq!(turns.len() as u64, times * phases.len() as u64);
            prop_assert_eq!(turns.last().map(|turn| turn.to), schedule.total());
        }

        #[test]
        fn a_later_start_leaves_out_what_is_before_it(
            phases in phases(), times in 1..50u64, share in 0.0..1.0f64,
        ) {
            let whole = schedule(&phases, Repeat::Times(times));
            let total = whole.total().unwrap();
            let offset = total.mul_f64(share).min(total - Duration::from_nanos(1));
            let rest = whole.starting_at(offset).unwrap();
            prop_assert_eq!(rest.total(), Some(total - offset));
            let expected = turns(&whole).filter(|turn| turn.to > offset).map(|turn| Turn {
                from: turn.from.saturating_sub(offset),
                to: turn.to - offset,
                ..turn
            });
            prop_assert_eq!(turns(&rest).collect::<Vec<_>>(), expected.collect::<Vec<_>>());
            prop_assert!(whole.starting_at(total).is_none());
        }

        #[test]
        fn what_was_missed_is_left_out(phases in phases(), late in 0..DurationNs::MAX.nanos()) {
            let schedule = schedule(&phases, Repeat::Forever);
            let now = Duration::from_nanos(late);
            let next = schedule.next(&schedule.first(), now).unwrap();
            prop_assert!(next.to > now);
            prop_assert!(next.from <= now || next.number == 1);
        }
    }

    #[test]
    fn a_run_can_begin_with_a_phase() {
        let schedule = schedule(&[5, 7, 11], Repeat::Times(2)).starting_with(1);
        let first = schedule.first();
        assert_eq!((first.phase, first.repetition), (1, 0));
        assert_eq!(
            (first.from, first.to),
            (Duration::ZERO, Duration::from_nanos(7))
        );
        assert_eq!(schedule.total(), Some(Duration::from_nanos(41)));
        assert_eq!(turns(&schedule).count(), 5);
    }

    #[test]
    fn sums_saturate() {
        let schedule = schedule(&[DurationNs::MAX.nanos()], Repeat::Times(u64::MAX));
        assert_eq!(schedule.total(), Some(Duration::from_nanos(u64::MAX)));
        let last = schedule
            .starting_at(Duration::from_nanos(u64::MAX - 1))
            .unwrap();
        assert!(last.next(&last.first(), Duration::MAX).is_some());
    }
}
