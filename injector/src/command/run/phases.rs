//! The phases of a run, as they come.

use std::time::{Duration, Instant};

use injector_common::abi::RuleCounters;

use super::suspension::earlier;
use crate::{
    cli::Faults,
    command::no_phase,
    datapath::{
        control,
        counters::Snapshot,
        journal::{NextPhase, RecordedRule},
        session::{Last, Prepared, Session},
    },
    error::{Code, Failure},
    observe::report::Achieved,
    plan::{Plan, Schedule, Turn},
    profile::{Profile, Repeat},
};

/// How long before its beginning a phase is prepared: ample for many rules, and for packets of the
/// phase before the present one that are still crossing the pair.
const LEAD: Duration = Duration::from_millis(200);

/// When which phase is to be in force; `None` where the profile has no phases.
pub(super) fn schedule(profile: &Profile, args: &Faults) -> Result<Option<Schedule>, Failure> {
    let Some(timeline) = profile.timeline() else {
        return match (&args.phase, args.start_at) {
            (None, None) => Ok(None),
            _ => Err(Failure::new(
                Code::Usage,
                format!("profile `{}` has no phases to start at", profile.name),
            )
            .hint("leave `--phase` and `--start-at` away, or write `phases` into the profile")),
        };
    };
    let schedule = Schedule::new(timeline);
    if let Some(name) = &args.phase {
        let mut phases = timeline.phases.iter();
        let phase = phases.position(|phase| phase.name == *name);
        let phase = phase.ok_or_else(|| no_phase(profile, name))?;
        return Ok(Some(schedule.starting_with(phase)));
    }
    let Some(offset) = args.start_at else {
        return Ok(Some(schedule));
    };
    let started = schedule.starting_at(offset);
    Ok(Some(started.ok_or_else(|| {
        let total = humantime::format_duration(schedule.total().unwrap_or(Duration::MAX));
        let message = format!("`--start-at` is behind the end of the phases, which take {total}");
        Failure::new(Code::Usage, message).hint("start earlier, or `repeat` the phases more often")
    })?))
}

/// Why a profile with phases cannot be swapped in when it is saved.
pub(super) fn not_watched(profile: &Profile) -> Failure {
    let message = format!(
        "profile `{}` has phases, which cannot be watched",
        profile.name
    );
    Failure::new(Code::Usage, message)
        .hint("leave `--watch` away, or write `rules` in place of `phases`")
}

/// A phase that packets meet, and that has not been taken up yet.
pub(super) struct Flip {
    prepared: Prepared,
    at: Instant,
}

/// Where a run is on its schedule.
pub(super) struct Phases {
    plans: Vec<Plan>,
    schedule: Schedule,
    /// When the first turn began.
    started: Instant,
    /// What is in force.
    turn: Turn,
    /// What comes after it.
    next: Option<Turn>,
    prepared: Option<Prepared>,
    /// The phase before, while its counters are not final.
    former: Option<usize>,
    /// Final counters, by phase and rule.
    counters: Vec<Vec<RuleCounters>>,
}

impl Phases {
    /// A run that has just begun.
    pub(super) fn new(plans: Vec<Plan>, schedule: Schedule, started: Instant) -> Self {
        let turn = schedule.first();
        let zeroes = |plan: &Plan| vec![RuleCounters::default(); plan.rules.len()];
        Self {
            turn,
            next: schedule.next(&turn, turn.from),
            schedule,
            started,
            prepared: None,
            former: None,
            counters: plans.iter().map(zeroes).collect(),
            plans,
        }
    }

    /// Takes other plans of the same phases: they count from the next phase on.
    pub(super) fn replan(&mut self, plans: Vec<Plan>) {
        self.plans = plans;
    }

    /// When there is something to do; never, where no phase comes any more.
    pub(super) fn due(&self) -> Option<Instant> {
        let next = self.next?;
        self.started.checked_add(match self.prepared {
            Some(_) => next.from,
            None => next.from.saturating_sub(LEAD).max(self.turn.from),
        })
    }

    /// Lets the phases be as if the machine had not been suspended.
    pub(super) fn advance(&mut self, missed: Duration) {
        self.started = earlier(self.started, missed);
    }

