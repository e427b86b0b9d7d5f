//! Phases whose values move from those of the phase before to their own.

use super::conflict::Conflict;
use super::issue::Issue;
use super::resolve::default_name;
use super::yaml::FieldPath;
use super::{Chance, Delay, Loss, Rate, Repeat, Rule, Timeline};
use crate::units::DurationNs;

impl Timeline {
    /// Returns for each rule of a phase the rule whose values it moves from, if the phase ramps: the
    /// first one of the phase before that has the same direction and match. Before the first phase
    /// comes the last one, of the repetition before.
    ///
    /// `None` is a rule without faults. A fault that one of the two lacks counts as one of probability
    /// 0, or as a delay of 0, that is otherwise like the other's; where only one of two delays has
    /// jitter, it alone says how it is spread. `rate` and `slot` are in both or in neither.
    ///
    /// # Panics
    ///
    /// If there is no such phase.
    pub fn ramp_from(&self, phase: usize) -> Vec<Option<&Rule>> {
        let before = &self.phases[self.before(phase)].rules;
        let rules = self.phases[phase].rules.iter();
        let counterparts = rules.map(|rule| counterpart(rule, before));
        counterparts
            .map(|found| found.map(|(_, rule)| rule))
            .collect()
    }

    /// The phase that is played before another.
    fn before(&self, phase: usize) -> usize {
        phase.checked_sub(1).unwrap_or(self.phases.len() - 1)
    }
}

/// Finds the rule that had the packets of `rule`.
fn counterpart<'a>(rule: &Rule, before: &'a [Rule]) -> Option<(usize, &'a Rule)> {
    let mut before = before.iter().enumerate();
    before.find(|(_, other)| has_same_packets(rule, other))
}

fn has_same_packets(one: &Rule, other: &Rule) -> bool {
    one.direction == other.direction && one.matching == other.matching
}

/// Checks that every ramp has somewhere to start, and a way to go.
pub(super) fn check(timeline: &Timeline) -> Result<(), Box<Conflict>> {
    let phases = FieldPath::default().key("phases");
    let ramps = (0..timeline.phases.len()).filter(|phase| timeline.phases[*phase].ramp);
    for phase in ramps {
        let at = phases.index(phase);
        if phase == 0 && timeline.repeat == Repeat::Times(1) {
            let issue = Issue::new("the first phase has none before it to ramp from");
            let issue = issue.expected("a later phase, or `repeat`");
            return Err(Conflict::new(issue, at.key("ramp")));
        }
        let before = timeline.before(phase);
        let from = (
            timeline.phases[before].rules.as_slice(),
            &phases.index(before),
        );
        for (index, rule) in timeline.phases[phase].rules.iter().enumerate() {
            check_rule((rule, index), &at, from)?;
        }
    }
    Ok(())
}

/// Checks a rule of the phase at `at` against the rules, and their phase, that it moves from.
fn check_rule(
    (rule, index): (&Rule, usize),
    at: &FieldPath,
    (before, before_at): (&[Rule], &FieldPath),
) -> Result<(), Box<Conflict>> {
    let rule_at = at.key("rules").index(index);
    let other_at = |other| before_at.key("rules").index(other);
    let is_named = rule.name != default_name("rule", index);
    let namesake = before
        .iter()
        .position(|other| is_named && other.name == rule.name);
    if let Some(other) = namesake.filter(|other| !has_same_packets(rule, &before[*other])) {
        let message = format!("`{}` had other packets in the phase before", rule.name);
        let issue = Issue::new(message).expected("the same direction and match, or another name");
        let conflict = Conflict::new(issue, rule_at.key("name"));
        return Err(conflict.because_of(other_at(other).key("name")));
    }
    let found = counterpart(rule, before);
    let Some((fault, expected)) = obstacle(found.map(|(_, other)| other), rule) else {
        return Ok(());
    };
    let issue = Issue::new(format!("this `{fault}` cannot move gradually")).expected(expected);
    let at_fault = |issue| Conflict::new(issue, rule_at.key(fault));
    Err(match found {
        Some((other, _)) => {
            at_fault(issue).against(other_at(other).key(fault), "it moves from here")
        }
        None => {
            let hint = "no rule of the phase before has its direction and match";
            at_fault(issue.hint(hint)).because_of(at.key("ramp"))
        }
    })
}

