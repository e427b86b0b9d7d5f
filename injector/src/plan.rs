//! A profile, worked out: the map entries that the kernel side needs, for any machine.
//!
//! A plan knows nothing of the machine that it will run on; what depends on that is decided in
//! [`crate::datapath`].

mod fault;
mod matching;
mod needs;
#[cfg(test)]
mod reference;
mod schedule;
mod table;

use injector_common::{
    abi::{self, ENTRIES_MAX, FaultSpec, MatchEntry},
    random::Stream,
};
use thiserror::Error;

pub use self::{
    needs::Needs,
    schedule::{Schedule, Turn},
    table::{Table, Vectors},
};
use crate::profile::{Course, Direction, Profile, Rule};

/// One of the two directions in which packets pass a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hook {
    /// Packets that leave through the device.
    Egress,
    /// Packets that arrive at the device.
    Ingress,
}

impl Hook {
    /// Both, egress first.
    pub const ALL: [Self; 2] = [Self::Egress, Self::Ingress];

    /// The number of this direction's table within its generation.
    pub const fn direction(self) -> u32 {
        match self {
            Self::Egress => abi::EGRESS,
            Self::Ingress => abi::INGRESS,
        }
    }

    /// The kernel's word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Egress => "egress",
            Self::Ingress => "ingress",
        }
    }
}

impl std::fmt::Display for Hook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// A rule in one direction. A rule for both directions becomes two, with a packet count and a
/// random stream each.
#[derive(Clone, Debug)]
pub struct PlannedRule {
    /// The rule's name.
    pub name: String,
    /// Its direction.
    pub hook: Hook,
    /// Its place in the maps that are indexed by rule.
    pub slot: u32,
    /// What it does.
    pub spec: FaultSpec,
    /// What it matches; any entry will do.
    pub entries: Vec<MatchEntry>,
}

/// The rules of a profile, or of one of its phases, worked out.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The profile's name.
    pub profile: String,
    /// The phase's name, where the profile has phases.
    pub phase: Option<String>,
    /// The seed, from the profile or drawn.
    pub seed: u64,
    /// The rules in order of precedence; [`PlannedRule::slot`] is the index.
    pub rules: Vec<PlannedRule>,
}

/// Why a profile cannot be worked out.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum PlanError {
    /// The combinations of addresses and ports exceed what the kernel side holds.
    #[error(
        "the {hook} rules need {entries} match entries, and {ENTRIES_MAX} are available; \
         rule `{rule}` is the first beyond that"
    )]
    TooManyEntries {
        /// The direction.
        hook: Hook,
        /// What the profile needs.
        entries: usize,
        /// The first rule that does not fit.
        rule: String,
    },
}

impl Plan {
    /// Works out `profile`, or its first phase, under `seed`, whatever seed the profile names.
    pub fn new(profile: &Profile, seed: u64) -> Result<Self, PlanError> {
        Self::all(profile, seed).map(|mut plans| plans.swap_remove(0))
    }

    /// Works out every phase of `profile`, or the one plan of a profile without phases.
    ///
    /// Each phase has random streams of its own, and draws them from the beginning whenever it
    /// comes: the same packets get the same fates in every repetition.
    pub fn all(profile: &Profile, seed: u64) -> Result<Vec<Self>, PlanError> {
        let stream = Stream::new(seed);
        let one = |phase, rules, stream| {
            let plan = Self {
                profile: profile.name.clone(),
                phase,
                seed,
                rules: plan_rules(rules, stream),
            };
            plan.check().map(|()| plan)
        };
        match &profile.course {
            Course::Steady(rules) => Ok(vec![one(None, rules, stream)?]),
            Course::Phased(timeline) => (timeline.phases.iter().zip(0..))
                .map(|(phase, n)| one(Some(phase.name.clone()), &phase.rules, stream.fork(n)))
                .collect(),
        }
    }

    fn check(&self) -> Result<(), PlanError> {
        for hook in Hook::ALL {
            self.check_entries(hook)?;
        }
        Ok(())
    }

    fn check_entries(&self, hook: Hook) -> Result<(), PlanError> {
        let entries = self.on(hook).map(|rule| rule.entries.len()).sum();
        let mut room = ENTRIES_MAX;
        for rule in self.on(hook) {
            room =
                room.checked_sub(rule.entries.len())
                    .ok_or_else(|| PlanError::TooManyEntries {
                        hook,
                        entries,
                        rule: rule.name.clone(),
                    })?;
        }
        Ok(())
    }

    /// The rules of one direction, in order of precedence.
    pub fn on(&self, hook: Hook) -> impl Iterator<Item = &PlannedRule> {
        self.rules.iter().filter(move |rule| rule.hook == hook)
    }

    /// Whether any rule acts in this direction.
    pub fn uses(&self, hook: Hook) -> bool {
        self.on(hook).next().is_some()
    }

    /// The longest delay that any packet can get, in ns; 0 where no rule delays.
    pub fn delay_max_ns(&self) -> u64 {
        let longest = |rule: &PlannedRule| rule.spec.delay_min_ns + rule.spec.delay_span_ns;
        self.rules.iter().map(longest).max().unwrap_or(0)
    }

    /// The table of one direction, with the slots of its rules counted from `first_slot`.
    pub fn table(&self, hook: Hook, first_slot: u32) -> Table {
        Table::new(self.on(hook), first_slot)
    }
}

fn hooks(direction: Direction) -> impl Iterator<Item = Hook> {
    Hook::ALL.into_iter().filter(move |hook| match direction {
        Direction::Egress => *hook == Hook::Egress,
        Direction::Ingress => *hook == Hook::Ingress,
        Direction::Both => true,
    })
}

fn plan_rules(rules: &[Rule], stream: Stream) -> Vec<PlannedRule> {
    let mut planned: Vec<PlannedRule> = Vec::new();
    for (index, rule) in rules.iter().enumerate() {
        for hook in hooks(rule.direction) {
            let stream = stream.fork(2 * index as u64 + u64::from(hook.direction()));
            planned.push(plan_rule(rule, hook, planned.len() as u32, stream));
        }
    }
    planned
}

fn plan_rule(rule: &Rule, hook: Hook, slot: u32, stream: Stream) -> PlannedRule {
    PlannedRule {
        name: rule.name.clone(),
        hook,
        slot,
        spec: fault::spec(rule, hook, stream),
        entries: matching::entries(&rule.matching),
    }
}