    /// Does what is due: prepares the next phase, or lets packets meet it.
    pub(super) fn proceed(&mut self, session: &mut Session) -> Result<Option<Flip>, Failure> {
        let started = self.started;
        let Some(prepared) = self.prepared.take() else {
            self.next = self.schedule.next(&self.turn, started.elapsed());
            if let Some(next) = self.next {
                let prepared = session.prepare(&self.plans[next.phase])?;
                self.count_former(&prepared.former);
                self.prepared = Some(prepared);
            }
            return Ok(None);
        };
        let Some(next) = self.next else {
            return Ok(None);
        };
        let late = started.elapsed().saturating_sub(next.from);
        let at = session.put_into_force(&prepared, late)?;
        Ok(Some(Flip { prepared, at }))
    }

    /// Takes up the phase that packets meet, once no program runs that has met the former one. Returns how late it
    /// was.
    pub(super) fn turn(&mut self, flip: Flip, session: &mut Session) -> Result<Duration, Failure> {
        session.follow(flip.prepared)?;
        let Some(next) = self.next else {
            return Ok(Duration::ZERO);
        };
        self.former = Some(self.turn.phase);
        self.turn = next;
        self.next = self.schedule.next(&next, next.from);
        self.note(session)?;
        let flipped = flip.at.saturating_duration_since(self.started);
        Ok(flipped.saturating_sub(next.from))
    }

    /// Lets `status` know what comes next.
    pub(super) fn note(&self, session: &mut Session) -> Result<(), Failure> {
        let boot = control::boot_time()?;
        let next = self.next.map(|next| {
            let left = next.from.saturating_sub(self.started.elapsed());
            NextPhase {
                phase: self.plans[next.phase].phase.clone().unwrap_or_default(),
                at_boot_ns: (boot + left).as_nanos() as u64,
            }
        });
        Ok(session.note_next(next)?)
    }

    fn count_former(&mut self, former: &Snapshot) {
        if let Some(phase) = self.former.take() {
            self.count(phase, former);
        }
    }

    fn count(&mut self, phase: usize, snapshot: &Snapshot) {
        for (sum, counters) in self.counters[phase].iter_mut().zip(&snapshot.rules) {
            *sum += *counters;
        }
    }

    /// The phase in force.
    pub(super) fn name(&self) -> &str {
        self.plans[self.turn.phase]
            .phase
            .as_deref()
            .unwrap_or_default()
    }

    /// Which phase that is, counting from 1.
    pub(super) fn step(&self) -> usize {
        self.turn.phase + 1
    }

    /// The repetition, counting from 1.
    pub(super) fn repetition(&self) -> u64 {
        self.turn.repetition + 1
    }

    /// Where the run is, in words.
    pub(super) fn progress(&self) -> String {
        let mut text = format!(
            "phase {} ({} of {})",
            self.name(),
            self.step(),
            self.plans.len()
        );
        match self.schedule.repeat() {
            Repeat::Times(1) => {}
            Repeat::Times(times) => {
                text += &format!(", repetition {} of {times}", self.repetition());
            }
            Repeat::Forever => text += &format!(", repetition {}", self.repetition()),
        }
        text
    }

    /// What the rules of all phases have achieved, when the run has ended.
    pub(super) fn achieved(mut self, last: &Last) -> Achieved {
        self.count_former(&last.former);
        self.count(self.turn.phase, &last.in_force);
        let rules = self.plans.iter().flat_map(|plan| &plan.rules);
        let mut rules: Vec<_> = rules.map(RecordedRule::from).collect();
        if self.turn.repetition > 0 {
            // A phase does the same again: its packets tell no more than those of its first time.
            rules.iter_mut().for_each(|rule| rule.independent.clear());
        }
        let all = Snapshot {
            rules: self.counters.concat(),
            path: last.in_force.path,
            in_flight: last.in_force.in_flight + last.former.in_flight,
            qdisc_drops: last.in_force.qdisc_drops,
        };
        let mut achieved = Achieved::of_ended(&rules, &all);
        let phases = (self.plans.iter()).flat_map(|plan| plan.rules.iter().map(|_| &plan.phase));
        for (rule, phase) in achieved.rules.iter_mut().zip(phases) {
            rule.phase.clone_from(phase);
        }
        achieved
    }
}
