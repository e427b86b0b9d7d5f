//! What must happen, said beforehand by the same pure function that the kernel runs.

use std::{collections::BTreeSet, time::Duration};

use injector::{
    plan::{Hook, Plan},
    profile,
};
use injector_common::{
    abi::FaultSpec,
    fate::{self, Fate},
};

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
#[derive(Clone, Copy, Debug)]
pub struct Oracle(FaultSpec);

impl Oracle {
    /// Of the profile's first rule, in its first direction.
    #[track_caller]
    pub fn new(yaml: &str) -> Self {
        Self(plan(yaml).rules[0].spec)
    }

    /// Of the first rule of the named phase, in its first direction.
    #[track_caller]
    pub fn of_phase(yaml: &str, phase: &str) -> Self {
        let profile = profile::parse("test", yaml).expect("a profile");
        let seed = profile.seed.expect("a test's profile names its seed");
        let plans = Plan::all(&profile, seed).expect("plans");
        let found = (plans.iter()).find(|plan| plan.phase.as_deref() == Some(phase));
        Self(found.expect("a phase of the profile").rules[0].spec)
    }

    /// Of the named rule in one direction.
    #[track_caller]
    pub fn of(yaml: &str, rule: &str, hook: Hook) -> Self {
        let plan = plan(yaml);
        let found = plan
            .rules
            .iter()
            .find(|planned| planned.name == rule && planned.hook == hook);
        Self(found.expect("a rule of the profile").spec)
    }

    /// What happens to packet `n`, counting from 0.
    pub fn fate(&self, n: u64) -> Fate {
        fate::decide(&self.0, n)
    }

    /// Which of the first `count` packets are dropped.
    pub fn dropped(&self, count: u64) -> BTreeSet<u64> {
        (0..count).filter(|&n| self.fate(n) == Fate::Drop).collect()
    }

    /// Which of the first `count` packets are corrupted.
    pub fn corrupted(&self, count: u64) -> BTreeSet<u64> {
        let is_corrupted = |n| {
            matches!(
                self.fate(n),
                Fate::Deliver {
                    corrupt: Some(_),
                    ..
                }
            )
        };
        (0..count).filter(|&n| is_corrupted(n)).collect()
    }

    /// Which of the first `count` packets are duplicated.
    pub fn duplicated(&self, count: u64) -> BTreeSet<u64> {
        let is_duplicated = |n| {
            matches!(
                self.fate(n),
                Fate::Deliver {
                    duplicate_delay_ns: Some(_),
                    ..
                }
            )
        };
        (0..count).filter(|&n| is_duplicated(n)).collect()
    }

    /// How long packet `n` is held; `None` where it is dropped.
    pub fn delay(&self, n: u64) -> Option<Duration> {
        match self.fate(n) {
            Fate::Drop => None,
            Fate::Deliver { delay_ns, .. } => Some(Duration::from_nanos(delay_ns)),
        }
    }
}
