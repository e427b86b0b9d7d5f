//! A profile, worked out: the map entries that the kernel side needs, for any machine.
//!
//! A plan knows nothing of the machine that it will run on; what depends on that is decided in
//! [`crate::datapath`].

mod asked;
mod distribution;
mod fault;
mod matching;
mod models;
mod needs;
mod predicates;
mod protection;
#[cfg(test)]
mod reference;
mod schedule;
mod silence;
mod table;
mod track;

use std::time::Duration;

use injector_common::{
    NSEC_PER_SEC,
    abi::{self, ENTRIES_MAX, FaultSpec, MatchEntry, PREDICATES_MAX, features, flags},
    random::Stream,
};
use thiserror::Error;

pub use self::{
    asked::Asked,
    matching::entries as match_entries,
    models::{Models, Places},
    needs::Needs,
    predicates::Predicates,
    protection::{Connection, Protection},
    schedule::{Schedule, Turn},
    table::{Table, Vectors},
};
use crate::{
    profile::{Course, Direction, Fragments, Profile, Rule, Share},
    units::DurationNs,
};

/// One of the two directions in which packets pass a device.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
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
    /// What that comes to in the long run.
    pub asked: Asked,
    /// What it matches; any entry will do.
    pub entries: Vec<MatchEntry>,
}

impl PlannedRule {
    /// The shares of packets of which each is hit by itself, with the same probability as all others.
    pub fn independent(&self) -> Vec<Share> {
        asked::independent(&self.spec)
    }
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
    /// What of a packet their entries ask for, beside its dimensions.
    pub predicates: Predicates,
    /// What their faults refer to.
    pub models: Models,
    /// Which packets they may not touch.
    pub protection: Protection,
    /// The keys of faults that the profile asks for, and these rules do not have.
    pub left_out: Vec<String>,
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
    /// A rule's conditions exclude each other.
    #[error("no packet meets all conditions of rule `{rule}`")]
    MatchesNothing {
        /// The rule.
        rule: String,
    },
    /// The rules ask for too many different things.
    #[error(
        "the rules ask {predicates} different things of packets beside addresses, ports and protocol, and \
         {PREDICATES_MAX} can be told apart; rule `{rule}` is the first beyond that"
    )]
    TooManyPredicates {
        /// What the profile needs.
        predicates: usize,
        /// The first rule that does not fit.
        rule: String,
    },
    /// A packet may be held for longer than fq holds any.
    #[error(
        "rule `{rule}` may hold a packet for {}, and fq holds none for more than {}",
        text(*longest_ns),
        text(HELD_MAX_NS)
    )]
    HeldTooLong {
        /// The rule.
        rule: String,
        /// How long, in ns: delay, jitter, queue and slots together.
        longest_ns: u64,
    },
}

fn text(nanos: u64) -> humantime::FormattedDuration {
    humantime::format_duration(Duration::from_nanos(nanos))
}

impl PlanError {
    /// What to do about it.
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::TooManyEntries { .. } => "merge addresses into CIDR blocks and ports into ranges",
            Self::MatchesNothing { .. } => {
                "look for conditions that exclude each other, under `any` and `not`, too"
            }
            Self::TooManyPredicates { .. } => {
                "merge values into ranges, or spread the rules over phases"
            }
            Self::HeldTooLong { .. } => "shorten its delay, jitter, queue or slots",
        }
    }
}

/// The label of the stream that chooses flows: beyond those of phases and rules.
const FLOWS: u64 = u64::MAX;

/// The longest that fq can hold a packet, and a minute less for senders that plan ahead: its horizon is
/// 32 bits of microseconds (`TCA_FQ_HORIZON`).
pub const HELD_MAX_NS: u64 = 70 * 60 * NSEC_PER_SEC;

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
        let flow_key = stream.fork(FLOWS).key();
        let fragments = profile.fragments;
        let one = |phase, course: PhaseOf<'_>| {
            // First: lists of a few lines multiply to more entries than fit into memory.
            check_entries(course.rules)?;
            let (rules, predicates, models) = plan_rules(&course, fragments)?;
            check_times(&rules, &models)?;
            Ok(Self {
                profile: profile.name.clone(),
                phase,
                seed,
                rules,
                predicates,
                models,
                protection: Protection::default(),
                left_out: Vec::new(),
            })
        };
        match &profile.course {
            Course::Steady(rules) => Ok(vec![one(None, PhaseOf::steady(rules, flow_key, stream))?]),
            Course::Phased(timeline) => (timeline.phases.iter().enumerate())
                .map(|(n, phase)| {
                    let course = PhaseOf {
                        ramp: phase.ramp.then(|| (timeline.ramp_from(n), phase.duration)),
                        ..PhaseOf::steady(&phase.rules, flow_key, stream.fork(n as u64))
                    };
                    one(Some(phase.name.clone()), course)
                })
                .collect(),
        }
    }

    /// The rules of one direction, in order of precedence.
    pub fn on(&self, hook: Hook) -> impl Iterator<Item = &PlannedRule> + Clone {
        self.rules.iter().filter(move |rule| rule.hook == hook)
    }

    /// Whether any rule acts in this direction.
    pub fn uses(&self, hook: Hook) -> bool {
        self.on(hook).next().is_some()
    }

    /// The longest time that any packet can be held, in ns; 0 where no rule holds any.
    pub fn delay_max_ns(&self) -> u64 {
        let longest = |rule: &PlannedRule| fault::longest_ns(&rule.spec, &self.models);
        self.rules.iter().map(longest).max().unwrap_or(0)
    }

    /// The table of one direction, with the slots of its rules counted from `first_slot`.
    pub fn table(&self, hook: Hook, first_slot: u32) -> Table {
        Table::new(
            &self.protected(hook),
            &self.predicates,
            self.on(hook),
            first_slot,
        )
    }
}