/// A fault, whether it can move from one rule to another, and what could.
type Move = (&'static str, fn(&Rule, &Rule) -> bool, &'static str);

const MOVES: [Move; 8] = [
    ("replay", replay_moves, "no recording in either phase"),
    ("drop", drop_moves, BY_CHANCE),
    ("corrupt", corruption_moves, BY_CHANCE),
    ("duplicate", duplicates_move, BY_CHANCE),
    ("reorder", order_moves, BY_CHANCE),
    (
        "delay",
        delay_moves,
        "the same in both phases, but for `time` and `jitter`",
    ),
    (
        "rate",
        rate_moves,
        "the same in both phases, but for `bandwidth`",
    ),
    ("slot", slots_move, "the same in both phases"),
];

const BY_CHANCE: &str = "the same in both phases, but for the probability of independent packets";

/// Returns the first fault of a rule that cannot move gradually, and what could.
fn obstacle(from: Option<&Rule>, to: &Rule) -> Option<(&'static str, &'static str)> {
    let none = Rule::exempting(String::new(), to.direction, to.matching.clone());
    let from = from.unwrap_or(&none);
    let stuck = MOVES.iter().find(|(_, moves, _)| !moves(from, to));
    stuck.map(|(fault, _, expected)| (*fault, *expected))
}

/// A recording has times of its own.
fn replay_moves(from: &Rule, to: &Rule) -> bool {
    from.replay.is_none() && to.replay.is_none()
}

fn drop_moves(from: &Rule, to: &Rule) -> bool {
    chance_moves(&from.drop, &to.drop, |drop| {
        let is_independent = matches!(&drop.loss, Loss::Chance(chance) if is_independent(chance));
        (is_independent, drop.ecn)
    })
}

fn corruption_moves(from: &Rule, to: &Rule) -> bool {
    chance_moves(&from.corrupt, &to.corrupt, |corrupt| {
        let rest = (corrupt.bits, corrupt.checksum, corrupt.place);
        (is_independent(&corrupt.chance), rest)
    })
}

fn duplicates_move(from: &Rule, to: &Rule) -> bool {
    chance_moves(&from.duplicate, &to.duplicate, |duplicate| {
        (is_independent(&duplicate.chance), duplicate.copies)
    })
}

fn order_moves(from: &Rule, to: &Rule) -> bool {
    chance_moves(&from.reorder, &to.reorder, |reorder| {
        (is_independent(&reorder.chance), reorder.gap)
    })
}

/// Whether a fault can move, of which `parts` says whether its packets are independent, and what has
/// to stay.
fn chance_moves<T: PartialEq, R: PartialEq>(
    from: &Option<T>,
    to: &Option<T>,
    parts: impl Fn(&T) -> (bool, R),
) -> bool {
    match (from, to) {
        (None, None) => true,
        (Some(one), None) | (None, Some(one)) => parts(one).0,
        (Some(from), Some(to)) if from == to => true,
        (Some(from), Some(to)) => {
            let (from, to) = (parts(from), parts(to));
            from.0 && to.0 && from.1 == to.1
        }
    }
}

fn is_independent(chance: &Chance) -> bool {
    chance.independent_probability().is_some()
}

/// Without jitter nothing is said of how delays are spread.
fn delay_moves(from: &Rule, to: &Rule) -> bool {
    let with_jitter = |delay: &&Delay| delay.jitter > DurationNs::ZERO;
    let from = from.delay.as_ref().filter(with_jitter);
    match (from, to.delay.as_ref().filter(with_jitter)) {
        (Some(from), Some(to)) => {
            let (time, jitter) = (to.time, to.jitter);
            Delay {
                time,
                jitter,
                ..from.clone()
            } == *to
        }
        _ => true,
    }
}

fn rate_moves(from: &Rule, to: &Rule) -> bool {
    match (&from.rate, &to.rate) {
        (Some(from), Some(to)) => {
            let bandwidth = to.bandwidth;
            Rate {
                bandwidth,
                ..from.clone()
            } == *to
        }
        (from, to) => from == to,
    }
}

fn slots_move(from: &Rule, to: &Rule) -> bool {
    from.slot == to.slot
}
