//! Rules that change over time.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

use super::Rule;
use crate::units::scalar::{self, Scalar};
use crate::units::{DurationNs, Reason, UnitError, is_digits};

/// Which rules are in force, and when.
#[derive(Debug, Clone, PartialEq)]
pub enum Course {
    /// The same ones throughout: 1 to 1024 of them, with distinct names.
    Steady(Vec<Rule>),
    /// Those of one phase after the other.
    Phased(Timeline),
}

impl Course {
    /// The rules of each phase; where there are no phases, all of them.
    pub(super) fn rules(&self) -> impl Iterator<Item = &[Rule]> {
        let (steady, phases) = match self {
            Self::Steady(rules) => (Some(rules.as_slice()), &[][..]),
            Self::Phased(timeline) => (None, timeline.phases.as_slice()),
        };
        let phased = phases.iter().map(|phase| phase.rules.as_slice());
        steady.into_iter().chain(phased)
    }

    /// All of them.
    pub(super) fn rules_mut(&mut self) -> impl Iterator<Item = &mut Rule> {
        let (steady, phases) = match self {
            Self::Steady(rules) => (rules.as_mut_slice(), &mut [][..]),
            Self::Phased(timeline) => (&mut [][..], timeline.phases.as_mut_slice()),
        };
        let phased = phases.iter_mut().flat_map(|phase| &mut phase.rules);
        steady.iter_mut().chain(phased)
    }
}

/// Phases, and how often they are played.
#[derive(Debug, Clone, PartialEq)]
pub struct Timeline {
    /// Phases in the order in which they are played: at least one, with distinct names, and with
    /// at most 1024 rules together.
    pub phases: Vec<Phase>,
    /// How often.
    pub repeat: Repeat,
}

/// Rules for a time.
#[derive(Debug, Clone, PartialEq)]
pub struct Phase {
    /// Name for people: as given, or `phase-N` counting from 1.
    pub name: String,
    /// How long it lasts; not 0.
    pub duration: DurationNs,
    /// Values move on a straight line from those of the phase before, at its beginning, to its own, at
    /// its end; see [`Timeline::ramp_from`]. The first phase has its own values in the first repetition.
    pub ramp: bool,
    /// Rules in the order in which they are tried, with distinct names. Without any, every packet
    /// is untouched.
    pub rules: Vec<Rule>,
}

/// How often the phases are played.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// This often: at least once.
    Times(u64),
    /// Until the run is ended.
    Forever,
}

const FOREVER: &str = "forever";

impl Default for Repeat {
    fn default() -> Self {
        Self::Times(1)
    }
}

impl Scalar for Repeat {
    const EXPECTED: &'static str = "a count of 1 or more, or `forever`";
}

impl FromStr for Repeat {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        if text == FOREVER {
            return Ok(Self::Forever);
        }
        let reason = match (text.parse(), text.strip_prefix('-')) {
            (Ok(times @ 1..), _) => return Ok(Self::Times(times)),
            (_, Some(positive)) if is_digits(positive) => Reason::Negative,
            (Err(_), _) if is_digits(text) => Reason::TooLarge("18446744073709551615"),
            _ => Reason::Malformed("a count"),
        };
        Err(UnitError::new(text, reason, Self::EXPECTED))
    }
}

impl fmt::Display for Repeat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Times(times) => write!(f, "{times}"),
            Self::Forever => f.write_str(FOREVER),
        }
    }
}

impl<'de> Deserialize<'de> for Repeat {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        scalar::deserialize(deserializer)
    }
}

#[cfg(test)]
scalar::schema_of!(Repeat as "Repeat", {
    "type": ["integer", "string"],
    "minimum": 1,
    "pattern": "^(0*[1-9][0-9]*|forever)$",
    "examples": [10, "forever"],
});
