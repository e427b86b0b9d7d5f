//! What must happen, said beforehand by the same pure function that the kernel runs.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use injector::{
    plan::{Hook, Models, Plan, PlannedRule},
    profile,
};
use injector_common::{
    abi::PaceState,
    fate::{Fate, Fates},
    pace::{self, Train},
};

use crate::{clock, stats, udp::Report};

/// The plan of a profile, which must name its seed.
#[track_caller]
pub fn plan(yaml: &str) -> Plan {
    let profile = match profile::parse("test", yaml) {
        Ok(profile) => profile,
        Err(error) => panic!("{error}"),
    };
    let seed = profile.seed.expect("a test's profile names its seed");
    eprintln!("profile {} with seed {seed}", profile.name);
    Plan::new(&profile, seed).expect("a plan")
}

/// The future of the packets of one rule.
#[derive(Clone, Debug)]
pub struct Oracle {
    plan: Plan,
    rule: usize,
}

impl Oracle {
    /// Of the profile's first rule, in its first direction.
    #[track_caller]
    pub fn new(yaml: &str) -> Self {
        Self {
            plan: plan(yaml),
            rule: 0,
        }
    }

    /// Of the first rule of the named phase, in its first direction.
    #[track_caller]
    pub fn of_phase(yaml: &str, phase: &str) -> Self {
        let profile = profile::parse("test", yaml).expect("a profile");
        let seed = profile.seed.expect("a test's profile names its seed");
        let plans = Plan::all(&profile, seed).expect("plans");
        let mut plans = plans.into_iter();
        let found = plans.find(|plan| plan.phase.as_deref() == Some(phase));
        Self {
            plan: found.expect("a phase of the profile"),
            rule: 0,
        }
    }

    /// Of the named rule in one direction.
    #[track_caller]
    pub fn of(yaml: &str, rule: &str, hook: Hook) -> Self {
        let plan = plan(yaml);
        let is_it = |planned: &PlannedRule| planned.name == rule && planned.hook == hook;
        let found = plan.rules.iter().position(is_it);
        Self {
            rule: found.expect("a rule of the profile"),
            plan,
        }
    }

    /// The fates of its packets.
    pub fn fates(&self) -> Fates<'_, Models> {
        Fates::new(&self.plan.rules[self.rule].spec, &self.plan.models)
    }

    /// What happens to packet `n`, counting from 0.
    pub fn fate(&self, n: u64) -> Fate {
        self.fates().fate(n)
    }

    /// Which of the first `count` packets meet a fate.
    fn those(&self, count: u64, meets: impl Fn(Fate) -> bool) -> BTreeSet<u64> {
        let mut fates = self.fates();
        (0..count).filter(|&n| meets(fates.fate(n))).collect()
    }

    /// Which of the first `count` packets are dropped.
    pub fn dropped(&self, count: u64) -> BTreeSet<u64> {
        self.those(count, |fate| fate == Fate::Drop)
    }

    /// Which of the first `count` packets are corrupted.
    pub fn corrupted(&self, count: u64) -> BTreeSet<u64> {
        self.those(count, |fate| {
            matches!(fate, Fate::Deliver { corrupt: true, .. })
        })
    }

    /// Which of the first `count` packets are duplicated.
    pub fn duplicated(&self, count: u64) -> BTreeSet<u64> {
        self.those(count, |fate| {
            matches!(fate, Fate::Deliver { copies: 1.., .. })
        })
    }

    /// Which of the first `count` packets overtake others.
    pub fn reordered(&self, count: u64) -> BTreeSet<u64> {
        self.those(count, |fate| {
            matches!(fate, Fate::Deliver { reorder: true, .. })
        })
    }

    /// How long each of the first `count` packets is held, of which none is dropped. Those that overtake
    /// others are not held.
    #[track_caller]
    pub fn delays(&self, count: u64) -> Vec<Duration> {
        let mut fates = self.fates();
        let delay = |n| match fates.fate(n) {
            Fate::Deliver { delay_ns, .. } => Duration::from_nanos(delay_ns),
            Fate::Drop => panic!("packet {n} is dropped"),
        };
        (0..count).map(delay).collect()
    }

    /// When packets of so many bytes have passed the rule's bottleneck that come at these times; `None` for
    /// those that find no room.
    pub fn passed(&self, came: &[Instant], bytes: u64) -> Vec<Option<Instant>> {
        let (spec, mut state) = (&self.plan.rules[self.rule].spec, PaceState::default());
        let train = Train::of_kind(1, bytes);
        let pass = |at: &Instant| {
            let now_ns = (*at - came[0]).as_nanos() as u64;
            let passage = pace::pass(spec, spec.pace.byte_ns, &mut state, now_ns, 0, train, 0);
            let passed = Duration::from_nanos(passage.passed_ns(now_ns, 0));
            (passage.admitted > 0).then(|| came[0] + passed)
        };
        came.iter().map(pass).collect()
    }

    /// How long packet `n` is held; `None` where it is dropped.
    pub fn delay(&self, n: u64) -> Option<Duration> {
        match self.fate(n) {
            Fate::Drop => None,
            Fate::Deliver { delay_ns, .. } => Some(Duration::from_nanos(delay_ns)),
        }
    }

    /// Asserts that each datagram was under way for as long as was foretold: never shorter, and longer
    /// by less than [`clock::late_max`] in one case of ten.
    #[track_caller]
    pub fn assert_delays(&self, report: &Report) {
        let mut lateness = Vec::new();
        for (number, delay) in report.delays() {
            let expected = self.delay(number).expect("one that is not dropped");
            assert!(
                delay >= expected,
                "{number} came after {delay:?}, before {expected:?}"
            );
            lateness.push(delay - expected);
        }
        let (lateness, late_max) = (stats::decile(lateness), clock::late_max());
        assert!(
            lateness < late_max,
            "{lateness:?} late, nine in ten of them, and not {late_max:?}"
        );
    }
}
