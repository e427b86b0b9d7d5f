//! Recorded conditions, played over time.

mod conditions;
mod opportunities;

use std::sync::Arc;

use super::issue::Issue;
use super::lines::{Flaw, lines};
use crate::units::{Bandwidth, DurationNs, Probability};

/// A recording that a rule's faults follow, from the moment that the rule comes into force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replay {
    /// What was recorded.
    pub recording: Recording,
    /// Begins anew at its end, as opportunities always do. Otherwise the last values stay in force.
    /// A recording that is repeated does not end at 0.
    pub repeat: bool,
}

/// What a file to be replayed holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recording {
    /// When a link was able to deliver 1500 bytes each, in ms from the beginning, in order: a Mahimahi
    /// trace. At least one, and the last is not 0: it is how long the trace lasts.
    Opportunities(Arc<[u32]>),
    /// Conditions at points in time.
    Conditions(Conditions),
}

/// Conditions at points in time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conditions {
    /// The points, in order of time, at least one; the same values are given in all of them. Before
    /// the first one its values hold.
    pub points: Arc<[Point]>,
    /// What holds between points.
    pub interpolation: Interpolation,
}

/// What holds between two points in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Interpolation {
    /// Values on the straight line between them.
    #[default]
    Linear,
    /// Those of the earlier one.
    Step,
}

/// Conditions at one point in time; what is not given is as the rule says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Point {
    /// When, from the beginning.
    pub time: DurationNs,
    /// Middle of the delay.
    pub delay: Option<DurationNs>,
    /// Its jitter.
    pub jitter: Option<DurationNs>,
    /// Share of packets lost.
    pub drop: Option<Probability>,
    /// Bandwidth.
    pub rate: Option<Bandwidth>,
}

impl Replay {
    /// Returns the first of the recorded conditions, which has the values that all of them have; `None`
    /// for opportunities.
    pub fn first(&self) -> Option<&Point> {
        match &self.recording {
            Recording::Opportunities(_) => None,
            Recording::Conditions(conditions) => conditions.points.first(),
        }
    }
}

/// What a file holds, before the profile says how to play it.
#[derive(Debug, Clone)]
pub(super) enum Recorded {
    Opportunities(Arc<[u32]>),
    Points(Arc<[Point]>),
}

/// Reads a recording. A Mahimahi trace is numbers alone; anything else has a line of names first.
pub(super) fn parse(text: &str) -> Result<Recorded, Box<Flaw>> {
    let mut lines = lines(text).peekable();
    let Some(first) = lines.peek() else {
        let issue = Issue::new("the recording is empty");
        return Err(Flaw::of_file(
            issue.expected("a Mahimahi trace, or a table"),
        ));
    };
    if first.is_number() {
        opportunities::parse(lines).map(Recorded::Opportunities)
    } else {
        conditions::parse(lines).map(Recorded::Points)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::quantiles;
    use super::*;

    /// The flaw's place is one that an error can show.
    fn is_inside(flaw: &Flaw, text: &str) -> bool {
        let at = |(line, span): (usize, _)| text.lines().nth(line - 1)?.get(span).map(|_| ());
        flaw.place.clone().is_none_or(|place| at(place).is_some())
    }

    proptest! {
        #[test]
        fn no_file_makes_a_parser_panic(
            head in "(time,(delay|drop|rate|jitter)(,drop)?\n)?",
            lines in prop::collection::vec("[0-9]{1,6}|[0-9.]{1,4}(ms|s)?,[0-9]{1,3}(ms|%|mbit)?|\\PC{0,9}", 0..9),
        ) {
            let text = format!("{head}{}", lines.join("\n"));
            if let Err(flaw) = parse(&text) {
                prop_assert!(is_inside(&flaw, &text), "{flaw:?}");
            }
            if let Err(flaw) = quantiles::parse(&text) {
                prop_assert!(is_inside(&flaw, &text), "{flaw:?}");
            }
        }
    }
}