/// Checks that the match entries of either direction fit.
fn check_entries(rules: &[Rule]) -> Result<(), PlanError> {
    for hook in Hook::ALL {
        let on_hook = || (rules.iter()).filter(|rule| hooks(rule.direction).any(|of| of == hook));
        let mut room = ENTRIES_MAX;
        for rule in on_hook() {
            let left = room.checked_sub(matching::count(&rule.matching));
            room = left.ok_or_else(|| PlanError::TooManyEntries {
                hook,
                entries: on_hook().map(|rule| matching::count(&rule.matching)).sum(),
                rule: rule.name.clone(),
            })?;
        }
    }
    Ok(())
}

/// Checks that fq can hold what the rules hold.
fn check_times(rules: &[PlannedRule], models: &Models) -> Result<(), PlanError> {
    for rule in rules {
        let longest_ns = fault::held_ns(&rule.spec, models);
        if longest_ns > HELD_MAX_NS {
            let rule = rule.name.clone();
            return Err(PlanError::HeldTooLong { rule, longest_ns });
        }
    }
    Ok(())
}

fn hooks(direction: Direction) -> impl Iterator<Item = Hook> {
    Hook::ALL.into_iter().filter(move |hook| match direction {
        Direction::Egress => *hook == Hook::Egress,
        Direction::Ingress => *hook == Hook::Ingress,
        Direction::Both => true,
    })
}

/// Rules that are in force together.
struct PhaseOf<'a> {
    rules: &'a [Rule],
    /// Seed of what is chosen by flow: the same in every phase, so that the same flows suffer.
    flow_key: u64,
    stream: Stream,
    /// The rules from whose values these ramp to their own, and how long that takes.
    ramp: Option<(Vec<Option<&'a Rule>>, DurationNs)>,
}

impl<'a> PhaseOf<'a> {
    fn steady(rules: &'a [Rule], flow_key: u64, stream: Stream) -> Self {
        Self {
            rules,
            flow_key,
            stream,
            ramp: None,
        }
    }

    fn spec(&self, index: usize, hook: Hook, models: &mut Models) -> FaultSpec {
        let rule = &self.rules[index];
        let number = 2 * index as u64 + u64::from(hook.direction());
        let stream = self.stream.fork(number);
        match &self.ramp {
            None => fault::steady(rule, hook, stream, models),
            Some((from, duration)) => {
                fault::ramping(rule, from[index], *duration, hook, stream, models)
            }
        }
    }
}

fn plan_rules(
    phase: &PhaseOf<'_>,
    fragments: Fragments,
) -> Result<(Vec<PlannedRule>, Predicates, Models), PlanError> {
    let (mut planned, mut models) = (Vec::new(), Models::default());
    let mut predicates = Predicates::new(phase.flow_key, fragments);
    for (index, rule) in phase.rules.iter().enumerate() {
        let entries = match &rule.partition {
            None => matching::entries(&rule.matching, &mut predicates),
            Some(_) => Vec::new(),
        };
        // Addresses may come, and others than those of today.
        let is_open = rule.partition.is_some() || !rule.matching.names().is_empty();
        if entries.is_empty() && !is_open {
            return Err(PlanError::MatchesNothing {
                rule: rule.name.clone(),
            });
        }
        if predicates.len() > PREDICATES_MAX {
            return Err(too_many_predicates(phase.rules, rule));
        }
        for hook in hooks(rule.direction) {
            let spec = phase.spec(index, hook, &mut models);
            planned.push(PlannedRule {
                name: rule.name.clone(),
                hook,
                slot: planned.len() as u32,
                spec,
                asked: Asked::of(&spec, &models),
                entries: entries.clone(),
            });
        }
    }
    keep_from_xdp(&mut planned, &predicates);
    Ok((planned, predicates, models))
}

fn too_many_predicates(rules: &[Rule], first_beyond: &Rule) -> PlanError {
    let mut predicates = Predicates::default();
    for rule in rules {
        matching::entries(&rule.matching, &mut predicates);
    }
    PlanError::TooManyPredicates {
        predicates: predicates.len(),
        rule: first_beyond.name.clone(),
    }
}

/// Leaves to the tc hook what XDP cannot decide: from the first rule on that asks for something that it does not
/// see, it cannot know which rule is a packet's.
fn keep_from_xdp(rules: &mut [PlannedRule], predicates: &Predicates) {
    let is_unseen = |rule: &&mut PlannedRule| {
        let mut entries = rule.entries.iter();
        let sees = |entry: &MatchEntry| predicates.fields_of(entry) & features::UNSEEN_BY_XDP == 0;
        rule.hook == Hook::Ingress && !entries.all(sees)
    };
    for rule in rules.iter_mut().skip_while(|rule| !is_unseen(rule)) {
        rule.spec.flags &= !flags::XDP;
    }
}
