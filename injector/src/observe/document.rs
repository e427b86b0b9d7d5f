//! All that is known of a run that has ended, to keep.

mod chart;
mod html;

use std::time::Duration;

use injector_common::abi::RuleCounters;
use serde::Serialize;

use super::{report::Achieved, verdict::Verdict};
use crate::datapath::{Attached, session::Totals};

pub use html::html;

/// A run.
#[derive(Debug, Serialize)]
pub struct Document<'a> {
    /// The format's name and version.
    pub schema: &'static str,
    /// The profile's name.
    pub profile: &'a str,
    /// The SHA-256 of its text.
    pub sha256: Option<&'a str>,
    /// The seed.
    pub seed: u64,
    /// The device; several with commas between them.
    pub device: String,
    /// Where the programs were attached.
    pub attached: Vec<Attached>,
    /// What no rule touched.
    pub protected: &'a [String],
    /// The version of injector.
    pub version: &'static str,
    /// The kernel's name and version.
    pub kernel: String,
    /// When the faults came into force, as RFC 3339 has it.
    pub started: String,
    /// How long they lasted.
    pub elapsed_ms: u64,
    /// Why they ended.
    pub reason: &'a str,
    /// What was asked, and what was achieved.
    #[serde(flatten)]
    pub achieved: &'a Achieved,
    /// What was expected.
    pub expectations: &'a [Verdict],
    /// What happened meanwhile.
    #[serde(flatten)]
    pub course: &'a Course,
}

/// [`Document::schema`].
pub const SCHEMA: &str = "injector.report/v1";

/// What happens in the course of a run. It takes a bounded amount of memory.
#[derive(Debug, Serialize)]
pub struct Course {
    /// The phases as they came.
    pub phases: Vec<Begun>,
    /// Counters, now and then.
    pub samples: Vec<Sample>,
    /// How many samples make one that is kept.
    #[serde(skip)]
    stride: u64,
    #[serde(skip)]
    taken: u64,
    /// Whether the last one is kept only until the next one.
    #[serde(skip)]
    passing: bool,
}

/// A phase that has begun.
#[derive(Debug, Serialize)]
pub struct Begun {
    /// When, since the beginning.
    pub at_ms: u64,
    /// The phase.
    pub phase: String,
    /// The repetition, counting from 1.
    pub repetition: u64,
}

/// The counters of all rules together, at one moment.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Sample {
    /// When, since the beginning.
    pub at_ms: u64,
    /// Packets whose fate was decided, since the beginning, and what happened to them.
    pub matched: u64,
    /// Packets dropped.
    pub dropped: u64,
    /// Packets with flipped bits.
    pub corrupted: u64,
    /// Copies made.
    pub duplicated: u64,
    /// Packets that were not delayed, to overtake others.
    pub reordered: u64,
    /// Packets given a delay.
    pub delayed: u64,
}

impl Sample {
    fn of<'a>(at: Duration, totals: impl IntoIterator<Item = &'a Totals>) -> Self {
        let mut sum = RuleCounters::default();
        for counters in totals.into_iter().flat_map(|totals| totals.rules.values()) {
            sum += *counters;
        }
        Self {
            at_ms: at.as_millis() as u64,
            matched: sum.matched,
            dropped: sum.dropped,
            corrupted: sum.corrupted,
            duplicated: sum.duplicated,
            reordered: sum.reordered,
            delayed: sum.delayed,
        }
    }
}

impl Default for Course {
    fn default() -> Self {
        Self {
            phases: Vec::new(),
            samples: Vec::new(),
            stride: 1,
            taken: 0,
            passing: false,
        }
    }
}

impl Course {
    /// More than a chart shows.
    const SAMPLES_MAX: usize = 600;
    /// More than anybody tells apart. Those after them are left out.
    const PHASES_MAX: usize = 2_000;

    /// Keeps the counters. When there are too many, every second one is forgotten, and from then on only
    /// as many kept; the last one always is.
    pub fn sample<'a>(&mut self, at: Duration, totals: impl IntoIterator<Item = &'a Totals>) {
        if self.passing {
            self.samples.pop();
        }
        self.passing = !self.taken.is_multiple_of(self.stride);
        self.taken += 1;
        self.samples.push(Sample::of(at, totals));
        if self.samples.len() > Self::SAMPLES_MAX {
            let mut keep = [true, false].into_iter().cycle();
            self.samples.retain(|_| keep.next() == Some(true));
            self.stride *= 2;
        }
    }

    /// Keeps that a phase has begun.
    pub fn phase(&mut self, at: Duration, phase: &str, repetition: u64) {
        if self.phases.len() < Self::PHASES_MAX {
            self.phases.push(Begun {
                at_ms: at.as_millis() as u64,
                phase: phase.to_owned(),
                repetition,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_run_is_sampled_more_seldom_and_evenly() {
        let mut course = Course::default();
        for second in 0..10_000 {
            course.sample(Duration::from_secs(second), [&Totals::default()]);
            assert!(course.samples.len() <= Course::SAMPLES_MAX + 1);
        }
        let at: Vec<_> = course.samples.iter().map(|sample| sample.at_ms).collect();
        assert_eq!(at.last(), Some(&9_999_000));
        let kept = &at[..at.len() - 1];
        assert!(
            kept.iter()
                .eq(&(0..).step_by(32_000).take(kept.len()).collect::<Vec<u64>>()),
            "{at:?}"
        );
    }
}
